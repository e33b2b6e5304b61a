import { randomFrom, seedFromEnvironment } from './random.ts';

/** `npm run test:matrix` runs every case of the tables of which the default tier draws a part (vitest.matrix.config.ts). */
const IS_WHOLE = process.env['HOLDPOINT_TEST_PART'] === 'whole';

/**
 * The cases to run: all in the matrix tier, else every `step`th, the first drawn by the seed, which is printed. Neighbours in
 * a table are alike, so that a part taken at even steps touches each group of it.
 */
export function partOf<Case>(what: string, cases: readonly Case[], step: number): readonly Case[] {
  if (IS_WHOLE) return cases;
  const seed = seedFromEnvironment();
  const first = Math.floor(randomFrom(seed)() * step);
  const drawn = cases.filter((_, index) => index % step === first);
  console.info(
    `${what}: ${drawn.length} of ${cases.length} cases, TEST_SEED=${seed}; all: npm run test:matrix`,
  );
  return drawn;
}

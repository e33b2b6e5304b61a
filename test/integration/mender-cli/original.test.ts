import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { randomFrom, seedFromEnvironment } from '../../support/random.ts';
import { ALLOWED } from './allowed-differences.ts';
import { CASE_NAMES, compareCase, openShelf, type OpenShelf } from './comparison.ts';
import { whyNoTwins } from './twins.ts';

vi.setConfig({ testTimeout: 300_000 });

/** `mender` beside Debian's `mender` 3.4, a part of the cases each time; the whole is test/matrix/mender-cli.test.ts. */
const reason = await whyNoTwins();
if (reason !== null) console.warn(`Debian's mender cannot be run here: ${reason}`);
const ALWAYS = ['install and commit', 'an installation that fails', 'setup with every answer typed'];
const SLICE = { artifacts: 3, 'command lines': 5, setup: 3 } as const;

const seed = seedFromEnvironment();
console.info(`TEST_SEED=${seed}`);
const random = randomFrom(seed);
const chosen = Object.entries(CASE_NAMES).flatMap(([kind, names]) =>
  names
    .filter((name) => !ALWAYS.includes(name))
    .map((name) => ({ name, place: random() }))
    .toSorted((one, other) => one.place - other.place)
    .slice(0, SLICE[kind as keyof typeof SLICE])
    .map(({ name }) => name),
);

describe.skipIf(reason !== null)('mender beside mender 3.4', () => {
  let shelf: OpenShelf;
  beforeAll(async () => {
    shelf = await openShelf();
  });
  afterAll(() => shelf.close());

  it.each([...ALWAYS, ...chosen])('%s', (name) => compareCase(name, shelf));
});

describe('the allowed differences', () => {
  it('belong to cases, each of which has a name of its own', () => {
    const names: readonly string[] = Object.values(CASE_NAMES).flat();
    expect(new Set(names).size).toBe(names.length);
    expect(ALLOWED.filter(({ name }) => !names.includes(name))).toEqual([]);
  });
});

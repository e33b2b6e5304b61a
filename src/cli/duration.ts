/** Lengths of time as people type them, and as they read them. */
import { UpdateError } from '../core/errors.ts';
import { quoted } from '../core/printable.ts';

const UNIT_SECONDS = { d: 86_400, h: 3_600, m: 60, s: 1 } as const;
type Unit = keyof typeof UNIT_SECONDS;

/** D-Bus carries it as a u. */
export const MAX_DURATION_SECONDS = 0xffff_ffff;

const EXPECTED = 'a length of time such as 90s, 30m, 4h, 1d, 1h30m, or a number of seconds';

/**
 * `30m`, `4h`, `1d`, `1h30m`, or whole seconds: units from large to small, each once. Strict, because what is misread
 * here lets an update go on too early.
 * @returns whole seconds, 1 to 4294967295
 * @throws UpdateError of kind invalidArgument; details: found, expected
 */
export function parseDuration(text: string): number {
  const refuse = (message: string): UpdateError =>
    new UpdateError('invalidArgument', message, {
      details: { found: text.slice(0, 80), expected: EXPECTED },
    });
  const match = /^(?:(\d{1,10})d)?(?:(\d{1,10})h)?(?:(\d{1,10})m)?(?:(\d{1,10})s)?$|^(\d{1,10})$/.exec(text);
  if (match === null || text === '') throw refuse(`found ${quoted(text)}, expected ${EXPECTED}`);
  const [, days, hours, minutes, seconds, bare] = match;
  const part = (digits: string | undefined, unit: Unit): number => Number(digits ?? 0) * UNIT_SECONDS[unit];
  const total = part(days, 'd') + part(hours, 'h') + part(minutes, 'm') + part(seconds ?? bare, 's');
  if (total < 1) throw refuse(`found ${quoted(text)}, expected at least one second`);
  if (total > MAX_DURATION_SECONDS) {
    throw refuse(`found ${quoted(text)}, expected at most ${MAX_DURATION_SECONDS} seconds`);
  }
  return total;
}

/** The two largest units that are not 0: `3 d 4 h`, `12 min`, `40 s`; `0 s` for nothing. */
export function durationWords(seconds: number): string {
  let rest = Math.max(0, Math.floor(seconds));
  const words: string[] = [];
  for (const [unit, name] of [
    ['d', 'd'],
    ['h', 'h'],
    ['m', 'min'],
    ['s', 's'],
  ] as const) {
    const count = Math.floor(rest / UNIT_SECONDS[unit]);
    rest -= count * UNIT_SECONDS[unit];
    if (count > 0) words.push(`${count} ${name}`);
    else if (words.length > 0) break;
    if (words.length === 2) break;
  }
  return words.length === 0 ? '0 s' : words.join(' ');
}

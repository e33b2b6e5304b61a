import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { durationWords, MAX_DURATION_SECONDS, parseDuration } from '../../../src/cli/duration.ts';
import { UpdateError } from '../../../src/core/errors.ts';

describe('a duration as people type it', () => {
  it.each([
    ['1', 1],
    ['3600', 3600],
    ['90s', 90],
    ['30m', 1800],
    ['4h', 14_400],
    ['1d', 86_400],
    ['1h30m', 5400],
    ['2d12h', 216_000],
    ['1d1h1m1s', 90_061],
    ['0h5m', 300],
    ['4294967295', MAX_DURATION_SECONDS],
  ])('%s is %d seconds', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds);
  });

  it.each([
    '',
    ' ',
    '0',
    '0s',
    '00d',
    'h',
    'm5',
    '5 m',
    ' 5',
    '5\n',
    '-5',
    '+5',
    '1.5h',
    '1e3',
    '0x10',
    '٥m',
    '5M',
    '5min',
    '30m1h',
    '1h1h',
    '1h30',
    '4294967296',
    '49711d',
    '99999999999s',
    '9'.repeat(1e3),
    'NaN',
    '\x1B[2J5m',
  ])('%j is refused with what was found and what is expected', (text) => {
    let refusal: unknown;
    try {
      parseDuration(text);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toBeInstanceOf(UpdateError);
    const { kind, message, details } = refusal as UpdateError;
    expect(kind).toBe('invalidArgument');
    expect(message).toMatch(/^found .*, expected /);
    // eslint-disable-next-line no-control-regex
    expect(message).not.toMatch(/[\u0000-\u001f]/);
    expect(message.length).toBeLessThan(300);
    expect(details['expected']).toContain('1h30m');
  });

  it('never gives anything but whole seconds in range, whatever is typed', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'0123456789dhms .-') }), (text) => {
        let seconds: number;
        try {
          seconds = parseDuration(text);
        } catch (error) {
          return error instanceof UpdateError && error.kind === 'invalidArgument';
        }
        return Number.isInteger(seconds) && seconds >= 1 && seconds <= MAX_DURATION_SECONDS;
      }),
      { numRuns: 5000 },
    );
  });

  it('reads back what it would write with units', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: MAX_DURATION_SECONDS }), (seconds) => {
        const [d, h, m, s] = [86_400, 3600, 60, 1].map((unit, at, units) =>
          Math.floor((seconds % (units[at - 1] ?? Infinity)) / unit),
        );
        expect(parseDuration(`${d}d${h}h${m}m${s}s`)).toBe(seconds);
      }),
    );
  });
});

describe('a duration as people read it', () => {
  it.each([
    [0, '0 s'],
    [-5, '0 s'],
    [40.9, '40 s'],
    [60, '1 min'],
    [3661, '1 h 1 min'],
    [3601, '1 h'],
    [86_400 * 3 + 3600 * 4 + 59, '3 d 4 h'],
  ])('%d seconds are %s', (seconds, words) => {
    expect(durationWords(seconds)).toBe(words);
  });
});

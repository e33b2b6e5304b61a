import { describe, expect, it } from 'vitest';
import { retryDelayMs } from '../../../src/core/retry.ts';

const DAY_SECONDS = 24 * 3600;

/** Every delay in minutes until it gives up. */
function minutes(maxIntervalSeconds: number, maxRetries: number): number[] {
  const delays: number[] = [];
  for (let attempt = 1; attempt < 100; attempt += 1) {
    const delayMs = retryDelayMs(attempt, { maxIntervalSeconds, maxRetries });
    if (delayMs === null) return delays;
    delays.push(delayMs / 60_000);
  }
  throw new Error('never gives up');
}

describe('the back-off', () => {
  it.each([
    { ceiling: 300, retries: 0, expected: [1, 1, 1, 2, 2, 2, 4, 4, 4, 5, 5, 5] },
    { ceiling: 60, retries: 0, expected: [1, 1, 1] },
    { ceiling: 90, retries: 0, expected: [1, 1, 1, 1.5, 1.5, 1.5] },
    { ceiling: 120, retries: 0, expected: [1, 1, 1, 2, 2, 2] },
    { ceiling: 0, retries: 0, expected: [1, 1, 1] },
    { ceiling: 30, retries: 0, expected: [0.5, 0.5, 0.5] },
    { ceiling: 30, retries: 5, expected: [0.5, 0.5, 0.5, 0.5, 0.5] },
    { ceiling: 300, retries: 2, expected: [1, 1] },
    { ceiling: 120, retries: 9, expected: [1, 1, 1, 2, 2, 2, 2, 2, 2] },
  ])(
    'with a ceiling of $ceiling s and $retries retries waits $expected minutes',
    ({ ceiling, retries, expected }) => {
      expect(minutes(ceiling, retries)).toEqual(expected);
    },
  );

  const policy = { maxIntervalSeconds: 300, maxRetries: 0 };

  it('waits at least as long as the server asked for, and no longer than its own interval otherwise', () => {
    expect(retryDelayMs(1, policy, 10)).toBe(60_000);
    expect(retryDelayMs(1, policy, 90)).toBe(90_000);
  });

  it.each([1e9, Number.MAX_VALUE, Infinity])(
    'does not let the server put it off for more than a day (%d s)',
    (asked) => {
      expect(retryDelayMs(1, policy, asked)).toBe(DAY_SECONDS * 1000);
    },
  );

  it.each([-5, Number.NaN, 0])('passes over a senseless wish of the server (%d s)', (asked) => {
    expect(retryDelayMs(1, policy, asked)).toBe(60_000);
  });

  it('gives up whatever the server asked for', () => {
    expect(retryDelayMs(13, policy, 90)).toBeNull();
  });
});

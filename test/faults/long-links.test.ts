/** Links that are bad for long (R11, R14, R15): a slice of test/matrix/long-links.test.ts. */
import { describe, expect, it } from 'vitest';
import { downloadOverThinLink, downloadSteadily, liveWithoutNames } from './long-links.ts';

describe('a link that is bad for long', { timeout: 960_000 }, () => {
  it('without names for an hour: a check now and then, and a log that stays small (R11)', async () => {
    const { checks, logBytes } = await liveWithoutNames(60);
    console.info(`${checks} checks in an hour without names, ${logBytes} bytes of log`);
    expect(checks).toBeGreaterThanOrEqual(6);
    expect(checks).toBeLessThanOrEqual(30);
    expect(logBytes).toBeLessThan(64 * 1024);
  });

  it('of a kilobyte a minute is waited for, in one piece (R14)', () => downloadSteadily(20));

  it('of 15 kbit/s with storage that falls silent and links that run out is got through (R15)', () =>
    downloadOverThinLink(10, 15));
});

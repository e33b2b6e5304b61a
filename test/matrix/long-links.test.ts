import { describe, expect, it } from 'vitest';
import { downloadOverThinLink, downloadSteadily, liveWithoutNames } from '../faults/long-links.ts';

/** Rows R11, R14 and R15 of design/faults.md at the length they name. */
describe('a link that is bad for hours', { timeout: 1_800_000 }, () => {
  it('without names for two hours: a check now and then, and a log that stays small (R11)', async () => {
    const { checks, logBytes } = await liveWithoutNames(120);
    console.info(`${checks} checks in two hours without names, ${logBytes} bytes of log`);
    expect(checks).toBeLessThanOrEqual(60);
    expect(logBytes).toBeLessThan(128 * 1024);
  });

  it('of a kilobyte a minute for four hours is waited for, in one piece (R14)', () => downloadSteadily(240));

  it('of 15 kbit/s for two hours, with storage that falls silent and links that run out (R15)', () =>
    downloadOverThinLink(120, 15));
});

import { describe, expect, it } from 'vitest';
import { approveCommitEverywhere, rebootTogether } from '../support/fleet-stories.ts';

/** Stories 12 and 16 (design/stories.md) at the size they name. */
describe('a fleet', { timeout: 1_800_000 }, () => {
  it('of 20 services and 480 simulated clients commits when one change at the server lets it', () =>
    approveCommitEverywhere({
      services: 20,
      simulated: 480,
      offlineServices: 5,
      offlineSimulated: 5,
      intervalSeconds: 10,
    }));

  it('of 8 services reboots within two seconds of the moment the server has named', async () => {
    const { delaysMs } = await rebootTogether({ services: 8, leadSeconds: 60 });
    expect(Math.max(...delaysMs)).toBeLessThanOrEqual(2_000);
  });
});

import { describe, it } from 'vitest';
import { approveCommitEverywhere, rebootTogether } from '../support/fleet-stories.ts';

/** Many devices at one server: a slice of test/matrix/fleet.test.ts. */
describe('a fleet', { timeout: 480_000 }, () => {
  it('commits when one change at the server lets it, without a rollback, and the absent when they are back', () =>
    approveCommitEverywhere({
      services: 3,
      simulated: 20,
      offlineServices: 1,
      offlineSimulated: 2,
      intervalSeconds: 3,
    }));

  it('reboots together at a time by its own clocks, but for whoever is held, which says why', async () => {
    await rebootTogether({ services: 3, leadSeconds: 20 });
  });
});

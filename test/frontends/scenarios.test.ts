/** Every scenario of `holdpoint simulate`, to its end, as an ordinary user with gdbus and busctl. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SCENARIOS } from '../../src/adapters/simulated/scenarios.ts';
import { runScenario } from '../support/scenario-run.ts';
import { startSessionBus, type SessionBus } from '../support/simulation.ts';

let bus: SessionBus;
beforeAll(async () => {
  bus = await startSessionBus();
}, 60_000);
afterAll(() => bus.dispose());

describe('holdpoint simulate', () => {
  it.each([...SCENARIOS])(
    'plays %s: $about',
    async (name, { asks = [], isSilent = false }) => {
      const { status, stderr, client } = await runScenario(bus, name, ['--speed', '100']);
      expect(stderr).toBe('');
      expect(status).toBe(0);
      expect(client).toContain('DeploymentFinished');
      // Somebody was asked, and answered, wherever the scenario says so.
      if (!isSilent) {
        expect(client.match(/s "(?:proceeding|recorded)"/g)?.length ?? 0).toBeGreaterThanOrEqual(asks.length);
      }
    },
    120_000,
  );
});

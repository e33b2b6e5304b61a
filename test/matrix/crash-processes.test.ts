import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { titleOf } from '../support/crash/plan.ts';
import { KILLING, sampleCases } from '../support/crash/sample.ts';
import { comparable, TrialProcesses } from '../support/crash/trial-process.ts';
import { Trial } from '../support/crash/trial.ts';

/** Real processes that end by SIGKILL in a save, beside the same cases inside the test's process: the two must agree. */
const cases = await sampleCases(3, 0);
let processes: TrialProcesses;

beforeAll(async () => {
  processes = await TrialProcesses.prepare();
});

afterAll(() => processes.dispose());

describe.concurrent('the service as a process of its own', { timeout: 600_000 }, () => {
  it('is killed at least two hundred times', () => {
    const killed = cases.filter(({ strike }) => KILLING.includes(strike.fault)).length;
    console.info(`${cases.length} cases, ${killed} of them killed`);
    expect(killed).toBeGreaterThanOrEqual(200);
  });

  for (const { scenario, strike } of cases) {
    it(`${titleOf(scenario)}: ${strike.save} ${strike.fault}`, async () => {
      const played = comparable(await Trial.run(scenario, strike));
      expect(played.isStruck).toBe(true);
      expect(await processes.run(scenario, strike)).toEqual(played);
    });
  }
});

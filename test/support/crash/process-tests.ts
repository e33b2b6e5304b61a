/** Defines the tests that compare a real process with the same case played inside the test's process. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { titleOf } from './plan.ts';
import type { SampledCase } from './sample.ts';
import { comparable, TrialProcesses } from './trial-process.ts';
import { Trial } from './trial.ts';

/** Within a `describe`; at the same time where that is concurrent. */
export function compareEach(cases: readonly SampledCase[]): void {
  let processes: TrialProcesses;
  beforeAll(async () => {
    processes = await TrialProcesses.prepare();
  });
  afterAll(() => processes.dispose());

  for (const { scenario, strike } of cases) {
    it(`${titleOf(scenario)}: ${strike.save} ${strike.fault}`, async () => {
      const played = comparable(await Trial.run(scenario, strike));
      expect(played.isStruck).toBe(true);
      expect(await processes.run(scenario, strike)).toEqual(played);
    });
  }
}

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { titleOf } from '../support/crash/plan.ts';
import { sampleCases } from '../support/crash/sample.ts';
import { comparable, TrialProcesses } from '../support/crash/trial-process.ts';
import { Trial } from '../support/crash/trial.ts';
import { seedFromEnvironment } from '../support/random.ts';

/** A slice of test/matrix/crash-processes.test.ts, another in each run. */
const STRIDE = 120;
const seed = seedFromEnvironment();
const cases = await sampleCases(STRIDE, seed % STRIDE);
let processes: TrialProcesses;

beforeAll(async () => {
  processes = await TrialProcesses.prepare();
});

afterAll(() => processes.dispose());

describe.concurrent(
  `the service struck in a save, seed ${seed}, as a process and played`,
  { timeout: 300_000 },
  () => {
    it('has cases', () => {
      console.info(`${cases.length} cases, seed ${seed}`);
      expect(cases.length).toBeGreaterThan(3);
    });

    for (const { scenario, strike } of cases) {
      it(`${titleOf(scenario)}: ${strike.save} ${strike.fault}`, async () => {
        const played = comparable(await Trial.run(scenario, strike));
        expect(played.isStruck).toBe(true);
        expect(await processes.run(scenario, strike)).toEqual(played);
      });
    }
  },
);

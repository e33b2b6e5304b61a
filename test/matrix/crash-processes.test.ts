import { describe, expect, it } from 'vitest';
import { compareEach } from '../support/crash/process-tests.ts';
import { KILLING, sampleCases, unstoredCommits } from '../support/crash/sample.ts';

/**
 * Real processes that end by SIGKILL in a save, beside the same cases inside the test's process: the two must agree.
 * test/e2e/crash-processes.test.ts draws some of all cases.
 */
const cases = [...(await sampleCases(3, 0)), ...unstoredCommits()];

describe.concurrent('the service as a process of its own', { timeout: 600_000 }, () => {
  it('is killed at least two hundred times', () => {
    const killed = cases.filter(({ strike }) => KILLING.includes(strike.fault)).length;
    console.info(`${cases.length} cases, ${killed} of them killed`);
    expect(killed).toBeGreaterThanOrEqual(200);
  });

  compareEach(cases);
});

import { describe } from 'vitest';
import { compareEach } from '../support/crash/process-tests.ts';
import { drawCases, unstoredCommits } from '../support/crash/sample.ts';
import { randomFrom, seedFromEnvironment } from '../support/random.ts';

/** A slice of test/matrix/crash-processes.test.ts, drawn anew in each run from all saves of all updates, and commits that cannot be stored. */
const DRAWN = 4;
const seed = seedFromEnvironment();
const cases = [...(await drawCases(DRAWN, randomFrom(seed))), ...unstoredCommits().slice(0, 2)];

describe.concurrent(
  `the service as a process of its own, killed in a save: ${cases.length} cases, seed ${seed}`,
  { timeout: 120_000 },
  () => compareEach(cases),
);

import { defineConfig } from 'vitest/config';

/** The tier of long, complete runs, a slice of each of which `npm test` makes: `npm run test:matrix`. */
export default defineConfig({
  test: {
    include: [
      'test/matrix/**/*.test.ts',
      // Those of which the default tier draws a part (test/support/part.ts).
      'test/e2e/kill.test.ts',
      'test/e2e/scenarios.test.ts',
      'test/integration/standalone/kill.test.ts',
    ],
    env: { HOLDPOINT_TEST_PART: 'whole' },
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 600_000,
    hookTimeout: 120_000,
    reporters: ['default', './test/support/slowest-reporter.ts'],
  },
});

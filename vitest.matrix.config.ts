import { defineConfig } from 'vitest/config';

/** The tier of long, complete runs, a slice of each of which `npm test` makes: `npm run test:matrix`. */
export default defineConfig({
  test: {
    include: ['test/matrix/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 600_000,
    hookTimeout: 120_000,
    reporters: ['default', './test/support/slowest-reporter.ts'],
  },
});

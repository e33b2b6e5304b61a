import { defineConfig } from 'vitest/config';

/** The tier of frontends and simulations, a slice of each of which continuous integration makes: `npm run test:frontends`. */
export default defineConfig({
  test: {
    include: ['test/frontends/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 240_000,
    reporters: ['default', './test/support/slowest-reporter.ts'],
  },
});

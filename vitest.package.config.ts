import { defineConfig } from 'vitest/config';

/** The Debian package on a machine that boots a real systemd: `npm run test:package`. */
export default defineConfig({
  test: {
    include: ['test/package/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 300_000,
    hookTimeout: 1_200_000,
    reporters: ['default', './test/support/slowest-reporter.ts'],
  },
});

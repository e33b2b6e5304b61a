import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/boot/**', 'test/frontends/**', 'test/matrix/**', 'test/package/**', 'node_modules/**'],
    pool: 'forks',
    // Processes, buses and disks are shared by two cores: more at a time only makes each slower.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: ['default', './test/support/slowest-reporter.ts'],
  },
});

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
    // In continuous integration a test has a second try, and is listed at the end when it needed it.
    retry: process.env['CI'] ? 1 : 0,
    reporters: ['default', './test/support/slowest-reporter.ts'],
  },
});

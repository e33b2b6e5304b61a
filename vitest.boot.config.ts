import { defineConfig } from 'vitest/config';

/** Updates of machines that boot: `npm run test:boot`. Two machines at the same time, one to a worker. */
export default defineConfig({
  test: {
    include: ['test/boot/**/*.test.ts'],
    globalSetup: ['test/boot/support/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    // What is waited for has a limit of its own, by what the machine runs on: test/boot/support/machine.ts.
    testTimeout: 6 * 3_600_000,
    hookTimeout: 6 * 3_600_000,
  },
});

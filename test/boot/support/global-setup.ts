/** Once for a run: the base, the programs, the accelerator; afterwards the table, and everything is removed. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { seedFromEnvironment } from '../../support/random.ts';
import { prepareLab } from './lab.ts';

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const startedMs = performance.now();
  const work = await mkdtemp(join(tmpdir(), 'holdpoint-boot-'));
  const seed = seedFromEnvironment();
  const isSlice = process.env['HOLDPOINT_BOOT_SLICE'] === '1';
  const lab = await prepareLab(work);
  console.log(`boot tests: ${lab.accelerator}, prepared in ${lab.preparedInSeconds} s, TEST_SEED=${seed}`);
  project.provide('lab', lab);
  project.provide('seed', seed);
  project.provide('isSlice', isSlice);
  return async () => {
    const table = await readFile(join(work, 'table.txt'), 'utf8').catch(() => '');
    const seconds = Math.round((performance.now() - startedMs) / 1000);
    console.log(
      `\n${table}boot tests: ${table.split('\n').length - 1} cases, ${seconds} s in all, TEST_SEED=${seed}`,
    );
    if (process.env['HOLDPOINT_KEEP'] === '1') console.log(`kept: ${work}`);
    else await rm(work, { recursive: true, force: true, maxRetries: 3 });
  };
}

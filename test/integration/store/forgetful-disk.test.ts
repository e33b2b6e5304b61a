/** That the disk of test/faults/unsynced.test.ts forgets what it may, and nothing else. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { ForgetfulDisk } from '../../support/forgetful-disk.ts';

const run = promisify(execFile);

it(
  'a disk whose power fails has what was synced, and not all of what was not',
  { timeout: 120_000 },
  async () => {
    const work = await mkdtemp(join(tmpdir(), 'holdpoint-forgetful-'));
    const at = join(work, 'at');
    await mkdir(at);
    await writeFile(join(at, 'from-before'), 'kept');
    const disk = await ForgetfulDisk.at(at, work);
    try {
      await disk.cutPower();
      await disk.powerOn(1);
      expect(await readFile(join(at, 'from-before'), 'utf8')).toBe('kept');
      const text = 'x'.repeat(1 << 20);
      const file = await open(join(at, 'synced'), 'w');
      await file.writeFile(text);
      await file.sync();
      await file.close();
      const unsynced = await open(join(at, 'unsynced'), 'w');
      await unsynced.writeFile(text);
      await unsynced.close();
      await disk.cutPower();
      await disk.powerOn(2);
      expect(await readFile(join(at, 'synced'), 'utf8')).toBe(text);
      expect(await readFile(join(at, 'unsynced'), 'utf8').catch(() => '')).not.toBe(text);

      // What the kernel has written, and nobody has asked to be kept: any part of it.
      const other = join(work, 'other');
      await writeFile(other, 'y'.repeat(1 << 20));
      // Past the page cache, so that the disk has it.
      await run('dd', [`if=${other}`, `of=${join(at, 'synced')}`, 'bs=64k', 'oflag=direct', 'conv=notrunc']);
      expect(await disk.cutPower()).toBeGreaterThan(0);
      await disk.powerOn(3);
      const kinds = new Set(await readFile(join(at, 'synced'), 'utf8'));
      expect([...kinds].toSorted()).toEqual(['x', 'y']);
    } finally {
      await disk.dispose();
      await rm(work, { recursive: true, force: true });
    }
  },
);

/**
 * An ext4 file system on a block device that forgets: a loop device on a file of a FUSE file system, which keeps what was
 * written until it is told to flush, and loses any part of the rest when the power fails. Everything above it is real: the page
 * cache, ext4 and its journal, the requests to flush. Needs root.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { eventually } from './eventually.ts';

const run = promisify(execFile);
const PROGRAM = resolve('test/support/forgetful-disk.py');
const SIZE = '32M';

export class ForgetfulDisk {
  readonly #image: string;
  readonly #folder: string;
  readonly #at: string;
  #process: ChildProcess | null = null;
  #loop = '';

  /** Moves what is in the folder `at` to such a disk and mounts it there; `work`: a folder for what it is made of. */
  static async at(at: string, work: string): Promise<ForgetfulDisk> {
    const disk = new ForgetfulDisk(at, work);
    await mkdir(disk.#folder, { recursive: true });
    await run('truncate', [`--size=${SIZE}`, disk.#image]);
    await run('mke2fs', ['-q', '-t', 'ext4', disk.#image]);
    const before = join(work, 'before');
    await cp(at, before, { recursive: true });
    await disk.powerOn(0);
    await cp(before, at, { recursive: true });
    await run('sync', ['--file-system', at]);
    return disk;
  }

  private constructor(at: string, work: string) {
    this.#at = at;
    this.#image = join(work, 'disk.img');
    this.#folder = join(work, 'disk');
  }

  /** `seed`: for what survives the next cut. The journal is replayed by the mount, as after any power cut. */
  async powerOn(seed: number): Promise<void> {
    const child = spawn('/usr/bin/python3', [PROGRAM, this.#image, this.#folder, String(seed)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#process = child;
    const disk = join(this.#folder, 'disk');
    await eventually('the disk is there', () =>
      run('stat', [disk]).then(
        () => true,
        () => false,
      ),
    );
    this.#loop = (await run('losetup', ['--find', '--show', disk])).stdout.trim();
    // The least that ext4 may do for whoever does not sync: names and sizes reach the disk without what the files hold.
    const options = 'data=writeback,noauto_da_alloc,commit=1';
    await run('mount', ['-t', 'ext4', '-o', options, this.#loop, this.#at]);
  }

  /** Whoever writes has been ended before. Resolves with how many sectors' contents were lost. */
  async cutPower(): Promise<number> {
    const child = this.#process;
    if (child?.stdout == null) throw new Error('the disk is off');
    const said = once(createInterface({ input: child.stdout }), 'line');
    child.kill('SIGUSR1');
    const [lost] = (await said) as [string];
    await this.#takeAway(child);
    return Number(lost);
  }

  async #takeAway(child: ChildProcess): Promise<void> {
    const ended = once(child, 'exit');
    await run('umount', ['--lazy', this.#at]).catch(() => {});
    await run('losetup', ['--detach', this.#loop]).catch(() => {});
    await run('umount', ['--lazy', this.#folder]).catch(() => {});
    child.kill('SIGKILL');
    await ended;
    this.#process = null;
  }

  async dispose(): Promise<void> {
    if (this.#process !== null) await this.#takeAway(this.#process);
  }
}

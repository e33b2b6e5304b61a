/**
 * What the machines of a run share: the base (cached outside the repository, by a hash of its inputs), and our programs as
 * they are built now.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { chooseAccelerator, type Accelerator } from './machine.ts';

export const run = promisify(execFile);
export const MACHINE = resolve('test/boot/machine');
/** Plain data: handed from the set-up of the run to its workers. */
export interface Lab {
  readonly base: string;
  readonly programs: string;
  /** Gone after the run. */
  readonly work: string;
  readonly accelerator: Accelerator;
  readonly preparedInSeconds: number;
}

declare module 'vitest' {
  interface ProvidedContext {
    readonly lab: Lab;
    readonly seed: number;
    readonly isSlice: boolean;
  }
}

export async function prepareLab(work: string): Promise<Lab> {
  const startedMs = performance.now();
  const base = await cachedBase();
  const programs = join(work, 'programs');
  const [accelerator] = await Promise.all([
    chooseAccelerator(join(base, 'vmlinuz')),
    run(process.execPath, ['scripts/build.mjs', '--outdir', programs]),
  ]);
  await mkdir(join(work, 'images'), { recursive: true });
  const lab: Lab = { base, programs, work, accelerator, preparedInSeconds: 0 };
  return { ...lab, preparedInSeconds: Math.round((performance.now() - startedMs) / 1000) };
}

async function cachedBase(): Promise<string> {
  const hash = createHash('sha256');
  for (const path of await inputsOfBase()) hash.update(path).update(await readFile(join(MACHINE, path)));
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'holdpoint', 'boot');
  const folder = join(cache, hash.digest('hex').slice(0, 16));
  if (await exists(join(folder, 'base.squashfs'))) return folder;
  // Under another name until it is whole: an interrupted build must not be taken for a base.
  const making = `${folder}.${process.pid}`;
  await mkdir(cache, { recursive: true });
  for (const old of await readdir(cache)) await rm(join(cache, old), { recursive: true, force: true });
  try {
    await run('bash', [join(MACHINE, 'build-base.sh'), making], { maxBuffer: 16 * 1024 * 1024 });
    await rename(making, folder);
  } finally {
    await rm(making, { recursive: true, force: true });
  }
  return folder;
}

/** Relative paths, sorted: the build script, the initrd's program, and what is copied into the root. */
async function inputsOfBase(): Promise<readonly string[]> {
  const below = await readdir(join(MACHINE, 'rootfs'), { recursive: true, withFileTypes: true });
  const files = below.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return ['build-base.sh', 'initrd-init.sh', ...files.map((path) => path.slice(MACHINE.length + 1))].sort();
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** As make-disk.sh lays it out. */
const BOOT_PARTITION = { atMib: 1, sizeMib: 8 };

/** A file of the boot partition of a machine that is off. */
export function bootFileOf(disk: string, path: string): Promise<Buffer> {
  return withBootPartition(disk, async (copy) => {
    await run('debugfs', ['-R', `dump ${path} ${copy}.file`, copy]);
    const bytes = await readFile(`${copy}.file`);
    await rm(`${copy}.file`);
    return bytes;
  });
}

export async function replaceBootFile(disk: string, path: string, text: string): Promise<void> {
  await withBootPartition(disk, async (copy) => {
    await writeFile(`${copy}.file`, text);
    await run('debugfs', ['-w', '-R', `rm ${path}`, copy]);
    await run('debugfs', ['-w', '-R', `write ${copy}.file ${path}`, copy]);
    await rm(`${copy}.file`);
    const at = [`seek=${BOOT_PARTITION.atMib}`, 'conv=notrunc,fsync'];
    await run('dd', [`if=${copy}`, `of=${disk}`, 'bs=1M', ...at, 'status=none']);
  });
}

async function withBootPartition<T>(disk: string, use: (copy: string) => Promise<T>): Promise<T> {
  const copy = `${disk}.boot`;
  const { atMib, sizeMib } = BOOT_PARTITION;
  await run('dd', [`if=${disk}`, `of=${copy}`, 'bs=1M', `skip=${atMib}`, `count=${sizeMib}`, 'status=none']);
  try {
    return await use(copy);
  } finally {
    await rm(copy, { force: true });
  }
}

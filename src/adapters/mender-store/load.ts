/**
 * Writes an LMDB file of format 1 with `mdb_load` of Debian's lmdb-utils and puts it in its place: made in a folder
 * beside, synced, then renamed, so that at every moment there is a whole store under the name. What was there before
 * gets a second name first. Source: design/compatibility.md "Store".
 */
import { constants } from 'node:fs';
import { chmod, copyFile, link, mkdir, open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UpdateError } from '../../core/errors.ts';
import type { Entries } from './dump.ts';
import { runTool, type ToolOptions } from './tool.ts';

export interface LoadOptions extends ToolOptions {
  /** Default `mdb_load`. */
  readonly program?: string;
}

/** The size LMDB and Mender use unless told otherwise. */
const LEAST_MAP_BYTES = 1024 * 1024;
const MAX_OUTPUT_BYTES = 64 * 1024;
const KEPT_SUFFIX = '.before-holdpoint';
const MAX_KEPT = 99;

/**
 * Makes a store with these entries and puts it under `path`, after `keepOld` has seen to what is there. Rejects (kind
 * `store`); then `path` is as it was.
 */
export async function loadStore(
  path: string,
  entries: Entries,
  keepOld: () => Promise<void>,
  options: LoadOptions,
): Promise<void> {
  const folder = `${path}.holdpoint-new`;
  await rm(folder, { recursive: true, force: true });
  // Beside the store: a rename does not cross file systems. Private: mdb_load knows no mode.
  await mkdir(folder, { mode: 0o700 });
  try {
    const text = join(folder, 'text');
    const fresh = join(folder, 'mender-store');
    await writeFile(text, textOf(entries), { mode: 0o600 });
    await runTool(options.program ?? 'mdb_load', ['-n', '-f', text, fresh], MAX_OUTPUT_BYTES, options);
    await chmod(fresh, 0o600);
    await sync(fresh, constants.O_RDWR);
    await keepOld();
    await rename(fresh, path);
    await sync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  } finally {
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Gives the store a second name, `.before-holdpoint`, or the first free one behind it; never one that is taken. */
export async function keepStore(path: string): Promise<string> {
  const store = await stat(path, { bigint: true });
  for (let number = 1; number <= MAX_KEPT; number++) {
    const kept = `${path}${KEPT_SUFFIX}${number === 1 ? '' : `.${number}`}`;
    try {
      await secondName(path, kept);
      await sync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
      return kept;
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      const other = await stat(kept, { bigint: true }).catch(() => null);
      // An attempt that got no further than this.
      if (other?.dev === store.dev && other.ino === store.ino) return kept;
    }
  }
  throw new UpdateError(
    'store',
    `${path}${KEPT_SUFFIX} and ${MAX_KEPT - 1} more of its kind are there already`,
  );
}

/** A file system without hard links (FAT) gets a copy, which is whole before it has its name. */
async function secondName(path: string, kept: string): Promise<void> {
  try {
    await link(path, kept);
  } catch (error) {
    if (!['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK'].includes(codeOf(error))) throw error;
    const handle = await open(kept, constants.O_RDONLY).catch(() => null);
    if (handle !== null) {
      await handle.close();
      throw Object.assign(new Error(`${kept} is there already`), { code: 'EEXIST' });
    }
    await copyFile(path, `${kept}.new`);
    await sync(`${kept}.new`, constants.O_RDWR);
    await rename(`${kept}.new`, kept);
  }
}

function textOf(entries: Entries): string {
  const size = [...entries].reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  // Room for the pages of the tree, and for what the client writes next to it.
  const mapBytes = Math.max(LEAST_MAP_BYTES, 2 ** Math.ceil(Math.log2(size * 8 + 1)));
  const header = ['VERSION=3', 'format=bytevalue', 'type=btree', `mapsize=${mapBytes}`, 'HEADER=END'];
  const sorted = [...entries].sort(([one], [other]) => (one < other ? -1 : 1));
  const lines = sorted.flatMap(([key, value]) => [
    ` ${Buffer.from(key, 'latin1').toString('hex')}`,
    ` ${Buffer.from(value).toString('hex')}`,
  ]);
  return [...header, ...lines, 'DATA=END', ''].join('\n');
}

async function sync(path: string, flags: number): Promise<void> {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/**
 * One writer per datastore: a lock that dies with its holder.
 *
 * It is a kernel lock, flock(2), on the directory `<datastore>/holdpoint` itself. Node cannot take one, so the
 * program `flock` (util-linux, or busybox) is started with our open descriptor and takes it on that: such a lock
 * belongs to the open file, not to the process that asked, and stays ours after the helper has ended. This is what
 * `exec 9<dir; flock -n 9` does in a shell. Why this and not something else:
 *
 * - It goes when the last descriptor is closed, by the kernel, on any death, SIGKILL included. No stale lock exists,
 *   so nothing ever has to judge whether a holder is alive: pids that were used again, pid namespaces of containers
 *   and boot ids cannot mislead it. Node opens files close-on-exec, so update modules and scripts do not keep it.
 * - It hangs on device and inode, not on a path: two mount paths or two containers with the same directory meet in
 *   the same lock. An abstract socket would be private to each network namespace, and any user could occupy its name.
 * - The directory cannot be removed while it holds our files, as a lock file could be (a second process would then
 *   lock a new one). After taking it we still check that the path leads to the inode we locked.
 *
 * `lock-holder.json` beside it is only there to name the holder to a loser; nothing is decided by it.
 * Source: design/compatibility.md "One writer"; design/faults.md R25.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, writeFile, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UpdateError } from '../../core/errors.ts';

export interface LockHolder {
  /** As seen in the holder's own pid namespace. */
  readonly pid: number;
  /** For example `holdpointd`. */
  readonly command: string;
  /** Wall clock, ISO 8601; as right as the clock was. */
  readonly since: string;
}

export interface DatastoreLock {
  /** Lets the next one in. Safe to call twice. */
  release(): Promise<void>;
}

export interface LockOptions {
  /** `<datastore>/holdpoint`; created (0700) when missing. */
  readonly directory: string;
  /** Who we are, for whoever comes second. */
  readonly command: string;
  /** The program `flock`, looked up in PATH. */
  readonly flockProgram?: string;
}

const HOLDER_FILE = 'lock-holder.json';
const HELPER_LIMIT_MS = 10_000;
/** A winner writes its name just after it has won: a loser waits this long for it. */
const HOLDER_LOOKS = 20;
const HOLDER_LOOK_INTERVAL_MS = 25;

/**
 * Takes the lock or rejects at once: kind `wrongState` with details `holder-pid`, `holder-command`, `holder-since`
 * when somebody has it, kind `store` when it cannot be taken at all.
 */
export async function lockDatastore(options: LockOptions): Promise<DatastoreLock> {
  const { directory, command } = options;
  // A directory that is replaced between open and lock is met once in a lifetime; twice means something is wrong.
  for (let attempt = 0; attempt < 3; attempt++) {
    const handle = await openDirectory(directory);
    try {
      if (!(await takeLock(handle, options))) throw heldError(directory, await readHolder(directory));
      if (!(await isSameDirectory(handle, directory))) {
        await handle.close();
        continue;
      }
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
    await writeHolder(directory, command);
    return lockOf(handle, directory);
  }
  throw cannotLock(directory, 'the directory keeps being replaced');
}

/** Handles that hold a lock. A FileHandle nobody refers to is closed by the garbage collector, and the lock with it. */
const held = new Set<FileHandle>();

function lockOf(handle: FileHandle, directory: string): DatastoreLock {
  held.add(handle);
  return {
    async release() {
      if (!held.delete(handle)) return;
      await rm(join(directory, HOLDER_FILE), { force: true }).catch(() => undefined);
      await handle.close();
    },
  };
}

async function openDirectory(directory: string): Promise<FileHandle> {
  try {
    await makeDurably(directory);
    return await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw cannotLock(directory, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

/** The state stored in it later is only as durable as its entry, and that of each parent we made. */
async function makeDurably(directory: string): Promise<void> {
  const first = await mkdir(directory, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = directory; ; made = dirname(made)) {
    const parent = await open(dirname(made), constants.O_RDONLY | constants.O_DIRECTORY);
    await parent.sync().finally(() => parent.close());
    if (made === first || made === dirname(made)) return;
  }
}

async function isSameDirectory(handle: FileHandle, directory: string): Promise<boolean> {
  const ours = await handle.stat({ bigint: true });
  const there = await stat(directory, { bigint: true }).catch(() => null);
  return there !== null && there.dev === ours.dev && there.ino === ours.ino;
}

/** Whether we got it. */
async function takeLock(handle: FileHandle, options: LockOptions): Promise<boolean> {
  const program = options.flockProgram ?? 'flock';
  const { status, output } = await new Promise<{ status: number | string; output: string }>(
    (resolve, reject) => {
      // Short options only: busybox has no long ones. Descriptor 3 shares our open file.
      const child = spawn(program, ['-x', '-n', '3'], { stdio: ['ignore', 'ignore', 'pipe', handle.fd] });
      let output = '';
      const limit = setTimeout(() => child.kill('SIGKILL'), HELPER_LIMIT_MS);
      child.stderr?.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-500);
      });
      child.on('error', (cause: NodeJS.ErrnoException) => {
        clearTimeout(limit);
        const why =
          cause.code === 'ENOENT' ? `the program ${program} is missing (package util-linux)` : cause.message;
        reject(cannotLock(options.directory, why, cause));
      });
      child.on('close', (code, signal) => {
        clearTimeout(limit);
        resolve({ status: code ?? signal ?? 'unknown', output: output.trim() });
      });
    },
  );
  if (status === 0) return true;
  // Exit status 1 without a word is "held by somebody else", in util-linux and in busybox.
  if (status === 1 && output === '') return false;
  throw cannotLock(options.directory, `${program} ended with ${status}${output === '' ? '' : `: ${output}`}`);
}

async function writeHolder(directory: string, command: string): Promise<void> {
  const holder: LockHolder = { pid: process.pid, command, since: new Date().toISOString() };
  const path = join(directory, HOLDER_FILE);
  // Only a courtesy: a full or read-only disk must not keep the service from starting.
  try {
    await writeFile(`${path}.new`, `${JSON.stringify(holder)}\n`, { mode: 0o600 });
    await rename(`${path}.new`, path);
  } catch {
    await rm(path, { force: true }).catch(() => undefined);
  }
}

/** null = it does not say. */
async function readHolder(directory: string): Promise<LockHolder | null> {
  for (let look = 0; look < HOLDER_LOOKS; look++) {
    const text = await readFile(join(directory, HOLDER_FILE), 'utf8').catch(() => '');
    const holder = parseHolder(text);
    // A holder that is not alive is the one before: the present one has not written its name yet.
    if (holder && isAlive(holder.pid)) return holder;
    await sleep(HOLDER_LOOK_INTERVAL_MS);
  }
  return parseHolder(await readFile(join(directory, HOLDER_FILE), 'utf8').catch(() => ''));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

function parseHolder(text: string): LockHolder | null {
  try {
    const value = JSON.parse(text) as Partial<Record<keyof LockHolder, unknown>> | null;
    const { pid, command, since } = value ?? {};
    if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) return null;
    if (typeof command !== 'string' || typeof since !== 'string') return null;
    return { pid, command: command.slice(0, 100), since: since.slice(0, 40) };
  } catch {
    return null;
  }
}

function heldError(directory: string, holder: LockHolder | null): UpdateError {
  const who = holder
    ? `${holder.command} (process ${holder.pid}) since ${holder.since}`
    : 'a process that has not left its name';
  return new UpdateError('wrongState', `the datastore ${directory} is in use by ${who}`, {
    details: {
      reason: 'datastore-in-use',
      path: directory,
      ...(holder
        ? { 'holder-pid': holder.pid, 'holder-command': holder.command, 'holder-since': holder.since }
        : {}),
    },
  });
}

function cannotLock(directory: string, why: string, cause?: unknown): UpdateError {
  return new UpdateError('store', `locking the datastore ${directory}: ${why}`, {
    cause,
    details: { operation: 'locking', path: directory },
  });
}

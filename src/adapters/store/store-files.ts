/**
 * The file operations the store is made of, as a small port of its own: the same store code runs on the real
 * file system and on one that tears writes, fails fsync or loses what was not synced. Every operation fails
 * with a Node system error (`code` such as ENOSPC); the store alone gives those a meaning.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsync,
  open as openFile,
  openSync,
  write as writeBytes,
} from 'node:fs';
import { mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

export interface StoreFile {
  /** All of the bytes, after those written before; the first ones at the start of the file. */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when content and length are on the medium. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface StoreFiles {
  /** Creates the directory (mode 0700) and missing parents, durably. Nothing to do = success. */
  makeDirectory(path: string): Promise<void>;
  /** Opens for writing, empty, mode 0600; never through a symbolic link. */
  create(path: string): Promise<StoreFile>;
  /**
   * Opens a file for writing over what it holds, from its start; its length stays. null = nothing to be written over:
   * absent, not a regular file, shorter than `bytes`, or known by a second name, which must not change with it.
   */
  overwrite(path: string, bytes: number): Promise<StoreFile | null>;
  /** At most `maxBytes + 1` bytes, so that the caller can tell a file that is too long. */
  read(path: string, maxBytes: number): Promise<Uint8Array>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a directory with all it holds. Absent = success. */
  remove(path: string): Promise<void>;
  /** Names in a directory; a missing directory fails with ENOENT. */
  list(directory: string): Promise<readonly string[]>;
  /** Resolves when what the file holds at present is on the medium, whoever wrote it. */
  syncFile(path: string): Promise<void>;
  /** Resolves when creations, renames and removals in it are on the medium. */
  syncDirectory(path: string): Promise<void>;
  /** Bytes this process may still use there. */
  freeBytes(directory: string): Promise<number>;
}

const { O_CREAT, O_DIRECTORY, O_DSYNC, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } = constants;
const openAsync = promisify(openFile);
const writeAsync = promisify(writeBytes);
const syncAsync = promisify(fsync);

/*
 * A client that gives an order waits for its save, and each asynchronous operation is a journey to another thread and
 * back, which a busy device makes long. What waits for the medium or for the file system's journal is asynchronous;
 * what only looks something up that is in memory, or lets go of it, is not.
 */
async function syncOpened(path: string, flags: number): Promise<void> {
  const opened = openSync(path, O_RDONLY | flags);
  try {
    await syncAsync(opened);
  } finally {
    closeSync(opened);
  }
}

const syncDirectory = (path: string): Promise<void> => syncOpened(path, O_DIRECTORY);

/** Each write is on the medium, length included, when it resolves (O_DSYNC): one journey instead of two. */
function syncedFile(file: number): StoreFile {
  return {
    async write(bytes) {
      for (let at = 0; at < bytes.length;) {
        at += (await writeAsync(file, bytes, at, bytes.length - at)).bytesWritten;
      }
    },
    sync: () => Promise.resolve(),
    async close() {
      closeSync(file);
    },
  };
}

/** What is not there, or is a link, a named pipe, a directory. */
const NO_FILE_CODES = new Set(['ENOENT', 'ELOOP', 'ENXIO', 'EISDIR']);

export const realStoreFiles: StoreFiles = {
  async makeDirectory(path) {
    if (existsSync(path)) return;
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    // A new directory is only as durable as its entry in the directory above.
    for (let made = path; ; made = dirname(made)) {
      await syncDirectory(dirname(made));
      if (made === first || made === dirname(made)) return;
    }
  },

  async create(path) {
    return syncedFile(await openAsync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_DSYNC, 0o600));
  },

  async overwrite(path, bytes) {
    let file: number;
    try {
      // O_NONBLOCK: as below.
      file = openSync(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_DSYNC);
    } catch (error) {
      if (error instanceof Error && 'code' in error && NO_FILE_CODES.has(String(error.code))) return null;
      throw error;
    }
    const facts = fstatSync(file);
    if (facts.isFile() && facts.nlink === 1 && facts.size >= bytes) return syncedFile(file);
    closeSync(file);
    return null;
  },

  async read(path, maxBytes) {
    // O_NONBLOCK: opening a FIFO that was put in the way must not hang.
    const handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const { size } = await handle.stat();
      const buffer = Buffer.allocUnsafe(Math.min(size, maxBytes) + 1);
      let length = 0;
      while (length < buffer.length) {
        const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
        if (bytesRead === 0) break;
        length += bytesRead;
      }
      return buffer.subarray(0, length);
    } finally {
      await handle.close();
    }
  },

  rename,
  remove: (path) => rm(path, { recursive: true, force: true }),
  list: (directory) => readdir(directory),
  syncFile: (path) => syncOpened(path, O_NOFOLLOW | O_NONBLOCK),
  syncDirectory,

  async freeBytes(directory) {
    const facts = await statfs(directory);
    return facts.bavail * facts.bsize;
  },
};

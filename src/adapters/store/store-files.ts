/**
 * The file operations the store is made of, as a small port of its own: the same store code runs on the real
 * file system and on one that tears writes, fails fsync or loses what was not synced. Every operation fails
 * with a Node system error (`code` such as ENOSPC); the store alone gives those a meaning.
 */
import {
  closeSync,
  constants,
  existsSync,
  fsync,
  open as openFile,
  openSync,
  write as writeBytes,
} from 'node:fs';
import { mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

export interface StoreFile {
  /** Appends all of the bytes. */
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
  /** At most `maxBytes + 1` bytes, so that the caller can tell a file that is too long. */
  read(path: string, maxBytes: number): Promise<Uint8Array>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a directory with all it holds. Absent = success. */
  remove(path: string): Promise<void>;
  /** Names in a directory; a missing directory fails with ENOENT. */
  list(directory: string): Promise<readonly string[]>;
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
async function syncDirectory(path: string): Promise<void> {
  const directory = openSync(path, O_RDONLY | O_DIRECTORY);
  try {
    await syncAsync(directory);
  } finally {
    closeSync(directory);
  }
}

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
    const file = await openAsync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_DSYNC, 0o600);
    return {
      // Each write is on the medium, length included, when it resolves (O_DSYNC): one journey instead of two.
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
  syncDirectory,

  async freeBytes(directory) {
    const facts = await statfs(directory);
    return facts.bavail * facts.bsize;
  },
};

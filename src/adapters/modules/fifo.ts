/**
 * The writing end of a named pipe, without ever blocking: not the event loop, and not one of the four threads
 * that do all other file work.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { codeOf } from './errors.ts';

/**
 * Shortest and longest pause between attempts to open, milliseconds, and the part of the time waited so far that a
 * pause may add: a reader that comes at once is not kept waiting, one that never comes costs next to nothing.
 */
const SHORTEST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 20;
const PAUSE_PART = 1 / 8;
/**
 * One write is as large as the pipe: 64 KiB. Measured: 1.7 GB/s; 1 MiB at once 1.0 GB/s, because every refill is
 * then a partial write and a trip through the poll loop.
 */
const SLICE_BYTES = 64 * 1024;

/** What a race answers when the module has ended first. */
export const ENDED = Symbol('the module has ended');

/** Waits for work, but not longer than the module lives. One wait at a time. */
export interface ModuleWatch {
  readonly isOver: boolean;
  /** What comes first: the outcome of the work, or ENDED; the work is then left to itself. */
  race<T>(work: PromiseLike<T>): Promise<T | typeof ENDED>;
}

/**
 * Not `Promise.race`: that would hang one more reaction on the same promise for every chunk, each keeping its
 * chunk alive until the module ends.
 */
export function watchModule(exited: PromiseLike<unknown>): ModuleWatch {
  let isOver = false;
  let onOver: (() => void) | null = null;
  void exited.then(() => {
    isOver = true;
    onOver?.();
  });
  return {
    get isOver() {
      return isOver;
    },
    race(work) {
      return new Promise((resolve, reject) => {
        onOver = () => resolve(ENDED);
        work.then(
          (value) => {
            onOver = null;
            resolve(value);
          },
          (error: unknown) => {
            onOver = null;
            reject(error);
          },
        );
        if (isOver) onOver();
      });
    },
  };
}

/**
 * Opens a FIFO for writing once somebody reads it: open(2) with O_NONBLOCK answers ENXIO until a reader is in its
 * own open. Resolves with ENDED when the module ends first. Rejects when the path is no FIFO or cannot be opened.
 */
export async function openForWriting(path: string, watch: ModuleWatch): Promise<number | typeof ENDED> {
  const startedMs = performance.now();
  for (;;) {
    // An attempt after the end could find nobody but a process that outlived its module.
    if (watch.isOver) return ENDED;
    const fd = tryOpen(path);
    if (fd !== null) return fd;
    const waitedMs = performance.now() - startedMs;
    const pauseMs = Math.min(Math.max(waitedMs * PAUSE_PART, SHORTEST_PAUSE_MS), LONGEST_PAUSE_MS);
    const abort = new AbortController();
    const pause = sleep(pauseMs, undefined, { signal: abort.signal }).catch(() => {});
    await watch.race(pause);
    abort.abort();
  }
}

/** null = no reader yet. The calls are synchronous, and cannot wait: O_NONBLOCK, and O_NOFOLLOW against surprises. */
function tryOpen(path: string): number | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (error) {
    if (codeOf(error) === 'ENXIO') return null;
    throw error;
  }
  if (fstatSync(fd).isFIFO()) return fd;
  closeSync(fd);
  throw new Error(`${path} is not the named pipe it was made as`);
}

/** Writes a short line at once (atomic up to 4096 bytes into an empty pipe) and closes. */
export function writeLineAndClose(fd: number, line: string): void {
  try {
    writeSync(fd, line);
  } finally {
    closeSync(fd);
  }
}

/** Writes to a FIFO at the reader's pace. */
export interface FifoWriter {
  /** Resolves when the kernel has taken all of it. Rejects with EPIPE when nobody reads any more. */
  write(chunk: Uint8Array): Promise<void>;
  /** Lets go of the pipe; a pending write rejects. */
  close(): void;
}

export function fifoWriter(fd: number): FifoWriter {
  const socket = new Socket({ fd, readable: false, writable: true });
  // Errors are told to the write they belong to.
  socket.on('error', () => {});
  const writeSlice = (slice: Uint8Array): Promise<void> =>
    new Promise((resolve, reject) => {
      socket.write(slice, (error) => (error ? reject(error) : resolve()));
    });
  return {
    async write(chunk) {
      for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
        await writeSlice(chunk.subarray(at, at + SLICE_BYTES));
      }
      // A pipe that is never full would never let the loop come to its other work: the answers on the bus.
      await nextTurn();
    },
    close() {
      socket.destroy();
    },
  };
}

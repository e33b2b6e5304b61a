/** Stores payload files in `files/` for a module that does not stream. Source: spec/update-modules.md section 4, 2. */
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { UpdateError } from '../../core/errors.ts';
import type { PayloadFile } from '../../ports/artifact-reader.ts';
import { isSafeName } from './discover.ts';
import { moduleError, storageError, type Call } from './errors.ts';
import { syncPath } from './file-tree.ts';

const GATHER_BYTES = 1024 * 1024;
/** Flushed this often, so that the last fsync is not minutes of dirty pages. */
const SYNC_EVERY_BYTES = 64 * 1024 * 1024;

/**
 * Writes all files (mode 0600) and flushes them. The folder is there afterwards even for no files. Rejects with
 * the error of the source, with kind `noSpace` (details `file`, `bytes-needed`: rest of the file) or `store`, or
 * with `cancelled`.
 */
export async function storeFiles(
  tree: string,
  files: AsyncIterable<PayloadFile>,
  call: Call,
  signal: AbortSignal,
): Promise<void> {
  const folder = join(tree, 'files');
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    throw storageError(`cannot make ${folder}`, error);
  }
  for await (const file of untilAborted(files, call, signal)) {
    requireSafeFile(file, call);
    await storeFile(folder, file, call, signal);
  }
  try {
    await syncPath(folder);
    await syncPath(tree);
  } catch (error) {
    throw storageError(`cannot flush ${folder}`, error);
  }
}

/** The reader has checked names already; one more look costs nothing, and a mistake would write anywhere. */
export function requireSafeFile(file: PayloadFile, call: Call): void {
  if (isSafeName(file.name)) return;
  throw moduleError(call, `the payload file name ${JSON.stringify(file.name)} is not one path component`);
}

async function storeFile(folder: string, file: PayloadFile, call: Call, signal: AbortSignal): Promise<void> {
  const path = join(folder, file.name);
  const onDisk = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw storageError(`cannot store the payload file ${path}`, error, {
        file: file.name,
        'bytes-needed': Math.max(0, file.sizeBytes - written),
      });
    }
  };
  let written = 0;
  let unsynced = 0;
  const handle = await onDisk(() => open(path, 'wx', 0o600));
  try {
    const gather = Buffer.allocUnsafe(GATHER_BYTES);
    let filled = 0;
    const put = async (bytes: Uint8Array): Promise<void> => {
      await onDisk(async () => {
        for (let at = 0; at < bytes.length;) {
          const { bytesWritten } = await handle.write(bytes, at, bytes.length - at);
          at += bytesWritten;
          written += bytesWritten;
          unsynced += bytesWritten;
        }
        if (unsynced >= SYNC_EVERY_BYTES) {
          unsynced = 0;
          await handle.datasync();
        }
      });
    };
    for await (const chunk of untilAborted(file.content, call, signal)) {
      // Large pieces need no copy; small ones are gathered, also because their buffers may be used again.
      if (filled === 0 && chunk.length >= GATHER_BYTES) {
        await put(chunk);
        continue;
      }
      for (let at = 0; at < chunk.length;) {
        const part = chunk.subarray(at, at + GATHER_BYTES - filled);
        gather.set(part, filled);
        filled += part.length;
        at += part.length;
        if (filled === GATHER_BYTES) {
          await put(gather);
          filled = 0;
        }
      }
    }
    await put(gather.subarray(0, filled));
    requireSize(file, written);
    await onDisk(() => handle.sync());
  } finally {
    await handle.close();
  }
}

/** Passes a source on, but never waits for it longer than until the abort: a source that hangs must not hang us. */
async function* untilAborted<T>(
  source: AsyncIterable<T>,
  call: Call,
  signal: AbortSignal,
): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  let isEnded = false;
  let refuse: (error: Error) => void = () => {};
  const onAbort = (): void => refuse(stopped(call));
  signal.addEventListener('abort', onAbort);
  try {
    for (;;) {
      if (signal.aborted) throw stopped(call);
      const taken = await new Promise<IteratorResult<T>>((resolve, reject) => {
        refuse = reject;
        iterator.next().then(resolve, reject);
      });
      if (taken.done) {
        isEnded = true;
        return;
      }
      yield taken.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    if (!isEnded) void iterator.return?.()?.then(undefined, () => {});
  }
}

export function stopped(call: Call): UpdateError {
  return new UpdateError('cancelled', `update module ${call.module} was stopped in ${call.action}`, {
    details: { module: call.module, action: call.action },
  });
}

/** The announced size is what a module sizes its target by. */
export function requireSize(file: PayloadFile, bytes: number): void {
  if (bytes === file.sizeBytes) return;
  throw new UpdateError(
    'internal',
    `payload file ${file.name}: ${bytes} bytes came, ${file.sizeBytes} were announced`,
    { details: { file: file.name } },
  );
}

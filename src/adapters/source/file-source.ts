/**
 * Reads a local artifact. What is opened is what was looked at: no symbolic link as the last component, a regular
 * file only, and, where the location says so, the very same device and inode.
 *
 * Every chunk is a buffer of its own, so a consumer may keep it. A ring of reused buffers was measured at 8.4 GB/s
 * against 4.5 GB/s from the page cache; both are far above what hashing and writing take, and a chunk overwritten
 * behind a consumer's back is a corruption nobody would find.
 */
import { constants, type BigIntStats } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { UpdateError } from '../../core/errors.ts';
import type { ArtifactBytes, ArtifactLocation } from '../../ports/artifact-source.ts';

export type FileLocation = Extract<ArtifactLocation, { readonly kind: 'file' }>;

const CHUNK_BYTES = 1024 * 1024;
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/** Rejects with kind `source` (details `path`, and `error-code` from the system), or `cancelled`. */
export async function openFileSource(location: FileLocation, signal: AbortSignal): Promise<ArtifactBytes> {
  const { path } = location;
  if (signal.aborted) throw cancelled(path);
  let handle: FileHandle;
  try {
    // O_NONBLOCK: opening a named pipe without a writer would hang for ever; on regular files it changes nothing.
    handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (cause) {
    throw failed(path, cause);
  }
  try {
    const facts = await handle.stat({ bigint: true });
    requireSameRegularFile(location, facts);
    const sizeBytes = Number(facts.size);
    // Whoever aborts without having read anything still gets the descriptor closed.
    const closeUnread = (): void => void handle.close().catch(() => undefined);
    if (signal.aborted) throw cancelled(path);
    signal.addEventListener('abort', closeUnread, { once: true });
    let isTaken = false;
    return {
      sizeBytes,
      chunks: {
        [Symbol.asyncIterator]() {
          if (isTaken) throw new UpdateError('internal', `${path} is being read a second time`);
          isTaken = true;
          return readChunks(handle, path, sizeBytes, signal, closeUnread);
        },
      },
    };
  } catch (error) {
    await handle.close().catch(() => undefined);
    throw error instanceof UpdateError ? error : failed(path, error);
  }
}

function requireSameRegularFile(location: FileLocation, facts: BigIntStats): void {
  const { path, device, inode } = location;
  if (!facts.isFile()) {
    throw new UpdateError('source', `${path}: found ${kindOf(facts)}, expected a regular file`, {
      details: { path },
    });
  }
  const isOther =
    (device !== undefined && device !== String(facts.dev)) ||
    (inode !== undefined && inode !== String(facts.ino));
  if (isOther) {
    throw new UpdateError(
      'source',
      `${path}: found device ${facts.dev} inode ${facts.ino}, expected device ${device ?? 'any'} inode ${inode ?? 'any'}: ` +
        'the file was replaced since it was looked at',
      { details: { path, reason: 'replaced' } },
    );
  }
}

function kindOf(facts: BigIntStats): string {
  if (facts.isDirectory()) return 'a directory';
  if (facts.isFIFO()) return 'a named pipe';
  return facts.isBlockDevice() || facts.isCharacterDevice() ? 'a device' : 'a special file';
}

/** One read is always under way while the consumer works on the chunk before. */
async function* readChunks(
  handle: FileHandle,
  path: string,
  sizeBytes: number,
  signal: AbortSignal,
  closeUnread: () => void,
): AsyncGenerator<Uint8Array, void, void> {
  // From here on, and not from the moment the iterator was made, the `finally` below closes the file.
  signal.removeEventListener('abort', closeUnread);
  let at = 0;
  const readNext = async (): Promise<Uint8Array> => {
    const wanted = Math.min(CHUNK_BYTES, sizeBytes - at);
    const buffer = Buffer.allocUnsafeSlow(wanted);
    const { bytesRead } = await handle.read(buffer, 0, wanted, at);
    at += bytesRead;
    return bytesRead === wanted ? buffer : buffer.subarray(0, bytesRead);
  };
  let next: Promise<Uint8Array> | null = null;
  try {
    if (signal.aborted) throw cancelled(path);
    let yielded = 0;
    while (yielded < sizeBytes) {
      next ??= readNext();
      const chunk = await next;
      next = null;
      if (signal.aborted) throw cancelled(path);
      if (chunk.length === 0) throw shrunk(path, yielded, sizeBytes);
      yielded += chunk.length;
      if (at < sizeBytes) {
        next = readNext();
        // Its failure is met on the next turn; meanwhile it must not count as unhandled.
        next.catch(() => undefined);
      }
      yield chunk;
      if (signal.aborted) throw cancelled(path);
    }
  } catch (error) {
    throw error instanceof UpdateError ? error : failed(path, error);
  } finally {
    await next?.catch(() => undefined);
    await handle.close().catch(() => undefined);
  }
}

function shrunk(path: string, found: number, expected: number): UpdateError {
  return new UpdateError(
    'source',
    `${path}: found its end after ${found} bytes, expected ${expected}: it was cut while being read`,
    {
      details: { path, 'bytes-found': found, 'bytes-expected': expected },
    },
  );
}

function failed(path: string, cause: unknown): UpdateError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const message = cause instanceof Error ? cause.message : String(cause);
  const why = code === 'ELOOP' ? 'found a symbolic link, expected a regular file' : message;
  return new UpdateError('source', `reading ${path}: ${why}`, {
    cause,
    details: { path, 'error-code': code },
  });
}

function cancelled(path: string): UpdateError {
  return new UpdateError('cancelled', `reading ${path} was cancelled`);
}

/** Copies a device to an output, perhaps compressed, and gives up when nobody takes it. */
import { createReadStream, createWriteStream, fstatSync } from 'node:fs';
import { Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { UpdateError } from '../../../core/errors.ts';

export type Compression = 'none' | 'gzip';

/** Long enough for somebody who has to type a password at the other end of a pipe; frozen, the device cannot wait longer. */
export const STALL_LIMIT_MS = 30_000;
const CHUNK_BYTES = 1024 * 1024;

export interface CopyOrder {
  readonly device: string;
  readonly compression: Compression;
  readonly output: Output;
  readonly stallLimitMs: number;
  readonly onBytes: (bytes: number) => void;
}

export interface Output {
  readonly stream: Writable;
  /** Whether it is ours to end. */
  readonly isOurs: boolean;
}

/** Standard output, so that a stalled reader or a slow disk does not stop this process. */
export function standardOutput(): Output & { readonly deviceNumber: number; readonly isFile: boolean } {
  const facts = fstatSync(1);
  const isStream = facts.isFIFO() || facts.isSocket();
  return {
    stream: isStream ? process.stdout : createWriteStream('', { fd: 1, autoClose: false }),
    isOurs: !isStream,
    deviceNumber: facts.dev,
    isFile: facts.isFile(),
  };
}

/** Rejects with kinds `source` (reading), `noSpace`, `store` (writing), `timeout` (nobody takes it), `cancelled`. */
export async function copyDevice(order: CopyOrder, signal: AbortSignal): Promise<void> {
  const { device, compression, output, stallLimitMs, onBytes } = order;
  const stalled = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const rearm = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => stalled.abort(), stallLimitMs);
  };
  let total = 0;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      total += chunk.length;
      rearm();
      onBytes(total);
      done(null, chunk);
    },
  });
  rearm();
  const source = createReadStream(device, { highWaterMark: CHUNK_BYTES });
  const parts = [source, meter, ...(compression === 'gzip' ? [createGzip()] : []), output.stream];
  try {
    await pipeline(parts as Parameters<typeof pipeline>[0] & typeof parts, {
      signal: AbortSignal.any([signal, stalled.signal]),
      end: output.isOurs,
    });
  } catch (error) {
    if (signal.aborted) throw new UpdateError('cancelled', 'interrupted');
    if (stalled.signal.aborted) {
      throw new UpdateError(
        'timeout',
        `nobody has taken any of the output for ${stallLimitMs / 1000} seconds`,
      );
    }
    throw copyError(error, device);
  } finally {
    clearTimeout(timer);
  }
}

function copyError(error: unknown, device: string): UpdateError {
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (code === 'EPIPE' || code === 'ECONNRESET') {
    return new UpdateError('store', 'whoever read the output went away before its end', { cause: error });
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new UpdateError('noSpace', `the output cannot be written: ${message}`, { cause: error });
  }
  if (syscall === 'write') {
    return new UpdateError('store', `the output cannot be written: ${message}`, { cause: error });
  }
  return new UpdateError('source', `${device} cannot be read: ${message}`, { cause: error });
}

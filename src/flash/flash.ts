/**
 * Writes an image to a block device so that it is there: the device opened for ourselves alone and held, every part
 * flushed, and all of it read back from the device and compared. Memory is bounded by two buffers. Used by the
 * rootfs-image update module (spec/update-modules.md section 8.1); errors are one line each.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readFile, stat, type FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { deviceNumber, findHolders, findWriters } from './holders.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;
const BUFFER_BYTES = MIB;
/** A device that is slower than the network must not gather gigabytes of dirty pages (design/faults.md R29). */
const SYNC_EVERY_BYTES = 64 * MIB;

export const FLASH_ERRORS = [
  'bad-input',
  'bad-target',
  'target-busy',
  'target-too-small',
  'write-failed',
  'verify-failed',
] as const;
export type FlashErrorCode = (typeof FLASH_ERRORS)[number];

export class FlashError extends Error {
  readonly code: FlashErrorCode;
  constructor(code: FlashErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'FlashError';
    this.code = code;
  }
}

export interface FlashOrder {
  /** Exactly so many bytes must come. */
  readonly inputSizeBytes: number;
  /** A file or FIFO. */
  readonly input: string;
  /** A block device. */
  readonly output: string;
}

export interface Flashed {
  readonly bytes: number;
  /** Hex, of what came and of what is on the device. */
  readonly sha256: string;
}

/** Resolves when all is on the device and equals the input. Rejects with FlashError. */
export async function flash(order: FlashOrder): Promise<Flashed> {
  // The target first: a module that finds it busy has not taken a byte from the stream.
  const target = await openTarget(order);
  try {
    const sha256 = await copy(order, target);
    await dropCache(order.output);
    const found = await digestOf(target, order);
    if (found !== sha256) {
      throw new FlashError(
        'verify-failed',
        `reading back ${order.output}: found SHA-256 ${found}, expected ${sha256}`,
      );
    }
    return { bytes: order.inputSizeBytes, sha256 };
  } finally {
    await target.close();
  }
}

async function openTarget({ output, inputSizeBytes }: FlashOrder): Promise<FileHandle> {
  const facts = await stat(output).catch((error: unknown) => {
    throw new FlashError('bad-target', `opening ${output}: ${reasonOf(error)}`, error);
  });
  if (!facts.isBlockDevice()) {
    throw new FlashError('bad-target', `opening ${output}: found no block device`);
  }
  // O_EXCL without O_CREAT: nobody has it mounted, mapped or open in this way, nor will while we do.
  const flags = constants.O_RDWR | constants.O_EXCL;
  const handle = await open(output, flags).catch(async (error: unknown) => {
    if (codeOf(error) !== 'EBUSY') {
      throw new FlashError('bad-target', `opening ${output} for writing: ${reasonOf(error)}`, error);
    }
    throw busy(output, await findHolders(facts.rdev), error);
  });
  try {
    // Whoever opened it for writing without claiming it would write into the image.
    const writers = await findWriters(facts.rdev);
    if (writers.length > 0) throw busy(output, writers);
    const sizeBytes = await deviceSize(facts.rdev);
    if (sizeBytes !== null && sizeBytes < inputSizeBytes) {
      throw new FlashError(
        'target-too-small',
        `writing to ${output}: it has ${sizeBytes} bytes, the image ${inputSizeBytes}`,
      );
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function busy(output: string, holders: readonly string[], cause?: unknown): FlashError {
  const told = holders.length === 0 ? 'something unknown' : holders.join(', ');
  return new FlashError('target-busy', `opening ${output} for writing: it is in use by ${told}`, cause);
}

/** null = the kernel does not say. */
async function deviceSize(rdev: number): Promise<number | null> {
  const path = `/sys/dev/block/${deviceNumber(rdev)}/size`;
  const sectors = await readFile(path, 'utf8').catch(() => null);
  return sectors === null ? null : Number(sectors) * 512;
}

/** Resolves with the SHA-256 of what came. */
async function copy({ input, output, inputSizeBytes }: FlashOrder, target: FileHandle): Promise<string> {
  const source = await open(input, constants.O_RDONLY).catch((error: unknown) => {
    throw new FlashError('bad-input', `opening ${input}: ${reasonOf(error)}`, error);
  });
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  let at = 0;
  let syncedAt = 0;
  try {
    for (;;) {
      const filled = await fill(source, buffer, input);
      if (at + filled > inputSizeBytes) {
        throw new FlashError('bad-input', `reading ${input}: more came than ${inputSizeBytes} bytes`);
      }
      const part = buffer.subarray(0, filled);
      hash.update(part);
      await writing(output, at, () => writeAll(target, part, at));
      at += filled;
      if (at - syncedAt >= SYNC_EVERY_BYTES) {
        await writing(output, at, () => target.datasync());
        syncedAt = at;
      }
      if (filled < BUFFER_BYTES) break;
    }
  } finally {
    await source.close();
  }
  if (at !== inputSizeBytes) {
    throw new FlashError('bad-input', `reading ${input}: ${at} bytes came, expected ${inputSizeBytes}`);
  }
  await writing(output, at, () => target.sync());
  return hash.digest('hex');
}

/** Fills the buffer; less only at the end of the input. */
async function fill(source: FileHandle, buffer: Buffer, path: string): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await source
      .read(buffer, filled, buffer.length - filled, null)
      .catch((error: unknown) => {
        throw new FlashError('bad-input', `reading ${path}: ${reasonOf(error)}`, error);
      });
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

async function writeAll(target: FileHandle, part: Buffer, position: number): Promise<void> {
  for (let done = 0; done < part.length;) {
    const { bytesWritten } = await target.write(part, done, part.length - done, position + done);
    done += bytesWritten;
  }
}

async function writing(path: string, at: number, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new FlashError('write-failed', `writing to ${path} near byte ${at}: ${reasonOf(error)}`, error);
  }
}

/** What is read back must come from the device, not from the memory it was written through. */
async function dropCache(path: string): Promise<void> {
  try {
    await run('blockdev', ['--flushbufs', path], { timeout: 10 * 60_000 });
  } catch (error) {
    throw new FlashError(
      'verify-failed',
      `emptying the cache of ${path} (blockdev --flushbufs): ${reasonOf(error)}`,
      error,
    );
  }
}

async function digestOf(target: FileHandle, { output, inputSizeBytes }: FlashOrder): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  for (let at = 0; at < inputSizeBytes;) {
    const wanted = Math.min(buffer.length, inputSizeBytes - at);
    const { bytesRead } = await target.read(buffer, 0, wanted, at).catch((error: unknown) => {
      throw new FlashError(
        'verify-failed',
        `reading back ${output} at byte ${at}: ${reasonOf(error)}`,
        error,
      );
    });
    if (bytesRead === 0) {
      throw new FlashError('verify-failed', `reading back ${output}: it ends at byte ${at}`);
    }
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest('hex');
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? 'unknown';
}

/** Without the path and call that Node appends: the sentence names them already. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return (text.split('\n')[0] ?? '').replace(/, (open|stat|read|write|fdatasync|fsync)( '.*')?$/, '');
}

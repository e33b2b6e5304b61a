/** A log that goes into a file (`--log-file`). */
import { write } from 'node:fs';
import { open } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { UpdateError } from '../../core/errors.ts';

/**
 * Appends; what was there stays. Readable by its owner alone: logs name servers and paths. What a full disk refuses is
 * lost, and the next line is tried again. Rejects with kind `config` when the file cannot be opened.
 */
export async function openLogFile(path: string): Promise<Writable> {
  try {
    const { fd } = keep(await open(path, 'a', 0o600));
    return new Writable({
      decodeStrings: true,
      write: (chunk: Buffer, _encoding, done) => write(fd, chunk, () => done()),
    });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UpdateError('config', `--log-file: ${path} cannot be written: ${why}`, {
      cause,
      details: { path },
    });
  }
}

/** A handle nobody refers to is closed by the garbage collector. */
const kept = new Set<unknown>();
function keep<T>(handle: T): T {
  kept.add(handle);
  return handle;
}

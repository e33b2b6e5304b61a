/**
 * Bytes in the order they come: a source that can be aborted, and a reader that hands out pieces of what arrives
 * without copying it. Knows nothing about archives.
 */
import { UpdateError } from '../../core/errors.ts';
import { LIMITS } from './limits.ts';

/** One step of a byte stream: the next piece, never empty; null = the end, and null again after it. */
export type Pull = () => Promise<Uint8Array | null>;

const NOTHING = new Uint8Array(0);
const ZEROS = Buffer.alloc(64 * 1024);

export function cancelled(): UpdateError {
  return new UpdateError('cancelled', 'reading the artifact was stopped on request');
}

/**
 * The incoming chunks. A chunk belongs to the reader from the moment it is handed over: the source must not write
 * to it again. Errors of the source pass unchanged; once the signal has aborted every step rejects with kind
 * `cancelled`, also one that was already waiting for a source that never answers.
 */
export class ChunkSource {
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #signal: AbortSignal;
  #rejectWaiting: ((error: Error) => void) | null = null;
  #isEnded = false;
  #isClosed = false;
  readonly #onAbort = (): void => this.#rejectWaiting?.(cancelled());

  constructor(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal) {
    this.#iterator = chunks[Symbol.asyncIterator]();
    this.#signal = signal;
    signal.addEventListener('abort', this.#onAbort);
  }

  readonly pull: Pull = async () => {
    while (!this.#isEnded) {
      const result = await this.#step();
      if (result.done === true) this.#isEnded = true;
      else if (result.value.byteLength > 0) return result.value;
    }
    return null;
  };

  async #step(): Promise<IteratorResult<Uint8Array>> {
    if (this.#signal.aborted || this.#isClosed) throw cancelled();
    try {
      return await new Promise((resolve, reject) => {
        this.#rejectWaiting = reject;
        this.#iterator.next().then(resolve, reject);
      });
    } catch (error) {
      // A source that listens to the same signal fails with an error of its own; the cause is the abort.
      throw this.#signal.aborted ? cancelled() : error;
    } finally {
      this.#rejectWaiting = null;
    }
  }

  /** Lets go of the source. Does not wait for a source that still owes an answer: it may never give one. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#signal.removeEventListener('abort', this.#onAbort);
    const isWaiting = this.#rejectWaiting !== null;
    this.#rejectWaiting?.(cancelled());
    if (this.#isEnded) return;
    const returned = Promise.resolve(this.#iterator.return?.()).then(
      () => undefined,
      () => undefined,
    );
    if (!isWaiting && !this.#signal.aborted) await returned;
  }
}

/** Takes bytes off a stream in pieces of the caller's choice and counts them. */
export class ByteReader {
  readonly #pull: Pull;
  #chunk: Uint8Array = NOTHING;
  #position = 0;
  #offset = 0;

  constructor(pull: Pull) {
    this.#pull = pull;
  }

  /** Bytes taken so far. */
  get offset(): number {
    return this.#offset;
  }

  /** The next 1 to `maxBytes` bytes, a view of what came in; null at the end of the stream. */
  async some(maxBytes: number): Promise<Uint8Array | null> {
    if (this.#position === this.#chunk.byteLength) {
      const chunk = await this.#pull();
      if (chunk === null) return null;
      this.#chunk = chunk;
      this.#position = 0;
    }
    const end = Math.min(this.#position + Math.min(maxBytes, LIMITS.chunkBytes), this.#chunk.byteLength);
    const piece = this.#chunk.subarray(this.#position, end);
    this.#position = end;
    this.#offset += piece.byteLength;
    return piece;
  }

  /** Fills the buffer; returns how many bytes there were, fewer than asked for only at the end of the stream. */
  async fill(target: Uint8Array): Promise<number> {
    let filled = 0;
    while (filled < target.byteLength) {
      const piece = await this.some(target.byteLength - filled);
      if (piece === null) break;
      target.set(piece, filled);
      filled += piece.byteLength;
    }
    return filled;
  }

  /** Reads to the end of the stream; the offset of the first byte that is not zero, or null when all are. */
  async firstNonZero(): Promise<number | null> {
    for (;;) {
      const start = this.#offset;
      const piece = await this.some(ZEROS.byteLength);
      if (piece === null) return null;
      if (!isZero(piece)) return start + piece.findIndex((byte) => byte !== 0);
    }
  }
}

/** Whether all bytes are zero; at most 64 KiB at a time. */
export function isZero(bytes: Uint8Array): boolean {
  return ZEROS.compare(bytes, 0, bytes.byteLength, 0, bytes.byteLength) === 0;
}

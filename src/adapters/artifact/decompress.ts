/**
 * Decompression of one member as a stream: gzip in this process, xz and zstd by their programs. Ends well only when
 * the whole input was one complete compressed stream and every check value in it was right.
 * Source: spec/artifact.md section 1.2 and 11; design/libraries.md, Streaming.
 */
import type { Writable } from 'node:stream';
import { cancelled, type Pull } from './bytes.ts';
import type { Compression } from './compression.ts';
import { damaged, type Engine, type UnpackContext } from './engine.ts';
import { startGunzip } from './gunzip.ts';
import { startProgram } from './program.ts';

export interface Unpacker {
  readonly pull: Pull;
  /** Stops at once; helper processes are gone when it resolves. Safe to call twice. */
  close(): Promise<void>;
}

export function unpack(compression: Compression, input: Pull, context: UnpackContext): Unpacker {
  if (compression === 'none') return { pull: input, close: async () => undefined };
  return new EngineUnpacker(compression, input, context);
}

/** Output waiting to be taken: above the first figure the engine is paused, below the second it goes on. */
const QUEUE_HIGH_BYTES = 1024 * 1024;
const QUEUE_LOW_BYTES = 512 * 1024;

class EngineUnpacker implements Unpacker {
  readonly #engine: Engine;
  readonly #signal: AbortSignal;
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #fedBytes = 0;
  #isFed = false;
  #isEnded = false;
  #isSettled = false;
  #failure: { readonly error: unknown } | null = null;
  #wake: (() => void) | null = null;
  #stopped: Promise<void> | null = null;
  readonly #onAbort = (): void => this.#fail(cancelled());

  constructor(compression: Exclude<Compression, 'none'>, input: Pull, context: UnpackContext) {
    this.#engine = compression === 'gzip' ? startGunzip(context) : startProgram(compression, context);
    this.#signal = context.signal;
    const { output, sink, failed } = this.#engine;
    output.on('data', (chunk: Uint8Array) => this.#take(chunk));
    output.once('end', () => {
      this.#isEnded = true;
      this.#wake?.();
    });
    // Errors of the streams are told by `failed` and by `settle`; unheard they would end the process.
    output.on('error', () => undefined);
    sink.on('error', () => undefined);
    failed.catch((error: unknown) => this.#fail(error));
    this.#signal.addEventListener('abort', this.#onAbort);
    if (this.#signal.aborted) this.#onAbort();
    void this.#feed(checkedStart(compression, input, context.member)).catch((error: unknown) =>
      this.#fail(error),
    );
  }

  readonly pull: Pull = async () => {
    for (;;) {
      if (this.#failure !== null) throw this.#failure.error;
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        this.#queuedBytes -= chunk.byteLength;
        if (this.#queuedBytes < QUEUE_LOW_BYTES) this.#engine.output.resume();
        return chunk;
      }
      if (this.#isSettled) return null;
      if (this.#isEnded) await this.#settle();
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  };

  close(): Promise<void> {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#fail(cancelled());
    return this.#stop();
  }

  #take(chunk: Uint8Array): void {
    if (this.#failure !== null) return;
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.byteLength;
    if (this.#queuedBytes >= QUEUE_HIGH_BYTES) this.#engine.output.pause();
    this.#wake?.();
  }

  async #settle(): Promise<void> {
    try {
      await this.#engine.settle({ isEnded: this.#isFed, bytes: this.#fedBytes });
      this.#isSettled = true;
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The first failure is the one that is reported; what follows is its consequence. */
  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#queue.length = 0;
    void this.#stop();
    this.#wake?.();
  }

  #stop(): Promise<void> {
    this.#stopped ??= this.#engine.stop();
    return this.#stopped;
  }

  async #feed(input: Pull): Promise<void> {
    const { sink } = this.#engine;
    for (let chunk = await input(); chunk !== null; chunk = await input()) {
      // An engine that stopped taking input says itself why.
      if (!sink.writable) return;
      this.#fedBytes += chunk.byteLength;
      if (!sink.write(chunk)) await drained(sink);
    }
    if (!sink.writable) return;
    this.#isFed = true;
    sink.end();
  }
}

function drained(sink: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      sink.off('drain', done);
      sink.off('close', done);
      sink.off('error', done);
      resolve();
    };
    sink.on('drain', done);
    sink.on('close', done);
    sink.on('error', done);
    if (sink.destroyed) done();
  });
}

/** First bytes of each format. zstd may start with a skippable frame, 0x184d2a50 to 0x184d2a5f. */
const MAGIC: Readonly<Record<Exclude<Compression, 'none'>, RegExp>> = {
  gzip: /^1f8b08/,
  xz: /^fd377a585a00/,
  zstd: /^(28b52ffd|5.2a4d18)/,
};
const MAGIC_BYTES = 6;

/**
 * Passes the input on once its first bytes are those of the format: the zstd program, for one, would unpack other
 * formats too.
 */
function checkedStart(compression: Exclude<Compression, 'none'>, input: Pull, member: string): Pull {
  let isChecked = false;
  return async () => {
    if (isChecked) return input();
    isChecked = true;
    let start = Buffer.alloc(0);
    while (start.byteLength < MAGIC_BYTES) {
      const chunk = await input();
      if (chunk === null) break;
      start = Buffer.concat([start, chunk]);
    }
    if (MAGIC[compression].test(start.subarray(0, MAGIC_BYTES).toString('hex'))) return start;
    const found = start.byteLength === 0 ? 'no data' : 'data in another format';
    throw damaged(member, found, `${compression} data, as the name says`);
  };
}

/**
 * The frames of one direction of a WebSocket, followed without being decoded: bytes pass through unchanged, and a frame
 * of our own can be put in where one ends. Source: RFC 6455 sections 5.2, 5.5 and 7.1.
 */
import { randomBytes } from 'node:crypto';
import { Transform, type TransformCallback } from 'node:stream';

export const CLOSE_NORMAL = 1000;
const OPCODE_CLOSE = 8;
const OPCODE_BITS = 0x0f;
const FIN = 0x80;
const MASKED = 0x80;
const LENGTH_BITS = 0x7f;
const LENGTH_16_BIT = 126;
const LENGTH_64_BIT = 127;
const MASK_BYTES = 4;

/** Emits `closeFrame` once when a close frame has passed, or has come after the direction was ended by us. */
export class FrameStream extends Transform {
  /** Of the frame's header, as far as it has come. */
  #header = Buffer.alloc(0);
  /** Of the present frame, after its header. */
  #payloadBytesLeft = 0n;
  #closing: Buffer | null = null;
  #isEnded = false;
  #hasClosed = false;

  /** A close frame has been seen. */
  get hasClosed(): boolean {
    return this.#hasClosed;
  }

  /** Sends `frame` where the present frame ends, and nothing after it. Does nothing where a close frame has passed. */
  endWith(frame: Buffer): void {
    if (this.#hasClosed || this.#closing !== null || this.writableEnded) return;
    this.#closing = frame;
    if (this.#isBetweenFrames) this.#end();
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    let at = 0;
    while (at < chunk.length) {
      const from = at;
      at = this.#payloadBytesLeft > 0n ? this.#skipPayload(chunk, at) : this.#readHeader(chunk, at);
      if (!this.#isEnded) this.push(chunk.subarray(from, at));
      if (this.#closing !== null && !this.#isEnded && this.#isBetweenFrames) this.#end();
    }
    done();
  }

  get #isBetweenFrames(): boolean {
    return this.#header.length === 0 && this.#payloadBytesLeft === 0n;
  }

  #end(): void {
    this.#isEnded = true;
    // A close frame that has just passed has said it already.
    if (!this.#hasClosed && this.#closing !== null) this.push(this.#closing);
  }

  #skipPayload(chunk: Buffer, at: number): number {
    const here = BigInt(chunk.length - at);
    const bytes = here < this.#payloadBytesLeft ? here : this.#payloadBytesLeft;
    this.#payloadBytesLeft -= bytes;
    return at + Number(bytes);
  }

  #readHeader(chunk: Buffer, at: number): number {
    const before = this.#header.length;
    // Two bytes say how long the header is.
    let header = Buffer.concat([this.#header, chunk.subarray(at, at + Math.max(2 - before, 0))]);
    const whole = header.length < 2 ? 2 : headerBytes(header);
    const from = at + header.length - before;
    header = Buffer.concat([header, chunk.subarray(from, from + whole - header.length)]);
    const next = at + header.length - before;
    if (header.length < 2 || header.length < headerBytes(header)) {
      this.#header = header;
      return next;
    }
    this.#header = Buffer.alloc(0);
    this.#payloadBytesLeft = payloadBytes(header);
    if (((header[0] ?? 0) & OPCODE_BITS) === OPCODE_CLOSE && !this.#hasClosed) {
      this.#hasClosed = true;
      this.emit('closeFrame');
    }
    return next;
  }
}

/** A close frame. `isMasked`: what a client sends must be. The reason: at most 123 bytes. */
export function closeFrame(code: number, reason: string, isMasked: boolean): Buffer {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
  payload.writeUInt16BE(code);
  payload.write(reason, 2);
  const head = Buffer.from([FIN | OPCODE_CLOSE, (isMasked ? MASKED : 0) | payload.length]);
  if (!isMasked) return Buffer.concat([head, payload]);
  const mask = randomBytes(MASK_BYTES);
  return Buffer.concat([head, mask, payload.map((byte, index) => byte ^ (mask[index % MASK_BYTES] ?? 0))]);
}

function headerBytes(header: Buffer): number {
  const second = header[1] ?? 0;
  const length = second & LENGTH_BITS;
  const lengthBytes = length === LENGTH_64_BIT ? 8 : length === LENGTH_16_BIT ? 2 : 0;
  return 2 + lengthBytes + ((second & MASKED) === 0 ? 0 : MASK_BYTES);
}

function payloadBytes(header: Buffer): bigint {
  const length = (header[1] ?? 0) & LENGTH_BITS;
  if (length === LENGTH_64_BIT) return header.readBigUInt64BE(2);
  return BigInt(length === LENGTH_16_BIT ? header.readUInt16BE(2) : length);
}

/**
 * A WebSocket server in a few lines, so that a test sees every frame as it is on the wire and can break every rule.
 * Source: RFC 6455.
 */
import { createHash } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

export interface Frame {
  readonly opcode: number;
  readonly isMasked: boolean;
  readonly payload: Buffer;
}

export const OPCODE = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export function acceptKey(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}

/** One side of an open WebSocket, over any stream. */
export class WebSocketPeer {
  readonly socket: Duplex;
  readonly frames: Frame[] = [];
  readonly #events = new EventEmitter();
  readonly #isMasking: boolean;
  #rest: Buffer = Buffer.alloc(0);
  isEnded = false;

  /** `isMasking`: as a client must. */
  constructor(socket: Duplex, isMasking = false) {
    this.socket = socket;
    this.#isMasking = isMasking;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', () => undefined);
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.isEnded = true;
        this.#events.emit('news');
      });
    }
  }

  /** The server's half of the handshake, with these further header lines. */
  static accept(message: IncomingMessage, socket: Duplex, lines: readonly string[] = []): WebSocketPeer {
    const key = String(message.headers['sec-websocket-key']);
    const head = [
      'HTTP/1.1 101 Switching Protocols',
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Accept: ${acceptKey(key)}`,
      ...lines,
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n`);
    return new WebSocketPeer(socket);
  }

  send(opcode: number, payload: Buffer | string = ''): boolean {
    return this.socket.write(frameOf(opcode, Buffer.from(payload), this.#isMasking));
  }

  /** Resolves with the first frame that fits, also one that has come already. */
  async next(fits: (frame: Frame) => boolean, withinMs = 30_000): Promise<Frame> {
    const signal = AbortSignal.timeout(withinMs);
    for (;;) {
      const found = this.frames.find(fits);
      if (found !== undefined) return found;
      if (this.isEnded) throw new Error(`the connection ended; frames: ${this.summary()}`);
      await once(this.#events, 'news', { signal }).catch(() => {
        throw new Error(`no such frame within ${withinMs} ms; frames: ${this.summary()}`);
      });
    }
  }

  async ended(withinMs = 30_000): Promise<void> {
    const signal = AbortSignal.timeout(withinMs);
    while (!this.isEnded) await once(this.#events, 'news', { signal });
  }

  /** Code and reason of the close frame that came; null = none. */
  get closed(): { readonly code: number; readonly reason: string } | null {
    const frame = this.frames.find(({ opcode }) => opcode === OPCODE.close);
    if (frame === undefined) return null;
    return { code: frame.payload.readUInt16BE(0), reason: frame.payload.subarray(2).toString() };
  }

  summary(): string {
    return this.frames.map(({ opcode, payload }) => `${opcode}:${payload.length}`).join(' ');
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const parsed = parseFrame(this.#rest);
      if (parsed === null) break;
      this.#rest = this.#rest.subarray(parsed.bytes);
      this.frames.push(parsed.frame);
    }
    this.#events.emit('news');
  }
}

export function frameOf(opcode: number, payload: Buffer, isMasked: boolean): Buffer {
  const size = payload.length;
  const head =
    size < 126
      ? Buffer.from([0x80 | opcode, size])
      : size < 65_536
        ? Buffer.from([0x80 | opcode, 126, size >> 8, size & 255])
        : Buffer.concat([Buffer.from([0x80 | opcode, 127, 0, 0, 0, 0]), uint32(size)]);
  if (!isMasked) return Buffer.concat([head, payload]);
  head[1] = (head[1] ?? 0) | 0x80;
  const mask = Buffer.from([1, 2, 3, 4]);
  return Buffer.concat([head, mask, payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0))]);
}

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
}

function parseFrame(data: Buffer): { readonly frame: Frame; readonly bytes: number } | null {
  if (data.length < 2) return null;
  const isMasked = ((data[1] ?? 0) & 0x80) !== 0;
  let size = (data[1] ?? 0) & 0x7f;
  let at = 2;
  if (size === 126) {
    if (data.length < 4) return null;
    size = data.readUInt16BE(2);
    at = 4;
  } else if (size === 127) {
    if (data.length < 10) return null;
    size = Number(data.readBigUInt64BE(2));
    at = 10;
  }
  const maskAt = at;
  if (isMasked) at += 4;
  if (data.length < at + size) return null;
  const raw = data.subarray(at, at + size);
  const mask = data.subarray(maskAt, maskAt + 4);
  const payload = isMasked ? raw.map((byte, index) => byte ^ (mask[index % 4] ?? 0)) : raw;
  return {
    frame: { opcode: (data[0] ?? 0) & 15, isMasked, payload: Buffer.from(payload) },
    bytes: at + size,
  };
}

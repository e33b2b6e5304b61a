/**
 * The handshake of a WebSocket, handed through with the server's own answer, and after it the bytes of both sides. The
 * connection is made as every other one to the server: same trust, same proxies. Source: RFC 6455 sections 4 and 7.
 */
import type { Duplex } from 'node:stream';
import { CLOSE_NORMAL, closeFrame, FrameStream } from './web-socket-frames.ts';
import type { Onward } from './relay-http.ts';

/** How the server answered. Headers in the flat form: name, value, name, value. */
export type HandshakeAnswer =
  | { readonly kind: 'accepted'; readonly headers: readonly string[]; readonly socket: Duplex }
  | {
      readonly kind: 'refused';
      readonly status: number;
      readonly statusText: string;
      readonly headers: readonly string[];
      readonly body: Buffer;
    };

/** A refusal says a sentence. */
const MAX_REFUSAL_BYTES = 64 * 1024;

/** Rejects when no answer came, or one that is none. The abort ends the attempt. */
export function shakeHands(onward: Onward, signal: AbortSignal): Promise<HandshakeAnswer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let bytes = 0;
    let status = 0;
    let statusText = '';
    let headers: readonly string[] = [];
    let leave = (): void => {};
    const settle = (act: () => void): void => {
      signal.removeEventListener('abort', leave);
      act();
    };
    const { dispatcher, origin, path, headersMs, idleMs } = onward;
    dispatcher.dispatch(
      {
        origin,
        path,
        method: 'GET',
        headers: onward.headers,
        upgrade: 'websocket',
        headersTimeout: headersMs,
        bodyTimeout: idleMs,
      },
      {
        onRequestStart(controller) {
          leave = () => controller.abort(new Error('the client has gone'));
          if (signal.aborted) return leave();
          signal.addEventListener('abort', leave, { once: true });
        },
        onRequestUpgrade(controller, _status, _headers, socket) {
          const answer = { kind: 'accepted', headers: flat(controller.rawHeaders), socket } as const;
          settle(() => resolve(answer));
        },
        onResponseStart(controller, statusCode, _headers, message) {
          status = statusCode;
          statusText = message ?? '';
          headers = flat(controller.rawHeaders);
        },
        onResponseData(controller, chunk) {
          bytes += chunk.length;
          if (bytes > MAX_REFUSAL_BYTES) controller.abort(new Error('the refusal is too long'));
          else pieces.push(chunk);
        },
        onResponseEnd() {
          settle(() =>
            resolve({ kind: 'refused', status, statusText, headers, body: Buffer.concat(pieces) }),
          );
        },
        onResponseError(_controller, error) {
          settle(() => reject(error));
        },
      },
    );
  });
}

function flat(raw: unknown): readonly string[] {
  const items = Array.isArray(raw) ? (raw as readonly (Buffer | string)[]) : [];
  return items.map((item) => (typeof item === 'string' ? item : item.toString('latin1')));
}

export interface TunnelLimits {
  /** For both sides to say good-bye when we end it. */
  readonly graceMs: number;
  /** For one side to end after the other has. */
  readonly lingerMs: number;
}

/** Networks forget silent connections, and machines die without a word. */
const KEEP_ALIVE_MS = 60_000;

/** Both directions of an open WebSocket. Ends when both sides have, or a time after the first. */
export class Tunnel {
  readonly #client: Duplex;
  readonly #server: Duplex;
  readonly #limits: TunnelLimits;
  readonly #toServer = new FrameStream();
  readonly #toClient = new FrameStream();
  #timer: NodeJS.Timeout | null = null;
  /** Resolves when both connections are closed. Never rejects. */
  readonly closed: Promise<void>;

  constructor(client: Duplex, server: Duplex, limits: TunnelLimits) {
    this.#client = client;
    this.#server = server;
    this.#limits = limits;
    this.closed = Promise.all([
      this.#connect(client, this.#toServer, server),
      this.#connect(server, this.#toClient, client),
    ]).then(() => {
      if (this.#timer !== null) clearTimeout(this.#timer);
    });
  }

  /** Tells both sides, gives them `graceMs` to answer, and closes. */
  async shutDown(reason: string): Promise<void> {
    const answered = Promise.all([this.#toServer, this.#toClient].map(seenClose));
    this.#toClient.endWith(closeFrame(CLOSE_NORMAL, reason, false));
    this.#toServer.endWith(closeFrame(CLOSE_NORMAL, reason, true));
    this.#endWithin(this.#limits.graceMs);
    await Promise.race([answered, this.closed]);
    // Both have said good-bye: nothing more is to come.
    for (const side of [this.#client, this.#server]) side.once('finish', () => side.destroy());
    this.#toClient.end();
    this.#toServer.end();
    await this.closed;
  }

  destroy(): void {
    this.#client.destroy();
    this.#server.destroy();
  }

  async #connect(from: Duplex, through: FrameStream, to: Duplex): Promise<void> {
    keepAlive(from);
    const ended = new Promise<void>((resolve) => {
      if (from.destroyed) return resolve();
      from.once('close', () => resolve());
    });
    from.on('error', () => this.destroy());
    through.on('error', () => this.destroy());
    from.once('end', () => this.#endWithin(this.#limits.lingerMs));
    from.pipe(through).pipe(to);
    await ended;
    // A connection that broke has not ended: nobody else would tell the other side.
    through.end();
    this.#endWithin(this.#limits.lingerMs);
  }

  #endWithin(ms: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.destroy(), ms);
  }
}

function seenClose(frames: FrameStream): Promise<void> {
  if (frames.hasClosed) return Promise.resolve();
  return new Promise((resolve) => frames.once('closeFrame', resolve));
}

/** Sockets; over a proxy there may be another stream. */
function keepAlive(stream: Duplex): void {
  const socket = stream as Partial<{
    setKeepAlive: (isOn: boolean, ms: number) => void;
    setTimeout: (ms: number) => void;
  }>;
  socket.setTimeout?.(0);
  socket.setKeepAlive?.(true, KEEP_ALIVE_MS);
}

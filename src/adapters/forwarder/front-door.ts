/**
 * What listens on the loopback address: looks at each request, refuses what may not pass, and hands the rest to the
 * relays. It knows the token only to compare and to pass it on. Source: spec/dbus-mender.md section 4.
 */
import { once } from 'node:events';
import { createServer, ServerResponse, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Credentials } from '../../ports/authentication.ts';
import type { Log } from '../../ports/log.ts';
import { OWN_ANSWERS, reasonOf, sendOwn, unavailable, type OwnAnswer } from './answer.ts';
import { judgeBearer } from './bearer.ts';
import { hasBody, headersForClient, headersForServer } from './headers.ts';
import { relayRequest, type Onward } from './relay-http.ts';
import { shakeHands, Tunnel } from './relay-web-socket.ts';
import { destinationOf } from './request-path.ts';

export interface DoorLimits {
  readonly maxConnections: number;
  readonly maxWebSockets: number;
  /** Of a request; the token alone may be 12 KiB. */
  readonly maxHeaderBytes: number;
  /** For a client to send its header. */
  readonly clientHeaderMs: number;
  /** Longest silence of a client, WebSockets excepted. */
  readonly clientIdleMs: number;
  /** From the end of a request to the header of the server's answer. */
  readonly headersMs: number;
  /** Longest silence inside the server's answer. */
  readonly idleMs: number;
  /** For those inside to leave when the door closes. */
  readonly graceMs: number;
  /** For one side of a WebSocket to end after the other has. */
  readonly lingerMs: number;
}

export interface DoorTools {
  /** Who may pass, and where to; read anew for each request. null = nobody. */
  readonly credentials: () => Credentials | null;
  /** A connection with the trust and the proxies of the API client. */
  readonly connect: (target: URL) => Promise<Dispatcher>;
  readonly limits: DoorLimits;
  readonly log: Log;
}

const ADDRESS = '127.0.0.1';
/** What a client may send before it has been let in. */
const MAX_EARLY_BYTES = 64 * 1024;
const GOOD_BYE = 'shutting down proxy';

type Admission =
  | { readonly isAdmitted: true; readonly credentials: Credentials; readonly path: string }
  | { readonly isAdmitted: false; readonly answer: OwnAnswer };

export class FrontDoor {
  readonly #tools: DoorTools;
  readonly #server: Server;
  readonly #tunnels = new Set<Tunnel>();
  readonly #sockets = new Set<Socket>();
  /** Handshakes under way and open tunnels. */
  #webSockets = 0;
  #isClosing = false;
  #isServerFailing = false;

  constructor(tools: DoorTools) {
    this.#tools = tools;
    const { limits } = tools;
    this.#server = createServer({
      maxHeaderSize: limits.maxHeaderBytes,
      headersTimeout: limits.clientHeaderMs,
      // A long upload is not late while it moves.
      requestTimeout: 0,
    });
    this.#server.timeout = limits.clientIdleMs;
    this.#server.maxConnections = limits.maxConnections;
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('request', (message, response) => void this.#handle(message, response, false));
    this.#server.on('upgrade', (message, socket, head) => this.#upgrade(message, socket, head));
  }

  /** Listens at `port`, 0 = any. Resolves with the port. Rejects as `listen` does. */
  async open(port: number): Promise<number> {
    this.#server.listen({ host: ADDRESS, port, exclusive: true });
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  /** Lets nobody in from now on; resolves when everybody has left, at the latest after the grace time. */
  async close(): Promise<void> {
    this.#isClosing = true;
    const emptied = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
      for (const tunnel of this.#tunnels) tunnel.destroy();
    }, this.#tools.limits.graceMs);
    await Promise.all([...[...this.#tunnels].map((tunnel) => tunnel.shutDown(GOOD_BYE)), emptied]);
    clearTimeout(timer);
  }

  #admit(message: IncomingMessage): Admission {
    const destination = destinationOf(message.url ?? '');
    const refuse = (answer: OwnAnswer): Admission => ({ isAdmitted: false, answer });
    if (destination.kind === 'unknown') return refuse(OWN_ANSWERS.unknownPath);
    if (destination.kind === 'forbidden') return refuse(OWN_ANSWERS.forbiddenPath);
    const credentials = this.#isClosing ? null : this.#tools.credentials();
    const verdict = judgeBearer(message.headers.authorization, credentials?.token ?? null);
    if (verdict === 'missing') return refuse(OWN_ANSWERS.noBearer);
    if (verdict === 'wrong' || credentials === null) return refuse(OWN_ANSWERS.wrongBearer);
    return { isAdmitted: true, credentials, path: destination.path };
  }

  async #onward(message: IncomingMessage, { serverUrl, token }: Credentials, path: string): Promise<Onward> {
    const base = new URL(serverUrl);
    return {
      dispatcher: await this.#tools.connect(base),
      origin: base.origin,
      path: `${base.pathname.replace(/\/+$/, '')}${path}`,
      headers: headersForServer(message, token),
      headersMs: this.#tools.limits.headersMs,
      idleMs: this.#tools.limits.idleMs,
    };
  }

  /** `isLast`: the connection ends with the answer. Never rejects. */
  async #handle(message: IncomingMessage, response: ServerResponse, isLast: boolean): Promise<void> {
    message.on('error', () => undefined);
    response.on('error', () => undefined);
    response.once('close', () => {
      if (this.#isClosing) setImmediate(() => this.#server.closeIdleConnections());
    });
    const admission = this.#admit(message);
    if (!admission.isAdmitted) return sendOwn(response, admission.answer, isLast);
    try {
      const onward = await this.#onward(message, admission.credentials, admission.path);
      await relayRequest(message, response, onward);
      this.#isServerFailing = false;
    } catch (error) {
      if (response.destroyed) return;
      this.#noteFailure(error);
      sendOwn(response, unavailable(error), isLast);
    }
  }

  #upgrade(message: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Node has taken its own listener away.
    socket.on('error', () => socket.destroy());
    (socket as Socket).setTimeout(0);
    const response = new ServerResponse(message);
    response.shouldKeepAlive = false;
    response.assignSocket(socket as Socket);
    response.once('finish', () => (socket as Socket).destroySoon());
    if (message.headers.upgrade?.toLowerCase() !== 'websocket') {
      // An upgrade is an offer; without a body the request is as good without it.
      if (hasBody(message)) sendOwn(response, { status: 501, text: 'Not Implemented' }, true);
      else void this.#handle(message, response, true);
      return;
    }
    const admission = this.#admit(message);
    if (!admission.isAdmitted) return sendOwn(response, admission.answer, true);
    if (message.method !== 'GET' || hasBody(message)) {
      return sendOwn(response, { status: 400, text: 'Bad Request' }, true);
    }
    if (this.#webSockets >= this.#tools.limits.maxWebSockets) {
      return sendOwn(response, OWN_ANSWERS.tooManyWebSockets, true);
    }
    this.#webSockets += 1;
    void this.#tunnel(message, socket, head, response, admission).finally(() => (this.#webSockets -= 1));
  }

  /** Resolves when the WebSocket is over. Never rejects. */
  async #tunnel(
    message: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    response: ServerResponse,
    { credentials, path }: Admission & { isAdmitted: true },
  ): Promise<void> {
    const gone = new AbortController();
    const leave = (): void => gone.abort();
    socket.once('close', leave);
    // Read meanwhile, as nobody hears otherwise that the client has gone.
    socket.once('end', leave);
    const early = [head];
    const keep = (chunk: Buffer): void => {
      early.push(chunk);
      if (early.reduce((bytes, { length }) => bytes + length, 0) > MAX_EARLY_BYTES) socket.pause();
    };
    socket.on('data', keep);
    try {
      const answer = await shakeHands(await this.#onward(message, credentials, path), gone.signal);
      this.#isServerFailing = false;
      if (answer.kind === 'refused') {
        response.sendDate = false;
        response.writeHead(answer.status, answer.statusText, headersForClient(answer.headers));
        response.end(answer.body);
        return;
      }
      answer.socket.on('error', () => answer.socket.destroy());
      if (socket.destroyed || this.#isClosing) {
        answer.socket.destroy();
        socket.destroy();
        return;
      }
      response.detachSocket(socket as Socket);
      socket.write(switchingProtocols(answer.headers), 'latin1');
      socket.off('data', keep).off('end', leave).pause();
      const sent = Buffer.concat(early);
      if (sent.length > 0) socket.unshift(sent);
      const tunnel = new Tunnel(socket, answer.socket, this.#tools.limits);
      this.#tunnels.add(tunnel);
      await tunnel.closed;
      this.#tunnels.delete(tunnel);
    } catch (error) {
      if (socket.destroyed) return;
      this.#noteFailure(error);
      sendOwn(response, OWN_ANSWERS.noWebSocket, true);
    } finally {
      socket.off('close', leave).off('end', leave).off('data', keep);
    }
  }

  /** Once, until it works again: whoever asks every second must not fill the log. */
  #noteFailure(error: unknown): void {
    if (!this.#isServerFailing) {
      this.#tools.log.warn('A request of another program did not reach the server', {
        reason: reasonOf(error),
      });
    }
    this.#isServerFailing = true;
  }
}

function switchingProtocols(headers: readonly string[]): string {
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: websocket'];
  const flat = headersForClient(headers);
  for (let at = 0; at + 1 < flat.length; at += 2) lines.push(`${flat[at]}: ${flat[at + 1]}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

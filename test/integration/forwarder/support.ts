/** A server behind the forwarder, the forwarder itself, and a client that sends exactly what it is told. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Forwarder, type ForwarderOptions } from '../../../src/adapters/forwarder/forwarder.ts';
import { BearerToken } from '../../../src/adapters/server/bearer-token.ts';
import { SystemClock } from '../../../src/adapters/system/clock.ts';
import type { Credentials } from '../../../src/ports/authentication.ts';
import { RecordingLog } from '../../support/recording-log.ts';

export const TOKEN = 'head.the-token-of-this-device.tail';

export interface Upstream {
  readonly url: string;
  readonly port: number;
  readonly requests: { readonly method: string; readonly url: string; readonly raw: readonly string[] }[];
  readonly sockets: Set<Socket>;
  /** Who answers; replaceable. */
  handle: (message: IncomingMessage, response: ServerResponse) => void;
  upgrade: (message: IncomingMessage, socket: Duplex, head: Buffer) => void;
  close(): Promise<void>;
}

export async function startUpstream(tls?: ServerOptions): Promise<Upstream> {
  const server: Server = tls ? createTlsServer(tls) : createServer();
  const sockets = new Set<Socket>();
  const note = (message: IncomingMessage): void => {
    requests.push({ method: message.method ?? '', url: message.url ?? '', raw: message.rawHeaders });
  };
  const requests: Upstream['requests'] = [];
  server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const upstream: Upstream = {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    port,
    requests,
    sockets,
    handle: (_message, response) => void response.end('the answer'),
    upgrade: (_message, socket) => void socket.destroy(),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on('request', (message, response) => {
    note(message);
    upstream.handle(message, response);
  });
  server.on('upgrade', (message, socket, head) => {
    note(message);
    socket.on('error', () => undefined);
    upstream.upgrade(message, socket, head);
  });
  return upstream;
}

export function credentials(serverUrl: string, token = TOKEN): Credentials {
  return { token: new BearerToken(token), serverUrl };
}

export function openForwarder(options: Partial<ForwarderOptions> = {}, log = new RecordingLog()): Forwarder {
  return new Forwarder(
    {
      serverCertificatePath: null,
      isTlsVerificationSkipped: false,
      clientCertificate: null,
      isKeepAliveDisabled: false,
      idleConnectionTimeoutSeconds: 0,
      proxyEnvironment: {},
      ...options,
    },
    new SystemClock(),
    log,
  );
}

export interface RawAnswer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** Sends the text as it is, on a connection of its own, and reads until the other side ends. */
export async function raw(url: string, text: string): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => undefined);
  socket.write(text);
  await once(socket, 'close');
  const all = Buffer.concat(chunks).toString('latin1');
  const [head = '', ...rest] = all.split('\r\n\r\n');
  return { status: Number(head.split(' ')[1] ?? 0), head, body: rest.join('\r\n\r\n') };
}

/** A request that asks for the end of the connection. */
export function get(
  url: string,
  target: string,
  lines: readonly string[] = [`Authorization: Bearer ${TOKEN}`],
): Promise<RawAnswer> {
  return raw(url, [`GET ${target} HTTP/1.1`, 'Host: x', 'Connection: close', ...lines, '', ''].join('\r\n'));
}

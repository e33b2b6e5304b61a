/** The sockets: plain or TLS, with limits against clients that are slow, many or silent. */
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { UpdateError } from '../core/errors.ts';

export interface ListenAddress {
  readonly host: string;
  /** 0 = any that is free. */
  readonly port: number;
}

export interface TlsFiles {
  readonly cert: Buffer;
  readonly key: Buffer;
}

const HEADERS_LIMIT_MS = 20_000;
/** Without a byte in either direction. Long uploads and downloads go on as long as they move. */
const IDLE_LIMIT_MS = 120_000;
/** Longer than clients poll, so that a connection is not closed under a poll. */
const KEEP_ALIVE_MS = 65_000;
const MAX_CONNECTIONS = 4_000;
const DRAIN_MS = 3_000;

export interface Listening {
  /** For example `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Takes no more, lets requests under way finish for 3 s, then closes every connection. */
  close(): Promise<void>;
}

/** Rejects (kind `config`) when the address cannot be had or the TLS files do not fit. */
export async function listen(
  address: ListenAddress,
  tls: TlsFiles | null,
  listener: RequestListener,
): Promise<Listening> {
  const limits = { headersTimeout: HEADERS_LIMIT_MS, requestTimeout: 0, keepAliveTimeout: KEEP_ALIVE_MS };
  let server: Server;
  try {
    server = tls
      ? createTlsServer({ ...limits, ...tls, minVersion: 'TLSv1.2' }, listener)
      : createServer(limits, listener);
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new UpdateError('config', `reading the TLS certificate and key: ${text}`, { cause });
  }
  server.setTimeout(IDLE_LIMIT_MS);
  server.maxConnections = MAX_CONNECTIONS;
  server.on('clientError', (_error, socket) => {
    if (socket.writable)
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    else socket.destroy();
  });
  server.listen(address.port, address.host);
  try {
    await once(server, 'listening');
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new UpdateError('config', `listening on ${address.host}:${address.port}: ${text}`, { cause });
  }
  const { port } = server.address() as AddressInfo;
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return {
    url: `${tls ? 'https' : 'http'}://${host}:${port}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
      await closed;
      clearTimeout(timer);
    },
  };
}

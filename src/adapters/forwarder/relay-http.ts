/**
 * One request and its answer, both streamed: what one side does not take the other does not send. Memory stays at a
 * few buffers whatever the sizes.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Dispatcher } from 'undici';
import { hasBody, headersForClient, type RequestHeaders } from './headers.ts';

export interface Onward {
  readonly dispatcher: Dispatcher;
  /** Scheme, host and port of the server. */
  readonly origin: string;
  /** Whole: with the path of the server's base URL and the query. */
  readonly path: string;
  readonly headers: RequestHeaders;
  /** From the end of the request (or its last piece the server took) to the end of the answer's header. */
  readonly headersMs: number;
  /** Longest silence inside the answer. */
  readonly idleMs: number;
}

/** A connection kept from the last request that the server has closed meanwhile. */
const STALE_CODES = ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE', 'UND_ERR_CLOSED'];
const REPEATABLE_METHODS = ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'];

/**
 * Resolves when the answer has been handed over. Rejects when there was none (nothing has been sent then) or it broke
 * off; ends the request to the server when the client goes away.
 */
export async function relayRequest(
  message: IncomingMessage,
  response: ServerResponse,
  onward: Onward,
): Promise<void> {
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  response.once('close', leave);
  const method = message.method ?? 'GET';
  const body = hasBody(message) ? bodyOf(message) : null;
  try {
    const ask = (): Promise<Dispatcher.ResponseData> =>
      onward.dispatcher.request({
        origin: onward.origin,
        path: onward.path,
        method: method as Dispatcher.HttpMethod,
        headers: onward.headers,
        body,
        signal: gone.signal,
        headersTimeout: onward.headersMs,
        bodyTimeout: onward.idleMs,
        responseHeaders: 'raw',
      });
    const isRepeatable = body === null && REPEATABLE_METHODS.includes(method);
    const answer = await ask().catch((error: unknown) => {
      if (!isRepeatable || gone.signal.aborted || !isStale(error)) throw error;
      return ask();
    });
    response.sendDate = false;
    const raw = answer.headers as unknown as readonly string[];
    const { statusText } = answer as { readonly statusText?: string };
    response.writeHead(answer.statusCode, statusText ?? '', headersForClient(raw));
    await pipeline(answer.body as Readable, response);
  } finally {
    response.off('close', leave);
    body?.destroy();
    // The rest of a body the server did not want: the answer would be lost if the connection were closed upon it.
    message.unpipe();
    message.resume();
  }
}

/** A stream of its own: undici destroys a body it does not need to the end, and the answer needs the connection. */
function bodyOf(message: IncomingMessage): PassThrough {
  const body = new PassThrough();
  body.on('error', () => undefined);
  message.once('error', (error) => body.destroy(error));
  message.once('close', () => {
    if (!message.complete) body.destroy(new Error('the client has ended its request early'));
  });
  message.pipe(body);
  return body;
}

function isStale(error: unknown): boolean {
  return error instanceof Error && 'code' in error && STALE_CODES.includes(String(error.code));
}

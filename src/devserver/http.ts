/**
 * Requests and answers of node:http in the words of this server: routes, bodies of bounded size, JSON, and one form
 * for every error. Knows nothing of devices and deployments.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import * as v from 'valibot';
import { UpdateError } from '../core/errors.ts';
import { quoted } from '../core/printable.ts';
import type { Log } from '../ports/log.ts';
import { HttpError } from './http-error.ts';

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Parts of the path named in the route. */
  readonly params: Readonly<Record<string, string>>;
  readonly requestId: string;
}

export type Handler = (exchange: Exchange) => Promise<void>;

export interface Route {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  /** `:name` = one part of the path, handed on as `params.name`. */
  readonly path: string;
  readonly handle: Handler;
}

const BODY_LIMIT_MS = 30_000;
const DRAIN_LIMIT_MS = 500;
const ABSENT = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ABORT_ERR']);
const STORE_STATUS: Readonly<Record<string, number>> = { store: 503, noSpace: 507 };

interface CompiledRoute extends Route {
  readonly pattern: RegExp;
}

export function createListener(routes: readonly Route[], log: Log): RequestListener {
  const compiled = routes.map((route): CompiledRoute => {
    const text = route.path.replace(/[.]/g, '\\.').replace(/:([a-z_]+)/g, '(?<$1>[^/]+)');
    return { ...route, pattern: new RegExp(`^${text}$`) };
  });
  return (request, response) => {
    const requestId = randomBytes(8).toString('hex');
    const startedMs = performance.now();
    response.setHeader('request_id', requestId);
    response.setHeader('X-Content-Type-Options', 'nosniff');
    request.on('error', () => {});
    response.on('error', () => {});
    const [path = '/', search = ''] = (request.url ?? '/').split(/\?(.*)/s);
    response.once('close', () => {
      log.debug('Request', {
        requestId,
        method: request.method,
        path,
        status: response.statusCode,
        elapsedMs: Math.round(performance.now() - startedMs),
      });
    });
    answer(compiled, { request, response, path, query: new URLSearchParams(search), params: {}, requestId })
      .catch((error: unknown) => sendError(request, response, requestId, error, log))
      .catch(() => response.destroy());
  };
}

async function answer(routes: readonly CompiledRoute[], exchange: Exchange): Promise<void> {
  const fitting = routes.filter(({ pattern }) => pattern.test(exchange.path));
  if (fitting.length === 0) throw new HttpError(404, `no such resource: ${quoted(exchange.path)}`);
  const method = exchange.request.method;
  const route = fitting.find((one) => one.method === method);
  if (!route) {
    const allowed = fitting.map((one) => one.method).join(', ');
    throw new HttpError(405, `method ${method} not allowed, expected ${allowed}`, { Allow: allowed });
  }
  let params: Record<string, string>;
  try {
    const groups = route.pattern.exec(exchange.path)?.groups ?? {};
    params = Object.fromEntries(
      Object.entries(groups).map(([name, text]) => [name, decodeURIComponent(text)]),
    );
  } catch {
    throw new HttpError(400, `the path ${quoted(exchange.path)} has a broken escape`);
  }
  await route.handle({ ...exchange, params });
}

async function sendError(
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  error: unknown,
  log: Log,
): Promise<void> {
  if (request.socket.destroyed || ABSENT.has(codeOf(error))) {
    log.debug('The client went away', { requestId, err: error });
    response.destroy();
    return;
  }
  let known = error instanceof HttpError ? error : null;
  if (known === null) {
    const status = error instanceof UpdateError ? (STORE_STATUS[error.kind] ?? 500) : 500;
    log.error('A request failed', { requestId, method: request.method, err: error });
    const text = status === 500 ? 'internal error' : 'the change could not be saved';
    known = new HttpError(status, text);
  }
  if (response.headersSent) {
    // The answer is under way: cut it, so that nobody takes it for whole.
    response.destroy();
    return;
  }
  if (!request.complete) await leftBehind(request);
  for (const name of response.getHeaderNames()) {
    if (/^(?:content-|etag|last-modified|accept-ranges|cache-control)/.test(name))
      response.removeHeader(name);
  }
  if (!request.complete) response.setHeader('Connection', 'close');
  sendJson(response, known.status, { error: known.message, request_id: requestId }, known.headers);
}

/**
 * Lets a client that is still sending come to its end, for a moment: a connection closed on unread bytes may take the
 * answer away with it.
 */
function leftBehind(request: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, DRAIN_LIMIT_MS);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    request.once('end', done).once('close', done).resume();
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  sendText(response, status, JSON.stringify(body), { 'Content-Type': 'application/json', ...headers });
}

export function sendText(
  response: ServerResponse,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  const bytes = Buffer.from(text);
  response.writeHead(status, { 'Cache-Control': 'no-store', ...headers, 'Content-Length': bytes.length });
  response.end(response.req.method === 'HEAD' ? undefined : bytes);
}

/** 204 has no body (spec/server-api.md section 12). */
export function sendNothing(response: ServerResponse): void {
  response.writeHead(204);
  response.end();
}

/**
 * The body's bytes as they came. Rejects with 413 past `maxBytes`, 408 when it is not there within 30 s, 415 for a
 * compressed one.
 */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') throw new HttpError(415, `found content encoding ${quoted(encoding)}`);
  const tooLarge = (): HttpError => new HttpError(413, `the request has more than ${maxBytes} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge();
  // Not by iterating: giving up in the middle would destroy the connection the answer has to take.
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const end = (error: Error | null): void => {
      clearTimeout(timer);
      request.off('data', take).off('end', finish).off('close', vanish);
      if (error === null) resolve(Buffer.concat(chunks));
      else reject(error);
    };
    const take = (chunk: Buffer): void => {
      length += chunk.length;
      if (length > maxBytes) end(tooLarge());
      else chunks.push(chunk);
    };
    const finish = (): void => end(null);
    const vanish = (): void => end(new HttpError(400, 'the request ended early'));
    const timer = setTimeout(
      () => end(new HttpError(408, `the request was not complete after ${BODY_LIMIT_MS / 1000} s`)),
      BODY_LIMIT_MS,
    );
    request.on('data', take).once('end', finish).once('close', vanish);
  });
}

/** The body as JSON of the wanted shape. Rejects with 400 naming the member, and as {@link readBody}. */
export async function readJson<T>(
  request: IncomingMessage,
  maxBytes: number,
  schema: v.GenericSchema<unknown, T>,
): Promise<T> {
  return parseJson(await readBody(request, maxBytes), schema);
}

export function parseJson<T>(bytes: Uint8Array, schema: v.GenericSchema<unknown, T>): T {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new HttpError(400, 'the body is not JSON');
  }
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const where = v.getDotPath(issue) ?? 'the body';
  throw new HttpError(400, `${where}: ${issue.message}`);
}

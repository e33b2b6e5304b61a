/**
 * Downloads an artifact over http or https. One request: an interrupted download ends with a typed, transient error;
 * resuming it (Range, If-Range, a fresh link) is not done here yet.
 *
 * No message, detail or cause of an error carries user names, passwords or the query of a URL: signed links are
 * credentials.
 */
import { request, type Dispatcher } from 'undici';
import { UpdateError, type Details } from '../../core/errors.ts';
import type { ArtifactBytes } from '../../ports/artifact-source.ts';
import { makeDispatcher, type UrlSourceOptions } from './http-client.ts';

const MAX_REDIRECTS = 10;
const REDIRECT_STATUSES = new Set([301, 302, 303, 307, 308]);
const ENCODINGS_WE_CANNOT_READ = new Set(['gzip', 'x-gzip', 'deflate', 'br', 'zstd', 'compress']);

type Response = Dispatcher.ResponseData;

/**
 * Rejects with kind `source`: details `url` (without secrets), `host`, and `status`, `retry-after-seconds`,
 * `error-code` where there is one. With kind `cancelled` on abort, `invalidArgument` for a URL that is none, and
 * `config` for certificate files that cannot be read.
 */
export async function openUrlSource(
  url: string,
  options: UrlSourceOptions,
  signal: AbortSignal,
): Promise<ArtifactBytes> {
  const start = parseUrl(url);
  if (signal.aborted) throw cancelled(start);
  const dispatcher = await makeDispatcher(options);
  const letGo = (): void => void dispatcher.destroy().catch(() => undefined);
  try {
    const { response, at } = await follow(start, dispatcher, signal);
    const sizeBytes = contentLength(response, at);
    const dropUnread = (): void => {
      // The body fails with the abort; without a reader that failure would end the process.
      response.body.on('error', () => undefined);
      letGo();
    };
    if (signal.aborted) dropUnread();
    else signal.addEventListener('abort', dropUnread, { once: true });
    let isTaken = false;
    return {
      sizeBytes,
      chunks: {
        [Symbol.asyncIterator]() {
          if (isTaken) throw new UpdateError('internal', `${safe(at)} is being read a second time`);
          isTaken = true;
          return readBody(response, at, sizeBytes, signal, letGo, dropUnread);
        },
      },
    };
  } catch (error) {
    letGo();
    throw asUpdateError(error, start, signal);
  }
}

function parseUrl(text: string, base?: URL): URL {
  let url: URL | null = null;
  try {
    url = new URL(text, base);
  } catch {
    // The error of the parser repeats the text.
  }
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.hostname === '') {
    const found = url ? `a URL of scheme ${url.protocol}` : 'something else';
    throw new UpdateError(
      'invalidArgument',
      `found ${found}, expected a URL that begins with http:// or https://`,
    );
  }
  return url;
}

/** For messages: neither user, password, query nor fragment, and not endless. */
export function safe(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`.slice(0, 300);
}

async function follow(
  start: URL,
  dispatcher: Dispatcher,
  signal: AbortSignal,
): Promise<{ readonly response: Response; readonly at: URL }> {
  let at = start;
  for (let redirects = 0; ; redirects++) {
    const response = await get(at, dispatcher, signal);
    if (response.statusCode === 200) {
      requireArtifactBody(response, at);
      return { response, at };
    }
    await discard(response);
    if (!REDIRECT_STATUSES.has(response.statusCode)) throw statusError(response, at);
    if (redirects === MAX_REDIRECTS) {
      throw sourceError(start, `it was redirected more than ${MAX_REDIRECTS} times`, { reason: 'redirects' });
    }
    at = redirected(response, at);
  }
}

async function get(at: URL, dispatcher: Dispatcher, signal: AbortSignal): Promise<Response> {
  const authorization =
    at.username === '' && at.password === '' ? {} : { authorization: `Basic ${basicCredentials(at)}` };
  const target = new URL(at);
  // Credentials go into the header of this one request; the next host never sees them.
  target.username = '';
  target.password = '';
  target.hash = '';
  try {
    return await request(target, {
      dispatcher,
      signal,
      headers: {
        accept: 'application/vnd.mender-artifact, application/octet-stream;q=0.9, */*;q=0.1',
        'accept-encoding': 'identity',
        ...authorization,
      },
    });
  } catch (error) {
    throw asUpdateError(error, at, signal);
  }
}

function basicCredentials(url: URL): string {
  const decode = (text: string): string => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };
  return Buffer.from(`${decode(url.username)}:${decode(url.password)}`).toString('base64');
}

function redirected(response: Response, from: URL): URL {
  const location = header(response, 'location');
  if (location === undefined) {
    throw sourceError(from, `status ${response.statusCode} without a Location`, {
      status: response.statusCode,
    });
  }
  let to: URL;
  try {
    to = parseUrl(location, from);
  } catch {
    throw sourceError(from, 'it was redirected to something that is no http or https URL', {
      reason: 'redirects',
    });
  }
  if (from.protocol === 'https:' && to.protocol === 'http:') {
    throw sourceError(from, `it was redirected to unencrypted http at ${to.host}, which is refused`, {
      reason: 'redirects',
    });
  }
  return to;
}

function requireArtifactBody(response: Response, at: URL): void {
  const encoding = header(response, 'content-encoding')?.trim().toLowerCase() ?? '';
  const type = header(response, 'content-type')?.split(';')[0]?.trim().toLowerCase() ?? '';
  const refuse = (why: string, details: Details): UpdateError => {
    response.body.on('error', () => undefined).destroy();
    return sourceError(at, why, details);
  };
  if (ENCODINGS_WE_CANNOT_READ.has(encoding)) {
    throw refuse(`found content encoding ${encoding}, expected identity`, { 'content-encoding': encoding });
  }
  // What a captive portal answers; transient, and no verdict on the artifact (R20).
  if (type === 'text/html') {
    throw refuse('found a web page, expected an artifact; a network log-in page may be in between', {
      'content-type': type,
    });
  }
}

function contentLength(response: Response, at: URL): number {
  const text = header(response, 'content-length');
  if (text === undefined) return -1;
  const bytes = Number(text);
  if (/^[0-9]+$/.test(text) && Number.isSafeInteger(bytes)) return bytes;
  throw sourceError(
    at,
    `found Content-Length ${JSON.stringify(text.slice(0, 40))}, expected a number of bytes`,
  );
}

async function* readBody(
  response: Response,
  at: URL,
  sizeBytes: number,
  signal: AbortSignal,
  letGo: () => void,
  dropUnread: () => void,
): AsyncGenerator<Uint8Array, void, void> {
  // From here on, and not from the moment the iterator was made, the `finally` below ends the connection.
  signal.removeEventListener('abort', dropUnread);
  let received = 0;
  try {
    if (signal.aborted) throw cancelled(at);
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      if (signal.aborted) throw cancelled(at);
      received += chunk.length;
      if (sizeBytes >= 0 && received > sizeBytes) break;
      yield chunk;
    }
    if (signal.aborted) throw cancelled(at);
    if (sizeBytes >= 0 && received !== sizeBytes) throw mismatch(at, received, sizeBytes);
  } catch (error) {
    if (error instanceof UpdateError || signal.aborted || sizeBytes < 0 || !isCutShort(error)) {
      throw asUpdateError(error, at, signal, received);
    }
    throw mismatch(at, received, sizeBytes);
  } finally {
    letGo();
  }
}

function isCutShort(error: unknown): boolean {
  return ['UND_ERR_SOCKET', 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH', 'ECONNRESET'].includes(codeOf(error));
}

function mismatch(at: URL, found: number, expected: number): UpdateError {
  return sourceError(at, `the connection ended after ${found} bytes, expected ${expected}`, {
    'bytes-found': found,
    'bytes-expected': expected,
  });
}

/** Lets the connection be used for the next request; a long answer is cut instead of read. */
async function discard(response: Response): Promise<void> {
  await response.body.dump({ limit: 64 * 1024 }).catch(() => undefined);
}

function statusError(response: Response, at: URL): UpdateError {
  const status = response.statusCode;
  const retryAfter = retryAfterSeconds(header(response, 'retry-after'));
  return sourceError(at, `found status ${status}, expected 200`, {
    status,
    ...(retryAfter === null ? {} : { 'retry-after-seconds': retryAfter }),
  });
}

/** Only the form in seconds: the form with a date needs a wall clock that can be trusted. */
function retryAfterSeconds(text: string | undefined): number | null {
  return text !== undefined && /^[0-9]{1,9}$/.test(text.trim()) ? Number(text) : null;
}

function header(response: Response, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function sourceError(at: URL, why: string, details: Details = {}, cause?: unknown): UpdateError {
  return new UpdateError('source', `downloading ${safe(at)}: ${why}`, {
    cause,
    details: { url: safe(at), host: at.host, ...details },
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

function asUpdateError(error: unknown, at: URL, signal: AbortSignal, received?: number): UpdateError {
  if (error instanceof UpdateError) return error;
  if (signal.aborted) return cancelled(at);
  const code = codeOf(error);
  const after = received === undefined ? '' : ` after ${received} bytes`;
  const why = reasonOf(error);
  return sourceError(
    at,
    `${why}${after}`,
    {
      'error-code': code,
      ...(received === undefined ? {} : { 'bytes-found': received }),
    },
    error,
  );
}

/** Of a failure that tried several addresses the first; such an error has no message of its own. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return error instanceof Error ? error.message || codeOf(error) || error.name : String(error);
}

function cancelled(at: URL): UpdateError {
  return new UpdateError('cancelled', `downloading ${safe(at)} was cancelled`);
}

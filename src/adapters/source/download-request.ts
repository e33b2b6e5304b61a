/** One request for an artifact or its rest: header fields, redirects, time limits, and what a status means. */
import { UpdateError } from '../../core/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import { headerOf, REDIRECTS, redirectTarget } from '../http/answer-header.ts';
import type { Connections } from '../http/connections.ts';
import { linkFault, type PlausibleDates } from '../http/link-error.ts';
import { request, type Answer } from '../http/request.ts';
import { retryAfterSeconds } from '../http/retry-after.ts';
import { cancelled, setback, sourceError, type Setback } from './download-error.ts';

export type Response = Answer;

/** The rest of a file: closed, because some proxies answer open ranges in part. Source: spec/server-api.md section 9. */
export interface WantedRange {
  readonly first: number;
  readonly last: number;
  /** Value of If-Range; null = nothing is known that could be sent. */
  readonly validator: string | null;
}

export interface Answered {
  readonly kind: 'answered';
  readonly response: Response;
  /** Where it came from, after redirects. */
  readonly at: URL;
}

export interface RequestTools {
  readonly connections: Connections;
  readonly clock: Clock;
  readonly headersTimeoutMs: number;
  readonly userAgent: string;
  readonly plausibleDates: PlausibleDates;
}

const MAX_REDIRECTS = 10;
/** Statuses of servers and storages for links that have run out; some use 400. */
const EXPIRED = new Set([400, 401, 403, 404, 410]);
/** Below 500, but nevertheless a matter of time. */
const PASSING = new Set([407, 408, 421, 425, 429]);

/**
 * Answers 200, 206 and 416 as they are; their body is to be read or dropped by the caller. Rejects with kind
 * `cancelled`, and with `config` when certificates or the proxy cannot be used.
 */
export async function ask(
  start: URL,
  range: WantedRange | null,
  tools: RequestTools,
  signal: AbortSignal,
): Promise<Answered | Setback> {
  let at = start;
  for (let redirects = 0; ; redirects++) {
    let response: Response;
    try {
      response = await get(start, at, range, tools, signal);
    } catch (error) {
      return failed(error, at, tools, signal);
    }
    const status = response.statusCode;
    if (status === 200 || status === 206 || status === 416) return { kind: 'answered', response, at };
    await discard(response);
    if (signal.aborted) throw cancelled(at);
    if (!REDIRECTS.has(status)) return statusSetback(response, at, tools.clock.now().wallMs);
    const to = redirectTarget(response, at);
    const problem =
      typeof to === 'string'
        ? `status ${status} ${to}`
        : redirects === MAX_REDIRECTS
          ? `it was redirected more than ${MAX_REDIRECTS} times`
          : at.protocol === 'https:' && to.protocol === 'http:'
            ? `it was redirected to unencrypted http at ${to.host}, which is refused`
            : null;
    if (problem !== null || typeof to === 'string') {
      return setback('final', sourceError(at, problem ?? '', { reason: 'redirect', status }));
    }
    at = to;
  }
}

/** A failure of the connection or of a body as a setback; rejects as {@link ask} does. */
export function failed(
  error: unknown,
  at: URL,
  tools: Pick<RequestTools, 'clock' | 'plausibleDates'>,
  signal: AbortSignal,
): Setback {
  if (signal.aborted) throw cancelled(at);
  if (error instanceof UpdateError) throw error;
  const { reason, code, sentence } = linkFault(error, tools.clock.now().wallMs, tools.plausibleDates);
  const details = { reason, ...(code === '' ? {} : { 'error-code': code }) };
  return setback('broken', sourceError(at, sentence, details, error));
}

async function get(
  start: URL,
  at: URL,
  range: WantedRange | null,
  { connections, headersTimeoutMs, userAgent }: RequestTools,
  signal: AbortSignal,
): Promise<Response> {
  const target = new URL(at);
  target.username = '';
  target.password = '';
  target.hash = '';
  const dispatcher = await connections.to(target);
  const response = await orAborted(
    request(dispatcher, target, {
      signal,
      headersTimeout: headersTimeoutMs,
      // Silence is measured where somebody waits for it: a reader that pauses is no silent server.
      bodyTimeout: 0,
      headers: {
        'user-agent': userAgent,
        accept: 'application/vnd.mender-artifact, application/octet-stream;q=0.9, */*;q=0.1',
        'accept-encoding': 'identity',
        ...(range === null ? {} : { range: `bytes=${range.first}-${range.last}` }),
        ...(range?.validator ? { 'if-range': range.validator } : {}),
        // Those of the link itself; another origin never sees them.
        ...(at.origin === start.origin ? basicAuthorization(start) : {}),
      },
    }),
    signal,
  );
  // Without a reader the failure of a body would end the process.
  response.body.on('error', () => undefined);
  return response;
}

/** The client looks at the signal only once it is connected, which may take as long as the limit for that. */
async function orAborted(wanted: Promise<Response>, signal: AbortSignal): Promise<Response> {
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(new UpdateError('cancelled', 'the request was cancelled'));
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  aborted.catch(() => undefined);
  wanted.then(
    ({ body }) => (signal.aborted ? void body.on('error', () => undefined).destroy() : undefined),
    () => undefined,
  );
  try {
    return await Promise.race([wanted, aborted]);
  } finally {
    if (stop) signal.removeEventListener('abort', stop);
  }
}

function basicAuthorization(url: URL): Record<string, string> {
  if (url.username === '' && url.password === '') return {};
  const decode = (text: string): string => {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  };
  const pair = `${decode(url.username)}:${decode(url.password)}`;
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

/** Overload and faults are a matter of time, and never a verdict on the deployment (design/faults.md R17, R18). */
function statusSetback(response: Response, at: URL, nowMs: number): Setback {
  const status = response.statusCode;
  const seconds = retryAfterSeconds(headerOf(response, 'retry-after'), headerOf(response, 'date'), nowMs);
  const error = sourceError(at, `found status ${status}, expected 200 or 206`, {
    reason: status === 407 ? 'proxy' : 'status',
    status,
    ...(seconds === null ? {} : { 'retry-after-seconds': seconds }),
  });
  if (EXPIRED.has(status)) return setback('expired', error);
  return setback(status >= 500 || PASSING.has(status) ? 'refused' : 'final', error, seconds);
}

/** Lets the connection be used for the next request; a long or slow answer is cut instead of read. */
export async function discard({ body }: Response): Promise<void> {
  const timer = setTimeout(() => body.destroy(), 1000);
  await body.dump({ limit: 64 * 1024 }).catch(() => undefined);
  clearTimeout(timer);
}

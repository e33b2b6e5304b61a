/**
 * HTTP to one server: trust, client certificate, proxies, time limits, sizes and redirects. Knows neither what is asked
 * nor who asks; credentials are headers to it that must not reach another origin.
 */
import { Readable } from 'node:stream';
import { UpdateError } from '../../core/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import { headerOf, isWebPageType, mediaTypeOf, REDIRECTS, redirectTarget } from '../http/answer-header.ts';
import { Connections, type ConnectionLimits, type ConnectionOptions } from '../http/connections.ts';
import { answerError, codeOf, linkError, type PlausibleDates } from '../http/link-error.ts';
import { request, type Answer } from '../http/request.ts';
import { retryAfterSeconds } from '../http/retry-after.ts';

export interface HttpLimits extends ConnectionLimits {
  /** One request with everything, redirects included: an answer that trickles for ever ends here. */
  readonly totalMs: number;
  /** As `headersMs` and `totalMs`, for a request with a long body: buffers on the way still have to be emptied. */
  readonly longHeadersMs: number;
  readonly longTotalMs: number;
}

export const DEFAULT_LIMITS: HttpLimits = {
  connectMs: 30_000,
  headersMs: 60_000,
  idleMs: 60_000,
  totalMs: 2 * 60_000,
  // A log of 1 MB takes ten minutes at 15 kbit/s (design/faults.md R15).
  longHeadersMs: 5 * 60_000,
  longTotalMs: 20 * 60_000,
};

export interface HttpOptions extends ConnectionOptions {
  readonly userAgent: string;
  readonly limits?: Partial<HttpLimits>;
  readonly plausibleDates: PlausibleDates;
}

export interface HttpRequest {
  /** For messages, for example `asking for a deployment`. */
  readonly doing: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH';
  readonly url: URL;
  /** Without Authorization. */
  readonly headers: Readonly<Record<string, string>>;
  /** Value of Authorization; sent to the origin of `url` only. null = none. */
  readonly authorization: string | null;
  /** null = no body. Sent exactly as it is. */
  readonly body: Buffer | null;
  /** Whether the body itself holds credentials, so that no other origin may have it. */
  readonly isBodySecret?: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  /** Whole for 2xx; of others at most the first 16 KiB. */
  readonly text: string;
  /** What `Retry-After` asks for; null = nothing. */
  readonly retryAfterSeconds: number | null;
  /** Where the answer came from, for messages. */
  readonly host: string;
  /** It came from another origin than was asked, which never saw the credentials. */
  readonly isFromElsewhere: boolean;
  /** A web page, as what stands before a server answers in its place; `text` is then empty. */
  readonly isWebPage: boolean;
}

/** Largest answer that is looked at. */
export const MAX_ANSWER_BYTES = 1024 * 1024;
const MAX_ERROR_BYTES = 16 * 1024;
const MAX_REDIRECTS = 5;
const LONG_BODY_BYTES = 64 * 1024;
const BODY_PIECE_BYTES = 16 * 1024;
/** A connection that had been kept for the next request was closed, by the other side or for new certificates. */
const STALE_CODES = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE', 'UND_ERR_CLOSED']);

export class HttpClient {
  readonly #options: HttpOptions;
  readonly #limits: HttpLimits;
  readonly #clock: Clock;
  readonly #connections: Connections;

  constructor(options: HttpOptions, clock: Clock, log: Log) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#clock = clock;
    this.#connections = new Connections(options, this.#limits, clock, log);
  }

  /**
   * Resolves with any answer that was received whole. Rejects with kind `server` (details `reason`, `host`, see
   * link-error.ts) when there was none, `config` when a certificate or a proxy cannot be used, `cancelled` on abort.
   */
  async send(wanted: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
    const totalMs = isLong(wanted.body) ? this.#limits.longTotalMs : this.#limits.totalMs;
    const limit = limited(signal, totalMs);
    try {
      return await this.#follow(wanted, limit.signal);
    } catch (error) {
      const name = { doing: wanted.doing, host: wanted.url.host };
      if (signal.aborted) throw new UpdateError('cancelled', `${wanted.doing} at ${name.host} was stopped`);
      if (limit.isOver()) {
        throw answerError(name, 'timeout', `found no whole answer within ${totalMs / 1000} s`);
      }
      if (error instanceof UpdateError) throw error;
      throw linkError(name, error, this.#clock.now().wallMs, this.#options.plausibleDates);
    } finally {
      limit.release();
    }
  }

  /** Ends every connection; requests under way fail. */
  close(): Promise<void> {
    return this.#connections.close();
  }

  async #follow(wanted: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
    let at = wanted.url;
    for (let redirects = 0; ; redirects++) {
      const isFromElsewhere = at.origin !== wanted.url.origin;
      const response = await this.#exchange(wanted, at, isFromElsewhere, signal);
      if (!REDIRECTS.has(response.statusCode)) return this.#read(response, wanted, at, isFromElsewhere);
      await response.body.dump({ limit: MAX_ERROR_BYTES }).catch(() => undefined);
      const name = { doing: wanted.doing, host: at.host };
      const status = response.statusCode;
      const to = redirectTarget(response, at);
      if (typeof to === 'string') throw answerError(name, 'redirect', `status ${status} ${to}`, { status });
      const refuse = (why: string): UpdateError =>
        answerError(name, 'redirect', `status ${status} leads to ${to.origin}, ${why}`, { status });
      if (redirects === MAX_REDIRECTS) throw refuse(`after ${MAX_REDIRECTS} others`);
      if (at.protocol === 'https:' && to.protocol === 'http:') throw refuse('which is not encrypted');
      // 301 to 303 would turn a report into a question. Log-in portals of networks answer like this.
      if (wanted.method !== 'GET' && status < 307) {
        throw refuse('expected an answer to what was sent; a network log-in page may be in between');
      }
      if (wanted.isBodySecret && to.origin !== wanted.url.origin) {
        throw refuse(
          'which does not get the credentials of this device; if it is right, configure it as the server',
        );
      }
      at = to;
    }
  }

  async #exchange(wanted: HttpRequest, at: URL, isElsewhere: boolean, signal: AbortSignal): Promise<Answer> {
    const attempt = async (): Promise<Answer> =>
      request(await this.#connections.to(at), at, {
        method: wanted.method,
        signal,
        headersTimeout: isLong(wanted.body) ? this.#limits.longHeadersMs : this.#limits.headersMs,
        bodyTimeout: this.#limits.idleMs,
        reset: this.#options.isKeepAliveDisabled,
        headers: {
          'user-agent': this.#options.userAgent,
          accept: 'application/json',
          'accept-encoding': 'identity',
          ...wanted.headers,
          ...(isElsewhere || wanted.authorization === null ? {} : { authorization: wanted.authorization }),
          ...(wanted.body === null ? {} : { 'content-length': String(wanted.body.length) }),
        },
        body: bodyOf(wanted.body),
      });
    try {
      return await attempt();
    } catch (error) {
      // Every request of a device may be repeated; the connection was most likely closed while nobody used it.
      if (signal.aborted || !STALE_CODES.has(codeOf(error))) throw error;
      return attempt();
    }
  }

  async #read(response: Answer, wanted: HttpRequest, at: URL, isFromElsewhere: boolean): Promise<HttpAnswer> {
    const name = { doing: wanted.doing, host: at.host };
    const status = response.statusCode;
    const isSuccess = status >= 200 && status < 300;
    const encoding = headerOf(response, 'content-encoding')?.trim().toLowerCase() ?? 'identity';
    const refuse = (reason: 'bad-answer' | 'web-page' | 'proxy', why: string): UpdateError => {
      response.body.on('error', () => undefined).destroy();
      return answerError(name, reason, why, { status });
    };
    if (status === 407) throw refuse('proxy', 'the proxy wants other credentials (status 407)');
    if (isSuccess && !['identity', ''].includes(encoding)) {
      throw refuse('bad-answer', `found content encoding ${encoding}, expected none`);
    }
    const isPageType = isWebPageType(mediaTypeOf(response));
    if (isSuccess && isPageType) throw refuse('web-page', WEB_PAGE);
    const chunks: Buffer[] = [];
    let bytes = 0;
    const most = isSuccess ? MAX_ANSWER_BYTES : MAX_ERROR_BYTES;
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes <= most) continue;
      if (isSuccess) throw refuse('bad-answer', `found an answer of more than ${MAX_ANSWER_BYTES} bytes`);
      response.body.on('error', () => undefined).destroy();
      break;
    }
    const text = Buffer.concat(chunks).subarray(0, most).toString('utf8');
    const isPage = isPageType || /^\s*<(!doctype|html|\?xml)/i.test(text);
    if (isSuccess && isPage) throw answerError(name, 'web-page', WEB_PAGE, { status });
    return {
      status,
      // A page for people has no place in a message of ours.
      text: isPage ? '' : text,
      retryAfterSeconds: retryAfterSeconds(
        headerOf(response, 'retry-after'),
        headerOf(response, 'date'),
        this.#clock.now().wallMs,
      ),
      host: at.host,
      isFromElsewhere,
      isWebPage: isPage,
    };
  }
}

const WEB_PAGE =
  'found a web page, expected an answer of the server; a network log-in page may be in between';

/** In pieces where it is long: each piece the network takes starts the wait for the answer anew. */
function bodyOf(body: Buffer | null): Buffer | Readable | null {
  return body !== null && isLong(body) ? Readable.from(pieces(body), { objectMode: false }) : body;
}

function isLong(body: Buffer | null): boolean {
  return body !== null && body.length > LONG_BODY_BYTES;
}

function* pieces(body: Buffer): Generator<Buffer> {
  for (let at = 0; at < body.length; at += BODY_PIECE_BYTES) yield body.subarray(at, at + BODY_PIECE_BYTES);
}

interface Limited {
  readonly signal: AbortSignal;
  readonly isOver: () => boolean;
  readonly release: () => void;
}

/** The caller's signal with a time limit, without leaving a listener behind on a signal that lives long. */
function limited(signal: AbortSignal, ms: number): Limited {
  const controller = new AbortController();
  let isOver = false;
  const stop = (): void => controller.abort();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  const timer = setTimeout(() => {
    isOver = true;
    stop();
  }, ms);
  return {
    signal: controller.signal,
    isOver: () => isOver,
    release: () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    },
  };
}

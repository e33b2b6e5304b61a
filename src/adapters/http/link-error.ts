/**
 * Why a request brought no answer, told apart: a device that cannot resolve names, one that is refused, one whose
 * clock is wrong and one that distrusts a certificate need different help. Source: design/faults.md R7, R10, R11, R21.
 *
 * Values of the detail `reason`: `name-resolution`, `refused`, `unreachable`, `timeout`, `connection-lost`, `tls`,
 * `clock-wrong`, `proxy`; and of answers that are none `web-page`, `redirect`, `bad-answer`, `status`.
 */
import { UpdateError, type Details } from '../../core/errors.ts';

export type LinkReason =
  | 'name-resolution'
  | 'refused'
  | 'unreachable'
  | 'timeout'
  | 'connection-lost'
  | 'tls'
  | 'clock-wrong'
  | 'proxy';

/** Codes that say by themselves what happened; those of TLS go by their form, see {@link isTlsCode}. */
const REASONS: Readonly<Record<string, LinkReason>> = {
  ENOTFOUND: 'name-resolution',
  EAI_AGAIN: 'name-resolution',
  EAI_FAIL: 'name-resolution',
  EAI_NODATA: 'name-resolution',
  EAI_NONAME: 'name-resolution',
  ECONNREFUSED: 'refused',
  ENETUNREACH: 'unreachable',
  ENETDOWN: 'unreachable',
  EHOSTUNREACH: 'unreachable',
  EHOSTDOWN: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  ETIMEDOUT: 'timeout',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
};

const DATE_CODES = new Set([
  'CERT_NOT_YET_VALID',
  'CERT_HAS_EXPIRED',
  'CRL_NOT_YET_VALID',
  'CRL_HAS_EXPIRED',
]);

/** A range of dates a device that works can show; anything outside is a clock that nobody has set. */
export interface PlausibleDates {
  readonly earliestMs: number;
  readonly latestMs: number;
}

/** Of a request to say in a message what failed. `host`: with port, never with user, password or path. */
export interface RequestName {
  /** For example `asking for a deployment`. */
  readonly doing: string;
  readonly host: string;
}

/** A failure of a connection, told apart; whoever asked makes an error of their own kind of it. */
export interface LinkFault {
  readonly reason: LinkReason;
  /** Of the system or a library; '' = none. */
  readonly code: string;
  /** What happened, for a message. */
  readonly sentence: string;
}

export function linkFault(error: unknown, nowMs: number, plausible: PlausibleDates): LinkFault {
  const found = rootOf(error);
  const code = codeOf(found);
  const reason = reasonOf(found, code, nowMs, plausible);
  const text = found instanceof Error ? found.message || code || found.name : String(found);
  const date = new Date(nowMs).toISOString();
  const clock =
    reason === 'clock-wrong'
      ? `; the clock of this device says ${date}, which cannot be right`
      : DATE_CODES.has(code)
        ? `; the clock of this device says ${date}`
        : '';
  return { reason, code, sentence: `${text}${clock}` };
}

/** The failure of a connection as an error of kind `server`; details `reason`, `host`, `error-code`. */
export function linkError(
  name: RequestName,
  error: unknown,
  nowMs: number,
  plausible: PlausibleDates,
): UpdateError {
  const { reason, code, sentence } = linkFault(error, nowMs, plausible);
  return new UpdateError('server', `${name.doing} at ${name.host}: ${sentence}`, {
    cause: error,
    details: { reason, host: name.host, ...(code === '' ? {} : { 'error-code': code }) },
  });
}

/** An answer that was understood as none; details `reason`, `host` and what is given. */
export function answerError(
  name: RequestName,
  reason: 'web-page' | 'redirect' | 'bad-answer' | 'status' | 'timeout' | 'proxy' | 'unauthorized',
  why: string,
  details: Details = {},
): UpdateError {
  return new UpdateError('server', `${name.doing} at ${name.host}: ${why}`, {
    details: { reason, host: name.host, ...details },
  });
}

function reasonOf(error: unknown, code: string, nowMs: number, plausible: PlausibleDates): LinkReason {
  if (DATE_CODES.has(code)) {
    return nowMs < plausible.earliestMs || nowMs > plausible.latestMs ? 'clock-wrong' : 'tls';
  }
  if (isTlsCode(code)) return 'tls';
  if (isProxyRefusal(error)) return 'proxy';
  return REASONS[code] ?? 'connection-lost';
}

function isTlsCode(code: string): boolean {
  return (
    /^(CERT_|CRL_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|ERROR_IN_C|HOSTNAME_|INVALID_CA|PATH_LENGTH|INVALID_PURPOSE)/.test(
      code,
    ) ||
    /SELF_SIGNED_CERT|SIGNATURE_FAILURE/.test(code) ||
    code === 'EPROTO' ||
    code === 'UND_ERR_PRX_TLS'
  );
}

/** What the proxy answered to the request for a tunnel: there is no code of its own for it. */
function isProxyRefusal(error: unknown): boolean {
  return (
    error instanceof Error && /^Proxy response \(\d+\)|^Proxy Authentication Required/.test(error.message)
  );
}

/** Of an attempt on several addresses the first failure; of one that was wrapped the innermost with a code of its own. */
function rootOf(error: unknown): unknown {
  if (error instanceof AggregateError && error.errors.length > 0) return rootOf(error.errors[0]);
  if (error instanceof Error && codeOf(error) === 'UND_ERR_PRX_TLS' && error.cause)
    return rootOf(error.cause);
  return error;
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

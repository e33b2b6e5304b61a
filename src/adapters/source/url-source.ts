/**
 * Downloads an artifact over http or https, and goes on where it was cut off: by a closed range where the server can,
 * else by reading the file again up to there. What was handed on is never handed on again, and the file is never a mix
 * of two versions without that being an error. Source: spec/server-api.md section 9; design/faults.md R11 to R21.
 */
import type { Clock } from '../../ports/clock.ts';
import type { LinkRefresher } from '../../ports/link-refresher.ts';
import type { Log } from '../../ports/log.ts';
import type { ArtifactBytes } from '../../ports/artifact-source.ts';
import { UpdateError } from '../../core/errors.ts';
import { Connections } from '../http/connections.ts';
import type { PlausibleDates } from '../http/link-error.ts';
import type { ProxyEnvironment } from '../http/proxy.ts';
import { cancelled, parseUrl, safe } from './download-error.ts';
import type { RetrySettings } from './patience.ts';
import { UrlDownload } from './url-download.ts';

export interface UrlSourceOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** PEM file with trust anchors in addition to the system's (`ServerCertificate`); null = none. */
  readonly serverCertificatePath: string | null;
  /** `SkipVerify`. */
  readonly isTlsVerificationSkipped: boolean;
  /** `HttpsClient`, paths of PEM files; null = none. */
  readonly clientCertificate?: { readonly certificatePath: string; readonly key: string } | null;
  /** Trust anchors of the system. Default: SSL_CERT_FILE, else Debian's bundle; missing = those built into Node. */
  readonly systemTrustPath?: string;
  /** Default: that of the process. */
  readonly proxyEnvironment?: ProxyEnvironment;
  readonly userAgent?: string;
  /** To tell a wrong clock from a wrong certificate. Default: any date can be right. */
  readonly plausibleDates?: PlausibleDates;
  /** null (default) = one try. */
  readonly retry?: RetrySettings | null;
  /** Where fresh links come from; null (default) = nowhere. */
  readonly links?: LinkRefresher | null;
  /** Bytes a second; null (default) = no limit. */
  readonly rateLimit?: number | null;
  /** Default 30 seconds. */
  readonly connectTimeoutMs?: number;
  /** From request to the end of the answer's header. Default 60 seconds. */
  readonly headersTimeoutMs?: number;
  /** Longest silence while more is waited for; a slow stream that goes on is never cut (R12, R14). Default 5 minutes. */
  readonly idleTimeoutMs?: number;
}

const ANY_DATE: PlausibleDates = { earliestMs: -Infinity, latestMs: Infinity };
/** Only redirects use a connection again, and those at once. */
const KEPT_CONNECTION_SECONDS = 5;

/**
 * Resolves with the first bytes there. Rejects, and ends the stream, with kind `source`: details `url` (without
 * secrets), `host`, `reason` (those of http/link-error.ts, `changed`, `link-expired`), and `status`,
 * `retry-after-seconds`, `error-code`, `bytes-found`, `bytes-expected`, `tries` where there is one. With kind
 * `cancelled` on abort, `invalidArgument` for a URL that is none, and `config` for certificates or proxies that cannot
 * be used.
 */
export async function openUrlSource(
  text: string,
  options: UrlSourceOptions,
  signal: AbortSignal,
): Promise<ArtifactBytes> {
  const url = parseUrl(text);
  if (signal.aborted) throw cancelled(url);
  const headersTimeoutMs = options.headersTimeoutMs ?? 60_000;
  const idleTimeoutMs = options.idleTimeoutMs ?? 300_000;
  // New for each download, so that its end is the end of everything it opened.
  const connections = new Connections(
    {
      serverCertificatePath: options.serverCertificatePath,
      isTlsVerificationSkipped: options.isTlsVerificationSkipped,
      clientCertificate: options.clientCertificate ?? null,
      ...(options.systemTrustPath === undefined ? {} : { systemTrustPath: options.systemTrustPath }),
      ...(options.proxyEnvironment === undefined ? {} : { proxyEnvironment: options.proxyEnvironment }),
      isKeepAliveDisabled: false,
      idleConnectionTimeoutSeconds: KEPT_CONNECTION_SECONDS,
    },
    { connectMs: options.connectTimeoutMs ?? 30_000, headersMs: headersTimeoutMs, idleMs: idleTimeoutMs },
    options.clock,
    options.log,
  );
  const letGo = (): void => void connections.close().catch(() => undefined);
  const download = new UrlDownload(url, signal, {
    connections,
    clock: options.clock,
    log: options.log,
    headersTimeoutMs,
    idleTimeoutMs,
    userAgent: options.userAgent ?? 'Holdpoint',
    plausibleDates: options.plausibleDates ?? ANY_DATE,
    retry: options.retry ?? null,
    links: options.links ?? null,
    rateLimit: options.rateLimit ?? null,
  });
  // Also of a download that nobody begins to read, and while a connection is still being made.
  signal.addEventListener('abort', letGo, { once: true });
  const end = (): void => {
    signal.removeEventListener('abort', letGo);
    letGo();
  };
  try {
    const sizeBytes = await download.open();
    if (signal.aborted) throw cancelled(url);
    let isTaken = false;
    return {
      sizeBytes,
      chunks: {
        [Symbol.asyncIterator]() {
          if (isTaken) throw new UpdateError('internal', `${safe(url)} is being read a second time`);
          isTaken = true;
          return whole(download, end);
        },
      },
    };
  } catch (error) {
    end();
    throw error;
  }
}

async function* whole(download: UrlDownload, end: () => void): AsyncGenerator<Uint8Array, void, void> {
  try {
    yield* download.chunks();
  } finally {
    end();
  }
}

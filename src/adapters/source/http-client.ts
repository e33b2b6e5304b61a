/** The connection behind one download: trust, client certificate, proxy, time limits. */
import { readFile } from 'node:fs/promises';
import { rootCertificates } from 'node:tls';
import { Agent, EnvHttpProxyAgent, type Dispatcher } from 'undici';
import { UpdateError } from '../../core/errors.ts';

export interface UrlSourceOptions {
  /** PEM file with trust anchors in addition to the system's (`ServerCertificate`); null = none. */
  readonly serverCertificatePath: string | null;
  /** `SkipVerify`. */
  readonly isTlsVerificationSkipped: boolean;
  /** Client certificate, PEM files; null = none. */
  readonly clientCertificate?: { readonly certificatePath: string; readonly keyPath: string } | null;
  /** Default 30 seconds. */
  readonly connectTimeoutMs?: number;
  /** From request to the end of the response's header. Default 60 seconds. */
  readonly headersTimeoutMs?: number;
  /** Longest silence inside the body; a slow stream that goes on is never cut (R12, R14). Default 5 minutes. */
  readonly idleTimeoutMs?: number;
  /** Trust anchors of the system. Default: SSL_CERT_FILE, else Debian's bundle; missing = those built into Node. */
  readonly systemTrustPath?: string;
}

const SYSTEM_TRUST = '/etc/ssl/certs/ca-certificates.crt';
interface Tls {
  readonly rejectUnauthorized: boolean;
  ca?: string[];
  cert?: string;
  key?: string;
}

const PROXY_VARIABLES = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'];

/**
 * A new client for each download: certificates that were exchanged in the meantime are used without a restart.
 * Rejects (kind `config`) when a configured file cannot be read.
 */
export async function makeDispatcher(options: UrlSourceOptions): Promise<Dispatcher> {
  const tls: Tls = {
    rejectUnauthorized: !options.isTlsVerificationSkipped,
    ...(await trust(options)),
    ...(await clientCertificate(options)),
  };
  const common = {
    connections: 1,
    pipelining: 1,
    headersTimeout: options.headersTimeoutMs ?? 60_000,
    bodyTimeout: options.idleTimeoutMs ?? 300_000,
    connect: { ...tls, timeout: options.connectTimeoutMs ?? 30_000 },
  };
  if (!PROXY_VARIABLES.some((name) => process.env[name])) return new Agent(common);
  // Behind a proxy `connect` only counts for the hosts of NO_PROXY; through a tunnel it is `requestTls`.
  return new EnvHttpProxyAgent({ ...common, requestTls: tls, proxyTls: tls.ca ? { ca: tls.ca } : {} });
}

async function trust(options: UrlSourceOptions): Promise<Omit<Tls, 'rejectUnauthorized'>> {
  // Node's own list is as old as the program; the system's is kept up to date (R10).
  const path = options.systemTrustPath ?? (process.env['SSL_CERT_FILE'] || SYSTEM_TRUST);
  const system = await readFile(path, 'utf8').catch(() => null);
  const extra = options.serverCertificatePath
    ? await readPem(options.serverCertificatePath, 'ServerCertificate')
    : null;
  if (system === null && extra === null) return {};
  return { ca: [...(system === null ? rootCertificates : [system]), ...(extra === null ? [] : [extra])] };
}

async function clientCertificate(options: UrlSourceOptions): Promise<Omit<Tls, 'rejectUnauthorized'>> {
  if (!options.clientCertificate) return {};
  const { certificatePath, keyPath } = options.clientCertificate;
  return {
    cert: await readPem(certificatePath, 'HttpsClient.Certificate'),
    key: await readPem(keyPath, 'HttpsClient.Key'),
  };
}

async function readPem(path: string, key: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UpdateError('config', `${key}: ${path} cannot be read: ${why}`, {
      cause,
      details: { path, key },
    });
  }
  // Without this an empty file would silently add nothing.
  if (!text.includes('-----BEGIN ')) {
    throw new UpdateError('config', `${key}: found no PEM text in ${path}`, { details: { path, key } });
  }
  return text;
}

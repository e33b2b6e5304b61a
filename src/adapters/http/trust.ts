/**
 * Whom the device trusts and what it shows of itself in TLS: system roots plus `ServerCertificate`, `HttpsClient`.
 * Source: spec/server-api.md section 11, design/faults.md R10.
 */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls';
import { UpdateError } from '../../core/errors.ts';
import type { Log } from '../../ports/log.ts';
import type { ExpiryWatch } from './expiry-watch.ts';
import { refusePkcs11 } from './pkcs11.ts';

export interface TrustOptions {
  /** PEM file with further trust anchors (`ServerCertificate`); null = none. */
  readonly serverCertificatePath: string | null;
  /** `SkipVerify`. */
  readonly isTlsVerificationSkipped: boolean;
  /** `HttpsClient`: paths of PEM files; null = no client certificate. */
  readonly clientCertificate: { readonly certificatePath: string; readonly key: string } | null;
  /** Trust anchors of the system. Default: SSL_CERT_FILE, else Debian's bundle; missing = those built into Node. */
  readonly systemTrustPath?: string;
}

/** As `tls.connect` takes it. The contexts hold the parsed certificates. */
export interface TlsMaterial {
  readonly rejectUnauthorized: boolean;
  /** For servers: shows the client certificate. */
  readonly server: SecureContext;
  /** For proxies: does not. */
  readonly proxy: SecureContext;
}

const SYSTEM_TRUST = '/etc/ssl/certs/ca-certificates.crt';
/** Of the process: what is asked for with the same texts again, by each download for one. Parsing 140 certificates costs 40 ms. */
const PARSED = new Map<string, SecureContext>();
/** Texts are exchanged seldom; those of one service are two at most. */
const MOST_PARSED = 4;

/** Reads the files again when one of them has changed: certificates are exchanged without a restart. */
export class Trust {
  readonly #options: TrustOptions;
  readonly #log: Log;
  readonly #expiry: ExpiryWatch;
  #complaint = '';

  constructor(options: TrustOptions, expiry: ExpiryWatch, log: Log) {
    this.#options = options;
    this.#expiry = expiry;
    this.#log = log;
    if (options.isTlsVerificationSkipped) {
      log.warn(
        'SkipVerify is set: the server is NOT authenticated. Anybody on the network can pose as it and control this device. Never use this outside of a laboratory',
      );
    }
  }

  get #files(): readonly string[] {
    const { serverCertificatePath, clientCertificate } = this.#options;
    return [
      this.#systemPath,
      ...(serverCertificatePath === null ? [] : [serverCertificatePath]),
      ...(clientCertificate === null ? [] : [clientCertificate.certificatePath, clientCertificate.key]),
    ];
  }

  get #systemPath(): string {
    return this.#options.systemTrustPath ?? (process.env['SSL_CERT_FILE'] || SYSTEM_TRUST);
  }

  /** A text that changes whenever a file does. */
  async version(): Promise<string> {
    const parts = await Promise.all(
      this.#files.map(async (path) => {
        const found = await stat(path, { bigint: true }).catch(() => null);
        return found === null ? '-' : `${found.ino}:${found.size}:${found.mtimeNs}`;
      }),
    );
    return parts.join(' ');
  }

  /**
   * Rejects (kind `config`, details `key`, `path`) when the client certificate or its key cannot be used. A
   * `ServerCertificate` that cannot be read is a warning: the system's roots may do.
   */
  async load(): Promise<TlsMaterial> {
    const system = await readFile(this.#systemPath, 'utf8').catch(() => null);
    const ca = system === null || !hasPem(system) ? [...rootCertificates] : [system];
    const { serverCertificatePath } = this.#options;
    if (serverCertificatePath !== null) {
      try {
        const pem = await readPem(serverCertificatePath, 'ServerCertificate');
        ca.push(pem);
        this.#expiry.notePem(serverCertificatePath, pem);
        this.#complaint = '';
      } catch (error) {
        const problem = error instanceof Error ? error.message : String(error);
        if (problem !== this.#complaint) {
          this.#log.warn('the additional server certificate is not used', { problem });
        }
        this.#complaint = problem;
      }
    }
    return {
      rejectUnauthorized: !this.#options.isTlsVerificationSkipped,
      server: context(ca, await this.#clientCertificate()),
      proxy: context(ca, null),
    };
  }

  async #clientCertificate(): Promise<ClientCertificate | null> {
    const { clientCertificate } = this.#options;
    if (clientCertificate === null) return null;
    const { certificatePath, key } = clientCertificate;
    refusePkcs11(key, 'HttpsClient.Key');
    const cert = await readPem(certificatePath, 'HttpsClient.Certificate');
    this.#expiry.notePem(certificatePath, cert);
    return {
      cert,
      key: await readPem(key, 'HttpsClient.Key'),
    };
  }
}

interface ClientCertificate {
  readonly cert: string;
  readonly key: string;
}

/** Throws (kind `config`) for certificates that are damaged, or that do not belong to their key. */
function context(ca: readonly string[], client: ClientCertificate | null): SecureContext {
  // A digest, not the texts: one of them is a key.
  const hash = createHash('sha256')
    .update(JSON.stringify([ca, client]))
    .digest('base64');
  const known = PARSED.get(hash);
  if (known) return known;
  let made: SecureContext;
  try {
    made = createSecureContext({ minVersion: 'TLSv1.2', ca: [...ca], ...client });
  } catch (error) {
    // Without the cause: errors of a key parser do not belong into logs.
    const why = error instanceof Error ? error.message : String(error);
    const key = client === null ? 'ServerCertificate' : 'HttpsClient';
    throw new UpdateError('config', `${key}: the certificates or the key cannot be used: ${why}`, {
      details: { key, reason: 'tls' },
    });
  }
  PARSED.set(hash, made);
  const oldest = PARSED.keys().next();
  if (PARSED.size > MOST_PARSED && !oldest.done) PARSED.delete(oldest.value);
  return made;
}

function hasPem(text: string): boolean {
  return text.includes('-----BEGIN ');
}

async function readPem(path: string, key: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UpdateError('config', `${key}: ${path} cannot be read: ${why}`, {
      cause,
      details: { path, key, reason: 'tls' },
    });
  }
  // Without this an empty file would silently add nothing.
  if (hasPem(text)) return text;
  throw new UpdateError('config', `${key}: found no PEM text in ${path}`, {
    details: { path, key, reason: 'tls' },
  });
}

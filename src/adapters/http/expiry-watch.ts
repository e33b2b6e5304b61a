/** Says in time that a certificate is about to end: afterwards nobody can be reached to be told. Source: faults.md R10. */
import { X509Certificate } from 'node:crypto';
import type { Log } from '../../ports/log.ts';

const DAY_MS = 86_400_000;
export const WARNING_DAYS = 30;

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

export class ExpiryWatch {
  readonly #log: Log;
  readonly #nowMs: () => number;
  /** Certificates spoken of, by what and when they end. */
  readonly #told = new Set<string>();

  constructor(log: Log, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  /** `validTo`: as Node gives it, for example `Feb  3 04:05:06 2031 GMT`. Warns once for each certificate. */
  note(what: string, validTo: string | undefined): void {
    const endMs = Date.parse(validTo ?? '');
    const daysLeft = Math.floor((endMs - this.#nowMs()) / DAY_MS);
    const key = `${what} ${endMs}`;
    if (Number.isNaN(endMs) || daysLeft >= WARNING_DAYS || this.#told.has(key)) return;
    this.#told.add(key);
    const ends = new Date(endMs).toISOString();
    if (daysLeft < 0) this.#log.warn('a certificate has expired', { certificate: what, ends });
    else this.#log.warn('a certificate expires soon', { certificate: what, ends, daysLeft });
  }

  /** Every certificate of a PEM text; damaged ones are left to those who use them. */
  notePem(what: string, pem: string): void {
    for (const [text] of pem.matchAll(CERTIFICATE)) {
      try {
        this.note(what, new X509Certificate(text).validTo);
      } catch {
        // Told by the TLS library, with the reason.
      }
    }
  }
}

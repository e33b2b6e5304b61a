/**
 * How long to wait before a download is gone on with, and when to give up. Source: spec/server-api.md section 8;
 * design/compatibility.md "Download resume"; design/faults.md R13, R15, R17.
 */
import { retryDelayMs } from '../../core/retry.ts';
import type { Setback } from './download-error.ts';

export interface RetrySettings {
  /** RetryDownloadCount: tries after the first, in a row without progress. */
  readonly maxRetries: number;
  /** RetryPollIntervalSeconds: ceiling of the back-off; below one minute it becomes a fixed interval. */
  readonly maxIntervalSeconds: number;
  /** false = somebody sits there: what cannot even be begun fails at once. */
  readonly isOpeningRetried: boolean;
}

/**
 * What a try has to bring to count as progress. A link that breaks every few minutes must be able to carry a file of any
 * size; one that brings a byte at a time must not be asked for ever.
 */
export const PROGRESS_BYTES = 64 * 1024;
/** A fleet that was cut off at once must not come back at once. */
const JITTER = 0.25;

export class Patience {
  readonly #settings: RetrySettings | null;
  readonly #random: () => number;
  #failures = 0;
  #waits = 0;
  #countedBytes = 0;

  /** null = one try only. `random`: from 0 to below 1. */
  constructor(settings: RetrySettings | null, random: () => number = Math.random) {
    this.#settings = settings;
    this.#random = random;
  }

  /** Failures in a row without progress. */
  get failures(): number {
    return this.#failures;
  }

  /** To be told how many bytes there are before each question; forgets failures that lie before progress. */
  noteProgress(receivedBytes: number): boolean {
    if (receivedBytes - this.#countedBytes < PROGRESS_BYTES) return false;
    this.#countedBytes = receivedBytes;
    this.#failures = 0;
    this.#waits = 0;
    return true;
  }

  /** Milliseconds to wait before the next try; null = give up. */
  afterFailure({ kind, retryAfterSeconds }: Setback, isOpening: boolean): number | null {
    this.#failures += 1;
    if (this.#settings === null || kind === 'final') return null;
    const { maxRetries, maxIntervalSeconds, isOpeningRetried } = this.#settings;
    if ((isOpening && !isOpeningRetried) || this.#failures > maxRetries) return null;
    // A connection that was lost is most often there again at once; who said "not now" must be left alone.
    if (kind === 'broken' && this.#failures === 1) return 0;
    this.#waits += 1;
    const policy = { maxIntervalSeconds, maxRetries: Math.max(1, maxRetries) };
    const delayMs = retryDelayMs(this.#waits, policy, retryAfterSeconds ?? 0);
    return delayMs === null ? null : Math.round(delayMs * (1 + JITTER * this.#random()));
  }
}

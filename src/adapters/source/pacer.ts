/**
 * Holds a download to so many bytes a second (`DownloadRateLimit`). The reader is slowed down and the network feels the
 * back-pressure, so the sender may be ahead by what buffers on the way hold.
 */
import { firstValueFrom, fromEvent, map, race } from 'rxjs';
import type { Clock } from '../../ports/clock.ts';

const PIECES_A_SECOND = 20;
/** What may be made up for after others held the stream up, in time. */
const CATCH_UP_MS = 200;

export class Pacer {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  #dueMs: number;

  /** `bytesPerSecond`: at least 1. */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
    this.#dueMs = clock.now().bootMs;
  }

  /** Largest piece that keeps the stream steady. */
  get pieceBytes(): number {
    return Math.max(1, Math.floor(this.#bytesPerSecond / PIECES_A_SECOND));
  }

  /** Resolves when so many bytes may pass; at once when the signal aborts. */
  async passage(bytes: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.now().bootMs;
    this.#dueMs = Math.max(this.#dueMs, nowMs - CATCH_UP_MS) + (bytes * 1000) / this.#bytesPerSecond;
    const waitMs = this.#dueMs - nowMs;
    if (waitMs < 1 || signal.aborted) return;
    const aborted = fromEvent(signal, 'abort').pipe(map(() => 0 as const));
    await firstValueFrom(race(this.#clock.timer(waitMs), aborted));
  }
}

/**
 * The real clock. Boot time is CLOCK_BOOTTIME, which counts suspend and never steps. Node offers only
 * CLOCK_MONOTONIC (process.hrtime), which stands still in suspend; /proc/uptime is CLOCK_BOOTTIME cut to 10 ms.
 * Both run at the same rate and differ by the time slept, so hrtime gives the fine steps and every reading of
 * /proc/uptime says between which two values the difference must lie.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { Observable } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import type { Clock, Stamp } from '../../ports/clock.ts';

/** Resolution of /proc/uptime. */
const UPTIME_STEP_MS = 10;
/**
 * Node's timers stand still in suspend and fire at once above 24.8 days. Long waits are cut into pieces of this
 * length: after a suspend a timer is at most this late, and no delay is too long.
 */
const LONGEST_PIECE_MS = 60_000;

export interface SystemClockOptions {
  /** Default /proc/uptime. */
  readonly uptimePath?: string;
  /** Source of CLOCK_MONOTONIC in milliseconds; for tests of suspend. */
  readonly monotonicMs?: () => number;
}

export class SystemClock implements Clock {
  readonly #path: string;
  readonly #monotonicMs: () => number;
  readonly #buffer = Buffer.alloc(64);
  #descriptor: number | undefined;
  /** Boot time minus monotonic time, milliseconds. */
  #offsetMs = -Infinity;
  #latestMs = 0;

  constructor(options: SystemClockOptions = {}) {
    this.#path = options.uptimePath ?? '/proc/uptime';
    this.#monotonicMs = options.monotonicMs ?? (() => Number(process.hrtime.bigint()) / 1e6);
    this.#readUptimeMs();
  }

  /** `bootMs` never goes back, and is whole milliseconds. */
  now(): Stamp {
    return { wallMs: Date.now(), bootMs: this.#bootMs() };
  }

  /** Never early; `delayMs` below 0 is 0, infinite never emits. */
  timer(delayMs: number): Observable<0> {
    if (Number.isNaN(delayMs)) throw new UpdateError('internal', 'found a delay that is no number');
    return new Observable<0>((subscriber) => {
      const dueMs = this.#bootMs() + Math.max(0, delayMs);
      let handle: NodeJS.Timeout;
      const arm = (): void => {
        const leftMs = Math.max(0, dueMs - this.#bootMs());
        handle = setTimeout(check, Math.min(leftMs, LONGEST_PIECE_MS));
      };
      const check = (): void => {
        if (this.#bootMs() < dueMs) {
          arm();
          return;
        }
        subscriber.next(0);
        subscriber.complete();
      };
      arm();
      return () => clearTimeout(handle);
    });
  }

  #bootMs(): number {
    const before = this.#monotonicMs();
    const uptimeMs = this.#readUptimeMs();
    const after = this.#monotonicMs();
    // Boot time was in [uptime, uptime + step) at some moment between the two readings.
    this.#offsetMs = Math.min(Math.max(this.#offsetMs, uptimeMs - after), uptimeMs + UPTIME_STEP_MS - before);
    this.#latestMs = Math.max(this.#latestMs, Math.floor(after + this.#offsetMs));
    return this.#latestMs;
  }

  #readUptimeMs(): number {
    try {
      // Read again from the start of one open file: /proc makes its text anew each time.
      this.#descriptor ??= openSync(this.#path, 'r');
      const length = readSync(this.#descriptor, this.#buffer, 0, this.#buffer.length, 0);
      const text = this.#buffer.toString('latin1', 0, length);
      const match = /^(\d+)\.(\d\d)\s/.exec(text);
      if (!match)
        throw new UpdateError('internal', `found ${JSON.stringify(text)} in ${this.#path}, expected seconds`);
      return Number(match[1]) * 1000 + Number(match[2]) * UPTIME_STEP_MS;
    } catch (cause) {
      if (cause instanceof UpdateError) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new UpdateError('internal', `reading the boot time: ${why}`, { cause });
    }
  }

  /** Lets go of the open file. The clock still works afterwards. */
  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }
}

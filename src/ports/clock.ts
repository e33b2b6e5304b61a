import type { Observable } from 'rxjs';

/** The time as every event carries it. */
export interface Stamp {
  /** Wall clock, milliseconds since 1970. Not trusted for durations. */
  readonly wallMs: number;
  /** Milliseconds since the kernel booted, suspend included (CLOCK_BOOTTIME). */
  readonly bootMs: number;
}

export interface Clock {
  now(): Stamp;
  /** Emits once after `delayMs` of boot time, however long that is; then completes. */
  timer(delayMs: number): Observable<0>;
}

/**
 * A clock that moves only when a test says so. `advance` fires what falls due, in order of time and, at the same
 * time, in order of subscription, each at its own moment; timers started meanwhile join in.
 */
import { Observable } from 'rxjs';
import type { Clock, Stamp } from '../../src/ports/clock.ts';

interface Entry {
  readonly dueMs: number;
  readonly order: number;
  readonly fire: () => void;
}

export class VirtualClock implements Clock {
  #wallMs: number;
  #bootMs: number;
  #order = 0;
  readonly #entries = new Set<Entry>();

  /** Default: one minute after boot, 2031-02-03T04:05:06Z. */
  constructor(start: Stamp = { wallMs: Date.UTC(2031, 1, 3, 4, 5, 6), bootMs: 60_000 }) {
    this.#wallMs = start.wallMs;
    this.#bootMs = start.bootMs;
  }

  now(): Stamp {
    return { wallMs: this.#wallMs, bootMs: this.#bootMs };
  }

  timer(delayMs: number): Observable<0> {
    return new Observable<0>((subscriber) => {
      const entry: Entry = {
        dueMs: this.#bootMs + Math.max(0, delayMs),
        order: this.#order++,
        fire: () => {
          subscriber.next(0);
          subscriber.complete();
        },
      };
      this.#entries.add(entry);
      return () => this.#entries.delete(entry);
    });
  }

  /** Milliseconds of boot time, suspend or not: both clocks move. Whole numbers from 0. */
  advance(ms: number): void {
    if (!Number.isSafeInteger(ms) || ms < 0) throw new RangeError(`cannot advance by ${ms} ms`);
    const untilMs = this.#bootMs + ms;
    for (let next = this.#nextDue(); next && next.dueMs <= untilMs; next = this.#nextDue()) {
      this.#move(next.dueMs);
      this.#entries.delete(next);
      next.fire();
    }
    this.#move(untilMs);
  }

  /** As `advance`, but lets promises settle after each timer, for code between timers that awaits. */
  async advanceAsync(ms: number): Promise<void> {
    if (!Number.isSafeInteger(ms) || ms < 0) throw new RangeError(`cannot advance by ${ms} ms`);
    const untilMs = this.#bootMs + ms;
    await settle();
    for (let next = this.#nextDue(); next && next.dueMs <= untilMs; next = this.#nextDue()) {
      this.advance(Math.max(0, next.dueMs - this.#bootMs));
      await settle();
    }
    this.#move(Math.max(untilMs, this.#bootMs));
  }

  /** A step of the wall clock alone, as NTP or a person makes it; may go back. */
  stepWall(ms: number): void {
    this.#wallMs += ms;
  }

  /** Another boot: every timer is gone, boot time starts again. The wall clock moves by `downMs`. */
  reboot(downMs = 30_000): void {
    this.#entries.clear();
    this.#bootMs = 1_000;
    this.#wallMs += downMs;
  }

  /** How many timers wait; when the next one falls due, milliseconds from now. */
  get pending(): number {
    return this.#entries.size;
  }

  get msToNext(): number | null {
    const next = this.#nextDue();
    return next ? next.dueMs - this.#bootMs : null;
  }

  #nextDue(): Entry | undefined {
    let first: Entry | undefined;
    for (const entry of this.#entries) {
      if (!first || entry.dueMs < first.dueMs || (entry.dueMs === first.dueMs && entry.order < first.order)) {
        first = entry;
      }
    }
    return first;
  }

  #move(bootMs: number): void {
    this.#wallMs += bootMs - this.#bootMs;
    this.#bootMs = bootMs;
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

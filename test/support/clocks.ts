/** Clocks for tests of real processes: the real one, and one that only moves when told. */
import { Observable } from 'rxjs';
import type { Clock, Stamp } from '../../src/ports/clock.ts';

export const realClock: Clock = {
  now: (): Stamp => ({ wallMs: Date.now(), bootMs: performance.now() }),
  timer: (delayMs) =>
    new Observable<0>((subscriber) => {
      const handle = setTimeout(() => {
        subscriber.next(0);
        subscriber.complete();
      }, delayMs);
      return () => clearTimeout(handle);
    }),
};

interface Pending {
  readonly dueMs: number;
  readonly delayMs: number;
  readonly fire: () => void;
}

/** Time stands still until `advance`. */
export class HandClock implements Clock {
  #nowMs = 0;
  #pending: Pending[] = [];
  readonly #startWallMs: number;

  constructor(startWallMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678)) {
    this.#startWallMs = startWallMs;
  }

  now(): Stamp {
    return { wallMs: this.#startWallMs + this.#nowMs, bootMs: this.#nowMs };
  }

  timer(delayMs: number): Observable<0> {
    return new Observable<0>((subscriber) => {
      const entry: Pending = {
        dueMs: this.#nowMs + delayMs,
        delayMs,
        fire: () => {
          subscriber.next(0);
          subscriber.complete();
        },
      };
      this.#pending.push(entry);
      return () => {
        this.#pending = this.#pending.filter((other) => other !== entry);
      };
    });
  }

  /** Delays of the timers being waited for, shortest first. */
  get waitingMs(): readonly number[] {
    return this.#pending.map((entry) => entry.delayMs).sort((a, b) => a - b);
  }

  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const [next] = this.#pending.filter((entry) => entry.dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs);
      if (!next) break;
      this.#pending = this.#pending.filter((other) => other !== next);
      this.#nowMs = next.dueMs;
      next.fire();
    }
    this.#nowMs = endMs;
  }
}

/**
 * Time in a simulation: runs `speed` times as fast as real time, from the same moment on. Inside, everything keeps to
 * simulated time; what clients are told of it goes through `realWallMs` and `realBootMs`, so that a countdown a client
 * makes with its own clock is right at every speed.
 */
import type { Observable } from 'rxjs';
import type { Clock, Stamp } from '../../ports/clock.ts';

export class SimulatedClock implements Clock {
  readonly speed: number;
  readonly #real: Clock;
  readonly #start: Stamp;

  /** `speed`: above 0; 1 = real time. */
  constructor(real: Clock, speed: number) {
    this.#real = real;
    this.speed = speed;
    this.#start = real.now();
  }

  now(): Stamp {
    const passedMs = (this.#real.now().bootMs - this.#start.bootMs) * this.speed;
    return {
      wallMs: Math.round(this.#start.wallMs + passedMs),
      bootMs: Math.round(this.#start.bootMs + passedMs),
    };
  }

  timer(delayMs: number): Observable<0> {
    return this.#real.timer(delayMs / this.speed);
  }

  /** When a moment of simulated time comes, or came, by the real clock; 0 stays 0 (= unknown). */
  realWallMs(simulatedMs: number): number {
    return realOf(simulatedMs, this.#start.wallMs, this.speed);
  }

  /** The same in boot time. */
  realBootMs(simulatedMs: number): number {
    return realOf(simulatedMs, this.#start.bootMs, this.speed);
  }
}

function realOf(simulatedMs: number, startMs: number, speed: number): number {
  return simulatedMs <= 0 ? simulatedMs : Math.round(startMs + (simulatedMs - startMs) / speed);
}

/**
 * Clocks of a service that are not those of the machine, by libfaketime: a wall clock that is wrong or steps, and time that
 * runs fast, so that hours of it pass in minutes. Sockets, processes and everything else are real. The library itself and
 * not the program `faketime`, which gives up when a killed process of the same number has left its semaphore behind.
 */
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const LIBRARY = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/faketime/libfaketimeMT.so.1`;

export const hasFakeTime = existsSync(LIBRARY);

/** A wall clock that is wrong from the start: a date, or an offset such as `+4d`. */
export function wrongClock(time: string): NodeJS.ProcessEnv {
  return { LD_PRELOAD: LIBRARY, FAKETIME: time };
}

export interface SteppedClock {
  readonly environment: NodeJS.ProcessEnv;
  /** `+1h`, `-10y`, …: so far from the true time from now on; `+0` = right. */
  step(offset: string): Promise<void>;
}

/** Only the wall clock: what counts seconds goes on as it is. */
export async function steppedClock(path: string): Promise<SteppedClock> {
  const step = (offset: string): Promise<void> => writeFile(path, `${offset}\n`);
  await step('+0');
  return {
    step,
    environment: {
      LD_PRELOAD: LIBRARY,
      FAKETIME_TIMESTAMP_FILE: path,
      FAKETIME_CACHE_DURATION: '1',
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      FAKETIME_DONT_RESET: '1',
    },
  };
}

const UPTIME_EVERY_MS = 5;

/** All clocks and all time limits of the service; with a factor of 1 they are right, until some time is skipped. Make it before the service, and dispose of it after. */
export class FastTime {
  readonly factor: number;
  readonly #path: string;
  readonly #descriptor: number;
  readonly #timer: NodeJS.Timeout;
  readonly #startedMs = performance.now();
  readonly #startedWallMs = Date.now();
  #skippedMs = 0;
  readonly #uptimeMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;

  constructor(folder: string, factor: number) {
    this.factor = factor;
    this.#path = join(folder, 'uptime');
    this.#descriptor = openSync(this.#path, 'w');
    this.#write();
    this.#timer = setInterval(() => this.#write(), UPTIME_EVERY_MS);
  }

  static environment(factor: number): NodeJS.ProcessEnv {
    return { LD_PRELOAD: LIBRARY, FAKETIME: `+0 x${factor}` };
  }

  /** For a shell in the mount namespace of the service. */
  get mount(): string {
    return `mount --bind '${this.#path}' /proc/uptime`;
  }

  /** Time of the service since this was made, milliseconds. */
  elapsedMs(): number {
    return (performance.now() - this.#startedMs) * this.factor + this.#skippedMs;
  }

  /** Near what the wall clock of the service shows. */
  wallMs(): number {
    return this.#startedWallMs + this.elapsedMs();
  }

  /** As after a sleep of the machine: the boot time has gone on, and no timer has. Its wall clock is not ours to set. */
  skip(ms: number): void {
    this.#skippedMs += ms;
    this.#write();
  }

  dispose(): void {
    clearInterval(this.#timer);
    closeSync(this.#descriptor);
  }

  #write(): void {
    const seconds = (this.#uptimeMs + this.elapsedMs()) / 1000;
    writeSync(this.#descriptor, `${seconds.toFixed(2)} 0.00\n`, 0);
  }
}

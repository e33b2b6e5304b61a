/**
 * Whether the wall clock can be believed. A device without a battery-backed clock starts at 1970, or at the time of
 * its image, and would open a window at any hour. Source: design/stories.md story 6; design/faults.md R7.
 *
 * It is not believed while it is earlier than the program was built or than the state was last written before this
 * start: time does not go back. A clock the kernel calls synchronized is believed in the latter case, because then
 * the files were written by a clock that was wrong. With `RequireSynchronizedClock` it is believed only while
 * synchronized.
 */
import { existsSync, statSync } from 'node:fs';
import type { Clock } from '../../ports/clock.ts';
import { headSink, startProcess } from '../system/process.ts';
import { readProperty, type ConditionBus } from './bus.ts';

export interface ClockTrustOptions {
  /** When the program was built, wall clock. */
  readonly builtWallMs: number;
  /**
   * Files the state was stored in, looked at once; what is not there does not count. Not their folder: taking the lock
   * at the start touches that, with the very clock that is in doubt.
   */
  readonly files: readonly string[];
  /** Default: that of systemd-timesyncd. There while the clock has been synchronized since the boot. */
  readonly synchronizedPath?: string;
  /** adjtimex(8) of Debian or busybox, which prints the kernel's view. Default: the one in PATH, if there is one. */
  readonly adjtimexProgram?: string;
}

export type ClockProblem = 'before-build' | 'before-last-state' | 'not-synchronized';

export interface ClockVerdict {
  readonly problem: ClockProblem | null;
  /** The true time is certainly not before this. */
  readonly floorWallMs: number;
}

const SYNCHRONIZED_PATH = '/run/systemd/timesync/synchronized';
const TIMEDATE = {
  name: 'org.freedesktop.timedate1',
  path: '/org/freedesktop/timedate1',
  interface: 'org.freedesktop.timedate1',
};
/** That of Debian wants to be asked to print; that of busybox prints when asked nothing. Neither sets anything so. */
const ADJTIMEX_ARGUMENTS: readonly (readonly string[])[] = [['--print'], []];
/** ` return value = 0`, `return value: 0 (clock synchronized)`. */
const RETURN_VALUE = /return value\s*[:=]\s*(\d+)/;
/** Source: adjtimex(2); 0 to 4 are states of a synchronized clock. */
const TIME_ERROR = 5;
const MAX_OUTPUT_BYTES = 4096;
const PROGRAM_TIMEOUT_MS = 3_000;
const PROGRAM_GRACE_MS = 1_000;

export class ClockTrust {
  readonly #clock: Clock;
  readonly #bus: ConditionBus;
  readonly #options: ClockTrustOptions;
  readonly #isSynchronizedRequired: boolean;
  readonly #lastStateMs: number;

  constructor(
    options: ClockTrustOptions,
    deps: {
      readonly clock: Clock;
      readonly bus: ConditionBus;
      readonly isSynchronizedRequired: boolean;
    },
  ) {
    this.#options = options;
    this.#clock = deps.clock;
    this.#bus = deps.bus;
    this.#isSynchronizedRequired = deps.isSynchronizedRequired;
    // Now and never again: what this process writes carries the very clock that is in doubt.
    this.#lastStateMs = Math.max(0, ...options.files.map(modifiedMs));
  }

  /** Never rejects. */
  async check(): Promise<ClockVerdict> {
    const { builtWallMs } = this.#options;
    const floorWallMs = Math.max(builtWallMs, this.#lastStateMs);
    const { wallMs } = this.#clock.now();
    if (wallMs < builtWallMs) return { problem: 'before-build', floorWallMs };
    if (wallMs >= this.#lastStateMs && !this.#isSynchronizedRequired) return { problem: null, floorWallMs };
    if (await this.#isSynchronized()) return { problem: null, floorWallMs: Math.min(floorWallMs, wallMs) };
    const isBefore = wallMs < this.#lastStateMs;
    return { problem: isBefore ? 'before-last-state' : 'not-synchronized', floorWallMs };
  }

  /** The first that knows it answers; if none does, it is not. */
  async #isSynchronized(): Promise<boolean> {
    if (existsSync(this.#options.synchronizedPath ?? SYNCHRONIZED_PATH)) return true;
    return (await this.#timedateSays()) || (await this.#kernelSays());
  }

  async #timedateSays(): Promise<boolean> {
    try {
      return (await readProperty(this.#bus, TIMEDATE, 'NTPSynchronized')) === true;
    } catch {
      return false;
    }
  }

  async #kernelSays(): Promise<boolean> {
    const command = this.#options.adjtimexProgram ?? 'adjtimex';
    for (const args of ADJTIMEX_ARGUMENTS) {
      const output = await this.#outputOf(command, args);
      const [, value] = RETURN_VALUE.exec(output) ?? [];
      if (value !== undefined) return Number(value) !== TIME_ERROR;
    }
    return false;
  }

  /** '' where it cannot be run. */
  async #outputOf(command: string, args: readonly string[]): Promise<string> {
    const stdout = headSink(MAX_OUTPUT_BYTES, () => {});
    try {
      const running = await startProcess({
        command,
        args,
        cwd: '/',
        timeoutMs: PROGRAM_TIMEOUT_MS,
        graceMs: PROGRAM_GRACE_MS,
        clock: this.#clock,
        stdout,
        errorKind: 'internal',
      });
      await running.ended;
      return stdout.text();
    } catch {
      return '';
    }
  }
}

function modifiedMs(path: string): number {
  try {
    return statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

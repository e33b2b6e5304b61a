import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lastValueFrom, merge, map, toArray } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SystemClock } from '../../../src/adapters/system/clock.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

let root: string;
let uptimePath: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-clock-'));
  uptimePath = join(root, 'uptime');
  await writeFile(uptimePath, '');
});

afterEach(async () => {
  vi.useRealTimers();
  await rm(root, { recursive: true, force: true });
});

/** A machine whose two clocks the test moves: `monotonicMs` stands still while it sleeps, `bootMs` does not. */
class Machine {
  monotonicMs = 5_000;
  bootMs = 100_003;

  constructor() {
    this.#write();
  }

  run(ms: number): void {
    this.monotonicMs += ms;
    this.bootMs += ms;
    this.#write();
  }

  sleep(ms: number): void {
    this.bootMs += ms;
    this.#write();
  }

  #write(): void {
    const steps = Math.floor(this.bootMs / 10);
    writeFileSync(uptimePath, `${Math.floor(steps / 100)}.${String(steps % 100).padStart(2, '0')} 1.00\n`);
  }

  clock(): SystemClock {
    return new SystemClock({ uptimePath, monotonicMs: () => this.monotonicMs });
  }
}

describe('the system clock', () => {
  it('agrees with /proc/uptime within its resolution, at any moment', () => {
    const clock = new SystemClock();
    for (let round = 0; round < 20_000; round++) {
      const before = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
      const { bootMs } = clock.now();
      const after = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
      expect(bootMs).toBeGreaterThanOrEqual(Math.floor(before));
      expect(bootMs).toBeLessThanOrEqual(after + 10);
      expect(Number.isInteger(bootMs)).toBe(true);
    }
    clock.close();
  });

  it('moves in single milliseconds and never back', () => {
    const machine = new Machine();
    const clock = machine.clock();
    for (let step = 0; step < 50; step++) {
      machine.run(1);
      clock.now();
    }
    const seen: number[] = [];
    for (let step = 0; step < 50; step++) {
      machine.run(1);
      seen.push(clock.now().bootMs - machine.bootMs);
    }
    // Calibrated after half a second of running: always the same distance from the truth, below one step.
    expect(new Set(seen).size).toBe(1);
    expect(Math.abs(seen[0] ?? 99)).toBeLessThanOrEqual(1);
  });

  it('counts the time the machine slept', () => {
    const machine = new Machine();
    const clock = machine.clock();
    const before = clock.now().bootMs;
    machine.run(1_000);
    machine.sleep(8 * 3_600_000);
    const passed = clock.now().bootMs - before;
    expect(Math.abs(passed - (8 * 3_600_000 + 1_000))).toBeLessThanOrEqual(10);
  });

  it('reads the wall clock', () => {
    expect(Math.abs(new SystemClock().now().wallMs - Date.now())).toBeLessThan(1_000);
  });

  it('says what it found when there is no boot time', () => {
    expect(() => new SystemClock({ uptimePath: join(root, 'missing') })).toThrow(
      /reading the boot time: ENOENT/,
    );
    expect(() => new SystemClock({ uptimePath: root })).toThrow(/reading the boot time/);
    writeFileSync(uptimePath, 'soon\n');
    expect(() => new SystemClock({ uptimePath })).toThrow(/found "soon\\n"/);
  });
});

describe('a timer of the system clock', () => {
  it('emits once, never early, in order, and completes', async () => {
    const clock = new SystemClock();
    const start = clock.now().bootMs;
    const fired = await lastValueFrom(
      merge(
        ...[40, 5, 20, 0, -3].map((delayMs) =>
          clock.timer(delayMs).pipe(map(() => ({ delayMs, passedMs: clock.now().bootMs - start }))),
        ),
      ).pipe(toArray()),
    );
    expect(fired.map(({ delayMs }) => Math.max(0, delayMs))).toEqual([0, 0, 5, 20, 40]);
    for (const { delayMs, passedMs } of fired) expect(passedMs).toBeGreaterThanOrEqual(delayMs);
  });

  it('lasts longer than 24.8 days', () => {
    vi.useFakeTimers();
    const machine = new Machine();
    const clock = machine.clock();
    const emitted: string[] = [];
    const dayMs = 24 * 3_600_000;
    clock
      .timer(60 * dayMs)
      .subscribe({ next: () => emitted.push('next'), complete: () => emitted.push('complete') });
    for (let hour = 0; hour < 60 * 24 - 1; hour++) {
      machine.run(3_600_000);
      vi.advanceTimersByTime(3_600_000);
    }
    expect(emitted).toEqual([]);
    machine.run(3_600_000);
    vi.advanceTimersByTime(3_600_000);
    expect(emitted).toEqual(['next', 'complete']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('is at most a minute late after the machine slept past its moment', () => {
    vi.useFakeTimers();
    const machine = new Machine();
    const clock = machine.clock();
    let isDone = false;
    clock.timer(3_600_000).subscribe({ complete: () => (isDone = true) });
    machine.run(60_000);
    vi.advanceTimersByTime(60_000);
    machine.sleep(8 * 3_600_000);
    expect(isDone).toBe(false);
    machine.run(60_000);
    vi.advanceTimersByTime(60_000);
    expect(isDone).toBe(true);
  });

  it('leaves nothing behind when unsubscribed', () => {
    vi.useFakeTimers();
    const clock = new SystemClock();
    clock.timer(1_000_000).subscribe().unsubscribe();
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('the virtual clock', () => {
  it('fires in order of time, then of subscription, each at its own moment', () => {
    const clock = new VirtualClock();
    const start = clock.now();
    const log: string[] = [];
    const note = (name: string, delayMs: number): void => {
      clock.timer(delayMs).subscribe(() => log.push(`${name}@${clock.now().bootMs - start.bootMs}`));
    };
    note('b', 200);
    note('a', 100);
    note('c', 200);
    clock.timer(100).subscribe(() => note('inner', 50));
    note('late', 1_001);
    clock.advance(1_000);
    expect(log).toEqual(['a@100', 'inner@150', 'b@200', 'c@200']);
    expect(clock.now()).toEqual({ wallMs: start.wallMs + 1_000, bootMs: start.bootMs + 1_000 });
    expect(clock.msToNext).toBe(1);
    clock.reboot();
    expect(clock.pending).toBe(0);
  });

  it('lets awaiting code start its next timer when advanced asynchronously', async () => {
    const clock = new VirtualClock();
    const log: number[] = [];
    const loop = async (): Promise<void> => {
      for (let round = 0; round < 3; round++) {
        await lastValueFrom(clock.timer(10));
        log.push(clock.now().bootMs - 60_000);
      }
    };
    const done = loop();
    await clock.advanceAsync(100);
    await done;
    expect(log).toEqual([10, 20, 30]);
    expect(clock.now().bootMs).toBe(60_100);
  });
});

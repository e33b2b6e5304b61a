import { Subject } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import type { Tick } from '../../../src/app/machine.ts';
import { createSchedules } from '../../../src/app/schedules.ts';
import type { Effect } from '../../../src/core/effect.ts';
import type { Failure } from '../../../src/core/errors.ts';
import type { EventBody } from '../../../src/core/event.ts';
import { initialState, type UpdateState } from '../../../src/core/state.ts';
import { transition } from '../../../src/core/transition.ts';
import { DEPLOYMENT_ID, OLD, SERVER_SETTINGS, ARTIFACT } from '../../support/flow-simulator.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

/** The real core with a server of the test's; everything happens at once, and time only passes when told to. */
const POLL_SECONDS = 1800;
const INVENTORY_SECONDS = 28_800;
const SECOND = 1_000;
const MINUTE = 60_000;
const DOWN: Failure = { name: 'Download', message: 'the server cannot be reached', details: {} };

class Bench {
  readonly clock = new VirtualClock();
  readonly checksAtMs: number[] = [];
  readonly inventoriesAtMs: number[] = [];
  state: UpdateState = initialState(OLD);
  /** What the next checks and inventories come to; none = good. */
  checkFailures: Failure[] = [];
  inventoryFailures: Failure[] = [];
  failingScripts = 0;
  isScriptStuck = false;
  /** How long `Sync_Enter` takes. */
  syncEnterMs = 0;
  readonly #tick$ = new Subject<Tick>();
  readonly #queue: EventBody[] = [];
  readonly #startMs = this.clock.now().bootMs;
  #isBusy = false;
  readonly #subscription;

  constructor(random = 0.5, inventoryFailures: Failure[] = []) {
    this.inventoryFailures = inventoryFailures;
    this.dispatch({ kind: 'ServiceStarted', bootId: 'boot-1', settings: SERVER_SETTINGS, bootstrap: null });
    this.#subscription = createSchedules(
      this.#tick$,
      {
        updatePollIntervalSeconds: POLL_SECONDS,
        inventoryPollIntervalSeconds: INVENTORY_SECONDS,
        retryPollIntervalSeconds: 300,
        retryPollCount: 0,
      },
      { clock: this.clock, random: () => random },
    ).subscribe((event) => this.dispatch(event));
  }

  /** Since the start. */
  get nowMs(): number {
    return this.clock.now().bootMs - this.#startMs;
  }

  dispatch(body: EventBody): void {
    this.#queue.push(body);
    if (this.#isBusy) return;
    this.#isBusy = true;
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
      const event = { ...next, at: this.clock.now(), nonce: '0'.repeat(32) };
      const before = this.state;
      const { state, effects } = transition(before, event);
      this.state = state;
      this.#tick$.next({ event, before, after: state, effects });
      for (const effect of effects) this.#carryOut(effect);
    }
    this.#isBusy = false;
  }

  close(): void {
    this.#subscription.unsubscribe();
  }

  #carryOut(effect: Effect): void {
    switch (effect.kind) {
      case 'runScripts': {
        if (this.isScriptStuck) return;
        const isFailing = effect.family === 'Sync' && effect.action === 'Enter' && this.failingScripts > 0;
        if (isFailing) this.failingScripts -= 1;
        const { workId } = effect;
        const ended: EventBody = { kind: 'ScriptsFinished', workId, failure: isFailing ? DOWN : null };
        const isSlow = effect.family === 'Sync' && effect.action === 'Enter' && this.syncEnterMs > 0;
        if (isSlow) this.clock.timer(this.syncEnterMs).subscribe(() => this.dispatch(ended));
        else this.#queue.push(ended);
        return;
      }
      case 'checkForDeployment': {
        this.checksAtMs.push(this.nowMs);
        const failure = this.checkFailures.shift() ?? null;
        this.#queue.push({ kind: 'DeploymentCheckFinished', workId: effect.workId, offer: null, failure });
        return;
      }
      case 'sendInventory': {
        this.inventoriesAtMs.push(this.nowMs);
        const failure = this.inventoryFailures.shift() ?? null;
        this.#queue.push({ kind: 'InventorySent', workId: effect.workId, failure });
        return;
      }
      default:
        return;
    }
  }
}

const benches: Bench[] = [];
afterEach(() => benches.splice(0).forEach((one) => one.close()));

function bench(random?: number): Bench {
  const one = new Bench(random);
  benches.push(one);
  return one;
}

function minutes(values: readonly number[]): readonly number[] {
  return values.map((ms) => ms / MINUTE);
}

describe('schedules', () => {
  it('send the inventory and check at the start, the inventory first', () => {
    const { checksAtMs, inventoriesAtMs } = bench();
    expect([inventoriesAtMs, checksAtMs]).toEqual([[0], [0]]);
  });

  it('check again after each interval, and say when', () => {
    const one = bench();
    const { wallMs } = one.clock.now();
    expect(one.state.schedule.nextCheckWallMs).toBe(wallMs + POLL_SECONDS * SECOND);
    one.clock.advance(2 * POLL_SECONDS * SECOND);
    expect(one.checksAtMs).toEqual([0, POLL_SECONDS, 2 * POLL_SECONDS].map((seconds) => seconds * SECOND));
    one.clock.advance(INVENTORY_SECONDS * SECOND - 2 * POLL_SECONDS * SECOND);
    expect(one.inventoriesAtMs).toEqual([0, INVENTORY_SECONDS * SECOND]);
  });

  it('let a waiting check have its turn between two tries to send the inventory', () => {
    const one = bench();
    one.clock.advance(POLL_SECONDS * SECOND - MINUTE / 2);
    // From here on a cycle takes longer than it is to the next try, and no inventory is taken.
    one.syncEnterMs = 2 * MINUTE;
    one.inventoryFailures = Array.from({ length: 50 }, () => DOWN);
    one.dispatch({ kind: 'InventoryRequested' });
    const checks = one.checksAtMs.length;
    one.clock.advance(12 * MINUTE);
    expect(one.checksAtMs.length).toBeGreaterThan(checks);
    // Nor does the check keep the inventory from being tried again.
    expect(one.inventoriesAtMs.length).toBeGreaterThan(2);
  });

  it('back off after failures, give up the series, and go on at the usual interval', () => {
    const one = bench();
    one.checkFailures = Array.from({ length: 14 }, () => DOWN);
    one.clock.advance(POLL_SECONDS * SECOND);
    one.clock.advance(300 * MINUTE);
    const series = [1, 1, 1, 2, 2, 2, 4, 4, 4, 5, 5, 5];
    const expected = series.reduce((at, step) => [...at, (at.at(-1) ?? 0) + step], [0, 30]);
    // The thirteenth failure ends the series; the fourteenth begins another one after the usual interval.
    const last = expected.at(-1) ?? 0;
    expect(minutes(one.checksAtMs).slice(0, 16)).toEqual([...expected, last + 30, last + 31]);
  });

  it('wait as long as the server asks for', () => {
    const one = bench();
    one.checkFailures = [{ ...DOWN, details: { 'retry-after-seconds': 1234 } }];
    one.clock.advance(POLL_SECONDS * SECOND);
    one.clock.advance(1233 * SECOND);
    expect(one.checksAtMs).toHaveLength(2);
    one.clock.advance(SECOND);
    expect(one.checksAtMs).toHaveLength(3);
  });

  it('wait as long as the server asks for after the last try of a series as well', () => {
    const one = bench();
    const asked = 2 * POLL_SECONDS;
    one.checkFailures = Array.from({ length: 40 }, () => ({
      ...DOWN,
      details: { 'retry-after-seconds': asked },
    }));
    for (let checks = 2; checks < 30; checks++) {
      const before = one.checksAtMs.length;
      one.clock.advance((asked - 1) * SECOND);
      expect(one.checksAtMs.length - before).toBeLessThanOrEqual(1);
      one.clock.advance(SECOND);
    }
    const gaps = one.checksAtMs.slice(2).map((ms, index) => ms - (one.checksAtMs[index + 1] ?? 0));
    expect(gaps.length).toBeGreaterThan(20);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(asked * SECOND);
  });

  it('back off when a Sync_Enter script fails, and never at once', () => {
    const one = bench();
    one.failingScripts = 3;
    one.clock.advance(POLL_SECONDS * SECOND);
    expect(one.checksAtMs).toHaveLength(1);
    one.clock.advance(3 * MINUTE);
    expect(minutes(one.checksAtMs)).toEqual([0, 33]);
  });

  it('check all the same when the inventory cannot be sent', () => {
    const one = new Bench(0.5, [DOWN]);
    benches.push(one);
    expect([one.inventoriesAtMs, one.checksAtMs]).toEqual([[0], [0]]);
    one.clock.advance(MINUTE);
    expect([minutes(one.inventoriesAtMs), minutes(one.checksAtMs)]).toEqual([[0, 1], [0]]);
  });

  it('send the inventory after a deployment', () => {
    const one = bench();
    const install: EventBody = {
      kind: 'InstallRequested',
      deploymentId: DEPLOYMENT_ID,
      location: { kind: 'file', path: '/media/usb/a.mender' },
      requiredDigest: '',
      uid: 0,
      artifact: ARTIFACT,
      sizeBytes: 10,
    };
    one.dispatch(install);
    expect(one.state.step).toBe('download');
    one.dispatch({ kind: 'DownloadFinished', workId: one.state.workId, failure: DOWN });
    expect(one.state.step).toBe('cleanup-after-failure');
    one.dispatch({ kind: 'ModuleFinished', workId: one.state.workId, failure: null });
    expect([one.state.step, one.inventoriesAtMs]).toEqual(['idle', [0, 0]]);
  });

  it('do once, when the device is idle again, what fell due while it was busy', () => {
    const one = bench();
    one.isScriptStuck = true;
    one.dispatch({ kind: 'CheckRequested' });
    expect(one.state.step).toBe('idle-leave');
    one.clock.advance(10 * POLL_SECONDS * SECOND);
    one.dispatch({ kind: 'CheckRequested' });
    one.dispatch({ kind: 'InventoryRequested' });
    expect(one.checksAtMs).toHaveLength(1);
    one.isScriptStuck = false;
    one.dispatch({ kind: 'ScriptsFinished', workId: one.state.workId, failure: null });
    expect([one.state.step, one.checksAtMs.length, one.inventoriesAtMs.length]).toEqual(['idle', 2, 2]);
  });

  it('are moved by no step of the wall clock', () => {
    const one = bench();
    const year = 365 * 86_400 * SECOND;
    one.clock.stepWall(-year);
    one.clock.advance((POLL_SECONDS - 1) * SECOND);
    one.clock.stepWall(2 * year);
    expect(one.checksAtMs).toHaveLength(1);
    one.clock.advance(SECOND);
    expect(one.checksAtMs).toHaveLength(2);
  });

  it.each([
    [0, 0.95],
    [0.999_999, 1.05],
  ])('come early or late by a part of the interval: %d', (random, factor) => {
    const one = bench(random);
    one.clock.advance(2 * POLL_SECONDS * SECOND);
    expect(one.checksAtMs[1]).toBeCloseTo(POLL_SECONDS * SECOND * factor, -2);
  });
});

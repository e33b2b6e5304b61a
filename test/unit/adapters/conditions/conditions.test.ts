/** What no real service can be made to do on demand: silence for ever, floods, and failures of our own parts. */
import { NEVER, of, Subject, throwError } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { noConditionBus, watchRemote$, type ConditionBus } from '../../../../src/adapters/conditions/bus.ts';
import { createConditions } from '../../../../src/adapters/conditions/conditions.ts';
import { bounded } from '../../../../src/adapters/conditions/finding.ts';
import { BUS_PATIENCE_MS } from '../../../../src/adapters/conditions/inhibitors.ts';
import type { ConditionSettings } from '../../../../src/core/control/condition-settings.ts';
import { MAX_UNMET, type UnmetCondition } from '../../../../src/core/control/condition.ts';
import { UpdateError } from '../../../../src/core/errors.ts';
import { RecordingLog } from '../../../support/recording-log.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const POINT = 'ArtifactReboot_Enter';
const INHIBITORS = { inhibitors: { points: [POINT] } } as const;
const POWER = {
  power: {
    points: [POINT],
    minBatteryPercent: null,
    isMainsRequired: true,
    assumesMainsWithoutUPower: true,
    isSkippable: true,
  },
} as const;

const QUIET: ConditionBus = {
  call: () => new Promise(() => {}),
  signals$: () => NEVER,
  nameOwner$: () => of(':1.1'),
};

let clock: VirtualClock;
let stop: () => void = () => {};

afterEach(() => stop());

function watch(settings: Partial<ConditionSettings>, bus: ConditionBus | null) {
  clock = new VirtualClock();
  const log = new RecordingLog();
  const conditions = createConditions(
    {
      windows: [],
      freezes: [],
      power: null,
      metered: null,
      inhibitors: null,
      scripts: null,
      isSynchronizedClockRequired: false,
      ...settings,
    },
    { clock, log, bus, scriptsFolder: '/nonexistent', clockTrust: { builtWallMs: 0, files: [] } },
  );
  const emissions: (readonly UnmetCondition[])[] = [];
  const subscription = conditions.unmet$(POINT).subscribe((unmet) => emissions.push(unmet));
  stop = () => subscription.unsubscribe();
  return { conditions, emissions, log };
}

describe('conditions', () => {
  it('that hear nothing at all are not known after a while, and are not waited for longer', async () => {
    const { emissions } = watch({ ...POWER, ...INHIBITORS }, QUIET);
    await clock.advanceAsync(14_999);
    expect(emissions).toEqual([]);
    await clock.advanceAsync(1);
    expect(
      emissions.at(-1)!.map(({ kind, reasonCode, isSkippable }) => [kind, reasonCode, isSkippable]),
    ).toEqual([
      ['power', 'not-known', true],
      ['inhibitor', 'not-known', false],
    ]);
    stop();
    expect(clock.pending).toBe(0);
  });

  it('whose own parts fail are not met, and are tried again', async () => {
    let isBroken = true;
    const bus: ConditionBus = {
      ...noConditionBus,
      nameOwner$: () => {
        if (isBroken) throw new Error('broken');
        return NEVER;
      },
    };
    const { emissions, log } = watch(POWER, bus);
    expect(emissions.at(-1)![0]).toMatchObject({ reasonCode: 'not-known', details: { what: 'error' } });
    expect(log.records.some(({ level }) => level === 'error')).toBe(true);
    isBroken = false;
    await clock.advanceAsync(10_000);
    expect(emissions.at(-1)).toEqual([]);
  });

  it('are polled where the bus does not tell of changes', async () => {
    let isOnBattery = true;
    const bus: ConditionBus = {
      call: ({ body }) =>
        Promise.resolve([
          new Map(body?.[0] === 'org.freedesktop.UPower' ? [['OnBattery', { value: isOnBattery }]] : []),
        ]),
      signals$: () => throwError(() => new UpdateError('bus', 'too many rules')),
      nameOwner$: () => NEVER,
    };
    const { emissions } = watch(POWER, bus);
    await clock.advanceAsync(0);
    expect(emissions.at(-1)![0]).toMatchObject({ reasonCode: 'on-battery' });
    isOnBattery = false;
    await clock.advanceAsync(30_000);
    expect(emissions.at(-1)).toEqual([]);
  });

  it('are at most so many, the rest counted in one more', async () => {
    const rows = Array.from({ length: 100 }, (_, index) => [
      'shutdown',
      `who ${index}`,
      'why',
      'block',
      0,
      index + 10,
    ]);
    const bus: ConditionBus = { ...QUIET, call: () => Promise.resolve([rows]) };
    const { emissions } = watch(INHIBITORS, bus);
    await clock.advanceAsync(0);
    const list = emissions.at(-1)!;
    expect(list).toHaveLength(MAX_UNMET + 1);
    expect(list.at(-1)).toMatchObject({
      id: 'more',
      reasonCode: 'more-conditions',
      isSkippable: false,
      details: { count: 68 },
    });
    expect(new Set(list.map(({ id }) => id)).size).toBe(list.length);
    // In another order they are the same.
    rows.reverse();
    await clock.advanceAsync(60_000);
    expect(emissions).toHaveLength(1);
  });

  it('of kinds that are not configured, or points that are not theirs, are met at once', () => {
    const { emissions, conditions } = watch({ power: { ...POWER.power, points: ['Download_Enter'] } }, QUIET);
    expect(emissions).toEqual([[]]);
    expect(conditions.points).toEqual(['Download_Enter']);
  });
});

describe('inhibitors', () => {
  it('of ourselves, and twins from one process, are told apart', async () => {
    const row = ['shutdown', 'Backup', 'why', 'block', 0, 77];
    const rows = [row, row, ['shutdown', 'we', 'writing', 'block', 0, process.pid]];
    const bus: ConditionBus = { ...QUIET, call: () => Promise.resolve([rows]) };
    const { emissions } = watch(INHIBITORS, bus);
    await clock.advanceAsync(0);
    expect(emissions.at(-1)!.map(({ owner }) => owner)).toEqual(['Backup', 'Backup']);
    expect(new Set(emissions.at(-1)!.map(({ id }) => id)).size).toBe(2);
  });

  it('are not known in another shape', async () => {
    const bus: ConditionBus = { ...QUIET, call: () => Promise.resolve([[['shutdown', 'who']]]) };
    const { emissions } = watch(INHIBITORS, bus);
    await clock.advanceAsync(0);
    expect(emissions.at(-1)![0]).toMatchObject({ reasonCode: 'not-known' });
  });

  it('are none once the bus has been away for half a minute, so that a rollback can reboot', async () => {
    const gone = new UpdateError('bus', 'not connected', { details: { reason: 'disconnected' } });
    const bus: ConditionBus = { ...QUIET, nameOwner$: () => of(''), call: () => Promise.reject(gone) };
    const { emissions } = watch(INHIBITORS, bus);
    await clock.advanceAsync(4_000);
    expect(emissions).toEqual([]);
    await clock.advanceAsync(4_000);
    expect(emissions.at(-1)![0]).toMatchObject({ kind: 'inhibitor', reasonCode: 'not-known' });
    await clock.advanceAsync(BUS_PATIENCE_MS);
    expect(emissions.at(-1)).toEqual([]);
    expect(emissions).toHaveLength(2);
  });

  it('are none at once where the bus is not to be used', async () => {
    const { emissions } = watch(INHIBITORS, null);
    await clock.advanceAsync(0);
    expect(emissions).toEqual([[]]);
  });
});

describe('a remote service', () => {
  it('that sends signals without end is asked ten times a second at most', async () => {
    clock = new VirtualClock();
    let calls = 0;
    const signals = new Subject<number>();
    const subscription = watchRemote$({
      bus: { ...QUIET, signals$: () => signals },
      clock,
      log: new RecordingLog(),
      name: 'org.example',
      signals: [{ sender: 'org.example', interface: 'org.example' }],
      read: () => Promise.resolve(calls++),
    }).subscribe();
    for (let step = 0; step < 1000; step++) {
      signals.next(step);
      await clock.advanceAsync(1);
    }
    expect(calls).toBeGreaterThan(5);
    expect(calls).toBeLessThanOrEqual(12);
    subscription.unsubscribe();
    expect(clock.pending).toBe(0);
  });
});

describe('foreign text', () => {
  it('becomes one printable line of at most 200 characters, whole ones', () => {
    expect(bounded('a\nb\u202e')).toBe('a\\nb\\u{202e}');
    expect([...bounded('😀'.repeat(300))]).toHaveLength(200);
  });
});

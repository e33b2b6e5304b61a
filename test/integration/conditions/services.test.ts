import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ConditionSettings, PowerRule } from '../../../src/core/control/condition-settings.ts';
import {
  addBlockInhibited,
  addMetered,
  announceInhibitors,
  inhibit,
  LOGIND,
  MockService,
  NETWORK_MANAGER,
  setMetered,
  startSystemBus,
  UPOWER,
  upowerControl,
  type HeldInhibitor,
  type PowerControl,
} from '../../support/dbusmock.ts';
import { eventually } from '../../support/eventually.ts';
import type { PrivateBus } from '../../support/private-bus.ts';
import { POINT, watch, type Watched } from './support.ts';

let bus: PrivateBus;
let watched: Watched | null = null;

beforeAll(async () => {
  bus = await startSystemBus();
});

afterAll(async () => {
  await bus.dispose();
});

afterEach(() => {
  watched?.stop();
  watched = null;
});

function start(settings: Partial<ConditionSettings>): Watched {
  watched = watch(settings, { address: bus.address });
  return watched;
}

const POWER: PowerRule = {
  points: [POINT],
  minBatteryPercent: 50,
  isMainsRequired: true,
  assumesMainsWithoutUPower: false,
  isSkippable: false,
};

describe('power', () => {
  let service: MockService;
  let control: PowerControl;

  beforeEach(async () => {
    service = new MockService(bus.address, UPOWER, 'upower');
    await service.start();
    control = upowerControl(service);
  });

  afterEach(async () => {
    await service.dispose();
  });

  it('is met on mains with a full battery, and with no battery at all', async () => {
    await control.set({ isOnBattery: false, percent: 80 });
    const conditions = start({ power: POWER });
    await conditions.becomes([]);
    await control.set({ isOnBattery: false, percent: null });
    await control.set({ isOnBattery: true, percent: 10 });
    await conditions.becomes(['power/on-battery']);
    await control.set({ isOnBattery: false, percent: null });
    await conditions.becomes([]);
  });

  it('follows the plug and the battery, and says how full it is', async () => {
    await control.set({ isOnBattery: true, percent: 80 });
    const conditions = start({ power: POWER });
    await conditions.becomes(['power/on-battery']);
    const { sinceWallMs } = conditions.latest()[0]!;
    expect(conditions.latest()[0]).toEqual({
      id: 'power',
      kind: 'power',
      owner: '',
      reasonCode: 'on-battery',
      sinceWallMs,
      endsWallMs: 0,
      isSkippable: false,
      details: { 'battery-percent': 80, 'battery-state': 'discharging' },
    });
    expect(Math.abs(sinceWallMs - Date.now())).toBeLessThan(60_000);
    await control.set({ isOnBattery: false, percent: 30 });
    await conditions.becomes(['power/battery-low']);
    // Not met all along: it began then.
    expect(conditions.latest()[0]).toMatchObject({
      sinceWallMs,
      details: { 'battery-percent': 30, 'battery-state': 'charging', 'min-battery-percent': 50 },
    });
    await control.set({ isOnBattery: false, percent: 50 });
    await conditions.becomes([]);
  });

  it('does not look at the plug when only the battery matters', async () => {
    await control.set({ isOnBattery: true, percent: 51 });
    const conditions = start({ power: { ...POWER, isMainsRequired: false } });
    await conditions.becomes([]);
    await control.set({ isOnBattery: true, percent: 49 });
    await conditions.becomes(['power/battery-low']);
  });

  it('is not known while UPower is gone, and is seen again when it comes back', async () => {
    await control.set({ isOnBattery: false, percent: 90 });
    const conditions = start({ power: POWER });
    await conditions.becomes([]);
    await service.kill();
    await conditions.becomes(['power/not-known']);
    expect(
      conditions.log.records.some(({ level, fields }) => level === 'warn' && fields['service'] === UPOWER),
    ).toBe(true);
    await service.start();
    // The stand-in starts with mains and no battery.
    await conditions.becomes([]);
    await control.set({ isOnBattery: true, percent: 90 });
    await conditions.becomes(['power/on-battery']);
  });

  it('is not known when UPower does not answer', async () => {
    service.freeze(true);
    try {
      const conditions = start({ power: POWER });
      await conditions.becomes(['power/not-known']);
      expect(conditions.latest()[0]!.details['message']).toContain('no reply within');
      service.freeze(false);
      // Asked again ten seconds later; the stand-in has mains.
      await eventually('asked again', () => conditions.reasons().length === 0, 15_000);
    } finally {
      service.freeze(false);
    }
  }, 30_000);
});

describe('power without UPower', () => {
  it('is not known', async () => {
    const conditions = start({ power: POWER });
    await conditions.becomes(['power/not-known']);
    expect(conditions.emissions).toHaveLength(1);
  });

  it('is mains where the configuration says so', async () => {
    const conditions = start({ power: { ...POWER, assumesMainsWithoutUPower: true } });
    await conditions.becomes([]);
  });

  it('is not known without a bus, whatever is assumed, after a moment of patience', async () => {
    watched = watch({ power: { ...POWER, assumesMainsWithoutUPower: true } });
    await watched.becomes(['power/not-known']);
  });
});

describe('a metered link', () => {
  let service: MockService;

  beforeEach(async () => {
    service = new MockService(bus.address, NETWORK_MANAGER, 'networkmanager');
    await service.start();
    await addMetered(service, 2);
  });

  afterEach(async () => {
    await service.dispose();
  });

  it('is waited for as long as NetworkManager calls it metered, or guesses so', async () => {
    const conditions = start({ metered: { points: [POINT], isSkippable: true } });
    await conditions.becomes([]);
    await setMetered(service, 1);
    await conditions.becomes(['metered/metered-link']);
    expect(conditions.latest()[0]).toMatchObject({ isSkippable: true, details: { 'is-guess': false } });
    await setMetered(service, 4);
    await conditions.becomes([]);
    await setMetered(service, 3);
    await conditions.becomes(['metered/metered-link']);
    expect(conditions.latest()[0]).toMatchObject({ details: { 'is-guess': true } });
    await setMetered(service, 0);
    await conditions.becomes([]);
  });

  it('is not known while NetworkManager is gone', async () => {
    await setMetered(service, 2);
    const conditions = start({ metered: { points: [POINT], isSkippable: true } });
    await conditions.becomes([]);
    await service.kill();
    await conditions.becomes(['metered/not-known']);
    await service.start();
    await addMetered(service, 1);
    await conditions.becomes(['metered/metered-link']);
  });
});

describe('inhibitors', () => {
  let service: MockService;
  const held: HeldInhibitor[] = [];
  const settings = { inhibitors: { points: [POINT] } } as const;
  const take = async (
    what: string,
    who: string,
    why: string,
    mode: 'block' | 'delay',
  ): Promise<HeldInhibitor> => {
    const lock = await inhibit(bus.address, { what, who, why, mode }, () => announceInhibitors(service));
    held.push(lock);
    return lock;
  };

  beforeEach(async () => {
    service = new MockService(bus.address, LOGIND, 'logind');
    await service.start();
    await addBlockInhibited(service);
  });

  afterEach(async () => {
    for (const lock of held.splice(0)) await lock.release().catch(() => {});
    await service.dispose();
  });

  it('are each shown with owner and reason while they last', async () => {
    const conditions = start(settings);
    await conditions.becomes([]);
    const first = await take('shutdown:sleep', 'Backup', 'writing the archive', 'block');
    await conditions.becomes(['inhibitor/shutdown-inhibited']);
    expect(conditions.latest()[0]).toMatchObject({
      kind: 'inhibitor',
      owner: 'Backup',
      isSkippable: false,
      details: {
        why: 'writing the archive',
        uid: expect.any(Number) as number,
        pid: expect.any(Number) as number,
      },
    });
    const { id } = conditions.latest()[0]!;
    const second = await take('shutdown', 'Surgery', 'patient on table', 'block');
    await conditions.becomes(['inhibitor/shutdown-inhibited', 'inhibitor/shutdown-inhibited']);
    await first.release();
    await conditions.becomes(['inhibitor/shutdown-inhibited']);
    expect(conditions.latest()[0]).toMatchObject({ owner: 'Surgery' });
    expect(conditions.latest()[0]!.id).not.toBe(id);
    await second.release();
    await conditions.becomes([]);
    held.length = 0;
  });

  it('that only delay, or forbid something else, do not count', async () => {
    await take('shutdown', 'Editor', 'saving', 'delay');
    await take('sleep:idle', 'Player', 'playing', 'block');
    const conditions = start(settings);
    await conditions.becomes([]);
    await take('shutdown', 'Backup', 'x', 'block');
    await conditions.becomes(['inhibitor/shutdown-inhibited']);
  });

  it('with unprintable or long texts are shown printable and short', async () => {
    await take('shutdown', 'evil\u001b[2Jname', 'y'.repeat(5000), 'block');
    const conditions = start(settings);
    await conditions.becomes(['inhibitor/shutdown-inhibited']);
    expect(conditions.latest()[0]!.owner).toBe('evil\\x1b[2Jname');
    expect(conditions.latest()[0]!.details['why']).toBe('y'.repeat(200));
  });

  it('are none when logind is gone, and are seen when it is back', async () => {
    await take('shutdown', 'Backup', 'x', 'block');
    const conditions = start(settings);
    await conditions.becomes(['inhibitor/shutdown-inhibited']);
    await service.kill();
    await conditions.becomes([]);
    await service.start();
    await addBlockInhibited(service);
    await take('shutdown', 'Backup', 'again', 'block');
    await conditions.becomes(['inhibitor/shutdown-inhibited']);
  });
});

describe('inhibitors without logind', () => {
  it('are none', async () => {
    await start({ inhibitors: { points: [POINT] } }).becomes([]);
  });
});

describe('all together', () => {
  it('are one list, complete from the first, in which each change is seen once', async () => {
    const upower = new MockService(bus.address, UPOWER, 'upower', { OnBattery: true });
    await upower.start();
    try {
      const conditions = start({
        power: POWER,
        metered: { points: [POINT], isSkippable: true },
        inhibitors: { points: [POINT] },
        scripts: { points: [POINT], timeoutSeconds: 5, intervalSeconds: 60, isSkippable: false },
      });
      await conditions.becomes(['power/on-battery', 'metered/not-known']);
      expect(conditions.emissions).toHaveLength(1);
      await upowerControl(upower).set({ isOnBattery: false, percent: null });
      await conditions.becomes(['metered/not-known']);
      expect(conditions.emissions).toHaveLength(2);
      conditions.stop();
      watched = null;
      expect(conditions.bus.counts.rules).toBe(0);
    } finally {
      await upower.dispose();
    }
  });

  it('survive a restart of the bus', async () => {
    const upower = new MockService(bus.address, UPOWER, 'upower', { OnBattery: true });
    await upower.start();
    const conditions = start({ power: POWER });
    await conditions.becomes(['power/on-battery']);
    await upower.dispose();
    await bus.restart();
    await conditions.becomes(['power/not-known']);
    await eventually('connected again', () => conditions.bus.state === 'connected');
    const again = new MockService(bus.address, UPOWER, 'upower', { OnBattery: false });
    await again.start();
    try {
      await conditions.becomes([]);
    } finally {
      await again.dispose();
    }
  });
});

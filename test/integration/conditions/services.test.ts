import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  addBlockInhibited,
  addMetered,
  announceInhibitors,
  inhibit,
  LOGIND,
  MockService,
  NETWORK_MANAGER,
  setMetered,
  UPOWER,
  upowerControl,
  type HeldInhibitor,
  type PowerControl,
} from '../../support/dbusmock.ts';
import { eventually } from '../../support/eventually.ts';
import { meteredCases, POWER, powerCases } from './service-cases.ts';
import { onSystemBus, POINT, watch } from './support.ts';

const system = onSystemBus();
const { start } = system;

describe('power', () => {
  let service: MockService;
  let control: PowerControl;

  beforeEach(async () => {
    service = new MockService(system.bus.address, UPOWER, 'upower');
    await service.start();
    control = upowerControl(service);
  });

  afterEach(async () => {
    await service.dispose();
  });

  powerCases(
    start,
    () => service,
    () => control,
  );

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
    const conditions = watch({ power: { ...POWER, assumesMainsWithoutUPower: true } });
    try {
      await conditions.becomes(['power/not-known']);
    } finally {
      conditions.stop();
    }
  });
});

describe('a metered link', () => {
  let service: MockService;

  beforeEach(async () => {
    service = new MockService(system.bus.address, NETWORK_MANAGER, 'networkmanager');
    await service.start();
    await addMetered(service, 2);
  });

  afterEach(async () => {
    await service.dispose();
  });

  meteredCases(
    start,
    () => ({
      kill: () => service.kill(),
      start: async () => {
        await service.start();
        await addMetered(service, 2);
      },
    }),
    // No link is unknown to NetworkManager.
    (isMetered) => setMetered(service, isMetered === null ? 0 : isMetered ? 1 : 2),
  );

  it('is also one that NetworkManager guesses to be', async () => {
    const conditions = start({ metered: { points: [POINT], isSkippable: true } });
    await conditions.becomes([]);
    await setMetered(service, 3);
    await conditions.becomes(['metered/metered-link']);
    expect(conditions.latest()[0]).toMatchObject({ details: { 'is-guess': true } });
    await setMetered(service, 4);
    await conditions.becomes([]);
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
    const lock = await inhibit(system.bus.address, { what, who, why, mode }, () =>
      announceInhibitors(service),
    );
    held.push(lock);
    return lock;
  };

  beforeEach(async () => {
    service = new MockService(system.bus.address, LOGIND, 'logind');
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
    const upower = new MockService(system.bus.address, UPOWER, 'upower', { OnBattery: true });
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
      expect(conditions.bus.counts.rules).toBe(0);
    } finally {
      await upower.dispose();
    }
  });

  it('survive a restart of the bus', async () => {
    const upower = new MockService(system.bus.address, UPOWER, 'upower', { OnBattery: true });
    await upower.start();
    const conditions = start({ power: POWER });
    await conditions.becomes(['power/on-battery']);
    await upower.dispose();
    await system.bus.restart();
    await conditions.becomes(['power/not-known']);
    await eventually('connected again', () => conditions.bus.state === 'connected');
    const again = new MockService(system.bus.address, UPOWER, 'upower', { OnBattery: false });
    await again.start();
    try {
      await conditions.becomes([]);
    } finally {
      await again.dispose();
    }
  });
});

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bus, openClient, type BusClient } from '../../../src/adapters/dbus/connection.ts';
import { createHolders } from '../../../src/adapters/dbus/holders.ts';
import { clientStats } from '../../support/bus-stats.ts';
import { eventually } from '../../support/eventually.ts';
import { startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';
import { RecordingLog } from '../../support/recording-log.ts';

/** Whether the owner of a hold is still there, on a real bus. */
const GRACE_MS = 400;

let daemon: PrivateBus;
let bus: Bus;
let log: RecordingLog;
let closers: (() => void)[] = [];

beforeEach(async () => {
  daemon = await startPrivateBus();
  log = new RecordingLog();
  bus = new Bus({ address: daemon.address, names: [], log, firstDelayMs: 20, maxDelayMs: 50 });
  bus.start();
  await isConnected();
});
afterEach(async () => {
  for (const close of closers.toReversed()) close();
  closers = [];
  bus.close();
  await daemon.dispose();
});

function isConnected(): Promise<void> {
  return eventually('connected', () => bus.state === 'connected');
}

async function client(): Promise<BusClient> {
  const opened = await openClient(daemon.address);
  closers.push(() => opened.close());
  return opened;
}

interface Watch {
  readonly connection: string;
  /** Times it was said that the owner has gone. */
  goneCount(): number;
  isOver(): boolean;
  stop(): void;
}

function watch(connection: string): Watch {
  let count = 0;
  let isOver = false;
  const subscription = createHolders({ bus, graceMs: GRACE_MS, log })
    .gone$(connection)
    .subscribe({ next: () => count++, complete: () => (isOver = true) });
  closers.push(() => subscription.unsubscribe());
  return {
    connection,
    goneCount: () => count,
    isOver: () => isOver,
    stop: () => subscription.unsubscribe(),
  };
}

/** The bus has handled everything sent before. */
async function settled(): Promise<void> {
  for (let count = 0; count < 3; count++) {
    await bus.call({
      destination: 'org.freedesktop.DBus',
      path: '/org/freedesktop/DBus',
      interface: 'org.freedesktop.DBus',
      member: 'GetId',
      signature: '',
      body: [],
    });
  }
}

const gone = (watched: Watch): Promise<void> =>
  eventually('the owner has gone', () => watched.goneCount() > 0);

describe('the owner of a hold', () => {
  test('is gone once, when its connection is', async () => {
    const owner = await client();
    const watched = watch(`${bus.busId}/${owner.uniqueName}`);
    await settled();
    expect(watched.goneCount()).toBe(0);
    owner.close();
    await gone(watched);
    await settled();
    expect([watched.goneCount(), watched.isOver()]).toEqual([1, true]);
  });

  test('that has gone before anybody looked is gone', async () => {
    const owner = await client();
    const connection = `${bus.busId}/${owner.uniqueName}`;
    owner.close();
    await gone(watch(connection));
  });

  test.each(['', '/', 'nonsense', 'io.holdpoint.Update1', ':1.x', ":1.5'; eavesdrop='true"])(
    'that cannot be one is gone: %j',
    async (name) => {
      await gone(watch(`${bus.busId}/${name}`));
    },
  );

  test('of another bus is gone, even when its unique name is in use here', async () => {
    const namesake = await client();
    await gone(watch(`${'0'.repeat(32)}/${namesake.uniqueName}`));
  });

  test('is not asked for any more when nobody wants to know, and no rule stays at the bus', async () => {
    const before = await clientStats(daemon.address, bus.uniqueName);
    const owners = await Promise.all(Array.from({ length: 50 }, client));
    const watches = owners.map(({ uniqueName }) => watch(`${bus.busId}/${uniqueName}`));
    await settled();
    expect((await clientStats(daemon.address, bus.uniqueName)).matchRules).toBeGreaterThan(before.matchRules);
    for (const one of watches.slice(0, 25)) one.stop();
    for (const owner of owners) owner.close();
    await Promise.all(watches.slice(25).map(gone));
    await settled();
    expect((await clientStats(daemon.address, bus.uniqueName)).matchRules).toBe(before.matchRules);
    expect(bus.counts.rules).toBe(0);
    expect(watches.slice(0, 25).map((one) => one.goneCount())).toEqual(Array(25).fill(0));
  });
});

describe('a bus that goes', () => {
  test('and stays away longer than the grace takes everybody along, and not sooner', async () => {
    const owner = await client();
    const watched = watch(`${bus.busId}/${owner.uniqueName}`);
    await settled();
    await daemon.stop();
    await eventually('the loss is noticed', () => bus.state === 'lost');
    const lostMs = performance.now();
    await gone(watched);
    expect(performance.now() - lostMs).toBeGreaterThan(GRACE_MS * 0.8);
    expect(watched.goneCount()).toBe(1);
  });

  test('and is another one when it comes back has nobody of before on it', async () => {
    const owner = await client();
    const watched = watch(`${bus.busId}/${owner.uniqueName}`);
    await settled();
    await daemon.restart();
    await isConnected();
    const namesake = await client();
    await gone(watched);
    expect(watched.goneCount()).toBe(1);
    // Whoever is there now is watched like anybody else.
    const next = watch(`${bus.busId}/${namesake.uniqueName}`);
    await settled();
    expect(next.goneCount()).toBe(0);
    namesake.close();
    await gone(next);
  });

  test('before the service was there counts the grace from the start', async () => {
    await daemon.stop();
    await eventually('the loss is noticed', () => bus.state === 'lost');
    const watched = watch('some-bus/:1.5');
    const startedMs = performance.now();
    await gone(watched);
    expect(performance.now() - startedMs).toBeGreaterThan(GRACE_MS * 0.8);
  });
});

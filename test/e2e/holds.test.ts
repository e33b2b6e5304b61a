import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { busctl, gdbus, TARGET } from '../support/bus-tools.ts';
import { ASK, makeArtifact, type DeviceOptions } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { listedBlockers, listedHolds } from '../support/hold-list.ts';
import { Holder } from '../support/holder.ts';
import type { SeenSignal } from '../support/property-watch.ts';
import { ServiceHarness } from '../support/service.ts';

/** Holds that end with their owners (design/stories.md 2, 11, 22; design/faults.md R22, R24, R25), and those that last. */
const INSTALL = 'ArtifactInstall_Enter';
const COMMIT = 'ArtifactCommit_Enter';

let folder: string;
let artifact: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-holds-'));
  artifact = await makeArtifact({ folder });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

interface Scene {
  readonly service: ServiceHarness;
  /** A new process of the application. */
  app(): Promise<Holder>;
}

async function withDevice(options: DeviceOptions, use: (scene: Scene) => Promise<void>): Promise<void> {
  const service = await ServiceHarness.create(options);
  const apps: Holder[] = [];
  try {
    await service.start();
    await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
    await use({
      service,
      app: async () => {
        const app = await Holder.start(service);
        apps.push(app);
        return app;
      },
    });
  } finally {
    for (const app of apps) await app.vanish();
    await service.dispose();
  }
}

function waitsEnded(service: ServiceHarness): readonly SeenSignal[] {
  return service.watch.signals.filter(({ member }) => member === 'WaitEnded');
}

function lastOutcome(service: ServiceHarness): unknown {
  return waitsEnded(service).at(-1)?.args[2];
}

function hasNoHolds(service: ServiceHarness, withinMs = 10_000): Promise<void> {
  return eventually('there are no holds', async () => (await listedHolds(service)).length === 0, withinMs);
}

describe.concurrent('a bound hold', { timeout: 90_000 }, () => {
  it('makes the update wait, says who and why, and goes at once when its owner is killed', () =>
    withDevice({}, async ({ service, app }) => {
      const coffee = await app();
      const id = await coffee.hold([INSTALL], { why: 'brewing' });
      const deployment = await service.install(artifact);
      const seen = await service.waitAt(INSTALL);
      expect(listedBlockers(seen)).toMatchObject([
        {
          kind: 'hold',
          owner: 'python3',
          reasonCode: 'held',
          details: { 'hold-id': id, why: 'brewing', uid: 0, lifetime: 'bound', pid: coffee.caller.pid },
        },
      ]);
      expect(await listedHolds(service)).toMatchObject([
        {
          id,
          lifetime: 'bound',
          points: [INSTALL],
          owner: 'python3',
          why: 'brewing',
          uid: 0,
          expiresUsec: 0,
        },
      ]);
      expect(await service.device.calls()).not.toContain('ArtifactInstall');

      const killedMs = performance.now();
      await coffee.vanish();
      await service.waitFor('the wait is over', (now) => now['WaitTicket'] === '', 10_000);
      expect(performance.now() - killedMs).toBeLessThan(10_000);
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      expect(lastOutcome(service)).toBe('unblocked');
      expect(await listedHolds(service)).toEqual([]);
      const lines = await service.deploymentLog(deployment);
      expect(lines.map(({ message }) => message)).toContain(
        `The owner of hold ${id} (python3: brewing) has left the bus`,
      );
    }));

  it('of an application is taken over by its next process, with the same id', () =>
    withDevice({ holdpointConf: { HoldLinger: 60 } }, async ({ service, app }) => {
      const first = await app();
      const id = await first.hold([INSTALL], { appId: 'kiosk' });
      await service.install(artifact);
      const before = await service.waitAt(INSTALL);
      await first.vanish();
      await service.waitFor('its owner is missed', (seen) =>
        listedBlockers(seen).some(({ reasonCode }) => reasonCode === 'owner-lost'),
      );
      expect((await listedHolds(service))[0]).toMatchObject({ id, details: { countdown: 'linger' } });

      // Another application, and the same one for another point, get holds of their own.
      const other = await app();
      expect(await other.hold([INSTALL], { appId: 'other' })).not.toBe(id);
      expect(await other.hold([COMMIT], { appId: 'kiosk' })).not.toBe(id);
      await other.vanish();

      const second = await app();
      expect(await second.hold([INSTALL], { appId: 'kiosk', why: 'back again' })).toBe(id);
      const adopted = (await listedHolds(service)).find((hold) => hold.id === id);
      expect(adopted).toMatchObject({ why: 'back again', details: { pid: second.caller.pid } });
      expect(adopted?.details).not.toHaveProperty('countdown');
      expect(service.watch.present()).toMatchObject({ WaitTicket: before['WaitTicket'] });
      expect(await second.must('Continue', `('${String(before['WaitTicket'])}',)`)).toContain('recorded');
    }));

  it('of an application that does not come back ends with the linger', () =>
    withDevice({ holdpointConf: { HoldLinger: 1 } }, async ({ service, app }) => {
      const kiosk = await app();
      await kiosk.hold([INSTALL], { appId: 'kiosk' });
      await service.install(artifact);
      await service.waitAt(INSTALL);
      const killedMs = performance.now();
      await kiosk.vanish();
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      expect(performance.now() - killedMs).toBeGreaterThan(900);
      expect(await listedHolds(service)).toEqual([]);
    }));

  for (const then of ['continue', 'fail'] as const) {
    it(`of a stopped application lasts to the ceiling of the point and not longer: ${then}`, () =>
      withDevice({ points: { [INSTALL]: { ceiling: 2, 'on-ceiling': then } } }, async ({ service, app }) => {
        const hung = await app();
        await hung.hold([INSTALL]);
        hung.freeze(true);
        await service.install(artifact);
        const seen = await service.waitAt(INSTALL);
        expect(seen['WaitOnExpire']).toBe(then);
        const end = await service.waitForEnd(15_000);
        hung.freeze(false);
        expect(end).toMatchObject(
          then === 'continue'
            ? { LastResult: 'success' }
            : {
                LastResult: 'failure',
                LastErrorName: 'io.holdpoint.Update1.Failure.HoldExpired',
                LastErrorDetails: { reason: 'ceiling-reached', point: INSTALL },
              },
        );
        expect(lastOutcome(service)).toBe(`expired-${then}`);
        expect(waitsEnded(service)).toHaveLength(1);
      }));
  }

  it('outlives a crash of the service while its owner is there, and is still watched', () =>
    withDevice({}, async ({ service, app }) => {
      const coffee = await app();
      const id = await coffee.hold([INSTALL]);
      await service.install(artifact);
      const before = await service.waitAt(INSTALL);
      await service.restart();
      const after = await service.waitAt(INSTALL);
      expect(after['WaitTicket']).not.toBe(before['WaitTicket']);
      expect(await listedHolds(service)).toMatchObject([{ id, lifetime: 'bound' }]);
      const stale = await service.call('Continue', 's', [String(before['WaitTicket'])]);
      expect(stale.error).toContain('not, or no longer');
      await coffee.vanish();
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));

  it('is gone after a crash of the service in which its owner died too', () =>
    withDevice({}, async ({ service, app }) => {
      const coffee = await app();
      await coffee.hold([INSTALL]);
      await service.install(artifact);
      await service.waitAt(INSTALL);
      await service.kill9();
      await coffee.vanish();
      await service.start();
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      expect(await listedHolds(service)).toEqual([]);
    }));

  it('counts as lost when the bus stays away longer than the grace, and is taken over on the next bus', () =>
    withDevice({ holdpointConf: { HoldLinger: 5 } }, async ({ service, app }) => {
      const [anonymous, kiosk] = [await app(), await app()];
      await anonymous.hold([COMMIT]);
      const id = await kiosk.hold([INSTALL], { appId: 'kiosk' });
      await service.install(artifact);
      await service.waitAt(INSTALL);
      await service.bus.restart();
      // On the new bus nobody is who he was: an owner without a name cannot come back.
      await service.waitFor('the service is on the new bus', () => true);
      const back = await app();
      expect(await back.hold([INSTALL], { appId: 'kiosk' })).toBe(id);
      await eventually('only the one that came back', async () => {
        const holds = await listedHolds(service);
        return holds.length === 1 && holds[0]?.id === id;
      });
      const { WaitPoint } = await service.waitAt(INSTALL);
      expect(WaitPoint).toBe(INSTALL);
      await back.vanish();
      expect(await service.waitForEnd(15_000)).toMatchObject({ LastResult: 'success' });
    }));

  it('is let go when there is no bus for longer than the grace', () =>
    withDevice({ holdpointConf: { HoldLinger: 1 } }, async ({ service, app }) => {
      const coffee = await app();
      await coffee.hold([INSTALL]);
      await service.install(artifact);
      await service.waitAt(INSTALL);
      await service.bus.stop();
      await eventually('it is installed without a bus', async () =>
        (await service.device.calls()).includes('ArtifactCommit'),
      );
      await service.bus.start();
      await service.waitFor('it is over', (seen) => seen['LastResult'] === 'success');
      expect(await listedHolds(service)).toEqual([]);
    }));
});

describe.concurrent('after a reboot', { timeout: 90_000 }, () => {
  /** The machine reboots into the new version and comes to its commit. */
  async function reboot(service: ServiceHarness): Promise<void> {
    expect((await service.exited()).signal).toBe('SIGKILL');
    await service.start();
    await service.waitAt(COMMIT);
  }

  it('a timed hold is back for the boot expiry, and then says what it was given to say', () =>
    withDevice(
      { needsReboot: 'Automatic', menderConf: { UpdateControlMapBootExpirationTimeSeconds: 3 } },
      async ({ service, app }) => {
        const shell = await app();
        const id = await shell.hold([COMMIT], { timeout: 3600, onExpire: 'continue' });
        await service.install(artifact);
        await reboot(service);
        const [hold] = await listedHolds(service);
        expect(hold).toMatchObject({ id, lifetime: 'timed', details: { countdown: 'time' } });
        const leftMs = (hold?.expiresUsec ?? 0) / 1000 - Date.now();
        expect(leftMs).toBeGreaterThan(-1500);
        expect(leftMs).toBeLessThan(4500);
        expect(await service.waitForEnd(15_000)).toMatchObject({ LastResult: 'success' });
        expect(lastOutcome(service)).toBe('expired-continue');
        await hasNoHolds(service);
      },
    ));

  it('an application with a name is expected back at the commit, and its absence counts as it said: fail', () =>
    withDevice(
      { needsReboot: 'Automatic', menderConf: { UpdateControlMapBootExpirationTimeSeconds: 2 } },
      async ({ service, app }) => {
        const kiosk = await app();
        const anonymous = await app();
        await anonymous.hold([COMMIT]);
        const id = await kiosk.hold([COMMIT], { appId: 'kiosk', onExpire: 'fail' });
        await service.install(artifact);
        // With the machine goes everybody on it.
        expect((await service.exited()).signal).toBe('SIGKILL');
        await kiosk.vanish();
        await anonymous.vanish();
        await service.start();
        const seen = await service.waitAt(COMMIT);
        expect(listedBlockers(seen)).toMatchObject([
          { kind: 'hold', owner: 'kiosk', reasonCode: 'owner-expected', details: { 'hold-id': id } },
        ]);
        // Back to the old version, which needs a reboot again.
        await service.exited();
        await service.start();
        expect(await service.waitForEnd()).toMatchObject({
          LastResult: 'rolled-back',
          LastErrorName: 'io.holdpoint.Update1.Failure.HoldExpired',
          LastErrorDetails: { reason: 'hold-expired', owner: 'kiosk' },
        });
        await hasNoHolds(service);
      },
    ));

  it('an application that comes back has its hold again, and lets the new version be kept', () =>
    withDevice({ needsReboot: 'Automatic' }, async ({ service, app }) => {
      const kiosk = await app();
      const id = await kiosk.hold([COMMIT], { appId: 'kiosk', onExpire: 'fail' });
      await service.install(artifact);
      expect((await service.exited()).signal).toBe('SIGKILL');
      await kiosk.vanish();
      await service.start();
      await service.waitAt(COMMIT);
      const back = await app();
      expect(await back.hold([COMMIT], { appId: 'kiosk', onExpire: 'fail' })).toBe(id);
      const { WaitTicket } = await service.waitAt(COMMIT);
      expect(await back.must('Continue', `('${String(WaitTicket)}',)`)).toContain('proceeding');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      expect(lastOutcome(service)).toBe('continued');
    }));
});

describe.concurrent('a timed hold', { timeout: 90_000 }, () => {
  it('lets its time run while the update waits at its point, not while it downloads', () =>
    withDevice({}, async ({ service }) => {
      await service.device.order('Download', 'wait');
      await service.install(artifact);
      await eventually('it downloads', async () => (await service.device.calls()).includes('Download'));
      const args = [INSTALL, 'surgery running', '1', 'fail'];
      const id = String(await service.mustCall('Holds.Hold', 'ssus', args));
      // Longer than it lasts: it would be over if its time ran.
      const startedMs = performance.now();
      await eventually('two seconds of download', () => performance.now() - startedMs > 2000);
      expect(await listedHolds(service)).toMatchObject([
        { id, lifetime: 'timed', expiresUsec: 0, details: { 'remaining-seconds': 1 } },
      ]);
      await service.device.cancelOrder('Download', 'wait');
      const seen = await service.waitAt(INSTALL);
      expect(seen['WaitOnExpire']).toBe('fail');
      expect(await service.waitForEnd()).toMatchObject({
        LastErrorName: 'io.holdpoint.Update1.Failure.HoldExpired',
        LastErrorDetails: { reason: 'hold-expired', 'hold-id': id, why: 'surgery running' },
      });
    }));

  it('is refreshed by anybody of the same user, and goes on blocking when it is to keep waiting', () =>
    withDevice({}, async ({ service }) => {
      const [id, refresh] = (await service.mustCall('Holds.AddHold', 'assusa{sv}', [
        '1',
        INSTALL,
        'backup',
        '2',
        'keep-waiting',
        '1',
        'priority',
        'i',
        '3',
      ])) as [string, number];
      expect(refresh).toBe(1);
      await service.install(artifact);
      await service.waitAt(INSTALL);
      for (let count = 0; count < 4; count++) {
        expect(await service.mustCall('Holds.RefreshHold', 's', [id])).toBe(1);
        const [hold] = await listedHolds(service);
        expect(hold?.details).not.toHaveProperty('expired');
      }
      await service.waitFor('its time is over', (seen) =>
        listedBlockers(seen).some(({ reasonCode }) => reasonCode === 'hold-overdue'),
      );
      expect((await listedHolds(service))[0]).toMatchObject({ id, details: { expired: true } });
      const released = await gdbus(service.bus.address, 'call', [
        '--method',
        `${TARGET.main}.Holds.ReleaseHold`,
        id,
      ]);
      expect(released.stderr).toBe('');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));
});

describe.concurrent('the list of holds', { timeout: 90_000 }, () => {
  it('shows everybody, and the order of release does not matter', () =>
    withDevice({ points: { [INSTALL]: ASK } }, async ({ service, app }) => {
      const apps = [await app(), await app(), await app()];
      const ids: string[] = [];
      for (const [index, one] of apps.entries())
        ids.push(await one.hold([INSTALL], { why: `reason ${index}` }));
      await service.install(artifact);
      const seen = await service.waitAt(INSTALL);
      const shown = listedBlockers(seen);
      expect(shown.map(({ kind }) => kind)).toEqual(['consent', 'hold', 'hold', 'hold']);
      expect(shown.slice(1).map(({ details }) => details['pid'])).toEqual(
        apps.map(({ caller }) => caller.pid),
      );
      for (const { details } of shown) expect(Number(details['since-usec'])).toBeGreaterThan(0);

      // Consent of one: his own hold goes, the others stay.
      const answer = await apps[1]!.must('Continue', `('${String(seen['WaitTicket'])}',)`);
      expect(answer).toContain('recorded');
      expect((await listedHolds(service)).map(({ id }) => id)).toEqual([ids[0], ids[2]]);
      await apps[2]!.must('Holds.ReleaseHold', `('${ids[2]}',)`);
      expect(service.watch.present()).toMatchObject({ WaitTicket: seen['WaitTicket'] });
      await apps[0]!.must('Holds.ReleaseHold', `('${ids[0]}',)`);
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      expect(lastOutcome(service)).toBe('continued');
    }));

  it('has at most 16 of one user, and announces each change', () =>
    withDevice({}, async ({ service, app }) => {
      const greedy = await app();
      for (let count = 0; count < 16; count++) await greedy.hold([COMMIT], { why: `number ${count}` });
      await expect(greedy.hold([COMMIT])).rejects.toThrow(/LimitsExceeded: a user may have 16 holds/);
      expect(await listedHolds(service)).toHaveLength(16);
      await greedy.vanish();
      await hasNoHolds(service);
      const tree = await busctl(service.bus.address, ['status', TARGET.name]);
      expect(tree.status).toBe(0);
    }));
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { busctl } from '../support/bus-tools.ts';
import { startControlProgram, type ControlProgram } from '../support/control-program.ts';
import { makeArtifact, type DeviceOptions } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { listedBlockers, listedHolds } from '../support/hold-list.ts';
import { ServiceHarness } from '../support/service.ts';

/** Update control maps on the real service, through our interface and through Mender's (design/stories.md 17, 20). */
const ID = '01234567-89ab-cdef-0123-456789abcdef';
const GATES = ['ArtifactInstall_Enter', 'ArtifactReboot_Enter', 'ArtifactCommit_Enter'] as const;
/** What cannot be undone by doing nothing. */
const STEPS = ['ArtifactInstall', 'Reboot', 'ArtifactCommit'];
type Gate = (typeof GATES)[number];

let folder: string;
let artifact: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-maps-'));
  artifact = await makeArtifact({ folder });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function withDevice(
  options: DeviceOptions,
  use: (service: ServiceHarness) => Promise<void>,
): Promise<void> {
  const service = await ServiceHarness.create(options);
  try {
    await service.start();
    await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
    await use(service);
  } finally {
    await service.dispose();
  }
}

interface Rule {
  readonly action: string;
  readonly on_map_expire?: string;
  readonly on_action_executed?: string;
}

function mapText(states: Partial<Record<Gate, Rule>>, priority = 0, id = ID): string {
  return JSON.stringify({ id, priority, states });
}

async function setMap(service: ServiceHarness, text: string): Promise<number> {
  return Number(await service.mustCall('Holds.SetControlMap', 's', [text]));
}

function lastOutcome(service: ServiceHarness): unknown {
  return service.watch.signals.findLast(({ member }) => member === 'WaitEnded')?.args[2];
}

/** With a reboot in between where the way leads through one. */
async function toTheEnd(service: ServiceHarness): Promise<Readonly<Record<string, unknown>>> {
  for (;;) {
    const end = await Promise.race([service.waitForEnd(), service.exited().then(() => null)]);
    if (end !== null) return end;
    await service.start();
  }
}

describe.concurrent('a map that fails', { timeout: 90_000 }, () => {
  for (const [gate, called] of [
    ['ArtifactInstall_Enter', []],
    ['ArtifactReboot_Enter', ['ArtifactInstall']],
    ['ArtifactCommit_Enter', ['ArtifactInstall', 'Reboot']],
  ] as const) {
    it(`at ${gate} ends the update there`, () =>
      withDevice({ needsReboot: 'Automatic' }, async (service) => {
        await setMap(service, mapText({ [gate]: { action: 'fail' } }));
        await service.install(artifact);
        const end = await toTheEnd(service);
        expect(end).toMatchObject({
          LastErrorName: 'io.holdpoint.Update1.Failure.ControlMap',
          LastErrorDetails: { point: gate, reason: 'map-fail', 'map-id': ID, origin: 'local' },
        });
        const calls = await service.device.calls();
        const forward = calls.slice(0, calls.indexOf('ArtifactRollback'));
        expect(forward.filter((call) => STEPS.includes(call))).toEqual(called);
        expect(calls).not.toContain('ArtifactCommit');
      }));
  }
});

describe.concurrent('a map that pauses', { timeout: 90_000 }, () => {
  it('makes the update wait, is listed with the time it has left, and is lifted by another map of its owner', () =>
    withDevice({}, async (service) => {
      const halfway = await setMap(service, mapText({ ArtifactInstall_Enter: { action: 'pause' } }, 5));
      await service.install(artifact);
      const seen = await service.waitAt('ArtifactInstall_Enter');
      expect(listedBlockers(seen)).toMatchObject([
        {
          kind: 'map',
          owner: 'uid:0',
          reasonCode: 'paused-by-map',
          details: { 'map-id': ID, origin: 'local', 'on-end': 'fail' },
        },
      ]);
      const [listed] = await listedHolds(service);
      expect(listed).toMatchObject({
        id: `map:${ID}/5`,
        lifetime: 'map',
        points: ['ArtifactInstall_Enter'],
        action: 'pause',
        onExpire: 'fail',
        details: { 'map-id': ID, priority: 5, origin: 'local' },
      });
      const leftSeconds = (listed?.expiresUsec ?? 0) / 1e6 - Date.now() / 1000;
      expect(leftSeconds).toBeGreaterThan(2 * halfway - 20);
      expect(leftSeconds).toBeLessThan(2 * halfway + 3);

      // A consent does not lift somebody else's pause; a map of a higher priority passes over it.
      expect(await service.mustCall('Continue', 's', [String(seen['WaitTicket'])])).toBe('recorded');
      expect(await setMap(service, 'null')).toBe(halfway);
      expect(await listedHolds(service)).toHaveLength(1);
      await setMap(service, mapText({}, 5));
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      expect(lastOutcome(service)).toBe('continued');
      expect(await listedHolds(service)).toEqual([]);
    }));

  it('gives way to a higher priority, and beats a lower one', () =>
    withDevice({}, async (service) => {
      await setMap(service, mapText({ ArtifactInstall_Enter: { action: 'pause' } }, 1));
      await setMap(
        service,
        mapText({ ArtifactInstall_Enter: { action: 'force_continue' } }, -1, ID.replace('0', '1')),
      );
      await service.install(artifact);
      await service.waitAt('ArtifactInstall_Enter');
      await setMap(
        service,
        mapText({ ArtifactInstall_Enter: { action: 'force_continue' } }, 2, ID.replace('0', '2')),
      );
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      expect(lastOutcome(service)).toBe('forced');
    }));

  for (const then of ['continue', 'fail'] as const) {
    it(`lets go when it expires: ${then}`, () =>
      // Its time runs during the download too: long enough for a busy machine to get to the gate.
      withDevice({ menderConf: { UpdateControlMapExpirationTimeSeconds: 14 } }, async (service) => {
        const rule = { action: 'pause', on_map_expire: then };
        expect(await setMap(service, mapText({ ArtifactInstall_Enter: rule }))).toBe(7);
        await service.install(artifact);
        const seen = await service.waitAt('ArtifactInstall_Enter');
        expect(seen['WaitOnExpire']).toBe(then);
        const end = await service.waitForEnd(40_000);
        expect(end).toMatchObject(
          then === 'continue'
            ? { LastResult: 'success' }
            : { LastErrorName: 'io.holdpoint.Update1.Failure.ControlMap' },
        );
        expect(lastOutcome(service)).toBe(then === 'continue' ? 'expired-continue' : 'aborted');
        // Expired ones go when the device is idle again.
        await eventually('no map is left', async () => (await listedHolds(service)).length === 0);
      }));
  }

  it('survives a crash and a reboot, with the boot expiry', () =>
    withDevice({ menderConf: { UpdateControlMapBootExpirationTimeSeconds: 15 } }, async (service) => {
      await setMap(
        service,
        mapText({ ArtifactInstall_Enter: { action: 'pause', on_map_expire: 'continue' } }),
      );
      await service.restart();
      expect(await listedHolds(service)).toMatchObject([{ id: `map:${ID}/0`, action: 'pause' }]);
      await service.install(artifact);
      await service.waitAt('ArtifactInstall_Enter');
      await service.restart({ boot: 'next' });
      await service.waitAt('ArtifactInstall_Enter');
      const [listed] = await listedHolds(service);
      expect((listed?.expiresUsec ?? 0) / 1e6 - Date.now() / 1000).toBeLessThan(17);
      expect(await service.waitForEnd(26_000)).toMatchObject({ LastResult: 'success' });
    }));

  it('is used once when it says so', () =>
    withDevice({}, async (service) => {
      const rule = { action: 'pause', on_map_expire: 'continue', on_action_executed: 'continue' };
      await setMap(
        service,
        mapText({ ArtifactInstall_Enter: rule, ArtifactCommit_Enter: { action: 'pause' } }),
      );
      await service.install(artifact);
      const seen = await service.waitAt('ArtifactInstall_Enter');
      const outcome = await service.call('ContinueFull', 'sa{sv}', [
        String(seen['WaitTicket']),
        '2',
        'override',
        'b',
        'true',
        'comment',
        's',
        'operator on site',
      ]);
      expect(outcome.values).toEqual(['proceeding']);
      await service.waitAt('ArtifactCommit_Enter');
      const [listed] = await listedHolds(service);
      const states = JSON.parse(String(listed?.details['states'])) as Record<string, { action: string }>;
      expect(states['ArtifactInstall_Enter']?.action).toBe('continue');
      expect(states['ArtifactCommit_Enter']?.action).toBe('pause');
    }));
});

describe.concurrent("a program written for Mender's interface", { timeout: 120_000 }, () => {
  it('pauses all gates, keeps its map alive, and lets a whole update pass gate by gate', () =>
    withDevice(
      {
        needsReboot: 'Automatic',
        menderConf: {
          UpdateControlMapExpirationTimeSeconds: 8,
          UpdateControlMapBootExpirationTimeSeconds: 8,
        },
      },
      async (service) => {
        let program: ControlProgram | null = null;
        const started = (args: readonly string[]): ControlProgram => {
          const next = startControlProgram(service.bus.address, ['--id', ID, ...args]);
          program = next;
          return next;
        };
        const isRefreshed = async (from: ControlProgram): Promise<void> => {
          const seen = from.events.length;
          await from.waitFor(({ event }) => event === 'refreshed', seen);
        };
        try {
          const control = started([]);
          expect(await control.waitFor(({ event }) => event === 'set')).toMatchObject({ refresh_timeout: 4 });
          await service.install(artifact);
          await service.waitAt('ArtifactInstall_Enter');
          // Twice as long as the map lives.
          for (let count = 0; count < 4; count++) await isRefreshed(control);
          expect(service.watch.present()).toMatchObject({ WaitPoint: 'ArtifactInstall_Enter' });
          expect(await service.device.calls()).not.toContain('ArtifactInstall');
          control.tell('next');
          await service.waitAt('ArtifactReboot_Enter');
          expect(await service.device.calls()).not.toContain('Reboot');
          await isRefreshed(control);
          control.tell('next');
          // The machine reboots; whoever controls updates is started again on the new system.
          expect((await service.exited()).signal).toBe('SIGKILL');
          await control.kill();
          await service.start();
          await service.waitAt('ArtifactCommit_Enter');
          const again = started([]);
          await again.waitFor(({ event }) => event === 'set');
          await isRefreshed(again);
          expect(await service.device.calls()).not.toContain('ArtifactCommit');
          again.tell('commit continue');
          expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
          again.tell('remove');
          await again.waitFor(({ event }) => event === 'removed');
          expect(await listedHolds(service)).toEqual([]);
          again.tell('quit');
          expect(await again.ended).toBe(0);
        } finally {
          await (program as ControlProgram | null)?.kill();
        }
      },
    ));

  it('loses its say when it is killed: the map expires and says fail', () =>
    withDevice({ menderConf: { UpdateControlMapExpirationTimeSeconds: 4 } }, async (service) => {
      const control = startControlProgram(service.bus.address, ['--id', ID]);
      await control.waitFor(({ event }) => event === 'set');
      await service.install(artifact);
      await service.waitAt('ArtifactInstall_Enter');
      await control.kill();
      expect(await service.waitForEnd(15_000)).toMatchObject({
        LastErrorName: 'io.holdpoint.Update1.Failure.ControlMap',
        // Mender's way: a map that fails at this gate leads through the module's rollback.
        LastResult: 'rolled-back',
      });
    }));

  it('gets one and the same error for whatever is wrong, and only root is heard', () =>
    withDevice({}, async (service) => {
      const set = (text: string, uid?: number) =>
        busctl(
          service.bus.address,
          [
            'call',
            'io.mender.UpdateManager',
            '/io/mender/UpdateManager',
            'io.mender.Update1',
            'SetUpdateControlMap',
            's',
            text,
          ],
          uid === undefined ? {} : { uid },
        );
      for (const text of ['', '{}', '['.repeat(65_536), mapText({}, 11), '{"id":"x"}']) {
        const { status, stderr } = await set(text);
        expect(status).toBe(1);
        expect(stderr.trim()).toBe('Call failed: Method returned error, see Mender logs for more details');
      }
      expect((await set(mapText({ ArtifactInstall_Enter: { action: 'fail' } }), 65534)).stderr).toMatch(
        /denied|not allowed/i,
      );
      expect(await listedHolds(service)).toEqual([]);
      expect((await set(mapText({ ArtifactInstall_Enter: { action: 'fail' } }))).stdout.trim()).toBe(
        'i 1800',
      );
      expect(await listedHolds(service)).toHaveLength(1);
    }));

  it('finds nobody under that name where the configuration does not offer it', () =>
    withDevice({ holdpointConf: { MenderNames: false } }, async (service) => {
      const { status } = await busctl(service.bus.address, ['status', 'io.mender.UpdateManager']);
      expect(status).not.toBe(0);
    }));
});

/**
 * Updates that do not work here and are offered all the same, devices that something is wrong with, and what happens
 * without a server (design/faults.md R31, R32, R35, R36): the running service and a server on loopback.
 */
import { randomUUID } from 'node:crypto';
import { chmod, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { sampleOffer } from '../support/device-api.ts';
import { makeArtifact } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { withRig, type Rig } from './rig.ts';
import { Listener, pipeTo } from './sockets.ts';

/** Several updates one after the other, on a machine that has other things to do. */
vi.setConfig({ testTimeout: 240_000 });
const FAILURE = 'io.holdpoint.Update1.Failure';

/** The server offers it whatever it has been told. */
function insist(rig: Rig, url: string, name = 'release-2', id: string = randomUUID()): string {
  rig.api.answerAlways('next-v2', { status: 200, body: JSON.stringify(sampleOffer(id, name, url)) });
  return id;
}

/** The entries of aa{sv} as busctl's JSON has them, unwrapped. */
function setAsideOf(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  return (value as readonly Readonly<Record<string, { readonly data: unknown }>>[]).map((entry) =>
    Object.fromEntries(Object.entries(entry).map(([key, { data }]) => [key, data])),
  );
}

describe.concurrent('an update that does not start', () => {
  it('is installed once though it is offered five times, until a person asks for it (R31)', () =>
    withRig({ needsReboot: 'Yes' }, async (rig) => {
      const { service } = rig;
      await service.device.order('ArtifactVerifyReboot', 'fail');
      const id = insist(rig, await rig.publish());
      const results: string[] = [];
      for (let count = 0; count < 5; count += 1) {
        results.push((await rig.poll()).result);
        // What is remembered outlives the service.
        if (count === 2) {
          await service.terminate();
          await service.start();
          await rig.idle();
        }
      }
      expect(results).toEqual(['update-found', ...Array<string>(4).fill('set-aside')]);
      expect(await rig.calls('ArtifactInstall')).toBe(1);
      expect((await rig.poll()).errorName).toBe(`${FAILURE}.Reboot`);
      expect(setAsideOf(await service.property('SetAside'))).toMatchObject([
        {
          'deployment-id': id,
          'artifact-name': 'release-2',
          tries: 1,
          'needs-person': true,
          'error-name': `${FAILURE}.Reboot`,
        },
      ]);
      // Told once more, since it is offered once more; the first result stays.
      await eventually(
        'the server is told again',
        () => rig.statuses(id).filter((status) => status === 'failure').length === 2,
      );
      expect(await service.property('LastResult')).toBe('rolled-back');
      expect((await service.call('RetryUpdate', 's', ['another'])).error).toMatch(/no deployment of that id/);

      await service.device.cancelOrder('ArtifactVerifyReboot', 'fail');
      await service.mustCall('RetryUpdate', 's', [id]);
      const end = await service.waitFor(
        'it is installed',
        (seen) => seen['LastResult'] === 'success',
        60_000,
      );
      expect(end['CurrentArtifactName']).toBe('release-2');
      rig.api.answerAlways('next-v2', null);
      await rig.pollsAgain();
      expect(await service.property('SetAside')).toEqual([]);
    }));

  it('keeps no other from being installed, one that repairs it included (R31, R36)', () =>
    withRig({}, async (rig) => {
      await rig.service.device.order('ArtifactInstall', 'fail-once');
      insist(rig, await rig.publish());
      await rig.poll();
      expect((await rig.poll()).result).toBe('set-aside');
      insist(rig, await rig.publish({ name: 'release-3' }), 'release-3');
      expect((await rig.poll()).seen).toMatchObject({
        LastResult: 'success',
        CurrentArtifactName: 'release-3',
      });
      rig.api.answerAlways('next-v2', null);
      await rig.pollsAgain();
    }));
});

describe.concurrent('a second deployment', () => {
  it('that is ordered while the first runs is taken when that is over, and each is installed once (R32)', () =>
    withRig({}, async (rig) => {
      const { service } = rig;
      const first = rig.offer(await rig.publish());
      await service.device.order('ArtifactInstall', 'wait');
      await service.mustCall('CheckForUpdate');
      await eventually('the module works', async () => (await rig.calls('ArtifactInstall')) === 1, 120_000);
      const asked = rig.api.of('next-v2').length;
      const second = rig.offer(await rig.publish({ name: 'release-3' }), 'release-3');
      // As an operator would: the bus refuses, a signal is remembered.
      expect((await service.call('CheckForUpdate')).error).not.toBe('');
      process.kill(service.pid, 'SIGUSR1');
      expect((await service.call('RetryUpdate', 's', [second])).error).not.toBe('');
      expect(rig.api.of('next-v2')).toHaveLength(asked);
      await service.device.cancelOrder('ArtifactInstall', 'wait');
      await service.waitFor(
        'both are over',
        (seen) => seen['CurrentArtifactName'] === 'release-3' && seen['DeploymentId'] === '',
        60_000,
      );
      expect(await rig.calls('ArtifactInstall')).toBe(2);
      expect(rig.statuses(first).at(-1)).toBe('success');
      expect(rig.statuses(second).at(-1)).toBe('success');
    }));
});

describe.concurrent('a commit without a server', () => {
  it.each([
    [true, { LastResult: 'success', CurrentArtifactName: 'release-2' }],
    [false, { LastResult: 'rolled-back', CurrentArtifactName: 'unknown' }],
  ])(
    'with OfflineCommit %s: decided after the grace, told when the server is back (R35)',
    async (isAllowed, expected) => {
      let target = 0;
      const relay = new Listener(createServer((socket) => pipeTo(socket, target)));
      const port = await relay.listen();
      try {
        await withRig(
          {
            holdpointConf: { OfflineCommit: isAllowed },
            serverUrl: `http://127.0.0.1:${port}`,
            prepare: (rig) => void (target = rig.api.port),
          },
          async (rig) => {
            const { service } = rig;
            const id = rig.offer(await rig.publish());
            await service.device.order('ArtifactInstall', 'wait');
            await service.mustCall('CheckForUpdate');
            await eventually(
              'the module works',
              async () => (await rig.calls('ArtifactInstall')) === 1,
              120_000,
            );
            await relay.close();
            await service.device.cancelOrder('ArtifactInstall', 'wait');
            const end = await service.waitFor(
              'the deployment is over',
              (seen) => seen['LastResult'] !== 'none' && seen['DeploymentId'] === '',
              60_000,
            );
            expect(end).toMatchObject(expected);
            expect(await rig.calls('ArtifactCommit')).toBe(isAllowed ? 1 : 0);
            expect(rig.statuses(id)).not.toContain('success');
            await relay.listen(port);
            // The server offers it still: what it missed is told now.
            await rig.poll();
            const missed = isAllowed ? 'already-installed' : 'failure';
            await eventually('the server knows', () => rig.statuses(id).includes(missed));
            rig.api.offer(null);
            await rig.pollsAgain();
            expect(await rig.calls('ArtifactInstall')).toBe(1);
          },
        );
      } finally {
        await relay.close();
      }
    },
  );
});

describe.concurrent('a device that a check finds something wrong with', () => {
  it('says what, and takes the artifact that repairs it from the server (R36)', () =>
    withRig({}, async (rig) => {
      const { device } = rig.service;
      // The module for the system cannot begin: the environment of its boot loader is not set.
      const module = join(device.share, 'modules/v3/system-image');
      const environment = join(device.folder, 'boot-environment');
      await writeFile(
        module,
        `#!/bin/sh\n[ "$1" = Download ] || exit 0\n[ -f '${environment}' ] && exit 0\n` +
          'echo "the boot environment is not set" >&2\nexit 1\n',
      );
      await chmod(module, 0o755);
      const system = await rig.publish({ payloadType: 'system-image', name: 'system-2' });
      const { end } = await rig.deploy(system, 'system-2');
      expect(end).toMatchObject({
        LastResult: 'failure',
        LastErrorName: `${FAILURE}.UpdateModule`,
        LastErrorDetails: expect.objectContaining({ module: 'system-image', action: 'Download' }),
      });
      await writeFile(
        join(device.share, 'modules/v3/repair'),
        `#!/bin/sh\n[ "$1" = ArtifactInstall ] && cp "$2/files/greeting" '${environment}'\nexit 0\n`,
        { mode: 0o755 },
      );
      const repair = await rig.publish({ payloadType: 'repair', name: 'repair-1' });
      expect((await rig.deploy(repair, 'repair-1')).end).toMatchObject({ LastResult: 'success' });
      expect((await rig.deploy(system, 'system-2')).end).toMatchObject({
        LastResult: 'success',
        CurrentArtifactName: 'system-2',
      });
    }));

  it('whose identity program is broken is who it was, and is repaired from afar (R36)', () =>
    withRig({}, async (rig) => {
      const { service, api } = rig;
      const { device } = service;
      await rig.pollsAgain();
      const identityOf = (request: ReturnType<typeof api.of>[number] | undefined): unknown =>
        (request?.json as { readonly id_data?: string } | undefined)?.id_data;
      const before = identityOf(api.of('auth').at(-1));
      expect(before).toMatch(/^\{".+\}$/);
      const program = join(device.share, 'identity/mender-device-identity');
      await writeFile(program, '#!/bin/sh\necho "half of it"\nexit 1\n');
      api.revokeTokens();
      await service.terminate();
      await service.start();
      await rig.idle();
      await rig.pollsAgain();
      expect(identityOf(api.of('auth').at(-1))).toBe(before);
      expect(await service.log()).toMatch(
        /identity program fails; the identity that was accepted last is used/,
      );
      await writeFile(
        join(device.share, 'modules/v3/repair'),
        `#!/bin/sh\n[ "$1" = ArtifactInstall ] && printf '#!/bin/sh\\necho serial=new\\n' >'${program}'\nexit 0\n`,
        { mode: 0o755 },
      );
      const repair = await rig.publish({ payloadType: 'repair', name: 'repair-1' });
      expect((await rig.deploy(repair, 'repair-1')).end).toMatchObject({ LastResult: 'success' });
      // What works is believed, whatever it says.
      api.revokeTokens();
      await rig.pollsAgain();
      expect(identityOf(api.of('auth').at(-1))).toBe('{"serial":"new"}');
    }));

  it('whose Sync script forbids every check says so, and is repaired by whoever is at the device (R36)', () =>
    withRig({ scripts: ['Sync_Enter_00'] }, async (rig) => {
      const { service } = rig;
      const { device } = service;
      await rig.pollsAgain();
      await device.order('Sync_Enter_00', 'fail');
      const asked = rig.api.of('next-v2').length;
      const { result, errorName } = await rig.poll();
      expect({ result, errorName }).toEqual({ result: 'failed', errorName: `${FAILURE}.StateScript` });
      expect(rig.api.of('next-v2')).toHaveLength(asked);
      await writeFile(
        join(device.share, 'modules/v3/repair'),
        `#!/bin/sh\n[ "$1" = ArtifactInstall ] && rm '${device.conf}/scripts/Sync_Enter_00'\nexit 0\n`,
        { mode: 0o755 },
      );
      const repair = await makeArtifact(device, { payloadType: 'repair', name: 'repair-1' });
      // The check that failed is made again by itself; in between there is room.
      const install = () => service.call('Install.InstallPath', 'ss', [repair, '']);
      await eventually('it is taken', async () => (await install()).error === '', 60_000);
      expect(await service.waitForEnd(120_000)).toMatchObject({ LastResult: 'success' });
      await rig.pollsAgain();
    }));

  it('whose device type is lost asks as what it was, and is repaired from afar (R36)', () =>
    withRig({}, async (rig) => {
      const { service } = rig;
      await rig.pollsAgain();
      await rm(join(service.device.data, 'device_type'));
      await service.terminate();
      await service.start();
      await rig.idle();
      const { end } = await rig.deploy(await rig.publish());
      expect(end).toMatchObject({ LastResult: 'success', CurrentArtifactName: 'release-2' });
      expect(await service.log()).toMatch(/device type cannot be read; the last known one is used/);
      // As soon as there is a file again, it counts.
      await writeFile(join(service.device.data, 'device_type'), 'device_type=another-device\n');
      const other = await rig.deploy(await rig.publish({ name: 'release-3' }), 'release-3');
      expect(other.end).toMatchObject({ LastErrorName: `${FAILURE}.Incompatible` });
    }));
});

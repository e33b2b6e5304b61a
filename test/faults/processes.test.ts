/** Programs that hang, fork, flood and refuse to end, and a service that stands still: rows R26, R27 and R42. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeArtifact } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { openNotifySocket } from '../support/notify-socket.ts';
import { withService, type ServiceHarness } from '../support/service.ts';

const SCRIPT = 'ArtifactInstall_Enter_00_probe';

/** What left session and parent and ignores SIGTERM. */
async function escaped({ device }: ServiceHarness): Promise<number> {
  let pid = 0;
  await eventually(
    'a process has got away',
    async () => {
      pid = Number(await readFile(join(device.control, 'escaped.pid'), 'utf8').catch(() => ''));
      return pid > 1;
    },
    30_000,
  );
  return pid;
}

/** Not merely waiting to be reaped by the process it fell to. */
function isThere(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z';
  } catch {
    return false;
  }
}

function called({ device }: ServiceHarness, action: string): Promise<void> {
  return eventually(`${action} is called`, async () => (await device.calls()).includes(action), 30_000);
}

describe.concurrent('nothing that a program left behind outlives it (R26)', { timeout: 120_000 }, () => {
  const limits = { menderConf: { ModuleTimeoutSeconds: 2, StateScriptTimeoutSeconds: 2 } };

  it('when a module runs into its time limit', () =>
    withService(limits, async (service) => {
      await service.device.order('ArtifactInstall', 'escape');
      await service.device.order('ArtifactInstall', 'hang-hard');
      await service.install(await makeArtifact(service.device));
      const pid = await escaped(service);
      expect(isThere(pid)).toBe(true);
      await called(service, 'ArtifactRollback');
      expect(isThere(pid)).toBe(false);
      expect(await service.waitForEnd(60_000)).toMatchObject({
        LastErrorName: 'io.holdpoint.Update1.Failure.Timeout',
      });
    }));

  it('when a state script runs into its time limit, and the failure names the script', () =>
    withService(limits, async (service) => {
      const artifact = await makeArtifact(service.device, { scripts: [SCRIPT] });
      await service.device.order('ArtifactInstall_Enter', 'escape');
      await service.device.order('ArtifactInstall_Enter', 'hang-hard');
      await service.install(artifact);
      const pid = await escaped(service);
      const end = await service.waitForEnd(60_000);
      expect(isThere(pid)).toBe(false);
      expect(end['LastErrorDetails']).toMatchObject({ script: SCRIPT });
    }));

  it('when the service is stopped', () =>
    withService({}, async (service) => {
      await service.device.order('ArtifactInstall', 'escape');
      await service.device.order('ArtifactInstall', 'hang-hard');
      await service.install(await makeArtifact(service.device));
      const pid = await escaped(service);
      expect(await service.terminate()).toEqual({ code: 0, signal: null });
      expect(isThere(pid)).toBe(false);
    }));

  it('when the service is killed: the next one ends it before it goes on with the update (R27)', () =>
    withService({}, async (service) => {
      await service.device.order('ArtifactInstall', 'escape');
      await service.device.order('ArtifactInstall', 'hang-hard');
      await service.install(await makeArtifact(service.device));
      const pid = await escaped(service);
      await service.kill9();
      // It goes on by itself: nobody was there to end it.
      expect(isThere(pid)).toBe(true);
      await service.device.cancelOrder('ArtifactInstall', 'hang-hard');
      await service.device.order('ArtifactRollback', 'wait');
      await service.start({ isOffBus: true });
      await called(service, 'ArtifactRollback');
      expect(isThere(pid)).toBe(false);
      await service.device.cancelOrder('ArtifactRollback', 'wait');
      expect(await service.waitForEnd(60_000)).toMatchObject({ LastResult: 'rolled-back' });
      expect(await service.log()).toContain('outlived the service');
    }));

  it('but a daemon that a script has started and left behind in good order may stay, also over a kill -9', () =>
    withService({}, async (service) => {
      await service.device.order('ArtifactInstall', 'escape');
      await service.device.order('ArtifactCommit', 'wait');
      await service.install(await makeArtifact(service.device));
      await called(service, 'ArtifactCommit');
      const pid = await escaped(service);
      await service.kill9();
      await service.device.cancelOrder('ArtifactCommit', 'wait');
      await service.start();
      await service.waitForEnd(60_000);
      const isStillThere = isThere(pid);
      process.kill(pid, 'SIGKILL');
      expect(isStillThere).toBe(true);
    }));
});

describe('the watchdog of the service manager (R42)', { timeout: 120_000 }, () => {
  it('is fed while the loop goes round, and told where the update stands; a service that stands still is not alive', async () => {
    await withService({}, async (service) => {
      const manager = await openNotifySocket(join(service.device.folder, 'notify'), 2);
      try {
        await service.terminate();
        await service.start({ environment: manager.environment });
        await manager.next('WATCHDOG=1 STATUS=At Idle');
        // A module may take its time: that is no reason to take the service for dead.
        await service.device.order('ArtifactInstall', 'wait');
        await service.install(await makeArtifact(service.device));
        await called(service, 'ArtifactInstall');
        await manager.next('STATUS=At ArtifactInstall');

        process.kill(service.pid, 'SIGSTOP');
        await manager.next('missed');
        // What systemd does then, in the order it does it; see the unit.
        await service.kill9();
        await service.device.cancelOrder('ArtifactInstall', 'wait');
        await service.start({ environment: manager.environment });
        expect(await service.waitForEnd(60_000)).toMatchObject({ LastResult: 'rolled-back' });
        await manager.next('STATUS=At Idle');
      } finally {
        await manager.dispose();
      }
    });
  });

  it('is not what modules and scripts can speak to', () =>
    withService({ scripts: ['Download_Enter_00_probe'] }, async (service) => {
      const manager = await openNotifySocket(join(service.device.folder, 'notify'), 60);
      try {
        await service.terminate();
        await service.start({ environment: manager.environment });
        await service.device.order('ArtifactInstall', 'wait');
        await service.install(await makeArtifact(service.device));
        await called(service, 'ArtifactInstall');
        const children = await readFile(`/proc/${service.pid}/task/${service.pid}/children`, 'utf8');
        const environments = await Promise.all(
          children
            .trim()
            .split(' ')
            .map((pid) => readFile(`/proc/${pid}/environ`, 'latin1')),
        );
        expect(environments.some((text) => text.includes('HOLDPOINT_RUN='))).toBe(true);
        expect(environments.filter((text) => text.includes('NOTIFY_SOCKET'))).toEqual([]);
        await service.device.cancelOrder('ArtifactInstall', 'wait');
        await service.waitForEnd();
      } finally {
        await manager.dispose();
      }
    }));
});

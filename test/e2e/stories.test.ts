import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ARTIFACT_SCRIPTS } from '../support/chain.ts';
import { ASK, makeArtifact, type DeviceOptions } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { blockerKinds } from '../support/hold-list.ts';
import { ServiceHarness } from '../support/service.ts';

/** Stories that are about the whole device: ask before disrupting, say no, pause, off (design/stories.md 1, 3, 5, 18, 24). */
const [INSTALL, REBOOT, COMMIT] = [
  'ArtifactInstall_Enter',
  'ArtifactReboot_Enter',
  'ArtifactCommit_Enter',
] as const;
/** Work in progress has stopped within this. */
const STOP_MS = 10_000;

let folder: string;
let artifact: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-stories-'));
  artifact = await makeArtifact({ folder }, { scripts: ARTIFACT_SCRIPTS });
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

/** Scripts are called under their whole names: ArtifactInstall_Enter_00_probe. */
function isOf(call: string, action: string): boolean {
  return call === action || call.startsWith(`${action}_`);
}

function called(service: ServiceHarness, action: string): Promise<void> {
  return eventually(
    `${action} is called`,
    async () => (await service.device.calls()).some((call) => isOf(call, action)),
    20_000,
  );
}

describe.concurrent('an abort', { timeout: 90_000 }, () => {
  for (const [action, kind] of [
    ['Download', 'hang'],
    ['Download', 'hang-hard'],
    ['ArtifactInstall', 'hang'],
    ['ArtifactInstall', 'hang-hard'],
    ['ArtifactInstall_Enter', 'hang-hard'],
    ['ArtifactReboot_Enter', 'hang'],
  ] as const) {
    it(`stops ${action} that ${kind === 'hang' ? 'hangs' : 'does not listen'} within ${STOP_MS / 1000} s, and nothing is rebooted`, () =>
      withDevice({ needsReboot: 'Automatic' }, async (service) => {
        await service.device.order(action, kind);
        const id = await service.install(artifact);
        await called(service, action);
        // From here on nothing needs a reboot: the old version has never stopped running.
        await service.device.order('NeedsArtifactReboot', 'answer', 'No');
        const startedMs = performance.now();
        await service.mustCall('Abort', 'ss', [id, 'wrong day']);
        await service.device.cancelOrder(action, kind);
        const end = await service.waitForEnd(STOP_MS + 5_000);
        const tookMs = performance.now() - startedMs;
        expect(end).toMatchObject({
          LastResult: 'aborted',
          LastErrorName: 'io.holdpoint.Update1.Failure.AbortedByUser',
        });
        expect(tookMs).toBeLessThan(STOP_MS);
        const calls = await service.device.calls();
        expect(calls).not.toContain('Reboot');
        expect(calls).not.toContain('ArtifactCommit');
        expect(calls.includes('ArtifactRollback')).toBe(action !== 'Download');
        expect(calls.at(-1)).toBe('Cleanup');
        expect(await service.mustCall('History.Get', 's', [id])).toMatchObject({
          result: { data: 'aborted' },
          'error-details': { data: { reason: { data: 'wrong day' } } },
        });
      }));
  }

  it('before the reboot means that there is none, however long ago it was promised', () =>
    withDevice({ needsReboot: 'Automatic', points: { [REBOOT]: ASK } }, async (service) => {
      const id = await service.install(artifact);
      const { WaitTicket } = await service.waitAt(REBOOT);
      await service.device.order('NeedsArtifactReboot', 'answer', 'No');
      const [aborted, late] = await Promise.all([
        service.call('Abort', 'ss', [id, '']),
        eventually('the wait is over', () => service.watch.present()?.['WaitTicket'] === '').then(() =>
          service.call('Continue', 's', [String(WaitTicket)]),
        ),
      ]);
      expect(aborted.error).toBe('');
      expect(late.error).not.toBe('');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'aborted' });
      expect(await service.device.calls()).not.toContain('Reboot');
    }));

  it('survives a crash that comes right after it', () =>
    withDevice({ points: { [INSTALL]: ASK } }, async (service) => {
      const id = await service.install(artifact);
      await service.waitAt(INSTALL);
      await service.mustCall('Abort', 'ss', [id, '']);
      await service.restart();
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'aborted' });
      expect(await service.device.calls()).not.toContain('ArtifactInstall');
    }));
});

describe.concurrent('a person', { timeout: 90_000 }, () => {
  it('is asked before the reboot, and only an answer to this very question counts', () =>
    withDevice({ needsReboot: 'Automatic', points: { [REBOOT]: ASK, [COMMIT]: ASK } }, async (service) => {
      await service.install(artifact);
      const first = await service.waitAt(REBOOT);
      expect(first).toMatchObject({ RebootRequired: 'yes', WaitPoint: REBOOT });
      const wrong = String(first['WaitTicket']).replace(/^./, (digit) => (digit === 'a' ? 'b' : 'a'));
      expect((await service.call('Continue', 's', [wrong])).error).not.toBe('');
      expect(await service.device.calls()).not.toContain('Reboot');
      const saidMs = performance.now();
      await service.mustCall('Continue', 's', [String(first['WaitTicket'])]);
      expect((await service.exited()).signal).toBe('SIGKILL');
      expect(performance.now() - saidMs).toBeLessThan(5_000);
      await service.start();
      const second = await service.waitAt(COMMIT);
      // A late click on the first dialogue agrees to nothing else.
      expect((await service.call('Continue', 's', [String(first['WaitTicket'])])).error).not.toBe('');
      await service.mustCall('Continue', 's', [String(second['WaitTicket'])]);
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));

  it('may reboot by hand: that counts as the reboot of the update', () =>
    withDevice({ needsReboot: 'Automatic', points: { [REBOOT]: ASK } }, async (service) => {
      await service.install(artifact);
      const { WaitTicket } = await service.waitAt(REBOOT);
      const options = [String(WaitTicket), '1', 'reboot-mode', 's', 'none'];
      expect(await service.mustCall('ContinueFull', 'sa{sv}', options)).toBe('recorded');
      await service.waitFor('it waits for the person', (seen) => blockerKinds(seen).includes('reboot'));
      await service.restart({ boot: 'next' });
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      expect(await service.device.calls()).not.toContain('Reboot');
      expect(await service.device.calls()).toContain('ArtifactVerifyReboot');
    }));

  it('may pause it anywhere: it stops at the next point and goes on from there, over a reboot too', () =>
    withDevice({}, async (service) => {
      await service.device.order('ArtifactInstall', 'wait');
      const id = await service.install(artifact);
      await called(service, 'ArtifactInstall');
      await service.mustCall('Pause', 's', [id]);
      await service.device.cancelOrder('ArtifactInstall', 'wait');
      const seen = await service.waitAt(COMMIT);
      expect(blockerKinds(seen)).toEqual(['pause']);
      expect(seen['Paused']).toBe(true);
      await service.restart();
      const after = await service.waitAt(COMMIT);
      expect(after['Paused']).toBe(true);
      await service.mustCall('Resume', 's', [id]);
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      const installs = (await service.device.calls()).filter((call) => call === 'ArtifactInstall');
      expect(installs).toHaveLength(1);
    }));

  it('who has switched updates off sees them offered and not fetched', () =>
    withDevice({}, async (service) => {
      await service.mustCall('SetUpdatesEnabled', 'b', ['false']);
      await service.install(artifact);
      const seen = await service.waitAt('Download_Enter');
      expect(blockerKinds(seen)).toEqual(['updates-disabled']);
      expect(seen).toMatchObject({ ArtifactName: 'release-2', DownloadedBytes: 0n });
      await service.restart();
      await service.waitAt('Download_Enter');
      expect(await service.device.calls()).not.toContain('Download');
      await service.mustCall('SetUpdatesEnabled', 'b', ['true']);
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));
});

describe.concurrent('a hold at the installation', { timeout: 90_000 }, () => {
  it('lets the download go on, and nothing is downloaded twice', () =>
    withDevice({}, async (service) => {
      const args = [INSTALL, 'brewing', '300', 'keep-waiting'];
      const hold = String(await service.mustCall('Holds.Hold', 'ssus', args));
      await service.install(artifact);
      const seen = await service.waitAt(INSTALL);
      expect(seen['DownloadedBytes']).toBe(seen['DownloadSizeBytes']);
      const before = (await service.device.calls()).filter((call) => !call.includes('_'));
      expect(before.filter((call) => call === 'Download')).toHaveLength(1);
      expect(before).not.toContain('ArtifactInstall');
      await service.mustCall('Holds.ReleaseHold', 's', [hold]);
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      const calls = await service.device.calls();
      expect(calls.filter((call) => call === 'Download')).toHaveLength(1);
      // The gate is before the scripts of the state, which run once.
      expect(calls.filter((call) => isOf(call, INSTALL))).toHaveLength(1);
    }));
});

import { link, mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeArtifact } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { fillDisk } from '../support/full-disk.ts';
import { ServiceHarness } from '../support/service.ts';
import { expectNoResultShown, isCommitNotStored, resultsAnnounced } from './results.ts';

let folder: string;
let artifact: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-full-'));
  artifact = await makeArtifact({ folder });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const PHASES = [
  { action: 'Download', failing: [] },
  { action: 'ArtifactInstall', failing: [] },
  { action: 'NeedsArtifactReboot', failing: [] },
  { action: 'ArtifactCommit', failing: [] },
  { action: 'Cleanup', failing: [] },
  { action: 'SupportsRollback', failing: ['ArtifactInstall'] },
  { action: 'ArtifactRollback', failing: ['ArtifactInstall'] },
  { action: 'ArtifactFailure', failing: ['ArtifactInstall'] },
] as const;

describe.concurrent('R5: the datastore is full to the last byte from', { timeout: 120_000 }, () => {
  it.each(PHASES.map((one) => [one.action, one] as const))(
    '%s on: the update ends truthfully, and the next one works when there is space',
    async (action, { failing }) => {
      const service = await ServiceHarness.create({ datastoreKiB: 2048 });
      try {
        const { device } = service;
        await service.start();
        await device.order(action, 'wait');
        for (const call of failing) await device.order(call, 'fail');
        await service.install(artifact);
        await eventually(`${action} is called`, async () => (await device.calls()).includes(action), 30_000);
        const filler = await fillDisk(device.data);
        await device.cancelOrder(action, 'wait');
        // No step needs more room than it had: what ends the update is what would have ended it anyway.
        expect(await service.waitForEnd(60_000)).toMatchObject(
          failing.length === 0
            ? { LastResult: 'success', CurrentArtifactName: 'release-2' }
            : { LastResult: 'rolled-back', LastErrorName: 'io.holdpoint.Update1.Failure.UpdateModule' },
        );

        await rm(filler);
        expect((await statfs(device.data)).bfree).toBeGreaterThan(0);
        for (const call of failing) await device.cancelOrder(call, 'fail');
        const again = await service.install(artifact);
        await service.waitFor('it has begun', (seen) => seen['DeploymentId'] === again);
        expect(await service.waitForEnd(60_000)).toMatchObject({ LastResult: 'success' });
      } finally {
        await service.dispose();
      }
    },
  );
});

describe('R6: the disk is full when a local install has committed, and the store needs new room', () => {
  it(
    'no success is shown before it is stored, and it is as soon as there is space',
    { timeout: 180_000 },
    async () => {
      const service = await ServiceHarness.create({ datastoreKiB: 2048 });
      try {
        const { device } = service;
        await service.start();
        await device.order('ArtifactCommit', 'wait');
        const id = await service.install(artifact);
        await eventually('it commits', async () => (await device.calls()).includes('ArtifactCommit'), 30_000);
        // As a backup by hard links does: what has a second name is not written over.
        for (const name of ['state-a.json', 'state-b.json']) {
          await link(join(device.stateDirectory, name), join(device.stateDirectory, `${name}.backup`));
        }
        const filler = await fillDisk(device.data);
        await device.cancelOrder('ArtifactCommit', 'wait');
        await service.waitFor('it says that the commit is not stored', isCommitNotStored);
        expectNoResultShown(service);
        expect(await service.mustCall('History.List', 'u', ['10'])).toEqual([]);
        expect(await device.calls()).not.toContain('Cleanup');
        const log = (await service.deploymentLog(id)).map(({ message }) => message);
        expect(log.join('\n')).toMatch(/Committed, which could not be stored: .*space/);

        await rm(filler);
        // It looks again after a minute.
        expect(await service.waitForEnd(90_000)).toMatchObject({
          LastResult: 'success',
          CurrentArtifactName: 'release-2',
        });
        expect(resultsAnnounced(service)).toEqual(['success']);
        expect(await device.calls()).toContain('Cleanup');
        await service.restart();
        expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
        expect(await device.calls()).not.toContain('ArtifactRollback');
      } finally {
        await service.dispose();
      }
    },
  );
});

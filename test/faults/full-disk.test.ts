import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeArtifact } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { fillDisk } from '../support/full-disk.ts';
import { ServiceHarness } from '../support/service.ts';

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

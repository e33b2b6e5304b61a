import { once } from 'node:events';
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ASK } from '../support/device.ts';
import { ServiceHarness } from '../support/service.ts';
import { storedStates } from '../support/stored-state.ts';
import { originalDevices, type OriginalDevices } from './original-device.ts';

/** What the service finds in its datastore, or finds somebody else in it. */
let devices: OriginalDevices;
let artifact: string;

beforeAll(async () => {
  devices = await originalDevices();
  ({ artifact } = devices);
});

afterAll(() => devices.dispose());

describe.concurrent('damaged or contested files', { timeout: 60_000 }, () => {
  it('a torn newest generation: the one before is used, the torn one kept, and the log says so', () =>
    devices.use({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await service.install(artifact);
      await service.waitAt('ArtifactInstall_Enter');
      await service.kill9();
      const [newest] = await storedStates(service.device.stateDirectory);
      await truncate(newest?.path ?? '', 700);
      await service.start();
      // The generation before stands at the gate, where it was found out whether there is anything to wait for.
      await service.release('ArtifactInstall_Enter');
      expect(await service.waitForEnd()).toMatchObject({
        LastResult: 'success',
        CurrentArtifactName: 'release-2',
      });
      expect(await service.log()).toMatch(/error.*is damaged/);
      const names = await readdir(service.device.stateDirectory);
      expect(names.filter((name) => name.includes('.broken-'))).toHaveLength(1);
    }));

  it('both generations bad: a clean start, both kept, and the log says so', () =>
    devices.use({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await service.install(artifact);
      await service.waitAt('ArtifactInstall_Enter');
      await service.kill9();
      const both = await storedStates(service.device.stateDirectory);
      expect(both).toHaveLength(2);
      for (const { path } of both) {
        const bytes = await readFile(path);
        // In the document; what follows it is room.
        const middle = bytes.lastIndexOf('}') >> 1;
        bytes[middle] = (bytes[middle] ?? 0) ^ 0x40;
        await writeFile(path, bytes);
      }
      await service.start();
      const seen = await service.waitFor('the device is idle', (all) => all['Step'] === 'Idle');
      expect(seen).toMatchObject({ DeploymentId: '', LastResult: 'none', CurrentArtifactName: 'unknown' });
      const complaints = (await service.log()).split('\n').filter((line) => line.includes('is damaged'));
      expect(complaints).toHaveLength(2);
      const names = await readdir(service.device.stateDirectory);
      expect(names.filter((name) => name.includes('.broken-'))).toHaveLength(2);
      await service.install(artifact);
      await service.release('ArtifactInstall_Enter');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));

  it('a second service on the same datastore ends with 1 and names the first', () =>
    devices.use({}, async (service) => {
      const second = await service.spawn();
      expect(await once(second, 'exit')).toEqual([1, null]);
      const last = (await service.log()).trim().split('\n').at(-1);
      expect(last).toMatch(new RegExp(`^holdpointd: starting: .*holdpointd.*${service.pid}`));
      expect(service.isRunning).toBe(true);
      expect(await service.property('State')).toBe('Idle');
    }));

  it('a second service for the same bus name ends with 2, and the first stays', () =>
    devices.use({}, async (service) => {
      const other = await ServiceHarness.create({ bus: service.bus });
      try {
        const second = await other.spawn();
        expect(await once(second, 'exit')).toEqual([2, null]);
        expect(await other.log()).toContain('The bus name belongs to somebody else');
        expect(await service.property('State')).toBe('Idle');
      } finally {
        await other.dispose();
      }
    }));
});

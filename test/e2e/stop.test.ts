import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { makeArtifact } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { withService } from '../support/service.ts';

describe('Stopping the service', () => {
  it('keeps the datastore until a module that ignores SIGTERM is gone, so that nobody goes on beside it', async () => {
    await withService({}, async (service) => {
      const { device } = service;
      await device.order('ArtifactInstall', 'hang-hard');
      await service.install(await makeArtifact(device));
      await eventually('the module runs', async () => (await device.calls()).includes('ArtifactInstall'));

      process.kill(service.pid, 'SIGTERM');
      await service.watch.waitForAbsence();
      // A start in between must not get to the update.
      const early = await service.spawn();
      const ended = once(early, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
      const limit = setTimeout(() => early.kill('SIGKILL'), 5_000);
      expect(await ended).toEqual([1, null]);
      clearTimeout(limit);
      expect(await readFile(device.logFile, 'utf8')).toContain('is in use by holdpointd');
      expect((await device.calls()).at(-1)).toBe('ArtifactInstall');

      expect(await service.exited()).toEqual({ code: 0, signal: null });
      await device.cancelOrder('ArtifactInstall', 'hang-hard');
      await service.start();
      await service.waitForEnd();
      expect(await device.calls()).toContain('ArtifactRollback');
    });
  });
});

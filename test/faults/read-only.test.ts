import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeArtifact } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { ServiceHarness } from '../support/service.ts';
import { expectNoResultShown, isCommitNotStored, resultsAnnounced } from './results.ts';
import { storedStates } from '../support/stored-state.ts';

const run = promisify(execFile);

let folder: string;
let artifact: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-read-only-'));
  artifact = await makeArtifact({ folder }, { scripts: ['ArtifactCommit_Leave_00_probe'] });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** The datastore on a file system of its own, which its kernel makes read-only when it finds an error in it. */
class DataPartition {
  readonly #image: string;
  readonly #at: string;

  static async under(service: ServiceHarness): Promise<DataPartition> {
    const { data, folder: device } = service.device;
    const image = join(device, 'data.ext4');
    await run('truncate', ['--size=16M', image]);
    await run('mke2fs', ['-q', '-t', 'ext4', image]);
    const partition = new DataPartition(image, data);
    const before = join(device, 'before');
    await cp(data, before, { recursive: true });
    await partition.mount();
    await cp(before, data, { recursive: true });
    return partition;
  }

  private constructor(image: string, at: string) {
    this.#image = image;
    this.#at = at;
  }

  async mount(): Promise<void> {
    await run('mount', ['-o', 'loop,errors=remount-ro', this.#image, this.#at]);
  }

  /** What the kernel does about a file system it does not trust any more: every write fails, open files included. */
  async turnReadOnly(): Promise<void> {
    const { stdout } = await run('findmnt', ['--noheadings', '--output', 'SOURCE', this.#at]);
    await writeFile(`/sys/fs/ext4/${basename(stdout.trim())}/trigger_fs_error`, '1');
    await expect(writeFile(join(this.#at, 'written'), '')).rejects.toMatchObject({ code: 'EROFS' });
  }

  /** The machine is booted: checked, as before every mount. */
  async repair(): Promise<void> {
    await this.unmount();
    await run('e2fsck', ['-fy', this.#image]).catch((error: unknown) => {
      // Corrected.
      if ((error as { code?: unknown }).code !== 1) throw error;
    });
    await this.mount();
  }

  async unmount(): Promise<void> {
    await run('umount', [this.#at]);
  }
}

async function withPartition(
  use: (service: ServiceHarness, partition: DataPartition) => Promise<void>,
): Promise<void> {
  const service = await ServiceHarness.create();
  const partition = await DataPartition.under(service);
  try {
    await service.start();
    await use(service, partition);
  } finally {
    await service.kill9().catch(() => {});
    await partition.unmount();
    await service.dispose();
  }
}

async function until(service: ServiceHarness, action: string): Promise<void> {
  await eventually(
    `${action} is called`,
    async () => (await service.device.calls()).includes(action),
    30_000,
  );
}

describe('R6: the data partition becomes read-only under the running service', { timeout: 120_000 }, () => {
  it('in the installation: it goes back, commits nothing, stays up, and the next boot knows no more than it may', () =>
    withPartition(async (service, partition) => {
      await service.device.order('ArtifactInstall', 'wait');
      await service.install(artifact);
      await until(service, 'ArtifactInstall');
      await partition.turnReadOnly();
      await service.device.cancelOrder('ArtifactInstall', 'wait');
      expect(await service.waitForEnd(60_000)).toMatchObject({
        LastResult: 'rolled-back',
        LastErrorName: 'io.holdpoint.Update1.Failure.Storage',
      });
      const calls = await service.device.calls();
      expect(calls).toContain('ArtifactRollback');
      expect(calls).not.toContain('ArtifactCommit');
      // What is refused says so, and is not half done.
      const { error } = await service.call('Install.InstallPath', 'ss', [artifact, '']);
      expect(error).not.toBe('');
      expect(service.isRunning).toBe(true);

      await service.kill9();
      await partition.repair();
      expect((await storedStates(service.device.stateDirectory))[0]?.state.step).toBe('install');
      await service.start({ boot: 'next' });
      expect(await service.waitForEnd(60_000)).toMatchObject({ LastResult: 'rolled-back' });
      expect(await service.device.calls()).not.toContain('ArtifactCommit');
    }));

  it('in the commit: it stays up, shows no success, and the next boot goes back to what the record says', () =>
    withPartition(async (service, partition) => {
      await service.device.order('ArtifactCommit', 'wait');
      await service.install(artifact);
      await until(service, 'ArtifactCommit');
      await partition.turnReadOnly();
      await service.device.cancelOrder('ArtifactCommit', 'wait');
      await until(service, 'ArtifactCommit_Leave_00_probe');
      await service.waitFor('it says that the commit is not stored', isCommitNotStored);
      expectNoResultShown(service);
      expect(service.isRunning).toBe(true);

      await service.kill9();
      await partition.repair();
      expect((await storedStates(service.device.stateDirectory))[0]?.state.step).toBe('commit');
      await service.start({ boot: 'next' });
      expect(await service.waitForEnd(60_000)).toMatchObject({
        LastResult: 'rolled-back',
        LastErrorName: 'io.holdpoint.Update1.Failure.PowerLoss',
      });
      expect(await service.device.calls()).toContain('ArtifactRollback');
      expect(resultsAnnounced(service)).toEqual(['rolled-back']);
    }));
});

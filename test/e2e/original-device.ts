import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ARTIFACT_SCRIPTS, ROOTFS_SCRIPTS } from '../support/chain.ts';
import { makeArtifact, type DeviceOptions } from '../support/device.ts';
import { ServiceHarness } from '../support/service.ts';

/** An update with a script for every action, and devices that have `original` installed, reboot and can roll back. */
export interface OriginalDevices {
  readonly artifact: string;
  /** Runs a test with an idle service of its own, which is gone afterwards. */
  use(options: DeviceOptions, test: (service: ServiceHarness) => Promise<void>): Promise<void>;
  dispose(): Promise<void>;
}

export async function originalDevices(): Promise<OriginalDevices> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-original-'));
  const artifact = await makeArtifact({ folder }, { scripts: ARTIFACT_SCRIPTS });
  const bootstrap = await makeArtifact({ folder }, { isEmpty: true, name: 'original' });
  return {
    artifact,
    async use(options, test) {
      const service = await ServiceHarness.create({
        needsReboot: 'Yes',
        supportsRollback: true,
        scripts: ROOTFS_SCRIPTS,
        ...options,
      });
      try {
        await copyFile(bootstrap, join(service.device.data, 'bootstrap.mender'));
        await service.start();
        await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
        await test(service);
      } finally {
        await service.dispose();
      }
    },
    dispose: () => rm(folder, { recursive: true, force: true }),
  };
}

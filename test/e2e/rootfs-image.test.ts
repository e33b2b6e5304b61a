import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { makeAbDisk, SLOT_BYTES, type AbDisk, type Loader, type SlotName } from '../support/ab-disk.ts';
import { ASK } from '../support/device.ts';
import type { Properties } from '../support/property-watch.ts';
import { ServiceHarness } from '../support/service.ts';

/**
 * The rootfs-image module under the real service: / of the service is one of two partitions of a disk, and each start
 * takes the one that the boot loader's environment says. That a machine boots so is shown by test/boot.
 */
const run = promisify(execFile);
/** Each boot starts a service, and each image is a file system that is made, packed, written and read back. */
vi.setConfig({ testTimeout: 240_000 });
const OLD = 'original';
const NEW = 'release-2';
const FAILS = 'exit 1';

let service: ServiceHarness;
let disk: AbDisk;

async function makeMachine(loader: Loader): Promise<void> {
  service = await ServiceHarness.create({ points: { ArtifactReboot_Enter: ASK, ArtifactCommit_Enter: ASK } });
  disk = await makeAbDisk(service.device, loader);
  const config = { RootfsPartA: disk.partition.A, RootfsPartB: disk.partition.B };
  await writeFile(join(service.device.conf, 'mender.conf'), JSON.stringify(config));
}

/** One boot of the machine: the slot that the boot loader took. */
async function boot(): Promise<SlotName> {
  const slot = await disk.boot();
  await service.start({
    rootDevice: disk.partition[slot],
    environment: { PATH: `${disk.programs}:/usr/sbin:/usr/bin` },
  });
  return slot;
}

async function environment(): Promise<Record<string, string>> {
  const names = ['mender_boot_part', 'mender_boot_part_hex', 'upgrade_available', 'bootcount'];
  const values = await Promise.all(names.map((name) => disk.variable(name)));
  return Object.fromEntries(names.map((name, at) => [name, values[at] ?? '']));
}

const atRest = (slot: SlotName): Record<string, string> => ({
  ...disk.bootVariables(slot),
  upgrade_available: '0',
  bootcount: '0',
});

/** Ends a deployment that failed: with the reboot that brings it back, wherever it stands, until it is over. */
async function failedEnd(): Promise<Properties> {
  for (;;) {
    const over = service.waitForEnd().then(
      (seen) => seen,
      () => null,
    );
    const ended = await Promise.race([
      over,
      service.exited().then(
        () => null,
        () => null,
      ),
    ]);
    if (ended !== null) return ended;
    await boot();
  }
}

afterEach(async () => {
  await service.kill9();
  await disk.dispose();
  await service.dispose();
});

describe.each<Loader>(['GRUB', 'U-Boot'])('an update of the root file system, with %s', (loader) => {
  beforeEach(async () => {
    await makeMachine(loader);
    expect(await boot()).toBe('A');
  });

  it('is written to the other slot, booted on trial, and stays after the commit', async () => {
    await service.install(await disk.makeArtifact(NEW));
    await service.waitAt('ArtifactReboot_Enter');
    expect(await disk.versionOn('B')).toBe(NEW);
    expect(await environment()).toEqual({ ...atRest('B'), upgrade_available: '1' });
    await service.release('ArtifactReboot_Enter');
    await service.exited();

    expect(await boot()).toBe('B');
    expect(await environment()).toEqual({ ...atRest('B'), upgrade_available: '1', bootcount: '1' });
    await service.release('ArtifactCommit_Enter');
    expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success', CurrentArtifactName: NEW });
    expect(await environment()).toEqual(atRest('B'));
    await service.kill9();
    expect(await boot()).toBe('B');
    expect(await disk.versionOn('A')).toBe(OLD);
  });

  it('that did not come up is told as rolled back, with the reason', async () => {
    await service.install(await disk.makeArtifact(NEW));
    await service.release('ArtifactReboot_Enter');
    await service.exited();
    // The new version is started, and never says anything.
    expect(await disk.boot()).toBe('B');

    expect(await boot()).toBe('A');
    expect(await failedEnd()).toMatchObject({
      LastResult: 'rolled-back',
      LastErrorName: 'io.holdpoint.Update1.Failure.Reboot',
      LastErrorDetails: expect.objectContaining({ action: 'ArtifactVerifyReboot', code: 'not-on-trial' }),
      CurrentArtifactName: 'unknown',
    });
    expect(await environment()).toEqual(atRest('A'));
  });

  it('whose commit is refused goes back to the slot that ran before', async () => {
    await service.install(await disk.makeArtifact(NEW, { ArtifactCommit_Enter_00_refuse: FAILS }));
    await service.release('ArtifactReboot_Enter');
    await service.exited();
    expect(await boot()).toBe('B');
    await service.release('ArtifactCommit_Enter');
    expect(await failedEnd()).toMatchObject({
      LastResult: 'rolled-back',
      LastErrorName: 'io.holdpoint.Update1.Failure.StateScript',
    });
    expect(await environment()).toEqual(atRest('A'));
    await service.kill9();
    expect(await boot()).toBe('A');
  });

  // Forward means: the boot loader is told to boot the new version already, from ArtifactInstall on.
  it.each(
    ['ArtifactInstall_Enter_00', 'ArtifactInstall_Leave_00', 'ArtifactReboot_Enter_00'].filter(
      (script) => loader === 'GRUB' || script === 'ArtifactInstall_Leave_00',
    ),
  )('R30: that fails before its reboot, in %s, leaves the boot target as it was', async (script) => {
    await service.install(await disk.makeArtifact(NEW, { [script]: FAILS }));
    if (script.startsWith('ArtifactReboot')) await service.release('ArtifactReboot_Enter');
    expect(await failedEnd()).toMatchObject({
      LastResult: 'rolled-back',
      LastErrorName: 'io.holdpoint.Update1.Failure.StateScript',
    });
    expect(await environment()).toEqual(atRest('A'));
    await service.kill9();
    expect(await boot()).toBe('A');
  });
});

describe('the slot that is to be written', () => {
  beforeEach(() => makeMachine('GRUB'));

  async function expectRefusal(holder: string): Promise<void> {
    await boot();
    await service.install(await disk.makeArtifact(NEW));
    const ended = await service.waitForEnd();
    expect(ended).toMatchObject({
      LastResult: 'failure',
      LastErrorName: 'io.holdpoint.Update1.Failure.UpdateModule',
      LastErrorDetails: expect.objectContaining({ module: 'rootfs-image', code: 'target-busy' }),
    });
    expect(ended['LastErrorMessage']).toContain(holder);
    expect(await environment()).toEqual(atRest('A'));
  }

  it('R41: is refused as target-busy, with the name of the process that has it open', async () => {
    const holder = spawn('sh', ['-c', 'exec 9<>"$1" && echo open && read line', 'sh', disk.partition.B]);
    const ended = once(holder, 'exit');
    try {
      await once(holder.stdout, 'data');
      await expectRefusal(`process ${holder.pid} (sh)`);
    } finally {
      holder.stdin.end('\n');
      await ended;
    }
  });

  it('R41: is refused as target-busy, with the place where it is mounted', async () => {
    const place = join(service.device.folder, 'mounted');
    await mkdir(place);
    await run('mke2fs', ['-q', '-F', disk.partition.B]);
    await run('mount', [disk.partition.B, place]);
    try {
      await expectRefusal(`the mount ${place}`);
    } finally {
      await run('umount', [place]);
    }
  });

  it.each<[string, () => Record<string, string>, string]>([
    ['another update is on trial', () => ({ upgrade_available: '1', bootcount: '1' }), 'other-update'],
    ['the boot loader would boot another one than what runs', () => disk.bootVariables('B'), 'slots-differ'],
    ['the boot loader could not save', () => ({ mender_check_saveenv_canary: '1' }), 'boot-loader'],
  ])('is not touched when %s', async (_why, values, code) => {
    await boot();
    await disk.setVariables(values());
    const before = await environment();
    await service.install(await disk.makeArtifact(NEW));
    expect(await service.waitForEnd()).toMatchObject({
      LastResult: 'failure',
      LastErrorDetails: expect.objectContaining({ code }),
    });
    expect(await environment()).toEqual(before);
    expect((await readFile(disk.partition.B)).equals(Buffer.alloc(SLOT_BYTES))).toBe(true);
  });
});

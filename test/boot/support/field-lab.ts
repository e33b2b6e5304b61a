/** What a device in the field is made of: root images and artifacts from the base and our programs, and its disk. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { storedStates, type Stored } from '../../support/stored-state.ts';
import { MACHINE, run, type Lab } from './lab.ts';

export const DEVICE_TYPE = 'boot-machine';
export const FIRST_RELEASE = 'release-1';

export type Variant = 'good' | 'no-init' | 'no-kernel' | 'no-service' | 'unhealthy';

const images = new Map<string, Promise<string>>();

/** Path of a root image; made once in each worker. */
export function imageOf(lab: Lab, variant: Variant): Promise<string> {
  const path = join(lab.work, 'images', `${variant}-${process.pid}.squashfs`);
  const known = images.get(path);
  if (known) return known;
  const making = run('bash', [
    join(MACHINE, 'make-image.sh'),
    lab.base,
    lab.programs,
    variant,
    variant,
    path,
  ]).then(() => path);
  images.set(path, making);
  return making;
}

export interface ArtifactOrder {
  readonly name: string;
  readonly variant: Variant;
  /** Artifact state scripts: file name to text. */
  readonly scripts?: Readonly<Record<string, string>>;
}

/** Path of an artifact by the real tool; the caller removes it. */
export async function makeArtifact(lab: Lab, order: ArtifactOrder): Promise<string> {
  const path = join(lab.work, `${order.name}.mender`);
  const scripts: string[] = [];
  for (const [name, text] of Object.entries(order.scripts ?? {})) {
    const folder = join(lab.work, `scripts-${order.name}`);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, name), text, { mode: 0o755 });
    scripts.push('-s', join(folder, name));
  }
  await run('mender-artifact', [
    'write',
    'rootfs-image',
    '-f',
    await imageOf(lab, order.variant),
    '-n',
    order.name,
    // The image is compressed as a file system already.
    '-t',
    DEVICE_TYPE,
    '--compression',
    'none',
    '-o',
    path,
    ...scripts,
  ]);
  return path;
}

/** A disk whose slot A holds a good image of the first release, and whose data partition knows the server. */
export async function makeDisk(lab: Lab, folder: string, serverUrl: string): Promise<string> {
  const data = join(folder, 'data');
  const disk = join(folder, 'disk.raw');
  await mkdir(data, { recursive: true });
  await writeFile(join(data, 'device_type'), `device_type=${DEVICE_TYPE}\n`);
  const config = { RootfsPartA: '/dev/vda2', RootfsPartB: '/dev/vda3', ServerURL: serverUrl };
  await writeFile(join(data, 'mender.conf'), `${JSON.stringify(config, null, 2)}\n`);
  await run('mender-artifact', [
    'write',
    'bootstrap-artifact',
    '-n',
    FIRST_RELEASE,
    '-t',
    DEVICE_TYPE,
    '-o',
    join(data, 'bootstrap.mender'),
  ]);
  await run('bash', [join(MACHINE, 'make-disk.sh'), lab.base, await imageOf(lab, 'good'), data, disk]);
  return disk;
}

/** As make-disk.sh lays them out. */
const DATA_PARTITION = { atMib: 233, sizeMib: 64 };

/** The newest state that the service of a machine that is off will start with; null = none. */
export async function storedStateOf(disk: string): Promise<Stored | null> {
  const copy = `${disk}.data`;
  const dump = `${disk}.dump`;
  try {
    await run('dd', [
      `if=${disk}`,
      `of=${copy}`,
      'bs=1M',
      `skip=${DATA_PARTITION.atMib}`,
      `count=${DATA_PARTITION.sizeMib}`,
      'conv=sparse',
      'status=none',
    ]);
    // Replays the journal, as the next mount does; 1 = something was corrected.
    await run('e2fsck', ['-fy', copy]).catch((error: unknown) => {
      if ((error as { code?: unknown }).code !== 1) throw error;
    });
    await mkdir(dump, { recursive: true });
    await run('debugfs', ['-R', `rdump /holdpoint ${dump}`, copy]);
    const [newest] = await storedStates(join(dump, 'holdpoint'));
    return newest ?? null;
  } finally {
    await rm(copy, { force: true });
    await rm(dump, { recursive: true, force: true });
  }
}

/** Which block device a snapshot is taken of, and whether it can be. Source: spec/configuration.md section 4.2. */
import type { Stats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { UpdateError } from '../../../core/errors.ts';

export interface SnapshotSource {
  /** Device node. */
  readonly device: string;
  readonly sizeBytes: number;
  /** As stat(2) gives it: of files on it `dev`, of the node `rdev`. */
  readonly deviceNumber: number;
  /** Where its file system is mounted; null = nowhere. */
  readonly mountPoint: string | null;
}

const SECTOR_BYTES = 512;

/** `path`: a folder or a block device. Rejects with kind `config`, saying what to do. */
export async function findSource(path: string, datastore: string): Promise<SnapshotSource> {
  const facts = await looked(path, 'the source');
  if (!facts.isBlockDevice() && !facts.isDirectory()) {
    throw refused(`${path} is neither a folder nor a block device`);
  }
  const deviceNumber = facts.isBlockDevice() ? facts.rdev : facts.dev;
  if ((await looked(datastore, 'the datastore')).dev === deviceNumber) {
    throw refused(
      `the datastore ${datastore} lies on the same file system; it belongs to this device alone and must be on another one, for example mounted on /data with ${datastore} as a link to it`,
    );
  }
  const [major, minor] = numbersOf(deviceNumber);
  if (major === 0) {
    throw refused(
      `the file system of ${path} has no device of its own (number ${major}:${minor}), as an overlay has none: name the device with --source`,
    );
  }
  const block = `/sys/dev/block/${major}:${minor}`;
  const name = /^DEVNAME=(.+)$/m.exec(await readFile(`${block}/uevent`, 'utf8').catch(() => ''))?.[1];
  const sectors = Number(await readFile(`${block}/size`, 'utf8').catch(() => ''));
  if (name === undefined || !Number.isSafeInteger(sectors) || sectors <= 0) {
    throw refused(`the kernel knows no block device ${major}:${minor}`);
  }
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  return {
    device: `/dev/${name}`,
    sizeBytes: sectors * SECTOR_BYTES,
    deviceNumber,
    mountPoint: mountPointOf(mounts, `${major}:${minor}`),
  };
}

/** From the text of /proc/self/mountinfo. Exported for its test. */
export function mountPointOf(mountinfo: string, numbers: string): string | null {
  for (const line of mountinfo.split('\n')) {
    const [, , device, , mountPoint] = line.split(' ');
    if (device !== numbers || mountPoint === undefined) continue;
    return mountPoint.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
  }
  return null;
}

/** Major and minor of a device number as Linux encodes it. */
function numbersOf(device: number): readonly [number, number] {
  const number = BigInt(device);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n);
  const minor = (number & 0xffn) | ((number >> 12n) & 0xffffff00n);
  return [Number(major), Number(minor)];
}

function looked(path: string, what: string): Promise<Stats> {
  return stat(path).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UpdateError('config', `${what} ${path} cannot be looked at: ${why}`, { cause });
  });
}

function refused(message: string): UpdateError {
  return new UpdateError('config', message);
}

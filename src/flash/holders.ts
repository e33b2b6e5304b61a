/** Who keeps a block device busy, as far as /proc and /sys tell: for the message of a refusal (design/faults.md R41). */
import { constants } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';

const MAX_NAMED = 5;

/** `MAJOR:MINOR` as /proc and /sys write it, of a device number as stat gives it. */
export function deviceNumber(rdev: number): string {
  const number = BigInt(rdev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n);
  const minor = (number & 0xffn) | ((number >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

/** One phrase each: a mount, a device on top of it, a process that has it open. Empty: nothing was found. */
export async function findHolders(rdev: number): Promise<readonly string[]> {
  return shortened([
    ...(await mountsOf(deviceNumber(rdev))),
    ...(await devicesOn(deviceNumber(rdev))),
    ...(await processesWith(rdev, () => true)),
  ]);
}

/** Processes that have it open for writing, whether for themselves alone or not. */
export async function findWriters(rdev: number): Promise<readonly string[]> {
  return shortened(
    await processesWith(rdev, (flags) => (flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0),
  );
}

function shortened(found: readonly string[]): readonly string[] {
  return found.length <= MAX_NAMED
    ? found
    : [...found.slice(0, MAX_NAMED), `${found.length - MAX_NAMED} more`];
}

async function mountsOf(device: string): Promise<readonly string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  return table
    .split('\n')
    .map((line) => line.split(' '))
    .filter((fields) => fields[2] === device)
    .map((fields) => `the mount ${fields[4] ?? ''}`);
}

async function devicesOn(device: string): Promise<readonly string[]> {
  const names = await readdir(`/sys/dev/block/${device}/holders`).catch(() => []);
  return names.map((name) => `the device ${name}`);
}

async function processesWith(
  rdev: number,
  isMeant: (openFlags: number) => boolean,
): Promise<readonly string[]> {
  const found: string[] = [];
  const own = String(process.pid);
  for (const pid of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(pid) || pid === own) continue;
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      const facts = await stat(`/proc/${pid}/fd/${fd}`).catch(() => null);
      if (facts === null || !facts.isBlockDevice() || facts.rdev !== rdev) continue;
      const info = await readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8').catch(() => '');
      if (!isMeant(parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '0', 8))) continue;
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'unknown');
      found.push(`process ${pid} (${name.trim()})`);
      break;
    }
  }
  return found;
}

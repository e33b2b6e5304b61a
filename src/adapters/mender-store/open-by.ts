/**
 * Whether a Mender client has its store open. LMDB keeps a shared record lock on the first byte of its lock file for as
 * long as an environment is open, and the kernel lists all such locks; nothing has to be opened or written for this.
 */
import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';

/** Process id of one that has it open; null = nobody, as far as /proc tells. 0 = one outside our pid namespace. */
export async function openBy(lockPath: string): Promise<number | null> {
  const facts = await stat(lockPath, { bigint: true }).catch(() => null);
  if (facts === null) return null;
  const locks = await readFile('/proc/locks', 'latin1').catch(() => '');
  // 5: POSIX  ADVISORY  READ 1234 08:01:131090 0 0
  for (const line of locks.split('\n')) {
    const match = /^\d+: (?:POSIX|OFDLCK)\s+\S+\s+(?:READ|WRITE)\s+(-?\d+) (\S+):(\d+) /.exec(line);
    if (match === null || match[3] !== String(facts.ino)) continue;
    const pid = Math.max(0, Number(match[1]));
    // Some file systems (btrfs) tell stat() another device than the kernel's list: then the open files decide.
    if (match[2] === deviceOf(facts.dev) || (await hasOpen(pid, await realpath(lockPath)))) return pid;
  }
  return null;
}

async function hasOpen(pid: number, path: string): Promise<boolean> {
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch(() => []);
  const targets = await Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => '')));
  return targets.includes(path);
}

/** As /proc/locks prints it: major and minor in hexadecimal, at least two digits each. */
function deviceOf(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
  return `${major.toString(16).padStart(2, '0')}:${minor.toString(16).padStart(2, '0')}`;
}

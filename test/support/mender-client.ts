/**
 * Debian's `mender-client` package, unchanged: its update modules and its client. Downloaded once from the configured Debian
 * mirror and kept in a cache folder; nothing is installed.
 */
import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface MenderClient {
  /** `/usr/share/mender/modules/v3` of the package. */
  readonly modulesDir: string;
  /** `/usr/bin/mender` of the package; needs libglib2.0-0, libssl3 and liblzma5. */
  readonly program: string;
  readonly version: string;
}

/** Resolves with null and the reason when the package cannot be had (no mirror, another distribution). */
export async function menderClient(): Promise<MenderClient | { readonly unavailable: string }> {
  const cache = join(tmpdir(), 'holdpoint-test-cache');
  const target = join(cache, 'mender-client');
  try {
    await access(join(target, 'usr/share/mender/modules/v3/single-file')).catch(async () => {
      await mkdir(cache, { recursive: true });
      const work = await mkdtemp(join(cache, 'fetch-'));
      try {
        await run('apt-get', ['download', 'mender-client'], { cwd: work, timeout: 60_000 });
        const archive = (await readdir(work)).find((name) => name.endsWith('.deb'));
        if (!archive) throw new Error('apt-get downloaded nothing');
        const tree = join(work, 'tree');
        await run('dpkg-deb', ['-R', join(work, archive), tree]);
        await rm(target, { recursive: true, force: true });
        await rename(tree, target);
      } finally {
        await rm(work, { recursive: true, force: true });
      }
    });
    const { stdout } = await run('sed', ['-n', 's/^Version: //p', join(target, 'DEBIAN/control')]);
    return {
      modulesDir: join(target, 'usr/share/mender/modules/v3'),
      program: join(target, 'usr/bin/mender'),
      version: stdout.trim(),
    };
  } catch (error) {
    return { unavailable: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * The fixed folders need not exist on this machine: they are made in a layer over the real ones that only this namespace
 * sees.
 */
const INSIDE = [
  'set -e',
  'layers=$1; conf=$2; share=$3; data=$4; shift 4',
  'mount -t tmpfs none "$layers"',
  'for parent in /etc /usr/share /var/lib; do',
  '  mkdir -p "$layers$parent/upper/mender" "$layers$parent/work"',
  '  mount -t overlay none -o "lowerdir=$parent,upperdir=$layers$parent/upper,workdir=$layers$parent/work" "$parent"',
  'done',
  'mount --bind "$conf" /etc/mender; mount --bind "$share" /usr/share/mender; mount --bind "$data" /var/lib/mender',
  'exec "$@"',
].join('\n');

/** Arguments of `unshare` that run it on the device in `folder` (conf, share, data, and layers for what it writes beside them). */
export function insideDevice(
  client: MenderClient,
  folder: string,
  args: readonly string[],
): readonly string[] {
  const folders = ['layers', 'conf', 'share', 'data'].map((name) => join(folder, name));
  const namespace = ['--mount', '--propagation', 'private', 'sh', '-c', INSIDE, 'sh', ...folders];
  return [...namespace, client.program, '--no-syslog', ...args];
}

/**
 * Debian's `mender-connect` 2.1, unchanged, as a process on the bus of a test. Downloaded once from the configured Debian
 * mirror and kept in a cache folder; nothing is installed. It knows only fixed folders for what it does not find in its
 * configuration, so it runs in a mount namespace in which those are empty. Needs root and libglib2.0-0.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const INSIDE = [
  'set -e',
  'layers=$1; shift',
  'mount -t tmpfs none "$layers"',
  'for parent in /etc /var/lib; do',
  '  mkdir -p "$layers$parent/upper/mender" "$layers$parent/work"',
  '  mount -t overlay none -o "lowerdir=$parent,upperdir=$layers$parent/upper,workdir=$layers$parent/work" "$parent"',
  'done',
  'exec "$@"',
].join('\n');

export interface MenderConnect {
  readonly version: string;
  output(): string;
  /** Asks it to end and waits until it has. */
  dispose(): Promise<void>;
}

async function program(): Promise<{ readonly path: string; readonly version: string }> {
  const cache = join(tmpdir(), 'holdpoint-test-cache');
  const target = join(cache, 'mender-connect');
  const path = join(target, 'usr/bin/mender-connect');
  await access(path).catch(async () => {
    await mkdir(cache, { recursive: true });
    const work = await mkdtemp(join(cache, 'fetch-'));
    try {
      await run('apt-get', ['download', 'mender-connect'], { cwd: work, timeout: 60_000 });
      const archive = (await readdir(work)).find((name) => name.endsWith('.deb'));
      if (!archive) throw new Error('apt-get downloaded nothing');
      await run('dpkg-deb', ['-R', join(work, archive), join(work, 'tree')]);
      await rm(target, { recursive: true, force: true });
      await rename(join(work, 'tree'), target);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
  const { stdout } = await run('sed', ['-n', 's/^Version: //p', join(target, 'DEBIAN/control')]);
  return { path, version: stdout.trim() };
}

/** `address`: of the bus. */
export async function startMenderConnect(
  address: string,
): Promise<MenderConnect | { readonly unavailable: string }> {
  const found = await program().catch((error: unknown) => ({
    unavailable: error instanceof Error ? error.message : String(error),
  }));
  if ('unavailable' in found) return found;
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-mender-connect-'));
  const config = join(folder, 'mender-connect.conf');
  await mkdir(join(folder, 'layers'));
  await writeFile(
    config,
    JSON.stringify({ ShellCommand: '/bin/sh', User: 'nobody', ReconnectIntervalSeconds: 5 }),
  );
  const inside = ['sh', '-c', INSIDE, 'sh', join(folder, 'layers')];
  const command = [found.path, '--debug', '--config', config, 'daemon'];
  const child = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', 'unshare', '--mount', '--propagation', 'private', ...inside, ...command],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: '/',
      env: { PATH: process.env['PATH'], DBUS_SYSTEM_BUS_ADDRESS: address },
    },
  );
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = once(child, 'close');
  return {
    version: found.version,
    output: () => output,
    dispose: async () => {
      child.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

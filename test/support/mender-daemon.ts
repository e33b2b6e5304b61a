/**
 * Debian's `mender` 3.4, unchanged, as a service on a private bus of its own, for comparison with ours. It knows only
 * fixed folders, so it runs in a mount namespace in which those are folders of the test. Needs root and `mdb_dump`.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from './eventually.ts';
import { insideDevice, menderClient } from './mender-client.ts';
import { startPrivateBus, type PrivateBus } from './private-bus.ts';

const run = promisify(execFile);
const BUS_NAME = 'io.mender.UpdateManager';
/** As Debian's own policy file: root owns and is sent to. */
const ROOT_ONLY = `<policy user="root">
  <allow own="${BUS_NAME}"/><allow send_destination="${BUS_NAME}"/>
  <allow own="io.mender.AuthenticationManager"/><allow send_destination="io.mender.AuthenticationManager"/>
</policy>`;

export interface MenderDaemon {
  readonly bus: PrivateBus;
  readonly version: string;
  /** The pool of control maps as the client stores it, JSON; '' = none. */
  storedMaps(): Promise<string>;
  /** Log so far. */
  output(): string;
  dispose(): Promise<void>;
}

/** Ready to be called. `config`: into mender.conf. `identity`: what the device says it is; without one it stays alone. */
export async function startMenderDaemon(
  options: { readonly config?: Readonly<Record<string, unknown>>; readonly identity?: string } = {},
): Promise<MenderDaemon | { readonly unavailable: string }> {
  const client = await menderClient();
  if ('unavailable' in client) return client;
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-mender-daemon-'));
  const at = (name: string): string => join(folder, name);
  for (const name of ['layers', 'conf', 'share', 'data']) await mkdir(at(name));
  await writeFile(at('data/device_type'), 'device_type=test-device\n');
  await writeFile(at('conf/artifact_info'), 'artifact_name=original\n');
  if (options.identity !== undefined) {
    await mkdir(at('share/identity'));
    const program = at('share/identity/mender-device-identity');
    await writeFile(program, `#!/bin/sh\necho '${options.identity}'\n`, { mode: 0o755 });
  }
  // Nobody listens there: it is the bus that is looked at.
  await writeFile(
    at('conf/mender.conf'),
    JSON.stringify({ ServerURL: 'http://127.0.0.1:9', UpdatePollIntervalSeconds: 3600, ...options.config }),
  );
  const bus = await startPrivateBus({ extraConfig: ROOT_ONLY });
  const daemon = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', 'unshare', ...insideDevice(client, folder, ['daemon'])],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], DBUS_SYSTEM_BUS_ADDRESS: bus.address },
    },
  );
  let output = '';
  daemon.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  daemon.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = once(daemon, 'close');
  const dispose = async (): Promise<void> => {
    daemon.kill('SIGKILL');
    await ended;
    await bus.dispose();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  };
  const isReady = (): Promise<boolean> =>
    run('busctl', [`--address=${bus.address}`, 'status', BUS_NAME]).then(
      () => true,
      () => {
        if (daemon.exitCode !== null) throw new Error(`mender has ended: ${output}`);
        return false;
      },
    );
  try {
    await eventually('mender owns its name', isReady, 30_000);
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    bus,
    version: client.version,
    output: () => output,
    dispose,
    storedMaps: async () => {
      const { stdout } = await run('mdb_dump', ['-n', '-p', at('data/mender-store')]);
      const lines = stdout.split('\n').map((line) => line.replace(/^ /, ''));
      const index = lines.indexOf('update-control-maps');
      return index < 0 ? '' : unescaped(lines[index + 1] ?? '');
    },
  };
}

/** `mdb_dump -p`: what does not print is `\` and two hex digits. */
function unescaped(text: string): string {
  return Buffer.from(
    text.replace(/\\([0-9a-f]{2}|\\)/gi, (_, code: string) =>
      code === '\\' ? '\\' : String.fromCharCode(Number.parseInt(code, 16)),
    ),
    'latin1',
  ).toString();
}

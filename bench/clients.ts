/**
 * The two that are compared, run in the same way: Holdpoint's command, told by the environment where its folders
 * are, and Debian's `mender`, which knows only fixed ones and therefore gets a mount namespace of its own with the
 * device's folders bound over them.
 */
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { menderClient } from '../test/support/mender-client.ts';
import type { Device } from './device.ts';
import type { Scratch } from './scratch.ts';

const run = promisify(execFile);
/** Debian's own: another one first in PATH may be a wrapper with a start-up time of its own. */
const PYTHON = '/usr/bin/python3';
const MEASURE = resolve('bench/measure.py');
const RUN_LIMIT_MS = 600_000;

export interface Usage {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly maxRssMib: number;
}

export interface Client {
  readonly name: string;
  readonly version: string;
  /** Installs and commits; rejects unless the client says so too. */
  install(artifact: string, device: Device): Promise<Usage>;
  /** The daemon; the process that is started becomes it. */
  daemon(device: Device): { readonly command: readonly string[]; readonly env: NodeJS.ProcessEnv };
}

export function holdpoint(scratch: Scratch, version: string): Client {
  return {
    name: 'Holdpoint',
    version,
    install: (artifact, device) =>
      measured(
        scratch,
        [process.execPath, resolve('dist/holdpoint.js'), 'install', '--standalone', artifact],
        deviceEnvironment(device),
      ),
    daemon: (device) => ({
      command: [process.execPath, resolve('dist/holdpointd.js')],
      env: deviceEnvironment(device),
    }),
  };
}

export function deviceEnvironment(device: Device): NodeJS.ProcessEnv {
  return {
    ...process.env,
    MENDER_CONF_DIR: device.conf,
    MENDER_DATA_DIR: device.data,
    MENDER_DATASTORE_DIR: device.datastore,
    HOLDPOINT_CONF_DIR: join(device.conf, 'holdpoint'),
  };
}

/** The client of Debian's package, or why it cannot be run here. */
export async function debianMender(scratch: Scratch): Promise<Client | { readonly unavailable: string }> {
  if (process.getuid?.() !== 0) return { unavailable: 'a mount namespace needs root' };
  const found = await menderClient();
  if ('unavailable' in found) return found;
  const folders = ['/etc/mender', '/usr/share/mender', '/var/lib/mender'];
  for (const folder of folders) await mountPoint(folder, scratch);
  const inNamespace = (device: Device, command: readonly string[]): readonly string[] => {
    const sources = [device.conf, device.data, device.datastore];
    const binds = folders.map((folder, index) => `mount --bind '${sources[index]}' '${folder}' && `);
    return ['unshare', '--mount', 'sh', '-c', `${binds.join('')}exec "$@"`, 'sh', ...command];
  };
  try {
    await run('unshare', ['--mount', 'true']);
    await run('/usr/bin/env', [found.program, '--version']);
  } catch (error) {
    return { unavailable: error instanceof Error ? error.message.trim() : String(error) };
  }
  return {
    name: 'mender',
    version: found.version,
    install: (artifact, device) =>
      measured(scratch, [found.program, '--no-syslog', 'install', artifact], process.env, (command) =>
        inNamespace(device, command),
      ),
    daemon: (device) => ({
      command: inNamespace(device, [found.program, '--no-syslog', 'daemon']),
      env: process.env,
    }),
  };
}

/** Something to mount on, for as long as the run lasts. */
async function mountPoint(folder: string, scratch: Scratch): Promise<void> {
  const isThere = await stat(folder).then(
    () => true,
    () => false,
  );
  if (isThere) return;
  await mkdir(folder);
  scratch.onEnd(() => rmdir(folder));
}

/** `inside` wraps the measuring, not the measured: what the wrapping takes is not counted. */
async function measured(
  scratch: Scratch,
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  inside: (command: readonly string[]) => readonly string[] = (all) => all,
): Promise<Usage> {
  const result = join(scratch.folder, 'usage.json');
  const output = join(scratch.folder, 'output.txt');
  await rm(output, { force: true });
  const [program, ...args] = inside([PYTHON, MEASURE, result, output, ...command]);
  await run(program!, args, { env, cwd: scratch.folder, timeout: RUN_LIMIT_MS, signal: scratch.signal });
  const usage = JSON.parse(await readFile(result, 'utf8')) as Record<string, number>;
  if (usage['status'] !== 0) {
    const said = (await readFile(output, 'utf8')).trim().split('\n').slice(-5).join('\n');
    throw new Error(`${command.join(' ')}: exit status ${usage['status']}\n${said}`);
  }
  return {
    wallMs: usage['wall_ms']!,
    cpuMs: usage['cpu_ms']!,
    maxRssMib: usage['max_rss_kib']! / 1024,
  };
}

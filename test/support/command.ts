/** The bundled command `holdpoint`, as `npm run build` makes it, run as a process of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { builtService } from './built-service.ts';
import type { Device } from './device.ts';

type CommandName = 'holdpoint' | 'holdpoint-flash';

const copies = new Map<CommandName, Promise<string>>();

/** Path of a program for `node`. Built together with the service when a source is newer. */
export function builtCommand(name: CommandName = 'holdpoint'): Promise<string> {
  const known = copies.get(name) ?? prepare(name);
  copies.set(name, known);
  return known;
}

async function prepare(name: CommandName): Promise<string> {
  await builtService();
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-command-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  await copyFile(resolve(`dist/${name}.js`), join(folder, `${name}.js`));
  await writeFile(join(folder, 'package.json'), '{ "type": "commonjs" }\n');
  return join(folder, `${name}.js`);
}

export interface CommandResult {
  /** null = ended by a signal. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCommand {
  readonly child: ChildProcess;
  /** Everything printed so far. */
  readonly output: () => string;
  readonly ended: Promise<CommandResult>;
}

export interface CommandOptions {
  /** Over that of the device. */
  readonly environment?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
}

/** A bus that nobody listens on: a test without a service must not meet one. */
const NO_BUS = 'unix:path=/nonexistent/holdpoint-test-bus';

export async function startCommand(
  device: Pick<Device, 'environment' | 'pidFile'>,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<RunningCommand> {
  const program = await builtCommand();
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    env: { ...device.environment, DBUS_SYSTEM_BUS_ADDRESS: NO_BUS, ...options.environment },
  });
  // So that the probes can kill it; it takes longer to start than this to write.
  writeFileSync(device.pidFile, String(child.pid));
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 40_000);
  const ended = once(child, 'close').then(([status, signal]): CommandResult => {
    clearTimeout(timer);
    return { status: status as number | null, signal: signal as NodeJS.Signals | null, stdout, stderr };
  });
  return { child, output: () => stdout, ended };
}

export async function holdpoint(
  device: Pick<Device, 'environment' | 'pidFile'>,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  return (await startCommand(device, args, options)).ended;
}

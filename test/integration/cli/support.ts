/** The built command as a process, on the bus of a real service. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  builtCommand,
  holdpoint,
  startCommand,
  type CommandResult,
  type RunningCommand,
} from '../../support/command.ts';
import { eventually } from '../../support/eventually.ts';
import type { ServiceHarness } from '../../support/service.ts';

export function onBus(service: ServiceHarness): NodeJS.ProcessEnv {
  return { DBUS_SYSTEM_BUS_ADDRESS: service.bus.address };
}

// The pid file of the device belongs to the service here.
function deviceOf(service: ServiceHarness) {
  return {
    environment: service.device.environment,
    pidFile: join(service.device.folder, 'command.pid'),
  };
}

export function run(service: ServiceHarness, ...args: readonly string[]): Promise<CommandResult> {
  return holdpoint(deviceOf(service), args, { environment: onBus(service) });
}

export function start(service: ServiceHarness, ...args: readonly string[]): Promise<RunningCommand> {
  return startCommand(deviceOf(service), args, { environment: onBus(service) });
}

export const printed = (running: RunningCommand, text: string): Promise<void> =>
  eventually(`the command prints ${text}`, () => running.output().includes(text), 20_000);

export interface Spoken {
  readonly child: ChildProcess;
  readonly out: () => string;
  readonly err: () => string;
  readonly ended: Promise<CommandResult>;
}

export interface SpokenOptions {
  readonly uid?: number;
  readonly input?: string;
}

/** As `start`, with standard input and both outputs to look at while it runs, and perhaps as somebody else. */
export async function speak(
  service: ServiceHarness,
  args: readonly string[],
  { uid, input }: SpokenOptions = {},
): Promise<Spoken> {
  const built = await builtCommand();
  // Somebody else must be able to read it.
  if (uid !== undefined) await chmod(dirname(built), 0o755);
  const program = [process.execPath, built, ...args];
  const [file = '', ...rest] =
    uid === undefined
      ? program
      : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--inh-caps=-all', ...program];
  const child = spawn(file, rest, {
    stdio: ['pipe', 'pipe', 'pipe'],
    cwd: '/',
    env: { ...service.device.environment, ...onBus(service) },
  });
  // Whoever does not read its input may be gone before all is written.
  child.stdin.on('error', () => {});
  child.stdin.end(input ?? '');
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const timer = setTimeout(() => child.kill('SIGKILL'), 40_000);
  const ended = once(child, 'close').then(([status, signal]): CommandResult => {
    clearTimeout(timer);
    return {
      status: status as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout: out,
      stderr: err,
    };
  });
  return { child, out: () => out, err: () => err, ended };
}

/** As `speak`, to its end. */
export async function told(
  service: ServiceHarness,
  args: readonly string[],
  options: SpokenOptions = {},
): Promise<CommandResult> {
  return (await speak(service, args, options)).ended;
}

export function jsonLines(text: string): readonly Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

export async function holdsOf(service: ServiceHarness): Promise<readonly Record<string, unknown>[]> {
  return jsonLines((await run(service, 'holds', '--json')).stdout);
}

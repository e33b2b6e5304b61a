/** `holdpoint simulate` as an ordinary user runs it: on a session bus of its own, the built command, no root. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { OTHER_UID } from './bus-tools.ts';
import { builtCommand } from './command.ts';

export interface SessionBus {
  readonly address: string;
  /** Belongs to the user, and goes with the bus. */
  readonly folder: string;
  /** The built command, where the user can read it. */
  readonly program: string;
  dispose(): Promise<void>;
}

/** A program with its arguments, as the user of the session. */
export function asUser(command: string, args: readonly string[]): readonly [string, readonly string[]] {
  return [
    'setpriv',
    [
      '--pdeathsig=KILL',
      `--reuid=${OTHER_UID}`,
      `--regid=${OTHER_UID}`,
      '--clear-groups',
      '--inh-caps=-all',
      '--no-new-privs',
      command,
      ...args,
    ],
  ];
}

/** As a session's, but that the test, which is root, may look on. */
function configOf(address: string): string {
  return `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <auth>EXTERNAL</auth>
  <listen>${address}</listen>
  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`;
}

export async function startSessionBus(): Promise<SessionBus> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-session-'));
  await chmod(folder, 0o700);
  const program = join(folder, 'holdpoint.js');
  await copyFile(await builtCommand(), program);
  await writeFile(join(folder, 'package.json'), '{ "type": "commonjs" }\n');
  await chown(folder, OTHER_UID, OTHER_UID);
  await chmod(program, 0o755);
  const address = `unix:path=${join(folder, 'bus')}`;
  const config = join(folder, 'bus.conf');
  await writeFile(config, configOf(address));
  const [command, args] = asUser('dbus-daemon', [
    `--config-file=${config}`,
    '--nofork',
    '--nopidfile',
    '--print-address=1',
  ]);
  const daemon = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const ended = once(daemon, 'exit');
  await Promise.race([
    once(createInterface({ input: daemon.stdout }), 'line'),
    ended.then(() => Promise.reject(new Error('the session bus did not start'))),
  ]);
  return {
    address,
    folder,
    program,
    async dispose() {
      daemon.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export interface Simulation {
  readonly child: ChildProcess;
  /** Lines printed so far. */
  readonly lines: readonly string[];
  /** Resolves with the line, which may have been there before. Rejects when the simulation ends without it. */
  line(part: string): Promise<string>;
  readonly ended: Promise<{ readonly status: number | null; readonly stderr: string }>;
  stop(): Promise<void>;
}

/** `args`: what stands behind `holdpoint simulate`. */
export function startSimulation(bus: SessionBus, args: readonly string[]): Simulation {
  const [command, userArgs] = asUser(process.execPath, [bus.program, 'simulate', ...args]);
  const child = spawn(command, userArgs, {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', DBUS_SESSION_BUS_ADDRESS: bus.address, TMPDIR: bus.folder },
  });
  const lines: string[] = [];
  let stderr = '';
  let isOver = false;
  const listeners = new Set<() => void>();
  const tell = (): void => listeners.forEach((listener) => listener());
  createInterface({ input: child.stdout }).on('line', (text) => {
    lines.push(text);
    tell();
  });
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, 'close').then(([status]) => {
    isOver = true;
    tell();
    return { status: status as number | null, stderr };
  });
  return {
    child,
    lines,
    ended,
    line: (part) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = lines.find((text) => text.includes(part));
          if (found === undefined && !isOver) return;
          listeners.delete(look);
          if (found !== undefined) resolve(found);
          else reject(new Error(`it ended without "${part}": ${lines.join('\n')}\n${stderr}`));
        };
        listeners.add(look);
        look();
      }),
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/**
 * Says yes to every wait, and not to wait for what may be set aside: gdbus listens, busctl answers. It is listening when
 * the promise resolves.
 */
const YES = `
gdbus monitor --address "$1" --dest io.holdpoint.Update1 --object-path /io/holdpoint/Update1 | while read -r line; do
  case $line in
    *"does not have an owner"*) echo listening ;;
    *.WaitStarted*) [ "$2" = mute ] && continue
      ticket=$(printf '%s' "$line" | sed "s/^[^']*'\\([0-9a-f]*\\)'.*/\\1/")
      busctl --address="$1" call io.holdpoint.Update1 /io/holdpoint/Update1 io.holdpoint.Update1 \\
        ContinueFull 'sa{sv}' "$ticket" 1 now b true ;;
    *.DeploymentFinished*) printf '%s\\n' "$line" ;;
  esac
done
`;

export interface YesSayer {
  /** What the tools printed. */
  readonly output: () => string;
  stop(): Promise<void>;
}

export async function startYesSayer(
  bus: SessionBus,
  { isMute }: { readonly isMute: boolean },
): Promise<YesSayer> {
  const [command, args] = asUser('bash', ['-c', YES, 'yes', bus.address, isMute ? 'mute' : 'aloud']);
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true, cwd: '/' });
  let output = '';
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (text) => (output += `${text}\n`));
  const ended = once(child, 'exit');
  await Promise.race([
    once(lines, 'line'),
    ended.then(() => Promise.reject(new Error('the client of the simulation did not start'))),
  ]);
  return {
    output: () => output,
    async stop() {
      // The whole pipeline.
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      await ended;
    },
  };
}

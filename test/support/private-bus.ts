import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

/**
 * A real dbus-daemon of type `system` with the policy we ship, on a socket every user can reach. Its base rules are
 * those of the system bus as distributions ship them: calls and names need a hole, signals and replies do not.
 */
export interface PrivateBus {
  readonly address: string;
  readonly socketPath: string;
  /** Of the present daemon. */
  pid(): number;
  stop(): Promise<void>;
  /** After `stop`: a new daemon at the same address. */
  start(): Promise<void>;
  /** Stop and start. */
  restart(): Promise<void>;
  /** Stops it and removes its files. */
  dispose(): Promise<void>;
}

export const POLICY_PATH = resolve('dbus-policy/io.holdpoint.Update1.conf');

export interface PrivateBusOptions {
  /** Elements for `<busconfig>`, for example limits or further policies; they come last. */
  readonly extraConfig?: string;
  readonly policyPaths?: readonly string[];
}

/** Rules for a bus that lets anybody answer anything: what our own code must then see through. */
export const LAX_REPLY_RULES = `<policy context="default">
  <allow send_requested_reply="false" send_type="method_return"/>
  <allow send_requested_reply="false" send_type="error"/>
  <allow receive_requested_reply="false" receive_type="method_return"/>
  <allow receive_requested_reply="false" receive_type="error"/>
</policy>`;

export async function startPrivateBus(options: PrivateBusOptions = {}): Promise<PrivateBus> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-bus-'));
  await chmod(folder, 0o755);
  const socketPath = join(folder, 'socket');
  const address = `unix:path=${socketPath}`;
  const configPath = join(folder, 'bus.conf');
  const { extraConfig = '', policyPaths = [POLICY_PATH] } = options;
  await writeFile(configPath, configOf(address, policyPaths, extraConfig));
  let daemon: ChildProcess | null = null;

  const stop = async (): Promise<void> => {
    const process = daemon;
    daemon = null;
    if (process === null || process.exitCode !== null || process.signalCode !== null) return;
    const ended = once(process, 'exit');
    process.kill('SIGKILL');
    await ended;
  };
  const start = async (): Promise<void> => {
    if (daemon === null) daemon = await startDaemon(configPath);
  };
  try {
    await start();
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  return {
    address,
    socketPath,
    pid: () => daemon?.pid ?? 0,
    stop,
    start,
    restart: async () => {
      await stop();
      await start();
    },
    dispose: async () => {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function startDaemon(configPath: string): Promise<ChildProcess> {
  const args = [`--config-file=${configPath}`, '--nofork', '--nopidfile', '--print-address=1'];
  // Ends with us, should the test run be killed.
  const command = ['--pdeathsig', 'KILL', 'dbus-daemon', ...args];
  const daemon = spawn('setpriv', command, { stdio: ['ignore', 'pipe', 'pipe'] });
  let complaints = '';
  daemon.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
  const lines = createInterface({ input: daemon.stdout });
  const outcome = await Promise.race([
    once(lines, 'line').then(() => 'ready'),
    once(daemon, 'exit').then(() => 'exit'),
  ]);
  if (outcome === 'exit') throw new Error(`dbus-daemon did not start: ${complaints}`);
  return daemon;
}

function configOf(address: string, policyPaths: readonly string[], extra: string): string {
  return `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>${address}</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"
          send_member="UpdateActivationEnvironment"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Debug.Stats"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Debug.Stats"/>
  </policy>
${policyPaths.map((path) => `  <include>${path}</include>\n`).join('')}${extra}
</busconfig>
`;
}

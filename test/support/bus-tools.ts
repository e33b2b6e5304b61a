import { execFile } from 'node:child_process';

/** The tools people use on a bus, run as root or as somebody else. */
export interface ToolResult {
  /** −1 = ended by the time limit or a signal. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** `nobody`: no right to anything. */
export const OTHER_UID = 65534;

export interface ToolOptions {
  /** Default: who we are. */
  readonly uid?: number;
  readonly timeoutMs?: number;
}

export const TARGET = {
  name: 'io.holdpoint.Update1',
  path: '/io/holdpoint/Update1',
  main: 'io.holdpoint.Update1',
} as const;

export function runTool(
  command: string,
  args: readonly string[],
  { uid, timeoutMs = 20_000 }: ToolOptions = {},
  environment: Readonly<Record<string, string>> = {},
): Promise<ToolResult> {
  const [file, fileArgs] =
    uid === undefined
      ? [command, args]
      : [
          'setpriv',
          [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--inh-caps=-all', command, ...args],
        ];
  const options = {
    timeout: timeoutMs,
    maxBuffer: 32 * 1024 * 1024,
    killSignal: 'SIGKILL' as const,
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8', ...environment },
  };
  return new Promise((resolve) => {
    execFile(file, fileArgs, options, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ status, stdout, stderr });
    });
  });
}

export function busctl(address: string, args: readonly string[], options?: ToolOptions): Promise<ToolResult> {
  return runTool('busctl', [`--address=${address}`, ...args], options);
}

/** `call`, `introspect` and the like, with our name and object filled in. */
export function gdbus(
  address: string,
  verb: string,
  args: readonly string[],
  options?: ToolOptions,
): Promise<ToolResult> {
  const target = ['--dest', TARGET.name, '--object-path', TARGET.path];
  return runTool('gdbus', [verb, '--address', address, ...target, ...args], options);
}

export function dbusSend(
  address: string,
  args: readonly string[],
  options?: ToolOptions,
): Promise<ToolResult> {
  return runTool('dbus-send', [`--bus=${address}`, '--print-reply', ...args], options);
}

export function qdbus(address: string, args: readonly string[], options?: ToolOptions): Promise<ToolResult> {
  return runTool('qdbus', ['--system', TARGET.name, TARGET.path, ...args], options, {
    DBUS_SYSTEM_BUS_ADDRESS: address,
  });
}

/** The script finds the system bus as `Gio.bus_get_sync(Gio.BusType.SYSTEM)`. */
export function pythonGio(address: string, script: string, options?: ToolOptions): Promise<ToolResult> {
  const imports = 'import gi\nfrom gi.repository import Gio, GLib\n';
  return runTool('/usr/bin/python3', ['-c', imports + script], options, {
    DBUS_SYSTEM_BUS_ADDRESS: address,
  });
}

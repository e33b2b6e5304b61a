/**
 * The whole service as its users meet it: the built program as a process of its own, on a private bus with the policy
 * we ship, for a device in a folder. It runs in a mount namespace in which the kernel's boot id is a file of ours, so
 * that a test can boot the machine another time. Needs root, as the service does.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { builtService } from './built-service.ts';
import { busctl, TARGET, type ToolOptions, type ToolResult } from './bus-tools.ts';
import { makeDevice, type Device, type DeviceOptions } from './device.ts';
import { MENDER_POLICY_PATH } from './map-service.ts';
import { POLICY_PATH, startPrivateBus, type PrivateBus } from './private-bus.ts';
import { peakMib } from './process-facts.ts';
import { watchProperties, type Properties, type PropertyWatch } from './property-watch.ts';

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface CallAnswer {
  /** Reply values as busctl's JSON has them; empty after an error. */
  readonly values: readonly unknown[];
  /** '' = no error. The dotted name is not shown by busctl; see `errorNameOf`. */
  readonly error: string;
}

export interface HarnessOptions extends DeviceOptions {
  readonly bus?: PrivateBus;
  /** Another build of the service than that of the present sources. */
  readonly program?: string;
  /** MiB that no process of it may have needed; default 150. */
  readonly memoryLimitMib?: number;
}

export interface StartOptions {
  /** Has the machine been booted since the last start? Default: as its boot id file says. */
  readonly boot?: 'same' | 'next';
  /** Resolve before the service is on the bus. */
  readonly isOffBus?: boolean;
  /** Another device's service, for conflicts. */
  readonly environment?: NodeJS.ProcessEnv;
  /** Block device with the file system that is / for the service; in it everything of the host is mounted. */
  readonly rootDevice?: string;
}

/** A machine that is busy with other tests takes its time. */
const START_WITHIN_MS = 60_000;
/** Whatever a test does to the service. */
const MEMORY_LIMIT_MIB = 150;
const MENDER_AUTH_POLICY_PATH = resolve('dbus-policy/io.mender.AuthenticationManager.conf');

export const SHIPPED_POLICIES: readonly string[] = [POLICY_PATH, MENDER_POLICY_PATH, MENDER_AUTH_POLICY_PATH];

export class ServiceHarness {
  readonly bus: PrivateBus;
  readonly device: Device;
  readonly watch: PropertyWatch;
  readonly #ownsBus: boolean;
  readonly #program: string | null;
  readonly #memoryLimitMib: number;
  #process: ChildProcess | null = null;
  #exit: Promise<Exit> | null = null;
  #peakMib = 0;

  static async create(options: HarnessOptions = {}): Promise<ServiceHarness> {
    const [bus, device] = await Promise.all([
      options.bus ?? startPrivateBus({ policyPaths: SHIPPED_POLICIES }),
      makeDevice(options),
    ]);
    return new ServiceHarness(bus, device, options);
  }

  private constructor(bus: PrivateBus, device: Device, options: HarnessOptions) {
    this.bus = bus;
    this.device = device;
    this.#ownsBus = options.bus === undefined;
    this.#program = options.program ?? null;
    this.#memoryLimitMib = options.memoryLimitMib ?? MEMORY_LIMIT_MIB;
    this.watch = watchProperties(bus.address, () => this.#lastWords());
  }

  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new Error('the service has not been started');
    return pid;
  }

  get isRunning(): boolean {
    return this.#process !== null && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  async start(options: StartOptions = {}): Promise<void> {
    if (this.isRunning) throw new Error('the service runs already');
    if (options.boot === 'next') await this.device.newBoot();
    const child = await this.spawn(options.environment, options.rootDevice);
    this.#process = child;
    this.#exit = once(child, 'exit').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
    }));
    await writeFile(this.device.pidFile, String(child.pid));
    if (options.isOffBus === true) return;
    await Promise.race([
      this.watch.waitFor('the service is on the bus', () => true, START_WITHIN_MS),
      this.#exit.then(async ({ code, signal }) => {
        // Killed on purpose while starting is for the test to judge.
        if (signal !== 'SIGKILL') {
          throw new Error(`the service ended (${code ?? signal}) at its start\n${await this.#lastWords()}`);
        }
      }),
    ]);
  }

  /** The bare process; `environment` is laid over the device's. */
  async spawn(environment: NodeJS.ProcessEnv = {}, rootDevice?: string): Promise<ChildProcess> {
    const { bootIdFile, logFile, folder } = this.device;
    const bindBootId = 'mount --bind "$0" /proc/sys/kernel/random/boot_id';
    const run = rootDevice === undefined ? 'exec "$@"' : enterRoot(rootDevice, `${folder}/root`);
    const command = [bootIdFile, process.execPath, this.#program ?? (await builtService())];
    const log = openSync(logFile, 'a');
    try {
      return spawn(
        'unshare',
        ['--mount', '--propagation', 'private', 'sh', '-c', `${bindBootId} && ${run}`, ...command],
        {
          stdio: ['ignore', 'ignore', log],
          cwd: '/',
          env: { ...this.device.environment, DBUS_SYSTEM_BUS_ADDRESS: this.bus.address, ...environment },
        },
      );
    } finally {
      closeSync(log);
    }
  }

  /** Resolves when the service has ended, by itself or by whoever was told to kill it. */
  async exited(withinMs = 30_000): Promise<Exit> {
    if (this.#exit === null) throw new Error('the service has not been started');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => (timer = setTimeout(() => resolve(null), withinMs)));
    const exit = await Promise.race([this.#exit, late]);
    clearTimeout(timer);
    if (exit === null)
      throw new Error(`the service still runs after ${withinMs} ms\n${await this.#lastWords()}`);
    if (this.bus.pid() !== 0) await this.watch.waitForAbsence();
    return exit;
  }

  /** The end of a service that nobody could prepare. */
  async kill9(): Promise<void> {
    await this.#lookAtMemory();
    if (this.isRunning) process.kill(this.pid, 'SIGKILL');
    await this.exited();
  }

  async terminate(): Promise<Exit> {
    await this.#lookAtMemory();
    process.kill(this.pid, 'SIGTERM');
    return this.exited();
  }

  /** kill -9 and start. */
  async restart(options: StartOptions = {}): Promise<void> {
    await this.kill9();
    await this.start(options);
  }

  waitFor(what: string, claim: (seen: Properties) => boolean, withinMs?: number): Promise<Properties> {
    return this.watch.waitFor(what, claim, withinMs);
  }

  waitAt(point: string, withinMs?: number): Promise<Properties> {
    return this.waitFor(
      `a wait at ${point}`,
      (seen) => seen['WaitPoint'] === point && seen['WaitTicket'] !== '',
      withinMs,
    );
  }

  /** The deployment is over, whatever came of it, and the device idle again; its signals have all come by then. */
  async waitForEnd(withinMs?: number): Promise<Properties> {
    const end = await this.waitFor(
      'the deployment is over',
      (seen) => seen['LastResult'] !== 'none' && seen['DeploymentId'] === '' && seen['Step'] === 'Idle',
      withinMs,
    );
    await this.#lookAtMemory();
    return end;
  }

  /** As `busctl get-property` shows it. */
  async property(name: string): Promise<unknown> {
    const { path, main } = TARGET;
    const result = await busctl(this.bus.address, [
      '--json=short',
      'get-property',
      TARGET.name,
      path,
      main,
      name,
    ]);
    if (result.status !== 0) throw new Error(`reading ${name}: ${result.stderr}`);
    return (JSON.parse(result.stdout) as { data: unknown }).data;
  }

  /** A call by busctl; `member` may name its interface behind `io.holdpoint.Update1.`: `Install.InstallPath`. */
  async call(
    member: string,
    signature = '',
    args: readonly string[] = [],
    options: ToolOptions = {},
  ): Promise<CallAnswer> {
    const result = await this.callTool(member, signature, args, options);
    if (result.status !== 0) return { values: [], error: result.stderr.trim() };
    const text = result.stdout.trim();
    const { data } = text === '' ? { data: [] } : (JSON.parse(text) as { data: readonly unknown[] });
    return { values: data, error: '' };
  }

  callTool(
    member: string,
    signature: string,
    args: readonly string[],
    options: ToolOptions = {},
  ): Promise<ToolResult> {
    const dot = member.lastIndexOf('.');
    const owner = dot < 0 ? TARGET.main : `${TARGET.main}.${member.slice(0, dot)}`;
    const call = [TARGET.name, TARGET.path, owner, member.slice(dot + 1)];
    const body = signature === '' ? [] : [signature, ...args];
    return busctl(this.bus.address, ['--json=short', 'call', ...call, ...body], options);
  }

  /** A call that must succeed; its only value, or all of them. */
  async mustCall(member: string, signature = '', args: readonly string[] = []): Promise<unknown> {
    const { values, error } = await this.call(member, signature, args);
    if (error !== '') throw new Error(`${member}: ${error}\n${await this.#lastWords()}`);
    return values.length === 1 ? values[0] : values;
  }

  async install(path: string, digest = ''): Promise<string> {
    return String(await this.mustCall('Install.InstallPath', 'ss', [path, digest]));
  }

  /** Releases the present wait at the point, as a user interface does. */
  async release(point: string): Promise<string> {
    const seen = await this.waitAt(point);
    return String(await this.mustCall('Continue', 's', [String(seen['WaitTicket'])]));
  }

  log(): Promise<string> {
    return readFile(this.device.logFile, 'utf8').catch(() => '');
  }

  async deploymentLog(deploymentId: string): Promise<readonly { level: string; message: string }[]> {
    const [lines] = (await this.mustCall('History.GetLog', 'suu', [deploymentId, '0', '10000'])) as [
      string[],
    ];
    return lines.map((line) => JSON.parse(line) as { level: string; message: string });
  }

  /** Rejects when any process of it has needed more memory than a device may be asked for. */
  async dispose(): Promise<void> {
    await this.#lookAtMemory();
    if (this.isRunning) process.kill(this.pid, 'SIGKILL');
    await this.#exit;
    this.watch.close();
    if (this.#ownsBus) await this.bus.dispose();
    await this.device.dispose();
    if (this.#peakMib >= this.#memoryLimitMib)
      throw new Error(
        `the service has needed ${Math.ceil(this.#peakMib)} MiB, ${this.#memoryLimitMib} are allowed`,
      );
  }

  /** Before an end, as an ended process has no memory; a kill from elsewhere is not seen coming. */
  async #lookAtMemory(): Promise<void> {
    if (this.isRunning) this.#peakMib = Math.max(this.#peakMib, (await peakMib(this.pid)) ?? 0);
  }

  async #lastWords(): Promise<string> {
    const log = (await this.log()).split('\n').slice(-40).join('\n');
    return `calls: ${(await this.device.calls()).join(' ')}\nlog of the service:\n${log}`;
  }
}

/** Shell text that makes a device / of the mount namespace it runs in, and goes on with its arguments. */
function enterRoot(device: string, place: string): string {
  return [
    `mkdir -p '${place}' && mount -o ro '${device}' '${place}'`,
    `{ for dir in /*; do [ ! -d "$dir" ] || [ -L "$dir" ] || mount --rbind "$dir" '${place}'"$dir" || exit; done; }`,
    `exec chroot '${place}' "$@"`,
  ].join(' && ');
}

/** Runs a test with a service of its own, which is gone afterwards. */
export async function withService(
  options: HarnessOptions,
  use: (service: ServiceHarness) => Promise<void>,
): Promise<void> {
  const service = await ServiceHarness.create(options);
  try {
    await service.start();
    await use(service);
  } finally {
    await service.dispose();
  }
}

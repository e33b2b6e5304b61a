/**
 * Stand-ins of system services by python3-dbusmock, on a bus of the test's own, and the hands that change what they
 * say. The hands are the only part that knows that the services are not the real ones.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openClient, type BusClient } from '../../src/adapters/dbus/connection.ts';
import { variant, type Variant } from '../../src/adapters/dbus/values.ts';
import { eventually } from './eventually.ts';
import { startPrivateBus, type PrivateBus } from './private-bus.ts';

const MOCK = 'org.freedesktop.DBus.Mock';

export const UPOWER = 'org.freedesktop.UPower';
export const NETWORK_MANAGER = 'org.freedesktop.NetworkManager';
export const LOGIND = 'org.freedesktop.login1';
export const TIMEDATE = 'org.freedesktop.timedate1';
const NAMES = [UPOWER, NETWORK_MANAGER, LOGIND, TIMEDATE];

/** A bus on which the services may be, as distributions allow it. */
export function startSystemBus(): Promise<PrivateBus> {
  const rules = NAMES.map((name) => `<allow own="${name}"/>\n<allow send_destination="${name}"/>`);
  return startPrivateBus({
    policyPaths: [],
    extraConfig: `<policy context="default">\n${rules.join('\n')}\n</policy>`,
  });
}

/** One service; it can go and come back. */
export class MockService {
  readonly #address: string;
  readonly #name: string;
  readonly #template: string;
  readonly #parameters: string;
  #daemon: ChildProcess | null = null;
  #client: BusClient | null = null;

  constructor(
    address: string,
    name: string,
    template: string,
    parameters: Readonly<Record<string, unknown>> = {},
  ) {
    this.#address = address;
    this.#name = name;
    this.#template = template;
    this.#parameters = JSON.stringify(parameters);
  }

  async start(): Promise<void> {
    this.#client ??= await openClient(this.#address);
    const mock = ['/usr/bin/python3', '-m', 'dbusmock', '--template', this.#template];
    // Ends with us, should the test run be killed.
    const daemon = spawn('setpriv', ['--pdeathsig', 'KILL', ...mock, '--parameters', this.#parameters], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: '/usr/bin:/bin', DBUS_SYSTEM_BUS_ADDRESS: this.#address },
    });
    let complaints = '';
    daemon.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
    this.#daemon = daemon;
    await eventually(`${this.#name} is on the bus`, async () => {
      if (daemon.exitCode !== null) throw new Error(`python3-dbusmock did not start: ${complaints}`);
      const [isThere] = await this.#client!.call({
        destination: 'org.freedesktop.DBus',
        path: '/org/freedesktop/DBus',
        interface: 'org.freedesktop.DBus',
        member: 'NameHasOwner',
        signature: 's',
        body: [this.#name],
      });
      return isThere === true;
    });
  }

  /** As a crash. */
  async kill(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = null;
    if (daemon === null || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const ended = once(daemon, 'exit');
    daemon.kill('SIGKILL');
    await ended;
  }

  /** It stays on the bus and does not answer, or answers again. */
  freeze(isFrozen: boolean): void {
    this.#daemon?.kill(isFrozen ? 'SIGSTOP' : 'SIGCONT');
  }

  async dispose(): Promise<void> {
    await this.kill();
    this.#client?.close();
    this.#client = null;
  }

  /** Changes properties, with PropertiesChanged as the real service sends it. */
  async update(
    path: string,
    interfaceName: string,
    properties: Readonly<Record<string, Variant>>,
  ): Promise<void> {
    await this.mock(path, 'UpdateProperties', 'sa{sv}', [interfaceName, properties]);
  }

  async mock(path: string, member: string, signature: string, body: readonly unknown[]): Promise<void> {
    await this.#client!.call({ destination: this.#name, path, interface: MOCK, member, signature, body });
  }
}

export interface PowerState {
  readonly isOnBattery: boolean;
  /** null = no battery. */
  readonly percent: number | null;
}

/** What is done to the supply of a device. */
export interface PowerControl {
  set(state: PowerState): Promise<void>;
}

const UPOWER_PATH = '/org/freedesktop/UPower';
const DISPLAY_DEVICE = `${UPOWER_PATH}/devices/DisplayDevice`;

export function upowerControl(service: MockService): PowerControl {
  return {
    async set({ isOnBattery, percent }) {
      await service.update(DISPLAY_DEVICE, `${UPOWER}.Device`, {
        Type: variant('u', percent === null ? 0 : 2),
        IsPresent: variant('b', percent !== null),
        State: variant('u', percent === null ? 0 : isOnBattery ? 2 : 1),
        Percentage: variant('d', percent ?? 0),
      });
      await service.update(UPOWER_PATH, UPOWER, { OnBattery: variant('b', isOnBattery) });
    },
  };
}

const MANAGER_PATH = '/org/freedesktop/NetworkManager';

/** The template has no such property; the real service has it since 1.0.6. */
export async function addMetered(service: MockService, metered: number): Promise<void> {
  const body = [NETWORK_MANAGER, 'Metered', variant('u', metered)];
  await service.mock(MANAGER_PATH, 'AddProperty', 'ssv', body);
}

/** NMMetered: 0 unknown, 1 yes, 2 no, 3 guessed yes, 4 guessed no. */
export async function setMetered(service: MockService, metered: number): Promise<void> {
  await service.update(MANAGER_PATH, NETWORK_MANAGER, { Metered: variant('u', metered) });
}

export interface HeldInhibitor {
  release(): Promise<void>;
}

/** Takes a lock with the real systemd-inhibit. `announce`: what logind itself sends after each change. */
export async function inhibit(
  address: string,
  options: {
    readonly what: string;
    readonly who: string;
    readonly why: string;
    readonly mode: 'block' | 'delay';
  },
  announce: () => Promise<void>,
): Promise<HeldInhibitor> {
  const { what, who, why, mode } = options;
  const args = [`--what=${what}`, `--who=${who}`, `--why=${why}`, `--mode=${mode}`];
  const command = ['systemd-inhibit', ...args, 'sh', '-c', 'echo held; exec sleep 600'];
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', ...command], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: '/usr/bin:/bin', DBUS_SYSTEM_BUS_ADDRESS: address },
    detached: true,
  });
  let complaints = '';
  child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
  await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => {
      throw new Error(`systemd-inhibit: ${complaints}`);
    }),
  ]);
  await announce();
  return {
    async release() {
      const ended = once(child, 'exit');
      process.kill(-child.pid!, 'SIGTERM');
      await ended;
      await announce();
    },
  };
}

const LOGIND_PATH = '/org/freedesktop/login1';

export async function addBlockInhibited(service: MockService): Promise<void> {
  const body = [`${LOGIND}.Manager`, 'BlockInhibited', variant('s', '')];
  await service.mock(LOGIND_PATH, 'AddProperty', 'ssv', body);
}

/** The value is not looked at by anybody; that it is announced is what counts. */
export async function announceInhibitors(service: MockService): Promise<void> {
  await service.update(LOGIND_PATH, `${LOGIND}.Manager`, { BlockInhibited: variant('s', 'shutdown') });
}

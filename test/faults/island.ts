/**
 * The service on a network of its own, with a cable to a host that has two addresses: the server's and the storage's. Either
 * can be taken away, and its packets then vanish without a word, as behind a firewall that drops. Needs root.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { builtService } from '../support/built-service.ts';
import type { ServiceHarness } from '../support/service.ts';
import { Listener, pipeTo } from './sockets.ts';

const run = promisify(execFile);
const DEVICE = '198.51.100.1';
const HARDWARE = '02:00:00:00:00:02';
export const HOSTS = { server: '198.51.100.2', storage: '198.51.100.3' } as const;
export type Host = keyof typeof HOSTS;

export class Island {
  readonly #folder: string;
  readonly #relay: ChildProcess;
  readonly #listeners: Readonly<Record<Host, Listener>>;
  /** Where connections to the host end, a port on loopback. */
  readonly ports: Record<Host, number> = { server: 0, storage: 0 };

  static async create(): Promise<Island> {
    const folder = await mkdtemp(join(tmpdir(), 'holdpoint-island-'));
    const pairs = (Object.keys(HOSTS) as Host[]).map((host) => `${HOSTS[host]}:80=${join(folder, host)}`);
    // Addresses first: the relay listens on them. The cable comes with the service.
    const setup = [
      'ip link set lo up',
      ...Object.values(HOSTS).map((address) => `ip addr add ${address}/32 dev lo`),
      'exec "$@"',
    ].join(' && ');
    const program = [process.execPath, resolve('test/faults/relay.cjs'), ...pairs];
    const relay = spawn('unshare', ['--net', 'sh', '-c', setup, 'sh', ...program], {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: '/',
    });
    const island = new Island(folder, relay);
    const ended = once(relay, 'exit').then(([code]) => {
      throw new Error(`the relay ended with ${String(code)}`);
    });
    ended.catch(() => undefined);
    await Promise.race([once(relay.stdout, 'data'), ended]);
    for (const host of Object.keys(HOSTS) as Host[]) {
      const { server } = island.#listeners[host];
      server.listen(join(folder, host));
      await once(server, 'listening');
    }
    return island;
  }

  private constructor(folder: string, relay: ChildProcess) {
    this.#folder = folder;
    this.#relay = relay;
    const listener = (host: Host): Listener =>
      new Listener(createServer((socket) => pipeTo(socket, this.ports[host])));
    this.#listeners = { server: listener('server'), storage: listener('storage') };
  }

  /**
   * The service is started on the island from now on. `rateKbit`: what the cable carries towards it at most; `setup`: more
   * shell commands for its namespaces.
   */
  settle(service: ServiceHarness, more: { readonly rateKbit?: number; readonly setup?: string } = {}): void {
    const { device, bus } = service;
    const relay = String(this.#relay.pid);
    const inRelay = (command: string): string => `nsenter --net -t ${relay} ${command}`;
    const setup = [
      'ip link set lo up',
      'ip link add near type veth peer name far',
      `ip link set far netns ${relay}`,
      `ip addr add ${DEVICE}/24 dev near`,
      'ip link set near up',
      inRelay(`ip link set far address ${HARDWARE} up`),
      inRelay(`ip route add ${DEVICE}/32 dev far`),
      // So that a host that is away is not said to be.
      ...Object.values(HOSTS).map((address) => `ip neigh add ${address} lladdr ${HARDWARE} dev near`),
      ...(more.rateKbit === undefined
        ? []
        : [inRelay(`tc qdisc add dev far root tbf rate ${more.rateKbit}kbit burst 3200 latency 30ms`)]),
      ...(more.setup === undefined ? [] : [more.setup]),
    ].join(' && ');
    const command = `${setup} && mount --bind '${device.bootIdFile}' /proc/sys/kernel/random/boot_id && exec "$@"`;
    service.spawn = async (environment = {}) => {
      const log = openSync(device.logFile, 'a');
      const program = [process.execPath, await builtService()];
      try {
        return spawn(
          'unshare',
          ['--mount', '--net', '--propagation', 'private', 'sh', '-c', command, 'sh', ...program],
          {
            stdio: ['ignore', 'ignore', log],
            cwd: '/',
            env: { ...device.environment, DBUS_SYSTEM_BUS_ADDRESS: bus.address, ...environment },
          },
        );
      } finally {
        closeSync(log);
      }
    };
  }

  /** From here on every packet to the host vanishes. */
  takeAway(host: Host): Promise<void> {
    return this.#address('del', host);
  }

  bringBack(host: Host): Promise<void> {
    return this.#address('add', host);
  }

  async dispose(): Promise<void> {
    if (this.#relay.exitCode === null && this.#relay.signalCode === null) {
      const ended = once(this.#relay, 'exit');
      this.#relay.kill('SIGKILL');
      await ended;
    }
    await Promise.all(Object.values(this.#listeners).map((listener) => listener.close()));
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #address(action: 'add' | 'del', host: Host): Promise<void> {
    const relay = String(this.#relay.pid);
    await run('nsenter', ['--net', '-t', relay, 'ip', 'addr', action, `${HOSTS[host]}/32`, 'dev', 'lo']);
  }
}

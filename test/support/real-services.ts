/**
 * The real UPower on made-up hardware (umockdev) and the real NetworkManager in a network of its own, on a bus of the
 * test's own. Neither meets the machine's: what they write goes into mounts of their own.
 */
import { execFile, spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { promisify } from 'node:util';
import { eventually } from './eventually.ts';
import type { PowerControl } from './dbusmock.ts';

const run = promisify(execFile);
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const LINK = 'link0';
const CONNECTION = 'test';

/** Why they cannot be run here; null = they can. */
export function realServicesUnavailable(): string | null {
  if (process.getuid?.() !== 0) return 'namespaces need root';
  const missing = ['/usr/libexec/upowerd', '/usr/bin/umockdev-wrapper', '/usr/sbin/NetworkManager'].filter(
    (path) => !existsSync(path),
  );
  if (missing.length > 0) return `${missing.join(', ')} not installed`;
  const tried = spawnSync('unshare', [
    '--net',
    '--mount',
    'sh',
    '-c',
    'ip link add name one type veth peer name other',
  ]);
  return tried.status === 0 ? null : `no network of its own: ${tried.stderr.toString().trim()}`;
}

class Program {
  readonly #command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  #child: ChildProcessWithoutNullStreams | null = null;
  #lines: Interface | null = null;
  #complaints = '';

  constructor(address: string, command: readonly string[]) {
    this.#command = command;
    this.env = { PATH, LC_ALL: 'C.UTF-8', DBUS_SYSTEM_BUS_ADDRESS: address };
  }

  get complaints(): string {
    return this.#complaints;
  }

  begin(): void {
    // Ends with us, should the test run be killed.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...this.#command], { env: this.env });
    child.stderr.on('data', (chunk: Buffer) => (this.#complaints += chunk.toString()));
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout });
  }

  /** Rejects when it ends instead. */
  async line(): Promise<void> {
    const ended = once(this.#child!, 'exit').then(() => {
      throw new Error(`${this.#command.join(' ')} ended: ${this.#complaints}`);
    });
    await Promise.race([once(this.#lines!, 'line'), ended]);
  }

  async tell(text: string): Promise<void> {
    const answered = this.line();
    this.#child!.stdin.write(`${text}\n`);
    await answered;
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}

export class RealUPower implements PowerControl {
  readonly #program: Program;

  constructor(address: string) {
    const testbed = resolve('test/support/power-testbed.py');
    this.#program = new Program(address, ['umockdev-wrapper', '/usr/bin/python3', testbed]);
  }

  /** It is on the bus a moment later, with mains and a battery. */
  async start(): Promise<void> {
    this.#program.begin();
    await this.#program.line();
  }

  kill(): Promise<void> {
    return this.#program.kill();
  }

  set({ isOnBattery, percent }: { isOnBattery: boolean; percent: number | null }): Promise<void> {
    return this.#program.tell(`${isOnBattery ? 0 : 1} ${percent ?? 'none'}`);
  }
}

const SURROUNDINGS = `
set -e
for folder in /run /etc/NetworkManager /var/lib/NetworkManager; do mount -t tmpfs none "$folder"; done
mkdir /run/NetworkManager
# Writable, it would wait for udev, which does not see this network.
mount -t sysfs -o ro none /sys
printf '[main]\nplugins=keyfile\nauth-polkit=false\ndns=none\nrc-manager=unmanaged\n[connectivity]\nenabled=false\n' \
  > /etc/NetworkManager/NetworkManager.conf
ip link set lo up
ip link add ${LINK} type veth peer name other0
ip link set other0 up
exec NetworkManager --no-daemon --log-level=WARN
`;

export class RealNetworkManager {
  readonly #program: Program;

  constructor(address: string) {
    this.#program = new Program(address, ['unshare', '--net', '--mount', 'sh', '-c', SURROUNDINGS]);
  }

  /** Resolves when it has a link; nobody has said whether that is metered. */
  async start(): Promise<void> {
    this.#program.begin();
    await eventually('NetworkManager has the link', () =>
      this.#nmcli('device', 'set', LINK, 'managed', 'yes').then(
        () => true,
        () => false,
      ),
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${this.#program.complaints}`);
    });
    const address = ['ipv4.method', 'manual', 'ipv4.addresses', '192.0.2.2/24', 'ipv4.gateway', '192.0.2.1'];
    const names = ['type', 'ethernet', 'ifname', LINK, 'con-name', CONNECTION, 'ipv6.method', 'disabled'];
    await this.#nmcli('connection', 'add', ...names, ...address);
  }

  kill(): Promise<void> {
    return this.#program.kill();
  }

  /** What the user says of the link; null = it is down. */
  async set(isMetered: boolean | null): Promise<void> {
    if (isMetered === null) return this.#nmcli('connection', 'down', CONNECTION);
    await this.#nmcli('connection', 'modify', CONNECTION, 'connection.metered', isMetered ? 'yes' : 'no');
    await this.#nmcli('connection', 'up', CONNECTION);
  }

  async #nmcli(...args: string[]): Promise<void> {
    await run('nmcli', args, { env: this.#program.env });
  }
}

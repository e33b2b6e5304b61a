import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { busctl } from './bus-tools.ts';
import { eventually } from './eventually.ts';
import type { PrivateBus } from './private-bus.ts';

/**
 * The real polkitd on a private bus, with the actions we ship and the rules of a test and no others: it runs in a mount
 * namespace of its own, in which its folders are ours. Needs root, and the Debian package polkitd. Without logind nobody
 * has an active session, so that the vendor's `allow_any` holds for everyone until a rule says otherwise.
 */
export const POLKIT_POLICY = '/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf';
export const ACTIONS_PATH = resolve('packaging/polkit/io.holdpoint.update1.policy');
export const POLKIT_NAME = 'org.freedesktop.PolicyKit1';
const AUTHORITY = ['/org/freedesktop/PolicyKit1/Authority', 'org.freedesktop.PolicyKit1.Authority'];
const POLKITD = '/usr/lib/polkit-1/polkitd';

/** Everybody may do everything. */
export const ALLOW_ALL = `polkit.addRule(function (action) {
  if (action.id.indexOf("io.holdpoint.update1.") === 0) return polkit.Result.YES;
});`;

export class PolkitDaemon {
  readonly #bus: PrivateBus;
  readonly #folder: string;
  #process: ChildProcess | null = null;
  #complaints = '';

  static async create(bus: PrivateBus): Promise<PolkitDaemon> {
    const folder = await mkdtemp(join(tmpdir(), 'holdpoint-polkit-'));
    // polkitd gives up being root.
    await chmod(folder, 0o755);
    for (const name of ['actions', 'rules', 'none']) await mkdir(join(folder, name));
    await copyFile(ACTIONS_PATH, join(folder, 'actions/io.holdpoint.update1.policy'));
    return new PolkitDaemon(bus, folder);
  }

  private constructor(bus: PrivateBus, folder: string) {
    this.#bus = bus;
    this.#folder = folder;
  }

  get pid(): number {
    const pid = this.#process?.pid;
    if (pid === undefined) throw new Error('polkitd does not run');
    return pid;
  }

  /** The command line that becomes polkitd; for an activation file, too. */
  get command(): readonly string[] {
    const script = [
      `mount --bind ${this.#folder}/actions /usr/share/polkit-1/actions`,
      `mount --bind ${this.#folder}/none /usr/share/polkit-1/rules.d`,
      `mount --bind ${this.#folder}/rules /etc/polkit-1/rules.d`,
      `exec ${POLKITD} --no-debug`,
    ].join(' && ');
    return ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script];
  }

  /** JavaScript of a rules file; '' = the vendor's defaults alone. */
  async writeRules(rules: string): Promise<void> {
    await writeFile(join(this.#folder, 'rules/50-test.rules'), rules);
  }

  /** A new polkitd with these rules, ready to answer. */
  async run(rules = ''): Promise<void> {
    await this.stop();
    await this.writeRules(rules);
    const [file = '', ...args] = this.command;
    const child = spawn(file, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: '/',
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DBUS_SYSTEM_BUS_ADDRESS: this.#bus.address },
    });
    child.stderr.on('data', (chunk: Buffer) => (this.#complaints += chunk.toString()));
    this.#process = child;
    await eventually('polkitd is on the bus', () => {
      if (child.exitCode !== null) throw new Error(`polkitd ended: ${this.#complaints}`);
      return this.#isOnBus();
    });
  }

  async #isOnBus(): Promise<boolean> {
    const bus = ['call', 'org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus'];
    return (await busctl(this.#bus.address, [...bus, 'GetNameOwner', 's', POLKIT_NAME])).status === 0;
  }

  /** Goes on existing and owning its name, and answers nothing. */
  freeze(): void {
    process.kill(this.pid, 'SIGSTOP');
  }

  thaw(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    await eventually('polkitd has left the bus', async () => !(await this.#isOnBus()));
  }

  /** What the helper with root's rights tells polkit when the right password was typed. */
  async authenticate(cookie: string, callerUid: number, asUid = 0): Promise<void> {
    const body = [String(callerUid), cookie];
    const identity = ['unix-user', '1', 'uid', 'u', String(asUid)];
    const call = ['call', POLKIT_NAME, ...AUTHORITY, 'AuthenticationAgentResponse2', 'us(sa{sv})'];
    const result = await busctl(this.#bus.address, [...call, ...body, ...identity]);
    if (result.status !== 0) throw new Error(`polkit refuses the answer: ${result.stderr}`);
  }

  async dispose(): Promise<void> {
    await this.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/**
 * A Debian 12 that boots a real systemd: a container of systemd-nspawn with network, processes and control groups of its
 * own. Its system is made by debootstrap once and kept; each machine writes into a layer above it. Node is that of this
 * machine, in a package `nodejs` of ours, as Debian 12 has none that is new enough. Needs root.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { access, chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../support/eventually.ts';

const run = promisify(execFile);
const CACHE = join(tmpdir(), 'holdpoint-test-cache');
const PACKAGES =
  'dbus,systemd,systemd-sysv,libpam-systemd,polkitd,xz-utils,zstd,lmdb-utils,util-linux,procps,ca-certificates';
/** Exit status of systemd-nspawn with --keep-unit. */
const REBOOTED = 133;
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

async function baseSystem(): Promise<string> {
  const id = createHash('sha256').update(PACKAGES).digest('hex').slice(0, 12);
  const target = join(CACHE, `bookworm-${id}`);
  await access(target).catch(async () => {
    await mkdir(CACHE, { recursive: true });
    const work = await mkdtemp(join(CACHE, 'debootstrap-'));
    await chmod(work, 0o755);
    await run('debootstrap', ['--variant=minbase', `--include=${PACKAGES}`, 'bookworm', work], {
      maxBuffer: 64 * 1024 * 1024,
    });
    await rename(work, target);
  });
  return target;
}

/** Our own Node as a package. */
async function nodePackage(folder: string): Promise<string> {
  const root = join(folder, 'node');
  await mkdir(join(root, 'usr/bin'), { recursive: true });
  await mkdir(join(root, 'DEBIAN'));
  await copyFile(process.execPath, join(root, 'usr/bin/node'));
  const { stdout: architecture } = await run('dpkg', ['--print-architecture']);
  return buildPackage(root, {
    Package: 'nodejs',
    Version: process.versions.node,
    Architecture: architecture.trim(),
    Description: 'the Node of the tests',
  });
}

/** A package from a folder; resolves with its file. */
export async function buildPackage(root: string, fields: Readonly<Record<string, string>>): Promise<string> {
  await mkdir(join(root, 'DEBIAN'), { recursive: true });
  const control = { Maintainer: 'Tests <tests@holdpoint.io>', ...fields };
  const lines = Object.entries(control).map(([name, value]) => `${name}: ${value}\n`);
  await writeFile(join(root, 'DEBIAN/control'), lines.join(''));
  const file = `${root}.deb`;
  await run('dpkg-deb', ['--root-owner-group', '-Znone', '--build', root, file]);
  return file;
}

export interface Answer {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Machine {
  readonly folder: string;
  /** Seen from outside. */
  readonly root: string;
  readonly nodeDeb: string;
  #process: ChildProcess | null = null;
  readonly #devices: readonly string[];

  /** `devices`: block devices of this machine that it has as well, under the same names. */
  static async create(devices: readonly string[] = []): Promise<Machine> {
    const base = await baseSystem();
    const folder = await mkdtemp(join(tmpdir(), 'holdpoint-machine-'));
    for (const name of ['upper', 'work', 'root']) await mkdir(join(folder, name));
    const layers = `lowerdir=${base},upperdir=${join(folder, 'upper')},workdir=${join(folder, 'work')}`;
    await run('mount', ['-t', 'overlay', 'holdpoint-machine', '-o', layers, join(folder, 'root')]);
    // What keeps packages from starting services while a system is made.
    await rm(join(folder, 'root/usr/sbin/policy-rc.d'), { force: true });
    return new Machine(folder, await nodePackage(folder), devices);
  }

  private constructor(folder: string, nodeDeb: string, devices: readonly string[]) {
    this.folder = folder;
    this.root = join(folder, 'root');
    this.nodeDeb = nodeDeb;
    this.#devices = devices;
  }

  /** Switches it on; resolves when systemd has started what it was to start. */
  async boot(): Promise<void> {
    this.#switchOn();
    await this.booted();
  }

  #switchOn(): void {
    const console = openSync(join(this.folder, 'console'), 'a');
    const container = ['--quiet', '--register=no', '--keep-unit', '--private-network', '--console=pipe'];
    const binds = this.#devices.map((device) => `--bind=${device}`);
    const child = spawn(
      'systemd-nspawn',
      [...container, ...binds, '--machine=holdpoint', '-D', this.root, '-b'],
      {
        stdio: ['ignore', console, console],
        env: { PATH: process.env['PATH'], SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '0' },
      },
    );
    closeSync(console);
    this.#process = child;
    // It was rebooted from within: a container is then started anew by whoever started it.
    child.once('exit', (code) => {
      if (code === REBOOTED) this.#switchOn();
    });
  }

  /** Also after a reboot from within. */
  async booted(): Promise<void> {
    await eventually(
      'the machine has booted',
      async () => /^(running|degraded)$/m.test((await this.try('systemctl is-system-running')).stdout),
      120_000,
    );
  }

  /** The boot of the machine; '' = it is down. */
  async bootId(): Promise<string> {
    return (await this.try('cat /proc/sys/kernel/random/boot_id')).stdout.trim();
  }

  /** A line for its shell, as root. Any status. */
  async try(line: string): Promise<Answer> {
    const pid = await this.#init();
    if (pid === null) return { status: 255, stdout: '', stderr: 'the machine is down' };
    const inside = ['-t', String(pid), '-m', '-u', '-i', '-n', '-p', '-C', '-r', '-w'];
    const command = [
      'env',
      '-i',
      `PATH=${PATH}`,
      'HOME=/root',
      'DEBIAN_FRONTEND=noninteractive',
      'sh',
      '-c',
      line,
    ];
    return new Promise((resolve) => {
      execFile('nsenter', [...inside, ...command], { cwd: '/' }, (error, stdout, stderr) => {
        resolve({ status: error === null ? 0 : Number(error.code ?? 255) || 255, stdout, stderr });
      });
    });
  }

  /** The same, and it must succeed; resolves with what it printed, trimmed. */
  async sh(line: string): Promise<string> {
    const { status, stdout, stderr } = await this.try(line);
    if (status !== 0) throw new Error(`${line}: ${status}\n${stdout}${stderr}\n${await this.#lastWords()}`);
    return stdout.trim();
  }

  /** Puts files into /root and installs packages among them; resolves with what dpkg said. */
  async install(...debs: readonly string[]): Promise<string> {
    for (const deb of debs) await copyFile(deb, join(this.root, 'root', basename(deb)));
    const files = debs.map((deb) => `/root/${basename(deb)}`).join(' ');
    const said = await this.sh(`dpkg -i ${files} 2>&1`);
    await this.sh(`rm ${files}`);
    return said;
  }

  async write(path: string, text: string, mode = 0o644): Promise<void> {
    const target = join(this.root, path);
    await mkdir(join(target, '..'), { recursive: true });
    await writeFile(target, text, { mode });
  }

  until(what: string, line: string, pattern: RegExp, withinMs = 90_000): Promise<void> {
    return eventually(what, async () => pattern.test((await this.try(line)).stdout), withinMs).catch(
      async (error: unknown) => {
        const last = await this.try(line);
        throw new Error(
          `${String(error)}\n${line}: ${last.stdout}${last.stderr}\n${await this.#lastWords()}`,
        );
      },
    );
  }

  async dispose(): Promise<void> {
    const child = this.#process;
    if (child !== null && child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit');
      // Three times makes it stop at once whatever it is about.
      for (let times = 0; times < 3; times += 1) child.kill('SIGTERM');
      const init = await this.#init();
      try {
        if (init !== null) process.kill(init, 'SIGKILL');
      } catch {
        // It has stopped already.
      }
      await ended;
    }
    await run('umount', ['--lazy', this.root]).catch(() => {});
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  /** Its first process, by our number; null = down. */
  async #init(): Promise<number | null> {
    const outer = this.#process?.pid;
    if (outer === undefined) return null;
    const children = await readFile(`/proc/${outer}/task/${outer}/children`, 'utf8').catch(() => '');
    for (const pid of children.trim().split(/\s+/)) {
      const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
      if (/^NSpid:\s+\d+\s+1$/m.test(status)) return Number(pid);
    }
    return null;
  }

  async #lastWords(): Promise<string> {
    const journal = await this.try('journalctl --no-pager -n 60 -o short-monotonic');
    const console = await readFile(join(this.folder, 'console'), 'utf8').catch(() => '');
    return `${journal.stdout}\n${console.split('\n').slice(-15).join('\n')}`;
  }
}

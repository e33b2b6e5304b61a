/**
 * Two devices alike: on one Debian's `mender` 3.4 runs, on the other one our command under Mender's names. Each lives in a
 * mount namespace in which the folders that Mender knows are its own, so that both get the same command line.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { builtService } from '../../support/built-service.ts';
import { menderClient } from '../../support/mender-client.ts';

const run = promisify(execFile);

/** What stands where on each device: folder or file of ours → where the programs look for it. */
const PLACES = {
  conf: '/etc/mender',
  share: '/usr/share/mender',
  data: '/var/lib/mender',
  doc: '/usr/share/doc',
  trusted: '/usr/local/share/ca-certificates',
  hosts: '/etc/hosts',
  hostname: '/etc/hostname',
} as const;

export interface RunResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Text on standard input; default: none. */
  readonly input?: string;
  readonly environment?: NodeJS.ProcessEnv;
}

export interface StartedRun {
  readonly pid: number;
  /** What it has said on standard error so far. */
  readonly said: () => string;
  readonly kill: (signal: NodeJS.Signals) => void;
  readonly ended: Promise<RunResult>;
}

/** Resolves with null where the comparison can be made, else with the reason why not. */
export async function whyNoTwins(): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'a mount namespace needs root';
  const client = await menderClient();
  if ('unavailable' in client) return client.unavailable;
  try {
    await run('unshare', ['--mount', 'true']);
    await run(client.program, ['--version']);
    await run('mender-artifact', ['--version']);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

let links: Promise<string> | undefined;

/** A folder like that of the package: the bundles, and Mender's names as links. */
export function menderLinks(): Promise<string> {
  links ??= makeLinks();
  return links;
}

async function makeLinks(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-mender-names-'));
  process.once('exit', () => void rm(folder, { recursive: true, force: true }));
  await copyFile(await builtService(), join(folder, 'holdpointd.js'));
  await copyFile(resolve('dist/holdpoint.js'), join(folder, 'holdpoint.js'));
  await chmod(join(folder, 'holdpoint.js'), 0o755);
  await writeFile(join(folder, 'package.json'), '{ "type": "commonjs" }\n');
  for (const name of ['mender', 'mender-update', 'mender-auth'])
    await symlink('holdpoint.js', join(folder, name));
  return folder;
}

/** One of the two. */
export class Twin {
  readonly root: string;
  readonly #program: readonly string[];

  private constructor(root: string, program: readonly string[]) {
    this.root = root;
    this.#program = program;
  }

  static async original(): Promise<Twin> {
    const client = await menderClient();
    if ('unavailable' in client) throw new Error(client.unavailable);
    // Without it every run complains that there is no syslog.
    return Twin.#make([client.program, '--no-syslog']);
  }

  static async ours(name: 'mender' | 'mender-update' | 'mender-auth' = 'mender'): Promise<Twin> {
    return Twin.#make([process.execPath, join(await menderLinks(), name)]);
  }

  static async #make(program: readonly string[]): Promise<Twin> {
    const root = await mkdtemp(join(tmpdir(), 'holdpoint-twin-'));
    const twin = new Twin(root, program);
    for (const folder of ['conf', 'share/modules/v3', 'share/identity', 'data', 'doc', 'trusted', 'bin']) {
      await mkdir(join(root, folder), { recursive: true });
    }
    // Only something to mount on; not removed, since another namespace may have mounted there too.
    for (const place of Object.values(PLACES).slice(0, 5)) await mkdir(place, { recursive: true });
    await writeFile(join(root, 'hosts'), '127.0.0.1 localhost\n');
    await writeFile(join(root, 'hostname'), 'bench-host\n');
    await writeFile(join(root, 'data/device_type'), 'device_type=bench\n');
    await writeFile(join(root, 'conf/artifact_info'), 'artifact_name=original\n');
    await twin.program('share/identity/mender-device-identity', 'echo mac=02:00:00:00:00:01\n');
    await twin.program(
      'share/modules/v3/probe',
      `D='${root}'\n[ ! -e "$D/fail-$1" ] || exit 1\n` +
        'case "$1" in NeedsArtifactReboot) cat "$D/needs-reboot" 2>/dev/null;;\n' +
        'SupportsRollback) cat "$D/supports-rollback" 2>/dev/null || echo Yes;; esac\nexit 0\n',
    );
    // Programs that both would run: what they do to the machine is not for a test.
    await twin.program('bin/update-ca-certificates', `echo called >> '${root}/certificates-updated'\n`);
    // Knows, of ours, the units that are shipped; the unit comes last.
    const units = (await readdir('packaging/systemd')).join('|');
    await twin.program(
      'bin/systemctl',
      `for unit; do :; done\ncase $unit in ${units}) ;; holdpoint*) echo MainPID=0; exit 0;; esac\n` +
        `cat '${root}/main-pid' 2>/dev/null || exit 1\n`,
    );
    return twin;
  }

  at(path: string): string {
    return join(this.root, path);
  }

  async program(path: string, body: string): Promise<void> {
    await mkdir(dirname(this.at(path)), { recursive: true });
    await writeFile(this.at(path), `#!/bin/sh\n${body}`);
    await chmod(this.at(path), 0o755);
  }

  /** `%D` in an argument stands for the folder of the device. `before`: commands of a shell in the namespace. */
  start(args: readonly string[], options: RunOptions = {}, before = ''): StartedRun {
    const binds = Object.entries(PLACES).map(
      ([ours, place]) => `mount --bind '${this.at(ours)}' '${place}' || exit 99`,
    );
    const shell = [...binds, ...(before === '' ? [] : [before]), 'exec "$@"'].join('\n');
    const real = args.map((arg) => arg.replaceAll('%D', this.root));
    // Each execs the next, so the child is the program itself in the end.
    const child = spawn('unshare', ['--mount', 'sh', '-c', shell, 'sh', ...this.#program, ...real], {
      stdio: 'pipe',
      cwd: '/',
      env: {
        PATH: `${this.at('bin')}:${process.env['PATH'] ?? ''}`,
        DBUS_SYSTEM_BUS_ADDRESS: 'unix:path=/nonexistent/holdpoint-test-bus',
        ...options.environment,
      },
    });
    child.stdin.on('error', () => {});
    child.stdin.end(options.input);
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const timer = setTimeout(() => child.kill('SIGKILL'), 100_000);
    const hidden = (text: string): string => text.replaceAll(this.root, '%D');
    const ended = once(child, 'close').then(([status]): RunResult => {
      clearTimeout(timer);
      return { status: status as number | null, stdout: hidden(stdout), stderr: hidden(stderr) };
    });
    return { pid: child.pid ?? 0, said: () => stderr, kill: (signal) => child.kill(signal), ended };
  }

  run(args: readonly string[], options: RunOptions = {}, before = ''): Promise<RunResult> {
    return this.start(args, options, before).ended;
  }

  remove(): Promise<void> {
    return rm(this.root, { recursive: true, force: true });
  }
}

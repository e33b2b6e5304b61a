/**
 * A device under the real `mender` 3.4 of Debian: the client as shipped, in a mount namespace of its own, an HTTP server
 * on loopback that offers one artifact, an update module and state scripts that stop where they are told to.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { access, chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../../support/eventually.ts';
import { menderClient } from '../../support/mender-client.ts';

const run = promisify(execFile);

export const DEPLOYMENT_ID = '4b76996c-5f9a-4c66-a84c-7e133c0dcbe3';
const FIXED_FOLDERS = ['/etc/mender', '/usr/share/mender', '/var/lib/mender'];

/** Runs until told to go on, or until the client that started it is gone. */
const STOP_HERE = `stop_here() {
  [ -e "$DEVICE/stop-$1" ] || return 0
  : > "$DEVICE/reached-$1"
  while [ -e "$DEVICE/stop-$1" ] && kill -0 "$CLIENT" 2>/dev/null; do sleep 0.02; done
  kill -0 "$CLIENT" 2>/dev/null || exit 9
}
`;

const SCRIPTS = [
  'ArtifactInstall_Enter_00',
  'ArtifactInstall_Leave_00',
  'ArtifactReboot_Enter_00',
  'ArtifactReboot_Leave_00',
  'ArtifactCommit_Enter_00',
  'ArtifactCommit_Leave_00',
  'ArtifactRollback_Enter_00',
  'ArtifactRollback_Leave_00',
  'ArtifactRollbackReboot_Leave_00',
  'ArtifactFailure_Enter_00',
  'ArtifactFailure_Leave_00',
];

export interface Behaviour {
  /** What the module answers to NeedsArtifactReboot; default `No`. */
  readonly needsReboot?: 'No' | 'Yes';
  /** Default `Yes`. */
  readonly supportsRollback?: 'No' | 'Yes';
  /** Module actions that fail. */
  readonly fails?: readonly string[];
  /** Sent along with the deployment and on every refresh. */
  readonly controlMap?: Readonly<Record<string, unknown>>;
  /** The status that the server answers with 500. */
  readonly refusedStatus?: string;
}

/** Resolves with null where the client can be run, else with the reason why not. */
export async function whyNoClient(): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'a mount namespace needs root';
  const client = await menderClient();
  if ('unavailable' in client) return client.unavailable;
  try {
    await run('unshare', ['--mount', 'true']);
    await run(client.program, ['--version']);
    await run('mdb_dump', ['-V']);
    await run('mender-artifact', ['--version']);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

export class OriginalDevice {
  readonly root: string;
  /** `/var/lib/mender` of the device. */
  readonly datastore: string;
  readonly artifact: string;
  /** Every status the server was told, in order. */
  readonly statuses: string[] = [];
  behaviour: Behaviour = {};
  isOffering = true;
  readonly #client: string;
  readonly #server: Server;
  #daemon: ChildProcess | null = null;
  polls = 0;

  private constructor(root: string, program: string, server: Server) {
    this.root = root;
    this.datastore = join(root, 'data');
    this.artifact = join(root, 'release-2.mender');
    this.#client = program;
    this.#server = server;
  }

  static async make(): Promise<OriginalDevice> {
    const client = await menderClient();
    if ('unavailable' in client) throw new Error(client.unavailable);
    // Only something to mount on; not removed, since another namespace may have mounted there too.
    for (const folder of FIXED_FOLDERS) await mkdir(folder, { recursive: true });
    const root = await mkdtemp(join(tmpdir(), 'holdpoint-original-'));
    const server = createServer();
    const device = new OriginalDevice(root, client.program, server);
    await device.#furnish();
    return device;
  }

  async #furnish(): Promise<void> {
    const { root } = this;
    for (const folder of [
      'conf/scripts',
      'share/modules/v3',
      'share/identity',
      'share/inventory',
      'data',
      'artifact-scripts',
    ]) {
      await mkdir(join(root, folder), { recursive: true });
    }
    await writeFile(join(root, 'data/device_type'), 'device_type=bench\n');
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    await writeFile(
      join(root, 'data/mender-agent.pem'),
      privateKey.export({ type: 'pkcs1', format: 'pem' }),
      { mode: 0o600 },
    );
    await this.#answerQuestions({});
    await this.#program('share/identity/mender-device-identity', 'echo mac=02:00:00:00:00:01\n');
    await this.#program(
      'share/modules/v3/probe',
      `echo "module $1" >> "$DEVICE/calls"\nstop_here "$1"\n` +
        `if [ -e "$DEVICE/fail-$1" ]; then exit 1; fi\n` +
        'case "$1" in NeedsArtifactReboot) cat "$DEVICE/needs-reboot";; SupportsRollback) cat "$DEVICE/supports-rollback";; esac\n',
    );
    for (const name of ['Download_Enter_00', 'Download_Leave_00'])
      await this.#script(`conf/scripts/${name}`, name);
    await writeFile(join(root, 'conf/scripts/version'), '3');
    for (const name of SCRIPTS) await this.#script(`artifact-scripts/${name}`, name);
    await writeFile(join(root, 'payload'), Buffer.alloc(65_536, 'payload of release 2\n'));
    await run('mender-artifact', [
      ...'write module-image -T probe -n release-2 -t bench -g shop'.split(' '),
      '-f',
      join(root, 'payload'),
      '-o',
      this.artifact,
      '--provides',
      'probe.version:2&3',
      ...SCRIPTS.flatMap((name) => ['-s', join(root, 'artifact-scripts', name)]),
    ]);
    await writeFile(join(root, 'conf/artifact_info'), 'artifact_name=original\n');
    this.#server.on('request', (request, response) => {
      void this.#answer(request.method ?? '', request.url ?? '', request).then(
        ({ status, body }) => response.writeHead(status, { 'content-length': body.length }).end(body),
        () => response.destroy(),
      );
    });
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    await writeFile(
      join(root, 'conf/mender.conf'),
      JSON.stringify({
        ServerURL: this.url,
        UpdatePollIntervalSeconds: 1,
        InventoryPollIntervalSeconds: 100,
        RetryPollIntervalSeconds: 1,
        UpdateControlMapExpirationTimeSeconds: 120,
        DBus: { Enabled: false },
      }),
    );
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #program(path: string, body: string): Promise<void> {
    const text = `#!/bin/sh\nDEVICE='${this.root}'\nCLIENT=$PPID\n${STOP_HERE}${body}`;
    await writeFile(join(this.root, path), text);
    await chmod(join(this.root, path), 0o755);
  }

  async #script(path: string, name: string): Promise<void> {
    const short = name.replace(/_\d\d$/, '');
    await this.#program(path, `echo "script ${short}" >> "$DEVICE/calls"\nstop_here ${short}\nexit 0\n`);
  }

  async #answer(
    method: string,
    url: string,
    request: AsyncIterable<Buffer>,
  ): Promise<{ status: number; body: Buffer }> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const sent = Buffer.concat(chunks).toString();
    const nothing = { status: 204, body: Buffer.alloc(0) };
    const json = (value: unknown): { status: number; body: Buffer } => ({
      status: 200,
      body: Buffer.from(JSON.stringify(value)),
    });
    const { controlMap, refusedStatus } = this.behaviour;
    if (url.includes('/inventory/')) return { status: 200, body: Buffer.alloc(0) };
    if (url.endsWith('/auth_requests')) return { status: 200, body: Buffer.from('token') };
    if (url.includes('/release-2.mender')) return { status: 200, body: await readFile(this.artifact) };
    if (url.endsWith('/deployments/next')) {
      this.polls += 1;
      if (!this.isOffering) return nothing;
      return json({
        id: DEPLOYMENT_ID,
        artifact: {
          artifact_name: 'release-2',
          device_types_compatible: ['bench'],
          source: { uri: `${this.url}/release-2.mender?part=1&sign=a%2Fb`, expire: '2031-01-02T03:04:05Z' },
        },
        ...(controlMap && { update_control_map: controlMap }),
      });
    }
    if (url.endsWith('/update_control_map')) return json({ update_control_map: controlMap });
    if (method === 'PUT' && url.endsWith('/status')) {
      const { status } = JSON.parse(sent) as { readonly status: string };
      this.statuses.push(status);
      if (status === refusedStatus) return { status: 500, body: Buffer.alloc(0) };
      if (['success', 'failure', 'already-installed'].includes(status)) this.isOffering = false;
    }
    return nothing;
  }

  #inNamespace(args: readonly string[]): readonly string[] {
    const sources = ['conf', 'share', 'data'].map((name) => join(this.root, name));
    const binds = FIXED_FOLDERS.map((folder, index) => `mount --bind '${sources[index]}' '${folder}' && `);
    return ['--mount', 'sh', '-c', `${binds.join('')}exec "$@"`, 'sh', this.#client, '--no-syslog', ...args];
  }

  /** A command of the client that ends by itself. */
  async command(...args: readonly string[]): Promise<{ status: number; stdout: string; stderr: string }> {
    try {
      const { stdout, stderr } = await run('unshare', this.#inNamespace(args), { timeout: 60_000 });
      return { status: 0, stdout, stderr };
    } catch (error) {
      const failure = error as { code?: number; stdout?: string; stderr?: string };
      return { status: failure.code ?? -1, stdout: failure.stdout ?? '', stderr: failure.stderr ?? '' };
    }
  }

  async calls(): Promise<readonly string[]> {
    const text = await readFile(join(this.root, 'calls'), 'utf8').catch(() => '');
    return text.split('\n').filter((line) => line !== '');
  }

  /** Starts the daemon, waits until it stops at `point`, and kills it there. */
  async killAt(point: string, behaviour: Behaviour = {}): Promise<void> {
    await writeFile(join(this.root, `stop-${point}`), '');
    await this.startDaemon(behaviour);
    await this.waitForFile(`reached-${point}`);
    await this.killDaemon();
  }

  async startDaemon(behaviour: Behaviour = {}): Promise<void> {
    this.behaviour = behaviour;
    await this.#answerQuestions(behaviour);
    for (const action of behaviour.fails ?? []) await writeFile(join(this.root, `fail-${action}`), '');
    this.#daemon = spawn('unshare', this.#inNamespace(['daemon']), { stdio: ['ignore', 'ignore', 'pipe'] });
    const daemon = this.#daemon;
    let text = '';
    daemon.stderr?.on('data', (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-200_000);
      this.daemonLog = text;
    });
  }

  async #answerQuestions({ needsReboot, supportsRollback }: Behaviour): Promise<void> {
    await writeFile(join(this.root, 'needs-reboot'), needsReboot ?? 'No');
    await writeFile(join(this.root, 'supports-rollback'), supportsRollback ?? 'Yes');
  }

  /** What the daemon has said so far. */
  daemonLog = '';

  async waitForFile(name: string): Promise<void> {
    await eventually(
      `the client gets to ${name}; it said:\n${this.daemonLog.slice(-3000)}`,
      () =>
        access(join(this.root, name)).then(
          () => true,
          () => false,
        ),
      30_000,
    );
  }

  async killDaemon(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === null) return;
    this.#daemon = null;
    const ended = once(daemon, 'exit');
    if (daemon.exitCode === null && daemon.signalCode === null) {
      daemon.kill('SIGKILL');
      await ended;
    }
  }

  async remove(): Promise<void> {
    await this.killDaemon();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.root, { recursive: true, force: true });
  }
}

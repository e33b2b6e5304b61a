/**
 * The main job, visibly: a private bus with our policy, the real service, a signed artifact made by the real tool,
 * the real `single-file` update module and a few state scripts. The update stops at two hold points and is released
 * through D-Bus; then the same artifact meets a failing health script and is rolled back.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { menderClient } from '../test/support/mender-client.ts';
import { startPrivateBus, type PrivateBus } from '../test/support/private-bus.ts';

const run = promisify(execFile);
const isManual = process.argv.includes('--manual');
const OBJECT = ['io.holdpoint.Update1', '/io/holdpoint/Update1', 'io.holdpoint.Update1'] as const;
const PAYLOAD_BYTES = 12 * 1024 * 1024;
/** Slow enough for the progress bar to be seen. */
const BYTES_PER_SECOND = 4 * 1024 * 1024;
/** How long a hold point is shown before the unattended demo releases it. */
const LOOK_MS = 2_000;
const PATIENCE_MS = 30_000;

const leftovers: (() => Promise<unknown> | void)[] = [];

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function title(text: string): void {
  say(`\n\u001b[1m── ${text} ${'─'.repeat(Math.max(0, 74 - text.length))}\u001b[0m`);
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-demo-'));
  leftovers.push(() => rm(folder, { recursive: true, force: true }));

  title('A device');
  const modules = await menderClient();
  if ('unavailable' in modules)
    throw new Error(`the mender-client package cannot be had: ${modules.unavailable}`);
  await makeDevice(folder, modules.modulesDir);
  say(
    `update module single-file of Debian's mender-client ${modules.version}; consent required at two hold points`,
  );

  title('A signed artifact, made by mender-artifact');
  const artifact = await makeArtifact(folder);
  await command(['inspect', '--key', join(folder, 'key.pub.pem'), artifact], environment(folder, null));

  title('A private message bus with our policy, and the service');
  const bus = await startBus();
  leftovers.push(() => bus.dispose());
  const service = await startService(folder, bus);
  leftovers.push(() => stopProcess(service));
  const server = await serveSlowly(artifact);
  leftovers.push(() => new Promise((done) => server.close(done)));
  say(`bus ${bus.address}`);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/release-2.mender`;

  title('The update: it stops at each hold point until somebody releases it');
  await updateOnce(folder, bus, url, 0);
  const installed = join(folder, 'device/opt/greeting');
  say(`\ninstalled file: ${installed}, ${(await stat(installed)).size} bytes`);
  await command(['history'], environment(folder, bus));
  const id = (
    await busctl(bus, 'call', 'io.holdpoint.Update1', OBJECT[1], `${OBJECT[0]}.History`, 'List', 'u', '1')
  ).match(/"deployment-id" s "([^"]+)"/)?.[1];
  say('\nthe deployment log:');
  await command(['log', id ?? ''], environment(folder, bus));

  title('The same artifact again, but the health check fails: it is rolled back');
  await writeFile(join(folder, 'device/unhealthy'), '');
  await updateOnce(folder, bus, url, 4);
  await command(['history'], environment(folder, bus));
  await command(['status'], environment(folder, bus));
  title('That was all: nothing is left behind');
}

/** Runs `holdpoint install`, and releases whatever it waits for. */
async function updateOnce(folder: string, bus: PrivateBus, url: string, expectedExit: number): Promise<void> {
  const install = startCommand(['install', url], environment(folder, bus));
  const ended = once(install, 'exit') as Promise<[number | null]>;
  const stop = new AbortController();
  const releasing = releaseEach(bus, stop.signal);
  const [exitCode] = await Promise.race([ended, releasing.then(() => ended)]);
  stop.abort();
  await releasing;
  say(`holdpoint install: exit status ${exitCode}`);
  if (exitCode !== expectedExit) throw new Error(`found exit status ${exitCode}, expected ${expectedExit}`);
}

async function releaseEach(bus: PrivateBus, signal: AbortSignal): Promise<void> {
  const seen = new Set<string>();
  while (!signal.aborted) {
    const ticket = await property(bus, 'WaitTicket').catch(() => '');
    if (ticket === '' || seen.has(ticket)) {
      await sleep(150);
      continue;
    }
    seen.add(ticket);
    const call = ['call', ...OBJECT, 'Continue', 's', ticket];
    await sleep(isManual ? 0 : LOOK_MS);
    say(`\n\u001b[33mA second terminal could type, and ${isManual ? 'you may' : 'now does'}:\u001b[0m`);
    say(`  busctl --address=${bus.address} ${call.join(' ')}`);
    if (!isManual) say(`  → ${(await busctl(bus, ...call)).trim()}`);
  }
}

async function makeDevice(folder: string, modulesDir: string): Promise<void> {
  const device = join(folder, 'device');
  await mkdir(join(device, 'share/modules/v3'), { recursive: true });
  await mkdir(join(device, 'conf/scripts'), { recursive: true });
  await mkdir(join(device, 'holdpoint'), { recursive: true });
  await mkdir(join(device, 'data'), { recursive: true });
  await mkdir(join(device, 'opt'), { recursive: true });
  await cp(join(modulesDir, 'single-file'), join(device, 'share/modules/v3/single-file'));
  await writeFile(join(device, 'opt/greeting'), 'the old version\n');
  await writeFile(join(device, 'data/device_type'), 'device_type=demo-kiosk\n');
  await writeFile(
    join(device, 'conf/mender.conf'),
    JSON.stringify({ ArtifactVerifyKey: join(folder, 'key.pub.pem') }),
  );
  const consent = { consent: 'required', timeout: 3600, 'on-expire': 'fail' };
  await writeFile(
    join(device, 'holdpoint/holdpoint.json'),
    JSON.stringify({ Points: { ArtifactInstall_Enter: consent, ArtifactCommit_Enter: consent } }),
  );
}

async function makeArtifact(folder: string): Promise<string> {
  const input = join(folder, 'input');
  await mkdir(input);
  await run('openssl', ['genrsa', '-traditional', '-out', join(folder, 'key.pem'), '3072']);
  await run('openssl', [
    'rsa',
    '-in',
    join(folder, 'key.pem'),
    '-pubout',
    '-out',
    join(folder, 'key.pub.pem'),
  ]);
  const device = join(folder, 'device');
  await writeFile(join(input, 'greeting'), Buffer.alloc(PAYLOAD_BYTES, 'the new version\n'));
  await writeFile(join(input, 'dest_dir'), join(device, 'opt'));
  await writeFile(join(input, 'filename'), 'greeting');
  await writeFile(join(input, 'permissions'), '644');
  const scripts: Record<string, string> = {
    ArtifactInstall_Enter_00_announce: 'echo "saving the settings of the kiosk"',
    ArtifactInstall_Leave_00_warm_up: 'echo "new version is in place"',
    ArtifactCommit_Enter_00_health: `echo "health check"; test ! -e '${join(device, 'unhealthy')}' || { echo "the display does not answer" >&2; exit 1; }`,
    ArtifactRollback_Enter_00_note: 'echo "going back to the old version"',
  };
  const options: string[] = [];
  for (const [name, body] of Object.entries(scripts)) {
    await writeFile(join(input, name), `#!/bin/sh\n${body}\n`);
    await chmod(join(input, name), 0o755);
    options.push('-s', join(input, name));
  }
  const artifact = join(folder, 'release-2.mender');
  const files = ['dest_dir', 'filename', 'permissions', 'greeting'].flatMap((name) => [
    '-f',
    join(input, name),
  ]);
  await run('mender-artifact', [
    'write', 'module-image', '-T', 'single-file', '-t', 'demo-kiosk', '-n', 'release-2', '--compression', 'none',
    '-k', join(folder, 'key.pem'), ...files, ...options, '-o', artifact,
  ]); // prettier-ignore
  return artifact;
}

/** On the system bus only root may own the name; here whoever runs the demo is master of the bus. */
function startBus(): Promise<PrivateBus> {
  const uid = process.getuid?.() ?? 0;
  const allow = `<policy user="${uid}"><allow own="io.holdpoint.Update1"/><allow send_destination="io.holdpoint.Update1"/></policy>`;
  return startPrivateBus({ extraConfig: allow });
}

function environment(folder: string, bus: PrivateBus | null): NodeJS.ProcessEnv {
  return {
    ...process.env,
    ...(bus && { DBUS_SYSTEM_BUS_ADDRESS: bus.address }),
    MENDER_CONF_DIR: join(folder, 'device/conf'),
    MENDER_DATA_DIR: join(folder, 'device/share'),
    MENDER_DATASTORE_DIR: join(folder, 'device/data'),
    HOLDPOINT_CONF_DIR: join(folder, 'device/holdpoint'),
  };
}

async function startService(folder: string, bus: PrivateBus): Promise<ChildProcess> {
  const log = join(folder, 'service.log');
  const service = spawn('sh', ['-c', `exec node dist/holdpointd.js 2>'${log}'`], {
    env: environment(folder, bus),
    stdio: 'ignore',
  });
  const until = Date.now() + PATIENCE_MS;
  while ((await property(bus, 'State').catch(() => '')) === '') {
    if (service.exitCode !== null || Date.now() > until) {
      throw new Error(`the service did not start:\n${await readFile(log, 'utf8')}`);
    }
    await sleep(100);
  }
  return service;
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

function startCommand(args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  say(`\u001b[36m$ holdpoint ${args.join(' ')}\u001b[0m`);
  return spawn('node', [resolve('dist/holdpoint.js'), ...args], {
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}

async function command(args: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const [exitCode] = (await once(startCommand(args, env), 'exit')) as [number | null];
  if (exitCode !== 0) throw new Error(`holdpoint ${args[0]}: exit status ${exitCode}`);
}

async function busctl(bus: PrivateBus, ...args: readonly string[]): Promise<string> {
  return (await run('busctl', [`--address=${bus.address}`, ...args])).stdout;
}

async function property(bus: PrivateBus, name: string): Promise<string> {
  const text = await busctl(bus, 'get-property', ...OBJECT, name);
  return text.match(/^s "(.*)"\n$/)?.[1] ?? '';
}

/** A web server on loopback that sends at the speed of a mobile link. */
async function serveSlowly(path: string): Promise<Server> {
  const { size } = await stat(path);
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-length': size, 'content-type': 'application/octet-stream' });
    void (async () => {
      const chunkBytes = 128 * 1024;
      for await (const chunk of createReadStream(path, { highWaterMark: chunkBytes })) {
        if (response.destroyed) return;
        response.write(chunk);
        await sleep((chunkBytes / BYTES_PER_SECOND) * 1000);
      }
      response.end();
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function cleanUp(): Promise<void> {
  for (const remove of leftovers.toReversed()) await Promise.resolve(remove()).catch(() => {});
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    say('\nstopping; what the demo made is removed');
    void cleanUp().then(() => process.exit(130));
  });
}
main()
  .then(cleanUp)
  .catch(async (error: unknown) => {
    process.stderr.write(`holdpoint demo: ${error instanceof Error ? error.message : String(error)}\n`);
    await cleanUp();
    process.exitCode = 1;
  });

/**
 * The main job, visibly: a private bus with our policy, the real service, the development server with its page in a
 * browser, signed artifacts made by the real tool, the real `single-file` update module and a few state scripts. The
 * update stops at two hold points: one is released on the page, the other through D-Bus. Then a second artifact meets a
 * failing health script and is rolled back.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { startChromium, type Page } from '../test/support/chromium.ts';
import { startDevServer, type DevServerProcess } from '../test/support/dev-server.ts';
import { eventually } from '../test/support/eventually.ts';
import { menderClient } from '../test/support/mender-client.ts';
import { startPrivateBus, type PrivateBus } from '../test/support/private-bus.ts';

const run = promisify(execFile);
const isManual = process.argv.includes('--manual');
const OBJECT = ['io.holdpoint.Update1', '/io/holdpoint/Update1', 'io.holdpoint.Update1'] as const;
const PAYLOAD_BYTES = 12 * 1024 * 1024;
/** Slow enough for the progress to be seen. */
const BYTES_PER_SECOND = 4 * 1024 * 1024;
/** How long a hold point is shown before the unattended demo releases it. */
const LOOK_MS = 1_500;
const PATIENCE_MS = 30_000;
/** A person takes the time that a person takes. */
const STORY_MS = isManual ? 24 * 3_600_000 : 60_000;

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

  title('A server, and its page');
  const server = await startDevServer();
  leftovers.push(() => server.dispose());
  const address = `${server.url}/#token=${server.token}`;
  say(`holdpoint-server; its page: ${address}`);
  const page = isManual ? null : await openPage(address);

  title('A device: a private message bus with our policy, and the service');
  const modules = await menderClient();
  if ('unavailable' in modules)
    throw new Error(`the mender-client package cannot be had: ${modules.unavailable}`);
  await makeDevice(folder, modules.modulesDir, server.url);
  await makeKeys(folder);
  const bus = await startBus();
  leftovers.push(() => bus.dispose());
  const service = await startService(folder, bus);
  leftovers.push(() => stopProcess(service));
  say(`bus ${bus.address}`);
  say(
    `update module single-file of Debian's mender-client ${modules.version}; a person has to agree before the commit`,
  );
  await onPage('accept the device', page, (shown) => shown.click('#devices button[data-action=accept]'));
  await property$(bus, 'ServerStatus', 'authorized');
  say('the server knows the device');

  title('A signed artifact, made by mender-artifact, and uploaded on the page');
  const first = await makeArtifact(folder, 'release-2');
  await command(['inspect', '--key', join(folder, 'key.pub.pem'), first], environment(folder, null));
  const points = 'input[value=ArtifactInstall_Enter]';
  await onPage(
    `upload ${first}, and create a deployment that waits before the installation`,
    page,
    async (shown) => {
      await shown.chooseFile('#upload-file', first);
      await shown.click('#upload-button');
      await shows(shown, '#artifacts', 'release-2');
      await throttle(server);
      await shown.click(`#create-points ${points}`);
      await shown.click('#create-button');
    },
  );

  title('The update: it stops at each hold point until somebody releases it');
  const monitor = startCommand(['monitor'], environment(folder, bus));
  leftovers.push(() => stopProcess(monitor));
  await property$(bus, 'WaitPoint', 'ArtifactInstall_Enter');
  await sleep(isManual ? 0 : LOOK_MS);
  await onPage('release everybody before the installation', page, async (shown) => {
    await shows(shown, '#deployments', 'held by this server');
    await shown.click('article [data-point=ArtifactInstall_Enter] button[data-action=release-now]');
  });
  await property$(bus, 'WaitPoint', 'ArtifactCommit_Enter');
  await sleep(isManual ? 0 : LOOK_MS);
  await release(bus);
  await property$(bus, 'LastResult', 'success');
  await property$(bus, 'Step', 'Idle');
  if (page) await shows(page, '#deployments', '1 success');
  const installed = join(folder, 'device/opt/greeting');
  say(`\ninstalled file: ${installed}, ${(await stat(installed)).size} bytes`);
  await command(['history'], environment(folder, bus));
  await showLog(folder, bus);

  title('The next release, but its health check fails: it is rolled back');
  await writeFile(join(folder, 'device/unhealthy'), '');
  await deploy(server, await makeArtifact(folder, 'release-3'));
  await property$(bus, 'WaitPoint', 'ArtifactCommit_Enter');
  await release(bus);
  await property$(bus, 'LastResult', 'rolled-back');
  await property$(bus, 'Step', 'Idle');
  await stopProcess(monitor);
  await command(['history'], environment(folder, bus));
  await command(['status'], environment(folder, bus));
  title('That was all: nothing is left behind');
}

/** A browser without a window, so that what is done on the page is really done there. */
async function openPage(address: string): Promise<Page> {
  const browser = await startChromium();
  leftovers.push(() => browser.dispose());
  return browser.open(address);
}

async function onPage(what: string, page: Page | null, act: (page: Page) => Promise<unknown>): Promise<void> {
  say(`\n\u001b[33mOn the page ${page === null ? 'you may now' : 'somebody does'}: ${what}\u001b[0m`);
  if (page === null) return;
  if (what.startsWith('accept')) await shows(page, '#devices', 'pending');
  await act(page);
}

async function shows(page: Page, selector: string, text: string): Promise<void> {
  const expression = `document.querySelector(${JSON.stringify(selector)})?.innerText ?? ''`;
  const isShown = async (): Promise<boolean> => (await page.evaluate<string>(expression)).includes(text);
  await eventually(`the page shows "${text}"`, isShown, STORY_MS);
}

/** The next download is as slow as over a mobile link. */
function throttle(server: DevServerProcess): Promise<unknown> {
  return server.must('POST', '/faults', {
    endpoint: 'download',
    kind: 'slow',
    bytes_per_second: BYTES_PER_SECOND,
  });
}

async function deploy(server: DevServerProcess, artifact: string): Promise<void> {
  const { id } = await server.must('POST', '/artifacts', await readFile(artifact));
  await server.must('POST', '/deployments', { artifact_id: id, devices: { all: true } });
  say('uploaded and deployed by two calls of the HTTP API of the server');
}

async function release(bus: PrivateBus): Promise<void> {
  const ticket = await property(bus, 'WaitTicket');
  const call = ['call', ...OBJECT, 'Continue', 's', ticket];
  say(`\n\u001b[33mA second terminal could type, and ${isManual ? 'you may' : 'now does'}:\u001b[0m`);
  say(`  busctl --address=${bus.address} ${call.join(' ')}`);
  if (!isManual) say(`  → ${(await busctl(bus, ...call)).trim()}`);
}

async function showLog(folder: string, bus: PrivateBus): Promise<void> {
  const list = await busctl(bus, 'call', OBJECT[0], OBJECT[1], `${OBJECT[0]}.History`, 'List', 'u', '1');
  say('\nthe deployment log:');
  await command(['log', list.match(/"deployment-id" s "([^"]+)"/)?.[1] ?? ''], environment(folder, bus));
}

/** Resolves when the property has the value. */
async function property$(bus: PrivateBus, name: string, value: string): Promise<void> {
  const isSo = async (): Promise<boolean> => (await property(bus, name).catch(() => '')) === value;
  await eventually(`${name} is ${value}`, isSo, STORY_MS);
}

async function makeDevice(folder: string, modulesDir: string, serverUrl: string): Promise<void> {
  const device = join(folder, 'device');
  await mkdir(join(device, 'share/modules/v3'), { recursive: true });
  await mkdir(join(device, 'conf/scripts'), { recursive: true });
  await mkdir(join(device, 'holdpoint'), { recursive: true });
  await mkdir(join(device, 'data'), { recursive: true });
  await mkdir(join(device, 'opt'), { recursive: true });
  await cp(join(modulesDir, 'single-file'), join(device, 'share/modules/v3/single-file'));
  await mkdir(join(device, 'share/identity'), { recursive: true });
  const identity = join(device, 'share/identity/mender-device-identity');
  await writeFile(identity, '#!/bin/sh\necho serial=K-4711\n');
  await chmod(identity, 0o755);
  await writeFile(join(device, 'opt/greeting'), 'the old version\n');
  await writeFile(join(device, 'data/device_type'), 'device_type=demo-kiosk\n');
  await writeFile(
    join(device, 'conf/mender.conf'),
    JSON.stringify({
      ServerURL: serverUrl,
      ArtifactVerifyKey: join(folder, 'key.pub.pem'),
      UpdatePollIntervalSeconds: 1,
      InventoryPollIntervalSeconds: 5,
      RetryPollIntervalSeconds: 1,
    }),
  );
  const consent = { consent: 'required', timeout: 3600, 'on-expire': 'fail' };
  await writeFile(
    join(device, 'holdpoint/holdpoint.json'),
    JSON.stringify({ Points: { ArtifactCommit_Enter: consent } }),
  );
}

async function makeKeys(folder: string): Promise<void> {
  const [key, publicKey] = [join(folder, 'key.pem'), join(folder, 'key.pub.pem')];
  await run('openssl', ['genrsa', '-traditional', '-out', key, '3072']);
  await run('openssl', ['rsa', '-in', key, '-pubout', '-out', publicKey]);
}

async function makeArtifact(folder: string, name: string): Promise<string> {
  const input = join(folder, name);
  await mkdir(input);
  const device = join(folder, 'device');
  await writeFile(join(input, 'greeting'), Buffer.alloc(PAYLOAD_BYTES, `this is ${name}\n`));
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
  for (const [script, body] of Object.entries(scripts)) {
    await writeFile(join(input, script), `#!/bin/sh\n${body}\n`);
    await chmod(join(input, script), 0o755);
    options.push('-s', join(input, script));
  }
  const artifact = join(folder, `${name}.mender`);
  const files = ['dest_dir', 'filename', 'permissions', 'greeting'].flatMap((file) => [
    '-f',
    join(input, file),
  ]);
  await run('mender-artifact', [
    'write', 'module-image', '-T', 'single-file', '-t', 'demo-kiosk', '-n', name, '--compression', 'none',
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

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { busctl } from '../../support/bus-tools.ts';
import { startDeviceApi, type DeviceApi } from '../../support/device-api.ts';
import { eventually } from '../../support/eventually.ts';
import { startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';
import { SHIPPED_POLICIES } from '../../support/service.ts';
import { Twin, whyNoTwins } from './twins.ts';

/** What the real programs cannot be compared in: the names of 5.x, daemons, keys. */
vi.setConfig({ testTimeout: 300_000 });
const run = promisify(execFile);
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function twin(name: 'mender' | 'mender-update' | 'mender-auth'): Promise<Twin> {
  const made = await Twin.ours(name);
  cleanups.push(() => made.remove());
  return made;
}
async function bus(): Promise<PrivateBus> {
  const made = await startPrivateBus({ policyPaths: SHIPPED_POLICIES });
  cleanups.push(() => made.stop());
  return made;
}
async function server(): Promise<DeviceApi> {
  const made = await startDeviceApi();
  cleanups.push(() => made.close());
  return made;
}
const configure = (device: Twin, members: Readonly<Record<string, unknown>>): Promise<void> =>
  writeFile(device.at('conf/mender.conf'), JSON.stringify(members));

let folder: string;
let artifact: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-names-'));
  await writeFile(join(folder, 'payload'), 'release 2\n');
  artifact = join(folder, 'release-2.mender');
  const args = 'write module-image -T probe -n release-2 -t bench'.split(' ');
  await run('mender-artifact', [...args, '-f', join(folder, 'payload'), '-o', artifact]);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('mender-update', () => {
  it('installs, stops before, resumes and commits, with the sentences and exit statuses of 5.x', async () => {
    const device = await twin('mender-update');
    const story = async (...args: readonly string[]): Promise<readonly [number | null, string]> => {
      const { status, stdout } = await device.run(args);
      return [status, stdout];
    };
    expect(await story('commit')).toEqual([2, 'No update in progress.\n']);
    expect(await story('show-artifact')).toEqual([0, 'unknown\n']);
    const [stopped, text] = await story('install', '--stop-before', 'ArtifactInstall_Enter', artifact);
    expect(stopped).toBe(0);
    expect(text).toMatch(/^Installing artifact\.\.\.\nStreamed to storage, but not installed\/enabled\.\n/);
    expect((await story('commit'))[0]).toBe(1);
    await writeFile(device.at('needs-reboot'), 'Yes');
    const [resumed, more] = await story('resume', '--reboot-exit-code');
    expect(resumed).toBe(4);
    expect(more).toContain('Installed, but not committed.\n');
    expect((await story('install', artifact))[0]).toBe(1);
    // The module has asked for a reboot, and none has come since.
    expect(await story('commit')).toEqual([
      4,
      'Committed.\nAt least one payload requested a reboot of the device it updated.\n',
    ]);
    expect(await story('commit')).toEqual([2, 'No update in progress.\n']);
    expect(await story('show-artifact')).toEqual([0, 'release-2\n']);
    expect(await story('show-provides')).toEqual([
      0,
      'artifact_name=release-2\nrootfs-image.probe.version=release-2\n',
    ]);
  });

  it.each([
    ['mender-update', ['bootstrap'], 1],
    ['mender-update', ['setup'], 1],
    ['mender-update', ['--no-syslog', 'commit'], 1],
    ['mender-update', ['-log-level', 'info', 'commit'], 1],
    ['mender-update', ['--version', 'commit'], 1],
    ['mender-update', ['--config', '/nonexistent', 'commit'], 1],
    ['mender-update', [], 1],
    ['mender-auth', ['install', 'x'], 1],
    ['mender', ['install', '--stop-before', 'Cleanup', 'x'], 1],
    ['mender', ['resume'], 3],
  ] as const)('%s %j is a mistake in one line', async (name, args, status) => {
    const device = await twin(name);
    const result = await device.run(args);
    expect(result.status).toBe(status);
    expect(result.stdout).toBe('');
    expect(result.stderr).toMatch(new RegExp(`^${name}: [^\\n]+\\n$`));
  });

  it('as a daemon is the service itself, which check-update and send-inventory reach over the bus', async () => {
    const [api, busOfTest, device] = await Promise.all([server(), bus(), twin('mender-update')]);
    await configure(device, {
      ServerURL: api.url,
      UpdatePollIntervalSeconds: 86_400,
      InventoryPollIntervalSeconds: 86_400,
    });
    const environment = { DBUS_SYSTEM_BUS_ADDRESS: busOfTest.address };
    const daemon = device.start(['--log-file', '%D/log', '--log-level', 'info', 'daemon'], { environment });
    const polls = (): number => api.of('next-v2').length;
    await eventually(
      `the first poll; ${daemon.said()}`,
      () => polls() > 0 && api.of('inventory').length > 0,
      60_000,
    );
    const owner = await busctl(busOfTest.address, ['status', 'io.holdpoint.Update1']);
    expect(owner.stdout).toContain(`PID=${daemon.pid}\n`);

    const [before, sent] = [polls(), api.of('inventory').length];
    expect(await device.run(['check-update'], { environment })).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
    });
    await eventually('another poll', () => polls() > before, 30_000);
    // The same inventory again would not be sent.
    await device.program('share/inventory/mender-inventory-mood', 'echo mood=other\n');
    expect((await device.run(['send-inventory'], { environment })).status).toBe(0);
    await eventually('another inventory', () => api.of('inventory').length > sent, 30_000);

    daemon.kill('SIGTERM');
    expect(await daemon.ended).toMatchObject({ status: 0, stderr: '' });
    expect(await readFile(device.at('log'), 'utf8')).toContain('Started');
    expect((await stat(device.at('log'))).mode & 0o777).toBe(0o600);
    expect(api.problems).toEqual([]);
    const late = await device.run(['check-update'], { environment });
    expect(late.status).toBe(1);
    expect(late.stderr).toMatch(
      /^mender-update: asking for a check for updates: no update service [^\n]+\n$/,
    );
  });

  it('holds the datastore against another command, which names it', async () => {
    const [busOfTest, device] = await Promise.all([bus(), twin('mender-update')]);
    const environment = { DBUS_SYSTEM_BUS_ADDRESS: busOfTest.address };
    const daemon = device.start(['daemon'], { environment });
    await eventually(`it has started; ${daemon.said()}`, () => daemon.said().includes('Started'), 60_000);
    const refused = await device.run(['install', artifact], { environment });
    expect(refused.status).toBe(1);
    expect(refused.stderr).toMatch(/^mender-update: installing [^\n]+holdpointd[^\n]+\n$/);
    daemon.kill('SIGTERM');
    expect((await daemon.ended).status).toBe(0);
  });
});

describe('mender-auth', () => {
  it('bootstraps: makes a key once, logs in, and ends well where the login fails', async () => {
    const [api, device] = await Promise.all([server(), twin('mender-auth')]);
    const key = (): Promise<string> => readFile(device.at('data/mender-agent.pem'), 'utf8');
    // Without a server there is only the key.
    expect(await device.run(['bootstrap'])).toEqual({ status: 0, stdout: '', stderr: '' });
    const first = await key();
    expect((await stat(device.at('data/mender-agent.pem'))).mode & 0o777).toBe(0o600);
    await configure(device, { ServerURL: api.url, TenantToken: 'tt-1' });
    expect(await device.run(['bootstrap'])).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(await key()).toBe(first);
    expect(api.of('auth')).toHaveLength(1);

    api.answerAlways('auth', { status: 401, body: '{"error":"dev auth: unauthorized"}' });
    const refused = await device.run(['bootstrap', '--forcebootstrap']);
    expect(refused).toMatchObject({ status: 0, stdout: '' });
    expect(refused.stderr).toMatch(
      /^mender-auth: bootstrapping: the key is there, but the login failed: [^\n]+\n$/,
    );
    expect(refused.stderr).not.toContain('tt-1');
    expect(await key()).not.toBe(first);
    expect(await readFile(device.at('data/mender-agent.pem.old'), 'utf8')).toBe(first);
    expect(api.problems).toEqual([]);
  });

  it('never replaces a key that was configured', async () => {
    const device = await twin('mender-auth');
    await run('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', device.at('static.pem')]);
    const before = await readFile(device.at('static.pem'), 'utf8');
    await configure(device, { Security: { AuthPrivateKey: device.at('static.pem') } });
    const refused = await device.run(['bootstrap', '-F']);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toMatch(/^mender-auth: bootstrapping: [^\n]+ is not replaced\n$/);
    expect(await readFile(device.at('static.pem'), 'utf8')).toBe(before);
  });

  it.each([
    ['a file', '%D/passphrase', undefined],
    ['standard input', '-', 'open sesame\n'],
  ])('opens an encrypted key with a passphrase from %s', async (_, source, input) => {
    const [api, device] = await Promise.all([server(), twin('mender-auth')]);
    await writeFile(device.at('passphrase'), 'open sesame\n');
    const args = ['genpkey', '-algorithm', 'ed25519', '-aes256', '-pass', `file:${device.at('passphrase')}`];
    await run('openssl', [...args, '-out', device.at('data/mender-agent.pem')]);
    await configure(device, { ServerURL: api.url });
    const result = await device.run(
      ['bootstrap', '--passphrase-file', source],
      input === undefined ? {} : { input },
    );
    expect(result).toEqual({ status: 0, stdout: '', stderr: '' });
    expect(api.of('auth')).toHaveLength(1);
    expect(api.problems).toEqual([]);
  });

  it('as a daemon gives out the token and takes the name from nobody', async () => {
    const [api, busOfTest, device] = await Promise.all([server(), bus(), twin('mender-auth')]);
    await configure(device, { ServerURL: api.url });
    const environment = { DBUS_SYSTEM_BUS_ADDRESS: busOfTest.address };
    const target = [
      'io.mender.AuthenticationManager',
      '/io/mender/AuthenticationManager',
      'io.mender.Authentication1',
    ];
    const ask = (member: string): ReturnType<typeof busctl> =>
      busctl(busOfTest.address, ['call', ...target, member]);
    const daemon = device.start(['daemon'], { environment });
    await eventually(
      `it answers; ${daemon.said()}`,
      async () => (await ask('FetchJwtToken')).stdout === 'b true\n',
      60_000,
    );
    await eventually(
      'the token is there',
      async () => (await ask('GetJwtToken')).stdout.startsWith(`ss "${api.token}" "http://127.0.0.1:`),
      30_000,
    );
    // The datastore is free: an update can be installed meanwhile.
    expect(existsSync(device.at('data/holdpoint/lock-holder.json'))).toBe(false);
    const second = await device.run(['daemon'], { environment });
    expect(second.status).toBe(1);
    expect(second.stderr).toContain('belongs to another process\n');
    daemon.kill('SIGTERM');
    const { status, stderr } = await daemon.ended;
    expect(status).toBe(0);
    expect(stderr).not.toContain(api.token);
  });

  it('as a daemon needs a server', async () => {
    const device = await twin('mender-auth');
    const result = await device.run(['daemon']);
    expect(result).toMatchObject({ status: 1, stdout: '' });
    expect(result.stderr).toMatch(
      /^mender-auth: starting to give out tokens: no server is configured [^\n]+\n$/,
    );
  });
});

const reason = await whyNoTwins();
describe.skipIf(reason !== null)('mender bootstrap beside mender 3.4', () => {
  it('logs in with the same request, but for the key, and fails where the login fails', async () => {
    const [api, ours, original] = await Promise.all([server(), twin('mender'), Twin.original()]);
    cleanups.push(() => original.remove());
    const requests = async (device: Twin): Promise<readonly unknown[]> => {
      await configure(device, { ServerURL: api.url, TenantToken: 'tt-1' });
      const seen = api.of('auth').length;
      const { status, stdout } = await device.run(['bootstrap']);
      const [request] = api.of('auth').slice(seen);
      const body = request?.json as Readonly<Record<string, unknown>>;
      const identity = JSON.parse(String(body['id_data'])) as unknown;
      const mode = (await stat(device.at('data/mender-agent.pem'))).mode & 0o777;
      return [status, stdout, identity, body['tenant_token'], mode];
    };
    expect(await requests(ours)).toEqual(await requests(original));
    api.answerAlways('auth', { status: 401, body: '{"error":"dev auth: unauthorized"}' });
    const theirs = await original.run(['bootstrap', '-F']);
    const mine = await ours.run(['bootstrap', '-F']);
    expect([mine.status, mine.stdout]).toEqual([theirs.status, theirs.stdout]);
    expect(mine.status).toBe(1);
    expect(mine.stderr).toMatch(/^mender: bootstrapping: [^\n]+\n$/);
  });
});

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Bus } from '../../../src/adapters/dbus/connection.ts';
import {
  loadMenderAuthTable,
  MENDER_AUTH_BUS_NAME,
  MENDER_AUTH_INTERFACE,
  MENDER_AUTH_PATH,
} from '../../../src/adapters/dbus/interface-xml.ts';
import { MenderAuthSource } from '../../../src/adapters/dbus/mender-auth-source.ts';
import { parseInterfaceXml } from '../../../src/adapters/dbus/xml-table.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { AuthService, MENDER_AUTH_POLICY_PATH } from '../../support/auth-service.ts';
import { busctl, OTHER_UID, runTool, type ToolOptions, type ToolResult } from '../../support/bus-tools.ts';
import { startDeviceApi } from '../../support/device-api.ts';
import { eventually } from '../../support/eventually.ts';
import { menderClient } from '../../support/mender-client.ts';
import { startMenderDaemon } from '../../support/mender-daemon.ts';
import { POLICY_PATH, startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';
import { RecordingLog } from '../../support/recording-log.ts';

const TARGET = [MENDER_AUTH_BUS_NAME, MENDER_AUTH_PATH, MENDER_AUTH_INTERFACE];
const SIGNAL_MATCH = `type='signal',interface='${MENDER_AUTH_INTERFACE}'`;
const LIMIT_MS = 60_000;

let bus: PrivateBus;
let service: AuthService;

beforeAll(async () => {
  bus = await startPrivateBus({ policyPaths: [POLICY_PATH, MENDER_AUTH_POLICY_PATH] });
  service = await new AuthService(bus.address).ready();
});
afterAll(async () => {
  await service.close();
  await bus.dispose();
});

function call(member: string, options: ToolOptions = {}, address = bus.address): Promise<ToolResult> {
  return busctl(address, ['--json=short', 'call', ...TARGET, member], options);
}

async function pair(address = bus.address): Promise<readonly string[]> {
  const { stdout, stderr } = await call('GetJwtToken', {}, address);
  if (stderr !== '') throw new Error(stderr);
  return (JSON.parse(stdout) as { readonly data: readonly string[] }).data;
}

interface Listener {
  readonly child: ChildProcess;
  readonly output: () => string;
}

const listeners: ChildProcess[] = [];
afterAll(() => {
  for (const child of listeners) child.kill('SIGKILL');
});

/** A tool that prints what it hears, once it listens. */
async function listen(
  command: string,
  args: readonly string[],
  isReady: RegExp | null,
  uid?: number,
  address = bus.address,
): Promise<Listener> {
  const asOther = ['--reuid', String(uid), '--regid', String(uid), '--clear-groups', command, ...args];
  const child = spawn(uid === undefined ? command : 'setpriv', uid === undefined ? args : asOther, {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', PYTHONUNBUFFERED: '1', DBUS_SYSTEM_BUS_ADDRESS: address },
  });
  listeners.push(child);
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  if (isReady !== null) await eventually(`${command} listens`, () => isReady.test(output), LIMIT_MS);
  return { child, output: () => output };
}

/** Prints every signal of ours it gets; `SENTINEL` is one that everybody may hear. */
const SUBSCRIBER = `
import sys
from gi.repository import Gio, GLib
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
bus.signal_subscribe(None, sys.argv[1] or None, None, None, None, 0,
    lambda c, sender, path, iface, member, args: print(iface, member, args.print_(False)))
if len(sys.argv) > 2:
    try:
        bus.call_sync('org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'AddMatch',
            GLib.Variant('(s)', ("eavesdrop='true'",)), None, 0, -1, None)
    except GLib.Error as error:
        print(error.message)
bus.call_sync('org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'GetId', None, None, 0, -1, None)
print('LISTENING')
GLib.MainLoop().run()
`;
const subscriber = (
  interfaceName: string,
  more: readonly string[] = [],
  uid?: number,
  address = bus.address,
): Promise<Listener> =>
  listen('/usr/bin/python3', ['-c', SUBSCRIBER, interfaceName, ...more], /LISTENING/, uid, address);

/** A signal anybody may hear, sent over the service's own connection after everything before it. */
function sentinel(from = service): void {
  from.bus.emit({
    path: '/io/holdpoint/Update1',
    interface: 'io.holdpoint.Update1',
    member: 'StateChanged',
    signature: 's',
    body: ['SENTINEL'],
  });
}

describe('GetJwtToken', () => {
  test('gives two empty texts while there is no token, and both of them afterwards', async () => {
    expect(await pair()).toEqual(['', '']);
    service.succeed('first.token.x');
    await eventually('the pair is there', async () => (await pair())[0] !== '', LIMIT_MS);
    const [token, url] = await pair();
    expect(token).toBe('first.token.x');
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(service.asked).toEqual([]);
    service.fail(true);
    expect(await pair()).toEqual([token, url]);
    service.fail(false);
    expect(await pair()).toEqual(['', '']);
  });

  test('looks the same to gdbus, dbus-send and busctl', async () => {
    service.succeed('for.all.tools');
    await eventually('the pair is there', async () => (await pair())[0] !== '', LIMIT_MS);
    const [, url] = await pair();
    const method = `${MENDER_AUTH_INTERFACE}.GetJwtToken`;
    // prettier-ignore
    const gdbus = await runTool('gdbus', ['call', '--address', bus.address, '-d', MENDER_AUTH_BUS_NAME, '-o', MENDER_AUTH_PATH, '-m', method]);
    expect(gdbus.stdout).toBe(`('for.all.tools', '${url}')\n`);
    const busctlText = await busctl(bus.address, ['call', ...TARGET, 'GetJwtToken']);
    expect(busctlText.stdout).toBe(`ss "for.all.tools" "${url}"\n`);
    // prettier-ignore
    const dbusSend = await runTool('dbus-send', [`--bus=${bus.address}`, '--print-reply', `--dest=${MENDER_AUTH_BUS_NAME}`, MENDER_AUTH_PATH, method]);
    expect(dbusSend.stdout).toContain('string "for.all.tools"');
  });
});

describe('JwtTokenStateChange', () => {
  test('follows every finished attempt, with what GetJwtToken gives, and only once the URL accepts connections', async () => {
    const heard = await subscriber(MENDER_AUTH_INTERFACE);
    const signals = (): readonly string[] => heard.output().match(/JwtTokenStateChange .*/g) ?? [];
    service.fail(false);
    await eventually('1', () => signals().length === 1, LIMIT_MS);
    service.succeed('one.two.three');
    await eventually('2', () => signals().length === 2, LIMIT_MS);
    const port = Number(/127\.0\.0\.1:(\d+)/.exec(signals()[1] ?? '')?.[1]);
    const socket = connect({ host: '127.0.0.1', port });
    await once(socket, 'connect');
    socket.destroy();
    service.succeed('one.two.three');
    service.fail(true);
    service.fail(false);
    await eventually('5', () => signals().length === 5, LIMIT_MS);
    const full = `JwtTokenStateChange ('one.two.three', 'http://127.0.0.1:${port}')`;
    const empty = "JwtTokenStateChange ('', '')";
    // The last two attempts may be over before the first of them is told: what is told is what is true then.
    expect(signals().slice(0, 3)).toEqual([empty, full, signals()[2]]);
    expect(signals().at(-1)).toBe(empty);
    for (const one of signals()) expect([full, empty]).toContain(one);
    heard.child.kill('SIGKILL');
  });

  test('is heard by root alone: not by another user, not by one who eavesdrops, and busctl monitor is refused', async () => {
    const [root, other, nosy] = await Promise.all([
      subscriber(''),
      subscriber('', [], OTHER_UID),
      subscriber('', ['eavesdrop'], OTHER_UID),
    ]);
    const monitor = await busctl(bus.address, ['monitor', '--match', SIGNAL_MATCH], { uid: OTHER_UID });
    expect(monitor.status).toBe(1);
    expect(monitor.stderr).toMatch(/denied/i);
    service.succeed('not.for.others');
    service.fail(true);
    await eventually('root has it', () => /not\.for\.others/.test(root.output()), LIMIT_MS);
    sentinel();
    await eventually(
      'the signal after it has reached everybody',
      () => [root, other, nosy].every(({ output }) => output().includes('SENTINEL')),
      LIMIT_MS,
    );
    for (const { output } of [other, nosy]) {
      expect(output()).not.toContain('not.for.others');
      expect(output()).not.toContain('JwtTokenStateChange');
    }
    for (const { child } of [root, other, nosy]) child.kill('SIGKILL');
  });

  test('carries nothing that an eavesdropping root connection could not ask for: replies to others stay theirs', async () => {
    service.succeed('asked.by.one');
    await eventually('the pair is there', async () => (await pair())[0] === 'asked.by.one', LIMIT_MS);
    const nosy = await subscriber('io.holdpoint.Update1', ['eavesdrop']);
    expect(await pair()).toContain('asked.by.one');
    sentinel();
    await eventually('the signal after it has come', () => nosy.output().includes('SENTINEL'), LIMIT_MS);
    expect(nosy.output()).not.toContain('asked.by.one');
    nosy.child.kill('SIGKILL');
  });
});

describe('the files of the policy', () => {
  /** uid 1 is a member of the group the strict file is made out to here. */
  const MEMBER_UID = 1;
  let folder: string;
  let strict: string;
  let menders: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdpoint-policy-'));
    await chmod(folder, 0o755);
    strict = join(folder, 'strict.conf');
    const text = await readFile(resolve('dbus-policy/strict/io.holdpoint.Update1.conf'), 'utf8');
    await writeFile(strict, text.replace('group="holdpoint"', 'group="daemon"'));
    const client = await menderClient();
    if ('unavailable' in client) throw new Error(client.unavailable);
    menders = join(client.modulesDir, '../../../dbus-1/system.d/io.mender.AuthenticationManager.conf');
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each([
    ['in this order', (): string[] => [POLICY_PATH, MENDER_AUTH_POLICY_PATH]],
    ['the other way round', (): string[] => [MENDER_AUTH_POLICY_PATH, POLICY_PATH]],
    ['with that of Mender left in place', (): string[] => [menders, POLICY_PATH]],
    ['in the strict variant', (): string[] => [strict, MENDER_AUTH_POLICY_PATH]],
    ['in the strict variant, the other way round', (): string[] => [MENDER_AUTH_POLICY_PATH, strict]],
    ['with both variants', (): string[] => [POLICY_PATH, MENDER_AUTH_POLICY_PATH, strict]],
  ])('%s, let root alone hear the token', async (_what, policyPaths) => {
    const closed = await startPrivateBus({ policyPaths: policyPaths() });
    const served = await new AuthService(closed.address).ready();
    try {
      const [root, member] = await Promise.all([
        subscriber('', [], undefined, closed.address),
        subscriber('', [], MEMBER_UID, closed.address),
      ]);
      served.succeed('for.root.alone');
      await eventually('root has it', () => root.output().includes('for.root.alone'), LIMIT_MS);
      sentinel(served);
      await eventually(
        'the other hears what is for all',
        () => member.output().includes('SENTINEL'),
        LIMIT_MS,
      );
      expect(member.output()).not.toContain('JwtTokenStateChange');
      for (const { child } of [root, member]) child.kill('SIGKILL');
    } finally {
      await served.close();
      await closed.dispose();
    }
  });

  test('without ours, that of Mender lets everybody hear it', async () => {
    const open = await startPrivateBus({ policyPaths: [menders] });
    const ours = new Bus({
      address: open.address,
      names: [{ name: MENDER_AUTH_BUS_NAME }],
      log: new RecordingLog(),
    });
    ours.start();
    await eventually('it is there', () => ours.state === 'connected', LIMIT_MS);
    const other = await subscriber('', [], OTHER_UID, open.address);
    const body = ['heard.by.all', 'http://127.0.0.1:1'];
    const member = 'JwtTokenStateChange';
    ours.emit({ path: MENDER_AUTH_PATH, interface: MENDER_AUTH_INTERFACE, member, signature: 'ss', body });
    await eventually('it is heard', () => other.output().includes('heard.by.all'), LIMIT_MS);
    other.child.kill('SIGKILL');
    ours.close();
    await open.dispose();
  });
});

describe('FetchJwtToken', () => {
  test('replies at once, and its outcome is the signal', async () => {
    const heard = await subscriber(MENDER_AUTH_INTERFACE);
    const before = service.asked.length;
    const { stdout } = await call('FetchJwtToken');
    expect(stdout).toBe('{"type":"b","data":[true]}\n');
    expect(service.asked).toHaveLength(before + 1);
    service.succeed('fetched.token.x');
    await eventually('the signal', () => heard.output().includes('fetched.token.x'), LIMIT_MS);
    expect(heard.output().match(/JwtTokenStateChange/g)).toHaveLength(1);
    heard.child.kill('SIGKILL');
  });

  test('is followed by exactly one signal, also where the attempt ends before it has an outcome', async () => {
    const heard = await subscriber(MENDER_AUTH_INTERFACE);
    await call('FetchJwtToken');
    service.failUntold();
    await eventually('a signal', () => heard.output().includes('JwtTokenStateChange'), LIMIT_MS);
    await call('FetchJwtToken');
    service.fail(true);
    await pair();
    sentinel();
    await eventually(
      'two',
      () => (heard.output().match(/JwtTokenStateChange/g) ?? []).length === 2,
      LIMIT_MS,
    );
    heard.child.kill('SIGKILL');
  });

  test('is false, and asks nobody, where no server is configured', async () => {
    const other = await startPrivateBus({ policyPaths: [POLICY_PATH, MENDER_AUTH_POLICY_PATH] });
    const idle = await new AuthService(other.address, { isServerConfigured: false }).ready();
    expect((await call('FetchJwtToken', {}, other.address)).stdout).toBe('{"type":"b","data":[false]}\n');
    expect(idle.asked).toEqual([]);
    await idle.close();
    await other.dispose();
  });
});

describe('another user', () => {
  test.each(['GetJwtToken', 'FetchJwtToken'])(
    'is denied %s by the policy, whatever name is used',
    async (member) => {
      const before = service.asked.length;
      for (const name of [MENDER_AUTH_BUS_NAME, 'io.holdpoint.Update1', service.bus.uniqueName]) {
        const args = ['call', name, MENDER_AUTH_PATH, MENDER_AUTH_INTERFACE, member];
        const { status, stdout, stderr } = await busctl(bus.address, args, { uid: OTHER_UID });
        expect({ name, status, stdout }).toEqual({ name, status: 1, stdout: '' });
        expect(stderr).toMatch(/denied/i);
      }
      const gdbus = await runTool(
        'gdbus',
        // prettier-ignore
        ['call', '--address', bus.address, '-d', MENDER_AUTH_BUS_NAME, '-o', MENDER_AUTH_PATH, '-m', `${MENDER_AUTH_INTERFACE}.${member}`],
        { uid: OTHER_UID },
      );
      expect(gdbus.stderr).toMatch(/AccessDenied/);
      expect(service.asked).toHaveLength(before);
    },
  );

  test('is denied by the service itself where the policy is not', async () => {
    const lax = await startPrivateBus({
      policyPaths: [POLICY_PATH, MENDER_AUTH_POLICY_PATH],
      extraConfig: `<policy context="mandatory"><allow send_destination="${MENDER_AUTH_BUS_NAME}"/></policy>`,
    });
    const served = await new AuthService(lax.address).ready();
    served.succeed('secret.of.root');
    const { status, stderr } = await runTool(
      'gdbus',
      // prettier-ignore
      ['call', '--address', lax.address, '-d', MENDER_AUTH_BUS_NAME, '-o', MENDER_AUTH_PATH, '-m', `${MENDER_AUTH_INTERFACE}.GetJwtToken`],
      { uid: OTHER_UID },
    );
    expect([status, stderr]).toEqual([
      1,
      expect.stringContaining(`The user with id ${OTHER_UID} may not call`),
    ]);
    await eventually('root gets it', async () => (await pair(lax.address))[0] === 'secret.of.root', LIMIT_MS);
    await served.close();
    await lax.dispose();
  });

  test('cannot own the name, and keeps what the other interface of the same connection gives', async () => {
    const free = await startPrivateBus({ policyPaths: [MENDER_AUTH_POLICY_PATH] });
    // prettier-ignore
    const own = ['call', 'org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'RequestName', 'su', MENDER_AUTH_BUS_NAME, '0'];
    expect((await busctl(free.address, own, { uid: OTHER_UID })).stderr).toMatch(/denied/);
    expect((await busctl(free.address, own)).stdout).toBe('u 1\n');
    await free.dispose();
    expect(service.names.map(({ state }) => state)).toEqual(['owned', 'owned']);
    const ping = ['call', 'io.holdpoint.Update1', '/', 'org.freedesktop.DBus.Peer', 'Ping'];
    expect((await busctl(bus.address, ping, { uid: OTHER_UID })).status).toBe(0);
  });
});

test('the token is in no log', () => {
  const text = JSON.stringify(service.log.records);
  for (const token of ['first.token', 'for.all', 'one.two', 'not.for', 'asked.by', 'fetched']) {
    expect(text).not.toContain(token);
  }
});

describe('beside the real client', () => {
  test('introspection is the same, and its daemon serves as the source of our token over loss and return', async () => {
    const api = await startDeviceApi();
    const mender = await startMenderDaemon({ config: { ServerURL: api.url }, identity: 'serial=1' });
    if ('unavailable' in mender) throw new Error(mender.unavailable);
    const log = new RecordingLog();
    const own = new Bus({ address: mender.bus.address, names: [], log });
    const source = new MenderAuthSource(own, log);
    try {
      const introspect = [
        MENDER_AUTH_BUS_NAME,
        MENDER_AUTH_PATH,
        'org.freedesktop.DBus.Introspectable',
        'Introspect',
      ];
      const { stdout } = await busctl(mender.bus.address, ['--json=short', 'call', ...introspect]);
      const real = parseInterfaceXml(String((JSON.parse(stdout) as { data: unknown[] }).data[0]));
      expect(loadMenderAuthTable().interfaces.get(MENDER_AUTH_INTERFACE)).toEqual(
        real.interfaces.get(MENDER_AUTH_INTERFACE),
      );
      const states: string[] = [];
      source.state$.subscribe(({ status }) => states.push(status));
      own.start();
      const never = new AbortController().signal;
      const [one, two] = await Promise.all([source.authenticate(never), source.authenticate(never)]);
      expect(two).toBe(one);
      // The client may have authenticated once more since.
      expect(api.isValid(one.token.reveal())).toBe(true);
      expect(one.serverUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
      // Its forwarder takes us to the server.
      const authorization = `Bearer ${one.token.reveal()}`;
      const answer = await fetch(`${one.serverUrl}/api/devices/v1/inventory/device/attributes`, {
        method: 'PUT',
        headers: { authorization, 'content-type': 'application/json' },
        body: '[]',
      });
      expect(answer.status).toBe(200);
      api.answerAlways('auth', { status: 401, body: '{"error":"no"}' });
      // The daemon tells of attempts of its own too, one of which may have begun before.
      const outcome = (): Promise<unknown> => source.authenticate(never).catch((error: unknown) => error);
      await eventually(
        'a refusal is told',
        async () => {
          const got = await outcome();
          return got instanceof UpdateError && got.details['reason'] === 'unauthorized';
        },
        LIMIT_MS,
      );
      expect(source.cached()).toBeNull();
      api.answerAlways('auth', null);
      await eventually('it is accepted again', async () => !((await outcome()) instanceof Error), LIMIT_MS);
      await eventually('with its token', () => source.cached()?.token.reveal() === api.token, LIMIT_MS);
      expect(states.at(-1)).toBe('authorized');
      const gone = new AbortController();
      const left = source.authenticate(gone.signal);
      gone.abort();
      await expect(left).rejects.toMatchObject({ kind: 'cancelled' });
      await mender.bus.stop();
      await eventually('its token went with it', () => source.cached() === null, LIMIT_MS);
      expect(JSON.stringify(log.records)).not.toContain(api.token);
      expect(String(one.token) + JSON.stringify(one)).not.toContain(one.token.reveal());
    } finally {
      source.close();
      own.close();
      await mender.dispose();
      await api.close();
    }
  }, 90_000);

  test('without it, an attempt fails with words, and within its time where it says nothing', async () => {
    const empty = await startPrivateBus();
    const log = new RecordingLog();
    const own = new Bus({ address: empty.address, names: [], log });
    const source = new MenderAuthSource(own, log, { signalTimeoutMs: 5_000 });
    own.start();
    const never = new AbortController().signal;
    await expect(source.authenticate(never)).rejects.toMatchObject({ details: { reason: 'unreachable' } });
    await empty.stop();
    await eventually('the bus is lost', () => own.state === 'lost', LIMIT_MS);
    await expect(source.authenticate(never)).rejects.toMatchObject({ details: { reason: 'timeout' } });
    source.close();
    own.close();
    await empty.dispose();
  }, 60_000);
});

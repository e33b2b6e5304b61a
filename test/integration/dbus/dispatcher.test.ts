import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Verdict } from '../../../src/adapters/dbus/authorise.ts';
import { openClient, type BusClient } from '../../../src/adapters/dbus/connection.ts';
import { variant, type VariantMap } from '../../../src/adapters/dbus/values.ts';
import {
  callService,
  connected,
  getAll,
  getProperty,
  MAIN,
  PROPERTIES,
  remoteErrorOf,
} from '../../support/bus-client.ts';
import { pythonGio, TARGET } from '../../support/bus-tools.ts';
import { eventually } from '../../support/eventually.ts';
import { LAX_REPLY_RULES, startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';
import { SampleService, sampleProperties } from '../../support/sample-service.ts';

/** The dispatcher behind the real XML on a real bus; calls come from real clients of two libraries. */
const STANDARD = 'org.freedesktop.DBus.Error.';
const HOLDS = `${MAIN}.Holds`;
const INSTALL = `${MAIN}.Install`;
const HISTORY = `${MAIN}.History`;

let bus: PrivateBus;
let service: SampleService;
let client: BusClient;

beforeAll(async () => {
  bus = await startPrivateBus();
});
afterAll(() => bus.dispose());
beforeEach(async () => {
  service = new SampleService({ address: bus.address }).start();
  await connected(service);
  client = await openClient(bus.address);
});
afterEach(() => {
  client.close();
  service.close();
});

/** What GLib gets for a message it may build as it likes: `ok`, or the error's dotted name and text. */
async function rawCall(build: string): Promise<string> {
  const script = `
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
m = Gio.DBusMessage.new_method_call('${TARGET.name}', '${TARGET.path}', '${TARGET.main}', 'Continue')
${build}
r, _ = bus.send_message_with_reply_sync(m, Gio.DBusSendMessageFlags.NONE, 10000, None)
print('ok' if r.get_message_type() == Gio.DBusMessageType.METHOD_RETURN else r.get_error_name(), r.get_body())
`;
  const { stdout, stderr, status } = await pythonGio(bus.address, script);
  if (status !== 0) throw new Error(stderr);
  return stdout.trim();
}

describe('a call that nobody offers', () => {
  test.each([
    ['an object', { path: '/io/holdpoint/Other' }, 'UnknownObject', '/io/holdpoint/Other'],
    ['an interface', { interface: 'io.holdpoint.Update2' }, 'UnknownInterface', 'io.holdpoint.Update2'],
    ['a method', { member: 'Proceed' }, 'UnknownMethod', 'Proceed'],
    [
      'a method of a parent',
      { path: '/io', interface: PROPERTIES, member: 'GetAll' },
      'UnknownInterface',
      '/io',
    ],
  ])('%s: is told by its name what is unknown', async (_what, change, name, mentioned) => {
    const call = { destination: MAIN, path: TARGET.path, interface: MAIN, member: 'Continue' };
    const error = await remoteErrorOf(client.call({ ...call, ...change }));
    expect(error.name).toBe(STANDARD + name);
    expect(error.message).toContain(mentioned);
  });

  test('for want of building is told NotSupported, and its property is left out of GetAll', async () => {
    for (const [owner, member, signature, body] of [
      [MAIN, 'Snooze', 'su', ['t', 1]],
      [MAIN, 'SendInventory', '', []],
      [HOLDS, 'Hold', 'ssus', ['p', 'w', 1, 'fail']],
      [INSTALL, 'InstallUrl', 'sa{sv}', ['http://x', {}]],
      [PROPERTIES, 'Get', 'ss', [HOLDS, 'Holds']],
    ] as const) {
      const error = await remoteErrorOf(callService(client, owner, member, signature, body));
      expect(error.name, member).toBe(`${STANDARD}NotSupported`);
    }
    const [holds] = await callService(client, PROPERTIES, 'GetAll', 's', [HOLDS]);
    expect(holds).toEqual(new Map());
  });
});

describe('arguments', () => {
  test('of the wrong type are refused with both signatures', async () => {
    const error = await remoteErrorOf(callService(client, MAIN, 'Continue', 'u', [1]));
    expect(error.name).toBe(`${STANDARD}InvalidArgs`);
    expect(error.message).toContain('found arguments of type "u", expected "s"');
    expect(await rawCall('')).toContain('InvalidArgs');
    expect(service.calls).toEqual([]);
  });

  test('that are file descriptors without a descriptor do not end the service', async () => {
    expect(await rawCall(`m.set_body(GLib.Variant('(h)', (0,)))`)).toMatch(/InvalidArgs.*"h"/);
    const inDictionary = `m.set_member('ContinueFull')
m.set_body(GLib.Variant('(sa{sv})', ('t', {'fd': GLib.Variant('h', 7)})))`;
    expect(await rawCall(inDictionary)).toMatch(/InvalidArgs.*file descriptors are not accepted/);
    expect(await getProperty(client, 'State')).toBe('Download');
    expect(service.states).toEqual(['lost', 'connected']);
  });

  test('may have a key __proto__, which is only a key', async () => {
    const options = new Map([
      ['__proto__', variant('s', 'evil')],
      ['comment', variant('s', 'fine')],
    ]);
    await callService(client, MAIN, 'ContinueFull', 'sa{sv}', ['t', options]);
    expect([...service.options.keys()]).toEqual(['__proto__', 'comment']);
    expect(service.options.get('comment')).toEqual({ signature: 's', value: 'fine' });
    expect(({} as Record<string, unknown>)['value']).toBeUndefined();
  });

  test('with one key twice are refused', async () => {
    const twice = `m.set_member('ContinueFull')
m.set_body(GLib.Variant.parse(GLib.VariantType('(sa{sv})'), "('t', {'a': <1>, 'a': <2>})"))`;
    expect(await rawCall(twice)).toMatch(/InvalidArgs.*twice/);
  });

  test('of 64 bit arrive whole', async () => {
    const numbers = { most: variant('t', 2n ** 64n - 1n), least: variant('x', -(2n ** 63n) + 1n) };
    await callService(client, MAIN, 'ContinueFull', 'sa{sv}', ['t', numbers]);
    expect(service.options.get('most')?.value).toBe(18_446_744_073_709_551_615n);
    expect(service.options.get('least')?.value).toBe(-9_223_372_036_854_775_807n);
    const fromGlib = `m.set_member('ContinueFull')
m.set_body(GLib.Variant('(sa{sv})', ('t', {'n': GLib.Variant('x', -(2**63))})))`;
    expect(await rawCall(fromGlib)).toMatch(/^ok/);
    expect(service.options.get('n')?.value).toBe(-(2n ** 63n));
  });

  test('above 256 KiB are refused unread', async () => {
    expect(await rawCall(`m.set_body(GLib.Variant('(s)', ('x' * 300000,)))`)).toMatch(/LimitsExceeded/);
    expect(await rawCall(`m.set_body(GLib.Variant('(s)', ('x' * 30000000,)))`)).toMatch(/LimitsExceeded/);
    expect(service.calls).toEqual([]);
  });
});

describe('a call', () => {
  test('without interface header goes to the interface that has the method', async () => {
    expect(await rawCall(`m.set_interface(None)\nm.set_body(GLib.Variant('(s)', ('t',)))`)).toMatch(
      /^ok \('proceeding',\)/,
    );
    expect(await rawCall(`m.set_interface(None)\nm.set_member('Ping')`)).toMatch(/^ok/);
    expect(await rawCall(`m.set_interface(None)\nm.set_member('Nothing')`)).toMatch(/UnknownMethod/);
  });

  test('that wants no reply gets none, neither a value nor an error', async () => {
    // The system bus would hide a reply nobody asked for; this one lets it through.
    const lax = await startPrivateBus({ extraConfig: LAX_REPLY_RULES });
    const quiet = new SampleService({ address: lax.address }).start();
    await connected(quiet);
    const script = `
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
replies = []
def watch(connection, message, incoming):
    if incoming and message.get_sender() == '${quiet.bus.uniqueName}': replies.append(message.get_message_type().value_nick)
    return message
bus.add_filter(watch)
for argument in ('t', 'stale', 'defect'):
    m = Gio.DBusMessage.new_method_call('${TARGET.name}', '${TARGET.path}', '${TARGET.main}', 'Continue')
    m.set_body(GLib.Variant('(s)', (argument,)))
    m.set_flags(Gio.DBusMessageFlags.NO_REPLY_EXPECTED)
    bus.send_message(m, 0)
bus.call_sync('${TARGET.name}', '${TARGET.path}', 'org.freedesktop.DBus.Peer', 'Ping', None, None, 0, -1, None)
print(replies)
`;
    const { stdout } = await pythonGio(lax.address, script);
    expect(quiet.calls.map(({ args }) => args[0])).toEqual(['t', 'stale', 'defect']);
    expect(stdout.trim(), 'that of the Ping').toBe("['method-return']");
    quiet.close();
    await lax.dispose();
  });

  test('that takes long does not keep others from theirs', async () => {
    const slow = callService(client, MAIN, 'Continue', 's', ['slow']);
    await eventually('the slow call is under way', () => service.waitingCalls === 1);
    expect(await callService(client, MAIN, 'Continue', 's', ['t'])).toEqual(['proceeding']);
    expect(service.dispatcher.runningCalls).toBe(1);
    service.release();
    expect(await slow).toEqual(['proceeding']);
    await eventually('nothing is kept', () => service.dispatcher.runningCalls === 0);
  });

  test('whose caller is gone before it could be told who it is changes nothing', async () => {
    service.close();
    const authorise = (): Promise<Verdict> => Promise.resolve({ isAllowed: true });
    service = new SampleService({ address: bus.address, authorise }).start();
    await connected(service);
    const script = `
from gi.repository import Gio, GLib
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
for i in range(3): bus.call('${TARGET.name}', '${TARGET.path}', '${TARGET.main}', 'Continue', GLib.Variant('(s)', ('t',)), None, 0, -1, None, None)
bus.flush_sync(None)
bus.close_sync(None)
`;
    // Synchronously: our own loop stands still until the client, which is root, has come and gone.
    execFileSync('/usr/bin/python3', ['-c', script], {
      env: { DBUS_SYSTEM_BUS_ADDRESS: bus.address },
      timeout: 20_000,
    });
    const callersBefore = service.bus.counts.callers;
    await getProperty(client, 'State');
    await eventually('all calls are answered', () => service.dispatcher.runningCalls === 0);
    expect(service.limiter.size, 'the calls have come').toBe(2);
    expect(service.calls).toEqual([]);
    expect(service.bus.counts.callers).toBeLessThanOrEqual(callersBefore + 1);
  });

  test('during shutdown is refused, after those under way have been answered', async () => {
    const slow = callService(client, MAIN, 'Continue', 's', ['slow']);
    await eventually('the slow call is under way', () => service.waitingCalls === 1);
    const ended = service.dispatcher.shutDown();
    const error = await remoteErrorOf(callService(client, MAIN, 'Continue', 's', ['t']));
    expect(error.name).toBe(`${MAIN}.Error.ShuttingDown`);
    service.release();
    await ended;
    expect(await slow).toEqual(['proceeding']);
  });
});

describe('an error', () => {
  test('of our own has its dotted name and parameters', async () => {
    const error = await remoteErrorOf(callService(client, MAIN, 'Continue', 's', ['stale']));
    expect(error).toEqual({ name: `${MAIN}.Error.StaleTicket`, message: 'This wait is over [state=Idle]' });
  });

  test.each(['defect', 'thrown', 'not-an-error'])(
    'nobody foresaw (%s) is Failed with an id; path and stack stay in the log',
    async (kind) => {
      const { name, message } = await remoteErrorOf(callService(client, MAIN, 'Continue', 's', [kind]));
      expect(name).toBe(`${STANDARD}Failed`);
      expect(message).toMatch(/^The call failed; see the service's log for [0-9a-f]{8}$/);
      const logged = service.log.records.filter(({ level }) => level === 'error');
      expect(logged).toHaveLength(1);
      expect(message).toContain(String(logged[0]?.fields['errorId']));
      expect(JSON.stringify(logged[0]?.fields)).toMatch(/secret/);
    },
  );

  test.each(['nan', 'infinity', 'min-int64', 'descriptor', 'wrong-type', 'bad-signature', 'undefined'])(
    'of ours in a reply (%s) is an error reply, not a lost connection',
    async (what) => {
      const bad = callService(client, INSTALL, 'InspectPath', 's', [what]);
      const isEmptyReply = what === 'undefined';
      if (isEmptyReply) expect(await bad).toEqual([new Map()]);
      else expect((await remoteErrorOf(bad)).name).toBe(`${STANDARD}Failed`);
      expect(await getProperty(client, 'State')).toBe('Download');
      expect(service.states).toEqual(['lost', 'connected']);
    },
  );

  test('for a reply that is too long is LimitsExceeded, not a lost connection', async () => {
    const error = await remoteErrorOf(callService(client, INSTALL, 'InspectPath', 's', ['oversize']));
    expect(error.name).toBe(`${STANDARD}LimitsExceeded`);
    expect(service.states).toEqual(['lost', 'connected']);
  });
});

describe('properties', () => {
  test('are read one by one and as one snapshot, 64 bit whole', async () => {
    expect(await getProperty(client, 'Serial')).toBe(2n ** 63n + 7n);
    const all = await getAll(client);
    expect([...all.keys()].toSorted()).toEqual(Object.keys(sampleProperties()).toSorted());
    expect(all.get('DownloadedBytes')).toEqual({ signature: 'x', value: 4_294_967_296n });
    const deployment = all.get('Deployment')?.value as VariantMap;
    expect(deployment.get('size-bytes')).toEqual({ signature: 'x', value: 5_000_000_000n });
  });

  test('cannot be set, and stay what they are', async () => {
    const set = callService(client, PROPERTIES, 'Set', 'ssv', [MAIN, 'State', variant('s', 'Idle')]);
    expect((await remoteErrorOf(set)).name).toBe(`${STANDARD}PropertyReadOnly`);
    const unknown = callService(client, PROPERTIES, 'Set', 'ssv', [MAIN, 'Stat', variant('s', 'Idle')]);
    expect((await remoteErrorOf(unknown)).name).toBe(`${STANDARD}UnknownProperty`);
    expect(await getProperty(client, 'State')).toBe('Download');
  });

  test('nobody offers are unknown, and so are interfaces; an empty interface name means any', async () => {
    const get = (owner: string, name: string): Promise<unknown[]> =>
      callService(client, PROPERTIES, 'Get', 'ss', [owner, name]);
    for (const name of ['Nothing', '', '__proto__', 'constructor', 'toString']) {
      expect((await remoteErrorOf(get(MAIN, name))).name).toBe(`${STANDARD}UnknownProperty`);
    }
    for (const owner of ['io.holdpoint.Update2', '__proto__']) {
      expect((await remoteErrorOf(get(owner, 'State'))).name).toBe(`${STANDARD}UnknownInterface`);
      const all = callService(client, PROPERTIES, 'GetAll', 's', [owner]);
      expect((await remoteErrorOf(all)).name).toBe(`${STANDARD}UnknownInterface`);
    }
    expect(await get('', 'State')).toEqual([variant('s', 'Download')]);
    expect(await callService(client, PROPERTIES, 'GetAll', 's', [HISTORY])).toEqual([new Map()]);
  });

  test('we failed to give or gave of the wrong type are an error with an id', async () => {
    service.properties['State'] = variant('u', 1);
    const wrongType = callService(client, PROPERTIES, 'Get', 'ss', [MAIN, 'State']);
    expect((await remoteErrorOf(wrongType)).name).toBe(`${STANDARD}Failed`);
    delete service.properties['State'];
    const absent = callService(client, PROPERTIES, 'GetAll', 's', [MAIN]);
    expect((await remoteErrorOf(absent)).name).toBe(`${STANDARD}Failed`);
    expect(service.log.records.at(-1)?.fields['errorMessage']).toMatch(/Update1.State has no value/);
  });
});

describe('the parents of the object', () => {
  test('lead to it', async () => {
    for (const [path, child] of [
      ['/', 'io'],
      ['/io', 'holdpoint'],
      ['/io/holdpoint', 'Update1'],
    ] as const) {
      const introspect = { interface: 'org.freedesktop.DBus.Introspectable', member: 'Introspect' };
      const [xml] = await client.call({ destination: MAIN, path, ...introspect });
      expect(xml).toContain(`<node name="${child}"/>`);
      expect(xml).not.toContain(MAIN);
    }
  });

  test('and every other path answer Ping and GetMachineId', async () => {
    for (const path of ['/', '/io', TARGET.path, '/no/such/object']) {
      const peer = { destination: MAIN, path, interface: 'org.freedesktop.DBus.Peer' };
      expect(await client.call({ ...peer, member: 'Ping' })).toEqual([]);
    }
  });
});

describe('a flood of calls', () => {
  test('from one sender is refused beyond its burst while another is served', async () => {
    service.close();
    service = new SampleService({ address: bus.address, burst: 20 }).start();
    await connected(service);
    const calls = Array.from({ length: 100 }, () =>
      getProperty(client, 'State').then(
        () => 'served',
        (error: Error) => (error.message.startsWith('Too many calls') ? 'refused' : error.message),
      ),
    );
    const outcomes = await Promise.all(calls);
    expect(outcomes.filter((outcome) => outcome === 'refused').length).toBeGreaterThan(70);
    expect(outcomes.filter((outcome) => outcome === 'served').length).toBeGreaterThanOrEqual(20);
    const other = await openClient(bus.address);
    expect(await getProperty(other, 'State')).toBe('Download');
    other.close();
  });

  test('of 1500 calls at a time refuses most and answers everybody else meanwhile', async () => {
    service.close();
    service = new SampleService({ address: bus.address, burst: 200 }).start();
    await connected(service);
    const flooder = await openClient(bus.address);
    const flood: Promise<unknown>[] = [];
    for (let tick = 0; tick < 75; tick += 1) {
      for (let call = 0; call < 20; call += 1) flood.push(getAll(flooder).catch(() => null));
      expect(await getProperty(client, 'State')).toBe('Download');
    }
    const outcomes = await Promise.all(flood);
    flooder.close();
    expect(outcomes.filter((outcome) => outcome === null).length).toBeGreaterThan(1000);
  });

  test('of 1000 short-lived clients leaves nothing behind', async () => {
    for (let batch = 0; batch < 50; batch += 1) {
      const clients = await Promise.all(Array.from({ length: 20 }, () => openClient(bus.address)));
      await Promise.all(clients.map((short) => getProperty(short, 'State')));
      for (const short of clients) short.close();
      await Promise.all(clients.map(({ closed }) => closed));
    }
    expect(service.dispatcher.runningCalls).toBe(0);
    expect(service.bus.counts).toMatchObject({ pendingCalls: 0, rules: 0 });
    expect(service.bus.counts.callers).toBeLessThanOrEqual(256);
    expect(service.limiter.size).toBeLessThanOrEqual(256);
  });
});

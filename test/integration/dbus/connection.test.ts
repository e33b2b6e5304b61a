import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Bus, openClient, type NameReport } from '../../../src/adapters/dbus/connection.ts';
import { loadHoldpointTable } from '../../../src/adapters/dbus/interface-xml.ts';
import { busCall, RemoteError } from '../../../src/adapters/dbus/link.ts';
import type { Signal } from '../../../src/adapters/dbus/subscriptions.ts';
import { callService, connected, getAll, getProperty, MAIN } from '../../support/bus-client.ts';
import { busctl, pythonGio, TARGET } from '../../support/bus-tools.ts';
import { eventually } from '../../support/eventually.ts';
import { LAX_REPLY_RULES, startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';
import { RecordingLog } from '../../support/recording-log.ts';
import { SampleService } from '../../support/sample-service.ts';

/** What survives the bus. Every test has a daemon of its own, because most of them end it. */
let bus: PrivateBus;
let closers: (() => void)[] = [];

beforeEach(async () => {
  bus = await startPrivateBus();
});
afterEach(async () => {
  for (const close of closers.toReversed()) close();
  closers = [];
  await bus.dispose();
});

async function startService(options: { readonly maxDelayMs?: number } = {}): Promise<SampleService> {
  const service = new SampleService({ address: bus.address, ...options }).start();
  closers.push(() => service.close());
  await connected(service);
  return service;
}

function plainBus(names: readonly string[] = [], delaysMs = 100): Bus {
  const other = new Bus({
    address: bus.address,
    names: names.map((name) => ({ name })),
    log: new RecordingLog(),
    firstDelayMs: delaysMs,
    maxDelayMs: delaysMs,
  });
  closers.push(() => other.close());
  return other;
}

const readState = ['get-property', MAIN, TARGET.path, MAIN, 'State'];

describe('when the bus is lost', () => {
  test('name, object and properties are back within 10 s of its return', async () => {
    const service = await startService();
    await bus.stop();
    await eventually('the loss is noticed', () => service.bus.state === 'lost', 1000);
    await eventually('several attempts have failed', () => attempts(service) >= 4);
    await bus.start();
    const startedMs = performance.now();
    await eventually('the service answers', async () => (await busctl(bus.address, readState)).status === 0);
    expect(performance.now() - startedMs).toBeLessThan(10_000);
    expect(service.states).toEqual(['lost', 'connected', 'lost', 'connected']);
    expect(service.names).toEqual([
      { name: MAIN, state: 'owned' },
      { name: MAIN, state: 'owned' },
    ]);
    const client = await openClient(bus.address);
    closers.push(() => client.close());
    const { properties } = loadHoldpointTable().interfaces.get(MAIN)!;
    expect([...(await getAll(client)).keys()].toSorted()).toEqual([...properties.keys()].toSorted());
  });

  test('it is tried again after 0.1 s and then ever later, 5 s at most', async () => {
    const service = await startService();
    await bus.stop();
    await eventually('five attempts have failed', () => attempts(service) >= 5);
    const delays = service.log.records.flatMap(({ fields }) => fields['retryInMs'] ?? []);
    expect(delays.slice(0, 5)).toEqual([100, 200, 400, 800, 1600]);
    const warnings = service.log.records.filter(({ level }) => level === 'warn');
    expect(warnings.map(({ sentence }) => sentence)).toEqual(['Lost the message bus']);
  });

  test('everything pending is settled, and new calls are refused at once', async () => {
    const service = await startService();
    const client = await openClient(bus.address);
    closers.push(() => client.close());
    const slow = callService(client, MAIN, 'Continue', 's', ['slow']).catch((error: unknown) => error);
    const ours = service.bus
      .call({ destination: service.bus.uniqueName, path: '/', interface: 'a.B', member: 'C' })
      .catch((error: unknown) => error);
    expect(await ours, 'a call to ourselves is answered').toBeInstanceOf(RemoteError);
    await eventually('the slow call is under way', () => service.waitingCalls === 1);
    process.kill(bus.pid(), 'SIGSTOP');
    const pending = service.bus.call(busCall('ListNames')).catch((error: unknown) => error);
    expect(service.bus.counts.pendingCalls).toBe(1);
    await bus.stop();
    const disconnected = { kind: 'bus', details: { reason: 'disconnected' } };
    expect(await pending).toMatchObject(disconnected);
    expect(await slow).toMatchObject(disconnected);
    expect(await client.closed).toMatchObject(disconnected);
    await expect(service.bus.call(busCall('ListNames'))).rejects.toMatchObject(disconnected);
    expect(service.bus.counts.pendingCalls).toBe(0);
    service.release();
    await eventually(
      'the handler has ended without a place to reply to',
      () => service.dispatcher.runningCalls === 0,
    );
  });

  test('subscriptions go on after its return', async () => {
    const service = await startService();
    const observer = plainBus([], 20);
    const heard: unknown[] = [];
    const sender = { sender: MAIN, interface: MAIN, member: 'StateChanged' };
    const subscription = observer.signals$(sender).subscribe(({ args }) => heard.push(args[0]));
    observer.start();
    await connected({ bus: observer });
    await bus.restart();
    await eventually('both are back', () => service.states.length === 4 && observer.state === 'connected');
    await eventually('a signal of the new life is heard', () => {
      service.emitter.signal(MAIN, 'StateChanged', [7n, '', 'Idle', 'Idle']);
      return heard.length > 0;
    });
    expect(heard[0]).toBe(7n);
    subscription.unsubscribe();
    expect(observer.counts.rules).toBe(0);
  });

  test('the process lives on, waits for it and serves again', async () => {
    const file = join(fileURLToPath(new URL('.', import.meta.url)), 'keep-alive-child.ts');
    const child = spawn(process.execPath, ['--import', 'tsx', file, bus.address], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    closers.push(() => child.kill('SIGKILL'));
    await eventually('it is connected', () => output.endsWith('connected\n'), 30_000);
    await bus.stop();
    await eventually('it has noticed', () => output.endsWith('lost\n'));
    await bus.start();
    await eventually('it is connected again', () => output.endsWith('connected\n'));
    expect(child.exitCode).toBeNull();
    const owned = await busctl(bus.address, [
      'call',
      'org.freedesktop.DBus',
      '/',
      'org.freedesktop.DBus',
      'NameHasOwner',
      's',
      MAIN,
    ]);
    expect(owned.stdout.trim()).toBe('b true');
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  });
});

describe('a bus', () => {
  test('that is not there at the start is waited for', async () => {
    await bus.stop();
    const service = new SampleService({ address: bus.address }).start();
    closers.push(() => service.close());
    await eventually('two attempts have failed', () => attempts(service) >= 2);
    expect(service.bus.state).toBe('lost');
    await bus.start();
    await connected(service);
    expect((await busctl(bus.address, readState)).stdout.trim()).toBe('s "Download"');
  });

  test('that stops reading is given up before our memory is', async () => {
    const service = await startService();
    process.kill(bus.pid(), 'SIGSTOP');
    const text = 'x'.repeat(512 * 1024);
    let sent = 0;
    while (service.bus.state === 'connected' && sent < 1000) {
      service.emitter.signal(MAIN, 'StateChanged', [1n, text, 'Idle', 'Idle']);
      sent += 1;
      if (sent % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(sent, 'in units of 0.5 MiB').toBeLessThan(200);
    process.kill(bus.pid(), 'SIGCONT');
    await connected(service);
  });

  test('that accepts and says nothing is given up after the time limit', async () => {
    await bus.stop();
    const silent = createServer(() => {}).listen(bus.socketPath.replace('socket', 'silent'));
    await once(silent, 'listening');
    const address = bus.address.replace('socket', 'silent');
    await expect(openClient(address, { openTimeoutMs: 100 })).rejects.toThrow(/no answer within 100 ms/);
    silent.close();
  });

  test('that talks nonsense costs the connection, not the process', async () => {
    const liar = createServer((socket) => {
      socket.once('data', () => {
        socket.write('OK 1234\r\n');
        socket.once('data', () => socket.write(Buffer.alloc(400, 0xff)));
      });
      socket.on('error', () => {});
    }).listen(bus.socketPath.replace('socket', 'liar'));
    await once(liar, 'listening');
    const address = bus.address.replace('socket', 'liar');
    await expect(openClient(address, { openTimeoutMs: 5000 })).rejects.toMatchObject({ kind: 'bus' });
    liar.close();
  });

  test('that has room for nobody more answers Hello with an error, which is an error and nothing more', async () => {
    const extraConfig = '<limit name="max_connections_per_user">1</limit>';
    const full = await startPrivateBus({ extraConfig });
    const first = await openClient(full.address);
    await expect(openClient(full.address, { openTimeoutMs: 5000 })).rejects.toMatchObject({ kind: 'bus' });
    first.close();
    await first.closed;
    const second = await eventuallyOpen(full.address);
    second.close();
    await full.dispose();
  });

  test.each([
    ['tcp:host=127.0.0.1,port=1', /no unix:path=/],
    ['', /no unix:path=/],
    ['unix:path=/%zz', /malformed % escape/],
    ['unix:path=/does/not/exist', /cannot connect to the message bus at \/does\/not\/exist: .*ENOENT/],
    ['unix:abstract=holdpoint-nobody-listens', /at @holdpoint-nobody-listens/],
  ])('address %s that cannot be used is refused in words', async (address, expected) => {
    await expect(openClient(address)).rejects.toThrow(expected);
  });

  test('is found at the second address when the first is dead', async () => {
    const client = await openClient(`unix:path=/does/not/exist;${bus.address},guid=1234`);
    expect(client.uniqueName).toMatch(/^:1\./);
    client.close();
  });
});

describe('a call', () => {
  test('that is not answered in time is given up and forgotten', async () => {
    const service = await startService();
    const client = await openClient(bus.address);
    closers.push(() => client.close());
    const slow = { destination: MAIN, path: TARGET.path, interface: MAIN, member: 'Continue' };
    const call = client.call({ ...slow, signature: 's', body: ['slow'] }, 50);
    await expect(call).rejects.toMatchObject({ kind: 'timeout', details: { 'timeout-ms': 50 } });
    service.release();
    expect(await getProperty(client, 'State'), 'the late reply disturbs nobody').toBe('Download');
  });

  test('is answered by whom it was sent to and by nobody else', async () => {
    const lax = await startPrivateBus({ extraConfig: LAX_REPLY_RULES });
    const service = new SampleService({ address: lax.address }).start();
    await connected(service);
    const client = await openClient(lax.address);
    const destination = service.bus.uniqueName;
    const slow = { destination, path: TARGET.path, interface: MAIN, member: 'Continue' };
    const reply = client.call({ ...slow, signature: 's', body: ['slow'] });
    await eventually('the call is under way', () => service.waitingCalls === 1);
    const script = `
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
for serial in range(1, 20):
    m = Gio.DBusMessage.new()
    m.set_message_type(Gio.DBusMessageType.METHOD_RETURN)
    m.set_reply_serial(serial)
    m.set_destination('${client.uniqueName}')
    m.set_body(GLib.Variant('(s)', ('forged',)))
    bus.send_message(m, 0)
bus.call_sync('${client.uniqueName}', '/', 'org.freedesktop.DBus.Peer', 'Ping', None, None, 0, -1, None)`;
    // Whatever answers the last call, the bus has passed the forgeries on by then.
    expect((await pythonGio(lax.address, script)).stderr).toMatch(/offers no objects|Rejected/);
    service.release();
    expect(await reply).toEqual(['proceeding']);
    client.close();
    service.close();
    await lax.dispose();
  });

  test.each([
    ['path', { path: 'no/path' }],
    ['member', { member: 'no-member' }],
    ['interface', { interface: 'nodots' }],
    ['destination', { destination: ':x y' }],
  ])('with a malformed %s is refused before the bus would end the connection', async (what, change) => {
    const service = await startService();
    const call = { destination: MAIN, path: '/', interface: MAIN, member: 'Continue', ...change };
    await expect(service.bus.call(call)).rejects.toThrow(`cannot send a message with ${what}`);
    expect(await service.bus.call(busCall('GetId'))).toHaveLength(1);
  });

  test('to us is answered although we had called the name when it was another’s', async () => {
    const previous = plainBus([MAIN]);
    previous.start();
    await connected({ bus: previous });
    const service = new SampleService({ address: bus.address, names: [] }).start();
    closers.push(() => service.close());
    await connected(service);
    const ping = { destination: MAIN, path: '/', interface: 'org.freedesktop.DBus.Peer', member: 'Ping' };
    await expect(service.bus.call(ping)).rejects.toBeInstanceOf(RemoteError);
    previous.close();
    await eventually('the name is ours', async () => {
      const [answer] = await service.bus.call(busCall('RequestName', 'su', [MAIN, 4]));
      return answer === 1 || answer === 4;
    });
    expect((await busctl(bus.address, readState)).stdout.trim()).toBe('s "Download"');
  });
});

describe('a name', () => {
  test('that another process has is reported as taken, and ours again when taken from us as lost', async () => {
    const first = await startService();
    const second = plainBus([MAIN]);
    const reports: NameReport[] = [];
    second.name$.subscribe((report) => reports.push(report));
    second.start();
    await connected({ bus: second });
    expect(reports).toEqual([{ name: MAIN, state: 'taken' }]);
    await first.bus.call(busCall('ReleaseName', 's', [MAIN]));
    await eventually('the loss is reported', () => first.names.length === 2);
    expect(first.names[1]).toEqual({ name: MAIN, state: 'lost' });
    const [hasOwner] = await second.call(busCall('NameHasOwner', 's', [MAIN]));
    expect(hasOwner, 'nobody waited in a queue for it').toBe(false);
  });

  test('is asked for after the object is there: the first call is answered', async () => {
    const client = await openClient(bus.address);
    closers.push(() => client.close());
    const owners: string[] = [];
    const firstAnswer = new Promise<unknown>((resolve, reject) => {
      client.nameOwner$(MAIN).subscribe((owner) => {
        owners.push(owner);
        if (owner !== '') getProperty(client, 'State').then(resolve, reject);
      });
    });
    await eventually('the absence is known', () => owners.length === 1);
    const service = await startService();
    expect(await firstAnswer).toBe('Download');
    expect(owners).toEqual(['', service.bus.uniqueName]);
    service.close();
    await eventually('the end is seen', () => owners.length === 3);
    expect(owners[2]).toBe('');
  });
});

test('a signal of the type that crashes the library, sent straight to the service, does nothing', async () => {
  const service = await startService();
  const watched: string[] = [];
  const subscription = service.bus
    .nameOwner$('org.example.Watched')
    .subscribe((owner) => watched.push(owner));
  const script = `
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
for interface, member in (('a.B', 'C'), ('org.freedesktop.DBus', 'NameOwnerChanged'), ('org.freedesktop.DBus', 'NameLost')):
    for body in (GLib.Variant('(h)', (0,)), GLib.Variant('(sss)', ('${MAIN}', ':1.1', '')), GLib.Variant('(sss)', ('org.example.Watched', '', ':1.1'))):
        m = Gio.DBusMessage.new_signal('/a', interface, member)
        m.set_destination('${service.bus.uniqueName}')
        m.set_body(body)
        bus.send_message(m, 0)
bus.flush_sync(None)`;
  expect((await pythonGio(bus.address, script)).stderr).toBe('');
  expect((await busctl(bus.address, readState)).stdout.trim()).toBe('s "Download"');
  expect(service.states).toEqual(['lost', 'connected']);
  expect(service.names).toEqual([{ name: MAIN, state: 'owned' }]);
  expect(watched).toEqual(['']);
  subscription.unsubscribe();
});

describe('match rules', () => {
  const noise = { sender: MAIN, interface: MAIN };

  test('are at the bus once for all who want them and gone with the last: 5000 times without a leak', async () => {
    await bus.dispose();
    bus = await startPrivateBus({
      extraConfig: '<limit name="max_match_rules_per_connection">10</limit>',
    });
    const service = await startService();
    const observer = plainBus();
    observer.start();
    await connected({ bus: observer });
    const heard: unknown[] = [];
    const kept = observer
      .signals$({ ...noise, member: 'StateChanged' })
      .subscribe(({ args }) => heard.push(args[0]));
    const failures: unknown[] = [];
    for (let round = 0; round < 5000; round += 1) {
      const match = { ...noise, member: round % 2 === 0 ? 'StateChanged' : 'WaitEnded' };
      const subscription = observer.signals$(match).subscribe({ error: (error) => failures.push(error) });
      subscription.unsubscribe();
      if (round % 500 === 0) await observer.call(busCall('GetId'));
    }
    await observer.call(busCall('GetId'));
    expect(failures).toEqual([]);
    expect(observer.counts).toMatchObject({ rules: 2, pendingCalls: 0 });
    service.emitter.signal(MAIN, 'StateChanged', [9n, '', 'Idle', 'Idle']);
    await eventually('the kept one still hears', () => heard.length === 1);
    kept.unsubscribe();
    expect(observer.counts.rules).toBe(0);
  });

  test('above what the bus allows are an error for who wanted them, and for nobody else', async () => {
    await bus.dispose();
    bus = await startPrivateBus({
      extraConfig: '<limit name="max_match_rules_per_connection">2</limit>',
    });
    const client = await openClient(bus.address);
    closers.push(() => client.close());
    const outcomes: string[] = [];
    for (const member of ['A', 'B', 'C']) {
      client.signals$({ sender: 'org.freedesktop.DBus', interface: 'a.B', member }).subscribe({
        error: (error: Error) => outcomes.push(error.message),
      });
    }
    await eventually('the third is refused', () => outcomes.length === 1);
    expect(outcomes[0]).toMatch(/refused the match rule type='signal'.*member='C'/);
    expect(await client.call(busCall('GetId'))).toHaveLength(1);
  });

  test('do not let through what another than the owner of the name sends', async () => {
    const service = await startService();
    const client = await openClient(bus.address);
    closers.push(() => client.close());
    const heard: Signal[] = [];
    client.signals$({ ...noise, member: 'StateChanged' }).subscribe((signal) => heard.push(signal));
    const arrived: string[] = [];
    client
      .signals$({
        sender: 'org.freedesktop.DBus',
        interface: 'org.freedesktop.DBus',
        member: 'NameOwnerChanged',
      })
      .subscribe(({ args }) => arrived.push(String(args[0])));
    const forged = [TARGET.path, MAIN, 'StateChanged', 'tsss', '666', '', 'Idle', 'Idle'];
    await busctl(bus.address, ['emit', `--destination=${client.uniqueName}`, ...forged]);
    await busctl(bus.address, ['emit', ...forged]);
    // One with a file descriptor that is not there, straight at us and in the name of the bus's own interface.
    const script = `
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
for interface, member in (('${MAIN}', 'StateChanged'), ('org.freedesktop.DBus', 'NameOwnerChanged')):
    m = Gio.DBusMessage.new_signal('${TARGET.path}', interface, member)
    m.set_destination('${client.uniqueName}')
    m.set_body(GLib.Variant('(h)', (0,)))
    bus.send_message(m, 0)
bus.flush_sync(None)`;
    expect((await pythonGio(bus.address, script)).stderr).toBe('');
    service.emitter.signal(MAIN, 'StateChanged', [5n, '', 'Idle', 'Idle']);
    await eventually('the true one is heard', () => heard.length > 0);
    expect(heard.map(({ args }) => args[0])).toEqual([5n]);
    expect(arrived.length, 'the forgers have been there').toBeGreaterThanOrEqual(3);
  });
});

test('closing sends what was said before and leaves nothing open', async () => {
  const service = await startService();
  const client = await openClient(bus.address);
  closers.push(() => client.close());
  const heard: unknown[] = [];
  client
    .signals$({ sender: MAIN, interface: MAIN, member: 'StateChanged' })
    .subscribe(({ args }) => heard.push(args[0]));
  await getProperty(client, 'State');
  // More than the socket takes at once.
  const long = 'x'.repeat(100_000);
  for (let serial = 0; serial < 100; serial += 1) {
    service.emitter.signal(MAIN, 'StateChanged', [serial, long, 'Idle', 'Idle']);
  }
  service.close();
  await eventually('the last words are heard', () => heard.length === 100);
  expect(service.states.at(-1)).toBe('lost');
  const { stdout } = await busctl(bus.address, [
    'call',
    'org.freedesktop.DBus',
    '/',
    'org.freedesktop.DBus',
    'NameHasOwner',
    's',
    MAIN,
  ]);
  expect(stdout.trim()).toBe('b false');
});

function attempts(service: SampleService): number {
  return service.log.records.filter(({ fields }) => fields['retryInMs'] !== undefined).length;
}

async function eventuallyOpen(address: string): Promise<Awaited<ReturnType<typeof openClient>>> {
  let client: Awaited<ReturnType<typeof openClient>> | null = null;
  await eventually('there is room again', async () => {
    client = await openClient(address).catch(() => null);
    return client !== null;
  });
  if (client === null) throw new Error('no client');
  return client;
}

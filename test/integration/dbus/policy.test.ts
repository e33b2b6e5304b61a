import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Bus, type NameReport } from '../../../src/adapters/dbus/connection.ts';
import { loadHoldpointTable } from '../../../src/adapters/dbus/interface-xml.ts';
import { connected, MAIN } from '../../support/bus-client.ts';
import { busctl, dbusSend, OTHER_UID, pythonGio, runTool, TARGET } from '../../support/bus-tools.ts';
import { eventually } from '../../support/eventually.ts';
import { POLICY_PATH, startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';
import { RecordingLog } from '../../support/recording-log.ts';
import { SampleService } from '../../support/sample-service.ts';

/** The policy file we ship, in a real daemon, with a caller who is nobody. */
const DEFAULTS: Readonly<Record<string, string>> = {
  s: "''",
  u: '@u 0',
  t: '@t 0',
  b: 'true',
  as: '@as []',
  'a{sv}': '@a{sv} {}',
};

const FOR_EVERYONE: ReadonlySet<string> = new Set([
  `${MAIN}.CanDo`,
  `${MAIN}.History.List`,
  `${MAIN}.History.Get`,
]);

let bus: PrivateBus;
let service: SampleService;

beforeAll(async () => {
  bus = await startPrivateBus();
  service = new SampleService({ address: bus.address }).start();
  await connected(service);
});
afterAll(async () => {
  service.close();
  await bus.dispose();
});

/** What each call (interface, member, GLib text of the arguments) is answered, as another user: `ok` or the error. */
async function callAsNobody(
  calls: readonly (readonly [string, string, string])[],
  address = bus.address,
): Promise<Readonly<Record<string, string>>> {
  const script = `
import json
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
outcomes = {}
for interface, member, arguments in json.loads(${JSON.stringify(JSON.stringify(calls))}):
    value = GLib.Variant.parse(None, arguments) if arguments != '()' else None
    try:
        bus.call_sync('${TARGET.name}', '${TARGET.path}', interface, member, value, None, 0, 10000, None)
        outcomes[interface + '.' + member] = 'ok'
    except GLib.Error as error:
        outcomes[interface + '.' + member] = Gio.DBusError.get_remote_error(error) + ': ' + error.message
print(json.dumps(outcomes))
`;
  const { stdout, stderr, status } = await pythonGio(address, script, { uid: OTHER_UID });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Record<string, string>;
}

describe('somebody who is not root', () => {
  test('may read everything that is for everyone', async () => {
    const outcomes = await callAsNobody([
      ['org.freedesktop.DBus.Properties', 'Get', `('${MAIN}', 'State')`],
      ['org.freedesktop.DBus.Properties', 'GetAll', `('${MAIN}',)`],
      ['org.freedesktop.DBus.Introspectable', 'Introspect', '()'],
      ['org.freedesktop.DBus.Peer', 'Ping', '()'],
      [`${MAIN}.History`, 'List', '(@u 10,)'],
      [`${MAIN}.History`, 'Get', "('deployment-0',)"],
    ]);
    expect(Object.entries(outcomes).filter(([, outcome]) => outcome !== 'ok')).toEqual([]);
  });

  test('is refused by the service, with AccessDenied and without effect, for every other method', async () => {
    const calls: [string, string, string][] = [];
    for (const { name, methods } of loadHoldpointTable().interfaces.values()) {
      for (const method of methods.values()) {
        const key = `${name}.${method.name}`;
        if (FOR_EVERYONE.has(key)) continue;
        const args = method.in.map(({ type }) => DEFAULTS[type]);
        calls.push([
          name,
          method.name,
          args.length === 0 ? '()' : `(${args.join(', ')}${args.length === 1 ? ',' : ''})`,
        ]);
      }
    }
    expect(calls.length).toBeGreaterThanOrEqual(20);
    const outcomes = await callAsNobody(calls);
    for (const [member, outcome] of Object.entries(outcomes)) {
      expect(outcome).toMatch(/^org\.freedesktop\.DBus\.Error\.AccessDenied: .*may not call/);
      expect(outcome).toContain(member);
    }
    expect(service.calls).toEqual([]);
  });

  test('cannot set a property: the bus itself refuses', async () => {
    const outcomes = await callAsNobody([
      ['org.freedesktop.DBus.Properties', 'Set', `('${MAIN}', 'State', <'Idle'>)`],
    ]);
    expect(Object.values(outcomes)[0]).toMatch(/AccessDenied.*Rejected send message/);
  });

  test('cannot call without naming the interface, nor an interface the policy does not know', async () => {
    const args = [`--bus=${bus.address}`, '--print-reply', `--dest=${MAIN}`, TARGET.path];
    const unknown = await runTool('dbus-send', [...args, 'org.example.Other.Method'], { uid: OTHER_UID });
    expect(unknown.stderr).toMatch(/AccessDenied.*Rejected send message/);
    const script = `
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
m = Gio.DBusMessage.new_method_call('${TARGET.name}', '${TARGET.path}', None, 'CheckForUpdate')
print(bus.send_message_with_reply_sync(m, 0, 10000, None)[0].get_error_name())`;
    const absent = await pythonGio(bus.address, script, { uid: OTHER_UID });
    expect(absent.stdout.trim()).toBe('org.freedesktop.DBus.Error.AccessDenied');
  });

  test('hears the signals', async () => {
    const script = `
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
loop = GLib.MainLoop()
def heard(connection, sender, path, interface, member, parameters):
    print(member, parameters.unpack()[3], flush=True)
    loop.quit()
bus.signal_subscribe('${TARGET.name}', '${MAIN}', 'StateChanged', None, None, 0, heard)
bus.call_sync('${TARGET.name}', '${TARGET.path}', 'org.freedesktop.DBus.Peer', 'Ping', None, None, 0, -1, None)
GLib.timeout_add_seconds(15, loop.quit)
loop.run()`;
    let isOver = false;
    const heard = pythonGio(bus.address, script, { uid: OTHER_UID }).finally(() => (isOver = true));
    await eventually('the signal is heard', () => {
      service.emitter.signal(MAIN, 'StateChanged', [1n, 'd', 'Download', 'Download_Enter']);
      return isOver;
    });
    expect((await heard).stdout).toMatch(/^StateChanged Download_Enter\n/);
  });

  test('cannot own the name, even while it is free', async () => {
    const free = await startPrivateBus();
    const request = ['call', 'org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus'];
    const args = [...request, 'RequestName', 'su', MAIN, '4'];
    const denied = await busctl(free.address, args, { uid: OTHER_UID });
    expect(denied.status).not.toBe(0);
    expect(denied.stderr).toMatch(/not allowed to own|Access denied/i);
    expect((await busctl(free.address, args)).stdout.trim()).toBe('u 1');
    await free.dispose();
  });
});

describe('root', () => {
  test('may call, also where others may not', async () => {
    const call = ['call', MAIN, TARGET.path, `${MAIN}.History`, 'GetLog', 'suu', 'deployment-0', '0', '10'];
    expect((await busctl(bus.address, call)).stdout.trim()).toBe('asu 1 "line" 1');
  });

  test('is told by the service that a property is read-only', async () => {
    const args = ['set-property', MAIN, TARGET.path, MAIN, 'State', 's', 'Idle'];
    const { stderr } = await busctl(bus.address, args);
    expect(stderr).toMatch(/State cannot be written/);
  });
});

describe('an authoriser', () => {
  test('that fails denies', async () => {
    const authorise = (): Promise<never> => Promise.reject(new Error('the rules cannot be read'));
    const other = await startPrivateBus();
    const failing = new SampleService({ address: other.address, authorise }).start();
    await connected(failing);
    const call = ['call', MAIN, TARGET.path, MAIN, 'Continue', 's', 't'];
    expect((await busctl(other.address, call)).stderr).toMatch(/Access denied|could not be decided/i);
    expect(failing.calls).toEqual([]);
    failing.close();
    await other.dispose();
  });

  test('is told who calls what, with which arguments', async () => {
    const requests: unknown[] = [];
    const other = await startPrivateBus();
    const asking = new SampleService({
      address: other.address,
      authorise: (request) => {
        requests.push(request);
        return Promise.resolve({
          isAllowed: false,
          refusal: 'InteractiveAuthorizationRequired',
          message: 'Not without a password',
        });
      },
    }).start();
    await connected(asking);
    const outcomes = await callAsNobody([[MAIN, 'Continue', "('t',)"]], other.address);
    expect(Object.values(outcomes)[0]).toMatch(/Error\.InteractiveAuthorizationRequired/);
    expect(requests).toEqual([
      {
        sender: expect.stringMatching(/^:1\./) as string,
        uid: OTHER_UID,
        gids: [OTHER_UID],
        connection: expect.objectContaining({ isOpen: true }) as unknown,
        path: TARGET.path,
        interface: MAIN,
        member: 'Continue',
        args: ['t'],
        isInteractive: false,
      },
    ]);
    asking.close();
    await other.dispose();
  });
});

describe('the strict variant', () => {
  const STRICT_PATH = resolve('dbus-policy/strict/io.holdpoint.Update1.conf');
  const MEMBER = { uid: 1 };
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdpoint-policy-'));
    await chmod(folder, 0o755);
    const text = await readFile(STRICT_PATH, 'utf8');
    expect(text).toContain('group="holdpoint"');
    // A group that exists where the test runs.
    await writeFile(join(folder, 'strict.conf'), text.replace('group="holdpoint"', 'group="daemon"'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function withStrict(
    policyPaths: readonly string[],
    use: (closed: PrivateBus, guarded: SampleService) => Promise<void>,
  ): Promise<void> {
    const closed = await startPrivateBus({ policyPaths });
    const guarded = new SampleService({ address: closed.address }).start();
    try {
      await connected(guarded);
      await use(closed, guarded);
    } finally {
      guarded.close();
      await closed.dispose();
    }
  }

  const read = ['get-property', MAIN, TARGET.path, MAIN, 'State'];
  const order = ['call', MAIN, TARGET.path, MAIN, 'CheckForUpdate'];

  test.each([
    ['alone', (): readonly string[] => [join(folder, 'strict.conf')]],
    ['behind the usual file', (): readonly string[] => [POLICY_PATH, join(folder, 'strict.conf')]],
  ])(
    '%s, closes the door for those outside the group, and the service still checks',
    async (_what, paths) => {
      await withStrict(paths(), async (closed, guarded) => {
        expect((await busctl(closed.address, read)).stdout.trim()).toBe('s "Download"');
        expect((await busctl(closed.address, read, MEMBER)).stdout.trim()).toBe('s "Download"');
        const introspect = ['introspect', MAIN, TARGET.path];
        expect((await busctl(closed.address, introspect, MEMBER)).stdout).toContain('CheckForUpdate');
        for (const call of [read, order, introspect]) {
          const refused = await busctl(closed.address, call, { uid: OTHER_UID });
          expect(refused.stderr).toMatch(/Access denied|AccessDenied/i);
        }
        // The words are the service's, not the bus's.
        const send = [`--dest=${MAIN}`, TARGET.path, `${MAIN}.CheckForUpdate`];
        expect((await dbusSend(closed.address, send, MEMBER)).stderr).toMatch(/AccessDenied: .*may not call/);
        expect(guarded.calls).toEqual([]);
        expect((await busctl(closed.address, order)).status).toBe(0);
        const own = ['call', 'org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus'];
        const claim = await busctl(closed.address, [...own, 'RequestName', 'su', MAIN, '4'], MEMBER);
        expect(claim.stderr).toMatch(/not allowed to own|Access denied/i);
      });
    },
  );

  test('lets members hear the signals, and nobody else', async () => {
    await withStrict([join(folder, 'strict.conf')], async (closed, guarded) => {
      const script = `
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
loop = GLib.MainLoop()
heard = []
def ours(c, sender, path, interface, member, parameters):
    heard.append(member)
    loop.quit()
bus.signal_subscribe(None, '${MAIN}', 'StateChanged', None, None, 0, ours)
bus.call_sync('org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'GetId', None, None, 0, -1, None)
print('listening', flush=True)
GLib.timeout_add_seconds(2, loop.quit)
loop.run()
print(heard)`;
      let isOver = false;
      const both = Promise.all([
        pythonGio(closed.address, script, MEMBER),
        pythonGio(closed.address, script, { uid: OTHER_UID }),
      ]).finally(() => (isOver = true));
      await eventually('both have listened', () => {
        guarded.emitter.signal(MAIN, 'StateChanged', [1n, 'd', 'Download', 'Download_Enter']);
        return isOver;
      });
      const [member, other] = await both;
      expect(member.stdout).toBe("listening\n['StateChanged']\n");
      expect(other.stdout).toBe('listening\n[]\n');
    });
  });

  test('lets nobody but root in while its group does not exist', async () => {
    const text = await readFile(STRICT_PATH, 'utf8');
    const path = join(folder, 'no-group.conf');
    await writeFile(path, text.replace('group="holdpoint"', 'group="holdpoint-does-not-exist"'));
    await withStrict([path], async (closed) => {
      expect((await busctl(closed.address, read)).status).toBe(0);
      expect((await busctl(closed.address, read, MEMBER)).stderr).toMatch(/Access denied|AccessDenied/i);
    });
  });
});

test('a name the policy refuses us is reported as denied, one that is taken as taken', async () => {
  const reports: NameReport[] = [];
  const names = [{ name: 'org.example.NotOurs' }, { name: MAIN }];
  const second = new Bus({ address: bus.address, names, log: new RecordingLog() });
  second.name$.subscribe((report) => reports.push(report));
  second.start();
  await connected({ bus: second });
  expect(reports).toEqual([
    { name: 'org.example.NotOurs', state: 'denied' },
    { name: MAIN, state: 'taken' },
  ]);
  second.close();
});

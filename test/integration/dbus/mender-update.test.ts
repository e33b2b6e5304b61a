import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openClient, type BusClient } from '../../../src/adapters/dbus/connection.ts';
import { loadMenderTable, MENDER_BUS_NAME, MENDER_PATH } from '../../../src/adapters/dbus/interface-xml.ts';
import { RemoteError } from '../../../src/adapters/dbus/link.ts';
import { createMenderUpdateObject } from '../../../src/adapters/dbus/mender-update-object.ts';
import { checkServedObject } from '../../../src/adapters/dbus/served-object.ts';
import { parseInterfaceXml } from '../../../src/adapters/dbus/xml-table.ts';
import { busctl, OTHER_UID, pythonGio, runTool, type ToolResult } from '../../support/bus-tools.ts';
import { casesIn, type ParseCase } from '../../support/control-map-cases.ts';
import { eventually } from '../../support/eventually.ts';
import { MapService, MENDER_POLICY_PATH } from '../../support/map-service.ts';
import { seedFromEnvironment } from '../../support/random.ts';
import { startMenderDaemon, type MenderDaemon } from '../../support/mender-daemon.ts';
import { POLICY_PATH, startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';

/** The object for Mender's clients on a real bus with the shipped policies, and the real client beside it. */
const INTERFACE = 'io.mender.Update1';
const METHOD = 'SetUpdateControlMap';
const FAILED = 'io.mender.Failed: Method returned error, see Mender logs for more details';
const ACCESS_DENIED = 'org.freedesktop.DBus.Error.AccessDenied';
/** Lets everybody call: what is denied then is denied by the object. */
const LAX_POLICY = `<policy context="default"><allow send_destination="${MENDER_BUS_NAME}"/></policy>`;

const ID = '01234567-89ab-cdef-0123-456789abcdef';
const PAUSE = '"ArtifactInstall_Enter":{"action":"pause"}';
const VALID = `{"id":"${ID}","states":{${PAUSE}}}`;

let bus: PrivateBus;
let service: MapService;
let client: BusClient;
let mender: MenderDaemon;
let menderBusClient: BusClient;

beforeAll(async () => {
  bus = await startPrivateBus({ policyPaths: [POLICY_PATH, MENDER_POLICY_PATH] });
  service = await new MapService(bus.address).ready();
  client = await openClient(bus.address);
  // Twice 30 s and one more: the reply is rounded down.
  const daemon = await startMenderDaemon({ config: { UpdateControlMapExpirationTimeSeconds: 61 } });
  if ('unavailable' in daemon) throw new Error(`the package mender-client is needed: ${daemon.unavailable}`);
  mender = daemon;
  menderBusClient = await openClient(mender.bus.address);
}, 120_000);

afterAll(async () => {
  client?.close();
  menderBusClient?.close();
  service?.close();
  await mender?.dispose();
  await bus?.dispose();
});

beforeEach(() => {
  service.answer = null;
});

/** The reply as text, or the name and text of the error. */
async function set(
  caller: BusClient,
  body: readonly unknown[],
  { signature = 's', member = METHOD, path = MENDER_PATH, interfaceName = INTERFACE } = {},
): Promise<string> {
  try {
    const call = { destination: MENDER_BUS_NAME, path, interface: interfaceName, member, signature, body };
    return JSON.stringify(await caller.call(call));
  } catch (error) {
    if (error instanceof RemoteError) return `${error.errorName}: ${error.message}`;
    throw error;
  }
}

const state = (rule: string): string => `{"id":"${ID}","states":{"ArtifactInstall_Enter":${rule}}}`;
const withPriority = (literal: string): string => `{"id":"${ID}","priority":${literal},"states":{${PAUSE}}}`;

/** In this order: what one leaves in the pool the next meets there. */
const INPUTS: readonly string[] = [
  VALID,
  VALID,
  // Section 8.1, whole.
  ...casesIn<ParseCase>('parse').flatMap(({ examples }) =>
    examples.map(({ given, text = JSON.stringify(given) }) => text),
  ),
  // Insert, replace, delete.
  withPriority('1'),
  withPriority('0'),
  `{"id":"${ID.toUpperCase()}","states":{${PAUSE}}}`,
  `{"id":"${ID}","states":{"ArtifactReboot_Enter":{"action":"fail"},"ArtifactCommit_Enter":{"on_map_expire":"fail"},${PAUSE}}}`,
  state('{"action":"continue"}'),
  `{"id":"${ID}","priority":1}`,
  `{"id":"${ID}","priority":1,"states":{}}`,
  VALID,
  `{"id":"${ID}","states":null}`,
  VALID,
  state('null'),
  // The end of the text.
  'null',
  ' null',
  'null x',
  'nullx',
  'nul',
  `${VALID} trailing`,
  `{"id":"${ID}"} trailing`,
  `${VALID}{`,
  `\t\r\n ${VALID}\u0001\u0002`,
  '',
  '   ',
  'not json',
  `{"id":"${ID}"`,
  `{"id":"${ID}",}`,
  `{'id':"${ID}"}`,
  `\ufeff${VALID}`,
  `\u00a0${VALID}`,
  `\u000b${VALID}`,
  'true',
  '3',
  '[]',
  '""',
  '"x"',
  // Letter case, escapes, what folds to a letter.
  `{"iD":"${ID}","PRIORITY":-4,"sTATES":{"ArtifactInstall_Enter":{"aCTION":"fail","ON_MAP_EXPIRE":"continue"}}}`,
  `{"id":"${ID}","priority":-4}`,
  `{"id":"${ID}","st\\u0061tes":{"ArtifactInstall_Enter":{"action":"pa\\u0075se"}}}`,
  `{"id":"${ID}","\u017ftate\u017f":{"ArtifactCommit_Enter":{"action":"pause"}}}`,
  state('{"act\u0131on":"pause"}'),
  state('{"act\u0130on":"pause"}'),
  state('{"action":"pause\n"}'),
  state('{"action":"pause\\x"}'),
  state('{"action":"pause\\ud800"}'),
  // Members that occur twice.
  `{"id":"${ID}","priority":1,"priority":2,"states":{${PAUSE}}}`,
  `{"id":"${ID}","priority":1,"Priority":3,"states":{${PAUSE}}}`,
  `{"id":"${ID}","Priority":3,"priority":4,"states":{${PAUSE}}}`,
  `{"id":"bogus","id":"${ID}","states":{${PAUSE}}}`,
  `{"id":"\\\\\\"}","id":"${ID}","states":{${PAUSE}}}`,
  `{"id":"${ID}","id":"bogus","states":{${PAUSE}}}`,
  `{"id":"${ID}","id":null,"states":{${PAUSE}}}`,
  `{"id":"${ID}","priority":5,"priority":null,"states":{${PAUSE}}}`,
  `{"id":"${ID}","states":{${PAUSE}},"states":{"ArtifactReboot_Enter":{"action":"fail"}}}`,
  `{"id":"${ID}","states":{${PAUSE}},"States":{"ArtifactInstall_Enter":{"on_map_expire":"fail"}}}`,
  `{"id":"${ID}","states":{${PAUSE},"ArtifactInstall_Enter":{"on_map_expire":"continue"}}}`,
  `{"id":"${ID}","states":{"bogus":{}},"states":{${PAUSE}}}`,
  `{"id":"${ID}","states":{"bogus":{}},"states":null}`,
  `{"id":"${ID}","states":{${PAUSE}},"states":null}`,
  state('{"action":"bogus","action":"fail"}'),
  state('{"action":"fail","Action":null}'),
  state('{"action":"fail","Action":""}'),
  // Types and fields.
  ...['-0', '1.0', '1e0', '01', '+1', '-', '99999999999999999999', '"1"', 'true', 'null', '[]', '{}'].map(
    withPriority,
  ),
  ...['3', '[]', '"x"', 'true', '{"action":3}', '{"action":{}}', '{"action":""}', '{"":1}'].map(state),
  ...['stamp', 'Stamp', 'expired', 'HalfWayTime', '', '__proto__'].map(
    (key) => `{"id":"${ID}","${key}":null}`,
  ),
  ...['[]', '"x"', '3', 'false', '{"":{}}', '{"bogus":null}', '{"__proto__":{}}'].map(
    (text) => `{"id":"${ID}","states":${text}}`,
  ),
  '{"id":3}',
  '{"id":null}',
  // What is wrong twice is refused once.
  `{"id":"x","priority":11,"foo":2,"states":{"bogus":{"action":3}}}`,
  ...['urn:uuid:', '{'].map((prefix) => `{"id":"${prefix}${ID}"}`),
  `{"id":"${ID.replaceAll('-', '')}"}`,
  // Nesting.
  '['.repeat(60_000),
  '['.repeat(9_000) + ']'.repeat(9_000),
  '{"id":'.repeat(9_000),
  `{"id":"${ID}","states":${'{"a":'.repeat(9_000)}`,
  `{"id":"${ID}","foo":${'['.repeat(40)}${']'.repeat(40)}}`,
  state(`${'['.repeat(9_000)}${']'.repeat(9_000)}`),
];

const seenPools = new Set<string>();

describe('every input is answered as the real client answers it, and leaves the same pool', () => {
  test.each(INPUTS.map((text, at) => [at, text.length > 100 ? `${text.slice(0, 100)}…` : text, text]))(
    '%i: %s',
    async (_at, _shown, text) => {
      const [ours, theirs] = await Promise.all([set(client, [text]), set(menderBusClient, [text])]);
      expect(ours).toBe(theirs);
      expect(['[30]', FAILED]).toContain(ours);
      const pool = service.storedMaps();
      seenPools.add(pool);
      await eventually(
        'the pools are the same',
        async () => (await mender.storedMaps()) === pool,
        2_000,
      ).catch(async () => expect(pool).toBe(await mender.storedMaps()));
    },
  );

  test('which are many, and leave many different pools', () => {
    expect(INPUTS.length).toBeGreaterThan(120);
    expect(seenPools.size).toBeGreaterThan(20);
    expect([...seenPools].some((pool) => pool.includes('},{"id"'))).toBe(true);
  });
});

/** Members in any order, as often as they like, with good and bad values; and then perhaps damaged. */
function anyText(): fc.Arbitrary<string> {
  const scalar = fc.constantFrom('null', 'true', '3', '-0', '1.0', '""', '"x"', '[]', '{}', '"pause"');
  const members = (
    names: readonly string[],
    value: (name: string) => fc.Arbitrary<string>,
  ): fc.Arbitrary<string> => {
    const member = fc
      .constantFrom(...names)
      .chain((name) =>
        fc.tuple(fc.constantFrom(name, name, name.toUpperCase(), name.replace('s', 'ſ')), value(name)),
      )
      .map(([name, text]) => `"${name}":${text}`);
    return fc.array(member, { maxLength: 4 }).map((list) => `{${list.join()}}`);
  };
  const mostly = (good: fc.Arbitrary<string>): fc.Arbitrary<string> =>
    fc.oneof({ arbitrary: good, weight: 12 }, { arbitrary: scalar, weight: 1 });
  const action = fc.constantFrom('continue', 'force_continue', 'pause', 'fail').map((name) => `"${name}"`);
  const rule = members(['action', 'on_map_expire', 'on_action_executed'], () => mostly(action));
  const points = ['ArtifactInstall_Enter', 'ArtifactReboot_Enter', 'ArtifactCommit_Enter'];
  const values: Readonly<Record<string, fc.Arbitrary<string>>> = {
    id: fc.constantFrom(`"${ID}"`, `"${ID.toUpperCase()}"`),
    priority: fc.integer({ min: -11, max: 11 }).map(String),
    states: members(points, () => mostly(rule)),
  };
  const map = members(['id', 'priority', 'states'], (name) => mostly(values[name] ?? scalar)).map((text) =>
    // Most would fail for want of an id.
    text.replace('{', `{"id":"${ID}"${text === '{}' ? '' : ','}`),
  );
  const damaged = fc
    .tuple(
      map,
      fc.nat(),
      fc.nat(2),
      fc.constantFrom('', ',', '"', '}', ']', ':', '0', '\\', '\n', 'e', '{', ' '),
    )
    .map(([text, at, cut, put]) => {
      const place = at % (text.length + 1);
      return text.slice(0, place) + put + text.slice(place + cut);
    });
  return fc.oneof(map, damaged);
}

describe('random texts', () => {
  test('are answered as the real client answers them, and leave the same pool', async () => {
    const seed = seedFromEnvironment();
    const replies = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(anyText(), async (text) => {
        const [ours, theirs] = await Promise.all([set(client, [text]), set(menderBusClient, [text])]);
        expect(ours).toBe(theirs);
        replies.set(ours, (replies.get(ours) ?? 0) + 1);
        // The reply comes after the pool was stored.
        if (ours === '[30]') expect(service.storedMaps()).toBe(await mender.storedMaps());
      }),
      { seed, numRuns: 1000 },
    );
    for (const reply of ['[30]', FAILED]) expect(replies.get(reply)).toBeGreaterThan(150);
  }, 60_000);
});

/** A tool, and how it says what it got. */
type Tool = (address: string, text: string, uid?: number) => Promise<ToolResult>;

const TOOLS: Readonly<Record<string, Tool>> = {
  gdbus: (address, text, uid) =>
    runTool(
      'gdbus',
      // prettier-ignore
      ['call', '--address', address, '--dest', MENDER_BUS_NAME, '--object-path', MENDER_PATH,
        '--method', `${INTERFACE}.${METHOD}`, '--', text],
      uid === undefined ? {} : { uid },
    ),
  busctl: (address, text, uid) =>
    busctl(
      address,
      ['call', '--', MENDER_BUS_NAME, MENDER_PATH, INTERFACE, METHOD, 's', text],
      uid === undefined ? {} : { uid },
    ),
  python: (address, text, uid) =>
    pythonGio(
      address,
      `
import json
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
proxy = Gio.DBusProxy.new_sync(bus, 0, None, '${MENDER_BUS_NAME}', '${MENDER_PATH}', '${INTERFACE}', None)
try:
    print(proxy.${METHOD}('(s)', json.loads(${JSON.stringify(JSON.stringify(text))})))
except GLib.Error as error:
    print(Gio.DBusError.get_remote_error(error) + ' | ' + error.message)
`,
      uid === undefined ? {} : { uid },
    ),
};

describe.each(Object.entries(TOOLS))('%s as root', (name, tool) => {
  test.each([
    ['a map', VALID, true],
    ['its removal', `{"id":"${ID}"}`, true],
    ['null', 'null', true],
    ['a map with text behind it', `${VALID} and so on`, true],
    ['an empty text', '', false],
    ['an unknown field', `{"id":"${ID}","foo":1}`, false],
    ['60 000 brackets', '['.repeat(60_000), false],
  ])('gets for %s what the real client gives, byte for byte', async (_what, text, isGood) => {
    const [ours, theirs] = await Promise.all([tool(bus.address, text), tool(mender.bus.address, text)]);
    expect(ours).toEqual(theirs);
    const said = { gdbus: '(30,)\n', busctl: 'i 30\n', python: '30\n' }[name];
    if (isGood) expect(ours).toEqual({ status: 0, stdout: said, stderr: '' });
    else
      expect(ours.stdout + ours.stderr).toContain('Method returned error, see Mender logs for more details');
  });
});

describe.each(Object.entries(TOOLS))('%s as another user', (_name, tool) => {
  test('is denied by the policy, as with the real client, and nothing is set', async () => {
    const before = service.texts.length;
    const results = await Promise.all(
      [bus, mender.bus].map(({ address }) => tool(address, VALID, OTHER_UID)),
    );
    for (const { stdout, stderr } of results) expect(stdout + stderr).toMatch(/AccessDenied|Access denied/);
    expect(service.texts).toHaveLength(before);
  });
});

describe('the policy', () => {
  test('lets nobody but root own the name', async () => {
    const request = `
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
try:
    bus.call_sync('org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'RequestName',
        GLib.Variant('(su)', ('${MENDER_BUS_NAME}', 6)), None, 0, 10000, None)
    print('owned')
except GLib.Error as error:
    print(Gio.DBusError.get_remote_error(error))
`;
    const free = await startPrivateBus({ policyPaths: [MENDER_POLICY_PATH] });
    try {
      const asNobody = await pythonGio(free.address, request, { uid: OTHER_UID });
      expect(asNobody.stdout).toBe(`${ACCESS_DENIED}\n`);
      expect((await pythonGio(free.address, request)).stdout).toBe('owned\n');
    } finally {
      await free.dispose();
    }
  });

  test.each([
    ['before', [MENDER_POLICY_PATH, POLICY_PATH]],
    ['after', [POLICY_PATH, MENDER_POLICY_PATH]],
  ])(
    'read %s that of our own interface takes nothing from it and adds nothing to it, though one connection owns both names',
    async (_order, policyPaths) => {
      const both = await startPrivateBus({ policyPaths });
      const served = await new MapService(both.address).ready();
      try {
        expect(served.names.map(({ state: nameState }) => nameState)).toEqual(['owned', 'owned']);
        const own = ['io.holdpoint.Update1', '/io/holdpoint/Update1'];
        const list = ['call', ...own, 'io.holdpoint.Update1.History', 'List', 'u', '1'];
        expect((await busctl(both.address, list, { uid: OTHER_UID })).stdout).toBe('aa{sv} 0\n');
        for (const destination of [MENDER_BUS_NAME, 'io.holdpoint.Update1']) {
          for (const interfaceName of [INTERFACE, '']) {
            const call = ['call', destination, MENDER_PATH, interfaceName, METHOD, 's', VALID];
            const { status, stderr } = await busctl(both.address, call, { uid: OTHER_UID });
            expect({ destination, interfaceName, status, stderr }).toMatchObject({
              status: 1,
              stderr: expect.stringMatching(/Access denied|AccessDenied|Invalid interface name/),
            });
          }
        }
        expect(served.texts).toEqual([]);
      } finally {
        served.close();
        await both.dispose();
      }
    },
  );
});

describe('the object itself', () => {
  test('denies everybody but root even where the policy does not', async () => {
    const lax = await startPrivateBus({
      policyPaths: [POLICY_PATH, MENDER_POLICY_PATH],
      extraConfig: LAX_POLICY,
    });
    const served = await new MapService(lax.address).ready();
    try {
      const tool = TOOLS['python'] as Tool;
      const { stdout } = await tool(lax.address, VALID, OTHER_UID);
      expect(stdout).toMatch(
        new RegExp(`^${ACCESS_DENIED} .*The user with id ${OTHER_UID} may not call ${INTERFACE}.${METHOD}`),
      );
      expect(served.texts).toEqual([]);
      expect((await tool(lax.address, VALID)).stdout).toBe('30\n');
      expect(served.uids).toEqual([0]);
    } finally {
      served.close();
      await lax.dispose();
    }
  });

  test('says io.mender.Failed and no more whatever goes wrong, and the reason in the log', async () => {
    const answers: readonly (() => Promise<number>)[] = [
      () => Promise.reject(new Error('the store is at /secret/path')),
      () => Promise.reject('a text'),
      () => {
        throw new TypeError('a defect');
      },
      () => Promise.resolve(Number.NaN),
      () => Promise.resolve(1.5),
      () => Promise.resolve(-1),
    ];
    for (const answer of answers) {
      service.answer = answer;
      expect(await set(client, [VALID])).toBe(FAILED);
    }
    const logged = service.log.records.filter(({ sentence }) => sentence === 'A control map was refused');
    expect(logged.slice(-6).map(({ fields }) => fields['errorMessage'])).toEqual([
      'the store is at /secret/path',
      'a text',
      'a defect',
      'refresh time: found NaN, expected whole seconds',
      'refresh time: found 1.5, expected whole seconds',
      'refresh time: found -1, expected whole seconds',
    ]);
  });

  test('gives the time it is told, 0 too, and the most that fits', async () => {
    for (const [seconds, reply] of [
      [0, 0],
      [900, 900],
      [2 ** 31, 2 ** 31 - 1],
    ] as const) {
      service.answer = () => Promise.resolve(seconds);
      expect(await set(client, [VALID])).toBe(`[${reply}]`);
    }
  });

  test('hands the text on as it came, and who sent it', async () => {
    const text = 'é 😀 "\\ \u0001\n';
    service.answer = () => Promise.resolve(1);
    await set(client, [text]);
    expect(service.texts.at(-1)).toBe(text);
    expect(service.uids.at(-1)).toBe(process.getuid?.());
  });

  test('fits its XML', () => {
    expect(() =>
      checkServedObject(createMenderUpdateObject({ setControlMap: () => Promise.resolve(0) })),
    ).not.toThrow();
  });
});

describe('around the method', () => {
  const introspection = async (caller: BusClient): Promise<string> => {
    const options = {
      signature: '',
      member: 'Introspect',
      interfaceName: 'org.freedesktop.DBus.Introspectable',
    };
    const [xml] = JSON.parse(await set(caller, [], options)) as [string];
    return xml;
  };

  test('introspection gives the same interface as the real client', async () => {
    const [ours, theirs] = await Promise.all([client, menderBusClient].map(introspection));
    const own = parseInterfaceXml(ours ?? '').interfaces;
    const real = parseInterfaceXml(theirs ?? '').interfaces;
    expect(own.get(INTERFACE)).toEqual(real.get(INTERFACE));
    expect([...own.keys()].sort()).toEqual([...real.keys()].sort());
    expect(loadMenderTable().interfaces.get(INTERFACE)).toEqual(real.get(INTERFACE));
  });

  test.each([
    ['a number', 'i', [5]],
    ['nothing', '', []],
    ['two texts', 'ss', [VALID, VALID]],
    ['a list', 'as', [[VALID]]],
  ])('%s in place of a text is InvalidArgs, as with the real client', async (_what, signature, body) => {
    const replies = await Promise.all(
      [client, menderBusClient].map((caller) => set(caller, body, { signature })),
    );
    for (const reply of replies) expect(reply).toMatch(/^org\.freedesktop\.DBus\.Error\.InvalidArgs: /);
  });

  test('an unknown method is UnknownMethod, as with the real client', async () => {
    const replies = await Promise.all(
      [client, menderBusClient].map((caller) => set(caller, [VALID], { member: 'NoSuchMethod' })),
    );
    for (const reply of replies) expect(reply).toMatch(/^org\.freedesktop\.DBus\.Error\.UnknownMethod: /);
  });
});

describe('unlike the real client', () => {
  test('a text of more than 64 KiB is refused', async () => {
    const text = VALID + ' '.repeat(64 * 1024);
    expect(await set(menderBusClient, [text])).toBe('[30]');
    expect(await set(client, [text])).toBe(FAILED);
  });

  test('one of more than 256 KiB is refused before it is decoded, with LimitsExceeded', async () => {
    const text = VALID + ' '.repeat(256 * 1024);
    expect(await set(menderBusClient, [text])).toBe('[30]');
    expect(await set(client, [text])).toMatch(/^org\.freedesktop\.DBus\.Error\.LimitsExceeded: /);
  });

  test('an object that is not there is UnknownObject', async () => {
    const path = '/io/mender/Other';
    const [ours, theirs] = await Promise.all(
      [client, menderBusClient].map((caller) => set(caller, [VALID], { path })),
    );
    expect(ours).toMatch(/^org\.freedesktop\.DBus\.Error\.UnknownObject: /);
    expect(theirs).toMatch(/^org\.freedesktop\.DBus\.Error\.UnknownMethod: /);
  });
});

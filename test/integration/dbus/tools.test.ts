import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadHoldpointTable } from '../../../src/adapters/dbus/interface-xml.ts';
import { parseInterfaceXml, type InterfaceEntry } from '../../../src/adapters/dbus/xml-table.ts';
import { connected, MAIN } from '../../support/bus-client.ts';
import { busctl, dbusSend, gdbus, pythonGio, qdbus, TARGET } from '../../support/bus-tools.ts';
import { startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';
import { SampleService } from '../../support/sample-service.ts';

/** The programs that people and frontends reach a D-Bus service with. */
let bus: PrivateBus;
let service: SampleService;
const TARGET_ARGS = [TARGET.name, TARGET.path, TARGET.main] as const;

beforeAll(async () => {
  bus = await startPrivateBus();
  service = new SampleService({ address: bus.address }).start();
  await connected(service);
});
afterAll(async () => {
  service.close();
  await bus.dispose();
});

describe('a property is read and a method is called by', () => {
  test('busctl', async () => {
    const read = await busctl(bus.address, ['get-property', ...TARGET_ARGS, 'Serial', 'Blockers']);
    expect(read.stdout).toBe(
      't 9223372036854775815\na(ssssa{sv}) 1 "consent" "consent" "" "consent-required" 1 "uid" u 0\n',
    );
    const call = await busctl(bus.address, ['call', ...TARGET_ARGS, 'Continue', 's', 'ticket']);
    expect(call.stdout).toBe('s "proceeding"\n');
  });

  test('gdbus', async () => {
    const get = 'org.freedesktop.DBus.Properties.Get';
    const read = await gdbus(bus.address, 'call', ['--method', get, MAIN, 'Serial']);
    expect(read.stdout).toBe('(<uint64 9223372036854775815>,)\n');
    const call = await gdbus(bus.address, 'call', ['--method', `${MAIN}.Continue`, 'ticket']);
    expect(call.stdout).toBe("('proceeding',)\n");
    const refused = await gdbus(bus.address, 'call', ['--method', `${MAIN}.Continue`, 'stale']);
    expect(refused.stderr).toContain(`${MAIN}.Error.StaleTicket: This wait is over [state=Idle]`);
  });

  test('dbus-send', async () => {
    const get = ['org.freedesktop.DBus.Properties.Get', `string:${MAIN}`, 'string:State'];
    const read = await dbusSend(bus.address, [`--dest=${MAIN}`, TARGET.path, ...get]);
    expect(read.stdout).toMatch(/variant\s+string "Download"/);
    const call = [`--dest=${MAIN}`, TARGET.path, `${MAIN}.Continue`, 'string:ticket'];
    expect((await dbusSend(bus.address, call)).stdout).toMatch(/string "proceeding"/);
  });

  test('qdbus', async () => {
    expect((await qdbus(bus.address, [`${MAIN}.Serial`])).stdout).toBe('9223372036854775815\n');
    expect((await qdbus(bus.address, [`${MAIN}.Continue`, 'ticket'])).stdout).toBe('proceeding\n');
    const { stdout } = await qdbus(bus.address, []);
    expect(stdout).toContain(`method QString ${MAIN}.Continue(QString ticket)`);
    expect(stdout).toContain(`signal void ${MAIN}.StateChanged(qulonglong serial`);
  });

  test('GLib from Python, with a proxy that caches', async () => {
    const script = `
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
proxy = Gio.DBusProxy.new_sync(bus, 0, None, '${MAIN}', '${TARGET.path}', '${MAIN}', None)
print(len(proxy.get_cached_property_names()), proxy.get_cached_property('Serial').unpack(), proxy.Continue('(s)', 'ticket'))`;
    const { stdout, stderr } = await pythonGio(bus.address, script);
    expect(stderr).toBe('');
    const { size } = loadHoldpointTable().interfaces.get(TARGET.main)!.properties;
    expect(stdout).toBe(`${size} 9223372036854775815 proceeding\n`);
  });
});

describe('live introspection is the shipped XML', () => {
  const shipped = loadHoldpointTable();
  const standard = ['Introspectable', 'Peer', 'Properties'].map((name) => `org.freedesktop.DBus.${name}`);

  test('word for word through busctl, with the standard interfaces after ours', async () => {
    const { stdout } = await busctl(bus.address, ['introspect', '--xml-interface', MAIN, TARGET.path]);
    expect(stdout.startsWith(shipped.xml.slice(0, shipped.xml.lastIndexOf('</node>')))).toBe(true);
    const live = parseInterfaceXml(stdout);
    for (const [name, entry] of shipped.interfaces) expect(live.interfaces.get(name)).toEqual(entry);
    const others = [...live.interfaces.keys()].filter((name) => !shipped.interfaces.has(name));
    expect(others).toEqual(standard);
  });

  test('member for member through gdbus, which reads and writes it anew', async () => {
    const { stdout } = await gdbus(bus.address, 'introspect', ['--xml']);
    const live = parseInterfaceXml(stdout.slice(stdout.indexOf('<node')));
    expect([...live.interfaces.keys()]).toEqual([...shipped.interfaces.keys(), ...standard]);
    const members = (entry: InterfaceEntry | undefined): unknown => [
      entry?.methods,
      entry?.signals,
      entry?.properties,
    ];
    for (const [name, entry] of shipped.interfaces) {
      expect(members(live.interfaces.get(name))).toEqual(members(entry));
    }
  });

  test('and busctl can show every member of it with its value', async () => {
    const { stdout } = await busctl(bus.address, ['introspect', MAIN, TARGET.path]);
    for (const { name, properties, methods } of shipped.interfaces.values()) {
      for (const member of [...methods.keys(), ...properties.keys()])
        expect(stdout, name).toContain(`.${member} `);
    }
    expect(stdout).toMatch(/\.UpdatesEnabled\s+property\s+b\s+true\s+emits-change/);
    expect(stdout).toMatch(/\.Version\s+property\s+s\s+"0\.1\.0"\s+const/);
    expect(stdout).toMatch(/\.Holds\s+property\s+a\(ssasssussta\{sv\}\)\s+-\s+emits-invalidation/);
  });
});

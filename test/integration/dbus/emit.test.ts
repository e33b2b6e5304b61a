import { afterEach, beforeEach, expect, test } from 'vitest';
import { Bus, openClient, type BusClient } from '../../../src/adapters/dbus/connection.ts';
import { loadHoldpointTable } from '../../../src/adapters/dbus/interface-xml.ts';
import type { Signal } from '../../../src/adapters/dbus/subscriptions.ts';
import { variant, type Variant } from '../../../src/adapters/dbus/values.ts';
import { callService, connected, getAll, getProperty, MAIN, PROPERTIES } from '../../support/bus-client.ts';
import { eventually } from '../../support/eventually.ts';
import { startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';
import { RecordingLog } from '../../support/recording-log.ts';
import { SampleService } from '../../support/sample-service.ts';

/** What clients hear. */
let bus: PrivateBus;
let service: SampleService;
let client: BusClient;
let heard: Signal[];

beforeEach(async () => {
  bus = await startPrivateBus();
  service = new SampleService({ address: bus.address }).start();
  await connected(service);
  client = await openClient(bus.address);
  heard = [];
  for (const name of [PROPERTIES, MAIN]) {
    client.signals$({ sender: MAIN, interface: name }).subscribe((signal) => heard.push(signal));
  }
  await getProperty(client, 'State');
});
afterEach(async () => {
  client.close();
  service.close();
  await bus.dispose();
});

/** Everything said so far has been heard when this reply comes. */
const sync = (): Promise<unknown> => getProperty(client, 'State');

const changes = (): unknown[] =>
  heard
    .filter(({ member }) => member === 'PropertiesChanged')
    .map(({ args }) => [args[0], Object.fromEntries(args[1] as Map<string, Variant>), args[2]]);

test('a step is one PropertiesChanged with what differs and nothing else, before its event', async () => {
  service.properties['State'] = variant('s', 'ArtifactInstall');
  service.properties['Serial'] = variant('t', 2n ** 63n + 8n);
  service.emitter.publish();
  service.emitter.signal(MAIN, 'StateChanged', [2n ** 63n + 8n, 'd', 'ArtifactInstall', 'ArtifactInstall']);
  await sync();
  expect(heard.map(({ member }) => member)).toEqual(['PropertiesChanged', 'StateChanged']);
  expect(changes()).toEqual([
    [
      MAIN,
      {
        State: { signature: 's', value: 'ArtifactInstall' },
        Serial: { signature: 't', value: 2n ** 63n + 8n },
      },
      [],
    ],
  ]);
});

test('nothing is said when nothing has changed, even if the values are made anew', async () => {
  service.properties = { ...service.properties, Blockers: variant('a(ssssa{sv})', []) };
  service.emitter.publish();
  service.properties = { ...service.properties, Blockers: variant('a(ssssa{sv})', []) };
  service.emitter.publish();
  service.emitter.publish();
  await sync();
  expect(changes()).toHaveLength(1);
});

test('a constant is never announced', async () => {
  service.properties['Version'] = variant('s', '0.2.0');
  service.emitter.publish();
  await sync();
  expect(heard).toEqual([]);
});

test('the change of a property is heard before the reply of the call that made it', async () => {
  const order: string[] = [];
  client.signals$({ sender: MAIN, interface: PROPERTIES }).subscribe(() => order.push('changed'));
  await callService(client, MAIN, 'SetUpdatesEnabled', 'b', [false]);
  order.push('replied');
  expect(order).toEqual(['changed', 'replied']);
  expect((await getAll(client)).get('UpdatesEnabled')?.value).toBe(false);
});

test('a value that does not fit its type is kept back and logged; the rest is said', async () => {
  service.properties['Progress'] = variant('d', Number.NaN);
  service.properties['Paused'] = variant('s', 'yes');
  service.properties['State'] = variant('s', 'Idle');
  service.emitter.publish();
  await sync();
  expect(changes()).toEqual([[MAIN, { State: { signature: 's', value: 'Idle' } }, []]]);
  const logged = service.log.records.filter(({ level }) => level === 'error');
  expect(logged.map(({ fields }) => fields['errorMessage'])).toEqual([
    expect.stringMatching(/NaN/),
    expect.stringMatching(/Paused: found type s, expected b/),
  ]);
});

test('what is too long for one message is announced by name', async () => {
  const long = 'x'.repeat(700 * 1024);
  service.properties['ArtifactName'] = variant('s', long);
  service.properties['DeploymentId'] = variant('s', long);
  service.emitter.publish();
  await sync();
  expect(changes()).toEqual([[MAIN, {}, ['DeploymentId', 'ArtifactName']]]);
});

test('a signal that does not fit the XML is logged and not sent, and costs nothing else', async () => {
  service.emitter.signal(MAIN, 'StateChanged', ['not a serial', '', '', '']);
  service.emitter.signal(MAIN, 'StateChanged', [1n]);
  service.emitter.signal(MAIN, 'NoSuchSignal', []);
  service.emitter.signal(MAIN, 'CheckFinished', [1n, 'up-to-date', '']);
  await sync();
  expect(heard.map(({ member }) => member)).toEqual(['CheckFinished']);
  expect(service.log.records.filter(({ level }) => level === 'error')).toHaveLength(3);
  expect(service.states).toEqual(['lost', 'connected']);
});

test('after a loss everything is said again, and what happened in between is not missed', async () => {
  await bus.stop();
  await eventually('the loss is noticed', () => service.bus.state === 'lost');
  service.properties['State'] = variant('s', 'ArtifactCommit');
  service.emitter.publish();
  service.emitter.signal(MAIN, 'StateChanged', [1n, '', 'ArtifactCommit', '']);
  // The service now waits long enough for an observer that is quicker to be there before it.
  const isSlow = (): boolean => service.log.records.some(({ fields }) => fields['retryInMs'] === 800);
  await eventually('the service waits longer', isSlow);
  const log = new RecordingLog();
  const observer = new Bus({ address: bus.address, names: [], log, firstDelayMs: 5, maxDelayMs: 5 });
  const again: Signal[] = [];
  observer.signals$({ sender: MAIN, interface: PROPERTIES }).subscribe((signal) => again.push(signal));
  observer.start();
  await bus.start();
  await eventually('the service is back', () => service.states.length === 4);
  await eventually('it has spoken', () => again.length > 0);
  const values = again[0]?.args[1] as Map<string, Variant>;
  expect(values.get('State')?.value).toBe('ArtifactCommit');
  const properties = [...loadHoldpointTable().interfaces.get(MAIN)!.properties.values()];
  const changing = properties.filter(({ emits }) => emits !== 'const').map(({ name }) => name);
  expect([...values.keys()].toSorted()).toEqual(changing.toSorted());
  observer.close();
});

test('the last value of a storm arrives', async () => {
  for (let count = 1; count <= 5000; count += 1) {
    service.properties['DownloadedBytes'] = variant('x', count);
    service.emitter.publish();
  }
  await sync();
  const last = heard.at(-1)?.args[1] as Map<string, Variant>;
  expect(last.get('DownloadedBytes')?.value).toBe(5000n);
});

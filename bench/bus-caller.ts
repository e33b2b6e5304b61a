/**
 * A client of the service in a process of its own: bus-caller.ts ADDRESS SECONDS. Calls over one connection, one call
 * after the other, slower than the service's rate limit, and prints how long each kind of call took, as JSON.
 */
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { openClient } from '../src/adapters/dbus/connection.ts';
import { HOLDPOINT_BUS_NAME, HOLDPOINT_PATH } from '../src/adapters/dbus/interface-xml.ts';
import { RemoteError } from '../src/adapters/dbus/link.ts';

const [address, seconds] = process.argv.slice(2);
const MAIN = 'io.holdpoint.Update1';
const PROPERTIES = 'org.freedesktop.DBus.Properties';
/** The limit is 100 calls per second. */
const PAUSE_MS = 12;
/** Before the figures count: what is compiled on first use. */
const WARM_UP_CALLS = 30;

const CALLS = [
  { name: 'Get', interface: PROPERTIES, member: 'Get', signature: 'ss', body: [MAIN, 'State'] },
  { name: 'GetAll', interface: PROPERTIES, member: 'GetAll', signature: 's', body: [MAIN] },
  { name: 'Continue', interface: MAIN, member: 'Continue', signature: 's', body: ['0'.repeat(32)] },
] as const;
/** Answered by the message bus itself: the way there and back without the service. */
const BUS_ONLY = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
  member: 'GetId',
  signature: '',
  body: [],
};

const client = await openClient(address!);
const samples: Record<string, number[]> = { Get: [], GetAll: [], Continue: [], bus: [] };
const errors = new Set<string>();
const untilMs = performance.now() + Number(seconds) * 1000;
for (let count = 0; performance.now() < untilMs; count++) {
  const { name, ...call } = CALLS[count % CALLS.length]!;
  const startMs = performance.now();
  try {
    await client.call({
      destination: HOLDPOINT_BUS_NAME,
      path: HOLDPOINT_PATH,
      ...call,
      body: [...call.body],
    });
  } catch (error) {
    // A ticket nobody ever had is refused; how long that takes is what is measured.
    if (!(error instanceof RemoteError) || name !== 'Continue') throw error;
    errors.add(error.errorName);
  }
  if (count >= WARM_UP_CALLS) samples[name]!.push(performance.now() - startMs);
  await sleep(PAUSE_MS);
  if (count % CALLS.length !== 0) continue;
  const busStartMs = performance.now();
  await client.call(BUS_ONLY);
  if (count >= WARM_UP_CALLS) samples['bus']!.push(performance.now() - busStartMs);
  await sleep(PAUSE_MS);
}
client.close();
process.stdout.write(JSON.stringify({ samples, errors: [...errors] }));

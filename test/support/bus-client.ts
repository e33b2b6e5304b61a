import { filter, firstValueFrom, timeout } from 'rxjs';
import type { BusClient } from '../../src/adapters/dbus/connection.ts';
import { HOLDPOINT_BUS_NAME, HOLDPOINT_PATH } from '../../src/adapters/dbus/interface-xml.ts';
import { RemoteError } from '../../src/adapters/dbus/link.ts';
import type { Variant, VariantMap } from '../../src/adapters/dbus/values.ts';
import type { SampleService } from './sample-service.ts';

/** Calls of a client to our service, and waiting for the service to be there. */
export const MAIN = 'io.holdpoint.Update1';
export const PROPERTIES = 'org.freedesktop.DBus.Properties';

export function callService(
  client: Pick<BusClient, 'call'>,
  interfaceName: string,
  member: string,
  signature = '',
  body: readonly unknown[] = [],
): Promise<unknown[]> {
  return client.call({
    destination: HOLDPOINT_BUS_NAME,
    path: HOLDPOINT_PATH,
    interface: interfaceName,
    member,
    signature,
    body,
  });
}

export async function getProperty(client: Pick<BusClient, 'call'>, name: string): Promise<unknown> {
  const [value] = await callService(client, PROPERTIES, 'Get', 'ss', [MAIN, name]);
  return (value as Variant).value;
}

export async function getAll(client: Pick<BusClient, 'call'>): Promise<VariantMap> {
  const [values] = await callService(client, PROPERTIES, 'GetAll', 's', [MAIN]);
  return values as VariantMap;
}

/** The dotted error name and the message a call is answered with; a reply or any other failure fails the test. */
export async function remoteErrorOf(
  call: Promise<unknown>,
): Promise<{ readonly name: string; readonly message: string }> {
  const outcome = await call.then(
    (reply) => reply,
    (error: unknown) => error,
  );
  if (outcome instanceof RemoteError) return { name: outcome.errorName, message: outcome.message };
  throw new Error('found no error reply', { cause: outcome });
}

export async function connected(service: Pick<SampleService, 'bus'>, withinMs = 10_000): Promise<void> {
  const isConnected$ = service.bus.state$.pipe(filter((state) => state === 'connected'));
  await firstValueFrom(isConnected$.pipe(timeout(withinMs)));
}

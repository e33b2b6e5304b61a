import { filter, firstValueFrom, map, race, Subject, take } from 'rxjs';
import { systemBusAddress } from './adapters/dbus/address.ts';
import { Bus } from './adapters/dbus/connection.ts';
import { Dispatcher } from './adapters/dbus/dispatcher.ts';
import { MENDER_AUTH_BUS_NAME } from './adapters/dbus/interface-xml.ts';
import { MenderAuthManager } from './adapters/dbus/mender-auth-object.ts';
import { DEFAULT_RATE, RateLimiter } from './adapters/dbus/rate-limit.ts';
import { SystemClock } from './adapters/system/clock.ts';
import { openForwarder, openServer } from './compose-adapters.ts';
import type { Settings } from './config/settings.ts';
import { UpdateError } from './core/errors.ts';
import type { Log } from './ports/log.ts';

/**
 * Composition root of `mender-auth daemon`: io.mender.AuthenticationManager and its forwarder alone, without the update
 * service and without the datastore's lock. For devices that want to keep the two apart (`TokenSource: mender-auth`).
 */

/**
 * Resolves when it was stopped by a signal. Rejects with kind `config` without a server or with D-Bus switched off, with
 * kind `bus` when the name belongs to somebody else: unlike the update service it takes it from nobody.
 */
export async function serveTokens(settings: Settings, log: Log): Promise<void> {
  if (settings.servers.length === 0) {
    throw new UpdateError('config', 'no server is configured (ServerURL or Servers in mender.conf)');
  }
  if (!settings.isDbusEnabled) {
    throw new UpdateError('config', 'tokens are given out over D-Bus, and DBus.Enabled is false');
  }
  const clock = new SystemClock();
  const bus = new Bus({
    address: systemBusAddress(process.env),
    names: [{ name: MENDER_AUTH_BUS_NAME }],
    log: log.child({ component: 'bus' }),
  });
  const describe = (): Promise<never> =>
    Promise.reject(new UpdateError('internal', 'logging in describes no device'));
  const server = openServer(settings, describe, clock, log.child({ component: 'server' }));
  const forwarder = openForwarder(settings, clock, log.child({ component: 'forwarder' }));
  const manager = new MenderAuthManager(bus, {
    authentication: server.authentication,
    forwarder,
    isServerConfigured: true,
    log: log.child({ component: 'forwarder' }),
  });
  const dispatcher = new Dispatcher({
    objects: [manager.object],
    log: log.child({ component: 'bus' }),
    rateLimiter: new RateLimiter({ ...DEFAULT_RATE, nowMs: () => performance.now() }),
  });
  bus.serve(dispatcher.handle);

  const stopped = new Subject<'stopped'>();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const) {
    process.once(signal, () => {
      log.info('Stopping', { signal });
      stopped.next('stopped');
    });
  }
  const nameGone = bus.name$.pipe(
    map(({ state }) => state),
    filter((state) => state !== 'owned'),
  );
  const end = firstValueFrom(race(stopped, nameGone).pipe(take(1)));
  bus.start();
  const why = await end;
  const answered = dispatcher.shutDown();
  manager.close();
  await answered;
  bus.close();
  await forwarder.close();
  await server.close();
  if (why === 'stopped') return;
  const told = why === 'denied' ? 'is denied to this user by the bus' : 'belongs to another process';
  throw new UpdateError('bus', `the bus name ${MENDER_AUTH_BUS_NAME} ${told}`);
}

/**
 * What a command does before it asks the service anything: waits for one that is just restarting, and has the bus start
 * one that does not run. Knows of the service only whether it is there.
 */
import { catchError, defer, filter, firstValueFrom, map, merge, type Observable, switchMap } from 'rxjs';
import { RemoteError } from '../adapters/dbus/link.ts';
import type { UpdateClient } from '../adapters/dbus/update-client.ts';
import { UpdateError } from '../core/errors.ts';
import type { Clock } from '../ports/clock.ts';
import { NO_SERVICE, noServiceText } from './follow.ts';

/**
 * For a service that the bus cannot start, or failed to. Another one may be on its way: systemd starts one that has
 * crashed after five seconds (RestartSec in holdpointd.service), and Node takes a few on a small device.
 */
export const RETURN_LIMIT_MS = 10_000;
/** For a service that the bus is starting. The bus itself gives up after 25 s (dbus-daemon(1), service_start_timeout). */
export const START_LIMIT_MS = 30_000;

/**
 * @param timeoutMs what the caller has for it at most; null = only the limits above count
 * @returns false = `timeoutMs` is over. Rejects with kind `bus`: no service, and none to be had.
 */
export async function awaitService(
  client: Pick<UpdateClient, 'isThere$' | 'start'>,
  clock: Clock,
  timeoutMs: number | null = null,
): Promise<boolean> {
  if (await firstValueFrom(client.isThere$)) return true;
  const later = <T>(delayMs: number, outcome: () => T): Observable<T> =>
    clock.timer(delayMs).pipe(map(() => outcome()));
  const absent = (text: string, cause?: unknown) => (): never => {
    throw new UpdateError('bus', text, { cause });
  };
  const comes$ = client.isThere$.pipe(
    filter((isThere) => isThere),
    map(() => true),
  );
  const started$ = defer(() => client.start(START_LIMIT_MS)).pipe(
    // Started is not there: it may have ended again. Whether it is, the owner of the name tells.
    switchMap(() => later(RETURN_LIMIT_MS, absent(NO_SERVICE))),
    catchError((error: unknown) => {
      if (!(error instanceof RemoteError)) throw error;
      const isUnknown = error.errorName === SERVICE_UNKNOWN;
      const text = isUnknown ? NO_SERVICE : noServiceText(error.message);
      // The last word of whoever looks after this device, as for a masked unit.
      if (error.errorName.startsWith(SYSTEMD_ERRORS)) return absent(text, error)();
      return later(RETURN_LIMIT_MS, absent(text, error));
    }),
  );
  const outcomes = [comes$, started$];
  if (timeoutMs !== null) outcomes.push(later(timeoutMs, () => false));
  return firstValueFrom(merge(...outcomes));
}

const SERVICE_UNKNOWN = 'org.freedesktop.DBus.Error.ServiceUnknown';
const SYSTEMD_ERRORS = 'org.freedesktop.systemd1.';

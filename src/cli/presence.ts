/**
 * What a command does before it asks the service anything: waits for one that is just restarting, and has the bus start
 * one that does not run. Knows of the service only whether it is there.
 */
import {
  catchError,
  defer,
  filter,
  firstValueFrom,
  merge,
  NEVER,
  type Observable,
  switchMap,
  tap,
} from 'rxjs';
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
  client: Pick<UpdateClient, 'isThere' | 'isThere$' | 'start'>,
  clock: Clock,
  timeoutMs: number | null = null,
): Promise<boolean> {
  if (await client.isThere()) return true;
  // A process that was itself stopped, or slept with its machine, finds the time over and the news of the service unread.
  const later = (delayMs: number, text: string | null, cause?: unknown): Observable<boolean> =>
    clock.timer(delayMs).pipe(
      switchMap(() => client.isThere()),
      tap((isThere) => {
        if (!isThere && text !== null) throw new UpdateError('bus', text, { cause });
      }),
    );
  const comes$ = client.isThere$.pipe(filter((isThere) => isThere));
  const started$ = defer(() => client.start(START_LIMIT_MS)).pipe(
    // Started is not there: it may have ended again. Whether it is, the owner of the name tells.
    switchMap(() => later(RETURN_LIMIT_MS, NO_SERVICE)),
    catchError((error: unknown) => {
      // A bus without a limit of its own has not got it started either.
      if (error instanceof UpdateError && error.kind === 'timeout') return later(0, NO_SERVICE, error);
      if (!(error instanceof RemoteError)) throw error;
      const isUnknown = error.errorName === SERVICE_UNKNOWN;
      // The last word of whoever looks after this device, as for a masked unit, is not waited after.
      const isFinal = error.errorName.startsWith(SYSTEMD_ERRORS);
      const text = isUnknown ? NO_SERVICE : noServiceText(error.message);
      return later(isFinal ? 0 : RETURN_LIMIT_MS, text, error);
    }),
  );
  const timedOut$ = timeoutMs === null ? NEVER : later(timeoutMs, null);
  return firstValueFrom(merge(comes$, started$, timedOut$));
}

const SERVICE_UNKNOWN = 'org.freedesktop.DBus.Error.ServiceUnknown';
const SYSTEMD_ERRORS = 'org.freedesktop.systemd1.';

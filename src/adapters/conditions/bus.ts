/**
 * What the conditions need of a connection to the system bus (the class Bus has it), and how a service on it is
 * watched: read at the start, at each of its signals, at each change of its owner, and every now and then, because a
 * service that is started on demand gives no sign while it is not running.
 */
import { EMPTY, merge, NEVER, Observable, type Subscription, catchError } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';

export interface BusCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly unknown[];
}

export interface BusMatch {
  readonly sender: string;
  readonly path?: string;
  readonly interface: string;
  readonly member?: string;
}

export interface ConditionBus {
  /**
   * Rejects with an UpdateError: an error reply carries its name in the detail `error-name`; no reply has the kind
   * `timeout`; no connection the detail `reason` = `disconnected`.
   */
  call(call: BusCall, timeoutMs?: number): Promise<unknown[]>;
  signals$(match: BusMatch): Observable<unknown>;
  /** Unique name of the owner, '' = nobody; the present one first, then each change. */
  nameOwner$(name: string): Observable<string>;
}

/** For a service that is not to use the bus at all: nothing is there. */
export const noConditionBus: ConditionBus = {
  call: ({ destination }) => {
    const details = { 'error-name': SERVICE_UNKNOWN };
    return Promise.reject(new UpdateError('bus', `${destination}: the bus is not used`, { details }));
  },
  signals$: () => NEVER,
  nameOwner$: () => NEVER,
};

/** `absent`: the bus knows of no such service. `unreachable`: there is no bus. `failed`: no usable answer. */
export type Reading<T> =
  | { readonly kind: 'known'; readonly value: T }
  | { readonly kind: 'absent' | 'unreachable' | 'failed'; readonly message: string };

export interface RemoteWatch<T> {
  readonly bus: ConditionBus;
  readonly clock: Clock;
  readonly log: Log;
  /** Well-known name of the service. */
  readonly name: string;
  readonly signals: readonly BusMatch[];
  /** May reject with anything. */
  read(): Promise<T>;
}

/** Longest wait for one answer. */
export const CALL_TIMEOUT_MS = 5_000;
/** After a reading that told nothing, and after one that did. */
export const RETRY_MS = 10_000;
export const RECHECK_MS = 30_000;
/** Without a bus, asking costs nothing. A service that is just starting has it in a moment, so the first word waits. */
const NO_BUS_RETRY_MS = 500;
const FIRST_WORD_PATIENCE_MS = 5_000;
/** Between two readings, however many signals come. */
const SPACING_MS = 100;

const SERVICE_UNKNOWN = 'org.freedesktop.DBus.Error.ServiceUnknown';
const PROPERTIES = 'org.freedesktop.DBus.Properties';

/** Names of error replies that mean: there is no such service and nobody can start it. */
const ABSENT = new Set([
  SERVICE_UNKNOWN,
  'org.freedesktop.DBus.Error.NameHasNoOwner',
  'org.freedesktop.DBus.Error.Spawn.ServiceNotFound',
  'org.freedesktop.systemd1.NoSuchUnit',
  'org.freedesktop.systemd1.UnitMasked',
]);

const PAUSES_MS: Readonly<Record<Reading<unknown>['kind'], number>> = {
  known: RECHECK_MS,
  absent: RETRY_MS,
  failed: RETRY_MS,
  unreachable: NO_BUS_RETRY_MS,
};

/** Every reading, equal ones too, until unsubscribed. Never fails, never completes. */
export function watchRemote$<T>(watch: RemoteWatch<T>): Observable<Reading<T>> {
  const { bus, clock, log } = watch;
  return new Observable((subscriber) => {
    let isReading = false;
    let isStale = false;
    let isSilent = true;
    let lastComplaint = '';
    const startBootMs = clock.now().bootMs;
    let timer: Subscription | undefined;

    const read = (): void => {
      if (isReading) {
        isStale = true;
        return;
      }
      isReading = true;
      isStale = false;
      timer?.unsubscribe();
      void readingOf(watch).then((reading) => {
        if (subscriber.closed) return;
        const isPatient = isSilent && clock.now().bootMs - startBootMs < FIRST_WORD_PATIENCE_MS;
        if (reading.kind !== 'unreachable' || !isPatient) {
          isSilent = false;
          complain(reading);
          subscriber.next(reading);
        }
        if (subscriber.closed) return;
        timer = clock.timer(isStale ? SPACING_MS : PAUSES_MS[reading.kind]).subscribe(read);
        isReading = false;
      });
    };
    /** A sign of life: read soon, but not more often than the spacing allows. */
    const onSign = (): void => {
      if (isReading) isStale = true;
      else if (!isStale) {
        isStale = true;
        timer?.unsubscribe();
        timer = clock.timer(SPACING_MS).subscribe(read);
      }
    };
    const complain = (reading: Reading<T>): void => {
      const complaint = reading.kind === 'known' ? '' : reading.message;
      if (complaint !== '' && complaint !== lastComplaint) {
        log.warn('A service that conditions depend on cannot be read', {
          service: watch.name,
          state: reading.kind,
          errorMessage: complaint,
        });
      }
      lastComplaint = complaint;
    };
    const signs$ = [bus.nameOwner$(watch.name), ...watch.signals.map((match) => bus.signals$(match))];
    const subscription = merge(
      ...signs$.map((sign$) =>
        sign$.pipe(
          catchError((error: unknown) => {
            log.warn('The bus does not tell of changes; conditions are polled', {
              service: watch.name,
              errorMessage: messageOf(error),
            });
            return EMPTY;
          }),
        ),
      ),
    ).subscribe(onSign);
    // The signs are subscribed first, so no change falls between the first reading and them.
    isStale = false;
    read();
    return () => {
      subscription.unsubscribe();
      timer?.unsubscribe();
    };
  });
}

async function readingOf<T>(watch: RemoteWatch<T>): Promise<Reading<T>> {
  try {
    return { kind: 'known', value: await watch.read() };
  } catch (error) {
    const message = messageOf(error);
    const details = error instanceof UpdateError ? error.details : {};
    if (ABSENT.has(String(details['error-name']))) return { kind: 'absent', message };
    return { kind: details['reason'] === 'disconnected' ? 'unreachable' : 'failed', message };
  }
}

export interface RemoteObject {
  readonly name: string;
  readonly path: string;
  readonly interface: string;
}

/** All properties of the interface: values by name. Rejects as `call`, and with kind `bus` for another shape. */
export async function readProperties(
  bus: ConditionBus,
  object: RemoteObject,
): Promise<ReadonlyMap<string, unknown>> {
  const [answer] = await bus.call(propertyCall(object, 'GetAll', [object.interface]), CALL_TIMEOUT_MS);
  if (!(answer instanceof Map)) throw malformed(`the properties of ${object.path}`, answer);
  const properties = answer as ReadonlyMap<string, { readonly value?: unknown } | null>;
  return new Map([...properties].map(([name, one]) => [name, one?.value]));
}

/** The value of one property. Rejects as `call`. */
export async function readProperty(
  bus: ConditionBus,
  object: RemoteObject,
  property: string,
): Promise<unknown> {
  const [answer] = await bus.call(propertyCall(object, 'Get', [object.interface, property]), CALL_TIMEOUT_MS);
  return (answer as { readonly value?: unknown } | null)?.value;
}

function propertyCall(object: RemoteObject, member: string, body: readonly string[]): BusCall {
  const { name: destination, path } = object;
  return { destination, path, interface: PROPERTIES, member, signature: 's'.repeat(body.length), body };
}

export function malformed(what: string, found: unknown): UpdateError {
  const shown = typeof found === 'object' && found !== null ? 'a structure' : String(found);
  return new UpdateError('bus', `reading ${what}: found ${shown.slice(0, 80)} of type ${typeof found}`);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The changes of its properties. */
export function propertyChanges(object: RemoteObject): BusMatch {
  return {
    sender: object.name,
    path: object.path,
    interface: PROPERTIES,
    member: 'PropertiesChanged',
  };
}

import {
  asyncScheduler,
  catchError,
  EMPTY,
  from,
  map,
  merge,
  Observable,
  of,
  switchMap,
  throttleTime,
  type Subscription,
} from 'rxjs';
import { openClient, type BusClient } from './connection.ts';
import { HOLDPOINT_BUS_NAME, HOLDPOINT_PATH } from './interface-xml.ts';
import { busCall, DEFAULT_CALL_TIMEOUT_MS, RemoteError } from './link.ts';
import {
  holdFrom,
  isMap,
  list,
  number,
  plain,
  snapshotFrom,
  text,
  type PlainMap,
  type PlainValue,
  type RemoteHold,
  type RemoteSnapshot,
} from './remote-values.ts';
import { PROPERTIES } from './standard-interfaces.ts';
import type { Signal } from './subscriptions.ts';
import { MessageFlag } from './transport.ts';
import { variant, type Variant } from './values.ts';

export type { PlainMap, PlainValue, RemoteBlocker, RemoteHold, RemoteSnapshot } from './remote-values.ts';

/**
 * The service as a client sees it, in plain types: one snapshot of all properties, their changes, the signals, the
 * methods. Follows the client recipe: subscribe, GetAll, ignore what is older than the snapshot, and begin again when
 * the name changes its owner. Source: design/dbus-api.md section 1, rule 20, and section 3.
 */
const MAIN = 'io.holdpoint.Update1';
const HOLDS = 'io.holdpoint.Update1.Holds';
const INSTALL = 'io.holdpoint.Update1.Install';
const HISTORY = 'io.holdpoint.Update1.History';
/** Looking at an artifact reads its header and may wait for a web server. */
const INSTALL_TIMEOUT_MS = 120_000;
/** Somebody may have to type a password, and to look for it first. */
const INTERACTIVE_TIMEOUT_MS = 180_000;
/** Holds that come and go by the hundred are told a few times a second. */
const HOLDS_INTERVAL_MS = 200;

/** What AddHold is given. Options that are absent are not sent. */
export interface RemoteHoldWish {
  readonly points: readonly string[];
  readonly why: string;
  /** 0 = bound to this client. */
  readonly timeoutSeconds: number;
  readonly onExpire: string;
  readonly priority?: number;
  readonly appId?: string;
  readonly isOnce?: boolean;
}

/** What ContinueFull is given. Options that are absent are not sent. */
export interface RemoteContinueOptions {
  readonly comment?: string;
  readonly now?: boolean;
  readonly override?: boolean;
  readonly rebootMode?: string;
}

export type UpdateChange =
  /** What holds now; `isFirst` after each (re)connection to a service. */
  | { readonly kind: 'snapshot'; readonly snapshot: RemoteSnapshot; readonly isFirst: boolean }
  | { readonly kind: 'signal'; readonly member: string; readonly args: readonly PlainValue[] }
  /** Nobody owns the name (any more). */
  | { readonly kind: 'gone' };

export interface LogPage {
  readonly lines: readonly string[];
  readonly nextLine: number;
}

export interface DecisionPage {
  readonly lines: readonly string[];
  readonly nextSeq: number;
}

/** All methods reject with an UpdateError: see {@link isNoService}, {@link refusalOf}. */
export interface UpdateClient {
  snapshot(): Promise<RemoteSnapshot>;
  /** Whether somebody owns the name, as the bus says it now. */
  isThere(): Promise<boolean>;
  /** The same, now and then its changes. Errors as `change$`. */
  readonly isThere$: Observable<boolean>;
  /** Has the bus start the service, as any call to it would. Resolves when it owns the name. */
  start(timeoutMs: number): Promise<void>;
  /** Endless; errors (kind `bus`) when the bus is lost. */
  readonly change$: Observable<UpdateChange>;
  /** The list now, and after changes; nothing while nobody owns the name. Errors as `change$`. */
  readonly holds$: Observable<readonly RemoteHold[]>;
  installPath(path: string): Promise<string>;
  installUrl(url: string): Promise<string>;
  /** @returns proceeding, recorded */
  proceed(ticket: string, options?: RemoteContinueOptions): Promise<string>;
  /** @returns wall clock, microseconds, of the next question */
  snooze(ticket: string, seconds: number): Promise<number>;
  endSnooze(deploymentId: string): Promise<void>;
  retryUpdate(deploymentId: string): Promise<void>;
  holds(): Promise<readonly RemoteHold[]>;
  addHold(wish: RemoteHoldWish): Promise<{ readonly id: string; readonly refreshSeconds: number }>;
  /** @returns seconds within which to refresh again */
  refreshHold(id: string): Promise<number>;
  releaseHold(id: string): Promise<void>;
  /** @returns seconds within which to set it again */
  setControlMap(json: string): Promise<number>;
  reportHealth(deploymentId: string, checker: string, verdict: string, message: string): Promise<void>;
  /** @returns yes, no, challenge */
  canDo(action: string): Promise<string>;
  /** Lines of JSON from this number on. */
  decisions(fromSeq: number, maxLines: number): Promise<DecisionPage>;
  abort(deploymentId: string, reason: string): Promise<void>;
  rollback(deploymentId: string, reason: string): Promise<void>;
  pause(deploymentId: string): Promise<void>;
  resume(deploymentId: string): Promise<void>;
  setUpdatesEnabled(isEnabled: boolean): Promise<void>;
  checkForUpdate(): Promise<void>;
  sendInventory(): Promise<void>;
  /** Newest first. */
  history(maxEntries: number): Promise<readonly PlainMap[]>;
  /** null = not in the history. */
  historyEntry(deploymentId: string): Promise<PlainMap | null>;
  log(deploymentId: string, fromLine: number, maxLines: number): Promise<LogPage>;
  close(): void;
}

export interface UpdateClientOptions {
  /** A person is there who may be asked for a password. Default: false. */
  readonly isInteractive?: boolean;
}

/** Rejects with kind `bus`, `timeout` or `config` when the bus itself cannot be reached. */
export async function openUpdateClient(
  address: string,
  { isInteractive = false }: UpdateClientOptions = {},
): Promise<UpdateClient> {
  const bus = await openClient(address);

  async function call(
    interfaceName: string,
    member: string,
    signature = '',
    body: readonly unknown[] = [],
    timeoutMs?: number,
  ): Promise<readonly PlainValue[]> {
    const target = { destination: HOLDPOINT_BUS_NAME, path: HOLDPOINT_PATH };
    const flags = isInteractive ? MessageFlag.allowInteractiveAuthorization : 0;
    const limitMs = timeoutMs ?? (isInteractive ? INTERACTIVE_TIMEOUT_MS : DEFAULT_CALL_TIMEOUT_MS);
    const call = { ...target, interface: interfaceName, member, signature, body, flags };
    return (await bus.call(call, limitMs)).map(plain);
  }
  const order = async (member: string, signature: string, ...body: readonly unknown[]): Promise<void> => {
    await call(MAIN, member, signature, body);
  };
  const properties = async (): Promise<PlainMap> => {
    const [all] = await call(PROPERTIES, 'GetAll', 's', [MAIN], DEFAULT_CALL_TIMEOUT_MS);
    return isMap(all) ? all : {};
  };
  const holds = async (): Promise<readonly RemoteHold[]> => {
    const [all] = await call(PROPERTIES, 'Get', 'ss', [HOLDS, 'Holds'], DEFAULT_CALL_TIMEOUT_MS);
    return list(all).map(holdFrom);
  };

  return {
    snapshot: async () => snapshotFrom(await properties()),
    isThere: async () => (await bus.call(busCall('NameHasOwner', 's', [HOLDPOINT_BUS_NAME])))[0] === true,
    isThere$: merge(bus.nameOwner$(HOLDPOINT_BUS_NAME).pipe(map((owner) => owner !== '')), lost$(bus)),
    start: async (timeoutMs) =>
      void (await bus.call(busCall('StartServiceByName', 'su', [HOLDPOINT_BUS_NAME, 0]), timeoutMs)),
    change$: changes$(bus, properties),
    holds$: holdChanges$(bus, holds),
    installPath: async (path) =>
      text((await call(INSTALL, 'InstallPath', 'ss', [path, ''], INSTALL_TIMEOUT_MS))[0]),
    installUrl: async (url) =>
      text((await call(INSTALL, 'InstallUrl', 'sa{sv}', [url, new Map()], INSTALL_TIMEOUT_MS))[0]),
    proceed: async (ticket, given = {}) => {
      const options = continueOptions(given);
      if (options.size === 0) return text((await call(MAIN, 'Continue', 's', [ticket]))[0]);
      return text((await call(MAIN, 'ContinueFull', 'sa{sv}', [ticket, options]))[0]);
    },
    snooze: async (ticket, seconds) => number((await call(MAIN, 'Snooze', 'su', [ticket, seconds]))[0], 0),
    retryUpdate: (deploymentId) => order('RetryUpdate', 's', deploymentId),
    endSnooze: (deploymentId) => order('EndSnooze', 's', deploymentId),
    holds,
    addHold: async (wish) => {
      const { points, why, timeoutSeconds, onExpire } = wish;
      const body = [[...points], why, timeoutSeconds, onExpire, holdOptions(wish)];
      const [id, refreshSeconds] = await call(HOLDS, 'AddHold', 'assusa{sv}', body);
      return { id: text(id), refreshSeconds: number(refreshSeconds, 0) };
    },
    refreshHold: async (id) => number((await call(HOLDS, 'RefreshHold', 's', [id]))[0], 0),
    releaseHold: async (id) => void (await call(HOLDS, 'ReleaseHold', 's', [id])),
    setControlMap: async (json) => number((await call(HOLDS, 'SetControlMap', 's', [json]))[0], 0),
    reportHealth: async (...report) => void (await call(HOLDS, 'ReportHealth', 'ssss', report)),
    canDo: async (action) => text((await call(MAIN, 'CanDo', 's', [action]))[0]),
    decisions: async (fromSeq, maxLines) => {
      const body = [BigInt(fromSeq), maxLines];
      const [lines, nextSeq] = await call(HISTORY, 'ExportDecisions', 'tu', body);
      return { lines: list(lines).map(text), nextSeq: number(nextSeq, fromSeq) };
    },
    abort: (deploymentId, reason) => order('Abort', 'ss', deploymentId, reason),
    rollback: (deploymentId, reason) => order('Rollback', 'ss', deploymentId, reason),
    pause: (deploymentId) => order('Pause', 's', deploymentId),
    resume: (deploymentId) => order('Resume', 's', deploymentId),
    checkForUpdate: () => order('CheckForUpdate', ''),
    sendInventory: () => order('SendInventory', ''),
    setUpdatesEnabled: (isEnabled) => order('SetUpdatesEnabled', 'b', isEnabled),
    history: async (maxEntries) => list((await call(HISTORY, 'List', 'u', [maxEntries]))[0]).filter(isMap),
    historyEntry: async (deploymentId) => {
      try {
        const [entry] = await call(HISTORY, 'Get', 's', [deploymentId]);
        return isMap(entry) ? entry : null;
      } catch (error) {
        if (refusalNameOf(error) === 'UnknownDeployment') return null;
        throw error;
      }
    },
    log: async (deploymentId, fromLine, maxLines) => {
      const [lines, nextLine] = await call(HISTORY, 'GetLog', 'suu', [deploymentId, fromLine, maxLines]);
      return { lines: list(lines).map(text), nextLine: number(nextLine, fromLine) };
    },
    close: () => bus.close(),
  };
}

/** Whether the service is not there; as opposed to a service that refuses. */
export function isNoService(error: unknown): boolean {
  if (!(error instanceof RemoteError)) return false;
  return NO_SERVICE.includes(error.errorName) || NOT_STARTED.some((name) => error.errorName.startsWith(name));
}
const NO_SERVICE = [
  'org.freedesktop.DBus.Error.ServiceUnknown',
  'org.freedesktop.DBus.Error.NameHasNoOwner',
  // It was asked and went away before it answered.
  'org.freedesktop.DBus.Error.NoReply',
  // The bus has started it, and it did not come.
  'org.freedesktop.DBus.Error.TimedOut',
];
/** The bus, or systemd for it, was to start it: a unit that is masked, a program that ended. */
const NOT_STARTED = ['org.freedesktop.DBus.Error.Spawn.', 'org.freedesktop.systemd1.'];

/** An answer of the other side that is a refusal. */
export interface Refused {
  /** `StaleTicket`, `AccessDenied`, … */
  readonly name: string;
  /** One sentence, without the parameters. */
  readonly sentence: string;
  readonly details: Readonly<Record<string, string>>;
}

/** null = not an answer of the other side. The message is `sentence [key=value, key=value]`. */
export function refusalOf(error: unknown): Refused | null {
  if (!(error instanceof RemoteError)) return null;
  const name = refusalNameOf(error);
  const [, sentence, inside] = /^(.*) \[([a-z0-9-]+=[^\]]*)\]$/s.exec(error.message) ?? [];
  if (sentence === undefined || inside === undefined) return { name, sentence: error.message, details: {} };
  const pairs = inside.split(/, (?=[a-z0-9-]+=)/).map((pair): [string, string] => {
    const at = pair.indexOf('=');
    return [pair.slice(0, at), pair.slice(at + 1)];
  });
  return { name, sentence, details: Object.fromEntries(pairs) };
}

/** `StaleTicket`, `AccessDenied`, …; '' = not an answer of the other side. */
export function refusalNameOf(error: unknown): string {
  return error instanceof RemoteError ? (error.errorName.split('.').at(-1) ?? '') : '';
}

function continueOptions(given: RemoteContinueOptions): ReadonlyMap<string, Variant> {
  const { comment, now, override, rebootMode } = given;
  const options = new Map<string, Variant>();
  if (comment !== undefined) options.set('comment', variant('s', comment));
  if (now !== undefined) options.set('now', variant('b', now));
  if (override !== undefined) options.set('override', variant('b', override));
  if (rebootMode !== undefined) options.set('reboot-mode', variant('s', rebootMode));
  return options;
}

function holdOptions({ priority, appId, isOnce }: RemoteHoldWish): ReadonlyMap<string, Variant> {
  const options = new Map<string, Variant>();
  if (priority !== undefined) options.set('priority', variant('i', priority));
  if (appId !== undefined) options.set('app-id', variant('s', appId));
  if (isOnce !== undefined) options.set('once', variant('b', isOnce));
  return options;
}

/** Only that the list has changed is announced. */
function holdChanges$(
  bus: BusClient,
  holds: () => Promise<readonly RemoteHold[]>,
): Observable<readonly RemoteHold[]> {
  const changed = { sender: HOLDPOINT_BUS_NAME, path: HOLDPOINT_PATH, interface: PROPERTIES };
  return bus.nameOwner$(HOLDPOINT_BUS_NAME).pipe(
    switchMap((owner) => {
      if (owner === '') return EMPTY;
      const due$ = merge(bus.signals$({ ...changed, member: 'PropertiesChanged', arg0: HOLDS }), of(null));
      // Newest wins: an older list is of no interest.
      return due$.pipe(
        throttleTime(HOLDS_INTERVAL_MS, asyncScheduler, { leading: true, trailing: true }),
        switchMap(() =>
          from(holds()).pipe(
            catchError((error: unknown) => {
              // Gone again already: the owner's change tells.
              if (isNoService(error)) return EMPTY;
              throw error;
            }),
          ),
        ),
      );
    }),
  );
}

function changes$(bus: BusClient, properties: () => Promise<PlainMap>): Observable<UpdateChange> {
  const sender = { sender: HOLDPOINT_BUS_NAME, path: HOLDPOINT_PATH };
  // Newest wins: what an earlier owner said is of no interest once another one has the name.
  const service$ = bus
    .nameOwner$(HOLDPOINT_BUS_NAME)
    .pipe(switchMap((owner) => (owner === '' ? [{ kind: 'gone' } as const] : owned$())));

  function owned$(): Observable<UpdateChange> {
    return new Observable<UpdateChange>((subscriber) => {
      let known: PlainMap | null = null;
      let since = 0;
      /** What came before the snapshot is either part of it or newer; its serial tells which. */
      let early: Signal[] | null = [];

      function take(signal: Signal, isEarly: boolean): void {
        if (known === null) return;
        if (signal.interface === MAIN) {
          const args = signal.args.map(plain);
          if (number(args[0], 0) > since) subscriber.next({ kind: 'signal', member: signal.member, args });
          return;
        }
        const [name, changed] = signal.args.map(plain);
        if (name !== MAIN || !isMap(changed)) return;
        const serial = changed['Serial'];
        // Progress alone has no serial: before the snapshot it is old, after it it is news.
        if (serial === undefined ? isEarly : number(serial, 0) <= since) return;
        known = { ...known, ...changed };
        subscriber.next({ kind: 'snapshot', snapshot: snapshotFrom(known), isFirst: false });
      }

      const signal$ = merge(
        bus.signals$({ ...sender, interface: PROPERTIES, member: 'PropertiesChanged', arg0: MAIN }),
        bus.signals$({ ...sender, interface: MAIN }),
      );
      const subscription: Subscription = signal$.subscribe({
        next: (signal) => (early === null ? take(signal, false) : early.push(signal)),
        error: (error: unknown) => subscriber.error(error),
      });
      properties().then(
        (all) => {
          const held = early ?? [];
          early = null;
          known = all;
          since = number(all['Serial'], 0);
          subscriber.next({ kind: 'snapshot', snapshot: snapshotFrom(all), isFirst: true });
          for (const signal of held) take(signal, true);
        },
        (error: unknown) => {
          // Gone again already: the owner's change tells.
          if (!isNoService(error)) subscriber.error(error);
        },
      );
      return subscription;
    });
  }
  return merge(service$, lost$(bus));
}

/** Errors when the bus is lost; nothing else. */
function lost$(bus: BusClient): Observable<never> {
  return new Observable<never>((subscriber) => {
    void bus.closed.then((reason) => subscriber.error(reason));
  });
}

import { merge, Observable, switchMap, type Subscription } from 'rxjs';
import { UpdateError, type Details } from '../../core/errors.ts';
import type { Blocker } from '../../core/state.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import { openClient, type BusClient } from './connection.ts';
import { HOLDPOINT_BUS_NAME, HOLDPOINT_PATH } from './interface-xml.ts';
import { RemoteError } from './link.ts';
import { PROPERTIES } from './standard-interfaces.ts';
import type { Signal } from './subscriptions.ts';
import type { Variant } from './values.ts';

/**
 * The service as a client sees it, in plain types: one snapshot of all properties, their changes, the signals, the
 * methods. Follows the client recipe: subscribe, GetAll, ignore what is older than the snapshot, and begin again when
 * the name changes its owner. Source: design/dbus-api.md section 1, rule 20, and section 3.
 */
const MAIN = 'io.holdpoint.Update1';
const INSTALL = 'io.holdpoint.Update1.Install';
const HISTORY = 'io.holdpoint.Update1.History';
/** Looking at an artifact reads its header and may wait for a web server. */
const INSTALL_TIMEOUT_MS = 120_000;

/** Open sets are plain strings here: a newer service may know more words. */
export interface RemoteSnapshot extends Omit<
  Snapshot,
  'state' | 'activity' | 'deployment' | 'rebootRequired' | 'allowedActions' | 'lastResult'
> {
  readonly version: string;
  readonly state: string;
  readonly activity: string;
  readonly deployment: PlainMap;
  readonly rebootRequired: string;
  readonly allowedActions: readonly string[];
  readonly lastResult: string;
  readonly serverStatus: string;
  readonly nextCheckUsec: number;
}

export type PlainValue = string | number | boolean | readonly PlainValue[] | PlainMap;
export type PlainMap = { readonly [key: string]: PlainValue };

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

/** All methods reject with an UpdateError: see {@link isNoService}, {@link refusalNameOf}. */
export interface UpdateClient {
  snapshot(): Promise<RemoteSnapshot>;
  /** Endless; errors (kind `bus`) when the bus is lost. */
  readonly change$: Observable<UpdateChange>;
  installPath(path: string): Promise<string>;
  installUrl(url: string): Promise<string>;
  proceed(ticket: string): Promise<string>;
  abort(deploymentId: string, reason: string): Promise<void>;
  rollback(deploymentId: string, reason: string): Promise<void>;
  pause(deploymentId: string): Promise<void>;
  resume(deploymentId: string): Promise<void>;
  setUpdatesEnabled(isEnabled: boolean): Promise<void>;
  /** Newest first. */
  history(maxEntries: number): Promise<readonly PlainMap[]>;
  /** null = not in the history. */
  historyEntry(deploymentId: string): Promise<PlainMap | null>;
  log(deploymentId: string, fromLine: number, maxLines: number): Promise<LogPage>;
  close(): void;
}

/** Rejects with kind `bus`, `timeout` or `config` when the bus itself cannot be reached. */
export async function openUpdateClient(address: string): Promise<UpdateClient> {
  const bus = await openClient(address);

  async function call(
    interfaceName: string,
    member: string,
    signature = '',
    body: readonly unknown[] = [],
    timeoutMs?: number,
  ): Promise<readonly PlainValue[]> {
    const target = { destination: HOLDPOINT_BUS_NAME, path: HOLDPOINT_PATH };
    const reply = await bus.call({ ...target, interface: interfaceName, member, signature, body }, timeoutMs);
    return reply.map(plain);
  }
  const order = async (member: string, signature: string, ...body: readonly unknown[]): Promise<void> => {
    await call(MAIN, member, signature, body);
  };
  const properties = async (): Promise<PlainMap> => {
    const [all] = await call(PROPERTIES, 'GetAll', 's', [MAIN]);
    return isMap(all) ? all : {};
  };

  return {
    snapshot: async () => snapshotFrom(await properties()),
    change$: changes$(bus, properties),
    installPath: async (path) =>
      text((await call(INSTALL, 'InstallPath', 'ss', [path, ''], INSTALL_TIMEOUT_MS))[0]),
    installUrl: async (url) =>
      text((await call(INSTALL, 'InstallUrl', 'sa{sv}', [url, new Map()], INSTALL_TIMEOUT_MS))[0]),
    proceed: async (ticket) => text((await call(MAIN, 'Continue', 's', [ticket]))[0]),
    abort: (deploymentId, reason) => order('Abort', 'ss', deploymentId, reason),
    rollback: (deploymentId, reason) => order('Rollback', 'ss', deploymentId, reason),
    pause: (deploymentId) => order('Pause', 's', deploymentId),
    resume: (deploymentId) => order('Resume', 's', deploymentId),
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
  return error instanceof RemoteError && NO_SERVICE.includes(error.errorName);
}
const NO_SERVICE = [
  'org.freedesktop.DBus.Error.ServiceUnknown',
  'org.freedesktop.DBus.Error.NameHasNoOwner',
  // It was asked and went away before it answered.
  'org.freedesktop.DBus.Error.NoReply',
];

/** `StaleTicket`, `AccessDenied`, …; '' = not an answer of the other side. */
export function refusalNameOf(error: unknown): string {
  return error instanceof RemoteError ? (error.errorName.split('.').at(-1) ?? '') : '';
}

function changes$(bus: BusClient, properties: () => Promise<PlainMap>): Observable<UpdateChange> {
  const sender = { sender: HOLDPOINT_BUS_NAME, path: HOLDPOINT_PATH };
  const lost$ = new Observable<never>((subscriber) => {
    void bus.closed.then((reason) => subscriber.error(reason));
  });
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
  return merge(service$, lost$);
}

/** Variants unwrapped, 64-bit numbers as numbers, dictionaries as objects without a prototype. */
function plain(value: unknown): PlainValue {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  if (value instanceof Map) {
    const object: Record<string, PlainValue> = Object.create(null) as Record<string, PlainValue>;
    for (const [key, entry] of value as ReadonlyMap<unknown, unknown>) object[String(key)] = plain(entry);
    return object;
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Uint8Array) return [...value];
  if (typeof value === 'object' && value !== null && 'signature' in value && 'value' in value) {
    return plain((value as Variant).value);
  }
  throw new UpdateError('bus', `the service sent a value that is not understood: ${typeof value}`);
}

function snapshotFrom(all: PlainMap): RemoteSnapshot {
  const string = (name: string): string => text(all[name]);
  const count = (name: string, unknown = -1): number => number(all[name], unknown);
  return {
    version: string('Version'),
    serial: count('Serial', 0),
    state: string('State'),
    activity: string('Activity'),
    step: string('Step'),
    deploymentId: string('DeploymentId'),
    artifactName: string('ArtifactName'),
    currentArtifactName: string('CurrentArtifactName'),
    deployment: object(all['Deployment']),
    rebootRequired: string('RebootRequired'),
    progress: count('Progress'),
    stepProgress: count('StepProgress'),
    downloadedBytes: count('DownloadedBytes', 0),
    downloadSizeBytes: count('DownloadSizeBytes'),
    bytesPerSecond: count('BytesPerSecond'),
    remainingSeconds: count('RemainingSeconds'),
    waitTicket: string('WaitTicket'),
    waitPoint: string('WaitPoint'),
    blockers: list(all['Blockers']).map(blocker),
    waitSinceUsec: count('WaitSinceUSec', 0),
    waitDeadlineUsec: count('WaitDeadlineUSec', 0),
    waitDeadlineBootUsec: count('WaitDeadlineBootUSec', 0),
    waitOnExpire: string('WaitOnExpire'),
    isPaused: all['Paused'] === true,
    areUpdatesEnabled: all['UpdatesEnabled'] === true,
    allowedActions: list(all['AllowedActions']).map(text),
    lastResult: string('LastResult'),
    lastErrorName: string('LastErrorName'),
    lastErrorMessage: string('LastErrorMessage'),
    lastErrorDetails: object(all['LastErrorDetails']) as Details,
    serverStatus: string('ServerStatus'),
    lastCheckUsec: count('LastCheckUSec', 0),
    nextCheckUsec: count('NextCheckUSec', 0),
  };
}

function blocker(value: PlainValue): Blocker {
  const [id, kind, owner, reasonCode, details] = list(value);
  return {
    id: text(id),
    kind: text(kind),
    owner: text(owner),
    reasonCode: text(reasonCode),
    details: object(details) as Details,
  };
}

function isMap(value: PlainValue | undefined): value is PlainMap {
  return typeof value === 'object' && !Array.isArray(value);
}
function object(value: PlainValue | undefined): PlainMap {
  return isMap(value) ? value : {};
}
function list(value: PlainValue | undefined): readonly PlainValue[] {
  return Array.isArray(value) ? (value as readonly PlainValue[]) : [];
}
function text(value: PlainValue | undefined): string {
  return typeof value === 'string' ? value : '';
}
function number(value: PlainValue | undefined, unknown: number): number {
  return typeof value === 'number' ? value : unknown;
}

import { BehaviorSubject, Subject, Subscription, type Observable } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import { openClient, type BusClient } from './connection.ts';
import { HOLDPOINT_BUS_NAME, HOLDPOINT_PATH } from './interface-xml.ts';
import { RemoteError } from './link.ts';
import { PROPERTIES } from './standard-interfaces.ts';
import { HISTORY, INSTALL, MAIN } from './update-object.ts';

/**
 * Our interface as a client sees it, in plain values: 64-bit integers are numbers, dictionaries are objects without
 * prototype. Follows the start-up recipe: subscribe, GetAll, pass over what the snapshot contains already, and
 * begin anew when the name changes its owner. Source: design/dbus-api.md section 1 rule 20.
 */
export type Plain = string | number | boolean | readonly Plain[] | { readonly [key: string]: Plain };

export interface Blocker {
  readonly id: string;
  readonly kind: string;
  readonly owner: string;
  readonly reasonCode: string;
  readonly details: { readonly [key: string]: Plain };
}

/** The properties a command line needs; units as in the XML. */
export interface UpdateView {
  readonly Serial: number;
  readonly Version: string;
  readonly State: string;
  readonly Activity: string;
  readonly Step: string;
  readonly DeploymentId: string;
  readonly ArtifactName: string;
  readonly CurrentArtifactName: string;
  readonly Progress: number;
  readonly DownloadedBytes: number;
  readonly DownloadSizeBytes: number;
  readonly BytesPerSecond: number;
  readonly RemainingSeconds: number;
  readonly WaitTicket: string;
  readonly WaitPoint: string;
  readonly Blockers: readonly Blocker[];
  readonly WaitDeadlineUSec: number;
  readonly WaitOnExpire: string;
  readonly Paused: boolean;
  readonly UpdatesEnabled: boolean;
  readonly AllowedActions: readonly string[];
  readonly LastResult: string;
  readonly LastErrorName: string;
  readonly LastErrorMessage: string;
  /** Every property, as its plain value. */
  readonly all: { readonly [name: string]: Plain };
}

export interface UpdateSignal {
  readonly member: string;
  readonly args: readonly Plain[];
}

export interface UpdateClient {
  /** The latest snapshot at once, then each change; null = no service on the bus. Completes with the bus. */
  readonly view$: Observable<UpdateView | null>;
  readonly view: () => UpdateView | null;
  /** Signals of the main interface that are not contained in the snapshot before them. */
  readonly signal$: Observable<UpdateSignal>;
  /** Rejects with RemoteError, or kind `bus` when no service answers. */
  call(
    iface: 'main' | 'install' | 'history',
    member: string,
    signature: string,
    args: readonly unknown[],
  ): Promise<Plain[]>;
  close(): void;
}

const INTERFACES = { main: MAIN, install: INSTALL, history: HISTORY } as const;
/** Looking at an artifact may take as long as reading its header from a slow disk. */
const CALL_TIMEOUT_MS = 120_000;

/** Rejects with kind `bus` when the bus cannot be reached. A service that is not there is no error here. */
export async function openUpdateClient(address: string): Promise<UpdateClient> {
  const client = await openClient(address);
  const view$ = new BehaviorSubject<UpdateView | null>(null);
  const signal$ = new Subject<UpdateSignal>();
  const running = new Subscription();
  /** Counts the owners of the name: an answer of an earlier one is not a snapshot of the present one. */
  let era = 0;

  async function takeSnapshot(): Promise<void> {
    const mine = era;
    const properties = await getAll(client).catch((error: unknown) => {
      if (isNobodyThere(error)) return null;
      throw error;
    });
    if (mine === era) view$.next(properties);
  }

  const isReady = new Promise<void>((resolve, reject) => {
    running.add(
      client.nameOwner$(HOLDPOINT_BUS_NAME).subscribe({
        next: (owner) => {
          era += 1;
          if (owner === '') {
            view$.next(null);
            resolve();
          } else takeSnapshot().then(resolve, reject);
        },
        error: reject,
      }),
    );
  });
  running.add(
    client
      .signals$({
        sender: HOLDPOINT_BUS_NAME,
        path: HOLDPOINT_PATH,
        interface: PROPERTIES,
        member: 'PropertiesChanged',
      })
      .subscribe(({ args }) => {
        const [owner, changed] = args as [string, ReadonlyMap<string, unknown>];
        const before = view$.value;
        if (owner !== MAIN || before === null) return;
        view$.next(viewOf({ ...before.all, ...(plain(changed) as Record<string, Plain>) }));
      }),
  );
  running.add(
    client
      .signals$({ sender: HOLDPOINT_BUS_NAME, path: HOLDPOINT_PATH, interface: MAIN })
      .subscribe(({ member, args }) => {
        signal$.next({ member, args: args.map(plain) });
      }),
  );
  try {
    await isReady;
  } catch (error) {
    running.unsubscribe();
    client.close();
    throw error;
  }
  void client.closed.then(() => {
    view$.complete();
    signal$.complete();
  });

  return {
    view$: view$.asObservable(),
    view: () => view$.value,
    signal$: signal$.asObservable(),
    async call(iface, member, signature, args) {
      try {
        const values = await client.call(
          {
            destination: HOLDPOINT_BUS_NAME,
            path: HOLDPOINT_PATH,
            interface: INTERFACES[iface],
            member,
            signature,
            body: args,
          },
          CALL_TIMEOUT_MS,
        );
        return values.map(plain);
      } catch (error) {
        throw isNobodyThere(error) ? noService() : error;
      }
    },
    close() {
      running.unsubscribe();
      client.close();
    },
  };
}

export function noService(): UpdateError {
  return new UpdateError('bus', 'the service is not running', { details: { reason: 'no-service' } });
}

async function getAll(client: BusClient): Promise<UpdateView> {
  const [properties] = await client.call({
    destination: HOLDPOINT_BUS_NAME,
    path: HOLDPOINT_PATH,
    interface: PROPERTIES,
    member: 'GetAll',
    signature: 's',
    body: [MAIN],
  });
  return viewOf(plain(properties) as Record<string, Plain>);
}

function viewOf(all: { readonly [name: string]: Plain }): UpdateView {
  const blockers = (all['Blockers'] ?? []) as readonly (readonly [
    string,
    string,
    string,
    string,
    Blocker['details'],
  ])[];
  return {
    ...(all as unknown as Omit<UpdateView, 'Blockers' | 'all'>),
    Blockers: blockers.map(([id, kind, owner, reasonCode, details]) => ({
      id,
      kind,
      owner,
      reasonCode,
      details,
    })),
    all,
  };
}

/** Numbers above 2^53 lose their last digits: fine for what is shown to people. */
function plain(value: unknown): Plain {
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof Map) {
    const object = Object.create(null) as Record<string, Plain>;
    for (const [key, entry] of value) object[String(key)] = plain(entry);
    return object;
  }
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null && 'signature' in value && 'value' in value)
    return plain(value.value);
  return value as Plain;
}

function isNobodyThere(error: unknown): boolean {
  return (
    error instanceof RemoteError &&
    ['org.freedesktop.DBus.Error.ServiceUnknown', 'org.freedesktop.DBus.Error.NameHasNoOwner'].includes(
      error.errorName,
    )
  );
}

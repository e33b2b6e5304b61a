/**
 * A client that follows the service as the XML tells clients to: every property as it changes, every signal, over
 * restarts of the service and of the bus. Waits are for what was seen, never for time to pass.
 */
import { merge, Subscription } from 'rxjs';
import { Bus } from '../../src/adapters/dbus/connection.ts';
import { HOLDPOINT_BUS_NAME, HOLDPOINT_PATH } from '../../src/adapters/dbus/interface-xml.ts';
import type { Signal } from '../../src/adapters/dbus/subscriptions.ts';
import type { Variant, VariantMap } from '../../src/adapters/dbus/values.ts';
import { getAll, MAIN, PROPERTIES } from './bus-client.ts';
import { RecordingLog } from './recording-log.ts';

export type Properties = Readonly<Record<string, unknown>>;

export interface SeenSignal {
  readonly member: string;
  readonly args: readonly unknown[];
  readonly atMs: number;
}

export interface SeenChange {
  readonly changed: Properties;
  readonly atMs: number;
}

export interface PropertyWatch {
  /** What the service shows; null = nobody owns the name. */
  present(): Properties | null;
  readonly changes: readonly SeenChange[];
  readonly signals: readonly SeenSignal[];
  readonly bus: Bus;
  /** Resolves with the first properties, from now on, the claim is true of. */
  waitFor(what: string, claim: (seen: Properties) => boolean, withinMs?: number): Promise<Properties>;
  /** Resolves when nobody owns the name. */
  waitForAbsence(withinMs?: number): Promise<void>;
  close(): void;
}

export function watchProperties(address: string, describe: () => Promise<string>): PropertyWatch {
  const bus = new Bus({ address, names: [], log: new RecordingLog(), maxDelayMs: 200 });
  const changes: SeenChange[] = [];
  const signals: SeenSignal[] = [];
  const looks = new Set<() => void>();
  let present: Properties | null = null;
  let owner = '';

  const show = (next: Properties | null): void => {
    present = next;
    for (const look of looks) look();
  };
  const match = { sender: HOLDPOINT_BUS_NAME, path: HOLDPOINT_PATH };
  const subscription = new Subscription();
  subscription.add(
    bus.nameOwner$(HOLDPOINT_BUS_NAME).subscribe((name) => {
      owner = name;
      show(null);
      if (name === '') return;
      getAll(bus)
        .then((all) => {
          if (owner === name) show({ ...plain(all), ...present });
        })
        .catch(() => {});
    }),
  );
  subscription.add(
    merge(
      bus.signals$({ ...match, interface: MAIN }),
      bus.signals$({ ...match, interface: PROPERTIES, member: 'PropertiesChanged' }),
    ).subscribe((signal: Signal) => {
      const args = signal.args as readonly unknown[];
      const atMs = performance.now();
      if (signal.member !== 'PropertiesChanged') {
        signals.push({ member: signal.member, args, atMs });
        for (const look of looks) look();
        return;
      }
      if (args[0] !== MAIN) return;
      const changed = plain(args[1] as VariantMap);
      changes.push({ changed, atMs });
      show({ ...present, ...changed });
    }),
  );
  bus.start();

  async function until(what: string, isSo: () => boolean, withinMs: number): Promise<void> {
    let look: () => void = () => {};
    let timer: NodeJS.Timeout | undefined;
    const outcome = await new Promise<boolean>((resolve) => {
      look = () => {
        if (isSo()) resolve(true);
      };
      looks.add(look);
      timer = setTimeout(() => resolve(false), withinMs);
      look();
    });
    looks.delete(look);
    clearTimeout(timer);
    if (outcome) return;
    throw new Error(`not so after ${withinMs} ms: ${what}\nseen: ${inspect(present)}\n${await describe()}`);
  }

  return {
    present: () => present,
    changes,
    signals,
    bus,
    async waitFor(what, claim, withinMs = 60_000) {
      let found: Properties = {};
      const isSo = (): boolean => {
        if (present === null || present['State'] === undefined || !claim(present)) return false;
        found = present;
        return true;
      };
      await until(what, isSo, withinMs);
      return found;
    },
    waitForAbsence: (withinMs = 20_000) => until('nobody owns the name', () => owner === '', withinMs),
    close() {
      subscription.unsubscribe();
      bus.close();
    },
  };
}

/** Values without their signatures; bigint stays bigint, dictionaries become objects. */
function plain(map: VariantMap): Properties {
  return Object.fromEntries([...map].map(([key, value]) => [key, bare(value)]));
}

export function bare(value: unknown): unknown {
  if (value instanceof Map) return plain(value as VariantMap);
  if (Array.isArray(value)) return value.map(bare);
  if (typeof value === 'object' && value !== null && 'signature' in value)
    return bare((value as Variant).value);
  return value;
}

function inspect(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? Number(item) : item));
}

/** The object for Mender's clients over the real pool, beside an object of our own on the same connection. */
import { resolve } from 'node:path';
import { rootOrReading } from '../../src/adapters/dbus/authorise.ts';
import { Bus, type NameReport } from '../../src/adapters/dbus/connection.ts';
import { Dispatcher } from '../../src/adapters/dbus/dispatcher.ts';
import {
  HOLDPOINT_BUS_NAME,
  HOLDPOINT_PATH,
  loadHoldpointTable,
  MENDER_BUS_NAME,
} from '../../src/adapters/dbus/interface-xml.ts';
import { createMenderUpdateObject } from '../../src/adapters/dbus/mender-update-object.ts';
import { RateLimiter } from '../../src/adapters/dbus/rate-limit.ts';
import type { ServedObject } from '../../src/adapters/dbus/served-object.ts';
import { controlMapJson, parseControlMap } from '../../src/core/control/control-map.ts';
import { insertMap, type MapPool } from '../../src/core/control/map-pool.ts';
import { refuse, RefusedCall } from '../../src/core/refusal.ts';
import { eventually } from './eventually.ts';
import { RecordingLog } from './recording-log.ts';

export const MENDER_POLICY_PATH = resolve('dbus-policy/io.mender.UpdateManager.conf');

export class MapService {
  readonly log = new RecordingLog();
  readonly names: NameReport[] = [];
  readonly texts: string[] = [];
  readonly uids: number[] = [];
  pool: MapPool = [];
  lifetimeSeconds = 61;
  /** Set to let the next call end otherwise. */
  answer: (() => Promise<number>) | null = null;
  readonly #bus: Bus;

  constructor(address: string) {
    this.#bus = new Bus({
      address,
      names: [{ name: HOLDPOINT_BUS_NAME }, { name: MENDER_BUS_NAME }],
      log: this.log,
    });
    const mender = createMenderUpdateObject({
      setControlMap: (text, uid) => this.#setControlMap(text, uid),
      log: this.log,
    });
    const rateLimiter = new RateLimiter({ burst: 1e6, perSecond: 1, nowMs: () => performance.now() });
    const dispatcher = new Dispatcher({ objects: [mender, ownObject()], log: this.log, rateLimiter });
    this.#bus.serve(dispatcher.handle);
    this.#bus.name$.subscribe((report) => this.names.push(report));
    this.#bus.start();
  }

  async ready(): Promise<this> {
    await eventually('the service is connected', () => this.#bus.state === 'connected');
    return this;
  }

  /** The pool as Mender stores it; '' = empty. */
  storedMaps(): string {
    const written = (isExpired: boolean): string => {
      const maps = this.pool.filter((map) => map.isExpired === isExpired);
      return maps.length === 0 ? 'null' : `[${maps.map(controlMapJson).join(',')}]`;
    };
    return this.pool.length === 0 ? '' : `{"active":${written(false)},"expired":${written(true)}}`;
  }

  close(): void {
    this.#bus.close();
  }

  async #setControlMap(text: string, uid: number): Promise<number> {
    this.texts.push(text);
    this.uids.push(uid);
    if (this.answer) return this.answer();
    const result = parseControlMap(text);
    if (result.kind === 'invalid') {
      throw new RefusedCall(refuse('InvalidMap', result.message, { path: result.path }));
    }
    if (result.kind === 'map') {
      const facts = { origin: 'local', uid, nowWallMs: Date.now(), nowBootMs: performance.now() } as const;
      const lifetimeMs = this.lifetimeSeconds * 1000;
      const pool = insertMap(this.pool, result.map, { ...facts, lifetimeMs });
      if (pool === null) throw new RefusedCall(refuse('LimitsExceeded', 'Too many control maps'));
      this.pool = pool;
    }
    return Math.floor(this.lifetimeSeconds / 2);
  }
}

/** Everything NotSupported, but for one method that everybody may call. */
function ownObject(): ServedObject {
  const table = loadHoldpointTable();
  const listing = 'io.holdpoint.Update1.History.List';
  const members = [...table.interfaces.values()].flatMap(({ name, methods, properties }) =>
    [...methods.keys(), ...properties.keys()].map((member) => `${name}.${member}`),
  );
  return {
    path: HOLDPOINT_PATH,
    table,
    handlers: { [listing]: () => Promise.resolve([[]]) },
    properties: () => ({}),
    notBuilt: new Set(members.filter((member) => member !== listing)),
    authorise: rootOrReading,
  };
}

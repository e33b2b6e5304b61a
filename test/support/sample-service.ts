import { rootOrReading, type Authorise } from '../../src/adapters/dbus/authorise.ts';
import { Bus, type BusOptions, type NameReport } from '../../src/adapters/dbus/connection.ts';
import { Dispatcher } from '../../src/adapters/dbus/dispatcher.ts';
import { Emitter } from '../../src/adapters/dbus/emit.ts';
import {
  HOLDPOINT_BUS_NAME,
  HOLDPOINT_PATH,
  loadHoldpointTable,
} from '../../src/adapters/dbus/interface-xml.ts';
import { RateLimiter } from '../../src/adapters/dbus/rate-limit.ts';
import type { Handler, HandlerCall, ServedObject } from '../../src/adapters/dbus/served-object.ts';
import { variant, type Variant, type VariantMap } from '../../src/adapters/dbus/values.ts';
import { refuse, RefusedCall } from '../../src/core/refusal.ts';
import { RecordingLog } from './recording-log.ts';

/** A small service behind the real XML, whose handlers misbehave on request. */
const MAIN = 'io.holdpoint.Update1';
const INSTALL = `${MAIN}.Install`;
const HISTORY = `${MAIN}.History`;

export interface SampleOptions {
  readonly address: string;
  readonly names?: BusOptions['names'];
  readonly authorise?: Authorise;
  /** Calls a sender may make at once; default: no limit that matters. */
  readonly burst?: number;
  readonly maxDelayMs?: number;
}

/** `InspectPath` answers with what is asked for. */
const INSPECTIONS: Readonly<Record<string, () => unknown>> = {
  'big-numbers': () =>
    new Map([
      ['max-uint64', variant('t', 2n ** 64n - 1n)],
      ['min-int64-that-fits', variant('x', -(2n ** 63n) + 1n)],
      ['negative', variant('x', -5)],
    ]),
  nan: () => new Map([['value', variant('d', Number.NaN)]]),
  infinity: () => new Map([['value', variant('d', Number.POSITIVE_INFINITY)]]),
  'min-int64': () => new Map([['value', variant('x', -(2n ** 63n))]]),
  descriptor: () => new Map([['value', variant('h', 0)]]),
  'wrong-type': () => 'not a dictionary',
  'bad-signature': () => new Map([['value', variant('a{', [])]]),
  undefined: () => undefined,
  oversize: () => new Map([['value', variant('s', 'x'.repeat(1024 * 1024))]]),
};

export class SampleService {
  readonly log = new RecordingLog();
  readonly names: NameReport[] = [];
  readonly calls: HandlerCall[] = [];
  readonly states: string[] = [];
  options: VariantMap = new Map();
  properties: Record<string, Variant> = sampleProperties();
  readonly bus: Bus;
  readonly dispatcher: Dispatcher;
  readonly emitter: Emitter;
  readonly limiter: RateLimiter;
  readonly #releases: (() => void)[] = [];

  constructor({ address, names, authorise, burst = 1_000_000, maxDelayMs }: SampleOptions) {
    this.bus = new Bus({
      address,
      names: names ?? [{ name: HOLDPOINT_BUS_NAME }],
      log: this.log,
      ...(maxDelayMs === undefined ? {} : { maxDelayMs }),
    });
    const object: ServedObject = {
      path: HOLDPOINT_PATH,
      table: loadHoldpointTable(),
      handlers: this.#handlers(),
      properties: () => ({ [MAIN]: this.properties }),
      notBuilt: this.#notBuilt(),
      authorise: authorise ?? rootOrReading,
    };
    this.limiter = new RateLimiter({ burst, perSecond: 1, nowMs: () => performance.now() });
    this.dispatcher = new Dispatcher({ objects: [object], log: this.log, rateLimiter: this.limiter });
    this.bus.serve(this.dispatcher.handle);
    this.bus.name$.subscribe((report) => this.names.push(report));
    this.bus.state$.subscribe((state) => this.states.push(state));
    this.emitter = new Emitter(this.bus, object, this.log);
  }

  start(): this {
    this.bus.start();
    return this;
  }

  /** Lets the calls `Continue("slow")` end. */
  release(): void {
    for (const release of this.#releases.splice(0)) release();
  }

  get waitingCalls(): number {
    return this.#releases.length;
  }

  close(): void {
    this.release();
    this.emitter.close();
    this.bus.close();
  }

  /** All that the XML has beyond the sample. */
  #notBuilt(): ReadonlySet<string> {
    const built = new Set([
      ...Object.keys(this.#handlers()),
      ...Object.keys(this.properties).map((property) => `${MAIN}.${property}`),
    ]);
    const interfaces = [...loadHoldpointTable().interfaces.values()];
    const promised = interfaces.flatMap(({ name, methods, properties }) =>
      [...methods.keys(), ...properties.keys()].map((member) => `${name}.${member}`),
    );
    return new Set(promised.filter((member) => !built.has(member)));
  }

  #handlers(): Readonly<Record<string, Handler>> {
    const done: Handler = (call) => {
      this.calls.push(call);
      return Promise.resolve([]);
    };
    return {
      [`${MAIN}.Continue`]: (call) => this.#continue(call),
      [`${MAIN}.ContinueFull`]: (call) => {
        this.calls.push(call);
        this.options = call.args[1] as VariantMap;
        return Promise.resolve(['recorded']);
      },
      [`${MAIN}.Abort`]: done,
      [`${MAIN}.Pause`]: done,
      [`${MAIN}.Resume`]: done,
      [`${MAIN}.Rollback`]: done,
      [`${MAIN}.SetUpdatesEnabled`]: (call) => {
        this.calls.push(call);
        this.properties['UpdatesEnabled'] = variant('b', call.args[0]);
        this.emitter.publish();
        return Promise.resolve([]);
      },
      [`${MAIN}.CheckForUpdate`]: done,
      [`${INSTALL}.InstallPath`]: (call) => {
        this.calls.push(call);
        return Promise.resolve(['deployment-1']);
      },
      [`${INSTALL}.InspectPath`]: (call) => {
        this.calls.push(call);
        return Promise.resolve([INSPECTIONS[String(call.args[0])]?.() ?? new Map()]);
      },
      [`${HISTORY}.List`]: () =>
        Promise.resolve([[new Map([['deployment-id', variant('s', 'deployment-0')]])]]),
      [`${HISTORY}.Get`]: () => Promise.resolve([new Map()]),
      [`${HISTORY}.GetLog`]: (call) => {
        this.calls.push(call);
        return Promise.resolve([['line'], 1]);
      },
    };
  }

  #continue(call: HandlerCall): Promise<readonly unknown[]> {
    this.calls.push(call);
    switch (call.args[0]) {
      case 'stale':
        return Promise.reject(new RefusedCall(refuse('StaleTicket', 'This wait is over', { state: 'Idle' })));
      case 'defect':
        return Promise.reject(new Error('cannot read /etc/shadow\n    at /opt/secret/file.js:1:1'));
      case 'thrown':
        throw new TypeError('undefined is not a function at /opt/secret/file.js:1:1');
      case 'not-an-error':
        // oxlint-disable-next-line prefer-promise-reject-errors
        return Promise.reject('/opt/secret');
      case 'slow':
        return new Promise((resolve) => this.#releases.push(() => resolve(['proceeding'])));
      default:
        return Promise.resolve(['proceeding']);
    }
  }
}

export function sampleProperties(): Record<string, Variant> {
  const text = (value: string): Variant => variant('s', value);
  return {
    InterfaceRevision: variant('u', 1),
    Version: text('0.1.0'),
    Capabilities: variant('as', ['rollback']),
    KnownPoints: variant('as', ['Download_Enter', 'ArtifactInstall_Enter']),
    Serial: variant('t', 2n ** 63n + 7n),
    State: text('Download'),
    Activity: text('downloading'),
    Step: text('Download'),
    DeploymentId: text('deployment-1'),
    ArtifactName: text('release-2'),
    CurrentArtifactName: text('release-1'),
    Deployment: variant('a{sv}', new Map([['size-bytes', variant('x', 5_000_000_000)]])),
    RebootRequired: text('unknown'),
    Progress: variant('d', 12.5),
    StepProgress: variant('d', -1),
    DownloadedBytes: variant('x', 4_294_967_296),
    DownloadSizeBytes: variant('x', -1),
    BytesPerSecond: variant('x', -1n),
    RemainingSeconds: variant('x', -1),
    WaitTicket: text(''),
    WaitPoint: text(''),
    Blockers: variant('a(ssssa{sv})', [
      ['consent', 'consent', '', 'consent-required', new Map([['uid', variant('u', 0)]])],
    ]),
    WaitSinceUSec: variant('t', 0),
    WaitDeadlineUSec: variant('t', 0),
    WaitDeadlineBootUSec: variant('t', 0),
    WaitOnExpire: text(''),
    Paused: variant('b', false),
    UpdatesEnabled: variant('b', true),
    AllowedActions: variant('as', ['pause', 'abort']),
    LastResult: text('none'),
    LastErrorName: text(''),
    LastErrorMessage: text(''),
    LastErrorDetails: variant('a{sv}', {}),
    SetAside: variant('aa{sv}', []),
    ServerStatus: text('none'),
    LastCheckUSec: variant('t', 1_700_000_000_000_000n),
    NextCheckUSec: variant('t', 0),
  };
}

import type { AccessSettings } from '../../src/core/access.ts';
import { DEFAULT_ACCESS } from '../../src/core/access.ts';
import type { AccessContext } from '../../src/adapters/dbus/actions.ts';
import {
  createAuthoriser,
  type Authoriser,
  type AuthorisationRequest,
} from '../../src/adapters/dbus/authorise.ts';
import { Bus } from '../../src/adapters/dbus/connection.ts';
import { Dispatcher } from '../../src/adapters/dbus/dispatcher.ts';
import {
  HOLDPOINT_BUS_NAME,
  HOLDPOINT_PATH,
  loadHoldpointTable,
} from '../../src/adapters/dbus/interface-xml.ts';
import { RateLimiter } from '../../src/adapters/dbus/rate-limit.ts';
import type { Handler, HandlerCall, ServedObject } from '../../src/adapters/dbus/served-object.ts';
import { variant, type Variant } from '../../src/adapters/dbus/values.ts';
import { RecordingLog } from './recording-log.ts';

/**
 * The real bus connection, dispatcher and authorisation behind the whole XML. Every method of it has an effect: it is
 * written down in `effects`, with what was granted, and answered with values of the right types.
 */
export interface GuardedOptions {
  readonly address: string;
  readonly access?: AccessSettings;
  readonly passwdPath?: string;
  readonly groupPath?: string;
  readonly precheck?: (request: AuthorisationRequest) => void;
  /** Default: ours, who is root. */
  readonly ownUid?: number;
}

export const CALM_CONTEXT: AccessContext = {
  point: 'ArtifactReboot_Enter',
  deploymentId: 'deployment-1',
  artifactName: 'release-2',
  hold: () => null,
  isSignatureRequired: true,
  passedPoint: () => null,
};

const EMPTY_VALUES: Readonly<Record<string, unknown>> = {
  b: false,
  u: 0,
  x: 0n,
  t: 0n,
  d: 0,
  s: '',
  as: [],
  'a{sv}': new Map(),
  'aa{sv}': [],
};

export class GuardedService {
  readonly log = new RecordingLog();
  readonly effects: HandlerCall[] = [];
  readonly bus: Bus;
  readonly dispatcher: Dispatcher;
  readonly authoriser: Authoriser;
  context: AccessContext = CALM_CONTEXT;

  constructor({ address, access = DEFAULT_ACCESS, precheck, ...paths }: GuardedOptions) {
    this.bus = new Bus({ address, names: [{ name: HOLDPOINT_BUS_NAME }], log: this.log });
    this.authoriser = createAuthoriser({
      access,
      context: () => this.context,
      bus: this.bus,
      log: this.log,
      ...paths,
    });
    const table = loadHoldpointTable();
    const handlers: Record<string, Handler> = {};
    const properties: Record<string, Record<string, Variant>> = {};
    for (const { name, methods, properties: entries } of table.interfaces.values()) {
      for (const method of methods.values()) {
        handlers[`${name}.${method.name}`] = (call) => {
          this.effects.push(call);
          return Promise.resolve(method.out.map(({ type }) => EMPTY_VALUES[type]));
        };
      }
      const values = [...entries.values()].map(({ name: property, type }): [string, Variant] => [
        property,
        variant(type, type.startsWith('a(') ? [] : EMPTY_VALUES[type]),
      ]);
      properties[name] = Object.fromEntries(values);
    }
    handlers['io.holdpoint.Update1.CanDo'] = async (call) => [
      await this.authoriser.canDo(call, String(call.args[0])),
    ];
    const object: ServedObject = {
      path: HOLDPOINT_PATH,
      table,
      handlers,
      properties: () => properties,
      notBuilt: new Set(),
      authorise: this.authoriser.authorise,
      ...(precheck === undefined ? {} : { precheck }),
    };
    const rateLimiter = new RateLimiter({ burst: 10_000, perSecond: 1, nowMs: () => performance.now() });
    this.dispatcher = new Dispatcher({ objects: [object], log: this.log, rateLimiter });
    this.bus.serve(this.dispatcher.handle);
  }

  start(): this {
    this.bus.start();
    return this;
  }

  /** As the composition ends it: no new calls, no open dialogues, then the bus. */
  async end(): Promise<void> {
    const answered = this.dispatcher.shutDown();
    this.authoriser.close();
    await answered;
    this.bus.close();
  }
}

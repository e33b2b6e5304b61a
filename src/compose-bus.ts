import type { AccessContext } from './adapters/dbus/actions.ts';
import { createAuthoriser, type Authoriser } from './adapters/dbus/authorise.ts';
import type { Bus } from './adapters/dbus/connection.ts';
import { Dispatcher } from './adapters/dbus/dispatcher.ts';
import { createMenderUpdateObject } from './adapters/dbus/mender-update-object.ts';
import { Publisher } from './adapters/dbus/publisher.ts';
import { DEFAULT_RATE, RateLimiter } from './adapters/dbus/rate-limit.ts';
import type { ServedObject } from './adapters/dbus/served-object.ts';
import { createUpdateObject } from './adapters/dbus/update-object.ts';
import type { AccessSettings } from './core/access.ts';
import { passedPointOf } from './core/command.ts';
import type { Snapshot } from './core/snapshot.ts';
import type { UpdateState } from './core/state.ts';
import type { Log } from './ports/log.ts';
import type { UpdateService } from './ports/update-service.ts';

/** What the service and the simulator put on the bus in the same way. */
export interface BusSideOptions {
  readonly version: string;
  readonly capabilities: readonly string[];
  readonly access: AccessSettings;
  readonly isSignatureRequired: boolean;
  readonly areMenderNamesOffered: boolean;
  /** What is shown until something is published. */
  readonly first: Snapshot;
  readonly state: () => UpdateState;
  readonly service: UpdateService;
  /** Further objects. */
  readonly objects: readonly ServedObject[];
  readonly log: Log;
}

export interface BusSide {
  readonly publisher: Publisher;
  readonly dispatcher: Dispatcher;
  readonly authoriser: Authoriser;
}

/** Call before the bus is started. Whoever calls it closes authoriser and publisher, and shuts the dispatcher down. */
export function serveOnBus(bus: Bus, options: BusSideOptions): BusSide {
  const { service, access } = options;
  const component = (name: string): Log => options.log.child({ component: name });
  const authoriser = createAuthoriser({
    access,
    bus,
    log: component('access'),
    context: () => accessContext(options.state(), options.isSignatureRequired),
  });
  // The object answers from what was published last, the publisher publishes on the object's behalf.
  const publisher = new Publisher(
    bus,
    (snapshot) =>
      createUpdateObject({
        version: options.version,
        capabilities: options.capabilities,
        snapshot,
        service,
        authoriser,
        busId: () => bus.busId,
      }),
    options.first,
    component('bus'),
  );
  const menderObject = createMenderUpdateObject({
    setControlMap: async (text, uid) => Number(await service.command({ kind: 'SetControlMap', text, uid })),
    log: component('control-map'),
  });
  const dispatcher = new Dispatcher({
    objects: [publisher.object, ...(options.areMenderNamesOffered ? [menderObject] : []), ...options.objects],
    log: component('bus'),
    rateLimiter: new RateLimiter({ ...DEFAULT_RATE, nowMs: () => performance.now() }),
  });
  bus.serve(dispatcher.handle);
  return { publisher, dispatcher, authoriser };
}

function accessContext(state: UpdateState, isSignatureRequired: boolean): AccessContext {
  const { wait, deployment, holds } = state;
  return {
    point: wait?.point ?? '',
    passedPoint: (ticket) => passedPointOf(state, ticket),
    deploymentId: deployment?.id ?? '',
    artifactName: deployment?.artifact?.artifactName ?? deployment?.announcedName ?? '',
    hold: (holdId) => holds.find(({ id }) => id === holdId) ?? null,
    isSignatureRequired,
  };
}

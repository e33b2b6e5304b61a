import { HOLD_POINTS } from '../../core/hold-point.ts';
import { refuse, RefusedCall } from '../../core/refusal.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import type { UpdateService } from '../../ports/update-service.ts';
import { rootOrReading } from './authorise.ts';
import { HOLDPOINT_PATH, loadHoldpointTable } from './interface-xml.ts';
import type { Handler, HandlerCall, PropertyTables, ServedObject } from './served-object.ts';
import {
  deploymentMap,
  detailsMap,
  failureErrorName,
  historyMap,
  inspectionMap,
  signed,
  unsigned,
} from './update-values.ts';
import { variant, type Variant } from './values.ts';

/**
 * The object /io/holdpoint/Update1: arguments in, commands to the service, values out. No update logic: what is
 * allowed when is decided in core/command.ts, who may is decided before any of these handlers runs.
 */
export const MAIN = 'io.holdpoint.Update1';
export const HOLDS = 'io.holdpoint.Update1.Holds';
export const INSTALL = 'io.holdpoint.Update1.Install';
export const HISTORY = 'io.holdpoint.Update1.History';

const INTERFACE_REVISION = 1;
const MAX_HISTORY = 100;
const MAX_LOG_LINES = 10_000;

/** Members that stand in the XML and answer NotSupported; test/integration/dbus checks that the list is right. */
export const NOT_BUILT: ReadonlySet<string> = new Set([
  `${MAIN}.Snooze`,
  `${MAIN}.CanDo`,
  `${MAIN}.SendInventory`,
  `${HOLDS}.Holds`,
  `${HOLDS}.Hold`,
  `${HOLDS}.AddHold`,
  `${HOLDS}.RefreshHold`,
  `${HOLDS}.ReleaseHold`,
  `${HOLDS}.SetControlMap`,
  `${HOLDS}.ReportHealth`,
]);

export interface UpdateObjectOptions {
  readonly version: string;
  readonly snapshot: () => Snapshot;
  readonly service: UpdateService;
}

export function createUpdateObject(options: UpdateObjectOptions): ServedObject {
  const { service, snapshot } = options;

  const handlers: Record<string, Handler> = {
    [`${MAIN}.Continue`]: async (call) => [await proceed(call, '')],
    [`${MAIN}.ContinueFull`]: async (call) => [await proceed(call, continueComment(call.args[1]))],
    [`${MAIN}.Abort`]: (call) => end(call, 'Abort'),
    [`${MAIN}.Rollback`]: (call) => end(call, 'Rollback'),
    [`${MAIN}.Pause`]: (call) => pause(call, 'Pause'),
    [`${MAIN}.Resume`]: (call) => pause(call, 'Resume'),
    [`${MAIN}.SetUpdatesEnabled`]: async ({ args, uid }) => {
      await service.command({ kind: 'SetUpdatesEnabled', isEnabled: args[0] === true, uid });
      return [];
    },
    [`${MAIN}.CheckForUpdate`]: async () => {
      await service.command({ kind: 'CheckForUpdate' });
      return [];
    },
    [`${INSTALL}.InstallPath`]: async ({ args, uid }) => [
      await service.installPath(text(args[0]), text(args[1]), uid),
    ],
    [`${INSTALL}.InstallUrl`]: async ({ args, uid }) => [
      await service.installUrl(text(args[0]), requiredDigest(args[1]), uid),
    ],
    [`${INSTALL}.InspectPath`]: async ({ args }) => [inspectionMap(await service.inspectPath(text(args[0])))],
    [`${HISTORY}.List`]: async ({ args }) => {
      const wanted = Number(args[0]);
      const count = wanted === 0 ? MAX_HISTORY : Math.min(wanted, MAX_HISTORY);
      return [
        service
          .history()
          .slice(0, count)
          .map((entry) => historyMap(entry, false)),
      ];
    },
    [`${HISTORY}.Get`]: async ({ args }) => {
      const entry = service.history().find(({ deploymentId }) => deploymentId === args[0]);
      if (!entry) throw unknownDeployment();
      return [historyMap(entry, true)];
    },
    [`${HISTORY}.GetLog`]: async ({ args }) => {
      const [id, fromLine, maxLines] = [text(args[0]), Number(args[1]), Number(args[2])];
      const page = await service.readLog(id, fromLine, Math.min(maxLines, MAX_LOG_LINES));
      if (page === null) throw unknownDeployment();
      return [[...page.lines], page.nextLine];
    },
  };

  function proceed({ args, uid }: HandlerCall, comment: string): Promise<string> {
    return service.command({ kind: 'Continue', ticket: text(args[0]), uid, comment });
  }

  async function end({ args, uid }: HandlerCall, kind: 'Abort' | 'Rollback'): Promise<readonly unknown[]> {
    await service.command({ kind, deploymentId: text(args[0]), reason: text(args[1]), uid });
    return [];
  }

  async function pause({ args, uid }: HandlerCall, kind: 'Pause' | 'Resume'): Promise<readonly unknown[]> {
    await service.command({ kind, deploymentId: text(args[0]), uid });
    return [];
  }

  return {
    path: HOLDPOINT_PATH,
    table: loadHoldpointTable(),
    handlers,
    properties: (): PropertyTables => ({ [MAIN]: mainProperties(snapshot(), options.version) }),
    notBuilt: NOT_BUILT,
    authorise: rootOrReading,
  };
}

function mainProperties(shown: Snapshot, version: string): Readonly<Record<string, Variant>> {
  return {
    InterfaceRevision: variant('u', INTERFACE_REVISION),
    Version: variant('s', version),
    Capabilities: variant('as', ['install', 'rollback', 'history']),
    KnownPoints: variant('as', [...HOLD_POINTS]),
    Serial: variant('t', unsigned(shown.serial)),
    State: variant('s', shown.state),
    Activity: variant('s', shown.activity),
    Step: variant('s', shown.step),
    DeploymentId: variant('s', shown.deploymentId),
    ArtifactName: variant('s', shown.artifactName),
    CurrentArtifactName: variant('s', shown.currentArtifactName),
    Deployment: variant('a{sv}', deploymentMap(shown.deployment)),
    RebootRequired: variant('s', shown.rebootRequired),
    Progress: variant('d', shown.progress),
    StepProgress: variant('d', shown.stepProgress),
    DownloadedBytes: variant('x', signed(shown.downloadedBytes)),
    DownloadSizeBytes: variant('x', signed(shown.downloadSizeBytes)),
    BytesPerSecond: variant('x', signed(shown.bytesPerSecond)),
    RemainingSeconds: variant('x', signed(shown.remainingSeconds)),
    WaitTicket: variant('s', shown.waitTicket),
    WaitPoint: variant('s', shown.waitPoint),
    Blockers: variant(
      'a(ssssa{sv})',
      shown.blockers.map(({ id, kind, owner, reasonCode, details }) => [
        id,
        kind,
        owner,
        reasonCode,
        detailsMap(details),
      ]),
    ),
    WaitSinceUSec: variant('t', unsigned(shown.waitSinceUsec)),
    WaitDeadlineUSec: variant('t', unsigned(shown.waitDeadlineUsec)),
    WaitDeadlineBootUSec: variant('t', unsigned(shown.waitDeadlineBootUsec)),
    WaitOnExpire: variant('s', shown.waitOnExpire),
    Paused: variant('b', shown.isPaused),
    UpdatesEnabled: variant('b', shown.areUpdatesEnabled),
    AllowedActions: variant('as', [...shown.allowedActions]),
    LastResult: variant('s', shown.lastResult),
    LastErrorName: variant('s', failureErrorName(shown.lastErrorName)),
    LastErrorMessage: variant('s', shown.lastErrorMessage),
    LastErrorDetails: variant('a{sv}', detailsMap(shown.lastErrorDetails)),
    // No server client yet: there is nothing to be pending, rejected or planned.
    ServerStatus: variant('s', 'none'),
    LastCheckUSec: variant('t', unsigned(shown.lastCheckUsec)),
    NextCheckUSec: variant('t', 0n),
  };
}

/** Each option changes what is agreed to: one that is not known is refused, not passed over. */
function options(value: unknown, known: Readonly<Record<string, string>>): ReadonlyMap<string, unknown> {
  const given = new Map<string, unknown>();
  for (const [key, entry] of value as ReadonlyMap<string, Variant>) {
    const signature = Object.hasOwn(known, key) ? known[key] : undefined;
    if (signature === undefined) {
      throw new RefusedCall(
        refuse('NotSupported', `the option ${JSON.stringify(key.slice(0, 50))} is not supported`),
      );
    }
    if (entry.signature !== signature) {
      throw new RefusedCall(
        refuse('InvalidArgs', `option ${key}: found type ${entry.signature}, expected ${signature}`),
      );
    }
    given.set(key, entry.value);
  }
  return given;
}

function continueComment(value: unknown): string {
  return text(options(value, { comment: 's' }).get('comment') ?? '');
}

function requiredDigest(value: unknown): string {
  return text(options(value, { 'require-digest': 's' }).get('require-digest') ?? '');
}

function text(value: unknown): string {
  return String(value);
}

function unknownDeployment(): RefusedCall {
  return new RefusedCall(refuse('UnknownDeployment', 'no such deployment is in the history'));
}

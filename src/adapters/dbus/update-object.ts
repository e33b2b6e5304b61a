import { HOLD_POINTS, type HoldPoint, type OnExpire } from '../../core/hold-point.ts';
import { refreshSeconds, type Command } from '../../core/command.ts';
import type { Caller, HoldWish } from '../../core/event.ts';
import { refuse, RefusedCall } from '../../core/refusal.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import type { UpdateService } from '../../ports/update-service.ts';
import type { AuthorisationRequest, Authoriser } from './authorise.ts';
import { describeCaller, type CallerDescription } from './caller.ts';
import { HOLDPOINT_PATH, loadHoldpointTable } from './interface-xml.ts';
import { LruMap } from './lru.ts';
import type { Handler, HandlerCall, PropertyTables, ServedObject } from './served-object.ts';
import {
  blockerValue,
  deploymentMap,
  detailsMap,
  failureErrorName,
  historyMap,
  holdValue,
  inspectionMap,
  setAsideMap,
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

const INTERFACE_REVISION = 3;
const MAX_HISTORY = 100;
const MAX_LOG_LINES = 10_000;
const MAX_DECISIONS = 1_000;
const MAX_CALLER_NAMES = 256;

/** Members that stand in the XML and answer NotSupported; test/integration/dbus checks that the list is right. */
export const NOT_BUILT: ReadonlySet<string> = new Set();

export interface UpdateObjectOptions {
  readonly version: string;
  readonly capabilities: readonly string[];
  readonly snapshot: () => Snapshot;
  readonly service: UpdateService;
  readonly authoriser: Pick<Authoriser, 'authorise' | 'canDo'>;
  /** The bus's own id: with it a unique name says who is meant after the bus has been exchanged. '' = not connected. */
  readonly busId: () => string;
}

export function createUpdateObject(options: UpdateObjectOptions): ServedObject {
  const { service, snapshot, authoriser } = options;
  const callers = new CallerNames();

  const handlers: Record<string, Handler> = {
    [`${MAIN}.Continue`]: async (call) => [await proceed(call, NO_OPTIONS)],
    [`${MAIN}.ContinueFull`]: async (call) => [await proceed(call, continueOptions(call.args[1]))],
    [`${MAIN}.Snooze`]: async (call) => {
      const [ticket, seconds] = [text(call.args[0]), Number(call.args[1])];
      const until = await service.command({ kind: 'Snooze', ticket, seconds, ...(await callerOf(call)) });
      return [unsigned(Number(until) * 1000)];
    },
    [`${MAIN}.EndSnooze`]: async (call) => {
      const deploymentId = text(call.args[0]);
      await service.command({ kind: 'EndSnooze', deploymentId, ...(await callerOf(call)) });
      return [];
    },
    [`${MAIN}.Abort`]: (call) => end(call, 'Abort'),
    [`${MAIN}.Rollback`]: (call) => end(call, 'Rollback'),
    [`${MAIN}.Pause`]: (call) => pause(call, 'Pause'),
    [`${MAIN}.Resume`]: (call) => pause(call, 'Resume'),
    [`${MAIN}.SetUpdatesEnabled`]: async (call) => {
      const isEnabled = call.args[0] === true;
      await service.command({ kind: 'SetUpdatesEnabled', isEnabled, ...(await callerOf(call)) });
      return [];
    },
    [`${MAIN}.CheckForUpdate`]: async () => {
      await service.command({ kind: 'CheckForUpdate' });
      return [];
    },
    [`${MAIN}.SendInventory`]: async () => {
      await service.command({ kind: 'SendInventory' });
      return [];
    },
    [`${MAIN}.RetryUpdate`]: async (call) => {
      const deploymentId = text(call.args[0]);
      await service.command({ kind: 'RetryUpdate', deploymentId, ...(await callerOf(call)) });
      return [];
    },
    [`${MAIN}.CanDo`]: async (call) => [await authoriser.canDo(call, text(call.args[0]))],
    [`${HOLDS}.Hold`]: async (call) => {
      const [point, why, timeout, onExpire] = call.args;
      const wish = { points: [text(point)], why, timeout, onExpire };
      return [await addHold(call, wish, holdOptions(new Map()))];
    },
    [`${HOLDS}.AddHold`]: async (call) => {
      const [points, why, timeout, onExpire, extra] = call.args;
      const wish = { points: (points as readonly unknown[]).map(text), why, timeout, onExpire };
      const id = await addHold(call, wish, holdOptions(extra));
      return [id, refreshSeconds(Number(timeout) * 1000)];
    },
    [`${HOLDS}.RefreshHold`]: async (call) => {
      const holdId = text(call.args[0]);
      return [Number(await service.command({ kind: 'RefreshHold', holdId, ...(await callerOf(call)) }))];
    },
    [`${HOLDS}.ReleaseHold`]: async (call) => {
      const isOverride = call.uid === 0 || call.action === 'override';
      const holdId = text(call.args[0]);
      await service.command({ kind: 'ReleaseHold', holdId, isOverride, ...(await callerOf(call)) });
      return [];
    },
    [`${HOLDS}.SetControlMap`]: async ({ args, uid }) => [
      Number(await service.command({ kind: 'SetControlMap', text: text(args[0]), uid })),
    ],
    [`${HOLDS}.ReportHealth`]: async (call) => {
      const [deploymentId, checker, verdict, message] = call.args.map(text) as [
        string,
        string,
        string,
        string,
      ];
      const report = { deploymentId, checker, verdict, message };
      await service.command({ kind: 'ReportHealth', ...report, ...(await callerOf(call)) });
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
    [`${HISTORY}.ExportDecisions`]: async ({ args }) => {
      // No number is that high: there is nothing from there on.
      const fromSeq = Math.min(Number(args[0]), Number.MAX_SAFE_INTEGER);
      const wanted = Number(args[1]);
      if (wanted < 1) throw new RefusedCall(refuse('InvalidArgs', 'max_lines: found 0, expected at least 1'));
      const page = await service.readDecisions(fromSeq, Math.min(wanted, MAX_DECISIONS));
      return [[...page.lines], unsigned(page.nextSeq)];
    },
    [`${HISTORY}.GetLog`]: async ({ args }) => {
      const [id, fromLine, maxLines] = [text(args[0]), Number(args[1]), Number(args[2])];
      const page = await service.readLog(id, fromLine, Math.min(maxLines, MAX_LOG_LINES));
      if (page === null) throw unknownDeployment();
      return [[...page.lines], page.nextLine];
    },
  };

  async function callerOf(call: HandlerCall): Promise<Caller> {
    const { app } = await callers.describe(call);
    const busId = options.busId();
    return { uid: call.uid, app, ...(busId !== '' && { connection: connectionName(busId, call.sender) }) };
  }

  async function proceed(call: HandlerCall, given: ContinueOptions): Promise<string> {
    const ticket = text(call.args[0]);
    return service.command({ kind: 'Continue', ticket, ...given, ...(await callerOf(call)) });
  }

  async function addHold(
    call: HandlerCall,
    wish: {
      readonly points: readonly string[];
      readonly why: unknown;
      readonly timeout: unknown;
      readonly onExpire: unknown;
    },
    extra: Pick<HoldWish, 'priority' | 'appId' | 'deploymentId' | 'action' | 'isOnce'>,
  ): Promise<string> {
    const caller = await callerOf(call);
    const { pid } = await callers.describe(call);
    return service.addHold({
      ...caller,
      ...extra,
      // What is not a point, or no answer to silence, is refused where the rules are: core/command.ts.
      points: wish.points as readonly HoldPoint[],
      why: text(wish.why),
      timeoutSeconds: Number(wish.timeout),
      onExpire: text(wish.onExpire) as OnExpire,
      owner: extra.appId || caller.app || `uid:${call.uid}`,
      pid,
    });
  }

  async function end(call: HandlerCall, kind: 'Abort' | 'Rollback'): Promise<readonly unknown[]> {
    const [deploymentId, reason] = [text(call.args[0]), text(call.args[1])];
    await service.command({ kind, deploymentId, reason, ...(await callerOf(call)) });
    return [];
  }

  async function pause(call: HandlerCall, kind: 'Pause' | 'Resume'): Promise<readonly unknown[]> {
    await service.command({ kind, deploymentId: text(call.args[0]), ...(await callerOf(call)) });
    return [];
  }

  /** Nobody is to type a password for a click that comes too late. */
  function precheck({ interface: owner, member, args, uid }: AuthorisationRequest): void {
    if (owner !== MAIN) return;
    const ticket = text(args[0]);
    if (member === 'Continue' || member === 'ContinueFull') {
      service.precheck({ kind: 'Continue', ticket, comment: '', uid });
    } else if (member === 'Snooze') {
      service.precheck({ kind: 'Snooze', ticket, seconds: Number(args[1]), uid });
    }
  }

  /** Of one snapshot, however often it is asked for. */
  let shown: Snapshot | null = null;
  let tables: PropertyTables = {};
  function properties(): PropertyTables {
    const present = snapshot();
    if (present !== shown) {
      shown = present;
      tables = {
        [MAIN]: mainProperties(present, options.version, options.capabilities),
        [HOLDS]: { Holds: variant('a(ssasssussta{sv})', present.holds.map(holdValue)) },
      };
    }
    return tables;
  }

  return {
    path: HOLDPOINT_PATH,
    table: loadHoldpointTable(),
    handlers,
    properties,
    notBuilt: NOT_BUILT,
    precheck,
    authorise: authoriser.authorise,
  };
}

/** Who holds: a unique name alone may mean somebody else on the next bus. */
export function connectionName(busId: string, sender: string): string {
  return `${busId}/${sender}`;
}

/** Names of programs, for people. A unique name is one client's for as long as its bus lives. */
class CallerNames {
  readonly #known = new WeakMap<object, LruMap<string, Promise<CallerDescription>>>();

  describe({ connection, sender }: HandlerCall): Promise<CallerDescription> {
    const names =
      this.#known.get(connection) ?? new LruMap<string, Promise<CallerDescription>>(MAX_CALLER_NAMES);
    this.#known.set(connection, names);
    const description = names.get(sender) ?? describeCaller(connection, sender);
    names.set(sender, description);
    return description;
  }
}

function mainProperties(
  shown: Snapshot,
  version: string,
  capabilities: readonly string[],
): Readonly<Record<string, Variant>> {
  return {
    InterfaceRevision: variant('u', INTERFACE_REVISION),
    Version: variant('s', version),
    Capabilities: variant('as', [...capabilities]),
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
    Blockers: variant('a(ssssa{sv})', shown.blockers.map(blockerValue)),
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
    SetAside: variant('aa{sv}', shown.setAside.map(setAsideMap)),
    ServerStatus: variant('s', shown.serverStatus),
    LastCheckUSec: variant('t', unsigned(shown.lastCheckUsec)),
    NextCheckUSec: variant('t', unsigned(shown.nextCheckUsec)),
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

type ContinueOptions = Pick<Extract<Command, { kind: 'Continue' }>, 'comment' | 'waiver' | 'rebootMode'>;
const NO_OPTIONS: ContinueOptions = { comment: '', waiver: null, rebootMode: null };

function continueOptions(value: unknown): ContinueOptions {
  const given = options(value, { comment: 's', now: 'b', override: 'b', 'reboot-mode': 's' });
  const mode = given.get('reboot-mode') ?? null;
  if (mode !== null && mode !== 'reboot' && mode !== 'poweroff' && mode !== 'none') {
    throw new RefusedCall(refuse('InvalidArgs', 'option reboot-mode: expected reboot, poweroff or none'));
  }
  return {
    comment: text(given.get('comment') ?? ''),
    waiver: given.get('override') === true ? 'override' : given.get('now') === true ? 'now' : null,
    rebootMode: mode,
  };
}

function holdOptions(
  value: unknown,
): Pick<HoldWish, 'priority' | 'appId' | 'deploymentId' | 'action' | 'isOnce'> {
  const given = options(value, { priority: 'i', 'app-id': 's', deployment: 's', action: 's', once: 'b' });
  return {
    priority: Number(given.get('priority') ?? 0),
    appId: text(given.get('app-id') ?? ''),
    deploymentId: text(given.get('deployment') ?? ''),
    action: text(given.get('action') ?? 'pause') as HoldWish['action'],
    isOnce: given.get('once') === true,
  };
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

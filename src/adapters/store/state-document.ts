/**
 * The stored form of the service's state, version 2: the state itself under a version number. Reading checks every
 * field, so that a record of another version or a damaged one is refused here and not met later as a crash
 * (design/faults.md R4). Keys that are not known are passed over: a newer version may have written them.
 */
import * as v from 'valibot';
import { MAP_ACTIONS, MAP_POINTS } from '../../core/control/control-map.ts';
import { HEALTH_VERDICTS } from '../../core/control/health.ts';
import { DECISION_KINDS } from '../../core/control/journal.ts';
import { FAILURE_NAMES, UpdateError } from '../../core/errors.ts';
import { HOLD_POINTS } from '../../core/hold-point.ts';
import {
  FLOW_STEPS,
  initialState,
  LINK_TROUBLES,
  NOBODY_HAS_DECIDED,
  NOTHING_INSTALLED,
  RESULTS,
  SERVER_STATUSES,
  type UpdateState,
} from '../../core/state.ts';

const VERSION = 2;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const sizeOrUnknown = v.pipe(v.number(), v.integer(), v.minValue(-1));
const time = v.pipe(v.number(), v.finite());
const strings = v.array(v.string());
const details = v.record(v.string(), v.union([v.string(), v.pipe(v.number(), v.finite()), v.boolean()]));
const point = v.picklist(HOLD_POINTS);
const onExpire = v.picklist(['continue', 'fail', 'keep-waiting']);
const provides = v.record(v.string(), v.string());
const location = v.variant('kind', [
  v.object({
    kind: v.literal('file'),
    path: v.string(),
    device: v.exactOptional(v.string()),
    inode: v.exactOptional(v.string()),
  }),
  v.object({ kind: v.literal('url'), url: v.string() }),
]);
const failure = v.object({ name: v.picklist(FAILURE_NAMES), message: v.string(), details });
const consent = v.object({
  point,
  digest: v.string(),
  uid: v.number(),
  atWallMs: time,
  comment: v.string(),
  app: v.string(),
});
const waiver = v.object({
  kind: v.picklist(['now', 'override']),
  point,
  digest: v.string(),
  uid: v.number(),
  atWallMs: time,
});
const decision = v.object({
  seq: count,
  kind: v.picklist(DECISION_KINDS),
  atWallMs: time,
  uid: v.number(),
  app: v.string(),
  deploymentId: v.string(),
  artifactName: v.string(),
  digest: v.string(),
  point: v.union([point, v.literal('')]),
  seconds: v.number(),
  comment: v.string(),
});
const snoozes = v.object({
  count,
  totalMs: time,
  active: v.nullable(
    v.object({
      point,
      uid: v.number(),
      app: v.string(),
      ticket: v.string(),
      sinceWallMs: time,
      sinceWaitedMs: time,
      untilWaitedMs: time,
    }),
  ),
});
const healthReport = v.object({
  checker: v.string(),
  verdict: v.picklist(HEALTH_VERDICTS),
  message: v.string(),
  uid: v.number(),
  atWallMs: time,
});
const passage = v.object({ point, reasons: strings, atWallMs: time });
const artifact = v.object({
  artifactName: v.string(),
  artifactGroup: v.string(),
  payloadType: v.nullable(v.string()),
  compatibleDevices: strings,
  provides: v.nullable(provides),
  clearsProvides: v.nullable(strings),
  digest: v.string(),
  isSigned: v.boolean(),
  releaseNotes: v.optional(v.string(), ''),
  severity: v.optional(v.string(), ''),
});
const source = v.picklist(['local', 'server']);
const deployment = v.object({
  id: v.string(),
  source,
  location,
  announcedName: v.string(),
  requiredDigest: v.string(),
  initiatorUid: v.number(),
  startedWallMs: time,
  artifact: v.nullable(artifact),
  sizeBytes: sizeOrUnknown,
  rebootNeed: v.picklist(['unknown', 'No', 'Yes', 'Automatic']),
  hasRebooted: v.boolean(),
  isCommitted: v.boolean(),
  isRolledBack: v.boolean(),
  isInconsistent: v.boolean(),
  failure: v.nullable(failure),
  endRequest: v.nullable(
    v.object({ kind: v.picklist(['abort', 'rollback']), uid: v.number(), reason: v.string() }),
  ),
  pause: v.nullable(v.object({ uid: v.number(), sinceWallMs: time })),
  consents: v.array(consent),
  waivers: v.array(waiver),
  passages: v.array(passage),
  decisions: v.array(decision),
  snoozes,
  healthReports: v.array(healthReport),
  rebootMode: v.nullable(v.object({ mode: v.picklist(['reboot', 'poweroff', 'none']), uid: v.number() })),
  carriedWait: v.nullable(v.object({ point, spentMs: time, snoozedMs: time, notice: v.string() })),
  checkpointCount: count,
  hasHitLoopLimit: v.boolean(),
});
const wait = v.object({
  point,
  ticket: v.string(),
  startedWallMs: time,
  waitedMs: time,
  snoozedMs: time,
  asOfBootMs: time,
  blockers: v.array(
    v.object({
      id: v.string(),
      kind: v.string(),
      owner: v.string(),
      reasonCode: v.string(),
      sinceWallMs: time,
      endsBootMs: time,
      endsWallMs: time,
      onEnd: onExpire,
      details,
    }),
  ),
  deadlineBootMs: time,
  deadlineWallMs: time,
  onExpire,
  notice: v.string(),
});
const visit = v.object({
  point,
  unmet: v.nullable(
    v.array(
      v.object({
        id: v.string(),
        kind: v.string(),
        owner: v.string(),
        reasonCode: v.string(),
        sinceWallMs: time,
        endsWallMs: time,
        isSkippable: v.boolean(),
        details,
      }),
    ),
  ),
  refresh: v.picklist(['none', 'first', 'retrying']),
  failedRefreshes: count,
  refreshAtBootMs: v.nullable(time),
  tellAgainAtBootMs: v.exactOptional(time),
  clockProblem: v.exactOptional(v.nullable(v.string())),
  askedMaps: strings,
});
const hold = v.object({
  id: v.string(),
  lifetime: v.picklist(['bound', 'timed']),
  points: v.array(point),
  owner: v.string(),
  why: v.string(),
  uid: v.number(),
  pid: v.number(),
  appId: v.string(),
  connection: v.string(),
  priority: v.number(),
  action: v.picklist(['pause', 'fail']),
  onExpire,
  deploymentId: v.string(),
  isOnce: v.boolean(),
  sinceWallMs: time,
  timeoutMs: time,
  remainingMs: v.nullable(time),
  asOfBootMs: time,
  countdown: v.picklist(['none', 'time', 'linger', 'return']),
  isExpired: v.boolean(),
});
const mapAction = v.picklist(MAP_ACTIONS);
const mapRule = v.object({
  action: mapAction,
  onMapExpire: v.picklist(['continue', 'force_continue', 'fail']),
  onActionExecuted: mapAction,
});
const controlMap = v.object({
  id: v.string(),
  priority: v.number(),
  states: v.object({
    ArtifactInstall_Enter: v.exactOptional(mapRule),
    ArtifactReboot_Enter: v.exactOptional(mapRule),
    ArtifactCommit_Enter: v.exactOptional(mapRule),
  }),
  origin: v.picklist(['local', 'server']),
  uid: v.number(),
  setWallMs: time,
  halfwayBootMs: time,
  expiresBootMs: time,
  isExpired: v.boolean(),
  releases: v.exactOptional(
    v.array(v.object({ point: v.picklist(MAP_POINTS), atWallMs: time, isForced: v.boolean() })),
  ),
});
const holdPoint = v.object({
  consent: v.picklist(['none', 'required']),
  consentTimeoutSeconds: v.number(),
  onExpire,
  ceilingSeconds: v.number(),
  onCeiling: v.picklist(['continue', 'fail']),
});
const history = v.object({
  deploymentId: v.string(),
  source,
  artifactName: v.string(),
  digest: v.string(),
  result: v.picklist(RESULTS),
  failure: v.nullable(failure),
  startedWallMs: time,
  finishedWallMs: time,
  initiatorUid: v.number(),
  consents: v.array(consent),
  passages: v.array(passage),
  decisions: v.array(decision),
});

/** Without their points as they once were: they die at the start that follows anyhow. */
const passedTickets = v.pipe(
  v.array(v.union([v.string(), v.object({ ticket: v.string(), point })])),
  v.transform((all) => all.flatMap((one) => (typeof one === 'string' ? [] : [one]))),
);
const state: v.GenericSchema<unknown, UpdateState> = v.object({
  serial: count,
  settings: v.object({
    holdPoints: v.object(v.entriesFromList(HOLD_POINTS, holdPoint)),
    snooze: v.object({ maxTotalSeconds: v.number(), maxCount: v.number() }),
    health: v.object({ checkers: strings, deadlineSeconds: v.number() }),
    conditionPoints: v.array(point),
    holdLingerSeconds: v.number(),
    controlMapExpirationSeconds: v.number(),
    controlMapBootExpirationSeconds: v.number(),
    updatePollIntervalSeconds: v.number(),
    updatesEnabledByDefault: v.boolean(),
    isServerConfigured: v.boolean(),
    isStandalonePending: v.boolean(),
    isOfflineCommitAllowed: v.optional(v.boolean(), false),
    downloadReportSeconds: v.optional(v.number(), 8),
    retryPollIntervalSeconds: v.number(),
    retryPollCount: v.number(),
  }),
  bootId: v.string(),
  installed: v.object({ artifactName: v.string(), artifactGroup: v.string(), provides }),
  updatesSwitch: v.nullable(v.boolean()),
  step: v.picklist(FLOW_STEPS),
  workId: count,
  attempts: count,
  deployment: v.nullable(deployment),
  wait: v.nullable(wait),
  visit: v.nullable(visit),
  holds: v.array(hold),
  controlMaps: v.array(controlMap),
  journal: v.object({ lastSeq: count, unwritten: v.array(decision) }),
  passedTickets,
  progress: v.object({
    overall: v.number(),
    step: v.number(),
    downloadedBytes: sizeOrUnknown,
    sizeBytes: sizeOrUnknown,
    samples: v.array(v.tuple([v.number(), v.number()])),
  }),
  history: v.array(history),
  setAside: v.optional(
    v.array(
      v.object({
        deploymentId: v.string(),
        artifactName: v.string(),
        tries: count,
        needsPerson: v.boolean(),
        offersToSkip: count,
        isRetryWanted: v.boolean(),
        isToldAgain: v.boolean(),
        failure,
        failedWallMs: time,
        offeredWallMs: time,
      }),
    ),
    [],
  ),
  lastCheckWallMs: time,
  schedule: v.object({
    isCheckWanted: v.boolean(),
    isInventoryWanted: v.boolean(),
    nextCheckWallMs: time,
    serverStanding: v.picklist(SERVER_STATUSES),
    linkTrouble: v.optional(v.picklist(LINK_TROUBLES), 'none'),
  }),
  // Of the process that could not store; records of older versions have none.
  isStartUnstored: v.optional(v.boolean(), false),
  isCommitUnstored: v.optional(v.boolean(), false),
});
const document = v.object({ version: v.literal(VERSION), state });

export interface StateDocument {
  readonly version: typeof VERSION;
  readonly state: UpdateState;
}

export function documentOf(updateState: UpdateState): StateDocument {
  return { version: VERSION, state: updateState };
}

/**
 * What version 1 did not have: nobody had decided anything, and nobody held. Everything else is checked below as ever.
 */
function fromVersion1(value: unknown): unknown {
  if (!isRecord(value) || value['version'] !== 1 || !isRecord(value['state'])) return value;
  const old = value['state'];
  const withApp = (consents: unknown): unknown =>
    Array.isArray(consents)
      ? consents.map((one: unknown) => (isRecord(one) ? { app: '', ...one } : one))
      : consents;
  const grown = (one: unknown): unknown =>
    isRecord(one) ? { ...NOBODY_HAS_DECIDED, ...one, consents: withApp(one['consents']) } : one;
  const carried = (one: unknown): unknown =>
    isRecord(one) && isRecord(one['carriedWait'])
      ? { ...one, carriedWait: { snoozedMs: 0, ...one['carriedWait'] } }
      : one;
  const waiting = old['wait'];
  const fresh = initialState(NOTHING_INSTALLED);
  return {
    version: VERSION,
    state: {
      ...fresh,
      ...old,
      settings: { ...fresh.settings, ...(isRecord(old['settings']) ? old['settings'] : {}) },
      deployment: carried(grown(old['deployment'])),
      // Its blockers are found anew at the start that follows.
      wait: isRecord(waiting) ? { snoozedMs: 0, ...waiting, blockers: [] } : waiting,
      history: Array.isArray(old['history'])
        ? old['history'].map((one: unknown) =>
            isRecord(one) ? { decisions: [], ...one, consents: withApp(one['consents']) } : one,
          )
        : old['history'],
    },
  };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Throws UpdateError (kind `store`) naming the first field that is not as it should be, and what was found. */
export function parseStateDocument(value: unknown): StateDocument {
  const result = v.safeParse(document, fromVersion1(value), { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue) ?? 'document';
  throw new UpdateError(
    'store',
    `stored state: ${path}: found ${issue.received}, expected ${issue.expected ?? 'another value'}`,
  );
}

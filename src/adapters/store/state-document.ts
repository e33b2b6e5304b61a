/**
 * The stored form of the service's state, version 1: the state itself under a version number. Reading checks every
 * field, so that a record of another version or a damaged one is refused here and not met later as a crash
 * (design/faults.md R4). Keys that are not known are passed over: a newer version may have written them.
 */
import * as v from 'valibot';
import { FAILURE_NAMES, UpdateError } from '../../core/errors.ts';
import { HOLD_POINTS } from '../../core/hold-point.ts';
import { FLOW_STEPS, RESULTS, type UpdateState } from '../../core/state.ts';

const VERSION = 1;

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
  passages: v.array(passage),
  carriedWait: v.nullable(v.object({ point, spentMs: time, notice: v.string() })),
  checkpointCount: count,
  hasHitLoopLimit: v.boolean(),
});
const wait = v.object({
  point,
  ticket: v.string(),
  startedWallMs: time,
  waitedMs: time,
  asOfBootMs: time,
  blockers: v.array(
    v.object({ id: v.string(), kind: v.string(), owner: v.string(), reasonCode: v.string(), details }),
  ),
  deadlineBootMs: time,
  deadlineWallMs: time,
  onExpire,
  notice: v.string(),
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
});

const state: v.GenericSchema<unknown, UpdateState> = v.object({
  serial: count,
  settings: v.object({
    holdPoints: v.object(v.entriesFromList(HOLD_POINTS, holdPoint)),
    updatesEnabledByDefault: v.boolean(),
    isServerConfigured: v.boolean(),
    isStandalonePending: v.boolean(),
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
  passedTickets: strings,
  progress: v.object({
    overall: v.number(),
    step: v.number(),
    downloadedBytes: sizeOrUnknown,
    sizeBytes: sizeOrUnknown,
    samples: v.array(v.tuple([v.number(), v.number()])),
  }),
  history: v.array(history),
  lastCheckWallMs: time,
});
const document = v.object({ version: v.literal(VERSION), state });

export interface StateDocument {
  readonly version: typeof VERSION;
  readonly state: UpdateState;
}

export function documentOf(updateState: UpdateState): StateDocument {
  return { version: VERSION, state: updateState };
}

/** Throws UpdateError (kind `store`) naming the first field that is not as it should be, and what was found. */
export function parseStateDocument(value: unknown): StateDocument {
  const result = v.safeParse(document, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue) ?? 'document';
  throw new UpdateError(
    'store',
    `stored state: ${path}: found ${issue.received}, expected ${issue.expected ?? 'another value'}`,
  );
}

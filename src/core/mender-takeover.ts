import { MAX_MAPS, type MapPool } from './control/map-pool.ts';
import { parseControlMap, type PooledMap } from './control/control-map.ts';
import type { Installed } from './artifact.ts';
import type { Failure } from './errors.ts';
import { HOLD_POINTS } from './hold-point.ts';
import type { MenderStoreComplaint, MenderStoreContent, MenderUpdate } from './mender-content.ts';
import {
  MENDER_RECORDS,
  NEEDS_MODULE_FOR_ROLLBACK,
  UNKNOWN_RECORD,
  type MenderRecord,
} from './mender-records.ts';
import { quoted } from './printable.ts';
import { applyProvides, inconsistentName } from './provides.ts';
import { DEFAULT_FLOW_SETTINGS } from './settings.ts';
import type { StandaloneRecord } from './standalone.ts';
import {
  initialState,
  NOBODY_HAS_DECIDED,
  NOTHING_INSTALLED,
  type ArtifactSummary,
  type Deployment,
  type FlowStep,
  type HistoryEntry,
  type RebootNeed,
  type UpdateState,
} from './state.ts';
import { FLOW, isFinalReport } from './transition-table.ts';
import { resultOf } from './deployment-end.ts';

/**
 * Taking over from a Mender client: from what its store holds to the state this service begins with. Pure; reading the
 * store, and when it is read, are somebody else's. Rules: spec/configuration.md sections 3 and 6,
 * spec/update-flow.md section 6, design/compatibility.md "Store"; the meaning of each record: mender-records.ts.
 */

export interface MenderTakeover {
  /** What the service begins with, in place of `initialState()`. */
  readonly seed: UpdateState;
  /** null = the store does not say; the bootstrap artifact, if any, then does. */
  readonly installed: Installed | null;
  /** An update of the command line that is not over. */
  readonly standalone: StandaloneRecord | null;
  readonly complaints: readonly MenderStoreComplaint[];
  /** For the log: what was taken over and how it was read. */
  readonly notes: readonly string[];
}

/** `wallMs` and `bootMs` of one and the same moment; `bootId`: of the running kernel. */
export interface TakeoverMoment {
  readonly wallMs: number;
  readonly bootMs: number;
  readonly bootId: string;
}

/** Reason of the passages of a deployment that a Mender client began; tells such a deployment from ours. */
export const PASSED_UNDER_MENDER = 'passed-under-mender';

/** Written when the rollback, if there was one, is over. */
const END_RECORDS: readonly string[] = [
  'update-error',
  'cleanup',
  'update-status-report',
  'update-retry-report',
];
/** Mender's own limits: design/compatibility.md "Loop limit", spec/update-flow.md section 6.4. */
const MORE_COUNTS_OF_3 = 2;
/** 3.x states entered only when the Leave scripts of the step before the gate are over. */
const AT_A_GATE: readonly string[] = [
  'mender-update-control',
  'mender-update-control-pause',
  'mender-update-control-retry-refresh-maps',
];
/** A store written this shortly after the boot may have been written before it: clocks are set in steps. */
const BOOT_MARGIN_MS = 2000;
const CLOCK_MARGIN_MS = 60_000;

/** Whether a Mender client began this deployment. Once it is committed, its store is to be written anew. */
export function isTakenOver(deployment: Deployment): boolean {
  return deployment.passages.some(({ reasons }) => reasons.includes(PASSED_UNDER_MENDER));
}

/** What the service begins with on a device whose store held `content`. */
export function takeOver(content: MenderStoreContent, moment: TakeoverMoment): MenderTakeover {
  const notes: string[] = [];
  const complaints = [...content.complaints];
  const installed = installedOf(content);
  const fresh: UpdateState = {
    ...initialState(installed ?? NOTHING_INSTALLED),
    controlMaps: poolOf(content, moment, complaints),
  };
  const seed = content.update === null ? fresh : seedOf(fresh, content, content.update, moment, notes);
  return { seed, installed, standalone: content.standalone, complaints, notes };
}

/** The keys of their own win over the copies that 3.x may keep among the provides: only they are marked inconsistent. */
function installedOf({ artifactName, artifactGroup, provides }: MenderStoreContent): Installed | null {
  const { artifact_name: name, artifact_group: group, ...others } = provides ?? {};
  const known = artifactName ?? name;
  if (known === undefined && provides === null) return null;
  return {
    artifactName: known ?? NOTHING_INSTALLED.artifactName,
    artifactGroup: artifactGroup ?? group ?? '',
    provides: others,
  };
}

function seedOf(
  fresh: UpdateState,
  content: MenderStoreContent,
  update: MenderUpdate,
  moment: TakeoverMoment,
  notes: string[],
): UpdateState {
  const is3 = update.areAllRollbacksSuccessful === null;
  const record = recordOf(update, is3);
  if (record.interrupted === 'forget') {
    notes.push(
      `The deployment ${update.deploymentId} was about to begin (${update.name}): it will be offered again`,
    );
    return fresh;
  }
  const situation = situationOf(update, record, content, is3);
  const deployment = deploymentOf(update, record, situation, content, moment);
  notes.push(
    `The deployment ${update.deploymentId} was in ${quoted(update.name)} under Mender ${is3 ? '3.x' : '4.x or later'}: ` +
      `it goes on from ${situation.step}`,
  );
  const installed =
    situation.isCommitted && deployment.artifact
      ? applyProvides(fresh.installed, deployment.artifact)
      : fresh.installed;
  return {
    ...fresh,
    installed,
    step: situation.step,
    deployment,
    bootId: isOfThisBoot(content.writtenWallMs, moment) ? moment.bootId : '',
    // A final report that goes on does not end the deployment a second time: it has ended here.
    history: isFinalReport(situation.step) ? [historyEntry(deployment, moment)] : [],
  };
}

function recordOf(update: MenderUpdate, is3: boolean): MenderRecord {
  const record = Object.hasOwn(MENDER_RECORDS, update.name) ? MENDER_RECORDS[update.name] : undefined;
  return record === undefined || (record.isOnlyOf3 && !is3) ? UNKNOWN_RECORD : record;
}

interface Situation {
  readonly step: FlowStep;
  readonly isAtGate: boolean;
  readonly isCommitted: boolean;
  readonly isInconsistent: boolean;
  /** Why the update is over as far as we are concerned; null = it is not, or the restart itself is why. */
  readonly failure: Failure | null;
}

function situationOf(
  update: MenderUpdate,
  record: MenderRecord,
  content: MenderStoreContent,
  is3: boolean,
): Situation {
  const isInconsistent = isMarkedInconsistent(update, content);
  const interrupted = record.interrupted as FlowStep;
  const normal = { isAtGate: false, isCommitted: false, isInconsistent, failure: null };
  if (
    record.committed !== undefined &&
    (record.committed === interrupted || isKnownCommitted(update, content, is3))
  ) {
    return { ...normal, step: record.committed, isCommitted: true };
  }
  const hasBegun = record.passed.includes('ArtifactInstall_Enter');
  if (hasBegun && update.payloadTypes.length > 1) {
    // Only the first of them could be asked, verified or rolled back here.
    return {
      ...normal,
      step: 'cleanup-after-failure',
      isInconsistent: true,
      failure: failed(
        update,
        'several-payloads',
        `it has ${update.payloadTypes.length} payloads, of which only one can be handled`,
      ),
    };
  }
  const gate = gateOf(update, record, content);
  if (gate !== null) return { ...normal, step: gate, isAtGate: true };
  const failure = record.hasFailed
    ? failed(update, 'failed-under-mender', 'it had failed or was not to be completed')
    : null;
  if (update.payloadTypes.length === 0 && NEEDS_MODULE_FOR_ROLLBACK.includes(interrupted)) {
    return {
      ...normal,
      step: 'failure-enter',
      isInconsistent: true,
      failure: failed(
        update,
        'no-payload',
        'it was interrupted, and nothing is recorded that could roll it back',
      ),
    };
  }
  // Mender rolls back unasked in some cases; here the module says whether it can (design/compatibility.md).
  const isRollbackKnown =
    interrupted !== 'rollback-enter' || update.supportsRollback === 'rollback-supported';
  return { ...normal, step: isRollbackKnown ? interrupted : 'rollback-check', failure };
}

function gateOf(update: MenderUpdate, record: MenderRecord, content: MenderStoreContent): FlowStep | null {
  if (record.gate === undefined || update.areAllRollbacksSuccessful !== null) return null;
  // What lies behind a gate is done here for one payload.
  if (update.payloadTypes.length !== 1) return null;
  if (content.lastLoggedState === null || !AT_A_GATE.includes(content.lastLoggedState)) return null;
  if (record.gate !== 'by-reboot-need') return record.gate;
  // The answer is stored before ArtifactInstall_Leave: without it the installation is not over, whatever the log says.
  const need = rebootNeedOf(update);
  if (need === 'unknown') return null;
  return need === 'No' ? 'commit-gate' : 'reboot-gate';
}

/**
 * 3.x never begins a deployment of what is installed, so the artifact's name under `artifact-name` is the commit's.
 * 5.x may: there the module must have been asked for a reboot and, no failure ever met, not for a rollback.
 */
function isKnownCommitted(update: MenderUpdate, content: MenderStoreContent, is3: boolean): boolean {
  if (update.artifactName === '' || content.artifactName !== update.artifactName) return false;
  if (isMarked(update.artifactName)) return false;
  return is3 || (rebootNeedOf(update) !== 'unknown' && update.supportsRollback === '');
}

/** Looked for behind the failure only: before it, the mark can be that of an earlier attempt at the same artifact. */
function isMarkedInconsistent(update: MenderUpdate, { artifactName }: MenderStoreContent): boolean {
  if (update.artifactName === '' || !END_RECORDS.includes(update.name)) return false;
  if (artifactName === inconsistentName(update.artifactName)) return true;
  // 5.x reaches ArtifactFailure by a good rollback, which it records, or without one.
  return update.name === 'update-error' && update.areAllRollbacksSuccessful === false;
}

function failed(update: MenderUpdate, reason: string, why: string): Failure {
  return {
    name: 'Internal',
    message: `the Mender client left the update in ${quoted(update.name)}: ${why}; see the deployment log`,
    details: { reason, 'mender-record': update.name },
  };
}

function deploymentOf(
  update: MenderUpdate,
  record: MenderRecord,
  situation: Situation,
  content: MenderStoreContent,
  moment: TakeoverMoment,
): Deployment {
  const { step, isAtGate, isCommitted, isInconsistent, failure } = situation;
  const rebootNeed = rebootNeedOf(update);
  const hasRebooted =
    ['reboot', 'after-reboot'].includes(update.name) ||
    (FLOW[step].state === 'ArtifactCommit' && rebootNeed !== 'No' && rebootNeed !== 'unknown');
  const isBehindReboot = hasRebooted && step !== 'reboot-gate';
  const passed = HOLD_POINTS.filter(
    (point) => record.passed.includes(point) || (point === 'ArtifactReboot_Enter' && isBehindReboot),
  );
  return {
    ...NOBODY_HAS_DECIDED,
    id: update.deploymentId,
    source: 'server',
    location: { kind: 'url', url: update.uri },
    announcedName: plainName(update.artifactName),
    requiredDigest: '',
    initiatorUid: -1,
    startedWallMs: moment.wallMs,
    artifact: artifactOf(update),
    sizeBytes: -1,
    rebootNeed,
    hasRebooted: isBehindReboot,
    isCommitted,
    isRolledBack: isRolledBack(update, content, isInconsistent),
    isInconsistent: isInconsistent && !isCommitted,
    failure: isCommitted || isAtGate ? null : failure,
    endRequest: null,
    pause: null,
    passages: passed.map((point) => ({ point, reasons: [PASSED_UNDER_MENDER], atWallMs: moment.wallMs })),
    carriedWait: null,
    checkpointCount: Math.max(
      0,
      update.storeCount - (update.areAllRollbacksSuccessful === null ? MORE_COUNTS_OF_3 : 0),
    ),
    hasHitLoopLimit: false,
  };
}

/** From a record behind the rollback. One that is still to be rolled back is marked by the flow itself. */
function isRolledBack(update: MenderUpdate, content: MenderStoreContent, isInconsistent: boolean): boolean {
  if (isInconsistent || isMarkedInconsistent(update, content)) return false;
  if (!['update-error', 'cleanup', 'update-status-report', 'update-retry-report'].includes(update.name))
    return false;
  if (update.areAllRollbacksSuccessful !== null) return update.areAllRollbacksSuccessful;
  // 3.x asks right after the download: an update that failed before ArtifactInstall has changed nothing either.
  return update.supportsRollback === 'rollback-supported' && (update.rebootRequested ?? []).length > 0;
}

function artifactOf(update: MenderUpdate): ArtifactSummary | null {
  if (update.artifactName === '') return null;
  return {
    artifactName: plainName(update.artifactName),
    artifactGroup: update.artifactGroup,
    payloadType: update.payloadTypes[0] ?? null,
    compatibleDevices: update.compatibleDevices,
    provides: update.provides,
    clearsProvides: update.clearsProvides,
    // Mender does not record it.
    digest: '',
    isSigned: false,
    releaseNotes: '',
    severity: '',
  };
}

/** 5.x marks the name in its record too. */
function plainName(name: string): string {
  return isMarked(name) ? name.slice(0, -inconsistentName('').length) : name;
}

function isMarked(name: string): boolean {
  return name === inconsistentName(name);
}

function rebootNeedOf({ rebootRequested }: MenderUpdate): RebootNeed {
  const answers = rebootRequested ?? [];
  if (answers.length === 0) return 'unknown';
  if (answers.includes('reboot-type-automatic')) return 'Automatic';
  return answers.includes('reboot-type-custom') ? 'Yes' : 'No';
}

/**
 * Mender knows no boot id. Written since this kernel started, by a clock that has not run backwards since: no reboot in
 * between. In doubt there was one, which is what Mender itself takes for granted.
 */
function isOfThisBoot(writtenWallMs: number, { wallMs, bootMs }: TakeoverMoment): boolean {
  return writtenWallMs > wallMs - bootMs + BOOT_MARGIN_MS && writtenWallMs <= wallMs + CLOCK_MARGIN_MS;
}

function historyEntry(deployment: Deployment, { wallMs }: TakeoverMoment): HistoryEntry {
  const { id, source, artifact, failure, initiatorUid, consents, passages, decisions } = deployment;
  return {
    deploymentId: id,
    source,
    artifactName: artifact?.artifactName ?? '',
    digest: '',
    result: resultOf(deployment),
    failure,
    startedWallMs: deployment.startedWallMs,
    finishedWallMs: wallMs,
    initiatorUid,
    consents,
    passages,
    decisions,
  };
}

/** One map that cannot be read makes the whole set void, as with Mender: spec/update-control.md section 3.2. */
function poolOf(
  { controlMaps, update }: MenderStoreContent,
  { wallMs, bootMs }: TakeoverMoment,
  complaints: MenderStoreComplaint[],
): MapPool {
  const pool: PooledMap[] = [];
  const lifetimeMs = DEFAULT_FLOW_SETTINGS.controlMapBootExpirationSeconds * 1000;
  for (const list of ['active', 'expired'] as const) {
    for (const [index, value] of controlMaps[list].entries()) {
      const read = parseControlMap(JSON.stringify(value) ?? 'null');
      if (read.kind !== 'map') {
        const why = read.kind === 'null' ? 'found null, expected a map' : `${read.path}: ${read.message}`;
        complaints.push({ key: 'update-control-maps', message: `${list} map ${index}: ${why}` });
        return [];
      }
      const isOfServer = read.map.id === update?.deploymentId;
      pool.push({
        ...read.map,
        origin: isOfServer ? 'server' : 'local',
        // On Mender's bus only root may set one.
        uid: isOfServer ? -1 : 0,
        setWallMs: wallMs,
        // Begun anew with the configured length when the service starts.
        halfwayBootMs: bootMs + lifetimeMs / 2,
        expiresBootMs: bootMs + lifetimeMs,
        isExpired: list === 'expired',
      });
    }
  }
  if (pool.length > MAX_MAPS) {
    complaints.push({
      key: 'update-control-maps',
      message: `found ${pool.length} maps, expected at most ${MAX_MAPS}: the first ${MAX_MAPS} are taken`,
    });
  }
  return pool.slice(0, MAX_MAPS);
}

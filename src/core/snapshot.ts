import { allowedActions, type Action } from './command.ts';
import { holdViews, type HoldView } from './control/hold-view.ts';
import type { Now } from './control/blockers.ts';
import type { Details } from './errors.ts';
import { isWaitingForStore } from './deployment-end.ts';
import { holdContextOf } from './holding.ts';
import { paceOf } from './progress.ts';
import {
  areUpdatesEnabled,
  type Activity,
  type Blocker,
  type HistoryEntry,
  type PublicState,
  type Result,
  type Schedule,
  type SetAside,
  type UpdateState,
} from './state.ts';
import { FLOW, isFinalReport } from './transition-table.ts';

/**
 * What the outside is told: the values of all properties of `io.holdpoint.Update1` at one moment, in plain types.
 * The D-Bus adapter and the command line only render it. Source: design/dbus-api.md section 3.
 * Times in microseconds, sizes in bytes, −1 = unknown.
 */
export interface Snapshot {
  readonly serial: number;
  readonly state: PublicState;
  readonly activity: Activity;
  readonly step: string;
  readonly deploymentId: string;
  readonly artifactName: string;
  readonly currentArtifactName: string;
  readonly deployment: Readonly<Record<string, string | number | readonly string[]>>;
  readonly rebootRequired: 'no' | 'yes' | 'unknown';
  readonly progress: number;
  readonly stepProgress: number;
  readonly downloadedBytes: number;
  readonly downloadSizeBytes: number;
  readonly bytesPerSecond: number;
  readonly remainingSeconds: number;
  readonly waitTicket: string;
  readonly waitPoint: string;
  readonly blockers: readonly Blocker[];
  readonly waitSinceUsec: number;
  readonly waitDeadlineUsec: number;
  readonly waitDeadlineBootUsec: number;
  readonly waitOnExpire: string;
  readonly isPaused: boolean;
  readonly areUpdatesEnabled: boolean;
  readonly allowedActions: readonly Action[];
  readonly lastResult: Result | 'none';
  readonly lastErrorName: string;
  readonly lastErrorMessage: string;
  readonly lastErrorDetails: Details;
  readonly lastCheckUsec: number;
  readonly nextCheckUsec: number;
  readonly serverStatus: string;
  readonly holds: readonly HoldView[];
  /** Those the server offers now, in vain. */
  readonly setAside: readonly SetAside[];
}

/** `now`: the moment of the last event. */
export function snapshotOf(state: UpdateState, now: Now): Snapshot {
  const row = FLOW[state.step];
  const { deployment, wait, progress } = state;
  const last = lastEntry(state);
  const pace = paceOf(progress);
  const isDownloading = state.step === 'download';
  return {
    serial: state.serial,
    state: row.state,
    activity: row.activity,
    step: row.step,
    deploymentId: deployment?.id ?? '',
    artifactName: deployment?.artifact?.artifactName ?? deployment?.announcedName ?? '',
    currentArtifactName: state.installed.artifactName,
    deployment: deploymentFacts(state),
    rebootRequired: rebootRequired(state),
    progress: progress.overall,
    stepProgress: progress.step,
    downloadedBytes: Math.max(0, progress.downloadedBytes),
    downloadSizeBytes: progress.sizeBytes,
    bytesPerSecond: isDownloading ? pace.bytesPerSecond : -1,
    remainingSeconds: isDownloading ? pace.remainingSeconds : -1,
    waitTicket: wait?.ticket ?? '',
    waitPoint: wait?.point ?? '',
    blockers: wait?.blockers ?? [],
    waitSinceUsec: (wait?.startedWallMs ?? 0) * 1000,
    waitDeadlineUsec: Math.round(wait?.deadlineWallMs ?? 0) * 1000,
    waitDeadlineBootUsec: Math.round(wait?.deadlineBootMs ?? 0) * 1000,
    waitOnExpire: wait?.onExpire ?? '',
    isPaused: deployment?.pause != null,
    areUpdatesEnabled: areUpdatesEnabled(state),
    allowedActions: allowedActions(state),
    lastResult: last?.result ?? 'none',
    lastErrorName: last?.failure?.name ?? '',
    lastErrorMessage: last?.failure?.message ?? '',
    lastErrorDetails: last?.failure?.details ?? {},
    lastCheckUsec: state.lastCheckWallMs * 1000,
    nextCheckUsec: state.schedule.nextCheckWallMs * 1000,
    serverStatus: serverStatusOf(state.schedule),
    setAside: state.setAside.filter(({ offeredWallMs }) => offeredWallMs > 0),
    holds: holdViews(state.holds, state.controlMaps, holdContextOf(state), now),
  };
}

/** A token that was good once says nothing while the server cannot be reached. */
function serverStatusOf({ linkTrouble, serverStanding }: Schedule): string {
  return linkTrouble === 'none' ? serverStanding : linkTrouble;
}

/** The last result is cleared when the next deployment starts, and there again once that one is over. */
function lastEntry(state: UpdateState): HistoryEntry | undefined {
  const entry = state.history[0];
  return state.deployment === null || isFinalReport(state.step) ? entry : undefined;
}

function deploymentFacts(state: UpdateState): Snapshot['deployment'] {
  const { deployment } = state;
  if (deployment === null) return {};
  const { artifact } = deployment;
  return {
    source: deployment.source,
    ...(deployment.initiatorUid >= 0 && { initiator: deployment.initiatorUid }),
    'started-usec': deployment.startedWallMs * 1000,
    ...(deployment.sizeBytes >= 0 && { 'size-bytes': deployment.sizeBytes }),
    ...(artifact && {
      digest: artifact.digest,
      'device-types': artifact.compatibleDevices,
      'payload-types': artifact.payloadType === null ? [] : [artifact.payloadType],
      ...(artifact.releaseNotes !== '' && { 'release-notes': artifact.releaseNotes }),
      ...(artifact.severity !== '' && { severity: artifact.severity }),
    }),
    ...(noticeOf(state) !== '' && { notice: noticeOf(state) }),
  };
}

/** What a person should know of a deployment that stands still. */
function noticeOf(state: UpdateState): string {
  return isWaitingForStore(state) ? 'commit-not-stored' : (state.wait?.notice ?? '');
}

function rebootRequired(state: UpdateState): 'no' | 'yes' | 'unknown' {
  const { deployment } = state;
  if (deployment === null || deployment.isCommitted) return 'no';
  if (deployment.rebootNeed === 'unknown') return 'unknown';
  return deployment.rebootNeed !== 'No' && !deployment.hasRebooted ? 'yes' : 'no';
}

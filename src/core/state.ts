import type { ArtifactInfo, ArtifactLocation, Installed, Provides } from './artifact.ts';
import type { Failure } from './errors.ts';
import type { HoldPoint, OnExpire } from './hold-point.ts';
import { DEFAULT_FLOW_SETTINGS, type FlowSettings } from './settings.ts';

/** The nine public states, exactly as users see them. Source: design/product.md "The parts of the mission". */
export const PUBLIC_STATES = [
  'Idle',
  'Sync',
  'Download',
  'ArtifactInstall',
  'ArtifactReboot',
  'ArtifactCommit',
  'ArtifactRollback',
  'ArtifactRollbackReboot',
  'ArtifactFailure',
] as const;
export type PublicState = (typeof PUBLIC_STATES)[number];

/** What the device is doing, for people. Open set: a client shows an unknown value as "working". */
export const ACTIVITIES = [
  'idle',
  'checking',
  'waiting',
  'downloading',
  'installing',
  'rebooting',
  'verifying',
  'committing',
  'rolling-back',
  'failing',
  'cleaning-up',
  'reporting',
] as const;
export type Activity = (typeof ACTIVITIES)[number];

/** Every place the update flow can be in. What each one does and leads to: transition-table.ts. */
export const FLOW_STEPS = [
  'idle-enter',
  'idle',
  'idle-leave',
  'sync-enter',
  'sync',
  'sync-leave',
  'sync-error',
  'download-gate',
  'download-status',
  'download-enter',
  'download',
  'download-leave',
  'download-error',
  'install-gate',
  'install-status',
  'install-enter',
  'install',
  'install-leave',
  'install-error',
  'needs-reboot',
  'reboot-gate',
  'reboot-status',
  'reboot-enter',
  'reboot',
  'verify-reboot',
  'reboot-leave',
  'reboot-error',
  'commit-reverify',
  'commit-gate',
  'commit-authorize',
  'commit-status',
  'commit-enter',
  'commit-check',
  'commit',
  'commit-error',
  'commit-leave',
  'commit-leave-error',
  'rollback-check',
  'rollback-enter',
  'rollback',
  'rollback-failed-leave',
  'rollback-leave',
  'rollback-needs-reboot',
  'rollback-reboot-gate',
  'rollback-reboot-enter',
  'rollback-reboot',
  'verify-rollback-reboot',
  'rollback-reboot-leave',
  'rollback-reboot-error',
  'failure-enter',
  'failure',
  'failure-leave',
  'cleanup-after-success',
  'cleanup-after-failure',
  'report-success',
  'report-failure',
  'report-already-installed',
] as const;
export type FlowStep = (typeof FLOW_STEPS)[number];

/** The part of an artifact's header that the flow goes on needing after the download. */
export type ArtifactSummary = Pick<
  ArtifactInfo,
  | 'artifactName'
  | 'artifactGroup'
  | 'payloadType'
  | 'compatibleDevices'
  | 'provides'
  | 'clearsProvides'
  | 'digest'
  | 'isSigned'
>;

/** Somebody's yes at a hold point. Survives restart and reboot (design/compatibility.md "Consent"). */
export interface Consent {
  readonly point: HoldPoint;
  readonly digest: string;
  readonly uid: number;
  readonly atWallMs: number;
  readonly comment: string;
}

/** That a gate was passed, and why it was allowed. Stored before the first Enter script behind it runs. */
export interface Passage {
  readonly point: HoldPoint;
  readonly reasons: readonly string[];
  readonly atWallMs: number;
}

/** A person's order to end the deployment. */
export interface EndRequest {
  readonly kind: 'abort' | 'rollback';
  readonly uid: number;
  readonly reason: string;
}

export interface CarriedWait {
  readonly point: HoldPoint;
  readonly spentMs: number;
  /** Why the flow asks again, else ''. */
  readonly notice: string;
}

export interface Pause {
  readonly uid: number;
  readonly sinceWallMs: number;
}

export type RebootNeed = 'unknown' | 'No' | 'Yes' | 'Automatic';

/** The server's (or a person's) order to install one artifact on this device, and how far it has come. */
export interface Deployment {
  readonly id: string;
  readonly source: 'local' | 'server';
  readonly location: ArtifactLocation;
  /** Artifact name the server announced; '' for local installs. */
  readonly announcedName: string;
  /** `sha256:…` the artifact must have; '' = any. */
  readonly requiredDigest: string;
  /** Who asked for it; −1 = the server. */
  readonly initiatorUid: number;
  readonly startedWallMs: number;
  /** Known once the header has been read. */
  readonly artifact: ArtifactSummary | null;
  /** −1 = unknown. */
  readonly sizeBytes: number;
  readonly rebootNeed: RebootNeed;
  /** Whether the reboot of this update has been begun. */
  readonly hasRebooted: boolean;
  readonly isCommitted: boolean;
  readonly isRolledBack: boolean;
  /** The device is neither the old nor the new version; the artifact name gets its suffix. */
  readonly isInconsistent: boolean;
  /** The first thing that went wrong; a failed rollback replaces it. */
  readonly failure: Failure | null;
  readonly endRequest: EndRequest | null;
  readonly pause: Pause | null;
  readonly consents: readonly Consent[];
  readonly passages: readonly Passage[];
  /** A wait that a restart interrupted: its time counts when it is entered again. */
  readonly carriedWait: CarriedWait | null;
  /** Loop guard (spec/update-flow.md section 6.4 as changed by design/compatibility.md). */
  readonly checkpointCount: number;
  readonly hasHitLoopLimit: boolean;
}

/** One reason why a gate does not open. Published as is. */
export interface Blocker {
  readonly id: string;
  /** Open set: consent, pause, updates-disabled, … */
  readonly kind: string;
  readonly owner: string;
  readonly reasonCode: string;
  readonly details: Readonly<Record<string, string | number | boolean>>;
}

/** A stored wait at a hold point. */
export interface Wait {
  readonly point: HoldPoint;
  /** Single use; 32 hex digits. Dead after a restart. */
  readonly ticket: string;
  readonly startedWallMs: number;
  /** Waiting time used up at the moment `asOfBootMs` of the present boot, milliseconds. */
  readonly waitedMs: number;
  readonly asOfBootMs: number;
  readonly blockers: readonly Blocker[];
  /** When the wait ends by itself, in boot time and as wall clock for display; 0 = never. */
  readonly deadlineBootMs: number;
  readonly deadlineWallMs: number;
  readonly onExpire: OnExpire;
  /** Why the flow is asking again after an unexpected reboot, else ''. */
  readonly notice: string;
}

export interface Progress {
  /** 0…100 over the whole deployment, −1 unknown; never goes back, 100 = committed. */
  readonly overall: number;
  /** 0…100 of the present step, −1 unknown. */
  readonly step: number;
  readonly downloadedBytes: number;
  /** −1 = unknown. */
  readonly sizeBytes: number;
  /** Recent (boot time, bytes) pairs for rate and remaining time. */
  readonly samples: readonly (readonly [bootMs: number, bytes: number])[];
}

export const RESULTS = ['success', 'failure', 'aborted', 'rolled-back', 'inconsistent'] as const;
export type Result = (typeof RESULTS)[number];

/** A deployment that has ended. */
export interface HistoryEntry {
  readonly deploymentId: string;
  readonly source: 'local' | 'server';
  readonly artifactName: string;
  readonly digest: string;
  readonly result: Result;
  readonly failure: Failure | null;
  readonly startedWallMs: number;
  readonly finishedWallMs: number;
  readonly initiatorUid: number;
  readonly consents: readonly Consent[];
  readonly passages: readonly Passage[];
}

/** Deployments kept in the history; the oldest go first. */
export const HISTORY_LIMIT = 50;

/** The whole state of the service. There is no update state anywhere else. */
export interface UpdateState {
  /** +1 with every change a client may care about; never reset. */
  readonly serial: number;
  readonly settings: FlowSettings;
  readonly bootId: string;
  readonly installed: Installed;
  /** null = nobody has switched it; the configured default holds. */
  readonly updatesSwitch: boolean | null;
  readonly step: FlowStep;
  /** Identifies the work of the present step; outcomes of other work are stale and change nothing. */
  readonly workId: number;
  /** Attempts the present step has made at reporting. */
  readonly attempts: number;
  readonly deployment: Deployment | null;
  readonly wait: Wait | null;
  /** Tickets of this run whose point was passed by them: a repeated Continue is answered the same. */
  readonly passedTickets: readonly string[];
  readonly progress: Progress;
  /** Newest first. The first entry is the last result, unless a deployment has started since. */
  readonly history: readonly HistoryEntry[];
  readonly lastCheckWallMs: number;
}

export const NO_PROGRESS: Progress = {
  overall: -1,
  step: -1,
  downloadedBytes: -1,
  sizeBytes: -1,
  samples: [],
};

/** A device that has never run Holdpoint. */
export function initialState(installed: Installed): UpdateState {
  return {
    serial: 0,
    settings: DEFAULT_FLOW_SETTINGS,
    bootId: '',
    installed,
    updatesSwitch: null,
    step: 'idle',
    workId: 0,
    attempts: 0,
    deployment: null,
    wait: null,
    passedTickets: [],
    progress: NO_PROGRESS,
    history: [],
    lastCheckWallMs: 0,
  };
}

export const NOTHING_INSTALLED: Installed = {
  artifactName: 'unknown',
  artifactGroup: '',
  provides: {} as Provides,
};

export function areUpdatesEnabled(state: UpdateState): boolean {
  return state.updatesSwitch ?? state.settings.updatesEnabledByDefault;
}

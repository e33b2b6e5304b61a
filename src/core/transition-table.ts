import type { FailureName } from './errors.ts';
import type { EventKind } from './event.ts';
import type { HoldPoint } from './hold-point.ts';
import type { ModuleAction } from './module-action.ts';
import type { ScriptAction, ScriptFamily } from './state-script.ts';
import type { ServerStatus } from './effect.ts';
import type { Activity, FlowStep, PublicState } from './state.ts';

/**
 * The whole update flow, one row per step: what users see, the work it does, where each outcome leads, and what
 * a restart, an abort or a rollback request in it leads to. transition.ts only walks this table; the diagram and
 * the mapping in docs/update-flow.md are generated from it.
 *
 * Order around a gate: previous family's Leave scripts → gate → [commit: authorize] → status → Enter scripts →
 * action. Sources: spec/update-flow.md sections 3, 6 and 10, design/compatibility.md (scripts and modules as
 * Mender 5.1, gates as Mender 3.5, waits and restarts ours).
 */

/** What the work of a step can come to. */
export type Outcome =
  | 'done'
  | 'failed'
  /** Ended by the server (409) or by a person, or the gate's answer was no. */
  | 'aborted'
  /** A report that could not be delivered for good. */
  | 'undelivered'
  /** The server cannot be reached, and the configuration allows to commit all the same. */
  | 'offline'
  | 'reboot'
  | 'no-reboot'
  | 'supported'
  | 'unsupported'
  | 'install'
  | 'check'
  | 'inventory'
  | 'offered';

/** Facts a target may depend on; see `CONDITIONS` in walk.ts. */
export type Condition =
  | 'deployment-pending'
  | 'already-installed'
  | 'payload-empty'
  | 'same-boot'
  | 'has-rebooted'
  | 'inventory-wanted';

export interface Target {
  readonly to: FlowStep;
  readonly when?: Condition;
  /**
   * commits: the artifact is what is installed from here on. spoils: the device is neither old nor new.
   * rolled-back: the old version is back.
   */
  readonly marks?: 'commits' | 'spoils' | 'rolled-back';
}
/** The first whose condition holds is taken. */
export type Targets = FlowStep | Target | readonly (FlowStep | Target)[];

export type Delivery = 'best-effort' | 'required' | 'final';

export type Work =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'scripts';
      readonly family: ScriptFamily;
      readonly action: ScriptAction;
    }
  | { readonly kind: 'module'; readonly action: ModuleAction }
  /** The module's `Cleanup`; behind a commit that is not stored it waits for the store. */
  | { readonly kind: 'cleanup' }
  /** ArtifactReboot or ArtifactRollbackReboot by the module, or the host's reboot, as the module answered. */
  | { readonly kind: 'reboot'; readonly action: 'ArtifactReboot' | 'ArtifactRollbackReboot' }
  | { readonly kind: 'ask-needs-reboot' }
  | { readonly kind: 'ask-supports-rollback' }
  | { readonly kind: 'download' }
  | { readonly kind: 'gate'; readonly point: HoldPoint; readonly pauseStatus: ServerStatus | null }
  /**
   * Nothing to do for a deployment that is not the server's: passes as done. best-effort: not repeated when it
   * cannot be delivered; required: repeated, then `undelivered`; final: repeated, and the deployment is over.
   */
  | { readonly kind: 'report'; readonly status: ServerStatus; readonly delivery: Delivery }
  | { readonly kind: 'authorize' }
  | { readonly kind: 'check-script-version' }
  | { readonly kind: 'check-for-deployment' }
  | { readonly kind: 'send-inventory' };

export interface FlowRow {
  /** Shown as `State`, `Activity` and `Step`. */
  readonly state: PublicState;
  readonly activity: Activity;
  readonly step: string;
  readonly work: Work;
  readonly next: Readonly<Partial<Record<Outcome, Targets>>>;
  /** Where a restart goes on. */
  readonly restart: Targets;
  /** true: the interruption itself is a failure of the update, `PowerLoss`. */
  readonly isRestartFailure?: true;
  /**
   * Mender's name of the record written on entering; steps that have one count towards the loop limit.
   * Source: spec/update-flow.md section 6.2.
   */
  readonly checkpoint?: string;
  /** `cancel`: the work is ended and fails. `leave`: the outcome `aborted` is taken at once. Absent: refused. */
  readonly abort?: 'cancel' | 'leave';
  readonly rollback?: 'cancel' | 'leave';
  /** What a failure of the module amounts to here. */
  readonly failsAs?: FailureName;
  /** Failures here say nothing about the update. */
  readonly isFailureIgnored?: true;
  /**
   * When the state cannot be stored. `proceed`: nothing here needs the record (a restart from the one before ends
   * well), or the way back must not depend on the disk. `skip`: the work is left out as if it were done, because a
   * restart from the record before still needs what it would take away. A step: the failure is taken there, because
   * nothing of this one has begun. Absent: it fails.
   */
  readonly whenNotStored?: 'proceed' | 'skip' | FlowStep;
  /** Overall progress on entering and on leaving, percent; absent on ways that do not lead to a commit. */
  readonly progress?: readonly [from: number, to: number];
}

/** The events that the work of a step can lead to; any other outcome is not this work's and changes nothing. */
export const WORK_EVENTS: Readonly<Record<Work['kind'], readonly EventKind[]>> = {
  none: [],
  scripts: ['ScriptsFinished'],
  module: ['ModuleFinished'],
  cleanup: ['ModuleFinished', 'TimerFired'],
  reboot: ['ModuleFinished', 'HostRebootFailed'],
  'ask-needs-reboot': ['RebootNeedAnswered', 'QuestionFailed'],
  'ask-supports-rollback': ['RollbackSupportAnswered', 'QuestionFailed'],
  download: ['ArtifactVerified', 'DownloadProgressed', 'DownloadFinished', 'StatusReported', 'TimerFired'],
  gate: ['StatusReported', 'TimerFired', 'ControlMapFetched', 'ConditionsReported', 'WallClockJudged'],
  report: ['StatusReported', 'TimerFired'],
  authorize: ['AuthorizationFinished', 'TimerFired'],
  'check-script-version': ['ScriptVersionChecked'],
  'check-for-deployment': ['DeploymentCheckFinished'],
  'send-inventory': ['InventorySent'],
};

const scripts = (family: ScriptFamily, action: ScriptAction): Work => ({ kind: 'scripts', family, action });
const module = (action: ModuleAction): Work => ({ kind: 'module', action });
const gate = (point: HoldPoint, pauseStatus: ServerStatus | null): Work => ({
  kind: 'gate',
  point,
  pauseStatus,
});
const report = (status: ServerStatus, delivery: Delivery): Work => ({ kind: 'report', status, delivery });

export const FLOW: Readonly<Record<FlowStep, FlowRow>> = {
  // --- Idle and Sync: nothing is stored, a restart begins at idle again --------------------------------------
  'idle-enter': {
    state: 'Idle',
    activity: 'idle',
    step: 'Idle_Enter',
    work: scripts('Idle', 'Enter'),
    next: { done: 'idle', failed: 'idle' },
    isFailureIgnored: true,
    restart: 'idle-enter',
    whenNotStored: 'proceed',
  },
  idle: {
    state: 'Idle',
    activity: 'idle',
    step: 'Idle',
    work: { kind: 'none' },
    next: { install: 'idle-leave', check: 'idle-leave', inventory: 'idle-leave' },
    restart: 'idle-enter',
    whenNotStored: 'proceed',
  },
  'idle-leave': {
    state: 'Idle',
    activity: 'idle',
    step: 'Idle_Leave',
    work: scripts('Idle', 'Leave'),
    next: {
      // A local install is not synchronised with anybody: no Sync family.
      done: [{ to: 'download-gate', when: 'deployment-pending' }, 'sync-enter'],
      failed: [{ to: 'download-gate', when: 'deployment-pending' }, 'sync-enter'],
    },
    isFailureIgnored: true,
    restart: [{ to: 'idle-leave', when: 'deployment-pending' }, 'idle-enter'],
    whenNotStored: 'proceed',
  },
  'sync-enter': {
    state: 'Sync',
    activity: 'checking',
    step: 'Sync_Enter',
    work: scripts('Sync', 'Enter'),
    // The inventory first: it is what a server chooses deployments by.
    next: { done: [{ to: 'sync-inventory', when: 'inventory-wanted' }, 'sync'], failed: 'sync-error' },
    isFailureIgnored: true,
    restart: 'idle-enter',
  },
  sync: {
    state: 'Sync',
    activity: 'checking',
    step: 'Sync',
    work: { kind: 'check-for-deployment' },
    next: { offered: 'sync-leave', done: 'sync-leave', failed: 'sync-error', aborted: 'report-failure' },
    isFailureIgnored: true,
    restart: 'idle-enter',
  },
  'sync-inventory': {
    state: 'Sync',
    activity: 'reporting',
    step: 'Sync',
    work: { kind: 'send-inventory' },
    next: { done: 'sync-leave', failed: 'sync-error' },
    isFailureIgnored: true,
    restart: 'idle-enter',
  },
  'sync-leave': {
    state: 'Sync',
    activity: 'checking',
    step: 'Sync_Leave',
    work: scripts('Sync', 'Leave'),
    next: {
      done: [
        { to: 'report-already-installed', when: 'already-installed' },
        { to: 'download-gate', when: 'deployment-pending' },
        'idle-enter',
      ],
      failed: 'sync-error',
    },
    isFailureIgnored: true,
    restart: 'idle-enter',
  },
  'sync-error': {
    state: 'Sync',
    activity: 'checking',
    step: 'Sync_Error',
    work: scripts('Sync', 'Error'),
    next: { done: 'idle-enter', failed: 'idle-enter' },
    isFailureIgnored: true,
    restart: 'idle-enter',
  },

  // --- Download ----------------------------------------------------------------------------------------------
  'download-gate': {
    state: 'Download',
    activity: 'waiting',
    step: 'Download_Enter',
    work: gate('Download_Enter', null),
    next: { done: 'download-status', aborted: 'cleanup-after-failure' },
    restart: 'download-gate',
    abort: 'leave',
    progress: [0, 0],
    whenNotStored: 'proceed',
  },
  'download-status': {
    state: 'Download',
    activity: 'downloading',
    step: 'Download_Enter',
    work: report('downloading', 'best-effort'),
    next: { done: 'download-enter', aborted: 'cleanup-after-failure' },
    restart: 'download-gate',
    abort: 'leave',
  },
  'download-enter': {
    state: 'Download',
    activity: 'downloading',
    step: 'Download_Enter',
    work: scripts('Download', 'Enter'),
    next: { done: 'download', failed: 'download-error' },
    checkpoint: 'update-store',
    restart: 'cleanup-after-failure',
    isRestartFailure: true,
    abort: 'cancel',
    progress: [1, 2],
    // Neither its Enter scripts nor its Error scripts: the family has not been entered.
    whenNotStored: 'cleanup-after-failure',
  },
  download: {
    state: 'Download',
    activity: 'downloading',
    step: 'Download',
    work: { kind: 'download' },
    next: { done: 'download-leave', failed: 'download-error' },
    restart: 'cleanup-after-failure',
    isRestartFailure: true,
    abort: 'cancel',
    progress: [2, 60],
    // A restart ends alike from the record of Download_Enter; what was verified meanwhile is stored with the next one.
    whenNotStored: 'proceed',
  },
  'download-leave': {
    state: 'Download',
    activity: 'downloading',
    step: 'Download_Leave',
    work: scripts('Download', 'Leave'),
    next: {
      // Nothing to install: the provides are all there is (spec/update-flow.md section 3.2).
      done: [{ to: 'cleanup-after-success', when: 'payload-empty', marks: 'commits' }, 'install-gate'],
      failed: 'download-error',
    },
    restart: 'cleanup-after-failure',
    isRestartFailure: true,
    abort: 'cancel',
    progress: [60, 61],
  },
  'download-error': {
    state: 'Download',
    activity: 'failing',
    step: 'Download_Error',
    work: scripts('Download', 'Error'),
    next: { done: 'cleanup-after-failure', failed: 'cleanup-after-failure' },
    restart: 'cleanup-after-failure',
    isRestartFailure: true,
    whenNotStored: 'proceed',
  },

  // --- ArtifactInstall ---------------------------------------------------------------------------------------
  'install-gate': {
    state: 'ArtifactInstall',
    activity: 'waiting',
    step: 'ArtifactInstall_Enter',
    work: gate('ArtifactInstall_Enter', 'pause_before_installing'),
    // Nothing has been installed yet: there is nothing to roll back, and the name stays good. Only where a control map
    // decides is it as Mender 3.5 has it, the failure path of the next state (spec/update-control.md 53, 54).
    next: { done: 'install-status', aborted: 'cleanup-after-failure', failed: 'rollback-check' },
    restart: 'install-gate',
    abort: 'leave',
    progress: [61, 61],
    whenNotStored: 'proceed',
  },
  'install-status': {
    state: 'ArtifactInstall',
    activity: 'installing',
    step: 'ArtifactInstall_Enter',
    work: report('installing', 'best-effort'),
    next: { done: 'install-enter', aborted: 'cleanup-after-failure' },
    restart: 'install-gate',
    abort: 'leave',
  },
  'install-enter': {
    state: 'ArtifactInstall',
    activity: 'installing',
    step: 'ArtifactInstall_Enter',
    work: scripts('ArtifactInstall', 'Enter'),
    next: { done: 'install', failed: 'install-error' },
    checkpoint: 'update-install',
    restart: 'rollback-check',
    isRestartFailure: true,
    abort: 'cancel',
    progress: [62, 63],
    // Nothing has been installed: there is nothing to go back from, and the name stays good.
    whenNotStored: 'cleanup-after-failure',
  },
  install: {
    state: 'ArtifactInstall',
    activity: 'installing',
    step: 'ArtifactInstall',
    work: module('ArtifactInstall'),
    next: { done: 'install-leave', failed: 'install-error' },
    restart: 'rollback-check',
    isRestartFailure: true,
    abort: 'cancel',
    progress: [63, 78],
  },
  'install-leave': {
    state: 'ArtifactInstall',
    activity: 'installing',
    step: 'ArtifactInstall_Leave',
    work: scripts('ArtifactInstall', 'Leave'),
    next: { done: 'needs-reboot', failed: 'install-error' },
    restart: 'rollback-check',
    isRestartFailure: true,
    abort: 'cancel',
    rollback: 'cancel',
    progress: [78, 79],
  },
  'install-error': {
    state: 'ArtifactInstall',
    activity: 'failing',
    step: 'ArtifactInstall_Error',
    work: scripts('ArtifactInstall', 'Error'),
    next: { done: 'rollback-check', failed: 'rollback-check' },
    restart: 'rollback-check',
    isRestartFailure: true,
    whenNotStored: 'proceed',
  },
  'needs-reboot': {
    state: 'ArtifactInstall',
    activity: 'installing',
    step: 'NeedsArtifactReboot',
    work: { kind: 'ask-needs-reboot' },
    next: { reboot: 'reboot-gate', 'no-reboot': 'commit-gate', failed: 'rollback-check' },
    restart: 'rollback-check',
    isRestartFailure: true,
    abort: 'cancel',
    rollback: 'cancel',
    progress: [79, 80],
  },

  // --- ArtifactReboot ----------------------------------------------------------------------------------------
  'reboot-gate': {
    state: 'ArtifactReboot',
    activity: 'waiting',
    step: 'ArtifactReboot_Enter',
    work: gate('ArtifactReboot_Enter', 'pause_before_rebooting'),
    next: { done: 'reboot-status', aborted: 'rollback-check' },
    // Another boot: somebody rebooted by hand, and that was the reboot of this update.
    restart: [{ to: 'reboot-gate', when: 'same-boot' }, 'verify-reboot'],
    abort: 'leave',
    rollback: 'leave',
    progress: [80, 80],
    whenNotStored: 'proceed',
  },
  'reboot-status': {
    state: 'ArtifactReboot',
    activity: 'rebooting',
    step: 'ArtifactReboot_Enter',
    work: report('rebooting', 'best-effort'),
    next: { done: 'reboot-enter', aborted: 'rollback-check' },
    restart: [{ to: 'reboot-gate', when: 'same-boot' }, 'verify-reboot'],
    abort: 'leave',
    rollback: 'leave',
  },
  'reboot-enter': {
    state: 'ArtifactReboot',
    activity: 'rebooting',
    step: 'ArtifactReboot_Enter',
    work: scripts('ArtifactReboot', 'Enter'),
    next: { done: 'reboot', failed: 'reboot-error' },
    checkpoint: 'reboot',
    restart: 'verify-reboot',
    abort: 'cancel',
    rollback: 'cancel',
    progress: [81, 82],
    whenNotStored: 'rollback-check',
  },
  reboot: {
    state: 'ArtifactReboot',
    activity: 'rebooting',
    step: 'ArtifactReboot',
    work: { kind: 'reboot', action: 'ArtifactReboot' },
    failsAs: 'Reboot',
    next: { done: 'verify-reboot', failed: 'reboot-error' },
    restart: 'verify-reboot',
    progress: [82, 88],
  },
  'verify-reboot': {
    state: 'ArtifactReboot',
    activity: 'verifying',
    step: 'ArtifactVerifyReboot',
    work: module('ArtifactVerifyReboot'),
    next: { done: 'reboot-leave', failed: 'reboot-error' },
    failsAs: 'Reboot',
    checkpoint: 'after-reboot',
    restart: 'rollback-check',
    isRestartFailure: true,
    abort: 'cancel',
    rollback: 'cancel',
    progress: [88, 89],
  },
  'reboot-leave': {
    state: 'ArtifactReboot',
    activity: 'verifying',
    step: 'ArtifactReboot_Leave',
    work: scripts('ArtifactReboot', 'Leave'),
    next: { done: 'commit-gate', failed: 'reboot-error' },
    restart: 'rollback-check',
    isRestartFailure: true,
    abort: 'cancel',
    rollback: 'cancel',
    progress: [89, 90],
  },
  'reboot-error': {
    state: 'ArtifactReboot',
    activity: 'failing',
    step: 'ArtifactReboot_Error',
    work: scripts('ArtifactReboot', 'Error'),
    next: { done: 'rollback-check', failed: 'rollback-check' },
    restart: 'rollback-check',
    isRestartFailure: true,
    whenNotStored: 'proceed',
  },

  // --- ArtifactCommit ----------------------------------------------------------------------------------------
  'commit-reverify': {
    // Rebooted while waiting for the commit: the boot loader may have fallen back to the old version.
    state: 'ArtifactCommit',
    activity: 'verifying',
    step: 'ArtifactVerifyReboot',
    work: module('ArtifactVerifyReboot'),
    next: { done: 'commit-gate', failed: 'reboot-error' },
    restart: 'commit-reverify',
    abort: 'cancel',
    rollback: 'cancel',
    // The gate's record leads here again.
    whenNotStored: 'proceed',
  },
  'commit-gate': {
    state: 'ArtifactCommit',
    activity: 'waiting',
    step: 'ArtifactCommit_Enter',
    work: gate('ArtifactCommit_Enter', 'pause_before_committing'),
    next: { done: 'commit-authorize', aborted: 'rollback-check' },
    restart: [
      { to: 'commit-gate', when: 'same-boot' },
      { to: 'commit-reverify', when: 'has-rebooted' },
      'commit-gate',
    ],
    abort: 'leave',
    rollback: 'leave',
    progress: [90, 90],
    whenNotStored: 'proceed',
  },
  'commit-authorize': {
    state: 'ArtifactCommit',
    activity: 'committing',
    step: 'ArtifactCommit_Enter',
    work: { kind: 'authorize' },
    // No C+ and no C! on this way: the family has not been entered.
    next: { done: 'commit-status', failed: 'rollback-check', offline: 'commit-enter' },
    restart: [
      { to: 'commit-gate', when: 'same-boot' },
      { to: 'commit-reverify', when: 'has-rebooted' },
      'commit-gate',
    ],
  },
  'commit-status': {
    state: 'ArtifactCommit',
    activity: 'committing',
    step: 'ArtifactCommit_Enter',
    work: report('installing', 'required'),
    next: {
      done: 'commit-enter',
      undelivered: 'rollback-check',
      aborted: 'rollback-check',
      offline: 'commit-enter',
    },
    restart: [
      { to: 'commit-gate', when: 'same-boot' },
      { to: 'commit-reverify', when: 'has-rebooted' },
      'commit-gate',
    ],
  },
  'commit-enter': {
    state: 'ArtifactCommit',
    activity: 'committing',
    step: 'ArtifactCommit_Enter',
    work: scripts('ArtifactCommit', 'Enter'),
    next: { done: 'commit-check', failed: 'commit-error' },
    checkpoint: 'update-commit',
    restart: 'rollback-check',
    isRestartFailure: true,
    progress: [91, 92],
    whenNotStored: 'rollback-check',
  },
  'commit-check': {
    state: 'ArtifactCommit',
    activity: 'committing',
    step: 'ArtifactCommit',
    work: { kind: 'check-script-version' },
    next: { done: 'commit', failed: 'commit-error' },
    restart: 'rollback-check',
    isRestartFailure: true,
  },
  commit: {
    state: 'ArtifactCommit',
    activity: 'committing',
    step: 'ArtifactCommit',
    work: module('ArtifactCommit'),
    // The new name is stored together with the step behind the commit: spec/update-flow.md section 11, quirk 3.
    next: { done: { to: 'commit-leave', marks: 'commits' }, failed: 'commit-error' },
    failsAs: 'Commit',
    restart: 'rollback-check',
    isRestartFailure: true,
    progress: [92, 96],
  },
  'commit-error': {
    state: 'ArtifactCommit',
    activity: 'failing',
    step: 'ArtifactCommit_Error',
    work: scripts('ArtifactCommit', 'Error'),
    next: { done: 'rollback-check', failed: 'rollback-check' },
    restart: 'rollback-check',
    isRestartFailure: true,
    whenNotStored: 'proceed',
  },
  'commit-leave': {
    state: 'ArtifactCommit',
    activity: 'committing',
    step: 'ArtifactCommit_Leave',
    work: scripts('ArtifactCommit', 'Leave'),
    next: { done: 'cleanup-after-success', failed: { to: 'commit-leave-error', marks: 'spoils' } },
    checkpoint: 'update-after-commit',
    restart: 'commit-leave',
    // There is no way back behind the commit.
    whenNotStored: 'proceed',
    progress: [96, 98],
  },
  'commit-leave-error': {
    state: 'ArtifactCommit',
    activity: 'failing',
    step: 'ArtifactCommit_Error',
    work: scripts('ArtifactCommit', 'Error'),
    next: { done: 'cleanup-after-failure', failed: 'cleanup-after-failure' },
    restart: 'cleanup-after-failure',
    whenNotStored: 'proceed',
  },

  // --- ArtifactRollback --------------------------------------------------------------------------------------
  'rollback-check': {
    state: 'ArtifactRollback',
    activity: 'rolling-back',
    step: 'SupportsRollback',
    work: { kind: 'ask-supports-rollback' },
    next: {
      supported: 'rollback-enter',
      unsupported: { to: 'failure-enter', marks: 'spoils' },
      failed: { to: 'failure-enter', marks: 'spoils' },
    },
    restart: 'rollback-check',
    whenNotStored: 'proceed',
  },
  'rollback-enter': {
    state: 'ArtifactRollback',
    activity: 'rolling-back',
    step: 'ArtifactRollback_Enter',
    work: scripts('ArtifactRollback', 'Enter'),
    next: { done: 'rollback', failed: { to: 'rollback', marks: 'spoils' } },
    checkpoint: 'rollback',
    restart: 'rollback-enter',
    whenNotStored: 'proceed',
  },
  rollback: {
    state: 'ArtifactRollback',
    activity: 'rolling-back',
    step: 'ArtifactRollback',
    work: module('ArtifactRollback'),
    next: { done: 'rollback-leave', failed: { to: 'rollback-failed-leave', marks: 'spoils' } },
    restart: 'rollback-enter',
    whenNotStored: 'proceed',
  },
  'rollback-failed-leave': {
    // The Leave scripts run all the same, but a device that could not go back is not rebooted.
    state: 'ArtifactRollback',
    activity: 'rolling-back',
    step: 'ArtifactRollback_Leave',
    work: scripts('ArtifactRollback', 'Leave'),
    next: { done: 'failure-enter', failed: 'failure-enter' },
    restart: 'rollback-enter',
    whenNotStored: 'proceed',
  },
  'rollback-leave': {
    state: 'ArtifactRollback',
    activity: 'rolling-back',
    step: 'ArtifactRollback_Leave',
    work: scripts('ArtifactRollback', 'Leave'),
    next: { done: 'rollback-needs-reboot', failed: { to: 'rollback-needs-reboot', marks: 'spoils' } },
    restart: 'rollback-enter',
    whenNotStored: 'proceed',
  },
  'rollback-needs-reboot': {
    state: 'ArtifactRollback',
    activity: 'rolling-back',
    step: 'NeedsArtifactReboot',
    work: { kind: 'ask-needs-reboot' },
    next: {
      reboot: 'rollback-reboot-gate',
      'no-reboot': { to: 'failure-enter', marks: 'rolled-back' },
      failed: { to: 'failure-enter', marks: 'spoils' },
    },
    restart: 'rollback-enter',
    whenNotStored: 'proceed',
  },

  // --- ArtifactRollbackReboot --------------------------------------------------------------------------------
  'rollback-reboot-gate': {
    state: 'ArtifactRollbackReboot',
    activity: 'waiting',
    step: 'ArtifactRollbackReboot_Enter',
    work: gate('ArtifactRollbackReboot_Enter', null),
    // A refusal cannot keep the device on a version that failed: "fail" means back to the old one, which is on.
    next: { done: 'rollback-reboot-enter', aborted: 'rollback-reboot-enter' },
    restart: [{ to: 'rollback-reboot-gate', when: 'same-boot' }, 'verify-rollback-reboot'],
    whenNotStored: 'proceed',
  },
  'rollback-reboot-enter': {
    state: 'ArtifactRollbackReboot',
    activity: 'rolling-back',
    step: 'ArtifactRollbackReboot_Enter',
    work: scripts('ArtifactRollbackReboot', 'Enter'),
    next: { done: 'rollback-reboot', failed: { to: 'rollback-reboot', marks: 'spoils' } },
    checkpoint: 'rollback-reboot',
    restart: 'verify-rollback-reboot',
    whenNotStored: 'proceed',
  },
  'rollback-reboot': {
    state: 'ArtifactRollbackReboot',
    activity: 'rebooting',
    step: 'ArtifactRollbackReboot',
    work: { kind: 'reboot', action: 'ArtifactRollbackReboot' },
    // Its failure is no verdict: whether the old version runs is asked next.
    next: { done: 'verify-rollback-reboot', failed: 'verify-rollback-reboot' },
    isFailureIgnored: true,
    restart: 'verify-rollback-reboot',
    whenNotStored: 'proceed',
  },
  'verify-rollback-reboot': {
    state: 'ArtifactRollbackReboot',
    activity: 'verifying',
    step: 'ArtifactVerifyRollbackReboot',
    work: module('ArtifactVerifyRollbackReboot'),
    // Not back yet: reboot again, until the loop limit.
    next: { done: 'rollback-reboot-leave', failed: 'rollback-reboot' },
    isFailureIgnored: true,
    checkpoint: 'after-rollback-reboot',
    restart: 'verify-rollback-reboot',
    whenNotStored: 'proceed',
  },
  'rollback-reboot-leave': {
    state: 'ArtifactRollbackReboot',
    activity: 'rolling-back',
    step: 'ArtifactRollbackReboot_Leave',
    work: scripts('ArtifactRollbackReboot', 'Leave'),
    next: {
      done: { to: 'failure-enter', marks: 'rolled-back' },
      failed: { to: 'rollback-reboot-error', marks: 'spoils' },
    },
    restart: 'verify-rollback-reboot',
    whenNotStored: 'proceed',
  },
  'rollback-reboot-error': {
    state: 'ArtifactRollbackReboot',
    activity: 'failing',
    step: 'ArtifactRollbackReboot_Error',
    work: scripts('ArtifactRollbackReboot', 'Error'),
    next: { done: 'failure-enter', failed: 'failure-enter' },
    restart: 'verify-rollback-reboot',
    whenNotStored: 'proceed',
  },

  // --- ArtifactFailure ---------------------------------------------------------------------------------------
  'failure-enter': {
    state: 'ArtifactFailure',
    activity: 'failing',
    step: 'ArtifactFailure_Enter',
    work: scripts('ArtifactFailure', 'Enter'),
    next: { done: 'failure', failed: { to: 'failure', marks: 'spoils' } },
    checkpoint: 'update-error',
    restart: 'failure-enter',
    whenNotStored: 'proceed',
  },
  failure: {
    state: 'ArtifactFailure',
    activity: 'failing',
    step: 'ArtifactFailure',
    work: module('ArtifactFailure'),
    next: { done: 'failure-leave', failed: { to: 'failure-leave', marks: 'spoils' } },
    restart: 'failure-enter',
    whenNotStored: 'proceed',
  },
  'failure-leave': {
    state: 'ArtifactFailure',
    activity: 'failing',
    step: 'ArtifactFailure_Leave',
    work: scripts('ArtifactFailure', 'Leave'),
    next: { done: 'cleanup-after-failure', failed: { to: 'cleanup-after-failure', marks: 'spoils' } },
    restart: 'failure-enter',
    whenNotStored: 'proceed',
  },

  // --- Cleanup and the final report --------------------------------------------------------------------------
  'cleanup-after-success': {
    state: 'ArtifactCommit',
    activity: 'cleaning-up',
    step: 'Cleanup',
    work: { kind: 'cleanup' },
    next: { done: 'report-success', failed: 'report-failure' },
    checkpoint: 'cleanup',
    restart: 'cleanup-after-success',
    // The file tree is what a restart from the record before goes back with. Without a record of the commit nothing is
    // left out: it waits here, see failToSave.
    whenNotStored: 'skip',
    progress: [98, 99],
  },
  'cleanup-after-failure': {
    state: 'ArtifactFailure',
    activity: 'cleaning-up',
    step: 'Cleanup',
    work: { kind: 'cleanup' },
    next: { done: 'report-failure', failed: 'report-failure' },
    checkpoint: 'cleanup',
    restart: 'cleanup-after-failure',
    // The file tree is what a restart from the record before goes back with.
    whenNotStored: 'skip',
  },
  'report-success': {
    state: 'ArtifactCommit',
    activity: 'reporting',
    step: 'Report',
    work: report('success', 'final'),
    next: { done: 'idle-enter', undelivered: 'idle-enter', aborted: 'idle-enter' },
    restart: 'report-success',
    isFailureIgnored: true,
    whenNotStored: 'proceed',
  },
  'report-failure': {
    state: 'ArtifactFailure',
    activity: 'reporting',
    step: 'Report',
    work: report('failure', 'final'),
    next: { done: 'idle-enter', undelivered: 'idle-enter', aborted: 'idle-enter' },
    restart: 'report-failure',
    isFailureIgnored: true,
    whenNotStored: 'proceed',
  },
  'report-already-installed': {
    state: 'Sync',
    activity: 'reporting',
    step: 'Report',
    work: report('already-installed', 'final'),
    next: { done: 'idle-enter', undelivered: 'idle-enter', aborted: 'idle-enter' },
    restart: 'report-already-installed',
    isFailureIgnored: true,
    whenNotStored: 'proceed',
  },
};

/** The result is decided; all that is left is to tell the server. */
export function isFinalReport(step: FlowStep): boolean {
  const { work } = FLOW[step];
  return work.kind === 'report' && work.delivery === 'final';
}

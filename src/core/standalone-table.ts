import type { ModuleAction } from './module-action.ts';
import type { ScriptAction, ScriptFamily } from './state-script.ts';

/**
 * The standalone flow (`holdpoint install --standalone`, `commit`, `rollback`, `resume`), one row per step: its work,
 * the record stored before that work, where each outcome leads, and what it adds to the result. standalone.ts only
 * walks this table.
 *
 * Order, as Mender 5.1: header, module look-up and depends, then `D+ PS? D D- I+ I I- NR? SR?`; rollback supported:
 * stop and let the user decide; else `C+ C C- CL`. No reboot is ever made here.
 * Sources: spec/update-flow.md section 9.2, spec/update-modules.md section 7.
 */

/** Values of `InState` in the record. Source: spec/configuration.md section 3.4. */
export const IN_STATES = [
  'Before_ArtifactInstall_Enter',
  'ArtifactInstall_Enter',
  'Before_ArtifactCommit_Enter',
  'ArtifactCommit_Enter',
  'Before_ArtifactCommit_Leave',
  'ArtifactCommit_Leave',
  'ArtifactRollback_Enter',
  'ArtifactFailure_Enter',
  'Cleanup',
] as const;
export type InState = (typeof IN_STATES)[number];

/** Arguments of `--stop-before`. */
export const STOP_POINTS = [
  'ArtifactInstall_Enter',
  'ArtifactCommit_Enter',
  'ArtifactCommit_Leave',
  'ArtifactRollback_Enter',
  'ArtifactFailure_Enter',
  'Cleanup',
] as const;
export type StopPoint = (typeof STOP_POINTS)[number];

export const STANDALONE_STEPS = [
  'open',
  'finish-empty',
  'download-enter',
  'download',
  'download-leave',
  'download-error',
  'before-install',
  'install-enter',
  'install',
  'install-leave',
  'install-error',
  'needs-reboot',
  'supports-rollback',
  'before-commit',
  'commit-enter',
  'commit',
  'commit-error',
  'before-commit-leave',
  'commit-leave',
  'rollback-check',
  'rollback-enter',
  'rollback',
  'rollback-leave',
  'failure-enter',
  'failure',
  'failure-leave',
  'cleanup',
  'end',
] as const;
export type StandaloneStep = (typeof STANDALONE_STEPS)[number];

export type StandaloneOutcome =
  | 'done'
  | 'failed'
  /** The artifact has no payload. */
  | 'empty'
  | 'reboot'
  | 'supported'
  | 'unsupported'
  /** The record could not be stored, so the work has not been begun. */
  | 'not-stored';

/** What a command did or met; the sentences of its result are made from these. */
export type Deed =
  | 'streamed'
  | 'installed'
  | 'committed'
  | 'cleaned'
  | 'rolled-back'
  | 'reboot-required'
  | 'auto-commit'
  | 'streaming-failed'
  | 'installation-failed'
  | 'commit-failed'
  | 'post-commit-failed'
  | 'cleanup-failed'
  | 'rollback-failed'
  | 'no-rollback'
  /** The user asked for a rollback that is not possible; nothing was done. */
  | 'rollback-refused'
  | 'not-modified'
  /** Set with every failure; decides the exit status. */
  | 'failed';

/** What will be installed once the clean-up is done: the artifact, what was there before, or neither. */
export type Verdict = 'new' | 'old' | 'inconsistent';

export interface StandaloneTarget {
  readonly to: StandaloneStep;
  /** Only if the command has (not) failed so far: without a failure the user asked for it. */
  readonly when?: 'failed' | 'not-failed';
  readonly deeds?: readonly Deed[];
  /** `as-rolled-back`: old if the rollback went well, else inconsistent. */
  readonly verdict?: Verdict | 'as-rolled-back';
}
export type StandaloneTargets = StandaloneStep | StandaloneTarget | readonly StandaloneTarget[];

export type StandaloneWork =
  | { readonly kind: 'none' }
  /** Opens the artifact, verifies it in front of its payload, checks that it fits, lays out scripts and file tree. */
  | { readonly kind: 'open' }
  /** Reads the rest of an artifact without payload, and records what it provides. */
  | { readonly kind: 'finish-empty' }
  | { readonly kind: 'download' }
  | {
      readonly kind: 'scripts';
      readonly family: ScriptFamily;
      readonly action: ScriptAction;
      /** A failing script does not keep the others from running. */
      readonly runsAll: boolean;
    }
  | { readonly kind: 'module'; readonly action: ModuleAction }
  | { readonly kind: 'ask-needs-reboot' }
  | { readonly kind: 'ask-supports-rollback' }
  /** Cleanup by the module, the file tree, what is installed, the record: all gone or settled afterwards. */
  | { readonly kind: 'cleanup' };

export interface StandaloneRow {
  readonly work: StandaloneWork;
  /** Stored before the work begins. */
  readonly saves?: InState;
  /** `--stop-before` with this name ends the command here, the record stored, the work not begun. */
  readonly stop?: StopPoint;
  /** When the record cannot be stored: `proceed` = the way back, or behind the commit, does not depend on the disk. */
  readonly whenNotStored?: 'proceed';
  readonly next: Readonly<Partial<Record<StandaloneOutcome, StandaloneTargets>>>;
  /**
   * What Ctrl-C leads to. `undo`: the work has failed, and what it left is cleared away. `stay` (where absent): the
   * command ends and the record tells the next one where to go on.
   */
  readonly interrupt?: 'undo';
}

const scripts = (
  family: ScriptFamily,
  action: ScriptAction,
  runsAll = action === 'Error',
): StandaloneWork => ({
  kind: 'scripts',
  family,
  action,
  runsAll,
});
const module = (action: ModuleAction): StandaloneWork => ({ kind: 'module', action });

const STREAMING_FAILED: StandaloneTarget = {
  to: 'download-error',
  deeds: ['streaming-failed', 'not-modified', 'failed'],
};
const INSTALL_FAILED: StandaloneTarget = { to: 'install-error', deeds: ['installation-failed', 'failed'] };
const NOT_INSTALLED: StandaloneTarget = {
  to: 'cleanup',
  deeds: ['installation-failed', 'not-modified', 'failed'],
  verdict: 'old',
};
const COMMIT_FAILED: StandaloneTarget = { to: 'commit-error', deeds: ['commit-failed', 'failed'] };
const ROLLBACK_FAILED = ['rollback-failed', 'failed'] as const;

export const STANDALONE_FLOW: Readonly<Record<StandaloneStep, StandaloneRow>> = {
  open: {
    work: { kind: 'open' },
    next: {
      done: 'download-enter',
      empty: 'finish-empty',
      failed: { to: 'end', deeds: ['streaming-failed', 'not-modified', 'failed'] },
    },
    interrupt: 'undo',
  },
  'finish-empty': {
    work: { kind: 'finish-empty' },
    next: {
      done: { to: 'end', deeds: ['streamed', 'installed', 'committed'] },
      failed: { to: 'end', deeds: ['streaming-failed', 'not-modified', 'failed'] },
    },
    interrupt: 'undo',
  },

  // --- Download: nothing is recorded yet; a kill leaves what the next install clears away --------------------
  'download-enter': {
    work: scripts('Download', 'Enter'),
    next: { done: 'download', failed: STREAMING_FAILED },
    interrupt: 'undo',
  },
  download: {
    work: { kind: 'download' },
    next: { done: 'download-leave', failed: STREAMING_FAILED },
    interrupt: 'undo',
  },
  'download-leave': {
    work: scripts('Download', 'Leave'),
    next: { done: { to: 'before-install', deeds: ['streamed'] }, failed: STREAMING_FAILED },
    interrupt: 'undo',
  },
  'download-error': {
    work: scripts('Download', 'Error'),
    next: { done: { to: 'cleanup', verdict: 'old' }, failed: { to: 'cleanup', verdict: 'old' } },
    interrupt: 'undo',
  },

  // --- Install -----------------------------------------------------------------------------------------------
  'before-install': {
    work: { kind: 'none' },
    saves: 'Before_ArtifactInstall_Enter',
    stop: 'ArtifactInstall_Enter',
    next: { done: 'install-enter', 'not-stored': NOT_INSTALLED },
  },
  'install-enter': {
    work: scripts('ArtifactInstall', 'Enter'),
    saves: 'ArtifactInstall_Enter',
    next: { done: 'install', failed: INSTALL_FAILED, 'not-stored': NOT_INSTALLED },
  },
  install: {
    work: module('ArtifactInstall'),
    next: { done: 'install-leave', failed: INSTALL_FAILED },
  },
  'install-leave': {
    work: scripts('ArtifactInstall', 'Leave'),
    next: { done: { to: 'needs-reboot', deeds: ['installed'] }, failed: INSTALL_FAILED },
  },
  'install-error': {
    work: scripts('ArtifactInstall', 'Error'),
    next: { done: 'rollback-check', failed: 'rollback-check' },
  },
  'needs-reboot': {
    work: { kind: 'ask-needs-reboot' },
    saves: 'Before_ArtifactCommit_Enter',
    next: {
      done: 'supports-rollback',
      reboot: { to: 'supports-rollback', deeds: ['reboot-required'] },
      failed: { to: 'rollback-check', deeds: ['installation-failed', 'failed'] },
      'not-stored': { to: 'rollback-check', deeds: ['installation-failed', 'failed'] },
    },
  },
  'supports-rollback': {
    work: { kind: 'ask-supports-rollback' },
    // Once more, with the answer: the commit is another command, and has to tell of the reboot.
    saves: 'Before_ArtifactCommit_Enter',
    next: {
      supported: 'end',
      unsupported: { to: 'before-commit', deeds: ['auto-commit'] },
      failed: { to: 'rollback-check', deeds: ['installation-failed', 'failed'] },
      'not-stored': { to: 'rollback-check', deeds: ['installation-failed', 'failed'] },
    },
  },

  // --- Commit ------------------------------------------------------------------------------------------------
  'before-commit': {
    work: { kind: 'none' },
    saves: 'Before_ArtifactCommit_Enter',
    stop: 'ArtifactCommit_Enter',
    next: {
      done: 'commit-enter',
      'not-stored': { to: 'rollback-check', deeds: ['commit-failed', 'failed'] },
    },
  },
  'commit-enter': {
    work: scripts('ArtifactCommit', 'Enter'),
    saves: 'ArtifactCommit_Enter',
    next: {
      done: 'commit',
      failed: COMMIT_FAILED,
      'not-stored': { to: 'rollback-check', deeds: ['commit-failed', 'failed'] },
    },
  },
  commit: {
    work: module('ArtifactCommit'),
    next: { done: { to: 'before-commit-leave', deeds: ['committed'] }, failed: COMMIT_FAILED },
  },
  'commit-error': {
    work: scripts('ArtifactCommit', 'Error'),
    next: { done: 'rollback-check', failed: 'rollback-check' },
  },
  'before-commit-leave': {
    work: { kind: 'none' },
    saves: 'Before_ArtifactCommit_Leave',
    stop: 'ArtifactCommit_Leave',
    whenNotStored: 'proceed',
    next: { done: 'commit-leave' },
  },
  'commit-leave': {
    work: scripts('ArtifactCommit', 'Leave', true),
    saves: 'ArtifactCommit_Leave',
    whenNotStored: 'proceed',
    next: {
      done: { to: 'cleanup', verdict: 'new' },
      failed: {
        to: 'cleanup',
        deeds: ['commit-failed', 'post-commit-failed', 'failed'],
        verdict: 'inconsistent',
      },
    },
  },

  // --- The way back: every step is attempted, whatever failed before it ------------------------------------------
  'rollback-check': {
    work: { kind: 'ask-supports-rollback' },
    next: {
      supported: 'rollback-enter',
      unsupported: [
        { to: 'end', when: 'not-failed', deeds: ['rollback-refused', 'failed'] },
        { to: 'failure-enter', deeds: ['no-rollback'] },
      ],
      failed: [
        { to: 'end', when: 'not-failed', deeds: ['rollback-refused', 'failed'] },
        { to: 'failure-enter', deeds: ['rollback-failed'] },
      ],
    },
  },
  'rollback-enter': {
    work: scripts('ArtifactRollback', 'Enter'),
    saves: 'ArtifactRollback_Enter',
    stop: 'ArtifactRollback_Enter',
    whenNotStored: 'proceed',
    next: { done: 'rollback', failed: { to: 'rollback', deeds: ROLLBACK_FAILED } },
  },
  rollback: {
    work: module('ArtifactRollback'),
    next: {
      done: { to: 'rollback-leave', deeds: ['rolled-back'] },
      failed: { to: 'rollback-leave', deeds: ROLLBACK_FAILED },
    },
  },
  'rollback-leave': {
    work: scripts('ArtifactRollback', 'Leave'),
    next: { done: 'failure-enter', failed: { to: 'failure-enter', deeds: ROLLBACK_FAILED } },
  },
  'failure-enter': {
    work: scripts('ArtifactFailure', 'Enter'),
    saves: 'ArtifactFailure_Enter',
    stop: 'ArtifactFailure_Enter',
    whenNotStored: 'proceed',
    next: { done: 'failure', failed: { to: 'failure', deeds: ROLLBACK_FAILED } },
  },
  failure: {
    work: module('ArtifactFailure'),
    next: { done: 'failure-leave', failed: { to: 'failure-leave', deeds: ROLLBACK_FAILED } },
  },
  'failure-leave': {
    work: scripts('ArtifactFailure', 'Leave'),
    next: {
      done: { to: 'cleanup', verdict: 'as-rolled-back' },
      failed: { to: 'cleanup', deeds: ROLLBACK_FAILED, verdict: 'as-rolled-back' },
    },
  },

  cleanup: {
    work: { kind: 'cleanup' },
    saves: 'Cleanup',
    stop: 'Cleanup',
    whenNotStored: 'proceed',
    next: {
      done: { to: 'end', deeds: ['cleaned'] },
      failed: { to: 'end', deeds: ['cleanup-failed', 'failed'] },
    },
  },
  end: { work: { kind: 'none' }, next: {} },
};

export interface RecordRow {
  readonly resumesAt: StandaloneStep;
  readonly mayCommit: boolean;
  readonly mayRollback: boolean;
  /**
   * Going on from here means that the work was interrupted and is given up: that itself is the failure of the
   * command, named by this deed. Mender reports success for such a resume; a script that reads the exit status
   * of `commit` or `resume` must not take a rolled back update for a committed one.
   */
  readonly interrupted?: Deed;
  /** For people: what the commands would do now. */
  readonly hint: string;
}

const RESUME = "'resume'";

/** What each command does with a record. Source: spec/update-flow.md section 9.2, the `InState` table. */
export const RECORD_FLOW: Readonly<Record<InState, RecordRow>> = {
  Before_ArtifactInstall_Enter: {
    resumesAt: 'before-install',
    mayCommit: false,
    mayRollback: true,
    hint: `Use ${RESUME} to install, or 'rollback' to give the update up.`,
  },
  ArtifactInstall_Enter: {
    resumesAt: 'rollback-check',
    mayCommit: false,
    mayRollback: true,
    interrupted: 'installation-failed',
    hint: `The installation was interrupted. Use ${RESUME} or 'rollback' to roll back.`,
  },
  Before_ArtifactCommit_Enter: {
    resumesAt: 'before-commit',
    mayCommit: true,
    mayRollback: true,
    hint: "Use 'commit' to update, or 'rollback' to roll back the update.",
  },
  ArtifactCommit_Enter: {
    resumesAt: 'rollback-check',
    mayCommit: true,
    mayRollback: true,
    interrupted: 'commit-failed',
    hint: `The commit was interrupted. Use ${RESUME} or 'rollback' to roll back.`,
  },
  Before_ArtifactCommit_Leave: {
    resumesAt: 'before-commit-leave',
    mayCommit: false,
    mayRollback: true,
    hint: `Use ${RESUME} to finish the commit.`,
  },
  ArtifactCommit_Leave: {
    resumesAt: 'commit-leave',
    mayCommit: false,
    mayRollback: false,
    hint: `Use ${RESUME} to finish the commit.`,
  },
  ArtifactRollback_Enter: {
    resumesAt: 'rollback-enter',
    mayCommit: false,
    mayRollback: true,
    hint: `Use ${RESUME} to finish the rollback.`,
  },
  ArtifactFailure_Enter: {
    resumesAt: 'failure-enter',
    mayCommit: false,
    mayRollback: false,
    hint: `Use ${RESUME} to finish the failed update.`,
  },
  Cleanup: {
    resumesAt: 'cleanup',
    mayCommit: false,
    mayRollback: false,
    hint: `Use ${RESUME} to clean up.`,
  },
};

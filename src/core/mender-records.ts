import type { HoldPoint } from './hold-point.ts';
import type { FlowStep } from './state.ts';

/**
 * What each `state` record of a Mender client means in this flow. The step named is the one that was INTERRUPTED; where
 * the flow goes on from there is the `restart` column of transition-table.ts, as after an interruption of our own.
 *
 * Source: spec/update-flow.md section 6.3 and spec/configuration.md section 3.3, with three readings of our own:
 *
 * - A 3.x client that waited at a gate wrote no record of the wait: the one of the step before it is in the store, and
 *   3.x itself fails such an update when it is restarted. Where the client's deployment log proves the wait, the gate is
 *   entered again (design/stories.md 20, design/compatibility.md "A wait"). Without proof nobody is believed to have
 *   finished what the record says was begun.
 * - A record that says less than the artifact name beside it: 3.x stores the name together with the record
 *   `update-commit`, so the new name there means that the commit is done (section 11, quirk 3), and later that the
 *   update is a success whatever was left to do (quirk 5, design/compatibility.md "Restart during the final report").
 * - 5.x fails an update with control maps that it finds in `reboot`, because it knows no maps. This service does.
 */
export interface MenderRecord {
  /** `forget`: nothing has been changed yet, the server offers the deployment again. */
  readonly interrupted: FlowStep | 'forget';
  /** The gate behind it, if the client is proved to have been at one; `by-reboot-need`: reboot gate or commit gate. */
  readonly gate?: FlowStep | 'by-reboot-need';
  /** When the artifact is known to be committed. */
  readonly committed?: FlowStep;
  /** The update had failed by then, or comes to an end as failed. */
  readonly hasFailed?: true;
  /** Gates that lay behind it. */
  readonly passed: readonly HoldPoint[];
  /** Only written by 3.x: in a record of 5.x it is an unknown name. */
  readonly isOnlyOf3?: true;
}

const DOWNLOADED: readonly HoldPoint[] = ['Download_Enter'];
const INSTALLED: readonly HoldPoint[] = [...DOWNLOADED, 'ArtifactInstall_Enter'];
const COMMITTED: readonly HoldPoint[] = [...INSTALLED, 'ArtifactCommit_Enter'];

const COMMIT_BEGUN: MenderRecord = { interrupted: 'commit', committed: 'commit-leave', passed: COMMITTED };
const AFTER_COMMIT: MenderRecord = {
  interrupted: 'commit-leave',
  committed: 'commit-leave',
  passed: COMMITTED,
};
const ROLLBACK_REBOOT: MenderRecord = {
  interrupted: 'verify-rollback-reboot',
  hasFailed: true,
  passed: INSTALLED,
};
const FINAL_REPORT: MenderRecord = {
  interrupted: 'report-failure',
  committed: 'report-success',
  hasFailed: true,
  passed: DOWNLOADED,
  isOnlyOf3: true,
};

export const MENDER_RECORDS: Readonly<Record<string, MenderRecord>> = {
  'update-fetch': { interrupted: 'forget', passed: [] },
  'status-report-error': { interrupted: 'forget', passed: [] },
  'update-store': { interrupted: 'download', passed: DOWNLOADED },
  'update-after-store': { interrupted: 'download-leave', gate: 'install-gate', passed: DOWNLOADED },
  'update-install': { interrupted: 'install', gate: 'by-reboot-need', passed: INSTALLED },
  reboot: { interrupted: 'reboot', gate: 'reboot-gate', passed: INSTALLED },
  'after-reboot': { interrupted: 'verify-reboot', gate: 'commit-gate', passed: INSTALLED },
  'update-commit': COMMIT_BEGUN,
  'update-pre-commit-status-report-retry': COMMIT_BEGUN,
  'update-after-first-commit': AFTER_COMMIT,
  'update-after-commit': AFTER_COMMIT,
  rollback: { interrupted: 'rollback-enter', hasFailed: true, passed: INSTALLED },
  'rollback-reboot': ROLLBACK_REBOOT,
  'verify-rollback-reboot': ROLLBACK_REBOOT,
  'after-rollback-reboot': ROLLBACK_REBOOT,
  'update-error': { interrupted: 'failure-enter', hasFailed: true, passed: INSTALLED },
  cleanup: {
    interrupted: 'cleanup-after-failure',
    committed: 'cleanup-after-success',
    hasFailed: true,
    passed: DOWNLOADED,
  },
  'update-status-report': FINAL_REPORT,
  'update-retry-report': FINAL_REPORT,
};

/** Every other name: what was under way is not known, so back if the module can, else inconsistent. */
export const UNKNOWN_RECORD: MenderRecord = {
  interrupted: 'rollback-check',
  hasFailed: true,
  passed: INSTALLED,
};

/** Steps that ask the module for the way back: impossible without a module. */
export const NEEDS_MODULE_FOR_ROLLBACK: readonly FlowStep[] = [
  'install',
  'verify-reboot',
  'commit',
  'rollback-check',
  'rollback-enter',
];

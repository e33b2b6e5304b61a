import {
  change,
  changeDeployment,
  changeSchedule,
  logDeployment,
  order,
  recordFailure,
  type Draft,
} from './draft.ts';
import {
  announceStart,
  finishDeployment,
  forgetMaps,
  forgetWhatIsOver,
  hasBegunInstalling,
  keepInconsistentName,
  letGoOfFinished,
  letGoOfOffer,
} from './deployment-end.ts';
import type { Failure } from './errors.ts';
import { progressAt } from './progress.ts';
import { applyProvides } from './provides.ts';
import type { FlowStep } from './state.ts';
import {
  FLOW,
  isFinalReport,
  type Condition,
  type Outcome,
  type Target,
  type Targets,
} from './transition-table.ts';
import { arriveAtGate, endWait, leaveGate, type GateResult } from './waiting.ts';

/** Walking the table: from a step and the outcome of its work to the next step and the work that it orders. */

/** Steps of one deployment that may be entered before it is taken for a loop: spec/update-flow.md section 6.4. */
export const LOOP_LIMIT = 28;

const CONDITIONS: Readonly<Record<Condition, (draft: Draft) => boolean>> = {
  'deployment-pending': ({ state }) => state.deployment !== null,
  'already-installed': ({ state }) =>
    state.deployment?.source === 'server' && state.deployment.announcedName === state.installed.artifactName,
  'payload-empty': ({ state }) => state.deployment?.artifact?.payloadType === null,
  'same-boot': ({ state, event }) => event.kind === 'ServiceStarted' && event.bootId === state.bootId,
  'has-rebooted': ({ state }) => state.deployment?.hasRebooted === true,
  'inventory-wanted': ({ state }) => state.schedule.isInventoryWanted,
};

export function choose(draft: Draft, targets: Targets): Target {
  const list = (Array.isArray(targets) ? targets : [targets]) as readonly (FlowStep | Target)[];
  for (const entry of list) {
    const target = typeof entry === 'string' ? { to: entry } : entry;
    if (target.when === undefined || CONDITIONS[target.when](draft)) return target;
  }
  // A test proves that every list ends with an unconditional target.
  throw new Error(`no target applies in ${draft.state.step}`);
}

/** Follows an outcome of the present step. An outcome the step does not have changes nothing. */
export function follow(draft: Draft, outcome: Outcome, failure: Failure | null): void {
  const row = FLOW[draft.state.step];
  const targets = row.next[outcome];
  if (targets === undefined) return;
  if (failure !== null) {
    if (row.isFailureIgnored) logDeployment(draft, 'warning', `${row.step}: ${failure.message}`);
    else recordFailure(draft, failure);
  }
  endWait(draft, 'aborted', {});
  leaveGate(draft);
  if (row.work.kind === 'download') order(draft, { kind: 'disarmTimer' });
  const target = choose(draft, targets);
  applyMark(draft, target, failure);
  enter(draft, target.to);
}

/** Goes where the decision at the present gate leads. */
export function followGate(draft: Draft, result: GateResult): void {
  const { next } = FLOW[draft.state.step];
  if (result === 'passed') follow(draft, 'done', null);
  if (result === 'refused') follow(draft, 'aborted', null);
  if (result === 'failed') follow(draft, next.failed === undefined ? 'aborted' : 'failed', null);
}

/**
 * Enters a step, and goes on through every step that has nothing to do. `isCounted`: a restart has counted it.
 * Only a restart enters the step that it comes from.
 */
export function enter(draft: Draft, to: FlowStep, isCounted = false): void {
  const from = draft.state.step;
  const step = FLOW[to].checkpoint === undefined || isCounted ? to : countCheckpoint(draft, to);
  const row = FLOW[step];
  change(draft, {
    step,
    workId: draft.state.workId + 1,
    attempts: 0,
    serial: draft.state.serial + 1,
    progress: row.progress
      ? progressAt(draft.state.progress, row.progress[0])
      : { ...draft.state.progress, step: -1 },
  });
  if (step === 'reboot' || step === 'verify-reboot') changeDeployment(draft, { hasRebooted: true });
  if (step === 'cleanup-after-failure') keepInconsistentName(draft);
  if (step === 'sync-enter' || step === 'idle-enter') forgetWhatIsOver(draft, step);
  // No script lets anybody through: it is for the schedules to ask again, and not at once.
  if (step === 'sync-error' && from === 'sync-enter') {
    changeSchedule(draft, { isCheckWanted: false, isInventoryWanted: false });
  }
  if (isBeginning(from, step)) announceStart(draft);
  if (isCleanup(from) && !isCleanup(step)) forgetMaps(draft);
  if (isFinalReport(step) && from !== step) finishDeployment(draft);
  if (step === 'idle-enter' && isFinalReport(from)) letGoOfFinished(draft);
  if (step === 'idle-enter' || step === 'sync-error') letGoOfOffer(draft);
  startWork(draft);
}

/** Orders the work of the present step; used again when a report is repeated. */
export function startWork(draft: Draft): void {
  const { state } = draft;
  const { work } = FLOW[state.step];
  const { workId, deployment } = state;
  switch (work.kind) {
    case 'none': {
      const { isCheckWanted, isInventoryWanted } = state.schedule;
      if (deployment !== null) follow(draft, 'install', null);
      else if (isInventoryWanted) follow(draft, 'inventory', null);
      else if (isCheckWanted) follow(draft, 'check', null);
      return;
    }
    case 'gate': {
      if (deployment === null) return;
      followGate(draft, arriveAtGate(draft, work.point));
      return;
    }
    case 'scripts':
      order(draft, {
        kind: 'runScripts',
        workId,
        family: work.family,
        action: work.action,
        runsAll: work.action === 'Error' || work.family === 'Idle',
      });
      return;
    case 'module':
      order(draft, {
        kind: 'runModule',
        workId,
        payloadType: deployment?.artifact?.payloadType ?? null,
        action: work.action,
      });
      return;
    case 'cleanup':
      order(draft, {
        kind: 'runModule',
        workId,
        payloadType: deployment?.artifact?.payloadType ?? null,
        action: 'Cleanup',
      });
      return;
    case 'reboot':
      if (deployment?.rebootNeed === 'Automatic') {
        const isPowerOff = work.action === 'ArtifactReboot' && deployment.rebootMode?.mode === 'poweroff';
        order(draft, { kind: 'rebootHost', workId, isPowerOff });
      } else {
        order(draft, {
          kind: 'runModule',
          workId,
          payloadType: deployment?.artifact?.payloadType ?? null,
          action: work.action,
        });
      }
      return;
    case 'ask-needs-reboot':
      order(draft, { kind: 'askNeedsReboot', workId, payloadType: deployment?.artifact?.payloadType ?? '' });
      return;
    case 'ask-supports-rollback':
      order(draft, {
        kind: 'askSupportsRollback',
        workId,
        payloadType: deployment?.artifact?.payloadType ?? '',
      });
      return;
    case 'download':
      if (deployment === null) return;
      order(draft, {
        kind: 'download',
        workId,
        location: deployment.location,
        // What was looked at, shown and perhaps agreed to is what has to come.
        requiredDigest: deployment.requiredDigest || (deployment.artifact?.digest ?? ''),
        announcedName: deployment.announcedName,
        installed: state.installed,
        isSuspended: deployment.pause !== null,
      });
      if (deployment.source === 'server') armAbortWatch(draft);
      return;
    case 'report':
      if (deployment?.source !== 'server') follow(draft, 'done', null);
      else {
        order(draft, {
          kind: 'reportStatus',
          workId,
          deploymentId: deployment.id,
          status: work.status,
          substate: '',
        });
      }
      return;
    case 'authorize':
      if (deployment?.source !== 'server') follow(draft, 'done', null);
      else order(draft, { kind: 'authorize', workId });
      return;
    case 'check-script-version':
      order(draft, { kind: 'checkScriptVersion', workId });
      return;
    case 'check-for-deployment':
      changeSchedule(draft, { isCheckWanted: false });
      order(draft, { kind: 'checkForDeployment', workId });
      return;
    case 'send-inventory':
      changeSchedule(draft, { isInventoryWanted: false });
      order(draft, { kind: 'sendInventory', workId });
      return;
  }
}

/**
 * A download takes long, and nothing else is said to the server meanwhile: the status is said again, which changes
 * nothing there (spec/server-api.md section 5) and brings a 409 once the deployment has been aborted.
 */
export function armAbortWatch(draft: Draft, retryAfterSeconds = 0): void {
  const { downloadReportSeconds } = draft.state.settings;
  if (downloadReportSeconds === 0) return;
  const delayMs = Math.max(downloadReportSeconds, retryAfterSeconds) * 1000;
  order(draft, { kind: 'armTimer', workId: draft.state.workId, delayMs });
}

/** Counts a step of the deployment; the step to enter instead once it is taken for a loop. */
export function countCheckpoint(draft: Draft, step: FlowStep): FlowStep {
  const deployment = draft.state.deployment;
  if (deployment === null) return step;
  changeDeployment(draft, { checkpointCount: deployment.checkpointCount + 1 });
  if (deployment.checkpointCount + 1 <= LOOP_LIMIT) return step;
  if (isFinalReport(step)) {
    logDeployment(draft, 'warning', 'The server could not be told the result: restarted in it too often');
    return 'idle-enter';
  }
  if (!deployment.hasHitLoopLimit) {
    recordFailure(draft, {
      name: 'Internal',
      message: `the update has gone through ${LOOP_LIMIT} steps without coming to an end`,
      details: { reason: 'loop-limit', step: FLOW[step].step },
    });
    changeDeployment(draft, {
      hasHitLoopLimit: true,
      isInconsistent: deployment.isInconsistent || hasBegunInstalling(deployment),
    });
    return 'cleanup-after-failure';
  }
  // Even the clean-up does not end: report it and be done (spec/update-flow.md section 11, quirk 9).
  return step === 'cleanup-after-failure' ? 'report-failure' : step;
}

/** Leaves the present step for one where the device counts as neither old nor new. */
export function spoil(draft: Draft, failure: Failure, to: FlowStep): void {
  applyMark(draft, { to, marks: 'spoils' }, failure);
  enter(draft, to);
}

function applyMark(draft: Draft, target: Target, failure: Failure | null): void {
  const { deployment, installed } = draft.state;
  if (target.marks === undefined || deployment === null) return;
  switch (target.marks) {
    case 'commits':
      changeDeployment(draft, { isCommitted: true });
      if (deployment.artifact) change(draft, { installed: applyProvides(installed, deployment.artifact) });
      return;
    case 'rolled-back':
      if (!deployment.isInconsistent) changeDeployment(draft, { isRolledBack: true });
      return;
    case 'spoils':
      changeDeployment(draft, { isInconsistent: true, isRolledBack: false });
      // What the user must know now is that the way back failed; why the update failed goes along.
      if (failure !== null && !deployment.isCommitted && deployment.failure?.name !== 'RollbackFailed') {
        const cause = deployment.failure ?? failure;
        changeDeployment(draft, {
          failure: {
            name: 'RollbackFailed',
            message: `${failure.message} (the update had failed because: ${cause.message})`,
            details: { ...failure.details, 'cause-name': cause.name, 'cause-message': cause.message },
          },
        });
      }
      return;
  }
}

function isCleanup(step: FlowStep): boolean {
  return FLOW[step].work.kind === 'cleanup';
}

/** Coming back to the first gate after a restart is not another beginning. */
function isBeginning(from: FlowStep, to: FlowStep): boolean {
  return (
    (to === 'download-gate' && FLOW[from].state !== 'Download') ||
    (to === 'report-already-installed' && from !== to) ||
    (to === 'report-failure' && FLOW[from].state === 'Sync')
  );
}

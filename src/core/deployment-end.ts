import { clearExpired, deleteMapsOf } from './control/map-pool.ts';
import { announce, change, changeDeployment, logDeployment, order, type Draft } from './draft.ts';
import { inconsistentName } from './provides.ts';
import { rememberEnd } from './set-aside.ts';
import {
  HISTORY_LIMIT,
  NO_PROGRESS,
  type Deployment,
  type FlowStep,
  type HistoryEntry,
  type Result,
  type UpdateState,
} from './state.ts';

/** What a deployment is announced with, what it comes to, and what goes with it. */

/** Source: spec/update-flow.md section 6.5, C: new name with suffix, group as well, old provides kept. */
export function keepInconsistentName(draft: Draft): void {
  const { deployment, installed } = draft.state;
  if (!deployment?.isInconsistent || !deployment.artifact) return;
  change(draft, {
    installed: {
      ...installed,
      artifactName: inconsistentName(deployment.artifact.artifactName),
      artifactGroup: deployment.artifact.artifactGroup || installed.artifactGroup,
    },
  });
}

export function announceStart(draft: Draft): void {
  const { deployment } = draft.state;
  if (deployment === null) return;
  order(draft, { kind: 'openDeploymentLog', deploymentId: deployment.id });
  logDeployment(draft, 'info', `Deployment ${deployment.id} started`);
  announce(draft, {
    kind: 'DeploymentStarted',
    deploymentId: deployment.id,
    details: {
      source: deployment.source,
      'artifact-name': deployment.artifact?.artifactName ?? deployment.announcedName,
      'initiator-uid': deployment.initiatorUid,
    },
  });
}

export function resultOf(deployment: Deployment): Result {
  if (deployment.isInconsistent) return 'inconsistent';
  if (deployment.failure === null) return 'success';
  if (deployment.endRequest?.kind === 'abort' || deployment.failure.name === 'AbortedByServer')
    return 'aborted';
  return deployment.isRolledBack ? 'rolled-back' : 'failure';
}

/** The result is final before the server hears of it; it is in the history exactly once. */
export function finishDeployment(draft: Draft): void {
  const { deployment, history, progress } = draft.state;
  if (deployment === null) return;
  // Restarts while the server is being told are counted afresh: they can end the report, not change the result.
  changeDeployment(draft, { checkpointCount: 0 });
  const entry = historyEntry(deployment, draft.event.at.wallMs);
  change(draft, {
    history: [entry, ...history].slice(0, HISTORY_LIMIT),
    progress:
      entry.result === 'success' ? { ...progress, overall: 100, step: -1 } : { ...progress, step: -1 },
  });
  rememberEnd(draft, deployment, hasBegunInstalling(deployment));
  logDeployment(draft, entry.result === 'success' ? 'info' : 'error', `Deployment finished: ${entry.result}`);
  announce(draft, {
    kind: 'DeploymentFinished',
    deploymentId: deployment.id,
    result: entry.result,
    errorName: entry.failure?.name ?? '',
    details: entry.failure?.details ?? {},
  });
}

function historyEntry(deployment: Deployment, finishedWallMs: number): HistoryEntry {
  return {
    deploymentId: deployment.id,
    source: deployment.source,
    artifactName: deployment.artifact?.artifactName ?? deployment.announcedName,
    digest: deployment.artifact?.digest ?? '',
    result: resultOf(deployment),
    failure: deployment.failure,
    startedWallMs: deployment.startedWallMs,
    finishedWallMs,
    initiatorUid: deployment.initiatorUid,
    consents: deployment.consents,
    passages: deployment.passages,
    decisions: deployment.decisions,
  };
}

/** Source: spec/update-control.md section 3.3; expired maps go at every poll (design/compatibility.md). */
export function forgetWhatIsOver(draft: Draft, step: FlowStep): void {
  const controlMaps = clearExpired(draft.state.controlMaps);
  if (controlMaps.length !== draft.state.controlMaps.length) change(draft, { controlMaps });
  // Between two deployments: what was meant for the one that is over, or has waited in vain for its point.
  if (step === 'idle-enter' && draft.state.deployment === null) forgetHolds(draft);
}

function forgetHolds(draft: Draft): void {
  const { holds } = draft.state;
  const isOver = ({ isExpired, deploymentId }: UpdateState['holds'][number]): boolean =>
    isExpired || (deploymentId !== '' && deploymentId === draft.state.deployment?.id);
  if (holds.some(isOver)) change(draft, { holds: holds.filter((hold) => !isOver(hold)) });
}

/** A deployment's maps end with its clean-up: spec/update-control.md section 3.3. */
export function forgetMaps(draft: Draft): void {
  const { deployment, controlMaps } = draft.state;
  if (deployment === null) return;
  const left = deleteMapsOf(controlMaps, deployment.id);
  if (left.length !== controlMaps.length) change(draft, { controlMaps: left });
}

export function letGoOfFinished(draft: Draft): void {
  if (draft.state.deployment === null) return;
  forgetHolds(draft);
  change(draft, { deployment: null });
  order(draft, { kind: 'closeDeploymentLog' });
}

/** An offer that was not taken up is forgotten: the server makes it again, with a fresh link. */
export function letGoOfOffer(draft: Draft): void {
  if (draft.state.deployment?.source !== 'server') return;
  change(draft, { deployment: null, progress: NO_PROGRESS });
  order(draft, { kind: 'closeDeploymentLog' });
}

/** Committed, and nothing else happens until the store knows of it. */
export function isWaitingForStore({ step, attempts }: UpdateState): boolean {
  return step === 'cleanup-after-success' && attempts > 0;
}

export function hasBegunInstalling({ passages }: Deployment): boolean {
  return passages.some(({ point }) => point === 'ArtifactInstall_Enter');
}

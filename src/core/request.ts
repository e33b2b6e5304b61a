import { change, changeDeployment, logDeployment, order, recordFailure, type Draft } from './draft.ts';
import type { Failure } from './errors.ts';
import type { EventBody } from './event.ts';
import { progressStarted } from './progress.ts';
import { NO_PROGRESS, type Deployment, type EndRequest } from './state.ts';
import { FLOW, isFinalReport } from './transition-table.ts';
import { endWait, reconsiderWait } from './waiting.ts';
import { follow } from './walk.ts';

/**
 * What people and programs on the device ask for. Whether it is allowed was decided before (command.ts); a request
 * that does not fit, doubled or replayed, changes nothing.
 */

export function install(draft: Draft, event: Extract<EventBody, { kind: 'InstallRequested' }>): void {
  // Anything else was refused by decide(); a replayed or doubled request must not disturb what is under way.
  if (draft.state.deployment !== null) return;
  if (draft.state.step !== 'idle' && draft.state.step !== 'idle-enter') return;
  startDeployment(draft, {
    id: event.deploymentId,
    source: 'local',
    location: event.location,
    announcedName: '',
    requiredDigest: event.requiredDigest,
    initiatorUid: event.uid,
    artifact: event.artifact,
    sizeBytes: event.sizeBytes,
  });
  if (draft.state.step === 'idle') follow(draft, 'install', null);
}

export function startDeployment(
  draft: Draft,
  facts: Pick<
    Deployment,
    | 'id'
    | 'source'
    | 'location'
    | 'announcedName'
    | 'requiredDigest'
    | 'initiatorUid'
    | 'artifact'
    | 'sizeBytes'
  >,
): void {
  change(draft, {
    serial: draft.state.serial + 1,
    progress: facts.sizeBytes >= 0 ? progressStarted(facts.sizeBytes) : { ...NO_PROGRESS, overall: 0 },
    deployment: {
      ...facts,
      startedWallMs: draft.event.at.wallMs,
      rebootNeed: 'unknown',
      hasRebooted: false,
      isCommitted: false,
      isRolledBack: false,
      isInconsistent: false,
      failure: null,
      endRequest: null,
      pause: null,
      consents: [],
      passages: [],
      carriedWait: null,
      checkpointCount: 0,
      hasHitLoopLimit: false,
    },
  });
}

export function giveConsent(draft: Draft, event: Extract<EventBody, { kind: 'ContinueGiven' }>): void {
  const { wait, deployment } = draft.state;
  if (wait === null || deployment === null || wait.ticket !== event.ticket) return;
  const digest = deployment.artifact?.digest ?? '';
  const others = deployment.consents.filter(
    (consent) => consent.point !== wait.point || consent.digest !== digest,
  );
  changeDeployment(draft, {
    consents: [
      ...others,
      {
        point: wait.point,
        digest,
        uid: event.uid,
        atWallMs: draft.event.at.wallMs,
        comment: event.comment,
      },
    ],
  });
  logDeployment(draft, 'info', `Continue at ${wait.point} by uid ${event.uid}`);
  lookAgain(draft, { uid: event.uid });
}

/** Looks at the present wait again, if any, and goes where the answer leads. */
export function lookAgain(draft: Draft, by: { readonly uid: number } | null): void {
  if (draft.state.wait === null) return;
  const result = reconsiderWait(draft, by);
  if (result === 'passed') follow(draft, 'done', null);
  if (result === 'refused') follow(draft, 'aborted', null);
}

export function end(draft: Draft, request: EndRequest): void {
  const row = FLOW[draft.state.step];
  const way = request.kind === 'abort' ? row.abort : row.rollback;
  if (way === undefined || draft.state.deployment === null) return;
  if (draft.state.deployment.endRequest !== null) return;
  changeDeployment(draft, { endRequest: request });
  const failure: Failure = {
    name: 'AbortedByUser',
    message: `${request.kind} requested by uid ${request.uid}${request.reason === '' ? '' : `: ${request.reason}`}`,
    details: { request: request.kind, uid: request.uid, reason: request.reason, step: row.step },
  };
  recordFailure(draft, failure);
  change(draft, { serial: draft.state.serial + 1 });
  if (way === 'cancel') {
    order(draft, { kind: 'cancelWork' });
    return;
  }
  if (draft.state.wait === null) order(draft, { kind: 'cancelWork' });
  endWait(draft, 'aborted', { 'by-uid': request.uid });
  follow(draft, 'aborted', null);
}

export function pause(draft: Draft, uid: number): void {
  const { deployment, step } = draft.state;
  if (deployment === null || deployment.pause !== null || isFinalReport(step)) return;
  changeDeployment(draft, { pause: { uid, sinceWallMs: draft.event.at.wallMs } });
  change(draft, { serial: draft.state.serial + 1 });
  logDeployment(draft, 'info', `Paused by uid ${uid}`);
  if (step === 'download') order(draft, { kind: 'suspendDownload' });
  lookAgain(draft, null);
}

export function resume(draft: Draft): void {
  const { deployment, step } = draft.state;
  if (deployment === null || deployment.pause === null || isFinalReport(step)) return;
  changeDeployment(draft, { pause: null });
  change(draft, { serial: draft.state.serial + 1 });
  logDeployment(draft, 'info', 'Resumed');
  if (step === 'download') order(draft, { kind: 'resumeDownload' });
  lookAgain(draft, null);
}

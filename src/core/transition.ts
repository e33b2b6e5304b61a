import {
  announce,
  change,
  changeDeployment,
  logDeployment,
  order,
  recordFailure,
  type Draft,
} from './draft.ts';
import type { Effect } from './effect.ts';
import type { Failure } from './errors.ts';
import type { EventBody, UpdateEvent } from './event.ts';
import { progressDownloaded, progressStarted } from './progress.ts';
import { restart } from './restart.ts';
import { retryDelayMs } from './retry.ts';
import { NO_PROGRESS, type Deployment, type EndRequest, type FlowStep, type UpdateState } from './state.ts';
import { FLOW, type Outcome } from './transition-table.ts';
import { endWait, reconsiderWait } from './waiting.ts';
import { follow, startWork } from './walk.ts';

/**
 * Theory of operation. Something happens (an event), the flow moves (this function), work is ordered (effects),
 * and the outcome of that work is a new event. The function does no I/O, reads no clock and never throws; time
 * and random values come with the event. Which step follows which is data: transition-table.ts. Work carries a
 * `workId`; an outcome with another id belongs to work that nobody waits for any more, and changes nothing.
 *
 * The caller stores the new state, then publishes it, then carries out the effects, in that order: after a power
 * cut the device goes on from a state whose work may be repeated, never from one it did not know it had entered.
 */
export interface Transition {
  readonly state: UpdateState;
  readonly effects: readonly Effect[];
}

export function transition(state: UpdateState, event: UpdateEvent): Transition {
  const draft: Draft = { state, effects: [], event };
  apply(draft, event);
  if (hasMoved(state, draft.state)) announce(draft, { kind: 'StateChanged' });
  return { state: draft.state, effects: draft.effects };
}

/** Whether the new state must be on disk before it is acted on. Idle polling and progress figures are not. */
export function needsSaving(before: UpdateState, after: UpdateState): boolean {
  return (
    before.installed !== after.installed ||
    before.updatesSwitch !== after.updatesSwitch ||
    before.deployment !== after.deployment ||
    before.wait !== after.wait ||
    before.history !== after.history ||
    before.bootId !== after.bootId ||
    (after.deployment !== null && before.step !== after.step)
  );
}

function hasMoved(before: UpdateState, after: UpdateState): boolean {
  return (
    before.step !== after.step || (before.deployment?.id ?? '') !== (after.deployment?.id ?? '')
  );
}

function apply(draft: Draft, event: EventBody): void {
  if ('workId' in event && event.workId !== draft.state.workId) return;
  switch (event.kind) {
    case 'ServiceStarted':
      restart(draft, event);
      return;
    case 'ScriptsFinished':
    case 'ModuleFinished':
    case 'DownloadFinished':
    case 'AuthorizationFinished':
    case 'ScriptVersionChecked':
      finishWork(draft, event.failure === null ? 'done' : 'failed', event.failure);
      return;
    case 'QuestionFailed':
    case 'HostRebootFailed':
      finishWork(draft, 'failed', event.failure);
      return;
    case 'RebootNeedAnswered':
      changeDeployment(draft, { rebootNeed: event.answer });
      finishWork(draft, event.answer === 'No' ? 'no-reboot' : 'reboot', null);
      return;
    case 'RollbackSupportAnswered':
      finishWork(draft, event.isSupported ? 'supported' : 'unsupported', null);
      return;
    case 'ArtifactVerified':
      if (draft.state.step !== 'download') return;
      changeDeployment(draft, { artifact: event.artifact, sizeBytes: event.sizeBytes });
      change(draft, {
        serial: draft.state.serial + 1,
        progress: { ...draft.state.progress, sizeBytes: event.sizeBytes },
      });
      return;
    case 'DownloadProgressed':
      if (draft.state.step !== 'download') return;
      change(draft, {
        progress: progressDownloaded(
          draft.state.progress,
          event.downloadedBytes,
          draft.event.at.bootMs,
          FLOW.download.progress ?? [0, 0],
        ),
      });
      return;
    case 'StatusReported':
      finishReport(draft, event);
      return;
    case 'DeploymentCheckFinished':
      finishCheck(draft, event);
      return;
    case 'TimerFired':
      fireTimer(draft);
      return;
    case 'SaveFailed':
      failToSave(draft, event.failure);
      return;
    case 'CheckRequested':
      if (draft.state.step === 'idle') follow(draft, 'check', null);
      return;
    case 'InstallRequested':
      install(draft, event);
      return;
    case 'ContinueGiven':
      giveConsent(draft, event);
      return;
    case 'AbortRequested':
      end(draft, { kind: 'abort', uid: event.uid, reason: event.reason });
      return;
    case 'RollbackRequested':
      end(draft, { kind: 'rollback', uid: event.uid, reason: event.reason });
      return;
    case 'PauseRequested':
      pause(draft, event.uid);
      return;
    case 'ResumeRequested':
      resume(draft);
      return;
    case 'UpdatesSwitched':
      change(draft, { updatesSwitch: event.isEnabled, serial: draft.state.serial + 1 });
      lookAgain(draft, null);
      return;
  }
}

/** The outcome of the present work; a deployment that somebody has ended fails whatever its work came to. */
function finishWork(draft: Draft, outcome: Outcome, failure: Failure | null): void {
  const row = FLOW[draft.state.step];
  const request = draft.state.deployment?.endRequest;
  const isEnded = request && (request.kind === 'abort' ? row.abort : row.rollback) === 'cancel';
  follow(
    draft,
    isEnded && row.next.failed !== undefined ? 'failed' : outcome,
    failure && preciseFailure(draft.state.step, failure),
  );
}

/** What a failing module means depends on where the update was. */
function preciseFailure(step: FlowStep, failure: Failure): Failure {
  const { failsAs } = FLOW[step];
  if (step === 'commit-reverify') {
    return {
      name: 'Reboot',
      message: `rebooted while waiting for the commit, and the new version does not run any more: ${failure.message}`,
      details: { ...failure.details, reason: 'rebooted-while-uncommitted' },
    };
  }
  return failure.name === 'UpdateModule' && failsAs ? { ...failure, name: failsAs } : failure;
}

function finishReport(draft: Draft, event: Extract<EventBody, { kind: 'StatusReported' }>): void {
  const { work } = FLOW[draft.state.step];
  if (event.outcome === 'aborted') {
    const failure: Failure = {
      name: 'AbortedByServer',
      message: 'the server has ended the deployment',
      details: { step: FLOW[draft.state.step].step },
    };
    if (work.kind === 'gate' || work.kind === 'report') follow(draft, 'aborted', failure);
    return;
  }
  if (work.kind !== 'report') return;
  if (event.outcome === 'accepted' || work.delivery === 'best-effort') {
    follow(draft, 'done', null);
    return;
  }
  const attempts = draft.state.attempts + 1;
  const { retryPollIntervalSeconds, retryPollCount } = draft.state.settings;
  const delayMs = retryDelayMs(attempts, {
    maxIntervalSeconds: retryPollIntervalSeconds,
    maxTries: retryPollCount,
  });
  if (delayMs === null) {
    follow(draft, 'undelivered', {
      name: 'Commit',
      message: `the server could not be told "${work.status}" in ${attempts} attempts`,
      details: { status: work.status, attempts, reason: 'server-unreachable' },
    });
    return;
  }
  change(draft, { attempts });
  order(draft, {
    kind: 'armTimer',
    workId: draft.state.workId,
    delayMs: Math.max(delayMs, event.retryAfterSeconds * 1000),
  });
}

function finishCheck(draft: Draft, event: Extract<EventBody, { kind: 'DeploymentCheckFinished' }>): void {
  if (draft.state.step !== 'sync') return;
  const { offer, failure } = event;
  change(draft, { lastCheckWallMs: draft.event.at.wallMs, serial: draft.state.serial + 1 });
  if (failure !== null) {
    announce(draft, { kind: 'CheckFinished', result: 'failed', errorName: failure.name });
    follow(draft, 'failed', failure);
    return;
  }
  // What a person has ended does not come back until the server offers something else.
  const wasEnded =
    offer !== null &&
    draft.state.history.some(
      ({ deploymentId, result }) => deploymentId === offer.deploymentId && result === 'aborted',
    );
  if (offer === null || wasEnded) {
    announce(draft, { kind: 'CheckFinished', result: 'up-to-date', errorName: '' });
    follow(draft, 'done', null);
    return;
  }
  announce(draft, { kind: 'CheckFinished', result: 'update-found', errorName: '' });
  startDeployment(draft, {
    id: offer.deploymentId,
    source: 'server',
    location: offer.location,
    announcedName: offer.artifactName,
    requiredDigest: '',
    initiatorUid: -1,
    artifact: null,
    sizeBytes: -1,
  });
  follow(draft, 'offered', null);
}

function install(draft: Draft, event: Extract<EventBody, { kind: 'InstallRequested' }>): void {
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

function startDeployment(
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

function giveConsent(draft: Draft, event: Extract<EventBody, { kind: 'ContinueGiven' }>): void {
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
function lookAgain(draft: Draft, by: { readonly uid: number } | null): void {
  if (draft.state.wait === null) return;
  const result = reconsiderWait(draft, by);
  if (result === 'passed') follow(draft, 'done', null);
  if (result === 'refused') follow(draft, 'aborted', null);
}

function end(draft: Draft, request: EndRequest): void {
  const row = FLOW[draft.state.step];
  const way = request.kind === 'abort' ? row.abort : row.rollback;
  if (way === undefined || draft.state.deployment === null) return;
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

function pause(draft: Draft, uid: number): void {
  const { deployment } = draft.state;
  if (deployment === null || deployment.pause !== null) return;
  changeDeployment(draft, { pause: { uid, sinceWallMs: draft.event.at.wallMs } });
  change(draft, { serial: draft.state.serial + 1 });
  logDeployment(draft, 'info', `Paused by uid ${uid}`);
  if (draft.state.step === 'download') order(draft, { kind: 'suspendDownload' });
  lookAgain(draft, null);
}

function resume(draft: Draft): void {
  if (draft.state.deployment?.pause == null) return;
  changeDeployment(draft, { pause: null });
  change(draft, { serial: draft.state.serial + 1 });
  logDeployment(draft, 'info', 'Resumed');
  if (draft.state.step === 'download') order(draft, { kind: 'resumeDownload' });
  lookAgain(draft, null);
}

function fireTimer(draft: Draft): void {
  const { work } = FLOW[draft.state.step];
  if (work.kind === 'gate') lookAgain(draft, null);
  else if (work.kind === 'report') startWork(draft);
}

/** Without a record there is no going on, except on the way back, which must not depend on the disk. */
function failToSave(draft: Draft, failure: Failure): void {
  const row = FLOW[draft.state.step];
  if (draft.state.deployment === null || row.whenNotStored === 'proceed') return;
  recordFailure(draft, failure);
  follow(draft, row.next.failed === undefined ? 'aborted' : 'failed', null);
}

import {
  announce,
  change,
  changeSchedule,
  logDeployment,
  order,
  recordFailure,
  type Draft,
} from './draft.ts';
import type { Failure } from './errors.ts';
import { deleteMapsOf } from './control/map-pool.ts';
import type { EventBody } from './event.ts';
import { linkTroubleOf } from './link-trouble.ts';
import { startDeployment } from './request.ts';
import { postponeTelling } from './pause-report.ts';
import { retryDelayMs } from './retry.ts';
import { announceSetAside, forgetOffers, judgeOffer } from './set-aside.ts';
import type { FlowStep } from './state.ts';
import { FLOW, type Outcome } from './transition-table.ts';
import { insertServerMap, type GivenMap, type ServerMapOutcome } from './server-map.ts';
import { armAbortWatch, follow } from './walk.ts';

/** What the work of a step has come to, as an outcome in the table. */

/** The outcome of the present work; a deployment that somebody has ended fails whatever its work came to. */
export function finishWork(draft: Draft, outcome: Outcome, failure: Failure | null): void {
  const row = FLOW[draft.state.step];
  const request = draft.state.deployment?.endRequest;
  const isEnded = request && (request.kind === 'abort' ? row.abort : row.rollback) === 'cancel';
  if (draft.state.step === 'sync-enter' && failure !== null) {
    // Whoever asked for the check is told that there was none.
    announce(draft, { kind: 'CheckFinished', result: 'failed', errorName: failure.name });
  }
  follow(
    draft,
    isEnded && row.next.failed !== undefined ? 'failed' : outcome,
    failure && preciseFailure(draft.state.step, failure),
  );
}

export function finishDownload(draft: Draft, failure: Failure | null): void {
  const isVerified = draft.state.deployment?.artifact != null;
  const unverified: Failure = {
    name: 'Internal',
    message: 'the download has ended without an artifact having been verified',
    details: {},
  };
  // Ended by the server in the moment it was complete.
  const endedAs = draft.state.deployment?.failure ?? null;
  const reason = failure ?? endedAs ?? (isVerified ? null : unverified);
  finishWork(draft, reason === null ? 'done' : 'failed', reason);
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

export function finishReport(draft: Draft, event: Extract<EventBody, { kind: 'StatusReported' }>): void {
  const { work, step } = FLOW[draft.state.step];
  if (work.kind === 'gate' && work.pauseStatus === null) return;
  if (work.kind === 'download') {
    finishAbortWatch(draft, event);
    return;
  }
  if (event.outcome === 'aborted') {
    follow(draft, 'aborted', abortedByServer(step));
    return;
  }
  if (work.kind === 'gate') postponeTelling(draft, event.retryAfterSeconds);
  if (work.kind !== 'report') return;
  if (event.outcome === 'accepted' || work.delivery === 'best-effort') {
    follow(draft, 'done', null);
    return;
  }
  if (tryAgainLater(draft, event.retryAfterSeconds)) return;
  const attempts = draft.state.attempts + 1;
  if (event.isLinkDown === true && mayCommitOffline(draft, attempts)) return;
  follow(draft, 'undelivered', {
    name: 'Commit',
    message: `the server could not be told "${work.status}" in ${attempts} attempts`,
    details: { status: work.status, attempts, reason: 'server-unreachable' },
  });
}

function abortedByServer(step: string): Failure {
  return { name: 'AbortedByServer', message: 'the server has ended the deployment', details: { step } };
}

/** In the middle of a download: whether the server still wants it. */
export function askForAbort(draft: Draft): void {
  const { deployment, workId } = draft.state;
  if (deployment?.source !== 'server') return;
  const { id: deploymentId } = deployment;
  change(draft, { attempts: draft.state.attempts + 1 });
  order(draft, { kind: 'reportStatus', workId, deploymentId, status: 'downloading', substate: '' });
}

/** The outcome of the download itself ends the step: the work is over when nothing of it runs any more. */
function finishAbortWatch(draft: Draft, event: Extract<EventBody, { kind: 'StatusReported' }>): void {
  change(draft, { attempts: 0 });
  if (event.outcome === 'aborted') {
    recordFailure(draft, abortedByServer(FLOW.download.step));
    order(draft, { kind: 'cancelWork' });
  } else armAbortWatch(draft, event.retryAfterSeconds);
}

/** As patient as the report behind it: after a reboot the network may take its time. */
export function finishAuthorization(draft: Draft, failure: Failure | null): void {
  if (failure === null) {
    follow(draft, 'done', null);
    return;
  }
  if (tryAgainLater(draft, Number(failure.details['retry-after-seconds'] ?? 0))) return;
  const attempts = draft.state.attempts + 1;
  if (linkTroubleOf(failure) !== 'none' && mayCommitOffline(draft, attempts)) return;
  follow(draft, 'failed', {
    name: 'Commit',
    message: `the server did not authorize the device in ${attempts} attempts: ${failure.message}`,
    details: { ...failure.details, attempts, reason: 'server-unreachable' },
  });
}

/** A server that answers, whatever it says, is no server that is away (design/faults.md R35). */
function mayCommitOffline(draft: Draft, attempts: number): boolean {
  const isPossible = FLOW[draft.state.step].next.offline !== undefined;
  if (!draft.state.settings.isOfflineCommitAllowed || !isPossible) return false;
  logDeployment(
    draft,
    'warning',
    `The server could not be reached in ${attempts} attempts; committing without it, as OfflineCommit allows`,
  );
  follow(draft, 'offline', null);
  return true;
}

/** Arms the timer for the next attempt at the present work; false = enough attempts have been made. */
function tryAgainLater(draft: Draft, retryAfterSeconds: number): boolean {
  const attempts = draft.state.attempts + 1;
  const { retryPollIntervalSeconds, retryPollCount } = draft.state.settings;
  const delayMs = retryDelayMs(
    attempts,
    { maxIntervalSeconds: retryPollIntervalSeconds, maxRetries: retryPollCount },
    retryAfterSeconds,
  );
  if (delayMs === null) return false;
  change(draft, { attempts });
  order(draft, { kind: 'armTimer', workId: draft.state.workId, delayMs });
  return true;
}

export function finishCheck(
  draft: Draft,
  event: Extract<EventBody, { kind: 'DeploymentCheckFinished' }>,
): void {
  const { offer, failure } = event;
  changeSchedule(draft, {
    linkTrouble: linkTroubleOf(failure),
    // An answer to a question with our token: whatever went wrong at the last authentication is over.
    ...(failure === null && { serverStanding: 'authorized' }),
  });
  change(draft, { lastCheckWallMs: draft.event.at.wallMs, serial: draft.state.serial + 1 });
  if (failure !== null) {
    announce(draft, { kind: 'CheckFinished', result: 'failed', errorName: failure.name });
    follow(draft, 'failed', failure);
    return;
  }
  if (offer === null) forgetOffers(draft);
  const verdict = offer === null ? 'refused' : judgeOffer(draft, offer);
  if (offer === null || verdict !== 'taken') {
    if (offer !== null && verdict === 'set-aside') announceSetAside(draft, offer);
    else announce(draft, { kind: 'CheckFinished', result: 'up-to-date', errorName: '' });
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
  const { deploymentId, controlMapText: text = null, mapReleasesText } = offer;
  const mapFailure = takeOfferedMap(
    draft,
    deploymentId,
    text === null ? null : { text, ...(mapReleasesText !== undefined && { mapReleasesText }) },
  );
  if (mapFailure === null) {
    follow(draft, 'offered', null);
    return;
  }
  // As Mender: reported at once, without any script or module. `isFailureIgnored` is for checks that fail.
  recordFailure(draft, mapFailure);
  follow(draft, 'aborted', null);
}

/** Source: spec/update-control.md section 6. */
function takeOfferedMap(draft: Draft, deploymentId: string, given: GivenMap | null): Failure | null {
  const outcome: ServerMapOutcome =
    given === null ? { kind: 'none' } : insertServerMap(draft, deploymentId, given);
  if (outcome.kind === 'refused') {
    return {
      name: 'ControlMap',
      message: `the server's control map: ${outcome.message}`,
      details: { reason: 'invalid-map' },
    };
  }
  change(draft, {
    controlMaps: outcome.kind === 'pool' ? outcome.pool : deleteMapsOf(draft.state.controlMaps, deploymentId),
  });
  return null;
}

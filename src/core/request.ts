import { withoutOwnAt, withoutPausesAt } from './control/hold.ts';
import { change, changeDeployment, logDeployment, order, recordFailure, type Draft } from './draft.ts';
import type { Failure } from './errors.ts';
import type { Caller, EventBody } from './event.ts';
import { progressStarted } from './progress.ts';
import { recordDecision } from './proof.ts';
import { NO_PROGRESS, NOBODY_HAS_DECIDED, type Deployment, type EndRequest } from './state.ts';
import { FLOW, isFinalReport } from './transition-table.ts';
import { endSnooze, waitedMs } from './wait-time.ts';
import { announceEnd, endWait, reconsiderGate, type Cause } from './waiting.ts';
import { follow, followGate } from './walk.ts';

/**
 * What people and programs on the device ask for. Whether it is allowed was decided before (command.ts); a request
 * that does not fit, doubled or replayed, changes nothing.
 */
type Event<K extends EventBody['kind']> = Extract<EventBody, { kind: K }>;

export function install(draft: Draft, event: Event<'InstallRequested'>): void {
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
      ...NOBODY_HAS_DECIDED,
      startedWallMs: draft.event.at.wallMs,
      rebootNeed: 'unknown',
      hasRebooted: false,
      isCommitted: false,
      isRolledBack: false,
      isInconsistent: false,
      failure: null,
      endRequest: null,
      pause: null,
      carriedWait: null,
      checkpointCount: 0,
      hasHitLoopLimit: false,
    },
  });
}

/** A yes: the consent, the caller's own bound holds at the point, and what else was agreed to. */
export function giveConsent(draft: Draft, event: Event<'ContinueGiven'>): void {
  const { wait, deployment } = draft.state;
  if (wait === null || deployment === null || wait.ticket !== event.ticket) return;
  const { point } = wait;
  const digest = deployment.artifact?.digest ?? '';
  const { uid, comment } = event;
  const app = event.app ?? '';
  const { wallMs: atWallMs } = draft.event.at;
  const isOther = (one: { readonly point: string; readonly digest: string }): boolean =>
    one.point !== point || one.digest !== digest;
  changeDeployment(draft, {
    consents: [...deployment.consents.filter(isOther), { point, digest, uid, atWallMs, comment, app }],
    waivers:
      event.waiver == null
        ? deployment.waivers
        : [
            // The same said again by anybody is said once: the list must not grow with every click.
            ...deployment.waivers.filter((one) => isOther(one) || one.kind !== event.waiver),
            { kind: event.waiver, point, digest, uid, atWallMs },
          ],
    // The last word counts, also when it is a plain Continue after "I shall reboot".
    ...(point === 'ArtifactReboot_Enter' && {
      rebootMode: event.rebootMode == null ? null : { mode: event.rebootMode, uid },
    }),
  });
  const isOverride = event.waiver === 'override';
  const { holds } = draft.state;
  change(draft, {
    wait: { ...wait, isContinued: true },
    holds: isOverride ? withoutPausesAt(holds, point) : withoutOwnAt(holds, event.connection ?? '', point),
  });
  recordDecision(draft, event.waiver ?? 'consent', event, { point, comment });
  logDeployment(
    draft,
    isOverride ? 'warning' : 'info',
    `${CONSENT_WORDS[event.waiver ?? 'consent']} at ${point} by uid ${uid}`,
  );
  lookAgain(draft, { kind: 'person', uid, app });
}

const CONSENT_WORDS = { consent: 'Continue', now: 'Continue now', override: 'Override' } as const;

/** Not now: the ticket is dead, the wait goes on, and the question comes again with a new ticket. */
export function snooze(draft: Draft, event: Event<'SnoozeGiven'>): void {
  const { wait, deployment } = draft.state;
  if (wait === null || deployment === null || wait.ticket !== event.ticket) return;
  const nowWaitedMs = waitedMs(wait, draft.event.at.bootMs);
  const forMs = event.seconds * 1000;
  const { count, totalMs } = deployment.snoozes;
  changeDeployment(draft, {
    snoozes: {
      count: count + 1,
      totalMs: totalMs + forMs,
      active: {
        point: wait.point,
        uid: event.uid,
        app: event.app ?? '',
        ticket: wait.ticket,
        sinceWallMs: draft.event.at.wallMs,
        sinceWaitedMs: nowWaitedMs,
        untilWaitedMs: nowWaitedMs + forMs,
      },
    },
  });
  announceEnd(draft, wait, 'snoozed', {
    'by-uid': event.uid,
    'by-app': event.app ?? '',
    seconds: event.seconds,
  });
  change(draft, { wait: { ...wait, ticket: '' } });
  recordDecision(draft, 'postponement', event, { point: wait.point, seconds: event.seconds });
  logDeployment(draft, 'info', `Snoozed at ${wait.point} for ${event.seconds} s by uid ${event.uid}`);
  lookAgain(draft, null);
}

/** Asked again before the snooze is over; what is left of it may be used another time. */
export function unsnooze(draft: Draft, event: Event<'SnoozeEndRequested'>): void {
  const { wait, deployment } = draft.state;
  const active = deployment?.snoozes.active;
  if (!wait || !deployment || !active || active.point !== wait.point) return;
  const nowWaitedMs = waitedMs(wait, draft.event.at.bootMs);
  const { snoozes } = deployment;
  const unusedMs = Math.max(0, active.untilWaitedMs - nowWaitedMs);
  changeDeployment(draft, { snoozes: { ...snoozes, totalMs: Math.max(0, snoozes.totalMs - unusedMs) } });
  endSnooze(draft, nowWaitedMs);
  recordDecision(draft, 'postponement-ended', event, { point: wait.point });
  lookAgain(draft, null);
}

/** Looks at the present gate again, if at any, and goes where the answer leads. */
export function lookAgain(draft: Draft, cause: Cause | null): void {
  followGate(draft, reconsiderGate(draft, cause));
}

export function end(draft: Draft, request: EndRequest, by: Caller): void {
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
  recordDecision(draft, request.kind === 'abort' ? 'refusal' : 'rollback-request', by, {
    point: draft.state.wait?.point ?? '',
    comment: request.reason,
  });
  change(draft, { serial: draft.state.serial + 1 });
  if (way === 'cancel') {
    order(draft, { kind: 'cancelWork' });
    return;
  }
  if (draft.state.wait === null) order(draft, { kind: 'cancelWork' });
  endWait(draft, 'aborted', { 'by-uid': request.uid, 'by-app': by.app ?? '' });
  follow(draft, 'aborted', null);
}

export function pause(draft: Draft, by: Caller): void {
  const { deployment, step } = draft.state;
  if (deployment === null || deployment.pause !== null || isFinalReport(step)) return;
  changeDeployment(draft, { pause: { uid: by.uid, sinceWallMs: draft.event.at.wallMs } });
  change(draft, { serial: draft.state.serial + 1 });
  recordDecision(draft, 'pause', by);
  logDeployment(draft, 'info', `Paused by uid ${by.uid}`);
  if (step === 'download') order(draft, { kind: 'suspendDownload' });
  lookAgain(draft, null);
}

export function resume(draft: Draft, by: Caller): void {
  const { deployment, step } = draft.state;
  if (deployment === null || deployment.pause === null || isFinalReport(step)) return;
  changeDeployment(draft, { pause: null });
  change(draft, { serial: draft.state.serial + 1 });
  recordDecision(draft, 'resume', by);
  logDeployment(draft, 'info', `Resumed by uid ${by.uid}`);
  if (step === 'download') order(draft, { kind: 'resumeDownload' });
  lookAgain(draft, { kind: 'person', uid: by.uid, app: by.app ?? '' });
}

export function switchUpdates(draft: Draft, event: Event<'UpdatesSwitched'>): void {
  change(draft, { updatesSwitch: event.isEnabled, serial: draft.state.serial + 1 });
  recordDecision(draft, event.isEnabled ? 'updates-enabled' : 'updates-disabled', event);
  lookAgain(draft, null);
}

export function reportHealth(draft: Draft, event: Event<'HealthReported'>): void {
  const { deployment } = draft.state;
  if (deployment === null) return;
  const { checker, verdict, message, uid } = event;
  changeDeployment(draft, {
    healthReports: [
      ...deployment.healthReports.filter((report) => report.checker !== checker),
      { checker, verdict, message, uid, atWallMs: draft.event.at.wallMs },
    ],
  });
  change(draft, { serial: draft.state.serial + 1 });
  logDeployment(
    draft,
    verdict === 'ok' ? 'info' : 'error',
    `Health: ${checker} says ${verdict}${message === '' ? '' : `: ${message}`}`,
  );
  lookAgain(draft, null);
}

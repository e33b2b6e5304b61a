import { decideGate, type FailVerdict, type PassVerdict, type WaitVerdict } from './control/gate.ts';
import { countTime, expireHolds } from './control/hold.ts';
import { hasMapOf, letsGoByExpiry, withoutFailingExpiry } from './control/map-pool.ts';
import {
  announce,
  change,
  changeDeployment,
  changeVisit,
  logDeployment,
  order,
  recordFailure,
  type Draft,
} from './draft.ts';
import type { WaitOutcome } from './effect.ts';
import type { Details } from './errors.ts';
import {
  advanceAskedMaps,
  armForRelease,
  INQUIRY_LIMIT_MS,
  isControlled,
  isReleaseKnown,
  watchClockForRelease,
} from './gate-maps.ts';
import type { HoldPoint } from './hold-point.ts';
import { blockerNames, tellOfWait } from './pause-report.ts';
import { areUpdatesEnabled, type GateVisit, type UpdateState, type Wait } from './state.ts';
import { FLOW } from './transition-table.ts';
import {
  activeSnooze,
  carriedAt,
  endSnoozeWhenOver,
  forgetSnooze,
  snoozedSoFar,
  spentAt,
} from './wait-time.ts';

/**
 * Visits of gates and waits at them: what is found out first, how a wait begins, is looked at again, and ends. Whether to
 * wait is control/gate.ts's decision. A wait is stored, counts its own time (not the wall clock's), and every announced
 * beginning has exactly one end. Source: design/dbus-api.md section 4, design/compatibility.md "A wait", "Ends of waits",
 * spec/update-control.md section 5.
 */

/** A wait is looked at (and its counter stored) at least this often, so that a power cut costs no more. */
const COUNT_EVERY_MS = 600_000;
/** Tickets remembered for a repeated Continue whose first reply was lost. */
const PASSED_TICKETS_KEPT = 16;
/** refused: the answer is no, and nothing has been touched. failed: as Mender, the next state's failure path. */
export type GateResult = 'waiting' | 'passed' | 'refused' | 'failed';

/** What made somebody look at the gate again. */
export type Cause =
  | { readonly kind: 'person'; readonly uid: number; readonly app: string }
  /** A hold or a map has run out. */
  | { readonly kind: 'expiry' };

/** Arrives at a gate, or comes back to it after a restart: finds out what the decision needs, then decides. */
export function arriveAtGate(draft: Draft, point: HoldPoint): GateResult {
  const { settings, controlMaps, deployment, workId } = draft.state;
  const hasConditions = settings.conditionPoints.includes(point);
  const needsRefresh =
    deployment?.source === 'server' && isControlled(draft) && hasMapOf(controlMaps, deployment.id);
  change(draft, {
    visit: {
      point,
      unmet: hasConditions ? null : [],
      refresh: needsRefresh ? 'first' : 'none',
      failedRefreshes: 0,
      refreshAtBootMs: null,
      askedMaps: [],
    },
  });
  if (hasConditions) order(draft, { kind: 'watchConditions', workId, point });
  if (needsRefresh) order(draft, { kind: 'fetchControlMap', workId, deploymentId: deployment.id });
  if (hasConditions) order(draft, { kind: 'armTimer', workId, delayMs: INQUIRY_LIMIT_MS });
  watchClockForRelease(draft);
  return decide(draft, null);
}

/** Looks at the gate again because something about it has changed. */
export function reconsiderGate(draft: Draft, cause: Cause | null): GateResult {
  return decide(draft, cause);
}

/** The timer of a gate: something is due, or it is time to store how long the wait has taken. */
export function tickAtGate(draft: Draft): GateResult {
  const { visit, deployment, workId } = draft.state;
  if (visit === null || deployment === null) return 'waiting';
  if (visit.unmet === null) {
    changeVisit(draft, { unmet: [silence(draft.event.at.wallMs)] });
  }
  if (visit.clockProblem === null) changeVisit(draft, { clockProblem: 'not-known' });
  // Each device acts on its own clock: at the time it was told, or after a while, the server's answer is not waited for.
  if (visit.refresh === 'first' && isReleaseKnown(draft, visit)) changeVisit(draft, { refresh: 'none' });
  if (visit.refreshAtBootMs !== null && visit.refreshAtBootMs <= draft.event.at.bootMs) {
    changeVisit(draft, { refreshAtBootMs: null });
    order(draft, { kind: 'fetchControlMap', workId, deploymentId: deployment.id });
  }
  return reconsiderGate(draft, null);
}

/** Ends the present wait, if there is one; the one WaitEnded of an announced beginning. */
export function endWait(draft: Draft, outcome: WaitOutcome, details: Details): void {
  const wait = draft.state.wait;
  if (wait === null) return;
  change(draft, { wait: null, serial: draft.state.serial + 1 });
  order(draft, { kind: 'disarmTimer' });
  logDeployment(draft, 'info', `The wait at ${wait.point} has ended: ${outcome}`);
  announceEnd(draft, wait, outcome, details);
}

/** The ticket is dead: a snooze closes the question without ending the wait. */
export function announceEnd(draft: Draft, wait: Wait, outcome: WaitOutcome, details: Details): void {
  // Nobody was asked while it was snoozed: that end has been announced.
  if (wait.ticket === '') return;
  announce(draft, {
    kind: 'WaitEnded',
    ticket: wait.ticket,
    outcome,
    details: { point: wait.point, ...details },
  });
}

/** What a visit has going on ends with it. */
export function leaveGate(draft: Draft): void {
  const { visit, settings } = draft.state;
  if (visit === null) return;
  change(draft, { visit: null });
  order(draft, { kind: 'disarmTimer' });
  if (visit.clockProblem !== undefined) order(draft, { kind: 'unwatchWallClock' });
  if (settings.conditionPoints.includes(visit.point)) order(draft, { kind: 'unwatchConditions' });
}

export function recordPassage(draft: Draft, point: HoldPoint, reasons: readonly string[]): void {
  const deployment = draft.state.deployment;
  if (deployment === null) return;
  const passage = { point, reasons, atWallMs: draft.event.at.wallMs };
  changeDeployment(draft, {
    // A gate that is passed again after a restart is one passage, not two.
    passages: [...deployment.passages.filter((earlier) => earlier.point !== point), passage],
  });
}

function decide(draft: Draft, cause: Cause | null): GateResult {
  const { visit } = draft.state;
  if (visit === null) return 'waiting';
  if (visit.unmet === null || visit.refresh === 'first' || visit.clockProblem === null) {
    armForRelease(draft, visit);
    return 'waiting';
  }
  countTimeBefore(draft, visit.point);
  const spentMs = spentAt(draft.state, visit.point, draft.event.at.bootMs);
  endSnoozeWhenOver(draft, visit.point, spentMs);
  const verdict = decideGate(situationAt(draft, visit, spentMs));
  changeVisit(draft, { askedMaps: [...new Set([...visit.askedMaps, ...verdict.askedMaps])] });
  switch (verdict.kind) {
    case 'pass':
      pass(draft, visit.point, verdict, spentMs, cause);
      return 'passed';
    case 'fail':
      return refuse(draft, visit.point, verdict);
    case 'wait':
      wait(draft, visit, verdict, spentMs);
      return 'waiting';
  }
}

function pass(
  draft: Draft,
  point: HoldPoint,
  verdict: PassVerdict,
  spentMs: number,
  cause: Cause | null,
): void {
  const { wait: present, deployment } = draft.state;
  const snoozedMs = snoozedSoFar(draft.state, spentMs);
  recordPassage(draft, point, verdict.reasons);
  forgetSnooze(draft, point);
  advanceAskedMaps(draft, point);
  dropHolds(draft, (hold) => hold.isOnce && hold.points.includes(point));
  if (present === null || deployment === null) return;
  // Should a restart lead back to this gate before the next step is stored, the time spent here still counts.
  changeDeployment(draft, {
    carriedWait: { point, spentMs, snoozedMs, notice: present.notice },
  });
  if (present.isContinued === true && present.ticket !== '') {
    const passed = [{ ticket: present.ticket, point }, ...draft.state.passedTickets].slice(
      0,
      PASSED_TICKETS_KEPT,
    );
    change(draft, { passedTickets: passed });
  }
  const person = cause?.kind === 'person' ? cause : null;
  endWait(draft, outcomeOf(verdict, cause), person ? { 'by-uid': person.uid, 'by-app': person.app } : {});
}

function outcomeOf(verdict: PassVerdict, cause: Cause | null): WaitOutcome {
  if (verdict.hasExpired) return 'expired-continue';
  if (verdict.isForced) return 'forced';
  if (cause === null) return 'unblocked';
  return cause.kind === 'person' ? 'continued' : 'expired-continue';
}

function refuse(draft: Draft, point: HoldPoint, verdict: FailVerdict): GateResult {
  recordFailure(draft, {
    name: verdict.name,
    message: `${point} was refused: ${REFUSALS[verdict.reason]}`,
    details: { point, reason: verdict.reason, ...verdict.details },
  });
  advanceAskedMaps(draft, point);
  dropHolds(draft, (hold) => hold.isExpired && hold.onExpire === 'fail' && hold.points.includes(point));
  // The way back goes on all the same: a gate that cannot be refused has been passed.
  const { next } = FLOW[draft.state.step];
  if (next.aborted === next.done) recordPassage(draft, point, [verdict.reason]);
  const hasRunOut = verdict.name === 'HoldExpired' || verdict.reason === 'health-overdue';
  endWait(draft, hasRunOut ? 'expired-fail' : 'aborted', { reason: verdict.reason });
  return verdict.reason === 'map-fail' ? 'failed' : 'refused';
}

const REFUSALS: Readonly<Record<FailVerdict['reason'], string>> = {
  'consent-expired': 'nobody agreed in time',
  'ceiling-reached': 'the longest wait allowed there is over',
  'hold-expired': 'a hold ran out that asked for this',
  'hold-fail': 'a hold asked for this',
  'map-fail': 'a control map asked for this',
  'health-failed': 'a checker found the new version ill',
  'health-overdue': 'not every checker found the new version well in time',
};

function wait(draft: Draft, visit: GateVisit, verdict: WaitVerdict, spentMs: number): void {
  const { state, event } = draft;
  const { at } = event;
  const present = state.wait;
  const isSnoozed = activeSnooze(state, visit.point) !== null;
  const isFirst = present === null;
  const isAnnounced = !isSnoozed && (isFirst || present.ticket === '');
  const carried = carriedAt(state, visit.point);
  const leftMs = verdict.endsInMs === null ? null : Math.max(0, verdict.endsInMs);
  const ticket = isSnoozed ? '' : isAnnounced ? event.nonce : (present?.ticket ?? '');
  change(draft, {
    serial: state.serial + 1,
    wait: {
      point: visit.point,
      ticket,
      startedWallMs: present?.startedWallMs ?? at.wallMs - spentMs,
      waitedMs: spentMs,
      snoozedMs: present?.snoozedMs ?? carried.snoozedMs,
      asOfBootMs: at.bootMs,
      blockers: keepSince(verdict, present),
      deadlineBootMs: leftMs === null ? 0 : at.bootMs + leftMs,
      deadlineWallMs: leftMs === null ? 0 : at.wallMs + leftMs,
      onExpire: verdict.onExpire,
      notice: present?.notice ?? carried.notice,
      ...(present?.isContinued === true && ticket === present.ticket && { isContinued: true }),
    },
  });
  if (isFirst || isAnnounced) {
    logDeployment(draft, 'info', `Waiting at ${visit.point} for: ${blockerNames(verdict.blockers)}`);
  }
  if (isAnnounced) {
    announce(draft, { kind: 'WaitStarted', ticket, point: visit.point, blockers: verdict.blockers });
  }
  tellOfWait(draft, isFirst, verdict.blockers);
  armGateTimer(draft, verdict);
}

/** Who has been blocking goes on since then: a decision that is made again begins nothing anew. */
function keepSince(verdict: WaitVerdict, present: Wait | null): Wait['blockers'] {
  return verdict.blockers.map((blocker) => {
    const known = present?.blockers.find(({ id }) => id === blocker.id);
    return known ? { ...blocker, sinceWallMs: known.sinceWallMs } : blocker;
  });
}

function armGateTimer(draft: Draft, verdict: WaitVerdict): void {
  const { visit, workId } = draft.state;
  const { bootMs } = draft.event.at;
  const refreshInMs = visit?.refreshAtBootMs == null ? null : visit.refreshAtBootMs - bootMs;
  const tellInMs = visit?.tellAgainAtBootMs === undefined ? null : visit.tellAgainAtBootMs - bootMs;
  const { wait: present } = draft.state;
  const active = present && activeSnooze(draft.state, present.point);
  // A snooze that a map overrules blocks nothing, and nobody is asked all the same until it is over.
  const snoozedInMs = present && active ? active.untilWaitedMs - present.waitedMs : null;
  const due = [verdict.decideAgainInMs, refreshInMs, tellInMs, snoozedInMs].flatMap((ms) => ms ?? []);
  order(draft, {
    kind: 'armTimer',
    workId,
    delayMs: Math.max(0, Math.min(...due, COUNT_EVERY_MS)),
  });
}

function situationAt(draft: Draft, visit: GateVisit, spentMs: number): Parameters<typeof decideGate>[0] {
  const { state, event } = draft;
  const { deployment, settings } = state;
  const deploymentId = deployment?.id ?? '';
  const isRetrying = visit.refresh === 'retrying';
  return {
    point: visit.point,
    settings: settings.holdPoints[visit.point],
    health: settings.health,
    deploymentId,
    digest: deployment?.artifact?.digest ?? '',
    consents: deployment?.consents ?? [],
    waivers: deployment?.waivers ?? [],
    pause: deployment?.pause ?? null,
    areUpdatesEnabled: areUpdatesEnabled(state),
    holds: state.holds,
    maps: isRetrying ? withoutFailingExpiry(state.controlMaps, deploymentId, visit.point) : state.controlMaps,
    unmet: visit.unmet ?? [],
    healthReports: deployment?.healthReports ?? [],
    snooze: activeSnooze(state, visit.point),
    rebootByHandUid: deployment?.rebootMode?.mode === 'none' ? deployment.rebootMode.uid : null,
    failedRefreshes:
      isRetrying && !letsGoByExpiry(state.controlMaps, deploymentId, visit.point) ? visit.failedRefreshes : 0,
    clockProblem: visit.clockProblem ?? '',
    waitedMs: spentMs,
    snoozedMs: snoozedSoFar(state, spentMs),
    sinceWallMs: state.wait?.startedWallMs ?? event.at.wallMs - spentMs,
    now: event.at,
  };
}

/** The time of holds begins to run with the wait, not before: the decision must find it as it is now. */
function countTimeBefore(draft: Draft, point: HoldPoint): void {
  const { wait: present, holds } = draft.state;
  if (present !== null) return;
  const { bootMs } = draft.event.at;
  const counted = countTime(holds, { hasDeployment: true, waitPoint: null }, bootMs);
  // What ran out while the service was down has run out before it is asked.
  const left = expireHolds(counted, { hasDeployment: true, waitPoint: point }, bootMs).holds;
  if (left !== holds) change(draft, { holds: left });
}

function dropHolds(draft: Draft, isOver: (hold: UpdateState['holds'][number]) => boolean): void {
  const { holds } = draft.state;
  if (holds.some(isOver)) change(draft, { holds: holds.filter((hold) => !isOver(hold)) });
}

function silence(nowWallMs: number): NonNullable<GateVisit['unmet']>[number] {
  return {
    id: 'conditions',
    kind: 'condition',
    owner: '',
    reasonCode: 'not-known',
    sinceWallMs: nowWallMs,
    endsWallMs: 0,
    isSkippable: false,
    details: {},
  };
}

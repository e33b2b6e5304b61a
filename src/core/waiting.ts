import {
  announce,
  change,
  changeDeployment,
  logDeployment,
  order,
  recordFailure,
  type Draft,
} from './draft.ts';
import type { WaitOutcome } from './effect.ts';
import type { Details } from './errors.ts';
import { decideGate, type GateVerdict } from './gate.ts';
import type { HoldPoint } from './hold-point.ts';
import { areUpdatesEnabled, type UpdateState, type Wait } from './state.ts';
import { FLOW } from './transition-table.ts';

/**
 * Waits at hold points: how one begins, is looked at again, and ends. Whether to wait is gate.ts's decision.
 * A wait is stored, counts its own time (not the wall clock's), and has exactly one end.
 * Source: design/dbus-api.md section 4, design/compatibility.md "A wait", "Ends of waits".
 */

/** A wait is looked at (and its counter stored) at least this often, so that a power cut costs no more. */
const COUNT_EVERY_MS = 600_000;
/** Tickets remembered for a repeated Continue whose first reply was lost. */
const PASSED_TICKETS_KEPT = 16;

export type GateResult = 'waiting' | 'passed' | 'refused';

/** Waiting time used up so far. Only boot time counts: wall-clock steps change nothing. */
export function waitedMs(wait: Wait, nowBootMs: number): number {
  return wait.waitedMs + Math.max(0, nowBootMs - wait.asOfBootMs);
}

/** Arrives at a gate, or comes back to it after a restart with the time spent there carried over. */
export function arriveAtGate(draft: Draft, point: HoldPoint): GateResult {
  const carried = draft.state.deployment?.carriedWait;
  const { spentMs, notice } = carried?.point === point ? carried : { spentMs: 0, notice: '' };
  const verdict = judge(draft.state, point, spentMs);
  if (verdict.kind === 'pass') {
    recordPassage(draft, point, verdict.reasons);
    return 'passed';
  }
  if (verdict.kind === 'fail') {
    refuse(draft, point, verdict.reason);
    return 'refused';
  }
  const { at, nonce } = draft.event;
  const wait = waitFrom(verdict, {
    point,
    ticket: nonce,
    startedWallMs: at.wallMs - spentMs,
    spentMs,
    notice,
    at,
  });
  change(draft, { wait });
  const blockers = verdict.blockers;
  logDeployment(draft, 'info', `Waiting at ${point} for: ${blockerNames(blockers)}`);
  announce(draft, { kind: 'WaitStarted', ticket: nonce, point, blockers });
  const work = FLOW[draft.state.step].work;
  const deployment = draft.state.deployment;
  if (work.kind === 'gate' && work.pauseStatus !== null && deployment?.source === 'server') {
    order(draft, {
      kind: 'reportStatus',
      workId: draft.state.workId,
      deploymentId: deployment.id,
      status: work.pauseStatus,
      substate: `waiting for: ${blockerNames(blockers)}`,
    });
  }
  armWaitTimer(draft, verdict, spentMs);
  return 'waiting';
}

/** Looks at the present wait again because something about it changed. `by` = whose Continue it was, if one. */
export function reconsiderWait(draft: Draft, by: { readonly uid: number } | null): GateResult {
  const wait = draft.state.wait;
  if (wait === null) return 'waiting';
  const { at } = draft.event;
  const spentMs = waitedMs(wait, at.bootMs);
  const verdict = judge(draft.state, wait.point, spentMs);
  if (verdict.kind === 'pass') {
    recordPassage(draft, wait.point, verdict.reasons);
    // Should a restart lead back to this gate before the next step is stored, the time spent here still counts.
    changeDeployment(draft, { carriedWait: { point: wait.point, spentMs, notice: wait.notice } });
    const outcome: WaitOutcome = verdict.hasExpired ? 'expired-continue' : by ? 'continued' : 'unblocked';
    if (by) {
      const passed = [wait.ticket, ...draft.state.passedTickets].slice(0, PASSED_TICKETS_KEPT);
      change(draft, { passedTickets: passed });
    }
    endWait(draft, outcome, by ? { 'by-uid': by.uid } : {});
    return 'passed';
  }
  if (verdict.kind === 'fail') {
    refuse(draft, wait.point, verdict.reason);
    endWait(draft, 'expired-fail', { reason: verdict.reason });
    return 'refused';
  }
  const next = waitFrom(verdict, {
    point: wait.point,
    ticket: wait.ticket,
    startedWallMs: wait.startedWallMs,
    spentMs,
    notice: wait.notice,
    at,
  });
  change(draft, { wait: next, serial: draft.state.serial + 1 });
  armWaitTimer(draft, verdict, spentMs);
  return 'waiting';
}

/** Ends the present wait, if there is one, with its one WaitEnded. */
export function endWait(draft: Draft, outcome: WaitOutcome, details: Details): void {
  const wait = draft.state.wait;
  if (wait === null) return;
  change(draft, { wait: null, serial: draft.state.serial + 1 });
  order(draft, { kind: 'disarmTimer' });
  logDeployment(draft, 'info', `The wait at ${wait.point} has ended: ${outcome}`);
  announce(draft, {
    kind: 'WaitEnded',
    ticket: wait.ticket,
    outcome,
    details: { point: wait.point, ...details },
  });
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

function refuse(draft: Draft, point: HoldPoint, reason: string): void {
  recordFailure(draft, holdExpired(point, reason));
  // The way back goes on all the same: a gate that cannot be refused has been passed.
  const { next } = FLOW[draft.state.step];
  if (next.aborted === next.done) recordPassage(draft, point, [reason]);
}

function judge(state: UpdateState, point: HoldPoint, spentMs: number): GateVerdict {
  return decideGate({
    point,
    settings: state.settings.holdPoints[point],
    digest: state.deployment?.artifact?.digest ?? '',
    consents: state.deployment?.consents ?? [],
    pause: state.deployment?.pause ?? null,
    areUpdatesEnabled: areUpdatesEnabled(state),
    waitedMs: spentMs,
  });
}

function waitFrom(
  verdict: Extract<GateVerdict, { kind: 'wait' }>,
  facts: {
    readonly point: HoldPoint;
    readonly ticket: string;
    readonly startedWallMs: number;
    readonly spentMs: number;
    readonly notice: string;
    readonly at: { readonly wallMs: number; readonly bootMs: number };
  },
): Wait {
  const { point, ticket, startedWallMs, spentMs, notice, at } = facts;
  const leftMs = verdict.endsAfterMs === null ? null : Math.max(0, verdict.endsAfterMs - spentMs);
  return {
    point,
    ticket,
    startedWallMs,
    waitedMs: spentMs,
    asOfBootMs: at.bootMs,
    blockers: verdict.blockers,
    deadlineBootMs: leftMs === null ? 0 : at.bootMs + leftMs,
    deadlineWallMs: leftMs === null ? 0 : at.wallMs + leftMs,
    onExpire: verdict.onExpire,
    notice,
  };
}

function armWaitTimer(draft: Draft, verdict: Extract<GateVerdict, { kind: 'wait' }>, spentMs: number): void {
  const untilDecision =
    verdict.decideAgainAfterMs === null ? COUNT_EVERY_MS : Math.max(0, verdict.decideAgainAfterMs - spentMs);
  order(draft, {
    kind: 'armTimer',
    workId: draft.state.workId,
    delayMs: Math.min(untilDecision, COUNT_EVERY_MS),
  });
}

function holdExpired(point: HoldPoint, reason: string) {
  return {
    name: 'HoldExpired',
    message: `nobody released ${point} in time (${reason})`,
    details: { point, reason },
  } as const;
}

function blockerNames(blockers: Wait['blockers']): string {
  return blockers.map(({ kind, owner }) => `${kind} (${owner})`).join(', ');
}

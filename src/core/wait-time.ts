import { change, changeDeployment, type Draft } from './draft.ts';
import type { HoldPoint } from './hold-point.ts';
import type { UpdateState, Wait } from './state.ts';

/**
 * The time a gate has taken, and the part of it that was snoozed. It is boot time, stored with the wait and carried over a
 * restart that leads back to the same gate. Source: design/compatibility.md "A wait", design/dbus-api.md "Snooze".
 */

/** Waiting time used up so far. Only boot time counts: wall-clock steps change nothing. */
export function waitedMs(wait: Wait, nowBootMs: number): number {
  return wait.waitedMs + Math.max(0, nowBootMs - wait.asOfBootMs);
}

export function spentAt(state: UpdateState, point: HoldPoint, nowBootMs: number): number {
  return state.wait === null ? carriedAt(state, point).spentMs : waitedMs(state.wait, nowBootMs);
}

export function carriedAt(state: UpdateState, point: HoldPoint) {
  const carried = state.deployment?.carriedWait;
  return carried?.point === point ? carried : { spentMs: 0, snoozedMs: 0, notice: '' };
}

export function activeSnooze(state: UpdateState, point: HoldPoint) {
  const active = state.deployment?.snoozes.active ?? null;
  return active?.point === point ? active : null;
}

/** Time at this point in which nobody was asked. */
export function snoozedSoFar(state: UpdateState, spentMs: number): number {
  const point = state.visit?.point ?? state.wait?.point;
  const ended = state.wait?.snoozedMs ?? (point ? carriedAt(state, point).snoozedMs : 0);
  const active = point ? activeSnooze(state, point) : null;
  return ended + (active ? Math.max(0, spentMs - active.sinceWaitedMs) : 0);
}

/** Also one that ran out while the service was down, before the wait has begun again. */
export function endSnoozeWhenOver(draft: Draft, point: HoldPoint, spentMs: number): void {
  const active = activeSnooze(draft.state, point);
  if (active !== null && spentMs >= active.untilWaitedMs) endSnooze(draft, spentMs);
}

/** The question is put again; `atWaitedMs`: until when nobody was asked. */
export function endSnooze(draft: Draft, atWaitedMs: number): void {
  const { wait: present, deployment } = draft.state;
  const active = deployment?.snoozes.active;
  if (!deployment || !active) return;
  const justMs = Math.max(0, Math.min(atWaitedMs, active.untilWaitedMs) - active.sinceWaitedMs);
  const { carriedWait } = deployment;
  changeDeployment(draft, {
    snoozes: { ...deployment.snoozes, active: null },
    ...(!present &&
      carriedWait?.point === active.point && {
        carriedWait: { ...carriedWait, snoozedMs: carriedWait.snoozedMs + justMs },
      }),
  });
  if (present) change(draft, { wait: { ...present, snoozedMs: present.snoozedMs + justMs } });
}

/** Passed all the same, by a map or the ceiling. */
export function forgetSnooze(draft: Draft, point: HoldPoint): void {
  const { deployment } = draft.state;
  if (deployment === null || activeSnooze(draft.state, point) === null) return;
  changeDeployment(draft, { snoozes: { ...deployment.snoozes, active: null } });
}

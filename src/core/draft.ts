import type { Effect, Notice } from './effect.ts';
import type { Failure } from './errors.ts';
import type { UpdateEvent } from './event.ts';
import type { Deployment, GateVisit, Schedule, UpdateState } from './state.ts';

/** One transition in the making: the state so far and the effects ordered so far. Lives inside transition(). */
export interface Draft {
  state: UpdateState;
  readonly effects: Effect[];
  readonly event: UpdateEvent;
}

export function change(draft: Draft, changes: Partial<UpdateState>): void {
  draft.state = { ...draft.state, ...changes };
}

export function changeVisit(draft: Draft, changes: Partial<GateVisit>): void {
  if (draft.state.visit !== null) change(draft, { visit: { ...draft.state.visit, ...changes } });
}

export function changeDeployment(draft: Draft, changes: Partial<Deployment>): void {
  if (draft.state.deployment === null) return;
  change(draft, { deployment: { ...draft.state.deployment, ...changes } });
}

export function changeSchedule(draft: Draft, changes: Partial<Schedule>): void {
  change(draft, { schedule: { ...draft.state.schedule, ...changes } });
}

export function order(draft: Draft, effect: Effect): void {
  draft.effects.push(effect);
}

export function announce(draft: Draft, notice: Notice): void {
  order(draft, { kind: 'announce', notice });
}

export function logDeployment(draft: Draft, level: 'error' | 'warning' | 'info', message: string): void {
  order(draft, { kind: 'logDeployment', level, message });
}

/** The first failure is the cause; what follows from it does not replace it. */
export function recordFailure(draft: Draft, failure: Failure): void {
  if (draft.state.deployment === null) return;
  logDeployment(draft, 'error', `${failure.name}: ${failure.message}`);
  if (draft.state.deployment.failure === null) changeDeployment(draft, { failure });
}

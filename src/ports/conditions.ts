import type { Observable } from 'rxjs';
import type { UnmetCondition } from '../core/control/condition.ts';
import type { HoldPoint } from '../core/hold-point.ts';

/** Windows, freezes, power, links, inhibitors and scripts, as far as the configuration asks for them; and the time. */
export interface Conditions {
  /** Points that have conditions at all; elsewhere nobody need be asked. */
  readonly points: readonly HoldPoint[];
  /**
   * What is not met at the point: first when everything has been found out (each within its own time limit; what cannot
   * be found out counts as not met), then at each change, never twice the same. Never fails, never completes;
   * unsubscribing ends all watching.
   */
  unmet$(point: HoldPoint): Observable<readonly UnmetCondition[]>;
  /**
   * Why the wall clock is not to be believed, for example `before-build`; '' = it is. First when that has been found out,
   * then at each change, and again when the clock has been set. Never fails, never completes.
   */
  wallClock$(): Observable<string>;
}

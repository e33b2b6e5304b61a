import type { HoldPoint } from '../hold-point.ts';
import type { Details } from '../errors.ts';

/**
 * Something about the device or its surroundings that must be so before an update goes on: a maintenance window is
 * open, the battery is full enough, the link is not metered, nobody inhibits a shutdown, a script agrees. Only those
 * that are not met are told to the core; an adapter watches them while the update is at the point.
 */
export interface UnmetCondition {
  /** Unique among conditions, stable over time. */
  readonly id: string;
  /** Open set: window, freeze, power, metered, inhibitor, script. */
  readonly kind: string;
  /** Who wants it so, for people; '' = the configuration. */
  readonly owner: string;
  /** For translation, for example `outside-window`, `clock-not-trusted`, `on-battery`, `not-known`. */
  readonly reasonCode: string;
  /** Wall clock since when it is known not to be met. */
  readonly sinceWallMs: number;
  /** Wall clock when it will be met by itself; 0 = not known. */
  readonly endsWallMs: number;
  /** Whether `now` of a person may set it aside for this update at this point. */
  readonly isSkippable: boolean;
  readonly details: Details;
}

/** At most this many are shown; the rest is counted in one more. */
export const MAX_UNMET = 32;

export type ConditionPoints = readonly HoldPoint[];

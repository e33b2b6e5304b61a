/**
 * What the configuration says about the conditions an update waits for at its hold points, as plain data. The keys of
 * holdpoint.json they come from, and their defaults, are in src/config/conditions.ts.
 */
import { HOLD_POINTS, type HoldPoint } from '../hold-point.ts';
import type { ConditionPoints } from './condition.ts';

/** A maintenance window: a point with at least one is closed outside all of them. */
export interface WindowRule {
  readonly points: ConditionPoints;
  /** Days of the week on which it opens, 0 = Monday to 6 = Sunday. Never empty. */
  readonly days: readonly number[];
  /** Minutes after the local midnight that begins the day, 0 to 1439. */
  readonly fromMinute: number;
  /** Greater than `fromMinute` and at most a day later; above 1440 = it passes midnight. */
  readonly toMinute: number;
  /** IANA name; null = the zone of the device, followed when it changes. */
  readonly timeZone: string | null;
  readonly isSkippable: boolean;
}

/** A time in which nothing goes on at the points, whatever anybody says. */
export interface FreezeRule {
  readonly points: ConditionPoints;
  /** First moment, as milliseconds of a clock that shows local time (what Date.UTC makes of its fields). */
  readonly fromLocalMs: number;
  /** First moment after it, in the same measure. */
  readonly toLocalMs: number;
  readonly timeZone: string | null;
  /** For people; '' = not said. */
  readonly reason: string;
}

export interface PowerRule {
  readonly points: ConditionPoints;
  /** A battery that is there must be at least this full, on mains too; null = any. */
  readonly minBatteryPercent: number | null;
  readonly isMainsRequired: boolean;
  /** Whether a device without UPower counts as one that has mains and no battery. */
  readonly assumesMainsWithoutUPower: boolean;
  readonly isSkippable: boolean;
}

export interface MeteredRule {
  readonly points: ConditionPoints;
  readonly isSkippable: boolean;
}

export interface InhibitorRule {
  readonly points: ConditionPoints;
}

/** Executables in conditions.d. */
export interface ScriptRule {
  readonly points: ConditionPoints;
  readonly timeoutSeconds: number;
  /** Between the end of one round of all scripts and the start of the next. */
  readonly intervalSeconds: number;
  readonly isSkippable: boolean;
}

export interface ConditionSettings {
  readonly windows: readonly WindowRule[];
  readonly freezes: readonly FreezeRule[];
  /** null = does not matter; so also below. */
  readonly power: PowerRule | null;
  readonly metered: MeteredRule | null;
  readonly inhibitors: InhibitorRule | null;
  readonly scripts: ScriptRule | null;
  /** Whether the wall clock is believed only while it is synchronized with a time source. */
  readonly isSynchronizedClockRequired: boolean;
}

/** The points that have conditions at all. */
export function conditionPoints(settings: ConditionSettings): readonly HoldPoint[] {
  const { windows, freezes, power, metered, inhibitors, scripts } = settings;
  const rules = [...windows, ...freezes, power, metered, inhibitors, scripts];
  return HOLD_POINTS.filter((point) => rules.some((rule) => rule?.points.includes(point)));
}

/** Points where the host is rebooted. */
export const REBOOT_POINTS: readonly HoldPoint[] = ['ArtifactReboot_Enter', 'ArtifactRollbackReboot_Enter'];

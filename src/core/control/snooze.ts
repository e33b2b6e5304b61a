import type { HoldPoint } from '../hold-point.ts';

/** "Later": how often, how long, and until when. Source: design/dbus-api.md "Snooze", design/stories.md 4. */
export interface SnoozeSettings {
  /** For one deployment, all together; 0 = no snoozing at all. */
  readonly maxTotalSeconds: number;
  readonly maxCount: number;
}

/** In time spent at the point, so that neither a reboot nor a clock step makes it longer. */
export interface ActiveSnooze {
  readonly point: HoldPoint;
  readonly uid: number;
  readonly app: string;
  /** The ticket that was answered with it. */
  readonly ticket: string;
  readonly sinceWallMs: number;
  readonly sinceWaitedMs: number;
  readonly untilWaitedMs: number;
}

/** Of one deployment. */
export interface Snoozes {
  readonly count: number;
  /** Granted so far, less what was given back by ending one early. */
  readonly totalMs: number;
  readonly active: ActiveSnooze | null;
}

export const NO_SNOOZES: Snoozes = { count: 0, totalMs: 0, active: null };

/** How many seconds may still be asked for, ceiling of the point included; 0 = none. */
export function snoozeLeftSeconds(
  snoozes: Snoozes,
  settings: SnoozeSettings,
  wait: { readonly waitedMs: number; readonly ceilingSeconds: number },
): number {
  if (snoozes.count >= settings.maxCount) return 0;
  const left = settings.maxTotalSeconds * 1000 - snoozes.totalMs;
  const untilCeiling = wait.ceilingSeconds === 0 ? left : wait.ceilingSeconds * 1000 - wait.waitedMs;
  return Math.max(0, Math.floor(Math.min(left, untilCeiling) / 1000));
}

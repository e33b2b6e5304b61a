/**
 * When maintenance windows and freeze periods are. Pure: the time and the zone are given.
 *
 * The rules about daylight saving, for windows:
 * 1. A window opens at the first moment the local clock shows its `from` on its day, and closes at the first moment
 *    after that at which it shows `to`. So it opens once a day, also when the hour in it occurs twice (then it is
 *    longer), and it is never open after the clock has once shown `to`.
 * 2. Where the clock jumps over `from` or `to`, the moment of the jump stands for it; the window is shorter.
 * 3. A window the jump swallows whole is not lost: it opens at the jump, for its configured length.
 * 4. Windows that overlap or touch are one opening. The day of a window that passes midnight is the day it opens.
 *
 * For freezes, which forbid: the first moment of `from`, the last moment of `to`; a doubtful hour is frozen.
 *
 * Source: design/stories.md story 6; design/faults.md R9.
 */
import type { FreezeRule, WindowRule } from '../../core/control/condition-settings.ts';
import { DAY_MS, firstReading, lastReading, localOf, MINUTE_MS } from './local-time.ts';

/** Real time, half open. */
export interface Opening {
  readonly fromMs: number;
  readonly untilMs: number;
}

export interface NextOpening extends Opening {
  /** Zone of the window that begins it. */
  readonly timeZone: string;
}

/** A window may have begun on the local day before, which may differ by one more from the day read as UTC. */
const DAYS_BACK = 2;
/** Every window opens at least once a week; one more day for a jump over a day. */
const DAYS_AHEAD = 9;
/** 1970-01-01 was a Thursday. */
const WEEKDAY_OF_DAY_0 = 3;

/**
 * The opening that holds `wallMs`, or else the next one. Null only without windows. The end is exact when it is
 * less than a week away; one further off may be the beginning of a longer opening.
 */
export function findOpening(
  windows: readonly WindowRule[],
  wallMs: number,
  deviceZone: string,
): NextOpening | null {
  const openings = windows.flatMap((window) => openingsOf(window, wallMs, window.timeZone ?? deviceZone));
  openings.sort((one, other) => one.fromMs - other.fromMs);
  const [first, ...others] = openings;
  if (first === undefined) return null;
  let { untilMs } = first;
  for (const opening of others) {
    if (opening.fromMs > untilMs) break;
    untilMs = Math.max(untilMs, opening.untilMs);
  }
  return { ...first, untilMs };
}

function openingsOf(window: WindowRule, wallMs: number, timeZone: string): NextOpening[] {
  const today = Math.floor(localOf(timeZone, wallMs) / DAY_MS);
  const openings: NextOpening[] = [];
  for (let day = today - DAYS_BACK; day <= today + DAYS_AHEAD; day++) {
    if (!window.days.includes((day + WEEKDAY_OF_DAY_0) % 7)) continue;
    const { fromMs, untilMs } = openingOn(day, window, timeZone);
    if (untilMs > wallMs) openings.push({ fromMs, untilMs, timeZone });
  }
  return openings;
}

/** `day`: days since 1970-01-01 on the local calendar. */
function openingOn(day: number, window: WindowRule, timeZone: string): Opening {
  const fromMs = firstReading(timeZone, day * DAY_MS + window.fromMinute * MINUTE_MS);
  const untilMs = firstReading(timeZone, day * DAY_MS + window.toMinute * MINUTE_MS);
  if (untilMs > fromMs) return { fromMs, untilMs };
  return { fromMs, untilMs: fromMs + (window.toMinute - window.fromMinute) * MINUTE_MS };
}

export function freezeTimes(freeze: FreezeRule, deviceZone: string): Opening {
  const timeZone = freeze.timeZone ?? deviceZone;
  return {
    fromMs: firstReading(timeZone, freeze.fromLocalMs),
    untilMs: lastReading(timeZone, freeze.toLocalMs),
  };
}

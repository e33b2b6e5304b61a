/**
 * Watches windows and freezes for one point: looks at the times when one is due to begin or end, and at least every
 * minute, so that a step of the clock or another time zone is seen within a minute.
 */
import { defer, map, repeat, type Observable } from 'rxjs';
import type { FreezeRule, WindowRule } from '../../core/control/condition-settings.ts';
import type { Clock } from '../../ports/clock.ts';
import type { ClockVerdict } from './clock-trust.ts';
import { finding, notKnown, type Finding } from './finding.ts';
import { localText } from './local-time.ts';
import { findOpening, freezeTimes } from './windows.ts';

export interface CalendarDeps {
  readonly clock: Clock;
  /** Never rejects. */
  readonly checkClock: () => Promise<ClockVerdict>;
  /** null = cannot be told. */
  readonly deviceZone: () => string | null;
}

/** Named after its place in the configuration, so that it has the same id at every point. */
export interface NumberedFreeze {
  readonly id: string;
  readonly rule: FreezeRule;
}

const LONGEST_PAUSE_MS = 60_000;
const USEC_PER_MS = 1000;

/** Never completes. Every look emits, equal ones too. */
export function calendar$(
  windows: readonly WindowRule[],
  freezes: readonly NumberedFreeze[],
  deps: CalendarDeps,
): Observable<readonly Finding[]> {
  return defer(() => {
    let pauseMs = LONGEST_PAUSE_MS;
    return defer(() => deps.checkClock()).pipe(
      map((verdict): readonly Finding[] => {
        const { wallMs } = deps.clock.now();
        const look = lookAt(windows, freezes, { wallMs, verdict, deviceZone: deps.deviceZone() });
        pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(1, Math.ceil(look.nextChangeMs - wallMs)));
        return look.findings;
      }),
      repeat({ delay: () => deps.clock.timer(pauseMs) }),
    );
  });
}

export interface Moment {
  readonly wallMs: number;
  readonly verdict: ClockVerdict;
  readonly deviceZone: string | null;
}

export interface Look {
  readonly findings: readonly Finding[];
  /** Wall clock at which it will be different, Infinity = not known. */
  readonly nextChangeMs: number;
}

/** What is not met at this moment. Pure. */
export function lookAt(
  windows: readonly WindowRule[],
  freezes: readonly NumberedFreeze[],
  moment: Moment,
): Look {
  const looks = [
    ...(windows.length > 0 ? [lookAtWindows(windows, moment)] : []),
    ...freezes.map(({ id, rule }) => lookAtFreeze(rule, id, moment)),
  ];
  return {
    findings: looks.flatMap((look) => look.findings),
    nextChangeMs: Math.min(Infinity, ...looks.map((look) => look.nextChangeMs)),
  };
}

function lookAtWindows(windows: readonly WindowRule[], moment: Moment): Look {
  const { wallMs, verdict, deviceZone } = moment;
  // One window that nobody may pass makes the closing between all of them one that nobody may pass.
  const isSkippable = windows.every((window) => window.isSkippable);
  if (verdict.problem !== null) {
    const details = { 'clock-problem': verdict.problem };
    return never(finding('window', 'clock-not-trusted', { isSkippable, details }));
  }
  if (deviceZone === null && windows.some((window) => window.timeZone === null)) {
    return never(notKnown('window', 'time-zone', { isSkippable }));
  }
  const opening = findOpening(windows, wallMs, deviceZone ?? 'UTC');
  if (opening === null) return never(notKnown('window', 'next-window', { isSkippable }));
  if (opening.fromMs <= wallMs) return { findings: [], nextChangeMs: opening.untilMs };
  const details = {
    'next-window-usec': opening.fromMs * USEC_PER_MS,
    'next-window-local': localText(opening.timeZone, opening.fromMs),
  };
  const endsWallMs = opening.fromMs;
  return {
    findings: [finding('window', 'outside-window', { endsWallMs, isSkippable, details })],
    nextChangeMs: opening.fromMs,
  };
}

function lookAtFreeze(freeze: FreezeRule, id: string, moment: Moment): Look {
  const { wallMs, verdict, deviceZone } = moment;
  const isSkippable = false;
  const reason = freeze.reason === '' ? {} : { reason: freeze.reason };
  if (freeze.timeZone === null && deviceZone === null) {
    return never(notKnown('freeze', 'time-zone', { id, isSkippable }));
  }
  const timeZone = freeze.timeZone ?? deviceZone ?? 'UTC';
  const { fromMs, untilMs } = freezeTimes(freeze, timeZone);
  if (verdict.problem !== null) {
    // What was over at the earliest moment it can be is over.
    if (untilMs <= verdict.floorWallMs) return { findings: [], nextChangeMs: Infinity };
    const details = { 'clock-problem': verdict.problem, ...reason };
    return never(finding('freeze', 'clock-not-trusted', { id, isSkippable, details }));
  }
  if (wallMs < fromMs) return { findings: [], nextChangeMs: fromMs };
  if (wallMs >= untilMs) return { findings: [], nextChangeMs: Infinity };
  const details = { 'until-local': localText(timeZone, untilMs), ...reason };
  return {
    findings: [finding('freeze', 'frozen', { id, endsWallMs: untilMs, isSkippable, details })],
    nextChangeMs: untilMs,
  };
}

function never(one: Finding): Look {
  return { findings: [one], nextChangeMs: Infinity };
}

/**
 * The conditions of the configuration, watched together for the point an update is at. Each source finds out by
 * itself; here they become one list: complete at first, then at each change, with the time each began.
 */
import {
  catchError,
  combineLatest,
  connect,
  defer,
  distinctUntilChanged,
  map,
  merge,
  mergeMap,
  NEVER,
  of,
  ReplaySubject,
  share,
  takeUntil,
  type Observable,
} from 'rxjs';
import { conditionPoints, type ConditionSettings } from '../../core/control/condition-settings.ts';
import { MAX_UNMET, type UnmetCondition } from '../../core/control/condition.ts';
import { HOLD_POINTS, type HoldPoint } from '../../core/hold-point.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Conditions } from '../../ports/conditions.ts';
import type { Log } from '../../ports/log.ts';
import { CALL_TIMEOUT_MS, messageOf, noConditionBus, type ConditionBus } from './bus.ts';
import { calendar$ } from './calendar.ts';
import { ClockTrust, type ClockTrustOptions } from './clock-trust.ts';
import { notKnown, type Finding, type FindingKind } from './finding.ts';
import { inhibitors$ } from './inhibitors.ts';
import { metered$ } from './metered.ts';
import { power$ } from './power.ts';
import { longestRoundMs, scripts$ } from './scripts.ts';
import { deviceTimeZone, type TimeZoneSources } from './time-zone.ts';
import { wallClock$ } from './wall-clock.ts';

export interface ConditionDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** The system bus; null = it is not to be used (`DBus.Enabled` false). */
  readonly bus: ConditionBus | null;
  /** conditions.d of the configuration folder. */
  readonly scriptsFolder: string;
  readonly clockTrust: ClockTrustOptions;
  /** Default: TZ of our environment, and the system's files. */
  readonly timeZone?: TimeZoneSources;
}

/** A source that has said nothing by then counts as not known until it speaks. */
const FIRST_LIMIT_MS = 3 * CALL_TIMEOUT_MS;
const RESTART_MS = 10_000;

interface Source {
  readonly kind: FindingKind;
  readonly isSkippable: boolean;
  /** For its first word. */
  readonly limitMs: number;
  readonly findings$: Observable<readonly Finding[]>;
}

/** Does nothing until somebody subscribes, but look at when the state was last written. */
export function createConditions(settings: ConditionSettings, deps: ConditionDeps): Conditions {
  const { clock } = deps;
  const bus = deps.bus ?? noConditionBus;
  const log = deps.log.child({ component: 'conditions' });
  const trust = new ClockTrust(deps.clockTrust, {
    clock,
    bus,
    isSynchronizedRequired: settings.isSynchronizedClockRequired,
  });
  const calendar = {
    clock,
    checkClock: () => trust.check(),
    deviceZone: () => deviceTimeZone(deps.timeZone ?? { tz: process.env['TZ'] }),
  };

  const numbered = settings.freezes.map((rule, index) => ({ id: `freeze:${index + 1}`, rule }));

  function sourcesAt(point: HoldPoint): readonly Source[] {
    const isHere = (rule: { readonly points: readonly HoldPoint[] }): boolean => rule.points.includes(point);
    const { power, metered, inhibitors, scripts } = settings;
    const windows = settings.windows.filter(isHere);
    const freezes = numbered.filter(({ rule }) => isHere(rule));
    const remote = { bus, clock, log };
    const sources: Source[] = [];
    const add = (
      kind: FindingKind,
      isSkippable: boolean,
      findings$: Observable<readonly Finding[]>,
      limitMs = FIRST_LIMIT_MS,
    ): void => void sources.push({ kind, isSkippable, findings$, limitMs });

    if (windows.length + freezes.length > 0) {
      const kind = windows.length > 0 ? 'window' : 'freeze';
      const isSkippable = freezes.length === 0 && windows.every((window) => window.isSkippable);
      add(kind, isSkippable, calendar$(windows, freezes, calendar));
    }
    if (power && isHere(power)) add('power', power.isSkippable, power$(power, remote));
    if (metered && isHere(metered)) add('metered', metered.isSkippable, metered$(metered, remote));
    if (inhibitors && isHere(inhibitors)) add('inhibitor', false, inhibitors$(remote));
    if (scripts && isHere(scripts)) {
      const options = { clock, log, folder: deps.scriptsFolder };
      add('script', scripts.isSkippable, scripts$(point, scripts, options), longestRoundMs(scripts));
    }
    return sources;
  }

  function watch$(point: HoldPoint): Observable<readonly UnmetCondition[]> {
    return defer(() => {
      const sources = sourcesAt(point);
      if (sources.length === 0) return merge(of([]), NEVER);
      const since = new Map<string, number>();
      return combineLatest(sources.map((source) => guarded$(source, clock, log))).pipe(
        map((lists) => bounded(withSince(lists.flat(), since, clock.now().wallMs))),
        distinctUntilChanged((one, other) => JSON.stringify(one) === JSON.stringify(other)),
      );
    }).pipe(
      // Nobody's script is run twice because two look; the next update begins with nothing known.
      share({ connector: () => new ReplaySubject<readonly UnmetCondition[]>(1), resetOnRefCountZero: true }),
    );
  }

  const watched = new Map(HOLD_POINTS.map((point) => [point, watch$(point)]));
  return {
    points: conditionPoints(settings),
    unmet$: (point) => watched.get(point) ?? merge(of([]), NEVER),
    wallClock$: () => wallClock$(calendar),
  };
}

/** A source that fails is not met and is started again; one that is silent is not known until it speaks. */
function guarded$(source: Source, clock: Clock, log: Log): Observable<readonly Finding[]> {
  const { kind, isSkippable, limitMs } = source;
  const unknown = (what: string): readonly Finding[] => [notKnown(kind, what, { isSkippable })];
  return source.findings$.pipe(
    catchError((error: unknown, again$) => {
      log.error('A condition cannot be watched', { kind, errorMessage: messageOf(error) });
      return merge(of(unknown('error')), clock.timer(RESTART_MS).pipe(mergeMap(() => again$)));
    }),
    connect((known$) => {
      const silence$ = clock.timer(limitMs).pipe(map(() => unknown('no-answer')));
      return merge(known$, silence$.pipe(takeUntil(known$)));
    }),
  );
}

/** How long each has been known not to be met, whatever the reason. */
function withSince(
  findings: readonly Finding[],
  since: Map<string, number>,
  wallMs: number,
): readonly UnmetCondition[] {
  const ids = new Set(findings.map(({ id }) => id));
  for (const id of since.keys()) if (!ids.has(id)) since.delete(id);
  return findings.map((one) => {
    const sinceWallMs = since.get(one.id) ?? wallMs;
    since.set(one.id, sinceWallMs);
    return { ...one, sinceWallMs };
  });
}

function bounded(conditions: readonly UnmetCondition[]): readonly UnmetCondition[] {
  if (conditions.length <= MAX_UNMET) return conditions;
  const shown = conditions.slice(0, MAX_UNMET);
  const rest = conditions.slice(MAX_UNMET);
  const more: UnmetCondition = {
    id: 'more',
    kind: 'more',
    owner: '',
    reasonCode: 'more-conditions',
    sinceWallMs: Math.min(...rest.map((one) => one.sinceWallMs)),
    endsWallMs: 0,
    isSkippable: rest.every((one) => one.isSkippable),
    details: { count: rest.length },
  };
  return [...shown, more];
}

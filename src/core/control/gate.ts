import type { FailureName, Details } from '../errors.ts';
import type { HoldPoint, HoldPointSettings, OnExpire } from '../hold-point.ts';
import type { Blocker, Consent, Pause, Waiver } from '../state.ts';
import {
  conditionBlocking,
  consentBlocking,
  healthBlocking,
  holdBlocking,
  mapBlocking,
  pauseBlocking,
  rebootByHandBlocking,
  refreshBlocking,
  snoozeBlocking,
  updatesDisabledBlocking,
  type Blocking,
  type End,
  type Now,
} from './blockers.ts';
import type { UnmetCondition } from './condition.ts';
import type { HealthReport, HealthSettings } from './health.ts';
import { expireHolds, remainingMs, type Hold } from './hold.ts';
import {
  expireMaps,
  expiriesIn,
  mapKey,
  opinionsOf,
  reasonsOfReleases,
  releasesIn,
  type MapPool,
} from './map-pool.ts';
import type { ReleaseClock } from './map-release.ts';
import { MAP_POINTS, type MapPoint } from './control-map.ts';
import { searchByPriority, type Opinion } from './priority-search.ts';
import type { ActiveSnooze } from './snooze.ts';

/**
 * The one decision at a hold point: who blocks, until when, and what then. Separate from the update flow, which only
 * obeys it. Order: maps and holds by priority (`fail` at once), consent, health, then everything that just waits, then
 * the ceiling of the point. Sources: design/dbus-api.md section 4, design/compatibility.md "Ends of waits",
 * spec/update-control.md section 4.
 */
export interface GateSituation {
  readonly point: HoldPoint;
  readonly settings: HoldPointSettings;
  readonly health: HealthSettings;
  readonly deploymentId: string;
  /** Digest of the artifact the consent must be for; '' while unknown. */
  readonly digest: string;
  readonly consents: readonly Consent[];
  readonly waivers: readonly Waiver[];
  readonly pause: Pause | null;
  readonly areUpdatesEnabled: boolean;
  readonly holds: readonly Hold[];
  readonly maps: MapPool;
  readonly unmet: readonly UnmetCondition[];
  readonly healthReports: readonly HealthReport[];
  readonly snooze: ActiveSnooze | null;
  /** Uid of whoever will reboot by hand; null = nobody. */
  readonly rebootByHandUid: number | null;
  /** Attempts so far to refresh the server's control map, none of which has succeeded; 0 = not needed. */
  readonly failedRefreshes: number;
  /** Why releases at a time do not go by the wall clock; '' = they do. */
  readonly clockProblem: string;
  /** Waiting time used up at this point, milliseconds; and the part of it that was snoozed. */
  readonly waitedMs: number;
  readonly snoozedMs: number;
  readonly sinceWallMs: number;
  readonly now: Now;
}

export interface PassVerdict {
  readonly kind: 'pass';
  /** Why nothing blocks; never empty. */
  readonly reasons: readonly string[];
  /** Somebody's silence was taken for a yes. */
  readonly hasExpired: boolean;
  /** A person or a map has pushed it through. */
  readonly isForced: boolean;
  /** Keys of the maps that were asked. */
  readonly askedMaps: readonly string[];
}

export interface FailVerdict {
  readonly kind: 'fail';
  readonly name: FailureName;
  readonly reason:
    | 'consent-expired'
    | 'ceiling-reached'
    | 'hold-expired'
    | 'hold-fail'
    | 'map-fail'
    | 'health-failed'
    | 'health-overdue';
  readonly details: Details;
  readonly askedMaps: readonly string[];
}

export interface WaitVerdict {
  readonly kind: 'wait';
  readonly blockers: readonly Blocker[];
  /** Milliseconds until the wait ends by itself; null = never, by the administrator's decision. */
  readonly endsInMs: number | null;
  readonly onExpire: OnExpire;
  /** Milliseconds until this decision must be made again; null = when something happens. */
  readonly decideAgainInMs: number | null;
  readonly askedMaps: readonly string[];
}

export type GateVerdict = PassVerdict | FailVerdict | WaitVerdict;

export function decideGate(situation: GateSituation): GateVerdict {
  const judgement = judge(situation);
  if (judgement.kind !== 'blocked') return judgement;
  return waitVerdict(situation, judgement.blocking, judgement.askedMaps);
}

/** Who blocks, not yet until when. */
interface Blocked {
  readonly kind: 'blocked';
  readonly blocking: readonly Blocking[];
  readonly askedMaps: readonly string[];
}

function judge(situation: GateSituation): PassVerdict | FailVerdict | Blocked {
  const { settings, point, now } = situation;
  const isOverridden = isWaived(situation, 'override');
  const control = askMapsAndHolds(situation, isOverridden);
  const { askedMaps } = control;
  if (control.fail) return { ...control.fail, askedMaps };

  const consent = consentBlocking(situation.consents, {
    point,
    digest: situation.digest,
    settings,
    askedMs: situation.waitedMs - situation.snoozedMs,
    snoozeLeftMs: situation.snooze ? Math.max(0, situation.snooze.untilWaitedMs - situation.waitedMs) : 0,
    sinceWallMs: situation.sinceWallMs,
  });
  const isRefusedBySilence = consent.blocking !== null && consent.hasExpired;
  const health = healthAt(situation);
  if (health.failedChecker !== '' || health.isOverdue) {
    return {
      kind: 'fail',
      name: 'HealthCheck',
      reason: health.isOverdue ? 'health-overdue' : 'health-failed',
      details: health.isOverdue ? {} : { checker: health.failedChecker },
      askedMaps,
    };
  }

  const blocking: readonly Blocking[] = [
    ...(consent.blocking && !isOverridden ? [consent.blocking] : []),
    ...control.blocking,
    ...(situation.pause ? [pauseBlocking(situation.pause)] : []),
    ...updateSwitch(situation),
    ...conditionsInForce(situation, isOverridden).map(conditionBlocking),
    ...(health.blocking ? [health.blocking] : []),
    // Nobody can override during a snooze: it has no ticket. So a snooze is always the later word.
    ...(situation.snooze && !control.isForced ? [snoozeBlocking(situation.snooze, situation.waitedMs)] : []),
    ...(situation.rebootByHandUid === null || point !== 'ArtifactReboot_Enter'
      ? []
      : [rebootByHandBlocking(situation.rebootByHandUid, situation.sinceWallMs)]),
    ...(situation.failedRefreshes > 0 ? [refreshBlocking(situation.failedRefreshes, now.wallMs)] : []),
  ];
  if (blocking.length === 0) {
    return {
      kind: 'pass',
      reasons: reasonsToPass(situation, consent.reason, control.isForced),
      hasExpired: consent.reason === 'consent-expired',
      isForced: isOverridden || control.isForced || isWaived(situation, 'now'),
      askedMaps,
    };
  }
  if (isRefusedBySilence && !isOverridden) {
    return { kind: 'fail', name: 'HoldExpired', reason: 'consent-expired', details: {}, askedMaps };
  }
  const isUnproven = health.blocking !== null;
  return atCeiling(situation, isUnproven, askedMaps) ?? { kind: 'blocked', blocking, askedMaps };
}

function isMapPoint(point: HoldPoint): point is MapPoint {
  return (MAP_POINTS as readonly HoldPoint[]).includes(point);
}

interface Control {
  readonly fail: Omit<FailVerdict, 'askedMaps'> | null;
  readonly blocking: readonly Blocking[];
  readonly isForced: boolean;
  readonly askedMaps: readonly string[];
}

type Asked =
  | { readonly kind: 'map'; readonly key: string; readonly blocking: Blocking }
  | { readonly kind: 'hold'; readonly hold: Hold };

/** One search for both, so that a priority means the same everywhere. */
function askMapsAndHolds(situation: GateSituation, isOverridden: boolean): Control {
  const { point, now } = situation;
  const context = { hasDeployment: true, waitPoint: point };
  const holds = situation.holds.filter(
    (hold) =>
      hold.points.includes(point) &&
      (hold.deploymentId === '' || hold.deploymentId === situation.deploymentId),
  );
  const mapOpinions: readonly Opinion<Asked>[] = isMapPoint(point)
    ? opinionsOf(situation.maps, point, clockOf(situation)).map(({ priority, value, from }) => {
        const key = mapKey(from);
        const blocking = mapBlocking(from, key, { now, point, clockProblem: situation.clockProblem });
        return { priority, value, from: { kind: 'map', key, blocking } };
      })
    : [];
  const opinions: readonly Opinion<Asked>[] = [
    ...mapOpinions,
    ...holds.map((hold): Opinion<Asked> => ({
      priority: hold.priority,
      value: holdSays(hold),
      from: { kind: 'hold', hold },
    })),
  ];
  // Override lifts what waits; a refusal stays a refusal.
  const search = searchByPriority(
    isOverridden ? opinions.filter(({ value }) => value !== 'pause') : opinions,
  );
  const askedMaps = (isOverridden ? mapOpinions.map(({ from }) => from) : search.asked).flatMap((asked) =>
    asked.kind === 'map' ? [asked.key] : [],
  );
  const isForced = search.verdict === 'force_continue';
  const fail = search.verdict === 'fail' ? failVerdict(search.deciding) : null;
  // Everybody who would still block is shown, those below the deciding priority too.
  const blocking =
    search.verdict === 'pause'
      ? opinions
          .filter(({ value }) => value === 'pause')
          .map(({ from }) =>
            from.kind === 'map'
              ? from.blocking
              : holdBlocking(from.hold, remainingMs(from.hold, context, now.bootMs)),
          )
      : [];
  return { fail, blocking, isForced, askedMaps };
}

function clockOf({ now, clockProblem }: GateSituation): ReleaseClock {
  return { wallMs: now.wallMs, problem: clockProblem };
}

function holdSays(hold: Hold): Opinion<Hold>['value'] {
  return hold.action === 'fail' || (hold.isExpired && hold.onExpire === 'fail') ? 'fail' : 'pause';
}

function failVerdict(deciding: readonly Asked[]): Omit<FailVerdict, 'askedMaps'> {
  const map = deciding.find((asked) => asked.kind === 'map');
  if (map) {
    const { 'map-id': id, priority, origin } = map.blocking.blocker.details;
    const details = { 'map-id': id ?? '', priority: priority ?? 0, origin: origin ?? '' };
    return { kind: 'fail', name: 'ControlMap', reason: 'map-fail', details };
  }
  const [first] = deciding;
  const hold = first?.kind === 'hold' ? first.hold : null;
  const details = hold ? { 'hold-id': hold.id, owner: hold.owner, why: hold.why } : {};
  return hold?.isExpired === true
    ? { kind: 'fail', name: 'HoldExpired', reason: 'hold-expired', details }
    : { kind: 'fail', name: 'ControlMap', reason: 'hold-fail', details };
}

function healthAt(situation: GateSituation): ReturnType<typeof healthBlocking> {
  const { point, health, healthReports, waitedMs, sinceWallMs } = situation;
  return point === 'ArtifactCommit_Enter' && health.checkers.length > 0
    ? healthBlocking(health, healthReports, waitedMs, sinceWallMs)
    : { blocking: null, failedChecker: '', isOverdue: false };
}

/** Updates switched off hold an offer back before its first byte; one that is past that gate goes on. */
function updateSwitch({ areUpdatesEnabled, point, sinceWallMs }: GateSituation): readonly Blocking[] {
  return areUpdatesEnabled || point !== 'Download_Enter' ? [] : [updatesDisabledBlocking(sinceWallMs)];
}

function conditionsInForce(situation: GateSituation, isOverridden: boolean): readonly UnmetCondition[] {
  if (isOverridden) return [];
  return isWaived(situation, 'now')
    ? situation.unmet.filter(({ isSkippable }) => !isSkippable)
    : situation.unmet;
}

function isWaived({ waivers, point, digest }: GateSituation, kind: Waiver['kind']): boolean {
  return waivers.some((waiver) => waiver.kind === kind && waiver.point === point && waiver.digest === digest);
}

function reasonsToPass(
  situation: GateSituation,
  consentReason: string,
  isForced: boolean,
): readonly string[] {
  const reasons = [
    ...(consentReason === '' ? [] : [consentReason]),
    ...situation.waivers
      .filter(({ point, digest }) => point === situation.point && digest === situation.digest)
      .map(({ kind, uid }) => `${kind}-uid-${uid}`),
    ...(isForced ? ['map-force-continue'] : []),
    ...reasonsOfReleases(situation.maps, situation.point, clockOf(situation)),
  ];
  return reasons.length === 0 ? ['nothing-blocks'] : reasons;
}

function atCeiling(
  situation: GateSituation,
  isUnproven: boolean,
  askedMaps: readonly string[],
): PassVerdict | FailVerdict | null {
  const { settings, waitedMs } = situation;
  if (settings.ceilingSeconds === 0 || waitedMs < settings.ceilingSeconds * 1000) return null;
  // That a wait is over is no proof that the new version is well: only an `ok` of every checker is.
  if (isUnproven) {
    return { kind: 'fail', name: 'HealthCheck', reason: 'health-overdue', details: {}, askedMaps };
  }
  return settings.onCeiling === 'continue'
    ? { kind: 'pass', reasons: ['ceiling-reached'], hasExpired: true, isForced: false, askedMaps }
    : { kind: 'fail', name: 'HoldExpired', reason: 'ceiling-reached', details: {}, askedMaps };
}

function waitVerdict(
  situation: GateSituation,
  blocking: readonly Blocking[],
  askedMaps: readonly string[],
): WaitVerdict {
  const { settings, now } = situation;
  const changesInMs = changesByTime(situation, blocking);
  const end = endByTime(situation, changesInMs);
  return {
    kind: 'wait',
    blockers: blocking.map(({ blocker, end: own }): Blocker => ({
      ...blocker,
      details: { ...blocker.details, ...limitDetails(settings) },
      endsBootMs: own === null ? 0 : now.bootMs + own.inMs,
      endsWallMs: own === null ? 0 : now.wallMs + own.inMs,
      onEnd: own?.leadsTo ?? 'keep-waiting',
    })),
    endsInMs: end?.inMs ?? null,
    onExpire: end?.leadsTo ?? 'keep-waiting',
    decideAgainInMs: changesInMs[0] ?? null,
    askedMaps,
  };
}

/** When time alone changes something about the situation, milliseconds from now, in order. */
function changesByTime(situation: GateSituation, blocking: readonly Blocking[]): readonly number[] {
  const { settings, waitedMs, maps, holds, point, now } = situation;
  const context = { hasDeployment: true, waitPoint: point };
  const inMs = [
    ...blocking.flatMap(({ end }) => end?.inMs ?? []),
    ...(settings.ceilingSeconds === 0 ? [] : [settings.ceilingSeconds * 1000 - waitedMs]),
    ...expiriesIn(maps, now.bootMs),
    ...releasesIn(maps, point, clockOf(situation)),
    ...holds.flatMap((hold) => remainingMs(hold, context, now.bootMs) ?? []),
  ];
  return [...new Set(inMs.map((ms) => Math.max(0, ms)))].sort((one, other) => one - other);
}

/**
 * How the wait ends if nobody does anything: the first of these moments at which the same judgement is another one. What
 * a single blocker's end means does not tell: whoever has the higher priority may still wait, or may have waited in
 * front of a refusal.
 */
function endByTime(situation: GateSituation, changesInMs: readonly number[]): End | null {
  for (const inMs of changesInMs) {
    const { kind } = judge(afterMs(situation, inMs));
    if (kind !== 'blocked') return { inMs, leadsTo: kind === 'pass' ? 'continue' : 'fail' };
  }
  return null;
}

/** The same situation later. */
function afterMs(situation: GateSituation, ms: number): GateSituation {
  const { point, holds, maps, snooze, waitedMs, snoozedMs, now } = situation;
  const bootMs = now.bootMs + ms;
  const snoozeLeftMs = snooze === null ? 0 : Math.max(0, snooze.untilWaitedMs - waitedMs);
  return {
    ...situation,
    now: { wallMs: now.wallMs + ms, bootMs },
    waitedMs: waitedMs + ms,
    snoozedMs: snoozedMs + Math.min(ms, snoozeLeftMs),
    snooze: snoozeLeftMs > ms ? snooze : null,
    holds: expireHolds(holds, { hasDeployment: true, waitPoint: point }, bootMs).holds,
    maps: expireMaps(maps, bootMs),
  };
}

/** A wait without an end exists only where an administrator wants it, and is then shown as such. */
function limitDetails(settings: HoldPointSettings): Blocker['details'] {
  return settings.ceilingSeconds === 0
    ? { limit: 'no-limit-by-policy' }
    : { 'ceiling-seconds': settings.ceilingSeconds, 'on-ceiling': settings.onCeiling };
}

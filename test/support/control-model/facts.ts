/**
 * The naive half of the model: what has been said and done at a gate, kept by its own rules, and who therefore blocks.
 * Written from design/dbus-api.md section 4 and spec/update-control.md section 4 without a look at control/gate.ts;
 * shares no code with it, so that neither can hide a mistake of the other.
 */
import type { HoldPoint, HoldPointSettings, OnExpire } from '../../../src/core/hold-point.ts';

export const MINUTE_MS = 60_000;
/** All short, so that a run reaches every end in a few steps. */
export const LIMITS = {
  lingerMs: 10_000,
  mapMs: 40 * MINUTE_MS,
  bootMs: 10 * MINUTE_MS,
  snoozeMs: 20 * MINUTE_MS,
  snoozeTotalMs: 40 * MINUTE_MS,
  snoozeCount: 2,
  healthMs: 50 * MINUTE_MS,
  silenceMs: MINUTE_MS,
  downMs: 2_000,
  refreshTries: 2,
} as const;

export interface FactHold {
  readonly id: string;
  readonly kind: 'bound' | 'timed';
  readonly appId: string;
  readonly connection: string;
  readonly priority: number;
  readonly says: 'pause' | 'fail';
  readonly onExpire: OnExpire;
  readonly timeoutMs: number;
  /** null = it has no end of its own at present. */
  readonly leftMs: number | null;
  readonly runs: 'always' | 'while-waiting';
  readonly isExpired: boolean;
  /** Only for the deployment under way. */
  readonly isForThis: boolean;
}

export interface FactMap {
  readonly key: string;
  readonly priority: number;
  readonly says: string;
  readonly saysExpired: string;
  readonly leftMs: number;
  readonly isExpired: boolean;
  readonly isServers: boolean;
  /** What it says once it has been asked and the update has gone on. */
  readonly afterwards: string;
}

export interface Facts {
  readonly consentUid: number | null;
  /** As they are to be recorded: `now-uid-7`. */
  readonly waivers: readonly string[];
  readonly isPaused: boolean;
  readonly isOff: boolean;
  readonly holds: readonly FactHold[];
  readonly maps: readonly FactMap[];
  readonly window: 'unknown' | 'open' | 'closed' | 'frozen' | 'silent';
  readonly silentInMs: number;
  readonly health: 'none' | 'ok' | 'failed';
  readonly byHand: boolean;
  readonly snoozeLeftMs: number | null;
  readonly snoozeCount: number;
  readonly snoozeTotalMs: number;
  readonly waitedMs: number;
  readonly snoozedMs: number;
  /** Keys of the maps that have been asked since the update came to the gate. */
  readonly asked: readonly string[];
  readonly refresh: 'none' | 'first' | 'failing';
  readonly failures: number;
  /** The person or the server who has ended it. */
  readonly endedBy: '' | 'person' | 'server';
}

export interface Gate {
  readonly point: HoldPoint;
  readonly settings: HoldPointSettings;
  readonly hasConditions: boolean;
  readonly hasHealth: boolean;
}

export const NO_FACTS: Facts = {
  consentUid: null,
  waivers: [],
  isPaused: false,
  isOff: false,
  holds: [],
  maps: [],
  window: 'unknown',
  silentInMs: LIMITS.silenceMs,
  health: 'none',
  byHand: false,
  snoozeLeftMs: null,
  snoozeCount: 0,
  snoozeTotalMs: 0,
  waitedMs: 0,
  snoozedMs: 0,
  asked: [],
  refresh: 'none',
  failures: 0,
  endedBy: '',
};

export type Judgement =
  | { readonly kind: 'undecided' }
  | {
      readonly kind: 'pass';
      readonly reasons: readonly string[];
      readonly isForced: boolean;
      readonly hasExpired: boolean;
    }
  | { readonly kind: 'fail'; readonly reason: string; readonly checker: string }
  | { readonly kind: 'wait'; readonly who: readonly string[] };

export function judgeNaively(facts: Facts, gate: Gate): Judgement {
  const { point, settings } = gate;
  if (facts.window === 'unknown' || facts.refresh === 'first') return { kind: 'undecided' };
  const isOverridden = facts.waivers.some((one) => one.startsWith('override'));
  const voices = voicesOf(facts, point).filter(({ says }) => !(isOverridden && says === 'pause'));
  const loud = voices.filter(({ says }) => says !== 'continue');
  const top = Math.max(...loud.map(({ priority }) => priority));
  const deciding = loud.filter(({ priority }) => priority === top);
  const refusing = deciding.filter(({ says }) => says === 'fail');
  if (refusing.length > 0) {
    const first = refusing.find(({ id }) => id.startsWith('map:')) ?? refusing[0];
    return { kind: 'fail', reason: first?.why ?? '', checker: '' };
  }
  const isHeld = deciding.some(({ says }) => says === 'pause');
  const isForced = deciding.length > 0 && !isHeld;

  const isProven = !gate.hasHealth || point !== 'ArtifactCommit_Enter' || facts.health === 'ok';
  if (!isProven && facts.health === 'failed')
    return { kind: 'fail', reason: 'health-failed', checker: 'app' };
  if (!isProven && facts.waitedMs >= LIMITS.healthMs) return overdue;

  const isAsked = settings.consent === 'required' && facts.consentUid === null;
  const askedMs = facts.waitedMs - facts.snoozedMs;
  const isTimedOut =
    isAsked && settings.consentTimeoutSeconds > 0 && askedMs >= settings.consentTimeoutSeconds * 1000;
  const isSilenceYes = isTimedOut && settings.onExpire === 'continue';
  const who: string[] = [];
  if (isAsked && !isSilenceYes && !isOverridden) who.push('consent');
  if (isHeld) who.push(...voices.filter(({ says }) => says === 'pause').map(({ id }) => id));
  if (facts.isPaused) who.push('pause');
  if (facts.isOff && point === 'Download_Enter') who.push('updates-disabled');
  if (!isOverridden) {
    const isNow = facts.waivers.some((one) => one.startsWith('now'));
    if (facts.window === 'closed' && !isNow) who.push('condition:window');
    if (facts.window === 'frozen') who.push('condition:freeze');
    if (facts.window === 'silent') who.push('condition:conditions');
  }
  if (!isProven) who.push('health');
  if (facts.snoozeLeftMs !== null && !isForced) who.push('snooze');
  if (facts.byHand && point === 'ArtifactReboot_Enter') who.push('reboot-by-hand');
  if (facts.refresh === 'failing') who.push('map-refresh');

  if (who.length === 0) {
    const reasons = [
      ...(facts.consentUid === null ? [] : [`consent-uid-${facts.consentUid}`]),
      ...(isSilenceYes ? ['consent-expired'] : []),
      ...facts.waivers,
      ...(isForced ? ['map-force-continue'] : []),
    ];
    return {
      kind: 'pass',
      reasons: reasons.length === 0 ? ['nothing-blocks'] : reasons,
      isForced: isForced || facts.waivers.length > 0,
      hasExpired: isSilenceYes,
    };
  }
  if (isTimedOut && settings.onExpire === 'fail' && !isOverridden) {
    return { kind: 'fail', reason: 'consent-expired', checker: '' };
  }
  if (settings.ceilingSeconds > 0 && facts.waitedMs >= settings.ceilingSeconds * 1000) {
    if (!isProven) return overdue;
    if (settings.onCeiling === 'fail') return { kind: 'fail', reason: 'ceiling-reached', checker: '' };
    return { kind: 'pass', reasons: ['ceiling-reached'], isForced: false, hasExpired: true };
  }
  return { kind: 'wait', who: who.sort() };
}

const overdue = { kind: 'fail', reason: 'health-overdue', checker: '' } as const;

/** The maps down to the priority that decides are asked by every look at the gate; by an override, all are. */
export function asking(facts: Facts, { point }: Gate): Facts {
  if (facts.window === 'unknown' || facts.refresh === 'first') return facts;
  if (['Download_Enter', 'ArtifactRollbackReboot_Enter'].includes(point)) return facts;
  const isOverridden = facts.waivers.some((one) => one.startsWith('override'));
  const loud = voicesOf(facts, point).filter(({ says }) => says !== 'continue');
  const top = isOverridden ? -Infinity : Math.max(...loud.map(({ priority }) => priority));
  const asked = facts.maps.filter(({ priority }) => loud.length === 0 || priority >= top);
  return { ...facts, asked: [...new Set([...facts.asked, ...asked.map(({ key }) => key)])] };
}

/** The update has gone on: who was asked says from now on what it wanted to say then. */
export function afterPassage(facts: Facts): Facts {
  const maps = facts.maps.map((map) =>
    facts.asked.includes(map.key) ? { ...map, says: map.afterwards } : map,
  );
  return { ...facts, snoozeLeftMs: null, maps };
}

interface Voice {
  /** What a refusal of it is called. */
  readonly why: string;
  readonly id: string;
  readonly priority: number;
  readonly says: string;
}

function voicesOf(facts: Facts, point: HoldPoint): readonly Voice[] {
  const knowsMaps = !['Download_Enter', 'ArtifactRollbackReboot_Enter'].includes(point);
  return [
    ...facts.holds.map(({ id, priority, says, isExpired, onExpire }) => ({
      id: `hold:${id}`,
      why: isExpired ? 'hold-expired' : 'hold-fail',
      priority,
      says: isExpired && onExpire === 'fail' ? 'fail' : says,
    })),
    ...(knowsMaps ? facts.maps : []).map(({ key, priority, says, saysExpired, isExpired, isServers }) => ({
      id: `map:${key}`,
      why: 'map-fail',
      priority,
      // Nobody fails because the server is out of reach (docs/decisions/0026).
      says:
        isExpired && !(isServers && facts.refresh === 'failing' && saysExpired === 'fail')
          ? saysExpired
          : says,
    })),
  ];
}

/** Time passes. What counts only while waiting stands still otherwise. */
export function elapse(facts: Facts, ms: number, isWaiting: boolean): Facts {
  const waited = isWaiting ? ms : 0;
  const snoozeLeft = facts.snoozeLeftMs === null ? null : facts.snoozeLeftMs - waited;
  return expire(
    {
      ...facts,
      waitedMs: facts.waitedMs + waited,
      snoozedMs: facts.snoozedMs + Math.min(waited, facts.snoozeLeftMs ?? 0),
      snoozeLeftMs: snoozeLeft,
      silentInMs: facts.silentInMs - ms,
      holds: facts.holds.map((hold) =>
        hold.leftMs === null || hold.isExpired
          ? hold
          : { ...hold, leftMs: hold.leftMs - (hold.runs === 'always' ? ms : waited) },
      ),
      maps: facts.maps.map((map) => ({ ...map, leftMs: map.leftMs - ms })),
    },
    isWaiting,
  );
}

function expire(facts: Facts, isWaiting: boolean): Facts {
  return {
    ...facts,
    snoozeLeftMs: facts.snoozeLeftMs !== null && facts.snoozeLeftMs <= 0 ? null : facts.snoozeLeftMs,
    holds: facts.holds.flatMap((hold) => {
      if (hold.leftMs === null || hold.leftMs > 0 || hold.isExpired) return [hold];
      // A lost owner's hold just goes, and so does one that says continue.
      if (hold.runs === 'always' || hold.onExpire === 'continue' || !isWaiting) return [];
      return [{ ...hold, leftMs: 0, isExpired: true }];
    }),
    maps: facts.maps.map((map) => (map.leftMs <= 0 ? { ...map, isExpired: true } : map)),
  };
}

/** The process has died and is there again; `lostMs` of waiting were not stored. */
export function afterStart(
  facts: Facts,
  gate: Gate,
  how: { readonly reboots: boolean; readonly lostMs: number },
): Facts {
  const { reboots, lostMs } = how;
  return {
    ...facts,
    window: gate.hasConditions ? 'unknown' : 'open',
    silentInMs: LIMITS.silenceMs,
    refresh: facts.maps.some(({ isServers }) => isServers) ? 'first' : 'none',
    failures: 0,
    asked: [],
    waitedMs: facts.waitedMs - lostMs,
    // Beginning and end of a snooze are stored: what was lost lies within it, or without.
    snoozedMs: facts.snoozedMs - (facts.snoozeLeftMs === null ? 0 : lostMs),
    snoozeLeftMs: facts.snoozeLeftMs === null ? null : facts.snoozeLeftMs + lostMs,
    health: reboots ? 'none' : facts.health,
    maps: facts.maps.filter(saysAnything).map((map) => ({ ...map, leftMs: LIMITS.bootMs })),
    holds: reboots ? facts.holds.flatMap(afterReboot) : facts.holds,
  };
}

/** A rule that says continue in every case is none once it is read again: spec/update-control.md, case 19. */
function saysAnything({ says, saysExpired, afterwards }: FactMap): boolean {
  return [says, saysExpired, afterwards].some((word) => word !== 'continue');
}

function afterReboot(hold: FactHold): readonly FactHold[] {
  if (hold.isExpired) return [hold];
  if (hold.kind === 'timed') return [{ ...hold, leftMs: Math.min(hold.timeoutMs, LIMITS.bootMs) }];
  if (hold.appId === '') return [];
  return [{ ...hold, connection: '', leftMs: LIMITS.bootMs, runs: 'while-waiting' }];
}

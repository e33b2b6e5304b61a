import type { HoldPointSettings, OnExpire } from '../hold-point.ts';
import { printable } from '../printable.ts';
import type { Blocker, Consent, Pause } from '../state.ts';
import type { UnmetCondition } from './condition.ts';
import type { PooledMap } from './control-map.ts';
import type { HealthReport, HealthSettings } from './health.ts';
import type { Hold } from './hold.ts';
import { releaseOf } from './map-release.ts';
import type { ActiveSnooze } from './snooze.ts';

/**
 * Every reason why a gate does not open, one function for each kind. Each says who blocks, since when, and how it ends
 * by itself, if it does. Source: design/dbus-api.md section 2 ("one list").
 */
export interface Now {
  readonly wallMs: number;
  readonly bootMs: number;
}

/** How a blocker ends by itself. `unblocks`: it goes, and nothing is decided by that. */
export interface End {
  readonly inMs: number;
  readonly leadsTo: OnExpire;
}

export interface Blocking {
  readonly blocker: Omit<Blocker, 'endsBootMs' | 'endsWallMs' | 'onEnd'>;
  /** null = only somebody can end it (or the ceiling of the point). */
  readonly end: End | null;
}

export function consentBlocking(
  consents: readonly Consent[],
  facts: {
    readonly point: string;
    readonly digest: string;
    readonly settings: HoldPointSettings;
    /** Time the person was really being asked: without snoozes. */
    readonly askedMs: number;
    /** Time until the person is asked again; 0 = not snoozed. */
    readonly snoozeLeftMs: number;
    readonly sinceWallMs: number;
  },
): { readonly blocking: Blocking | null; readonly reason: string; readonly hasExpired: boolean } {
  const { point, digest, settings, askedMs } = facts;
  const given = consents.find((consent) => consent.point === point && consent.digest === digest);
  if (given) return { blocking: null, reason: `consent-uid-${given.uid}`, hasExpired: false };
  if (settings.consent === 'none') return { blocking: null, reason: '', hasExpired: false };
  const runsOut = settings.consentTimeoutSeconds > 0 && settings.onExpire !== 'keep-waiting';
  const leftMs = settings.consentTimeoutSeconds * 1000 - askedMs;
  if (runsOut && leftMs <= 0 && settings.onExpire === 'continue') {
    return { blocking: null, reason: 'consent-expired', hasExpired: true };
  }
  return {
    reason: '',
    hasExpired: runsOut && leftMs <= 0,
    blocking: {
      blocker: {
        id: 'consent',
        kind: 'consent',
        owner: 'policy',
        reasonCode: 'consent-required',
        sinceWallMs: facts.sinceWallMs,
        details: { 'timeout-seconds': settings.consentTimeoutSeconds, 'on-expire': settings.onExpire },
      },
      end: runsOut ? { inMs: Math.max(0, leftMs) + facts.snoozeLeftMs, leadsTo: settings.onExpire } : null,
    },
  };
}

export function holdBlocking(hold: Hold, leftMs: number | null): Blocking {
  const reasonCode = hold.isExpired
    ? 'hold-overdue'
    : ({ none: 'held', time: 'held', linger: 'owner-lost', return: 'owner-expected' } as const)[
        hold.countdown
      ];
  return {
    blocker: {
      id: `hold:${hold.id}`,
      kind: 'hold',
      owner: hold.owner,
      reasonCode,
      sinceWallMs: hold.sinceWallMs,
      details: {
        'hold-id': hold.id,
        why: hold.why,
        uid: hold.uid,
        lifetime: hold.lifetime,
        priority: hold.priority,
        ...(hold.pid >= 0 && { pid: hold.pid }),
      },
    },
    // A lost owner's hold just goes; whether the update goes on then is for the others to say.
    end:
      leftMs === null
        ? null
        : { inMs: leftMs, leadsTo: hold.countdown === 'linger' ? 'continue' : hold.onExpire },
  };
}

export function mapBlocking(
  map: PooledMap,
  key: string,
  facts: { readonly now: Now; readonly point: string; readonly clockProblem: string },
): Blocking {
  const { now, point, clockProblem } = facts;
  const blocker = {
    id: `map:${key}`,
    kind: 'map',
    owner: map.origin === 'server' ? 'server' : `uid:${map.uid}`,
    sinceWallMs: map.setWallMs,
  };
  const details = { 'map-id': map.id, priority: map.priority, origin: map.origin };
  const release = releaseOf(map.releases, point);
  if (release !== null) {
    const { atWallMs } = release;
    const isBelieved = clockProblem === '';
    return {
      blocker: {
        ...blocker,
        reasonCode: isBelieved ? 'paused-until-release' : 'clock-not-trusted',
        details: {
          ...details,
          'release-at-usec': atWallMs * 1000,
          ...(!isBelieved && { 'clock-problem': clockProblem }),
        },
      },
      end: isBelieved ? { inMs: Math.max(0, atWallMs - now.wallMs), leadsTo: 'continue' } : null,
    };
  }
  const rule = Object.entries(map.states).find(([name]) => name === point)?.[1];
  return {
    blocker: { ...blocker, reasonCode: 'paused-by-map', details },
    // An expired map never pauses: `on_map_expire` knows no such word.
    end: Number.isFinite(map.expiresBootMs)
      ? {
          inMs: Math.max(0, map.expiresBootMs - now.bootMs),
          leadsTo: rule?.onMapExpire === 'fail' ? 'fail' : 'continue',
        }
      : null,
  };
}

export function pauseBlocking(pause: Pause): Blocking {
  return {
    blocker: {
      id: 'pause',
      kind: 'pause',
      owner: `uid:${pause.uid}`,
      reasonCode: 'paused',
      sinceWallMs: pause.sinceWallMs,
      details: { uid: pause.uid },
    },
    end: null,
  };
}

export function updatesDisabledBlocking(sinceWallMs: number): Blocking {
  return {
    blocker: {
      id: 'updates-disabled',
      kind: 'updates-disabled',
      owner: 'policy',
      reasonCode: 'updates-disabled',
      sinceWallMs,
      details: {},
    },
    end: null,
  };
}

export function conditionBlocking(condition: UnmetCondition): Blocking {
  // When the clock says a window opens is for display: the adapter tells when it has.
  const ends = condition.endsWallMs > 0 ? { 'expected-end-usec': condition.endsWallMs * 1000 } : {};
  return {
    blocker: {
      id: `condition:${condition.id}`,
      kind: condition.kind,
      owner: condition.owner === '' ? 'policy' : printable(condition.owner),
      reasonCode: condition.reasonCode,
      sinceWallMs: condition.sinceWallMs,
      details: { ...condition.details, ...ends, skippable: condition.isSkippable },
    },
    end: null,
  };
}

export function healthBlocking(
  settings: HealthSettings,
  reports: readonly HealthReport[],
  waitedMs: number,
  sinceWallMs: number,
): {
  readonly blocking: Blocking | null;
  /** Who found it ill; '' = nobody. */
  readonly failedChecker: string;
  readonly isOverdue: boolean;
} {
  const failed = reports.find(({ verdict }) => verdict === 'failed');
  const missing = settings.checkers.filter((name) => !reports.some(({ checker }) => checker === name));
  const leftMs = settings.deadlineSeconds * 1000 - waitedMs;
  if (failed || missing.length === 0) {
    return { blocking: null, failedChecker: failed?.checker ?? '', isOverdue: false };
  }
  return {
    failedChecker: '',
    isOverdue: leftMs <= 0,
    blocking: {
      blocker: {
        id: 'health',
        kind: 'health',
        owner: missing.join(', '),
        reasonCode: 'health-not-reported',
        sinceWallMs,
        details: { checkers: missing.join(','), 'deadline-seconds': settings.deadlineSeconds },
      },
      end: { inMs: Math.max(0, leftMs), leadsTo: 'fail' },
    },
  };
}

export function snoozeBlocking(snooze: ActiveSnooze, waitedMs: number): Blocking {
  return {
    blocker: {
      id: 'snooze',
      kind: 'snooze',
      owner: snooze.app === '' ? `uid:${snooze.uid}` : snooze.app,
      reasonCode: 'snoozed',
      sinceWallMs: snooze.sinceWallMs,
      details: { uid: snooze.uid },
    },
    end: { inMs: Math.max(0, snooze.untilWaitedMs - waitedMs), leadsTo: 'continue' },
  };
}

/** The person said at the reboot gate that he or she will reboot. */
export function rebootByHandBlocking(uid: number, sinceWallMs: number): Blocking {
  return {
    blocker: {
      id: 'reboot-by-hand',
      kind: 'reboot',
      owner: `uid:${uid}`,
      reasonCode: 'reboot-by-hand',
      sinceWallMs,
      details: { uid },
    },
    end: null,
  };
}

export function refreshBlocking(attempts: number, sinceWallMs: number): Blocking {
  return {
    blocker: {
      id: 'map-refresh',
      kind: 'map',
      owner: 'server',
      reasonCode: 'map-not-refreshed',
      sinceWallMs,
      details: { attempts },
    },
    end: null,
  };
}

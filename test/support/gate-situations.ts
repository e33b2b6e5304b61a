/** Situations at a gate, for tests of the decision alone: nobody wants anything unless said otherwise. */
import type { MapAction, MapRule, PooledMap } from '../../src/core/control/control-map.ts';
import type { GateSituation } from '../../src/core/control/gate.ts';
import type { HealthReport, HealthSettings, HealthVerdict } from '../../src/core/control/health.ts';
import type { Hold } from '../../src/core/control/hold.ts';
import type { ActiveSnooze } from '../../src/core/control/snooze.ts';
import type { HoldPoint, HoldPointSettings } from '../../src/core/hold-point.ts';
import type { Consent, Waiver } from '../../src/core/state.ts';

export const DAY_MS = 24 * 3600 * 1000;
export const DIGEST = `sha256:${'a'.repeat(64)}`;
export const NOW = { wallMs: Date.UTC(2031, 1, 3), bootMs: 500_000 };
export const PAUSE = { uid: 1000, sinceWallMs: 5 };
export const CHECKERS: HealthSettings = { checkers: ['app', 'net'], deadlineSeconds: 300 };
export const FREE: HoldPointSettings = {
  consent: 'none',
  consentTimeoutSeconds: 0,
  onExpire: 'fail',
  ceilingSeconds: 3600,
  onCeiling: 'fail',
};

export function aSituation(
  settings: Partial<HoldPointSettings>,
  changes: Partial<GateSituation> = {},
): GateSituation {
  return {
    point: 'ArtifactInstall_Enter',
    settings: { ...FREE, ...settings },
    health: { checkers: [], deadlineSeconds: 300 },
    deploymentId: 'the-deployment',
    digest: DIGEST,
    consents: [],
    waivers: [],
    pause: null,
    areUpdatesEnabled: true,
    holds: [],
    maps: [],
    unmet: [],
    healthReports: [],
    snooze: null,
    rebootByHandUid: null,
    failedRefreshes: 0,
    clockProblem: '',
    waitedMs: 0,
    snoozedMs: 0,
    sinceWallMs: NOW.wallMs,
    now: NOW,
    ...changes,
  };
}

export function consentFor(point: HoldPoint, digest = DIGEST): Consent {
  return { point, digest, uid: 1000, atWallMs: 1, comment: '', app: '' };
}

export function waiver(kind: Waiver['kind'], point: HoldPoint = 'ArtifactInstall_Enter'): Waiver {
  return { kind, point, digest: DIGEST, uid: 7, atWallMs: 1 };
}

/** Bound at the install gate. */
export function aHold(changes: Partial<Hold>): Hold {
  return {
    id: 'h1',
    lifetime: 'bound',
    points: ['ArtifactInstall_Enter'],
    owner: 'CoffeeApp',
    why: 'brewing',
    uid: 1000,
    pid: -1,
    appId: '',
    connection: 'bus/:1.7',
    priority: 0,
    action: 'pause',
    onExpire: 'continue',
    deploymentId: '',
    isOnce: false,
    sinceWallMs: 1,
    timeoutMs: 0,
    remainingMs: null,
    asOfBootMs: NOW.bootMs,
    countdown: 'none',
    isExpired: false,
    ...changes,
  };
}

/** At the install gate; a pause fails when it expires. */
export function aMap(
  action: MapAction,
  rule: Partial<MapRule> = {},
  changes: Partial<PooledMap> = {},
): PooledMap {
  return {
    id: 'map-1',
    priority: 0,
    states: {
      ArtifactInstall_Enter: {
        action,
        onMapExpire: action === 'pause' ? 'fail' : action,
        onActionExecuted: action,
        ...rule,
      },
    },
    origin: 'local',
    uid: 0,
    setWallMs: 2,
    halfwayBootMs: NOW.bootMs + DAY_MS / 2,
    expiresBootMs: NOW.bootMs + DAY_MS,
    isExpired: false,
    ...changes,
  };
}

export function report(checker: string, verdict: HealthVerdict): HealthReport {
  return { checker, verdict, message: '', uid: 0, atWallMs: 1 };
}

/** Begun just now at the install gate. */
export function snoozed(forMs: number): ActiveSnooze {
  return {
    point: 'ArtifactInstall_Enter',
    uid: 1000,
    app: '',
    ticket: 'a'.repeat(32),
    sinceWallMs: NOW.wallMs,
    sinceWaitedMs: 0,
    untilWaitedMs: forMs,
  };
}

import type { HoldPoint, HoldPointSettings, OnExpire } from './hold-point.ts';
import type { Blocker, Consent, Pause } from './state.ts';

/**
 * The one decision at a hold point: who blocks, until when, and what then. Separate from the update flow, which
 * only obeys it. Sources: design/dbus-api.md section 4, design/compatibility.md "Ends of waits".
 */
export interface GateSituation {
  readonly point: HoldPoint;
  readonly settings: HoldPointSettings;
  /** Digest of the artifact the consent must be for; '' while unknown. */
  readonly digest: string;
  readonly consents: readonly Consent[];
  readonly pause: Pause | null;
  readonly areUpdatesEnabled: boolean;
  /** Waiting time used up at this point, milliseconds. */
  readonly waitedMs: number;
}

export type GateVerdict =
  | { readonly kind: 'pass'; readonly reasons: readonly string[]; readonly hasExpired: boolean }
  | { readonly kind: 'fail'; readonly reason: 'consent-expired' | 'ceiling-reached' }
  | {
      readonly kind: 'wait';
      readonly blockers: readonly Blocker[];
      /** Waiting time at which the wait ends by itself; null = never, by the administrator's decision. */
      readonly endsAfterMs: number | null;
      readonly onExpire: OnExpire;
      /** Waiting time at which this decision changes and must be made again; null = never. */
      readonly decideAgainAfterMs: number | null;
    };

export function decideGate(situation: GateSituation): GateVerdict {
  const { settings, waitedMs } = situation;
  const ceilingMs = settings.ceilingSeconds * 1000;
  const hasCeiling = ceilingMs > 0;
  const consent = consentNeed(situation);
  const blockers = [
    ...(consent.blocker ? [consent.blocker] : []),
    ...pauseBlockers(situation),
    ...switchBlockers(situation),
  ];

  if (blockers.length === 0) {
    return {
      kind: 'pass',
      reasons: consent.reason === '' ? [] : [consent.reason],
      hasExpired: consent.reason === 'consent-expired',
    };
  }
  if (consent.hasFailed) return { kind: 'fail', reason: 'consent-expired' };
  if (hasCeiling && waitedMs >= ceilingMs) {
    return settings.onCeiling === 'continue'
      ? { kind: 'pass', reasons: ['ceiling-reached'], hasExpired: true }
      : { kind: 'fail', reason: 'ceiling-reached' };
  }

  // The wait as a whole ends when consent runs out, unless somebody else would go on blocking then.
  const consentEnds =
    consent.endsAfterMs !== null && (settings.onExpire === 'fail' || blockers.length === 1)
      ? consent.endsAfterMs
      : null;
  const ceilingEnds = hasCeiling ? ceilingMs : null;
  const endsByConsent = consentEnds !== null && (ceilingEnds === null || consentEnds <= ceilingEnds);
  const endsAfterMs = endsByConsent ? consentEnds : ceilingEnds;
  return {
    kind: 'wait',
    blockers,
    endsAfterMs,
    onExpire: endsByConsent ? settings.onExpire : hasCeiling ? settings.onCeiling : 'keep-waiting',
    decideAgainAfterMs: earliest(consent.endsAfterMs, ceilingEnds),
  };
}

interface ConsentNeed {
  readonly blocker: Blocker | null;
  /** Why no consent is needed (any more); '' = none was ever asked. */
  readonly reason: string;
  readonly hasFailed: boolean;
  /** null = consent does not run out (before the ceiling). */
  readonly endsAfterMs: number | null;
}

function consentNeed(situation: GateSituation): ConsentNeed {
  const { settings, point, digest, waitedMs } = situation;
  const given = situation.consents.find((consent) => consent.point === point && consent.digest === digest);
  if (given) {
    return { blocker: null, reason: `consent-uid-${given.uid}`, hasFailed: false, endsAfterMs: null };
  }
  if (settings.consent === 'none') return { blocker: null, reason: '', hasFailed: false, endsAfterMs: null };
  const runsOut = settings.consentTimeoutSeconds > 0 && settings.onExpire !== 'keep-waiting';
  const timeoutMs = settings.consentTimeoutSeconds * 1000;
  const isOver = runsOut && waitedMs >= timeoutMs;
  if (isOver && settings.onExpire === 'continue') {
    return { blocker: null, reason: 'consent-expired', hasFailed: false, endsAfterMs: null };
  }
  return {
    blocker: {
      id: 'consent',
      kind: 'consent',
      owner: 'policy',
      reasonCode: 'consent-required',
      details: {
        'timeout-seconds': settings.consentTimeoutSeconds,
        'on-expire': settings.onExpire,
        ...limitDetails(settings),
      },
    },
    reason: '',
    hasFailed: isOver,
    endsAfterMs: runsOut && !isOver ? timeoutMs : null,
  };
}

function pauseBlockers(situation: GateSituation): readonly Blocker[] {
  const { pause } = situation;
  if (!pause) return [];
  return [
    {
      id: 'pause',
      kind: 'pause',
      owner: `uid:${pause.uid}`,
      reasonCode: 'paused',
      details: { 'since-usec': pause.sinceWallMs * 1000, ...limitDetails(situation.settings) },
    },
  ];
}

/** Updates switched off hold an offer back before its first byte; one that is past that gate goes on. */
function switchBlockers(situation: GateSituation): readonly Blocker[] {
  if (situation.areUpdatesEnabled || situation.point !== 'Download_Enter') return [];
  return [
    {
      id: 'updates-disabled',
      kind: 'updates-disabled',
      owner: 'policy',
      reasonCode: 'updates-disabled',
      details: limitDetails(situation.settings),
    },
  ];
}

/** A wait without an end exists only where an administrator wants it, and is then shown as such. */
function limitDetails(settings: HoldPointSettings): Blocker['details'] {
  return settings.ceilingSeconds === 0
    ? { limit: 'no-limit-by-policy' }
    : { 'ceiling-seconds': settings.ceilingSeconds, 'on-ceiling': settings.onCeiling };
}

function earliest(a: number | null, b: number | null): number | null {
  if (a === null) return b;
  return b === null ? a : Math.min(a, b);
}

import { describe, expect, it } from 'vitest';
import { decideGate, type GateSituation, type GateVerdict } from '../../../src/core/gate.ts';
import {
  DEFAULT_HOLD_POINT_POLICY,
  HOLD_POINTS,
  type HoldPointSettings,
} from '../../../src/core/hold-point.ts';

const DAY_MS = 24 * 3600 * 1000;
const DIGEST = `sha256:${'a'.repeat(64)}`;
const PAUSE = { uid: 1000, sinceWallMs: 5 };
const FREE: HoldPointSettings = {
  consent: 'none',
  consentTimeoutSeconds: 0,
  onExpire: 'fail',
  ceilingSeconds: 3600,
  onCeiling: 'fail',
};

function decide(settings: Partial<HoldPointSettings>, situation: Partial<GateSituation> = {}): GateVerdict {
  return decideGate({
    point: 'ArtifactInstall_Enter',
    settings: { ...FREE, ...settings },
    digest: DIGEST,
    consents: [],
    pause: null,
    areUpdatesEnabled: true,
    waitedMs: 0,
    ...situation,
  });
}

function consentFor(point: GateSituation['point'], digest = DIGEST) {
  return { point, digest, uid: 1000, atWallMs: 1, comment: '' };
}

describe('the decision at a gate', () => {
  it.each(HOLD_POINTS)('lets pass without a reason at %s when nobody wants anything', (point) => {
    const verdict = decide({}, { point });
    expect(verdict).toEqual({ kind: 'pass', reasons: [], hasExpired: false });
  });

  const required = { consent: 'required', onExpire: 'keep-waiting' } as const;
  /** Settings, situation, and the verdict as `kind reason-or-blockers`. */
  const table: readonly (readonly [string, Partial<HoldPointSettings>, Partial<GateSituation>, string])[] = [
    ['consent required', required, {}, 'wait consent'],
    ['consent given', required, { consents: [consentFor('ArtifactInstall_Enter')] }, 'pass consent-uid-1000'],
    [
      'consent for another point',
      required,
      { consents: [consentFor('ArtifactReboot_Enter')] },
      'wait consent',
    ],
    [
      'consent for another artifact',
      required,
      { consents: [consentFor('ArtifactInstall_Enter', 'sha256:b')] },
      'wait consent',
    ],
    ['paused', {}, { pause: PAUSE }, 'wait pause'],
    ['paused, consent required', required, { pause: PAUSE }, 'wait consent,pause'],
    [
      'paused, consent given',
      required,
      { pause: PAUSE, consents: [consentFor('ArtifactInstall_Enter')] },
      'wait pause',
    ],
    ['updates off at another point', {}, { areUpdatesEnabled: false }, 'pass '],
    [
      'updates off at the download',
      {},
      { point: 'Download_Enter', areUpdatesEnabled: false },
      'wait updates-disabled',
    ],
    [
      'everything at the download',
      required,
      { point: 'Download_Enter', areUpdatesEnabled: false, pause: PAUSE },
      'wait consent,pause,updates-disabled',
    ],
    [
      'consent timed out, fail',
      { ...required, onExpire: 'fail', consentTimeoutSeconds: 60 },
      { waitedMs: 60_000 },
      'fail consent-expired',
    ],
    [
      'consent timed out, continue',
      { ...required, onExpire: 'continue', consentTimeoutSeconds: 60 },
      { waitedMs: 60_000 },
      'pass consent-expired',
    ],
    [
      'consent timed out, keep waiting',
      { ...required, consentTimeoutSeconds: 60 },
      { waitedMs: 60_000 },
      'wait consent',
    ],
    [
      'consent not yet timed out',
      { ...required, onExpire: 'fail', consentTimeoutSeconds: 60 },
      { waitedMs: 59_999 },
      'wait consent',
    ],
    [
      'consent timed out, fail, but given',
      { ...required, onExpire: 'fail', consentTimeoutSeconds: 60 },
      { waitedMs: 60_000, consents: [consentFor('ArtifactInstall_Enter')] },
      'pass consent-uid-1000',
    ],
    [
      'consent timed out, continue, but paused',
      { ...required, onExpire: 'continue', consentTimeoutSeconds: 60 },
      { waitedMs: 60_000, pause: PAUSE },
      'wait pause',
    ],
    [
      'consent timed out, fail, and paused',
      { ...required, onExpire: 'fail', consentTimeoutSeconds: 60 },
      { waitedMs: 60_000, pause: PAUSE },
      'fail consent-expired',
    ],
    ['ceiling reached by a pause', {}, { waitedMs: 3_600_000, pause: PAUSE }, 'fail ceiling-reached'],
    [
      'ceiling reached by a pause, continue',
      { onCeiling: 'continue' },
      { waitedMs: 3_600_000, pause: PAUSE },
      'pass ceiling-reached',
    ],
    ['ceiling reached, keep-waiting obeys it', required, { waitedMs: 3_600_000 }, 'fail ceiling-reached'],
    ['ceiling reached, nothing blocks', {}, { waitedMs: 3_600_000 }, 'pass '],
    [
      'no ceiling',
      { ...required, ceilingSeconds: 0 },
      { waitedMs: 365 * DAY_MS, pause: PAUSE },
      'wait consent,pause',
    ],
    [
      'consent without timeout continues only by the ceiling',
      { ...required, onExpire: 'continue' },
      { waitedMs: 3_599_999 },
      'wait consent',
    ],
  ];

  it.each(table)('%s', (_, settings, situation, expected) => {
    const verdict = decide(settings, situation);
    const what =
      verdict.kind === 'wait'
        ? verdict.blockers.map(({ kind }) => kind).join(',')
        : verdict.kind === 'fail'
          ? verdict.reason
          : verdict.reasons.join(',');
    expect(`${verdict.kind} ${what}`).toBe(expected);
  });

  /** When the wait ends by itself, what then, and when to decide again; milliseconds of waiting. */
  const ends: readonly (readonly [string, Partial<HoldPointSettings>, Partial<GateSituation>, object])[] = [
    [
      'the ceiling',
      {},
      { pause: PAUSE },
      { endsAfterMs: 3_600_000, onExpire: 'fail', decideAgainAfterMs: 3_600_000 },
    ],
    [
      'the ceiling with continue',
      { onCeiling: 'continue' },
      { pause: PAUSE },
      { endsAfterMs: 3_600_000, onExpire: 'continue', decideAgainAfterMs: 3_600_000 },
    ],
    [
      'consent, before the ceiling',
      { consent: 'required', onExpire: 'continue', consentTimeoutSeconds: 60 },
      {},
      { endsAfterMs: 60_000, onExpire: 'continue', decideAgainAfterMs: 60_000 },
    ],
    [
      'consent that is longer than the ceiling',
      { consent: 'required', onExpire: 'continue', consentTimeoutSeconds: 7200 },
      {},
      { endsAfterMs: 3_600_000, onExpire: 'fail', decideAgainAfterMs: 3_600_000 },
    ],
    [
      'consent that would continue, while paused: the ceiling',
      { consent: 'required', onExpire: 'continue', consentTimeoutSeconds: 60 },
      { pause: PAUSE },
      { endsAfterMs: 3_600_000, onExpire: 'fail', decideAgainAfterMs: 60_000 },
    ],
    [
      'consent that would fail, while paused',
      { consent: 'required', onExpire: 'fail', consentTimeoutSeconds: 60 },
      { pause: PAUSE },
      { endsAfterMs: 60_000, onExpire: 'fail', decideAgainAfterMs: 60_000 },
    ],
    [
      'nothing, by the administrator’s decision',
      { ceilingSeconds: 0 },
      { pause: PAUSE },
      { endsAfterMs: null, onExpire: 'keep-waiting', decideAgainAfterMs: null },
    ],
  ];

  it.each(ends)('ends a wait by %s', (_, settings, situation, expected) => {
    expect(decide(settings, situation)).toMatchObject({ kind: 'wait', ...expected });
  });

  it('shows a wait without an end as such, on every blocker', () => {
    const verdict = decide(
      { ...required, ceilingSeconds: 0 },
      { point: 'Download_Enter', pause: PAUSE, areUpdatesEnabled: false },
    );
    if (verdict.kind !== 'wait') throw new Error('expected a wait');
    expect(verdict.blockers).toHaveLength(3);
    for (const { details } of verdict.blockers)
      expect(details).toMatchObject({ limit: 'no-limit-by-policy' });
  });

  it('has ceilings of 7 days, 24 hours at the commit, and fails there unless configured otherwise', () => {
    for (const point of HOLD_POINTS) {
      const settings = DEFAULT_HOLD_POINT_POLICY[point];
      const verdict = decideGate({
        point,
        settings,
        digest: DIGEST,
        consents: [],
        pause: PAUSE,
        areUpdatesEnabled: true,
        waitedMs: 0,
      });
      const days = point === 'ArtifactCommit_Enter' ? 1 : 7;
      expect(verdict).toMatchObject({ kind: 'wait', endsAfterMs: days * DAY_MS, onExpire: 'fail' });
    }
  });
});

import { describe, expect, it } from 'vitest';
import { decideGate, type GateSituation, type GateVerdict } from '../../../../src/core/control/gate.ts';
import type { MapRule, PooledMap } from '../../../../src/core/control/control-map.ts';
import {
  DEFAULT_HOLD_POINT_POLICY,
  HOLD_POINTS,
  type HoldPoint,
  type HoldPointSettings,
} from '../../../../src/core/hold-point.ts';
import { unmetCondition } from '../../../support/flow-events.ts';
import {
  aHold,
  aMap,
  aSituation,
  consentFor,
  CHECKERS,
  DAY_MS,
  NOW,
  PAUSE,
  report,
  snoozed,
  waiver,
} from '../../../support/gate-situations.ts';

type Changes = Partial<GateSituation>;

function decide(settings: Partial<HoldPointSettings>, situation: Changes = {}): GateVerdict {
  return decideGate(aSituation(settings, situation));
}

/** `kind reason-or-blockers`. */
function short(verdict: GateVerdict): string {
  if (verdict.kind === 'wait') return `wait ${verdict.blockers.map(({ id }) => id).join(',')}`;
  if (verdict.kind === 'fail') return `fail ${verdict.reason}`;
  return `pass ${verdict.reasons.join(',')}`;
}

const HOUR_MS = 3_600_000;
const required = { consent: 'required', onExpire: 'keep-waiting' } as const;
const atCommit = { point: 'ArtifactCommit_Enter' } as const;

describe('the decision at a gate', () => {
  it.each(HOLD_POINTS)('lets pass at %s when nobody wants anything, and says so', (point) => {
    const verdict = decide({}, { point });
    expect(verdict).toEqual({
      kind: 'pass',
      reasons: ['nothing-blocks'],
      hasExpired: false,
      isForced: false,
      askedMaps: [],
    });
  });

  const table: readonly (readonly [string, Partial<HoldPointSettings>, Changes, string])[] = [
    // --- consent
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
    [
      'consent given where none is asked is recorded as the reason',
      {},
      { consents: [consentFor('ArtifactInstall_Enter')] },
      'pass consent-uid-1000',
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
      'consent timed out on the clock, but the time was snoozed',
      { ...required, onExpire: 'fail', consentTimeoutSeconds: 60 },
      { waitedMs: 600_000, snoozedMs: 540_001 },
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
    [
      'consent timed out, fail, but somebody overrode',
      { ...required, onExpire: 'fail', consentTimeoutSeconds: 60 },
      { waitedMs: 60_000, pause: PAUSE, waivers: [waiver('override')] },
      'wait pause',
    ],
    [
      'consent without timeout continues only by the ceiling',
      { ...required, onExpire: 'continue' },
      { waitedMs: 3_599_999 },
      'wait consent',
    ],

    // --- pause, the switch, the ceiling
    ['paused', {}, { pause: PAUSE }, 'wait pause'],
    ['paused, consent required', required, { pause: PAUSE }, 'wait consent,pause'],
    [
      'paused, consent given',
      required,
      { pause: PAUSE, consents: [consentFor('ArtifactInstall_Enter')] },
      'wait pause',
    ],
    ['paused, now', {}, { pause: PAUSE, waivers: [waiver('now')] }, 'wait pause'],
    ['paused, override', {}, { pause: PAUSE, waivers: [waiver('override')] }, 'wait pause'],
    ['updates off at another point', {}, { areUpdatesEnabled: false }, 'pass nothing-blocks'],
    [
      'updates off at the download',
      {},
      { point: 'Download_Enter', areUpdatesEnabled: false },
      'wait updates-disabled',
    ],
    [
      'updates off at the download, override',
      {},
      {
        point: 'Download_Enter',
        areUpdatesEnabled: false,
        waivers: [waiver('override', 'Download_Enter')],
      },
      'wait updates-disabled',
    ],
    ['ceiling reached by a pause', {}, { waitedMs: HOUR_MS, pause: PAUSE }, 'fail ceiling-reached'],
    [
      'ceiling reached by a pause, continue',
      { onCeiling: 'continue' },
      { waitedMs: HOUR_MS, pause: PAUSE },
      'pass ceiling-reached',
    ],
    ['ceiling reached, keep-waiting obeys it', required, { waitedMs: HOUR_MS }, 'fail ceiling-reached'],
    ['ceiling reached, nothing blocks', {}, { waitedMs: HOUR_MS }, 'pass nothing-blocks'],
    ['ceiling reached by a hold', {}, { waitedMs: HOUR_MS, holds: [aHold({})] }, 'fail ceiling-reached'],
    [
      'no ceiling',
      { ...required, ceilingSeconds: 0 },
      { waitedMs: 365 * DAY_MS, pause: PAUSE },
      'wait consent,pause',
    ],

    // --- holds
    ['a hold here', {}, { holds: [aHold({})] }, 'wait hold:h1'],
    ['a hold elsewhere', {}, { holds: [aHold({ points: ['ArtifactReboot_Enter'] })] }, 'pass nothing-blocks'],
    [
      'a hold for this deployment',
      {},
      { holds: [aHold({ deploymentId: 'the-deployment' })] },
      'wait hold:h1',
    ],
    [
      'a hold for another deployment',
      {},
      { holds: [aHold({ deploymentId: 'another' })] },
      'pass nothing-blocks',
    ],
    ['two holds', {}, { holds: [aHold({}), aHold({ id: 'h2' })] }, 'wait hold:h1,hold:h2'],
    [
      'two holds of other priorities, both shown',
      {},
      { holds: [aHold({}), aHold({ id: 'h2', priority: 5 })] },
      'wait hold:h1,hold:h2',
    ],
    ['a hold, now', {}, { holds: [aHold({})], waivers: [waiver('now')] }, 'wait hold:h1'],
    ['a hold, override', {}, { holds: [aHold({})], waivers: [waiver('override')] }, 'pass override-uid-7'],
    [
      'a hold, override at another point',
      {},
      { holds: [aHold({})], waivers: [waiver('override', 'ArtifactReboot_Enter')] },
      'wait hold:h1',
    ],
    ['a hold that says fail', {}, { holds: [aHold({ action: 'fail' })] }, 'fail hold-fail'],
    [
      'a hold that says fail, override',
      {},
      { holds: [aHold({ action: 'fail' })], waivers: [waiver('override')] },
      'fail hold-fail',
    ],
    [
      'a hold that says fail, below one that pauses',
      {},
      { holds: [aHold({ action: 'fail' }), aHold({ id: 'h2', priority: 1 })] },
      'wait hold:h2',
    ],
    [
      'a hold that has run out, fail',
      {},
      { holds: [aHold({ isExpired: true, onExpire: 'fail' })] },
      'fail hold-expired',
    ],
    [
      'a hold that has run out, keep waiting',
      {},
      { holds: [aHold({ isExpired: true, onExpire: 'keep-waiting' })] },
      'wait hold:h1',
    ],

    // --- maps
    ['a map that pauses', {}, { maps: [aMap('pause')] }, 'wait map:map-1/0'],
    ['a map that fails', {}, { maps: [aMap('fail')] }, 'fail map-fail'],
    [
      'a map that continues',
      {},
      { maps: [aMap('continue', { onMapExpire: 'fail' })] },
      'pass nothing-blocks',
    ],
    ['a map that forces', {}, { maps: [aMap('force_continue')] }, 'pass map-force-continue'],
    [
      'a map for another gate',
      {},
      { point: 'ArtifactReboot_Enter', maps: [aMap('fail')] },
      'pass nothing-blocks',
    ],
    [
      'a map at a point that maps do not know',
      {},
      { point: 'Download_Enter', maps: [aMap('fail')] },
      'pass nothing-blocks',
    ],
    [
      'an expired map answers with on_map_expire',
      {},
      { maps: [aMap('pause', { onMapExpire: 'fail' }, { isExpired: true })] },
      'fail map-fail',
    ],
    [
      'a map that forces above a hold and a pausing map',
      {},
      {
        maps: [aMap('force_continue', {}, { priority: 3 }), aMap('pause', {}, { id: 'map-2', priority: 2 })],
        holds: [aHold({ priority: 1 })],
      },
      'pass map-force-continue',
    ],
    [
      'a map that forces below a hold',
      {},
      { maps: [aMap('force_continue', {}, { priority: 1 })], holds: [aHold({ priority: 2 })] },
      'wait hold:h1',
    ],
    [
      'a map that forces at the priority of a hold',
      {},
      { maps: [aMap('force_continue')], holds: [aHold({})] },
      'wait hold:h1',
    ],
    [
      'a map that fails below a hold',
      {},
      { maps: [aMap('fail', {}, { priority: 1 })], holds: [aHold({ priority: 2 })] },
      'wait hold:h1',
    ],
    [
      'a map that forces, snoozed',
      {},
      { maps: [aMap('force_continue')], snooze: snoozed(600_000) },
      'pass map-force-continue',
    ],
    ['a map that forces, consent required', required, { maps: [aMap('force_continue')] }, 'wait consent'],
    [
      'a map that pauses, override',
      {},
      { maps: [aMap('pause')], waivers: [waiver('override')] },
      'pass override-uid-7',
    ],
    [
      'a map that fails, override',
      {},
      { maps: [aMap('fail')], waivers: [waiver('override')] },
      'fail map-fail',
    ],
    ['a map that cannot be refreshed', {}, { failedRefreshes: 2 }, 'wait map-refresh'],

    // --- conditions
    ['a window', {}, { unmet: [unmetCondition({})] }, 'wait condition:window'],
    ['a window, now', {}, { unmet: [unmetCondition({})], waivers: [waiver('now')] }, 'pass now-uid-7'],
    [
      'a freeze, now',
      {},
      { unmet: [unmetCondition({ id: 'freeze', isSkippable: false })], waivers: [waiver('now')] },
      'wait condition:freeze',
    ],
    [
      'a freeze, override',
      {},
      { unmet: [unmetCondition({ id: 'freeze', isSkippable: false })], waivers: [waiver('override')] },
      'pass override-uid-7',
    ],
    [
      'a window, now for another artifact',
      {},
      { unmet: [unmetCondition({})], waivers: [{ ...waiver('now'), digest: 'sha256:b' }] },
      'wait condition:window',
    ],

    // --- health
    ['no checker reported', {}, { ...atCommit, health: CHECKERS }, 'wait health'],
    [
      'one of two reported',
      {},
      { ...atCommit, health: CHECKERS, healthReports: [report('app', 'ok')] },
      'wait health',
    ],
    [
      'both reported',
      {},
      { ...atCommit, health: CHECKERS, healthReports: [report('app', 'ok'), report('net', 'ok')] },
      'pass nothing-blocks',
    ],
    [
      'one found it ill',
      {},
      { ...atCommit, health: CHECKERS, healthReports: [report('app', 'ok'), report('net', 'failed')] },
      'fail health-failed',
    ],
    [
      'one found it ill, override',
      {},
      {
        ...atCommit,
        health: CHECKERS,
        healthReports: [report('net', 'failed')],
        waivers: [waiver('override', 'ArtifactCommit_Enter')],
      },
      'fail health-failed',
    ],
    ['overdue', {}, { ...atCommit, health: CHECKERS, waitedMs: 300_000 }, 'fail health-overdue'],
    [
      'overdue, override',
      {},
      {
        ...atCommit,
        health: CHECKERS,
        waitedMs: 300_000,
        waivers: [waiver('override', 'ArtifactCommit_Enter')],
      },
      'fail health-overdue',
    ],
    [
      'not reported at a ceiling that continues',
      { ceilingSeconds: 60, onCeiling: 'continue' },
      { ...atCommit, health: CHECKERS, waitedMs: 60_000 },
      'fail health-overdue',
    ],
    ['checkers at another point', {}, { health: CHECKERS }, 'pass nothing-blocks'],

    // --- snooze, reboot by hand
    ['snoozed', {}, { snooze: snoozed(600_000) }, 'wait snooze'],
    ['snoozed, now', {}, { snooze: snoozed(600_000), waivers: [waiver('now')] }, 'wait snooze'],
    [
      'snoozed after an override',
      {},
      { snooze: snoozed(600_000), waivers: [waiver('override')] },
      'wait snooze',
    ],
    ['a person reboots', {}, { point: 'ArtifactReboot_Enter', rebootByHandUid: 5 }, 'wait reboot-by-hand'],
    ['a person reboots, at another point', {}, { rebootByHandUid: 5 }, 'pass nothing-blocks'],

    // --- all together
    [
      'everybody at once',
      required,
      {
        point: 'Download_Enter',
        areUpdatesEnabled: false,
        pause: PAUSE,
        holds: [aHold({ points: ['Download_Enter'] })],
        unmet: [unmetCondition({}), unmetCondition({ id: 'power' })],
        snooze: { ...snoozed(600_000), point: 'Download_Enter' },
        failedRefreshes: 1,
      },
      'wait consent,hold:h1,pause,updates-disabled,condition:window,condition:power,snooze,map-refresh',
    ],
    [
      'everybody at once, and a refusal',
      required,
      { pause: PAUSE, holds: [aHold({ action: 'fail' })], unmet: [unmetCondition({})], snooze: snoozed(1) },
      'fail hold-fail',
    ],
  ];

  it.each(table)('%s', (_, settings, situation, expected) => {
    expect(short(decide(settings, situation))).toBe(expected);
  });

  /** When the wait ends by itself, what then, and when to decide again; milliseconds from now. */
  const ends: readonly (readonly [string, Partial<HoldPointSettings>, Changes, readonly unknown[]])[] = [
    ['the ceiling', {}, { pause: PAUSE }, [HOUR_MS, 'fail', HOUR_MS]],
    [
      'the ceiling, part of which is over',
      {},
      { pause: PAUSE, waitedMs: 600_000 },
      [3_000_000, 'fail', 3_000_000],
    ],
    [
      'the ceiling with continue',
      { onCeiling: 'continue' },
      { pause: PAUSE },
      [HOUR_MS, 'continue', HOUR_MS],
    ],
    [
      'consent, before the ceiling',
      { consent: 'required', onExpire: 'continue', consentTimeoutSeconds: 60 },
      {},
      [60_000, 'continue', 60_000],
    ],
    [
      'consent that is longer than the ceiling',
      { consent: 'required', onExpire: 'continue', consentTimeoutSeconds: 7200 },
      {},
      [HOUR_MS, 'fail', HOUR_MS],
    ],
    [
      'consent that would continue, while paused: the ceiling',
      { consent: 'required', onExpire: 'continue', consentTimeoutSeconds: 60 },
      { pause: PAUSE },
      [HOUR_MS, 'fail', 60_000],
    ],
    [
      'consent that would fail, while paused',
      { consent: 'required', onExpire: 'fail', consentTimeoutSeconds: 60 },
      { pause: PAUSE },
      [60_000, 'fail', 60_000],
    ],
    [
      'consent whose time stands still while it is snoozed',
      { consent: 'required', onExpire: 'fail', consentTimeoutSeconds: 60 },
      { snooze: snoozed(600_000) },
      [660_000, 'fail', 600_000],
    ],
    [
      'nothing, by the administrator’s decision',
      { ceilingSeconds: 0 },
      { pause: PAUSE },
      [null, 'keep-waiting', null],
    ],
    ['a bound hold: the ceiling', {}, { holds: [aHold({})] }, [HOUR_MS, 'fail', HOUR_MS]],
    [
      'a timed hold that lets go',
      {},
      { holds: [aHold({ ...timed(90_000), onExpire: 'continue' })] },
      [90_000, 'continue', 90_000],
    ],
    [
      'a timed hold that refuses',
      {},
      { holds: [aHold({ ...timed(90_000), onExpire: 'fail' })] },
      [90_000, 'fail', 90_000],
    ],
    [
      'a timed hold that keeps waiting: the ceiling',
      {},
      { holds: [aHold({ ...timed(90_000), onExpire: 'keep-waiting' })] },
      [HOUR_MS, 'fail', 90_000],
    ],
    [
      'a lost owner’s hold: the linger, whatever its on_expire',
      {},
      { holds: [aHold({ remainingMs: 10_000, countdown: 'linger', onExpire: 'fail' })] },
      [10_000, 'continue', 10_000],
    ],
    [
      'an expected owner’s hold, fail',
      {},
      { holds: [aHold({ remainingMs: 600_000, countdown: 'return', onExpire: 'fail' })] },
      [600_000, 'fail', 600_000],
    ],
    [
      'the later of two that let go',
      {},
      {
        holds: [
          aHold({ ...timed(90_000), onExpire: 'continue' }),
          aHold({ ...timed(40_000), id: 'h2', onExpire: 'continue' }),
        ],
      },
      [90_000, 'continue', 40_000],
    ],
    [
      'a refusal behind one that lets go: when that one has',
      {},
      {
        holds: [
          aHold({ ...timed(90_000), onExpire: 'continue', priority: 1 }),
          aHold({ ...timed(40_000), id: 'h2', onExpire: 'fail' }),
        ],
      },
      [90_000, 'fail', 40_000],
    ],
    [
      'a refusal behind one that never lets go: the ceiling',
      { onCeiling: 'continue' },
      { holds: [aHold({ priority: 1 }), aHold({ ...timed(40_000), id: 'h2', onExpire: 'fail' })] },
      [HOUR_MS, 'continue', 40_000],
    ],
    [
      'a map that fails when it expires',
      {},
      { maps: [aMap('pause', {}, { expiresBootMs: NOW.bootMs + 30_000 })] },
      [30_000, 'fail', 30_000],
    ],
    [
      'a map that continues when it expires',
      {},
      { maps: [aMap('pause', { onMapExpire: 'continue' }, { expiresBootMs: NOW.bootMs + 30_000 })] },
      [30_000, 'continue', 30_000],
    ],
    [
      'a map that forces when it expires, above a hold',
      {},
      {
        maps: [
          aMap(
            'pause',
            { onMapExpire: 'force_continue' },
            { priority: 1, expiresBootMs: NOW.bootMs + 30_000 },
          ),
        ],
        holds: [aHold({})],
      },
      [30_000, 'continue', 30_000],
    ],
    [
      'a map that says continue and fails when it expires, while something else blocks',
      {},
      {
        pause: PAUSE,
        maps: [aMap('continue', { onMapExpire: 'fail' }, { expiresBootMs: NOW.bootMs + 30_000 })],
      },
      [30_000, 'fail', 30_000],
    ],
    ['the health deadline', {}, { ...atCommit, health: CHECKERS }, [300_000, 'fail', 300_000]],
    [
      'the health deadline, part of which is over',
      {},
      { ...atCommit, health: CHECKERS, waitedMs: 100_000 },
      [200_000, 'fail', 200_000],
    ],
    ['a snooze', {}, { snooze: snoozed(600_000) }, [600_000, 'continue', 600_000]],
    [
      'a condition: the ceiling',
      {},
      { unmet: [unmetCondition({ endsWallMs: 9 })] },
      [HOUR_MS, 'fail', HOUR_MS],
    ],
  ];

  it.each(ends)('ends a wait by %s', (_, settings, situation, [endsInMs, onExpire, decideAgainInMs]) => {
    const verdict = decide(settings, situation);
    expect(verdict).toMatchObject({ kind: 'wait', endsInMs, onExpire, decideAgainInMs });
  });

  it('shows a wait without an end as such, on every blocker', () => {
    const verdict = decide(
      { ...required, ceilingSeconds: 0 },
      { point: 'Download_Enter', pause: PAUSE, areUpdatesEnabled: false, unmet: [unmetCondition({})] },
    );
    if (verdict.kind !== 'wait') throw new Error('expected a wait');
    expect(verdict.blockers).toHaveLength(4);
    for (const { details } of verdict.blockers)
      expect(details).toMatchObject({ limit: 'no-limit-by-policy' });
  });

  it('shows the ceiling of the point on every blocker', () => {
    const verdict = decide(required, { pause: PAUSE });
    if (verdict.kind !== 'wait') throw new Error('expected a wait');
    for (const { details } of verdict.blockers)
      expect(details).toMatchObject({ 'ceiling-seconds': 3600, 'on-ceiling': 'fail' });
  });

  it('has ceilings of 7 days, 24 hours at the commit, and fails there unless configured otherwise', () => {
    for (const point of HOLD_POINTS) {
      const verdict = decide(DEFAULT_HOLD_POINT_POLICY[point], { point, pause: PAUSE });
      const days = point === 'ArtifactCommit_Enter' ? 1 : 7;
      expect(verdict).toMatchObject({ kind: 'wait', endsInMs: days * DAY_MS, onExpire: 'fail' });
    }
  });

  it('says of each blocker who, why, since when and until when', () => {
    const verdict = decide(
      { consent: 'required', onExpire: 'fail', consentTimeoutSeconds: 1200 },
      {
        ...atCommit,
        sinceWallMs: 77,
        pause: PAUSE,
        holds: [
          aHold({ ...timed(90_000), points: HOLD_POINTS, onExpire: 'continue', sinceWallMs: 3, pid: 9 }),
        ],
        maps: [
          aMap('pause', {}, { expiresBootMs: NOW.bootMs + 30_000, states: statesAt('ArtifactCommit_Enter') }),
        ],
        unmet: [unmetCondition({ endsWallMs: 8, owner: 'me\u001b[1m', details: { zone: 'UTC' } })],
        health: CHECKERS,
        snooze: { ...snoozed(600_000), point: 'ArtifactCommit_Enter', app: 'kiosk' },
      },
    );
    if (verdict.kind !== 'wait') throw new Error('expected a wait');
    const end = (ms: number, onEnd: string) => ({
      endsBootMs: NOW.bootMs + ms,
      endsWallMs: NOW.wallMs + ms,
      onEnd,
    });
    const open = { endsBootMs: 0, endsWallMs: 0, onEnd: 'keep-waiting' };
    expect(verdict.blockers).toMatchObject([
      {
        kind: 'consent',
        owner: 'policy',
        reasonCode: 'consent-required',
        sinceWallMs: 77,
        ...end(1_800_000, 'fail'),
        details: { 'timeout-seconds': 1200, 'on-expire': 'fail' },
      },
      {
        kind: 'map',
        owner: 'uid:0',
        reasonCode: 'paused-by-map',
        sinceWallMs: 2,
        ...end(30_000, 'fail'),
        details: { 'map-id': 'map-1', priority: 0, origin: 'local' },
      },
      {
        kind: 'hold',
        owner: 'CoffeeApp',
        reasonCode: 'held',
        sinceWallMs: 3,
        ...end(90_000, 'continue'),
        details: { 'hold-id': 'h1', why: 'brewing', uid: 1000, pid: 9, lifetime: 'timed', priority: 0 },
      },
      {
        kind: 'pause',
        owner: 'uid:1000',
        reasonCode: 'paused',
        sinceWallMs: 5,
        ...open,
        details: { uid: 1000 },
      },
      {
        kind: 'window',
        reasonCode: 'outside-window',
        sinceWallMs: 5,
        ...open,
        details: { zone: 'UTC', 'expected-end-usec': 8000, skippable: true },
      },
      {
        kind: 'health',
        owner: 'app, net',
        reasonCode: 'health-not-reported',
        sinceWallMs: 77,
        ...end(300_000, 'fail'),
        details: { checkers: 'app,net', 'deadline-seconds': 300 },
      },
      {
        kind: 'snooze',
        owner: 'kiosk',
        reasonCode: 'snoozed',
        ...end(600_000, 'continue'),
        details: { uid: 1000 },
      },
    ]);
    expect(verdict.blockers[4]?.owner).not.toContain('\u001b');
  });

  it.each([
    ['bound, owner there', aHold({}), 'held'],
    ['timed', aHold(timed(5)), 'held'],
    ['lost', aHold({ countdown: 'linger', remainingMs: 5 }), 'owner-lost'],
    ['expected', aHold({ countdown: 'return', remainingMs: 5 }), 'owner-expected'],
    ['overdue', aHold({ ...timed(0), isExpired: true, onExpire: 'keep-waiting' }), 'hold-overdue'],
  ] as const)('names the state of a hold that is %s', (_, hold, reasonCode) => {
    expect(decide({}, { holds: [hold] })).toMatchObject({ kind: 'wait', blockers: [{ reasonCode }] });
  });

  it('asks the maps down to the deciding priority, and no further', () => {
    const maps = [
      aMap('continue', { onMapExpire: 'fail' }, { priority: 3 }),
      aMap('pause', {}, { priority: 2, id: 'map-2' }),
      aMap('fail', {}, { priority: 1, id: 'map-3' }),
    ];
    expect(decide({}, { maps }).askedMaps).toEqual(['map-1/3', 'map-2/2']);
    expect(decide({}, { maps, pause: PAUSE }).askedMaps).toEqual(['map-1/3', 'map-2/2']);
    expect(decide({}, { maps: maps.slice(2) })).toMatchObject({
      askedMaps: ['map-3/1'],
      details: { 'map-id': 'map-3', priority: 1, origin: 'local' },
    });
  });

  it('decides the same when the wall clock has stepped by a year', () => {
    for (const stepMs of [-365 * DAY_MS, 365 * DAY_MS]) {
      for (const [, settings, situation] of ends) {
        const plain = decide(settings, situation);
        const stepped = decide(settings, { ...situation, now: { ...NOW, wallMs: NOW.wallMs + stepMs } });
        expect({ ...stepped, blockers: [] }).toEqual({ ...plain, blockers: [] });
      }
    }
  });
});

function timed(remainingMs: number) {
  return { lifetime: 'timed', connection: '', countdown: 'time', remainingMs, timeoutMs: 90_000 } as const;
}

function statesAt(point: HoldPoint): PooledMap['states'] {
  const rule: MapRule = { action: 'pause', onMapExpire: 'fail', onActionExecuted: 'pause' };
  return { [point]: rule };
}

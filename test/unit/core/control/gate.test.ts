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
  ASKED_CASES,
  BLOCKER_CASES,
  DETAIL_CASES,
  detailsOf,
  END_CASES,
  GATE_CASES,
  onlyBlocker,
  shortVerdict,
  timed,
} from '../../../support/gate-cases.ts';
import {
  aHold,
  aMap,
  aSituation,
  CHECKERS,
  DAY_MS,
  NOW,
  PAUSE,
  snoozed,
} from '../../../support/gate-situations.ts';

type Changes = Partial<GateSituation>;

function decide(settings: Partial<HoldPointSettings>, situation: Changes = {}): GateVerdict {
  return decideGate(aSituation(settings, situation));
}

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

  it.each(GATE_CASES)('%s', (_, settings, situation, expected) => {
    expect(shortVerdict(decide(settings, situation))).toBe(expected);
  });

  it.each(END_CASES)('ends a wait by %s', (_, settings, situation, [endsInMs, onExpire, decideAgainInMs]) => {
    const verdict = decide(settings, situation);
    expect(verdict).toMatchObject({ kind: 'wait', endsInMs, onExpire, decideAgainInMs });
  });

  it.each(BLOCKER_CASES)(
    'shows %s: whose it is, why, and how it ends',
    (_, settings, situation, expected) => {
      expect(onlyBlocker(decide(settings, situation))).toEqual(expected);
    },
  );

  it.each(DETAIL_CASES)('tells of %s', (_, settings, situation, expected) => {
    expect(detailsOf(decide(settings, situation))).toEqual(expected);
  });

  it.each(ASKED_CASES)('asks %s', (_, situation, expected) => {
    expect(decide({}, situation).askedMaps).toEqual(expected);
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
      for (const [, settings, situation] of END_CASES) {
        // A release at a time is the one thing that goes by it.
        if (situation.maps?.some(({ releases }) => releases !== undefined)) continue;
        const plain = decide(settings, situation);
        const stepped = decide(settings, { ...situation, now: { ...NOW, wallMs: NOW.wallMs + stepMs } });
        expect({ ...stepped, blockers: [] }).toEqual({ ...plain, blockers: [] });
      }
    }
  });
});

function statesAt(point: HoldPoint): PooledMap['states'] {
  const rule: MapRule = { action: 'pause', onMapExpire: 'fail', onActionExecuted: 'pause' };
  return { [point]: rule };
}

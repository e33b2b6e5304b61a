/**
 * The decision at a gate as data: situations, and what must be decided in each. Driven by gate.test.ts and, on changed
 * copies of the decision, by the mutation check.
 */
import type { decideGate, GateSituation, GateVerdict } from '../../src/core/control/gate.ts';
import type { PooledMap } from '../../src/core/control/control-map.ts';
import type { Details } from '../../src/core/errors.ts';
import type { HoldPointSettings } from '../../src/core/hold-point.ts';
import { unmetCondition } from './flow-events.ts';
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
} from './gate-situations.ts';

type Settings = Partial<HoldPointSettings>;
type Changes = Partial<GateSituation>;
export type GateCase = readonly [name: string, settings: Settings, situation: Changes, expected: string];
/** `expected`: when the wait ends by itself, what then, when to decide again; milliseconds from now, null = never. */
export type EndCase = readonly [
  name: string,
  settings: Settings,
  situation: Changes,
  expected: readonly [endsInMs: number | null, onExpire: string, decideAgainInMs: number | null],
];

const HOUR_MS = 3_600_000;
const required = { consent: 'required', onExpire: 'keep-waiting' } as const;
const atCommit = { point: 'ArtifactCommit_Enter' } as const;

/** `kind reason-or-blockers`. */
export function shortVerdict(verdict: GateVerdict): string {
  if (verdict.kind === 'wait') return `wait ${verdict.blockers.map(({ id }) => id).join(',')}`;
  if (verdict.kind === 'fail') return `fail ${verdict.reason}`;
  return `pass ${verdict.reasons.join(',')}`;
}

/** Situation and what is decided: `kind reasons-or-blockers`. */
export const GATE_CASES: readonly GateCase[] = [
  // --- a map that has let go at its time
  ['a map that has let go', {}, { maps: [aMap('pause', {}, lettingGoIn(0))] }, 'pass released-by-map'],
  ['a map that lets go later', {}, { maps: [aMap('fail', {}, lettingGoIn(1))] }, 'fail map-fail'],
  [
    'a map that has let go, while the clock is not believed',
    {},
    { maps: [aMap('pause', {}, lettingGoIn(0))], clockProblem: 'not-known' },
    'wait map:map-1/0',
  ],
  // --- consent
  ['consent required', required, {}, 'wait consent'],
  ['consent given', required, { consents: [consentFor('ArtifactInstall_Enter')] }, 'pass consent-uid-1000'],
  ['consent for another point', required, { consents: [consentFor('ArtifactReboot_Enter')] }, 'wait consent'],
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
  ['a hold for this deployment', {}, { holds: [aHold({ deploymentId: 'the-deployment' })] }, 'wait hold:h1'],
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
  ['a map that continues', {}, { maps: [aMap('continue', { onMapExpire: 'fail' })] }, 'pass nothing-blocks'],
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

  [
    'an override for another artifact is no reason',
    {},
    { waivers: [{ ...waiver('override'), digest: 'sha256:b' }] },
    'pass nothing-blocks',
  ],
  [
    'an override at another point is no reason',
    {},
    { waivers: [waiver('override', 'ArtifactReboot_Enter')] },
    'pass nothing-blocks',
  ],
  [
    'a checker that found it ill and is not asked any more',
    {},
    { ...atCommit, healthReports: [report('app', 'failed')], waitedMs: 300_000 },
    'pass nothing-blocks',
  ],

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

/** When the wait ends by itself, what then, and when to decide again; milliseconds from now. */
export const END_CASES: readonly EndCase[] = [
  ['the ceiling', {}, { pause: PAUSE }, [HOUR_MS, 'fail', HOUR_MS]],
  [
    'the time at which its map lets go',
    {},
    { maps: [aMap('pause', {}, lettingGoIn(90_000))] },
    [90_000, 'continue', 90_000],
  ],
  [
    'the ceiling, before its map lets go',
    {},
    { maps: [aMap('pause', {}, lettingGoIn(2 * HOUR_MS))] },
    [HOUR_MS, 'fail', HOUR_MS],
  ],
  [
    'the time at which a map of higher priority forces it',
    {},
    {
      maps: [
        aMap('pause', { onMapExpire: 'continue' }),
        { ...aMap('continue', { onActionExecuted: 'pause' }), priority: 5, ...lettingGoIn(60_000, true) },
      ],
    },
    [60_000, 'continue', 60_000],
  ],
  [
    'the ceiling, part of which is over',
    {},
    { pause: PAUSE, waitedMs: 600_000 },
    [3_000_000, 'fail', 3_000_000],
  ],
  ['the ceiling with continue', { onCeiling: 'continue' }, { pause: PAUSE }, [HOUR_MS, 'continue', HOUR_MS]],
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
        aMap('pause', { onMapExpire: 'force_continue' }, { priority: 1, expiresBootMs: NOW.bootMs + 30_000 }),
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
    'a snooze that outlasts a hold',
    {},
    { snooze: snoozed(600_000), holds: [aHold({ ...timed(90_000), onExpire: 'continue' })] },
    [600_000, 'continue', 90_000],
  ],
  [
    'a condition: the ceiling',
    {},
    { unmet: [unmetCondition({ endsWallMs: 9 })] },
    [HOUR_MS, 'fail', HOUR_MS],
  ],
];

/** One blocker alone: whose it is, why, and how it ends by itself, in milliseconds from now (null = it does not). */
export type BlockerCase = readonly [
  name: string,
  settings: Settings,
  situation: Changes,
  expected: readonly [owner: string, reasonCode: string, onEnd: string, endsInMs: number | null],
];

const inHalfAMinute = { expiresBootMs: NOW.bootMs + 30_000 } as const;
const holdDetails = {
  'hold-id': 'h1',
  why: 'brewing',
  uid: 1000,
  lifetime: 'bound',
  priority: 0,
  limit: 'no-limit-by-policy',
} as const;
const timedHold = { ...timed(90_000), onExpire: 'fail' } as const;

/** Lets go of the install gate so many milliseconds from now. */
function lettingGoIn(inMs: number, isForced = false): Pick<PooledMap, 'releases'> {
  return { releases: [{ point: 'ArtifactInstall_Enter', atWallMs: NOW.wallMs + inMs, isForced }] };
}

export const BLOCKER_CASES: readonly BlockerCase[] = [
  ['consent', required, {}, ['policy', 'consent-required', 'keep-waiting', null]],
  [
    'consent that ends',
    { consent: 'required', onExpire: 'fail', consentTimeoutSeconds: 60 },
    { waitedMs: 20_000 },
    ['policy', 'consent-required', 'fail', 40_000],
  ],
  [
    'a map of a program',
    {},
    { maps: [aMap('pause', {}, inHalfAMinute)] },
    ['uid:0', 'paused-by-map', 'fail', 30_000],
  ],
  [
    'a map of the server that then lets go',
    {},
    { maps: [aMap('pause', { onMapExpire: 'continue' }, { origin: 'server', uid: -1, ...inHalfAMinute })] },
    ['server', 'paused-by-map', 'continue', 30_000],
  ],
  [
    'a map that never expires',
    {},
    { maps: [aMap('pause', {}, { expiresBootMs: Infinity })] },
    ['uid:0', 'paused-by-map', 'keep-waiting', null],
  ],
  [
    'a map that then forces',
    {},
    { maps: [aMap('pause', { onMapExpire: 'force_continue' }, inHalfAMinute)] },
    ['uid:0', 'paused-by-map', 'continue', 30_000],
  ],
  [
    'a map that lets go at a time',
    {},
    { maps: [aMap('pause', {}, { ...inHalfAMinute, ...lettingGoIn(90_000) })] },
    ['uid:0', 'paused-until-release', 'continue', 90_000],
  ],
  [
    'a map that has expired and lets go at a time',
    {},
    { maps: [aMap('pause', {}, { isExpired: true, ...lettingGoIn(90_000) })] },
    ['uid:0', 'paused-until-release', 'continue', 90_000],
  ],
  [
    'a map that lets go at a time, by a clock that is not believed',
    {},
    { maps: [aMap('pause', {}, { ...inHalfAMinute, ...lettingGoIn(0) })], clockProblem: 'before-build' },
    ['uid:0', 'clock-not-trusted', 'keep-waiting', null],
  ],
  ['a bound hold', {}, { holds: [aHold({})] }, ['CoffeeApp', 'held', 'keep-waiting', null]],
  ['a timed hold', {}, { holds: [aHold(timedHold)] }, ['CoffeeApp', 'held', 'fail', 90_000]],
  [
    'a hold whose owner has gone',
    {},
    { holds: [aHold({ ...timedHold, countdown: 'linger' })] },
    ['CoffeeApp', 'owner-lost', 'continue', 90_000],
  ],
  [
    'a hold whose owner is expected',
    {},
    { holds: [aHold({ ...timedHold, countdown: 'return' })] },
    ['CoffeeApp', 'owner-expected', 'fail', 90_000],
  ],
  [
    'a hold that is overdue',
    {},
    { holds: [aHold({ ...timed(0), isExpired: true, onExpire: 'keep-waiting' })] },
    ['CoffeeApp', 'hold-overdue', 'keep-waiting', null],
  ],
  ['a pause', {}, { pause: PAUSE }, ['uid:1000', 'paused', 'keep-waiting', null]],
  [
    'a window of the configuration',
    {},
    { unmet: [unmetCondition({ owner: '' })] },
    ['policy', 'outside-window', 'keep-waiting', null],
  ],
  [
    'a condition of somebody',
    {},
    { unmet: [unmetCondition({ owner: 'logind' })] },
    ['logind', 'outside-window', 'keep-waiting', null],
  ],
  [
    'a checker',
    {},
    { ...atCommit, health: CHECKERS, healthReports: [report('app', 'ok')], waitedMs: 100_000 },
    ['net', 'health-not-reported', 'fail', 200_000],
  ],
  ['a snooze', {}, { snooze: snoozed(600_000) }, ['uid:1000', 'snoozed', 'continue', 600_000]],
  [
    'a snooze by a program',
    {},
    { snooze: { ...snoozed(600_000), app: 'kiosk' }, waitedMs: 100_000 },
    ['kiosk', 'snoozed', 'continue', 500_000],
  ],
];

/** The owner, reason and end of the only blocker; empty = it does not wait for one alone. */
export function onlyBlocker(verdict: GateVerdict): readonly unknown[] {
  const [blocker, ...others] = verdict.kind === 'wait' ? verdict.blockers : [];
  if (blocker === undefined || others.length > 0) return [];
  const { owner, reasonCode, onEnd, endsBootMs, endsWallMs } = blocker;
  const isAtTheSameTime = (endsWallMs === 0 ? 0 : endsWallMs - NOW.wallMs + NOW.bootMs) === endsBootMs;
  return [owner, reasonCode, onEnd, endsBootMs === 0 ? null : endsBootMs - NOW.bootMs, isAtTheSameTime].slice(
    0,
    isAtTheSameTime ? 4 : 5,
  );
}

const mapDetails = {
  'map-id': 'map-1',
  priority: 0,
  origin: 'local',
  'ceiling-seconds': 3600,
  'on-ceiling': 'fail',
};
/** Every detail of the only blocker, or of the refusal. */
export const DETAIL_CASES: readonly (readonly [string, Settings, Changes, Details])[] = [
  ['a refusal by lateness', {}, { ...atCommit, health: CHECKERS, waitedMs: 300_000 }, {}],
  [
    'a refusal by a checker',
    {},
    { ...atCommit, health: CHECKERS, healthReports: [report('net', 'failed')] },
    { checker: 'net' },
  ],
  [
    'a pause under a ceiling',
    {},
    { pause: PAUSE },
    { uid: 1000, 'ceiling-seconds': 3600, 'on-ceiling': 'fail' },
  ],
  [
    'a pause without a ceiling',
    { ceilingSeconds: 0 },
    { pause: PAUSE },
    { uid: 1000, limit: 'no-limit-by-policy' },
  ],
  [
    'a hold of a known process',
    { ceilingSeconds: 0 },
    { holds: [aHold({ pid: 9 })] },
    { ...holdDetails, pid: 9 },
  ],
  ['a hold of an unknown process', { ceilingSeconds: 0 }, { holds: [aHold({})] }, holdDetails],
  [
    'a window that will open',
    { ceilingSeconds: 0 },
    { unmet: [unmetCondition({ endsWallMs: 8, details: {} })] },
    { 'expected-end-usec': 8000, skippable: true, limit: 'no-limit-by-policy' },
  ],
  [
    'a window that will open nobody knows when',
    { ceilingSeconds: 0 },
    { unmet: [unmetCondition({ endsWallMs: 0, details: {} })] },
    { skippable: true, limit: 'no-limit-by-policy' },
  ],
  ['a map', {}, { maps: [aMap('pause')] }, mapDetails],
  [
    'a map that lets go at a time',
    {},
    { maps: [aMap('pause', {}, lettingGoIn(90_000))] },
    { ...mapDetails, 'release-at-usec': (NOW.wallMs + 90_000) * 1000 },
  ],
  [
    'a map that lets go at a time, by a clock that is not believed',
    {},
    { maps: [aMap('pause', {}, lettingGoIn(90_000))], clockProblem: 'before-build' },
    {
      ...mapDetails,
      'release-at-usec': (NOW.wallMs + 90_000) * 1000,
      'clock-problem': 'before-build',
    },
  ],
];

export function detailsOf(verdict: GateVerdict): Details | undefined {
  if (verdict.kind === 'fail') return verdict.details;
  return verdict.kind === 'wait' && verdict.blockers.length === 1 ? verdict.blockers[0]?.details : undefined;
}

/** Maps that have been asked. */
export const ASKED_CASES: readonly (readonly [string, Changes, readonly string[]])[] = [
  ['a map, not a hold', { maps: [aMap('pause')], holds: [aHold({})] }, ['map-1/0']],
  ['nobody', { holds: [aHold({})] }, []],
  [
    'none below a hold that decides',
    { maps: [aMap('fail'), aMap('continue', {}, { priority: 2 })], holds: [aHold({ priority: 1 })] },
    ['map-1/2'],
  ],
  [
    'all of them by an override',
    { maps: [aMap('pause', {}, { priority: 2 }), aMap('pause')], waivers: [waiver('override')] },
    ['map-1/2', 'map-1/0'],
  ],
];

/** The first case that a decision gets wrong; '' = none. */
export function complaintOfCases(decide: typeof decideGate): string {
  for (const [name, settings, situation, expected] of GATE_CASES) {
    const found = shortVerdict(decide(aSituation(settings, situation)));
    if (found !== expected) return `${name}: ${found}, should be ${expected}`;
  }
  for (const [name, settings, situation, expected] of END_CASES) {
    const verdict = decide(aSituation(settings, situation));
    const found = JSON.stringify(verdict.kind === 'wait' ? endOf(verdict) : verdict.kind);
    if (found !== JSON.stringify(expected)) return `ends a wait by ${name}: ${found}`;
  }
  for (const [name, settings, situation, expected] of BLOCKER_CASES) {
    const found = JSON.stringify(onlyBlocker(decide(aSituation(settings, situation))));
    if (found !== JSON.stringify(expected)) return `shows ${name}: ${found}`;
  }
  const sorted = (details: Details = {}): string => JSON.stringify(Object.entries(details).toSorted());
  for (const [name, settings, situation, expected] of DETAIL_CASES) {
    const found = sorted(detailsOf(decide(aSituation(settings, situation))));
    if (found !== sorted(expected)) return `details of ${name}: ${found}`;
  }
  for (const [name, situation, expected] of ASKED_CASES) {
    const found = decide(aSituation({}, situation)).askedMaps.join();
    if (found !== expected.join()) return `asks ${name}: ${found}`;
  }
  return '';
}

export function endOf(verdict: Extract<GateVerdict, { kind: 'wait' }>): EndCase[3] {
  return [verdict.endsInMs, verdict.onExpire, verdict.decideAgainInMs];
}

export function timed(remainingMs: number) {
  return { lifetime: 'timed', connection: '', countdown: 'time', remainingMs, timeoutMs: 90_000 } as const;
}

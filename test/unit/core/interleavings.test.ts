import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Command } from '../../../src/core/command.ts';
import { MAP_POINTS } from '../../../src/core/control/control-map.ts';
import { EVENT_KINDS } from '../../../src/core/event.ts';
import { HOLD_POINTS, type HoldPoint } from '../../../src/core/hold-point.ts';
import type { FlowSettings } from '../../../src/core/settings.ts';
import { snapshotOf } from '../../../src/core/snapshot.ts';
import { FLOW_STEPS, HISTORY_LIMIT, type FlowStep, type UpdateState } from '../../../src/core/state.ts';
import { transition } from '../../../src/core/transition.ts';
import { FLOW, WORK_EVENTS } from '../../../src/core/transition-table.ts';
import {
  DEPLOYMENT_ID,
  FlowSimulator,
  NEW_NAME,
  OLD,
  SERVER_SETTINGS,
  type MapAnswer,
  type SimulatedTick,
} from '../../support/flow-simulator.ts';
import { holdAdded, LOCAL_MAP_ID, unmetCondition, variantsOf } from '../../support/flow-events.ts';
import { WaitLedger } from '../../support/wait-ledger.ts';
import { faultsTowards, finish, goTo, isStuck, withPoint } from '../../support/flow-steps.ts';
import type { Fault } from '../../support/simulated-device.ts';

/** What may happen next, whatever the flow is doing. */
type Action =
  | { readonly kind: 'finish'; readonly which: number; readonly fault: Fault['kind'] | 'none' }
  | { readonly kind: 'restart'; readonly reboots: boolean }
  | { readonly kind: 'world'; readonly what: string }
  | { readonly kind: 'command'; readonly name: string }
  | { readonly kind: 'time'; readonly minutes: number; readonly wallStepMs: number }
  | { readonly kind: 'store'; readonly isBroken: boolean }
  | { readonly kind: 'stray'; readonly which: number; readonly workIdOffset: number };

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('finish' as const),
      which: fc.nat(3),
      fault: fc.oneof(
        { weight: 8, arbitrary: fc.constant('none' as const) },
        { weight: 1, arbitrary: fc.constantFrom('error', 'hang', 'aborted', 'unreachable', 'kill') },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), reboots: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('world' as const),
      what: fc.constantFrom('closed', 'open', 'holder-gone', 'alarm', 'journal-broken', 'journal-whole'),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('command' as const),
      name: fc.constantFrom(
        'continue',
        'continue',
        'continue',
        'abort',
        'rollback',
        'pause',
        'resume',
        'on',
        'off',
        'check',
        'check',
        'retry',
        'install',
        'now',
        'override',
        'by-hand',
        'snooze',
        'end-snooze',
        'hold',
        'hold-with-app',
        'hold-timed',
        'hold-fail',
        'refresh',
        'release',
        'map-pause',
        'map-fail',
        'map-force',
        'map-none',
        'inventory',
        'health-ok',
        'health-failed',
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('time' as const),
      minutes: fc.constantFrom(1, 15, 120, 600, 12_000),
      wallStepMs: fc.constantFrom(0, 0, 3.15e10, -3.15e10),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('store' as const), isBroken: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('stray' as const),
      which: fc.nat(60),
      workIdOffset: fc.constantFrom(-1, 0, 1),
    }),
  },
);

const policy = fc.record({
  consent: fc.constantFrom('none' as const, 'required' as const),
  consentTimeoutSeconds: fc.constantFrom(0, 600, 7200),
  onExpire: fc.constantFrom('continue' as const, 'fail' as const, 'keep-waiting' as const),
  ceilingSeconds: fc.constantFrom(0, 3600, 86_400),
  onCeiling: fc.constantFrom('continue' as const, 'fail' as const),
});

const situation = fc.record({
  policies: fc.tuple(policy, policy, policy, policy, policy),
  needsReboot: fc.constantFrom('No' as const, 'Yes' as const, 'Automatic' as const),
  supportsRollback: fc.boolean(),
  conditionPoints: fc.subarray([...HOLD_POINTS]),
  checkers: fc.subarray(['app', 'network']),
  offeredMap: fc.constantFrom(null, 'pause', 'continue', 'broken'),
  mapAnswers: fc.array(fc.constantFrom('map', 'gone', 'failed', 'broken'), { maxLength: 4 }),
  /** Where it begins; found as far as the settings lead there. */
  start: fc.constantFrom(...FLOW_STEPS),
  actions: fc.array(action, { minLength: 10, maxLength: 80 }),
});

type Situation = typeof situation extends fc.Arbitrary<infer T> ? T : never;

function commandOf(name: string, { state }: FlowSimulator): Command {
  const deploymentId = state.deployment?.id ?? DEPLOYMENT_ID;
  switch (name) {
    case 'continue':
      return { kind: 'Continue', ticket: ticketOf(state), uid: 1000, comment: '' };
    case 'now':
    case 'override':
      return { kind: 'Continue', ticket: ticketOf(state), uid: 0, comment: '', waiver: name };
    case 'by-hand':
      return { kind: 'Continue', ticket: ticketOf(state), uid: 0, comment: '', rebootMode: 'none' };
    case 'snooze':
      return { kind: 'Snooze', ticket: ticketOf(state), uid: 1000, seconds: 900 };
    case 'end-snooze':
      return { kind: 'EndSnooze', deploymentId, uid: 1000 };
    case 'hold':
    case 'hold-with-app':
    case 'hold-timed':
    case 'hold-fail': {
      const { kind: _, ...wish } = holdAdded({
        holdId: state.serial.toString(16).padStart(12, '0'),
        ...(name === 'hold-with-app' && { appId: 'org.example.app' }),
        ...(name === 'hold-timed' && { timeoutSeconds: 1800 }),
        ...(name === 'hold-fail' && { timeoutSeconds: 600, onExpire: 'fail' as const }),
      });
      return { ...wish, kind: 'AddHold' };
    }
    case 'refresh':
      return { kind: 'RefreshHold', holdId: state.holds[0]?.id ?? 'f'.repeat(12), uid: 1000 };
    case 'release':
      return { kind: 'ReleaseHold', holdId: state.holds[0]?.id ?? 'f'.repeat(12), uid: 0, isOverride: true };
    case 'map-pause':
    case 'map-fail':
    case 'map-force':
    case 'map-none': {
      const action = { pause: 'pause', fail: 'fail', force: 'force_continue' }[name.slice(4)];
      const states = Object.fromEntries(MAP_POINTS.map((point) => [point, { action: action ?? 'continue' }]));
      return { kind: 'SetControlMap', text: JSON.stringify({ id: LOCAL_MAP_ID, states }), uid: 0 };
    }
    case 'inventory':
      return { kind: 'SendInventory' };
    case 'health-ok':
    case 'health-failed': {
      const verdict = name.slice(7);
      return { kind: 'ReportHealth', deploymentId, checker: 'app', verdict, message: '', uid: 0 };
    }
    case 'abort':
      return { kind: 'Abort', deploymentId, uid: 1000, reason: '' };
    case 'rollback':
      return { kind: 'Rollback', deploymentId, uid: 1000, reason: '' };
    case 'pause':
      return { kind: 'Pause', deploymentId, uid: 1000 };
    case 'resume':
      return { kind: 'Resume', deploymentId, uid: 1000 };
    case 'on':
    case 'off':
      return { kind: 'SetUpdatesEnabled', isEnabled: name === 'on', uid: 0 };
    case 'check':
      return { kind: 'CheckForUpdate' };
    case 'retry':
      return { kind: 'RetryUpdate', deploymentId, uid: 1000 };
    default:
      return {
        kind: 'Install',
        deploymentId: `local-${state.serial}`,
        location: { kind: 'file', path: '/x' },
        requiredDigest: '',
        uid: 0,
        artifact: null,
        sizeBytes: -1,
      };
  }
}

function mapText(action: string): string {
  const states = Object.fromEntries(MAP_POINTS.map((point) => [point, { action }]));
  return JSON.stringify({ id: DEPLOYMENT_ID, priority: 1, states });
}

function mapAnswerOf(what: string): MapAnswer {
  if (what === 'gone') return { kind: 'deployment-gone' };
  if (what === 'failed') {
    const failure = { name: 'Download', message: 'no route', details: {} } as const;
    return { kind: 'failed', failure, retryAfterSeconds: 0 };
  }
  return { kind: 'map', text: what === 'map' ? mapText('pause') : '{"id": 3}' };
}

function begin(given: Situation): FlowSimulator {
  const { policies, needsReboot, supportsRollback, start, conditionPoints, checkers, offeredMap } = given;
  const settings = HOLD_POINTS.reduce<FlowSettings>(
    (made, point, at) => withPoint(point, policies[at] ?? {}, made),
    {
      ...SERVER_SETTINGS,
      conditionPoints,
      health: { checkers, deadlineSeconds: 300 },
    },
  );
  const simulator = new FlowSimulator({
    settings,
    device: { needsReboot, supportsRollback },
    faults: faultsTowards(start),
    offeredMap: offeredMap === null ? null : mapText(offeredMap),
    mapAnswers: given.mapAnswers.map(mapAnswerOf),
  }).boot();
  goTo(simulator, start);
  return simulator;
}

function act(simulator: FlowSimulator, next: Action): void {
  switch (next.kind) {
    case 'finish':
      if (simulator.jobs.length > 0) {
        const fault = next.fault === 'none' ? null : { kind: next.fault, where: '' };
        simulator.finishOne(next.which % simulator.jobs.length, fault);
      } else if (simulator.timer !== null) simulator.fireTimer();
      return;
    case 'restart':
      simulator.restart(next);
      return;
    case 'command':
      try {
        simulator.command(commandOf(next.name, simulator));
      } catch (error) {
        // Refused, or not stored: both are answers. Anything else is a defect.
        const { message } = error as Error;
        if (!REFUSALS.test(message)) throw error;
      }
      return;
    case 'time':
      simulator.wallMs += next.wallStepMs;
      simulator.advance(next.minutes * 60_000, false);
      return;
    case 'world':
      changeWorld(simulator, next.what);
      return;
    case 'store':
      simulator.isStoreBroken = () => next.isBroken;
      return;
    case 'stray': {
      const kind = EVENT_KINDS[next.which % EVENT_KINDS.length] ?? 'TimerFired';
      for (const body of variantsOf(kind, simulator.state)) {
        if (!('workId' in body)) continue;
        // With the right number only what the work cannot come to is stray.
        const isOwn = WORK_EVENTS[FLOW[simulator.step].work.kind].includes(kind);
        if (next.workIdOffset === 0 && isOwn) continue;
        simulator.dispatch({ ...body, workId: body.workId + next.workIdOffset });
      }
    }
  }
}

const REFUSALS =
  /^(WrongState|NoDeployment|UnknownDeployment|StaleTicket|Busy|Storage|InvalidArgs|NotHoldOwner|UnknownHold|LimitsExceeded|DeferralLimit|NotSupported)$/;

function changeWorld(simulator: FlowSimulator, what: string): void {
  const [holder] = simulator.watchedHolders;
  if (what === 'holder-gone' && holder) simulator.dispatch({ kind: 'HolderVanished', connection: holder });
  if (what === 'alarm' && simulator.alarmMs !== null) simulator.ringAlarm();
  if (what.startsWith('journal')) simulator.isJournalBroken = what === 'journal-broken';
  if (simulator.watchedPoint === null) return;
  if (what === 'open') simulator.report([]);
  if (what === 'closed') simulator.report([unmetCondition({})]);
}

function ticketOf({ wait }: UpdateState): string {
  return wait === null || wait.ticket === '' ? '0'.repeat(32) : wait.ticket;
}

/** Steps that only lie behind the gate. */
const BEHIND: Readonly<Partial<Record<FlowStep, HoldPoint>>> = {
  'download-enter': 'Download_Enter',
  download: 'Download_Enter',
  'install-enter': 'ArtifactInstall_Enter',
  install: 'ArtifactInstall_Enter',
  'reboot-enter': 'ArtifactReboot_Enter',
  reboot: 'ArtifactReboot_Enter',
  'verify-reboot': 'ArtifactReboot_Enter',
  'commit-enter': 'ArtifactCommit_Enter',
  commit: 'ArtifactCommit_Enter',
  'rollback-reboot-enter': 'ArtifactRollbackReboot_Enter',
  'rollback-reboot': 'ArtifactRollbackReboot_Enter',
  'verify-rollback-reboot': 'ArtifactRollbackReboot_Enter',
};
const REASON =
  /^(consent-uid-(1000|0)|(now|override)-uid-0|consent-expired|ceiling-reached|map-force-continue|nothing-blocks|rebooted-by-hand|hold-expired|hold-fail|map-fail)$/;

/** Figures that come and go with the download; the serial stands for everything else. */
const OWN_PACE = [
  'serial',
  'progress',
  'stepProgress',
  'downloadedBytes',
  'bytesPerSecond',
  'remainingSeconds',
];

/** Rules that hold after every transition. */
function check({ before, after, event }: SimulatedTick): void {
  const { deployment, installed, step, wait } = after;
  const shown = snapshotOf(after, event.at);
  // At the same moment: what the clocks alone change is no news.
  const was = snapshotOf(before, event.at);
  const isVisible = Object.entries(shown).some(
    ([name, value]) =>
      !OWN_PACE.includes(name) && JSON.stringify(value) !== JSON.stringify(was[name as keyof typeof was]),
  );
  if (isVisible) expect(after.serial, `serial in ${step}`).toBeGreaterThan(before.serial);
  expect(after.serial).toBeGreaterThanOrEqual(before.serial);
  expect(shown.progress === 100 ? after.history[0]?.result : 'success').toBe('success');

  const point = BEHIND[step];
  if (point !== undefined) {
    const passage = deployment?.passages.find((one) => one.point === point);
    expect(passage, `passage of ${point} in ${step}`).toBeDefined();
    const isAsked = after.settings.holdPoints[point].consent === 'required';
    for (const reason of passage?.reasons ?? []) expect(reason).toMatch(REASON);
    expect(passage?.reasons).not.toEqual([]);
    if (isAsked) expect(passage?.reasons).not.toContain('nothing-blocks');
  }
  if (wait !== null) expect(shown.activity).toBe('waiting');
  if (step === 'report-success')
    expect(deployment).toMatchObject({ failure: null, isCommitted: true, isInconsistent: false });
  expect(after.history.length).toBeLessThanOrEqual(HISTORY_LIMIT);
  expect([OLD.artifactName, NEW_NAME, `${NEW_NAME}_INCONSISTENT`]).toContain(installed.artifactName);
  if (deployment?.isCommitted) expect(installed.artifactName).toContain(NEW_NAME);
}

describe('whatever happens in whatever order', () => {
  it('the flow never throws, is never stuck, passes no gate unrecorded, and tells the truth', () => {
    fc.assert(
      fc.property(situation, (given) => {
        const simulator = begin(given);
        const { actions } = given;
        let checked = 0;
        const ledger = new WaitLedger();
        for (const next of actions) {
          act(simulator, next);
          for (const tick of simulator.ticks.slice(checked)) {
            check(tick);
            expect(ledger.take(tick)).toBe('');
          }
          checked = simulator.ticks.length;
          expect(simulator.nonsense).toEqual([]);
          expect([...simulator.watchedHolders].toSorted()).toEqual(connectionsOf(simulator.state));
          expect(isStuck(simulator), `stuck in ${simulator.step} after ${JSON.stringify(next)}`).toBe(false);
        }
        // Left alone, with a sound disk, it comes to an end.
        simulator.isStoreBroken = () => false;
        finish(simulator, 0);
        expect(simulator.state.deployment).toBeNull();
        for (const tick of simulator.ticks.slice(checked)) expect(ledger.take(tick)).toBe('');
        // The journal has every decision once, in order, whatever was lost on the way.
        simulator.isJournalBroken = false;
        simulator.restart({ reboots: false });
        simulator.run();
        expect(simulator.journal.map(({ seq }) => seq)).toEqual(
          Array.from({ length: simulator.state.journal.lastSeq }, (_, at) => at + 1),
        );
      }),
      {
        numRuns: Number(process.env['FC_RUNS'] ?? 150),
        ...(process.env['FC_SEED'] && { seed: Number(process.env['FC_SEED']) }),
        ...(process.env['FC_PATH'] && { path: process.env['FC_PATH'] }),
      },
    );
  });

  it('any event in any state it may be found in gives a state, and the same one again', () => {
    fc.assert(
      fc.property(situation, fc.nat(), (given, salt) => {
        const simulator = begin(given);
        const { actions } = given;
        for (const next of actions.slice(0, 60)) act(simulator, next);
        const frozen = deepFreeze(JSON.parse(JSON.stringify(simulator.state)) as UpdateState);
        for (const kind of EVENT_KINDS) {
          for (const body of variantsOf(kind, frozen)) {
            const event = { ...body, at: { wallMs: salt, bootMs: salt }, nonce: 'd'.repeat(32) };
            const once = transition(frozen, event);
            expect(transition(frozen, event)).toEqual(once);
            expect(JSON.parse(JSON.stringify(once.state))).toEqual(once.state);
          }
        }
      }),
      { numRuns: 40, ...(process.env['FC_SEED'] && { seed: Number(process.env['FC_SEED']) }) },
    );
  });
});

function connectionsOf({ holds }: UpdateState): readonly string[] {
  return [...new Set(holds.map(({ connection }) => connection))].filter((one) => one !== '').toSorted();
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Command } from '../../../src/core/command.ts';
import { EVENT_KINDS } from '../../../src/core/event.ts';
import { HOLD_POINTS, type HoldPoint } from '../../../src/core/hold-point.ts';
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
} from '../../support/flow-simulator.ts';
import { variantsOf } from '../../support/flow-events.ts';
import { faultsTowards, finish, goTo, isStuck, withPoint } from '../../support/flow-steps.ts';
import type { Fault } from '../../support/simulated-device.ts';

/** What may happen next, whatever the flow is doing. */
type Action =
  | { readonly kind: 'finish'; readonly which: number; readonly fault: Fault['kind'] | 'none' }
  | { readonly kind: 'restart'; readonly reboots: boolean }
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
        'install',
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('time' as const),
      minutes: fc.constantFrom(1, 15, 120, 2_000, 12_000),
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
  /** Where it begins; found as far as the settings lead there. */
  start: fc.constantFrom(...FLOW_STEPS),
  actions: fc.array(action, { minLength: 10, maxLength: 80 }),
});

type Situation = typeof situation extends fc.Arbitrary<infer T> ? T : never;

function commandOf(name: string, { state }: FlowSimulator): Command {
  const deploymentId = state.deployment?.id ?? DEPLOYMENT_ID;
  switch (name) {
    case 'continue':
      return { kind: 'Continue', ticket: state.wait?.ticket ?? '0'.repeat(32), uid: 1000, comment: '' };
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

function begin({ policies, needsReboot, supportsRollback, start }: Situation): FlowSimulator {
  const settings = HOLD_POINTS.reduce(
    (made, point, at) => withPoint(point, policies[at] ?? {}, made),
    SERVER_SETTINGS,
  );
  const device = { needsReboot, supportsRollback };
  const simulator = new FlowSimulator({ settings, device, faults: faultsTowards(start) }).boot();
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
        if (!/^(WrongState|NoDeployment|StaleTicket|Busy|Storage)$/.test(message)) throw error;
      }
      return;
    case 'time':
      simulator.wallMs += next.wallStepMs;
      for (let guard = 0; simulator.timer !== null && guard < 100; guard += 1) {
        if (simulator.timer.dueMs > simulator.bootMs + next.minutes * 60_000) break;
        simulator.fireTimer();
      }
      simulator.passTime(next.minutes * 60_000);
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
const REASON = /^(consent-uid-1000|consent-expired|ceiling-reached|rebooted-by-hand)$/;

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
function check(before: UpdateState, after: UpdateState): void {
  const { deployment, installed, step, wait } = after;
  const shown = snapshotOf(after);
  const was = snapshotOf(before);
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
    if (isAsked) expect(passage?.reasons).not.toEqual([]);
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
        for (const next of actions) {
          act(simulator, next);
          for (; checked < simulator.ticks.length; checked += 1) {
            const tick = simulator.ticks[checked];
            if (tick) check(tick.before, tick.after);
          }
          expect(isStuck(simulator), `stuck in ${simulator.step} after ${JSON.stringify(next)}`).toBe(false);
        }
        const started = simulator.notices.filter(({ kind }) => kind === 'WaitStarted').length;
        const ended = simulator.notices.filter(({ kind }) => kind === 'WaitEnded').length;
        expect(ended).toBeLessThanOrEqual(started);

        // Left alone, with a sound disk, it comes to an end.
        simulator.isStoreBroken = () => false;
        finish(simulator, 0);
        expect(simulator.state.deployment).toBeNull();
      }),
      {
        numRuns: Number(process.env['FC_RUNS'] ?? 150),
        ...(process.env['FC_SEED'] && { seed: Number(process.env['FC_SEED']) }),
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

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}

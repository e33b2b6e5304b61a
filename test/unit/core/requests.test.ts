import { describe, expect, it } from 'vitest';
import { allowedActions, decide, type Command } from '../../../src/core/command.ts';
import { FLOW_STEPS, type FlowStep } from '../../../src/core/state.ts';
import { FLOW } from '../../../src/core/transition-table.ts';
import { HOLD_LIMITS } from '../../../src/core/control/hold.ts';
import { holdAdded } from '../../support/flow-events.ts';
import { DEPLOYMENT_ID, FlowSimulator, NEW_NAME } from '../../support/flow-simulator.ts';
import { continueNow, finish, isStuck, outcomeOf, reach } from '../../support/flow-steps.ts';

/** Where a person may end the update. Source: design/dbus-api.md section 4, "Pause/Resume" and "Abort". */
const BEFORE_INSTALL: readonly FlowStep[] = [
  'download-gate',
  'download-status',
  'download-enter',
  'download',
  'download-leave',
  'install-gate',
  'install-status',
];
const INSTALLING: readonly FlowStep[] = ['install-enter', 'install'];
const UNTIL_COMMIT: readonly FlowStep[] = [
  'install-leave',
  'needs-reboot',
  'reboot-gate',
  'reboot-status',
  'reboot-enter',
  'verify-reboot',
  'reboot-leave',
  'commit-reverify',
  'commit-gate',
];
const ABORTABLE = [...BEFORE_INSTALL, ...INSTALLING, ...UNTIL_COMMIT];

const NOW = 60_000;

type End = 'Abort' | 'Rollback';
const order = (kind: End): Command => ({ kind, deploymentId: DEPLOYMENT_ID, uid: 1000, reason: 'no' });
const cases = FLOW_STEPS.flatMap((step) =>
  (['Abort', 'Rollback'] as const).map((kind) => ({
    step,
    kind,
    isAllowed: (kind === 'Abort' ? ABORTABLE : UNTIL_COMMIT).includes(step),
  })),
);
const allowed = cases.filter(({ isAllowed }) => isAllowed);

describe('a request to end the update', () => {
  it.each(cases)('$kind in $step is allowed: $isAllowed', ({ step, kind, isAllowed }) => {
    const { state } = reach(step);
    const decision = decide(state, order(kind), NOW);
    expect(decision.kind).toBe(isAllowed ? 'accepted' : 'refused');
    expect(allowedActions(state).includes(kind === 'Abort' ? 'abort' : 'rollback')).toBe(isAllowed);
    if (decision.kind !== 'refused') return;
    expect(decision.refusal.name).toBe(state.deployment === null ? 'NoDeployment' : 'WrongState');
    expect(decision.refusal.message).toContain(state.deployment === null ? 'no update' : FLOW[step].step);
  });

  it.each(allowed)('$kind in $step ends the work, and the update goes back', ({ step, kind }) => {
    const simulator = reach(step);
    const underWay = simulator.jobs.map(({ call }) => call);
    const isWaiting = simulator.state.wait !== null;
    const callsBefore = simulator.chain();
    simulator.command(order(kind));
    // The status of a wait is no work of the step.
    expect(simulator.cancelled).toEqual(isWaiting ? [] : underWay);
    expect(simulator.state.deployment?.endRequest).toMatchObject({ uid: 1000, reason: 'no' });
    expect(isStuck(simulator)).toBe(false);
    finish(simulator);

    const after = simulator.chain().slice(callsBefore.length).trim().split(' ');
    expect(outcomeOf(simulator)).toBe('back');
    expect(simulator.state.history[0]).toMatchObject({
      result: kind === 'Abort' ? 'aborted' : 'rolled-back',
      failure: { name: 'AbortedByUser', details: { uid: 1000, reason: 'no' } },
    });
    for (const call of ['D', 'I+', 'I', 'R+', 'R', 'C+', 'C']) expect(after).not.toContain(call);
    if (BEFORE_INSTALL.includes(step)) expect(after.join(' ')).not.toMatch(/RB|F|SR\?/);
    else expect(after.join(' ')).toContain('SR? RB+ RB RB-');
  });

  it.each(allowed)(
    '$kind in $step holds although the work was done before it could be ended',
    ({ step, kind }) => {
      const simulator = reach(step);
      simulator.command(order(kind));
      for (const job of simulator.jobs) job.isCancelled = false;
      finish(simulator);
      expect(outcomeOf(simulator)).toBe('back');
      expect(simulator.state.history[0]?.result).toBe(kind === 'Abort' ? 'aborted' : 'rolled-back');
    },
  );

  it.each(allowed.flatMap((one) => [false, true].map((reboots) => ({ ...one, reboots }))))(
    '$kind in $step survives a restart before it is carried out (another boot: $reboots)',
    ({ step, kind, reboots }) => {
      const simulator = reach(step);
      simulator.command(order(kind));
      simulator.restart({ reboots });
      finish(simulator);
      expect(outcomeOf(simulator)).toBe('back');
      expect(simulator.state.history[0]?.result).toBe(kind === 'Abort' ? 'aborted' : 'rolled-back');
      expect(simulator.chain()).not.toContain('C+');
    },
  );

  it.each(allowed)('$kind in $step is taken once', ({ step, kind }) => {
    const simulator = reach(step);
    simulator.command(order(kind));
    expect(allowedActions(simulator.state)).not.toContain('abort');
    expect(allowedActions(simulator.state)).not.toContain('rollback');
    if (simulator.state.deployment !== null) {
      expect(() => simulator.command(order('Abort'))).toThrow('WrongState');
      const { endRequest } = simulator.state.deployment;
      simulator.dispatch({ kind: 'AbortRequested', uid: 7, reason: 'me too' });
      expect(simulator.state.deployment.endRequest).toEqual(endRequest);
    }
  });

  it('makes no reboot when it came before it', () => {
    for (const step of [
      'install',
      'install-leave',
      'needs-reboot',
      'reboot-gate',
      'reboot-status',
      'reboot-enter',
    ] as const) {
      const simulator = reach(step, { device: { needsReboot: 'Automatic' } });
      simulator.command(order('Abort'));
      finish(simulator);
      const [before] = simulator.chain().split('SR?');
      expect(before).not.toMatch(/\bR\b(?!\+|!)|reboot/);
    }
  });

  it('names the server’s abort as such, and calls the result aborted', () => {
    for (const status of ['downloading', 'installing', 'rebooting', 'installing:2']) {
      const where = `status:${status.includes(':') ? status : `${status}:1`}`;
      const simulator = new FlowSimulator({ faults: [{ kind: 'aborted', where }] }).boot().runOut(1);
      expect(simulator.state.history[0]).toMatchObject({
        result: 'aborted',
        failure: { name: 'AbortedByServer' },
      });
      expect(outcomeOf(simulator)).toBe('back');
      expect(simulator.reports.at(-1)).toMatchObject({ status: 'failure' });
    }
  });

  it.each([
    ['installing', 'install-gate', ''],
    ['rebooting', 'reboot-gate', 'RB'],
    ['committing', 'commit-gate', 'RB'],
  ] as const)('of the server while it waits before %s ends the wait', (name, step, calls) => {
    const faults = [{ kind: 'aborted', where: `status:pause_before_${name}:1` }] as const;
    const simulator = reach(step, { faults });
    simulator.runOut();
    expect(simulator.notices.filter(({ kind }) => kind === 'WaitEnded')).toMatchObject([
      { outcome: 'aborted' },
    ]);
    expect(simulator.state.history[0]?.result).toBe('aborted');
    expect(simulator.chain().includes('RB')).toBe(calls === 'RB');
  });

  it('that is refused by the store changes nothing', () => {
    const simulator = reach('install');
    const { state } = simulator;
    simulator.isStoreBroken = () => true;
    expect(() => simulator.command(order('Abort'))).toThrow('Storage');
    expect(simulator.state).toBe(state);
    expect(simulator.cancelled).toEqual([]);
  });

  it('is not undone by the server offering the same deployment again', () => {
    for (const kind of ['Abort', 'Rollback'] as const) {
      // The final report gets lost, so the server goes on offering it.
      const faults = [{ kind: 'unreachable', where: 'status:failure:1', times: 100 }] as const;
      const simulator = reach('reboot-gate', { faults });
      simulator.command(order(kind));
      finish(simulator);
      const calls = simulator.chain();
      for (let checks = 0; checks < 3; checks += 1) {
        simulator.dispatch({ kind: 'CheckRequested' });
        simulator.runOut();
      }
      expect(simulator.chain()).toBe(calls);
      expect(simulator.state.history).toHaveLength(1);
      const check = simulator.notices.findLast((notice) => notice.kind === 'CheckFinished');
      expect(check).toMatchObject({ result: 'up-to-date' });
    }
  });

  it('is not undone either when the rollback that a person wanted went wrong', () => {
    const simulator = reach('reboot-gate', {
      faults: [
        { kind: 'error', where: 'RB' },
        { kind: 'unreachable', where: 'status:failure:1', times: 100 },
      ],
    });
    simulator.command(order('Rollback'));
    finish(simulator);
    expect(simulator.state.history[0]).toMatchObject({
      result: 'inconsistent',
      failure: { name: 'RollbackFailed' },
    });
    const calls = simulator.chain();
    simulator.dispatch({ kind: 'CheckRequested' });
    simulator.runOut();
    expect(simulator.chain()).toBe(calls);
  });
});

describe('every action', () => {
  const commands = (ticket: string): Readonly<Record<string, Command>> => ({
    continue: { kind: 'Continue', ticket, uid: 1000, comment: '' },
    pause: { kind: 'Pause', deploymentId: DEPLOYMENT_ID, uid: 1000 },
    abort: order('Abort'),
    rollback: order('Rollback'),
    check: { kind: 'CheckForUpdate' },
    install: {
      kind: 'Install',
      deploymentId: 'x',
      location: { kind: 'file', path: '/x' },
      requiredDigest: '',
      uid: 0,
      artifact: null,
      sizeBytes: -1,
    },
  });

  it.each(FLOW_STEPS.map((step) => [step]))(
    'is shown as allowed in %s exactly when it is accepted',
    (step) => {
      const { state } = reach(step);
      for (const [action, command] of Object.entries(commands(state.wait?.ticket ?? 'a'.repeat(32)))) {
        const isAccepted = decide(state, command, NOW).kind === 'accepted';
        expect([action, isAccepted]).toEqual([action, (allowedActions(state) as string[]).includes(action)]);
      }
    },
  );

  it('about another deployment is refused with the id of the present one', () => {
    const { state } = reach('install-gate');
    for (const kind of ['Abort', 'Rollback', 'Pause', 'Resume'] as const) {
      const decision = decide(state, { kind, deploymentId: 'another', uid: 0, reason: '' }, NOW);
      expect(decision).toMatchObject({
        kind: 'refused',
        refusal: { name: 'UnknownDeployment', details: { 'deployment-id': DEPLOYMENT_ID } },
      });
    }
  });

  it.each(['x'.repeat(201), 'two\nlines', '\u0000', '\u2028', '\u009b31m'])('refuses the text %j', (text) => {
    const { state } = reach('install-gate');
    const ticket = state.wait?.ticket ?? '';
    for (const command of [
      { kind: 'Abort', deploymentId: DEPLOYMENT_ID, uid: 0, reason: text },
      { kind: 'Continue', ticket, uid: 0, comment: text },
    ] as const) {
      expect(decide(state, command, NOW)).toMatchObject({
        kind: 'refused',
        refusal: { name: 'InvalidArgs' },
      });
    }
    expect(decide(state, { kind: 'Continue', ticket, uid: 0, comment: '😀'.repeat(200) }, NOW).kind).toBe(
      'accepted',
    );
  });

  it('is told that its ticket is stale when the wait ends otherwise at that moment', () => {
    const simulator = reach('install-gate');
    simulator.command({ kind: 'Pause', deploymentId: DEPLOYMENT_ID, uid: 1000 });
    simulator.passTime(8 * 24 * 3600 * 1000);
    expect(() => continueNow(simulator)).toThrow('StaleTicket');
    expect(simulator.state.wait).toBeNull();
    finish(simulator);
    expect(simulator.state.history[0]?.failure?.name).toBe('HoldExpired');
  });

  it('to install demands the artifact that was looked at', () => {
    const simulator = new FlowSimulator().boot().installLocal();
    simulator.run(({ step }) => step === 'download');
    expect(simulator.jobs[0]?.effect).toMatchObject({ requiredDigest: simulator.artifact.digest });
  });
});

describe('a second deployment with an id that has been before', () => {
  it('is carried out, announced and ended like any other, unless it was installed in vain', () => {
    const faults = [
      { kind: 'error', where: 'D' },
      { kind: 'unreachable', where: 'status:failure:1', times: 13 },
    ] as const;
    const simulator = new FlowSimulator({ faults }).boot().runOut(1);
    expect(simulator.state.history).toHaveLength(1);
    simulator.dispatch({ kind: 'CheckRequested' });
    simulator.run(({ step }) => step === 'download');
    expect(allowedActions(simulator.state)).toContain('pause');
    simulator.runOut();
    expect(simulator.state.history.map(({ result }) => result)).toEqual(['success', 'failure']);
    expect(simulator.notices.filter(({ kind }) => kind === 'DeploymentFinished')).toHaveLength(2);
    expect(simulator.state.progress.overall).toBe(100);
  });

  it('that is installed by then is reported as that, and ends', () => {
    const faults = [{ kind: 'unreachable', where: 'status:success:1', times: 13 }] as const;
    const simulator = new FlowSimulator({ faults }).boot().runOut(1);
    simulator.dispatch({ kind: 'CheckRequested' });
    simulator.runOut();
    expect(simulator.state.deployment).toBeNull();
    expect(simulator.reports.at(-1)).toMatchObject({ status: 'already-installed', outcome: 'accepted' });
    expect(simulator.notices.filter(({ kind }) => kind === 'DeploymentFinished')).toHaveLength(2);
    expect(simulator.state.installed.artifactName).toBe(NEW_NAME);
  });
});

describe('a hold', () => {
  const wish = (uid: number, appId = ''): Command => {
    const { kind: _, ...hold } = holdAdded({ uid, appId, connection: `bus/:1.${uid}` });
    return { ...hold, kind: 'AddHold' };
  };
  const full = (...uids: readonly number[]): FlowSimulator => {
    const simulator = new FlowSimulator().boot();
    for (const uid of uids) {
      for (let count = 0; count < HOLD_LIMITS.perUid; count++) {
        const holdId = `${uid}`.padStart(6, '0') + `${count}`.padStart(6, '0');
        simulator.dispatch(
          holdAdded({ uid, holdId, appId: `app${count}`, connection: `bus/:${uid}.${count}` }),
        );
      }
    }
    return simulator;
  };

  it('is one of 16 of a user, and of 64 in all; one more is refused, whoever asks', () => {
    expect(HOLD_LIMITS).toEqual({ perUid: 16, inAll: 64 });
    const one = full(1000);
    expect(decide(one.state, wish(1000), NOW)).toMatchObject({
      kind: 'refused',
      refusal: { name: 'LimitsExceeded', details: { limit: 16 } },
    });
    expect(decide(one.state, wish(1001), NOW).kind).toBe('accepted');
    const all = full(1000, 1001, 1002, 1003);
    expect(all.state.holds).toHaveLength(64);
    for (const uid of [1004, 0]) {
      expect(decide(all.state, wish(uid), NOW)).toMatchObject({
        kind: 'refused',
        refusal: { name: 'LimitsExceeded', details: { limit: 64 } },
      });
    }
  });

  it('that is taken over by the next process of its application is not one more', () => {
    const all = full(1000, 1001, 1002, 1003);
    all.dispatch({ kind: 'HolderVanished', connection: 'bus/:1002.5' });
    const again = decide(all.state, wish(1002, 'app5'), NOW);
    expect(again.kind === 'accepted' && again.reply(all.state)).toBe('001002000005');
  });
});

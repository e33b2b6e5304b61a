import { describe, expect, it } from 'vitest';
import { FLOW_STEPS, type FlowStep } from '../../../src/core/state.ts';
import { FLOW } from '../../../src/core/transition-table.ts';
import { LOOP_LIMIT } from '../../../src/core/walk.ts';
import { holdAdded } from '../../support/flow-events.ts';
import { DEPLOYMENT_ID, FlowSimulator, isFinal, SERVER_SETTINGS } from '../../support/flow-simulator.ts';
import {
  alreadyInstalled,
  consentAt,
  faultsTowards,
  finish,
  goTo,
  isStuck,
  outcomeOf,
  pointOf,
  reach,
  shownOf,
} from '../../support/flow-steps.ts';

/** Steps that are entered with a deployment on its way, so that entering them is stored. */
const stored = FLOW_STEPS.filter(
  (step) =>
    ![
      'idle-enter',
      'idle',
      'idle-leave',
      'sync-enter',
      'sync',
      'sync-inventory',
      'sync-error',
      'commit-reverify',
    ].includes(step),
);

/** Runs until `step` is entered and that save fails; later saves fail too when broken for good. */
function enterBroken(step: FlowStep, isForGood: boolean): FlowSimulator {
  const point = pointOf(step);
  const simulator = new FlowSimulator({
    faults: faultsTowards(step),
    settings: point === null ? SERVER_SETTINGS : consentAt(point),
    ...(step === 'report-already-installed' && { store: alreadyInstalled() }),
  });
  let isStruck = false;
  simulator.isStoreBroken = (state) => {
    if (isStruck) return isForGood;
    isStruck = state.step === step;
    return isStruck;
  };
  simulator.boot();
  for (let turns = 0; turns < 30 && !isStruck; turns += 1) {
    simulator.run(() => isStruck);
    if (simulator.step === 'idle' && !isStruck)
      simulator.dispatch({ kind: step === 'sync-inventory' ? 'InventoryRequested' : 'CheckRequested' });
  }
  if (!isStruck) throw new Error(`${step} was not reached`);
  return simulator;
}

describe.each(stored.map((step) => [step]))('when entering %s cannot be stored', (step) => {
  it('no work is done that the store does not know of, unless the step can do without', () => {
    const simulator = enterBroken(step, false);
    const { deployment } = simulator.state;
    expect(isStuck(simulator)).toBe(false);
    if (FLOW[step].whenNotStored === 'proceed') {
      if (deployment) expect(simulator.step).toBe(step);
      expect(deployment?.failure?.name).not.toBe('Storage');
    } else {
      expect(simulator.step).not.toBe(step);
      // Only left out: that says nothing about the update.
      if (FLOW[step].whenNotStored === 'skip') expect(deployment?.failure?.name).not.toBe('Storage');
      else if (deployment) expect(deployment.failure).toMatchObject({ name: 'Storage' });
    }
    finish(simulator);
    expect(simulator.state.deployment).toBeNull();
  });

  it('what is told in the end is what happened', () => {
    const simulator = enterBroken(step, false);
    finish(simulator);
    const told = simulator.reports.filter(({ status }) => isFinal(status)).map(({ status }) => status);
    const [entry] = simulator.state.history;
    const isSuccess = entry?.result === 'success';
    expect(told).toHaveLength(1);
    expect(told[0] === 'failure').toBe(!isSuccess);
    expect(entry?.failure === null).toBe(isSuccess);
  });

  it('a store that stays broken still lets the update come to an end', () => {
    const simulator = enterBroken(step, true);
    if (step === 'commit-leave') {
      // A success that is not stored is not told: the next start would go back.
      simulator.run();
      expect(simulator.step).toBe('cleanup-after-success');
      // Longer than the loop limit: waiting is no loop.
      for (let turns = 0; turns < LOOP_LIMIT + 2; turns += 1) simulator.fireTimer();
      expect(simulator.step).toBe('cleanup-after-success');
      expect(simulator.reports.filter(({ status }) => isFinal(status))).toEqual([]);
      simulator.isStoreBroken = () => false;
    }
    for (let turns = 0; turns < 50 && simulator.step !== 'idle'; turns += 1) {
      simulator.runOut();
      // Nobody can consent to what cannot be stored; the ceiling ends it.
      if (simulator.state.wait !== null) simulator.advance(8 * 24 * 3600 * 1000);
    }
    expect(simulator.step).toBe('idle');
    if (FLOW_STEPS.indexOf(step) > FLOW_STEPS.indexOf('commit')) return;
    expect(simulator.chain()).not.toMatch(/(^| )C( |$)/);
  });
});

describe('a store that fails', () => {
  it('refuses an install that it cannot keep', () => {
    const simulator = new FlowSimulator().boot().run();
    const { state } = simulator;
    simulator.isStoreBroken = () => true;
    expect(() => simulator.installLocal()).toThrow('Storage');
    expect(simulator.state).toBe(state);
  });

  it('in idle, at the start, does not keep a waiting install from ending well or from failing by name', () => {
    const simulator = new FlowSimulator().boot().installLocal();
    let broken = 1;
    simulator.isStoreBroken = () => broken-- > 0;
    simulator.run();
    expect(simulator.step).toBe('idle');
    const [entry] = simulator.state.history;
    expect(entry?.result === 'success').toBe(entry?.failure === null);
    expect(entry?.result).toBe('success');
    expect(entry?.deploymentId).toBe(DEPLOYMENT_ID);
  });

  it('while the artifact’s name is noted lets the download go on, and fails behind it if it is still broken', () => {
    const simulator = reach('download');
    simulator.isStoreBroken = () => true;
    simulator.runOut();
    expect(simulator.chain()).toBe('D+ PS? D D!');
    expect(simulator.cancelled).toEqual([]);
    expect(outcomeOf(simulator)).toBe('back');
    expect(simulator.state.history[0]?.failure).toMatchObject({ name: 'Storage' });
  });

  it('at a start after a reboot by hand does not throw a waiting update away', () => {
    const simulator = reach('commit-gate');
    simulator.isStoreBroken = () => true;
    simulator.restart({ reboots: true });
    simulator.run();
    expect(simulator.step).toBe('commit-gate');
    simulator.isStoreBroken = () => false;
    expect(outcomeOf(finish(simulator))).toBe('ok');
  });

  it('in the commit goes back before the module has committed', () => {
    const simulator = reach('commit-check');
    simulator.isStoreBroken = ({ step }) => step === 'commit';
    simulator.runOut();
    expect(simulator.chain()).toMatch(/C\+ C! SR\? RB\+ RB RB-/);
    expect(outcomeOf(simulator)).toBe('back');
  });

  it('behind the commit goes on, and tells the success when it is stored', () => {
    const simulator = reach('commit');
    simulator.isStoreBroken = () => true;
    simulator.run();
    expect(simulator.chain()).toMatch(/C C-$/);
    expect(simulator.reports.some(({ status }) => status === 'success')).toBe(false);
    simulator.isStoreBroken = () => false;
    simulator.runOut();
    // Nothing is left out for having waited.
    expect(simulator.chain()).toMatch(/C C- CL$/);
    expect(simulator.reports.filter(({ status }) => isFinal(status))).toHaveLength(1);
    expect(outcomeOf(simulator)).toBe('ok');
  });

  it('behind the commit, ended before it is stored, has told nobody: the device goes back', () => {
    const simulator = reach('commit');
    simulator.isStoreBroken = () => true;
    simulator.run();
    simulator.isStoreBroken = () => false;
    simulator.restart({ reboots: false });
    finish(simulator);
    expect(outcomeOf(simulator)).toBe('back');
    expect(simulator.reports.flatMap(({ status }) => (isFinal(status) ? [status] : []))).toEqual(['failure']);
  });

  it.each([
    ['ordered on the device', 'local'],
    ['by the server', 'server'],
  ] as const)('behind the commit of an update %s shows no success before it is stored', (_what, source) => {
    const simulator = new FlowSimulator().boot();
    if (source === 'local') simulator.installLocal();
    goTo(simulator, 'commit');
    simulator.isStoreBroken = () => true;
    simulator.run();
    const results = (): readonly string[] =>
      simulator.notices.flatMap((notice) => (notice.kind === 'DeploymentFinished' ? [notice.result] : []));
    for (let turns = 0; turns < 3; turns += 1) {
      expect(shownOf(simulator)).toMatchObject({
        lastResult: 'none',
        activity: 'cleaning-up',
        deployment: { notice: 'commit-not-stored' },
      });
      expect(simulator.state.history).toEqual([]);
      expect(results()).toEqual([]);
      simulator.fireTimer();
    }
    simulator.isStoreBroken = () => false;
    simulator.runOut(0);
    expect(simulator.step).toBe('idle');
    expect(shownOf(simulator)).toMatchObject({ lastResult: 'success', deployment: {} });
    expect(results()).toEqual(['success']);
    expect(simulator.chain()).toMatch(/ C C- CL$/);
  });

  it('behind the commit is looked at again after a minute, and stored in one try', () => {
    const simulator = reach('commit');
    let tries = 0;
    simulator.isStoreBroken = () => (tries += 1) > 0;
    simulator.run();
    tries = 0;
    expect(simulator.timer).toMatchObject({ dueMs: simulator.bootMs + 60_000 });
    simulator.fireTimer();
    // Clean-up, and the wait for it: not one try after the other.
    expect(tries).toBe(2);
  });

  it('in the clean-up of a commit that was stored late does not begin it a second time', () => {
    const simulator = reach('commit');
    simulator.isStoreBroken = () => true;
    simulator.run();
    simulator.isStoreBroken = () => false;
    simulator.fireTimer();
    expect(simulator.jobs.map(({ call }) => call)).toEqual(['CL']);
    simulator.command({ ...holdAdded({ holdId: 'a'.repeat(12) }), kind: 'AddHold' });
    simulator.isStoreBroken = () => true;
    simulator.dispatch({ kind: 'HolderVanished', connection: 'bus/:1.7' });
    expect(simulator.timer).toBeNull();
    simulator.isStoreBroken = () => false;
    simulator.runOut(0);
    expect(simulator.chain()).toMatch(/ C C- CL$/);
    expect(simulator.state.history[0]?.result).toBe('success');
  });

  it('when an artifact without a payload has come is not told as a success before it is stored', () => {
    const simulator = reach('download-leave', { device: { payload: 'empty' } });
    simulator.isStoreBroken = () => true;
    simulator.run();
    expect(simulator.step).toBe('cleanup-after-success');
    expect(simulator.reports.some(({ status }) => isFinal(status))).toBe(false);
    expect(shownOf(simulator).lastResult).toBe('none');
    simulator.isStoreBroken = () => false;
    simulator.runOut();
    expect(simulator.reports.flatMap(({ status }) => (isFinal(status) ? [status] : []))).toEqual(['success']);
  });

  it('leaves the file tree where it is: the next start goes back with it', () => {
    const simulator = reach('rollback');
    simulator.isStoreBroken = () => true;
    simulator.runOut();
    expect(simulator.chain()).toMatch(/F-$/);
    expect(simulator.step).toBe('idle');
  });

  it('does not keep a device rebooting: a start that cannot be stored does not reboot it again', () => {
    const simulator = new FlowSimulator({
      device: { rebootsTakeHostDown: true },
      faults: [{ kind: 'error', where: 'VR' }],
    }).boot();
    goTo(simulator, 'install');
    simulator.isStoreBroken = () => true;
    simulator.restart({ reboots: true });
    simulator.runOut();
    expect(simulator.step).toBe('idle');
    // The restart of the test, and none of the update's.
    expect(simulator.kills).toBe(1);
    expect(simulator.chain()).toMatch(/RB- NR\? VRR RR- F\+ F F-$/);
    expect(outcomeOf(simulator)).toBe('back');
  });
});

describe('when a step cannot be stored', () => {
  it('what is known of holders and of ends that are due is followed all the same', () => {
    const simulator = reach('install-gate');
    const bound = { ...holdAdded({ holdId: 'a'.repeat(12) }), kind: 'AddHold' } as const;
    const timed = { ...bound, holdId: 'b'.repeat(12), timeoutSeconds: 1800 };
    simulator.command(bound);
    simulator.command({ ...timed, connection: 'bus/:1.8' });
    const ticket = simulator.state.wait?.ticket ?? '';
    expect(simulator.command({ kind: 'Continue', ticket, uid: 0, comment: '' })).toBe('recorded');
    expect([...simulator.watchedHolders]).toEqual(['bus/:1.7']);
    simulator.command({ kind: 'ReleaseHold', holdId: timed.holdId, uid: timed.uid, isOverride: true });
    const alarm = simulator.alarmMs;

    simulator.isStoreBroken = () => true;
    simulator.dispatch({ kind: 'HolderVanished', connection: 'bus/:1.7' });
    // The gate was open, and what lies behind it not begun without a record.
    expect(simulator.state.deployment?.failure?.name).toBe('Storage');
    expect([...simulator.watchedHolders]).toEqual([]);
    expect(simulator.alarmMs).toBe(alarm);
    expect(simulator.nonsense).toEqual([]);
  });
});

describe('what cannot be stored while a step is at work', () => {
  it.each(['download-enter', 'install', 'reboot', 'commit', 'rollback'] as const)(
    'does not begin another beside it: %s',
    (step) => {
      const simulator = reach(step);
      simulator.command({ ...holdAdded({ holdId: 'a'.repeat(12) }), kind: 'AddHold' });
      const { workId } = simulator.state;
      const jobs = simulator.jobs.length;
      simulator.isStoreBroken = () => true;
      simulator.dispatch({ kind: 'HolderVanished', connection: 'bus/:1.7' });
      expect(simulator.state.holds).toEqual([]);
      expect(simulator.step).toBe(step);
      expect(simulator.state.workId).toBe(workId);
      expect(simulator.jobs).toHaveLength(jobs);
      expect(simulator.state.deployment?.failure?.name).not.toBe('Storage');
    },
  );
});

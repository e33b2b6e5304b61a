import { describe, expect, it } from 'vitest';
import { FLOW_STEPS, type FlowStep } from '../../../src/core/state.ts';
import { FLOW } from '../../../src/core/transition-table.ts';
import { DEPLOYMENT_ID, FlowSimulator } from '../../support/flow-simulator.ts';
import {
  faultsTowards,
  finish,
  goTo,
  isStuck,
  outcomeOf,
  pointOf,
  consentAt,
  reach,
} from '../../support/flow-steps.ts';
import { SERVER_SETTINGS } from '../../support/flow-simulator.ts';

/** Steps that are entered with a deployment on its way, so that entering them is stored. */
const stored = FLOW_STEPS.filter(
  (step) =>
    !['idle-enter', 'idle', 'idle-leave', 'sync-enter', 'sync', 'sync-error', 'commit-reverify'].includes(
      step,
    ),
);

/** On entering `step`, the first save (or every one from then on) fails. */
function withBrokenStore(step: FlowStep, isBrokenForGood: boolean): FlowSimulator {
  const point = pointOf(step);
  const simulator = new FlowSimulator({
    faults: faultsTowards(step),
    settings: point === null ? SERVER_SETTINGS : consentAt(point),
    ...(step === 'report-already-installed' && { store: reach(step).ticks[0]?.before }),
  } as never);
  let broken = 0;
  simulator.isStoreBroken = (state) => {
    if (broken === 0 && state.step !== step) return false;
    broken += 1;
    return isBrokenForGood || broken === 1;
  };
  simulator.boot();
  goTo(simulator, step);
  return simulator;
}

describe.each(stored.map((step) => [step]))('when entering %s cannot be stored', (step) => {
  const row = FLOW[step];

  it('no work is done that the store does not know of, unless the step can do without', () => {
    const point = pointOf(step);
    const simulator = new FlowSimulator({
      faults: faultsTowards(step),
      settings: point === null ? SERVER_SETTINGS : consentAt(point),
      ...(step === 'report-already-installed' && {
        store: { ...reach(step).ticks[0]!.before, deployment: null },
      }),
    });
    let seen = false;
    simulator.isStoreBroken = (state) => {
      if (seen || state.step !== step) return false;
      seen = true;
      return true;
    };
    simulator.boot();
    for (let turns = 0; turns < 30 && !seen; turns += 1) {
      simulator.run(() => seen);
      if (!seen && simulator.step === 'idle') simulator.dispatch({ kind: 'CheckRequested' });
    }
    expect(seen).toBe(true);
    const tick = simulator.ticks.at(-1);
    expect(isStuck(simulator)).toBe(false);
    if (row.whenNotStored === 'proceed') {
      expect(tick?.after.deployment?.failure ?? null).toEqual(
        tick?.before.deployment?.failure ?? tick?.after.deployment?.failure ?? null,
      );
    } else if (tick?.after.deployment) {
      expect(tick.after.step).not.toBe(step);
      expect(tick.after.deployment.failure).toMatchObject({ name: 'Storage' });
    }
    finish(simulator);
    expect(simulator.step).toBe('idle');
    expect(simulator.state.deployment).toBeNull();
  });

  it('a success is only told with nothing having failed', () => {
    const simulator = withBrokenStore(step, false);
    finish(simulator);
    const entry = simulator.state.history[0];
    const told = simulator.reports.filter(({ status }) => status === 'success' || status === 'failure');
    if (entry?.result === 'success') expect(told.map(({ status }) => status)).not.toContain('failure');
    else expect(told.map(({ status }) => status)).not.toContain('success');
  });

  it('a store that stays broken still lets the update come to an end', () => {
    const simulator = withBrokenStore(step, true);
    for (let turns = 0; turns < 50 && simulator.step !== 'idle'; turns += 1) {
      simulator.runOut();
      // Nobody can consent to what cannot be stored; the ceiling ends it.
      if (simulator.state.wait !== null) simulator.advance(8 * 24 * 3600 * 1000);
    }
    expect(simulator.step).toBe('idle');
    const hasCommitted = FLOW_STEPS.indexOf(step) >= FLOW_STEPS.indexOf('commit-leave');
    if (!hasCommitted && !['report-already-installed'].includes(step)) {
      expect(simulator.chain()).not.toMatch(/(^| )C( |$)/);
    }
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
    expect(simulator.chain()).toBe('D+ PS? D D! CL');
    expect(simulator.cancelled).toEqual([]);
    expect(outcomeOf(simulator)).toBe('back');
    expect(simulator.state.history[0]?.failure).toMatchObject({ name: 'Storage' });
  });

  it('in the commit goes back before the module has committed', () => {
    const simulator = reach('commit-check');
    simulator.isStoreBroken = ({ step }) => step === 'commit';
    simulator.runOut();
    expect(simulator.chain()).toMatch(/C\+ C! SR\? RB\+ RB RB-/);
    expect(outcomeOf(simulator)).toBe('back');
  });

  it('behind the commit goes on: there is no way back', () => {
    const simulator = reach('commit');
    simulator.isStoreBroken = () => true;
    simulator.runOut();
    expect(simulator.chain()).toMatch(/C C- CL$/);
    expect(outcomeOf(simulator)).toBe('ok');
  });
});

/** Brings the simulated update flow to any of its steps, with that step's work under way. */
import { HOLD_POINTS, type HoldPoint, type HoldPointSettings } from '../../src/core/hold-point.ts';
import type { FlowSettings } from '../../src/core/settings.ts';
import { snapshotOf, type Snapshot } from '../../src/core/snapshot.ts';
import { initialState, type FlowStep, type UpdateState } from '../../src/core/state.ts';
import { FLOW } from '../../src/core/transition-table.ts';
import { FlowSimulator, NEW_NAME, OLD, SERVER_SETTINGS, type SimulatorOptions } from './flow-simulator.ts';

/** The faults on the way to the steps that a good update does not see. */
const FAULTS: Readonly<Partial<Record<FlowStep, readonly string[]>>> = {
  'sync-error': ['check'],
  'download-error': ['D'],
  'install-error': ['I'],
  'reboot-error': ['VR'],
  'commit-error': ['C'],
  'commit-leave-error': ['C-'],
  'rollback-failed-leave': ['VR', 'RB'],
  'rollback-reboot-error': ['VR', 'RR-'],
};
const WAY_BACK = /^(rollback|verify-rollback|failure|cleanup-after-failure|report-failure)/;

export function withPoint(
  point: HoldPoint,
  changes: Partial<HoldPointSettings>,
  settings: FlowSettings = SERVER_SETTINGS,
): FlowSettings {
  const { holdPoints } = settings;
  return { ...settings, holdPoints: { ...holdPoints, [point]: { ...holdPoints[point], ...changes } } };
}

export function consentAt(point: HoldPoint, changes: Partial<HoldPointSettings> = {}): FlowSettings {
  return withPoint(point, { consent: 'required', onExpire: 'keep-waiting', ...changes });
}

export function consentEverywhere(): FlowSettings {
  return HOLD_POINTS.reduce(
    (settings, point) => withPoint(point, { consent: 'required', onExpire: 'keep-waiting' }, settings),
    SERVER_SETTINGS,
  );
}

export function pointOf(step: FlowStep): HoldPoint | null {
  const { work } = FLOW[step];
  return work.kind === 'gate' ? work.point : null;
}

export function faultsTowards(step: FlowStep): NonNullable<SimulatorOptions['faults']> {
  const where = FAULTS[step] ?? (WAY_BACK.test(step) ? ['VR'] : []);
  return where.map((call) => ({ kind: 'error', where: call }));
}

/** A simulator that stands in `step`. */
export function reach(step: FlowStep, options: SimulatorOptions = {}): FlowSimulator {
  const point = pointOf(step === 'commit-reverify' ? 'commit-gate' : step);
  const simulator = new FlowSimulator({
    faults: faultsTowards(step),
    settings: point === null ? SERVER_SETTINGS : consentAt(point),
    ...(step === 'report-already-installed' && { store: alreadyInstalled() }),
    ...options,
  });
  simulator.boot();
  if (step === 'commit-reverify') {
    goTo(simulator, 'commit-gate');
    simulator.restart({ reboots: true });
  } else goTo(simulator, step);
  if (simulator.step !== step) throw new Error(`wanted ${step}, got to ${simulator.step}`);
  return simulator;
}

/** Runs on, giving consent wherever it is asked for on the way, until the step is reached. */
export function goTo(simulator: FlowSimulator, step: FlowStep): void {
  for (let turns = 0; turns < 200 && simulator.step !== step; turns += 1) {
    simulator.run((running) => running.step === step);
    if (simulator.step === step) return;
    if (simulator.state.wait !== null) continueNow(simulator);
    else if (simulator.step === 'idle') {
      simulator.dispatch({ kind: step === 'sync-inventory' ? 'InventoryRequested' : 'CheckRequested' });
    } else if (simulator.timer !== null) simulator.fireTimer();
  }
}

export function continueNow(simulator: FlowSimulator, uid = 1000): string {
  const ticket = simulator.state.wait?.ticket ?? '';
  return simulator.command({ kind: 'Continue', ticket, uid, comment: '' });
}

/** Runs the update to its end, giving consent and resuming wherever it waits. */
export function finish(simulator: FlowSimulator, checks = 1): FlowSimulator {
  for (let turns = 0; turns < 100; turns += 1) {
    simulator.runOut(checks);
    if (simulator.state.wait === null) {
      if (simulator.step === 'idle') return simulator;
      if (simulator.jobs.length === 0) throw new Error(`stuck in ${simulator.step}`);
    }
    clearTheWay(simulator);
  }
  throw new Error(`no end in ${simulator.step}`);
}

/** Lets go of one thing that the update waits for. */
function clearTheWay(simulator: FlowSimulator): void {
  const { deployment, updatesSwitch, wait, visit, holds, controlMaps, settings } = simulator.state;
  if (updatesSwitch === false) simulator.dispatch({ kind: 'UpdatesSwitched', isEnabled: true, uid: 0 });
  else if (deployment?.pause) simulator.command({ kind: 'Resume', deploymentId: deployment.id, uid: 0 });
  else if (holds[0]) simulator.dispatch({ kind: 'HoldReleased', holdId: holds[0].id, uid: 0 });
  else if (controlMaps[0]) {
    simulator.dispatch({ kind: 'ControlMapGiven', map: { ...controlMaps[0], states: {} }, uid: 0 });
  } else if (visit?.unmet != null && visit.unmet.length > 0) simulator.report([]);
  else if (wait?.ticket === '') simulator.dispatch({ kind: 'SnoozeEndRequested', uid: 0 });
  else if (wait?.blockers.some(({ kind }) => kind === 'health')) {
    for (const checker of settings.health.checkers) {
      simulator.dispatch({ kind: 'HealthReported', checker, verdict: 'ok', message: '', uid: 0 });
    }
  } else if (wait !== null && wait.blockers.every(({ id }) => id === 'map-refresh')) simulator.fireTimer();
  else if (wait?.blockers.some(({ kind }) => kind === 'reboot')) {
    const { ticket } = wait;
    simulator.command({ kind: 'Continue', ticket, uid: 1000, comment: '', rebootMode: 'reboot' });
  } else if (wait !== null) continueNow(simulator);
}

/** What clients are shown. */
export function shownOf({ state, wallMs, bootMs }: FlowSimulator): Snapshot {
  return snapshotOf(state, { wallMs, bootMs });
}

export function outcomeOf({ state: { installed } }: FlowSimulator): string {
  if (installed.artifactName === NEW_NAME) return 'ok';
  if (installed.artifactName === `${NEW_NAME}_INCONSISTENT`) return 'bad';
  return installed.artifactName === OLD.artifactName ? 'back' : installed.artifactName;
}

/** Work, a wait with its timer, a retry, or idle: whatever else is, nothing will ever happen again. */
export function isStuck({ state, jobs, timer }: FlowSimulator): boolean {
  if (state.step === 'idle') return state.deployment !== null;
  if (state.wait !== null) return timer?.workId !== state.workId;
  return !jobs.some(({ effect }) => effect.workId === state.workId) && timer?.workId !== state.workId;
}

export function alreadyInstalled(): UpdateState {
  return initialState({ ...OLD, artifactName: NEW_NAME });
}

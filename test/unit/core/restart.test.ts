import { describe, expect, it } from 'vitest';
import { FLOW_STEPS, type FlowStep, type UpdateState } from '../../../src/core/state.ts';
import { LOOP_LIMIT } from '../../../src/core/walk.ts';
import { FLOW, isFinalReport } from '../../../src/core/transition-table.ts';
import { DEPLOYMENT_ID, FlowSimulator, isFinal } from '../../support/flow-simulator.ts';
import {
  consentAt,
  continueNow,
  faultsTowards,
  finish,
  goTo,
  isStuck,
  outcomeOf,
  pointOf,
  reach,
} from '../../support/flow-steps.ts';
import { readScenarios } from '../../support/scenario-rules.ts';

interface RestartRow {
  readonly step: FlowStep;
  readonly sameBoot: FlowStep;
  readonly otherBoot: FlowStep;
  readonly isFailure: boolean;
  readonly outcome: string;
  readonly outcomeWithoutRollback: string | null;
  readonly source: string;
}
const { rows } = readScenarios<{ readonly rows: readonly RestartRow[] }>('restart.json');
const reachableWithoutRollback = rows.filter(({ outcomeWithoutRollback }) => outcomeWithoutRollback !== null);

/** A restart from exactly the state the step has, whether or not the last save had it. */
function restartIn(simulator: FlowSimulator, reboots: boolean): FlowSimulator {
  simulator.saves.push(JSON.stringify(simulator.state));
  simulator.restart({ reboots });
  return simulator;
}

describe('a restart', () => {
  it('is answered for every step there is', () => {
    expect(rows.map(({ step }) => step)).toEqual(FLOW_STEPS);
    for (const { source } of rows) expect(source).toMatch(/^(update-flow \d|compatibility)/);
  });

  describe.each([
    ['the same boot', false],
    ['another boot', true],
  ])('in %s', (_, reboots) => {
    it.each(rows)('of $step goes on as the field does ($source)', (row) => {
      const simulator = restartIn(reach(row.step), reboots);
      expect(simulator.step).toBe(reboots ? row.otherBoot : row.sameBoot);
      expect(isStuck(simulator)).toBe(false);
      const failure = simulator.state.deployment?.failure;
      if (row.isFailure) expect(failure).not.toBeNull();
      if (row.isFailure && faultsTowards(row.step).length === 0) {
        expect(failure).toMatchObject({ name: 'PowerLoss', details: { 'same-boot': !reboots } });
      }
      finish(simulator);
      expect(outcomeOf(simulator)).toBe(row.outcome);
      expect(simulator.state.history).toHaveLength(1);
    });

    it.each(reachableWithoutRollback)('of $step without rollback support ends as expected', (row) => {
      const simulator = reach(row.step, { device: { supportsRollback: false } });
      finish(restartIn(simulator, reboots));
      expect(outcomeOf(simulator)).toBe(row.outcomeWithoutRollback);
    });
  });

  it('at the commit gate of an update that needs no reboot does not verify one', () => {
    const simulator = reach('commit-gate', { device: { needsReboot: 'No' } });
    simulator.restart({ reboots: true });
    expect(simulator.step).toBe('commit-gate');
    expect(outcomeOf(finish(simulator))).toBe('ok');
    expect(simulator.chain()).not.toContain('VR');
  });

  it('keeps a local install that has been answered but not begun', () => {
    const simulator = new FlowSimulator().boot().installLocal();
    expect(simulator.step).toBe('idle-enter');
    simulator.restart({ reboots: true });
    expect(simulator.state.deployment?.id).toBe(DEPLOYMENT_ID);
    expect(outcomeOf(finish(simulator, 0))).toBe('ok');
  });

  it('does not take an offer for begun before its gate, and does not skip the look at what is installed', () => {
    const simulator = reach('sync-leave');
    expect(simulator.state.deployment).not.toBeNull();
    simulator.restart({ reboots: false });
    expect(simulator.state.deployment).toBeNull();
    expect(simulator.state.progress.overall).toBe(-1);
  });

  it('forgets tickets, and takes the settings it is given', () => {
    const simulator = reach('install-gate');
    const { ticket } = simulator.state.wait ?? {};
    simulator.restart({
      reboots: false,
      settings: consentAt('ArtifactInstall_Enter', { ceilingSeconds: 60 }),
    });
    expect(simulator.state.wait?.ticket).not.toBe(ticket);
    expect(simulator.state.passedTickets).toEqual([]);
    expect(simulator.state.settings.holdPoints.ArtifactInstall_Enter.ceilingSeconds).toBe(60);
  });

  it('never makes the serial go back, although idle polls are not stored', () => {
    const simulator = new FlowSimulator().boot().run();
    const stored = JSON.parse(simulator.saves.at(-1) as string) as UpdateState;
    for (let polls = 0; polls < 50; polls += 1) {
      simulator.device.meet('none');
      simulator.dispatch({ kind: 'UpdatesSwitched', isEnabled: false, uid: 0 });
      simulator.dispatch({ kind: 'CheckRequested' });
      simulator.run();
    }
    const published = simulator.state.serial;
    simulator.saves.push(JSON.stringify(stored));
    simulator.restart({ reboots: false });
    expect(simulator.state.serial).toBeGreaterThan(published);
  });

  it('announces the deployment’s start once, however often it happens', () => {
    for (const step of ['download-gate', 'download-status', 'install-gate'] as const) {
      const simulator = reach(step);
      for (let times = 0; times < 5; times += 1) simulator.restart({ reboots: times % 2 === 0 });
      finish(simulator);
      expect(simulator.notices.filter(({ kind }) => kind === 'DeploymentStarted')).toHaveLength(1);
    }
    const already = reach('report-already-installed');
    already.restart({ reboots: false });
    finish(already);
    expect(already.notices.filter(({ kind }) => kind === 'DeploymentStarted')).toHaveLength(1);
  });
});

describe('the loop limit', () => {
  const inside = FLOW_STEPS.filter((step) => pointOf(step) === null && !/^(idle|sync)/.test(step));

  it.each(inside.map((step) => [step]))(
    'ends an update that is restarted again and again from %s on',
    (step) => {
      const simulator = reach(step);
      let restarts = 0;
      while (simulator.state.deployment !== null) {
        if (++restarts > 4 * LOOP_LIMIT) throw new Error(`still in ${simulator.step}`);
        // From what was really stored: a device that dies as soon as work begins.
        simulator.restart({ reboots: restarts % 2 === 0 });
        if (simulator.state.wait !== null) continueNow(simulator);
      }
      expect(simulator.state.step).toBe('idle-enter');
      expect(simulator.state.history).toHaveLength(1);
      expect(isFinalReport(step) ? 'decided before' : simulator.state.history[0]?.result).not.toBe('success');
    },
  );

  it('runs the clean-up once more, and reports a failure', () => {
    const simulator = reach('commit-leave');
    for (let restarts = 0; simulator.step === 'commit-leave'; restarts += 1) {
      if (restarts > LOOP_LIMIT) throw new Error('no end');
      restartIn(simulator, false);
    }
    expect(simulator.step).toBe('cleanup-after-failure');
    expect(simulator.jobs.map(({ call }) => call)).toEqual(['CL']);
    finish(simulator);
    expect(simulator.state.history[0]).toMatchObject({
      result: 'inconsistent',
      failure: { name: 'Internal', details: { reason: 'loop-limit' } },
    });
    expect(outcomeOf(simulator)).toBe('bad');
  });

  it('leaves the name alone when nothing was ever installed', () => {
    const simulator = reach('cleanup-after-failure', { faults: [{ kind: 'error', where: 'D' }] });
    for (let restarts = 0; simulator.step === 'cleanup-after-failure'; restarts += 1) {
      if (restarts > LOOP_LIMIT + 1) throw new Error('no end');
      restartIn(simulator, true);
    }
    finish(simulator);
    expect(outcomeOf(simulator)).toBe('back');
    expect(simulator.state.history[0]?.result).toBe('failure');
  });

  it('that has ended an update still lets its failure be reported over many restarts', () => {
    const simulator = reach('install');
    for (let restarts = 0; simulator.step !== 'report-failure'; restarts += 1) {
      if (restarts > 4 * LOOP_LIMIT) throw new Error('no end');
      restartIn(simulator, true);
    }
    for (let restarts = 0; restarts < LOOP_LIMIT; restarts += 1) restartIn(simulator, true);
    expect(simulator.step).toBe('report-failure');
    finish(simulator, 0);
    expect(simulator.reports.at(-1)).toMatchObject({ status: 'failure', outcome: 'accepted' });
  });

  it('does not turn a success into a failure because the server could not be told', () => {
    const simulator = reach('report-success');
    for (let restarts = 0; simulator.step === 'report-success'; restarts += 1) {
      if (restarts > LOOP_LIMIT) throw new Error('no end');
      restartIn(simulator, false);
    }
    expect(simulator.step).toBe('idle-enter');
    expect(simulator.state.history[0]).toMatchObject({ result: 'success', failure: null });
    expect(outcomeOf(simulator)).toBe('ok');
    expect(simulator.reports.filter(({ status }) => status === 'failure')).toEqual([]);
  });

  it('ends a rollback whose verification never succeeds, with clean-up', () => {
    const faults = [
      { kind: 'error', where: 'VR' },
      { kind: 'error', where: 'VRR', times: 1000 },
    ] as const;
    const simulator = new FlowSimulator({ faults }).boot().runOut(1);
    expect(simulator.chain()).toMatch(/RB- NR\? RR\+ (RR VRR )+RR CL$/);
    const entered = simulator.ticks.filter(
      ({ before, after }) => before.step !== after.step && FLOW[after.step].checkpoint !== undefined,
    );
    // The clean-up itself is the one that the limit leads to.
    expect(entered).toHaveLength(LOOP_LIMIT + 1);
    expect(outcomeOf(simulator)).toBe('bad');
    expect(simulator.state.history[0]?.result).toBe('inconsistent');
  });

  it('counts neither 500 restarts nor 100 pauses at a gate', () => {
    for (const step of [
      'download-gate',
      'install-gate',
      'reboot-gate',
      'commit-gate',
      'rollback-reboot-gate',
    ] as const) {
      const simulator = reach(step);
      const before = simulator.state.deployment?.checkpointCount;
      for (let times = 0; times < 500; times += 1) simulator.restart({ reboots: false });
      for (let times = 0; times < 100; times += 1) {
        simulator.command({ kind: 'Pause', deploymentId: DEPLOYMENT_ID, uid: 1000 });
        simulator.command({ kind: 'Resume', deploymentId: DEPLOYMENT_ID, uid: 1000 });
      }
      simulator.command({ kind: 'Pause', deploymentId: DEPLOYMENT_ID, uid: 1000 });
      for (let times = 0; times < 100; times += 1) expect(continueNow(simulator)).toBe('recorded');
      expect(simulator.step).toBe(step);
      expect(simulator.state.deployment?.consents).toHaveLength(1);
      expect(simulator.state.deployment?.checkpointCount).toBe(before);
      expect(simulator.state.deployment?.hasHitLoopLimit).toBe(false);
      finish(simulator);
      expect(outcomeOf(simulator)).toBe(step === 'rollback-reboot-gate' ? 'back' : 'ok');
    }
  });

  it('counts no reboots made by hand at the commit gate', () => {
    const simulator = reach('commit-gate');
    for (let times = 0; times < 200; times += 1) {
      simulator.restart({ reboots: true });
      goTo(simulator, 'commit-gate');
    }
    expect(outcomeOf(finish(simulator))).toBe('ok');
  });
});

describe('a kill', () => {
  const scenarios = readScenarios<{
    readonly rows: readonly {
      readonly number: number;
      readonly device: object;
      readonly faults: readonly { readonly kind: 'error' | 'kill' | 'hang'; readonly where: string }[];
      readonly outcome: string;
    }[];
  }>('daemon.json').rows.filter(({ faults }) => faults.every(({ kind }) => kind !== 'kill'));

  describe.each([
    ['right after any save', 'killAfterSave', false],
    ['right after any save, taking the device down', 'killAfterSave', true],
    ['during any work', 'killAtWork', false],
    ['during any work, taking the device down', 'killAtWork', true],
  ] as const)('%s', (_, moment, killReboots) => {
    it.each(scenarios)('of scenario $number ends well, whatever the moment', (scenario) => {
      let kills = 0;
      for (let at = 1; ; at += 1) {
        const simulator = new FlowSimulator({
          device: scenario.device,
          faults: scenario.faults,
          killReboots,
          [moment]: at,
        });
        simulator.boot().runOut(3);
        if (simulator.kills === 0) break;
        kills += 1;
        check(simulator, scenario);
      }
      expect(kills).toBeGreaterThan(5);
    });
  });

  function check(simulator: FlowSimulator, scenario: (typeof scenarios)[number]): void {
    const [entry, ...others] = simulator.state.history;
    const outcome = outcomeOf(simulator);
    const calls = simulator.chain().split(' ');
    expect(simulator.step).toBe('idle');
    expect(isStuck(simulator)).toBe(false);
    // Offered again only when the final report got lost; ended once each time.
    expect(others).toEqual([]);
    expect(['ok', 'back', 'bad']).toContain(outcome);
    expect(calls.filter((call) => call === 'I').length).toBeLessThanOrEqual(1);
    expect(calls.filter((call) => call === 'C').length).toBeLessThanOrEqual(1);
    // One truth: name, history and what the server was told.
    const told = new Set(
      simulator.reports.filter((report) => isFinal(report.status)).map(({ status }) => status),
    );
    expect([...told]).toEqual([entry?.result === 'success' ? 'success' : 'failure']);
    expect(outcome === 'bad').toBe(entry?.result === 'inconsistent');
    if (entry?.result === 'success') expect(outcome).toBe('ok');
    if (outcome === 'ok') expect(calls).toContain('C-');
    // Nobody is left between the versions who can go back, unless the way back itself had faults.
    if (scenario.outcome !== 'bad' && calls.includes('RB')) expect(outcome).toBe('back');
    const isPastInstallGate = entry?.passages.some(({ point }) => point === 'ArtifactInstall_Enter');
    if (!isPastInstallGate) expect(outcome).toBe('back');
    for (const kind of ['DeploymentStarted', 'DeploymentFinished']) {
      expect(simulator.notices.filter((notice) => notice.kind === kind).length).toBeLessThanOrEqual(1);
    }
  }
});

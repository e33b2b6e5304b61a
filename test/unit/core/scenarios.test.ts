import { describe, expect, it } from 'vitest';
import { DEPLOYMENT_ID, FlowSimulator, NEW_NAME, OLD } from '../../support/flow-simulator.ts';
import {
  CHAIN_RULES,
  deriveOurs,
  merged,
  readScenarios,
  type DaemonScenarios,
  type Scenario,
} from '../../support/scenario-rules.ts';

const { rows, cRows, golden } = readScenarios<DaemonScenarios>('daemon.json');
const all = [...rows, ...cRows];
const LETTER: Readonly<Record<string, string>> = {
  downloading: 'd',
  installing: 'i',
  rebooting: 'r',
  success: 's',
  failure: 'f',
};

function play(scenario: Pick<Scenario, 'device' | 'faults' | 'checks'>, killReboots: boolean): FlowSimulator {
  const simulator = new FlowSimulator({ device: scenario.device, faults: scenario.faults, killReboots });
  return simulator.boot().runOut(scenario.checks ?? 1);
}

function outcomeOf({ state: { installed } }: FlowSimulator): string {
  if (installed.artifactName === NEW_NAME) return 'ok';
  if (installed.artifactName === `${NEW_NAME}_INCONSISTENT`) return 'bad';
  return installed.artifactName === OLD.artifactName ? 'back' : installed.artifactName;
}

function reportsOf(simulator: FlowSimulator): string {
  const accepted = simulator.reports.filter(({ outcome }) => outcome === 'accepted');
  return merged(accepted.map(({ status }) => LETTER[status] ?? status));
}

describe('the scenarios of the field', () => {
  it('are all 62, in order', () => {
    expect(rows.map(({ number }) => number)).toEqual(Array.from({ length: 62 }, (_, at) => at + 1));
  });

  it.each(all)(
    '$number $name: our chain is Mender’s changed by the rules named, and by no other',
    (scenario) => {
      const { chain, reports, outcome, rules } = deriveOurs(scenario);
      expect({ chain, reports, outcome, rules }).toEqual({
        chain: scenario.ourChain,
        reports: scenario.reports,
        outcome: scenario.outcome,
        rules: scenario.rules,
      });
    },
  );

  it('need every rule there is', () => {
    const used = new Set(all.flatMap(({ rules }) => rules));
    expect(Object.keys(CHAIN_RULES).filter((rule) => !used.has(rule))).toEqual([]);
  });

  describe.each([
    ['the process', false],
    ['the device', true],
  ])('with %s killed where something is killed', (_, killReboots) => {
    it.each(all)('$number $name: the core makes the calls, reports and outcome expected', (scenario) => {
      const simulator = play(scenario, killReboots);
      expect(simulator.step).toBe('idle');
      expect(simulator.state.deployment).toBeNull();
      expect(simulator.device.unused).toEqual([]);
      expect(simulator.chain(scenario.withIdle)).toBe(scenario.ourChain);
      expect(reportsOf(simulator)).toBe(scenario.reports);
      expect(outcomeOf(simulator)).toBe(scenario.outcome);
    });
  });

  it.each(all)('$number $name: is announced once, ends once, and what is published is true', (scenario) => {
    const simulator = play(scenario, false);
    const kinds = simulator.notices.map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === 'DeploymentStarted')).toHaveLength(1);
    expect(kinds.filter((kind) => kind === 'DeploymentFinished')).toHaveLength(1);
    const finished = simulator.notices.find((notice) => notice.kind === 'DeploymentFinished');
    const [entry] = simulator.state.history;
    expect(simulator.state.history).toHaveLength(1);
    expect(finished).toMatchObject({ deploymentId: DEPLOYMENT_ID, result: entry?.result });
    const isSuccess = scenario.reports.endsWith('s');
    expect(entry?.result === 'success').toBe(isSuccess);
    expect(entry?.failure === null).toBe(isSuccess);
    expect(entry?.result === 'inconsistent').toBe(scenario.outcome === 'bad');
  });

  it.each(all)('$number $name: progress never goes back, and 100 means success', (scenario) => {
    const simulator = play(scenario, false);
    let highest = -1;
    for (const { before, after } of simulator.ticks) {
      if (after.deployment === null) continue;
      if (before.deployment === null) highest = -1;
      expect(after.progress.overall).toBeGreaterThanOrEqual(highest);
      highest = after.progress.overall;
      if (highest === 100) expect(after.history[0]?.result).toBe('success');
    }
    expect(simulator.state.progress.overall === 100).toBe(scenario.reports.endsWith('s'));
  });
});

describe('the traces of the real client', () => {
  it.each(golden)(
    '$name ($trace): calls and statuses come in the order observed',
    ({ device, faults, observed }) => {
      const simulator = play({ device, faults }, false);
      const trace = simulator.trace.filter((entry) => !/^(Idle|Sync)/.test(entry));
      expect(trace.join(' ')).toBe(observed);
    },
  );
});

describe('an automatic reboot', () => {
  it('takes the host down instead of calling the module, on the way there and on the way back', () => {
    const there = new FlowSimulator({ device: { needsReboot: 'Automatic' } }).boot().runOut(1);
    expect(there.chain()).toBe('D+ PS? D D- I+ I I- NR? R+ reboot VR R- C+ C C- CL');
    expect(outcomeOf(there)).toBe('ok');
    const back = new FlowSimulator({
      device: { needsReboot: 'Automatic' },
      faults: [{ kind: 'error', where: 'VR' }],
    });
    back.boot().runOut(1);
    expect(back.chain()).toBe(
      'D+ PS? D D- I+ I I- NR? R+ reboot VR R! SR? RB+ RB RB- NR? RR+ reboot VRR RR- F+ F F- CL',
    );
    expect(outcomeOf(back)).toBe('back');
  });

  it('that does not happen fails the update and rolls it back', () => {
    const faults = [{ kind: 'error', where: 'reboot' }] as const;
    const simulator = new FlowSimulator({ device: { needsReboot: 'Automatic' }, faults }).boot().runOut(1);
    expect(simulator.chain()).toBe(
      'D+ PS? D D- I+ I I- NR? R+ reboot R! SR? RB+ RB RB- NR? RR+ reboot VRR RR- F+ F F- CL',
    );
    expect(simulator.state.history[0]).toMatchObject({ result: 'rolled-back', failure: { name: 'Reboot' } });
  });

  it('is nothing else when the module takes the host down itself', () => {
    const device = { needsReboot: 'Yes', rebootsTakeHostDown: true } as const;
    const simulator = new FlowSimulator({ device }).boot().runOut(1);
    expect(simulator.chain()).toBe('D+ PS? D D- I+ I I- NR? R+ R VR R- C+ C C- CL');
    expect(outcomeOf(simulator)).toBe('ok');
  });
});

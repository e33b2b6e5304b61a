import { describe, expect, it } from 'vitest';
import { controlMapJson } from '../../../../src/core/control/control-map.ts';
import { mapKey } from '../../../../src/core/control/map-pool.ts';
import { CONTROL_MAP_CASES, idOf, mapText, type ShortMap } from '../../../support/control-map-cases.ts';
import {
  DEPLOYMENT_ID,
  FlowSimulator,
  type MapAnswer,
  type SimulatorOptions,
} from '../../../support/flow-simulator.ts';
import { outcomeOf } from '../../../support/flow-steps.ts';
import { readScenarios } from '../../../support/scenario-rules.ts';

/** Control maps and the update flow: cases 51 to 68 of spec/update-control.md as data. */
interface Expectation {
  readonly chain?: string;
  readonly lacks?: readonly string[];
  readonly outcome?: string;
  readonly result?: string;
  readonly step?: string;
  /** Accepted statuses. */
  readonly reports?: string;
  readonly blockers?: readonly string[];
  /** Requests for the server's map so far. */
  readonly fetches?: number;
  readonly failure?: string;
  readonly maps?: readonly string[];
  readonly expired?: readonly string[];
}

type Step =
  | { readonly do: 'offer' | 'restart' }
  /** `unanswered`: what has been ordered of the server stays under way. */
  | { readonly do: 'local' | 'local-unanswered'; readonly map: ShortMap }
  | { readonly do: 'pass' | 'pass-unanswered'; readonly seconds: number }
  | { readonly expect: Expectation };

interface FlowCase {
  readonly number: number;
  readonly name: string;
  readonly variant?: string;
  readonly given: {
    readonly offered?: ShortMap;
    readonly offeredText?: string;
    readonly local?: readonly ShortMap[];
    readonly answers?: readonly string[];
    readonly device?: SimulatorOptions['device'];
  };
  readonly steps: readonly Step[];
  readonly expected: Expectation;
  readonly mender?: unknown;
  readonly rule?: string;
}

const { rows } = readScenarios<{ readonly rows: readonly FlowCase[] }>('control-flow.json');

/** `deployment` stands for the id of the deployment. */
function textOf(map: ShortMap): string {
  return mapText({ ...map, id: 'U1' }).replace(idOf('U1'), named(map.id));
}

function named(id: string): string {
  return id === 'deployment' ? DEPLOYMENT_ID : idOf(id);
}

function short(text: string): string {
  return ['U1', 'U2', 'U3', 'deployment'].reduce((name, id) => name.replace(named(id), id), text);
}

function answerOf(name: string, map: string): MapAnswer {
  if (name === 'gone') return { kind: 'deployment-gone' };
  if (name === 'map') return { kind: 'map', text: map };
  if (name === 'empty') return { kind: 'map', text: '{}' };
  const failure = { name: 'Download', message: `the server answers ${name}`, details: {} } as const;
  return { kind: 'failed', failure, retryAfterSeconds: 0 };
}

function begin({ given }: FlowCase): FlowSimulator {
  const map = given.offered ? textOf(given.offered) : '';
  const simulator = new FlowSimulator({
    ...(given.device && { device: given.device }),
    offeredMap: given.offered ? map : (given.offeredText?.replace('DEPLOYMENT', DEPLOYMENT_ID) ?? null),
    mapAnswers: (given.answers ?? ['map']).map((answer) => answerOf(answer, map)),
  });
  simulator.boot().run();
  for (const local of given.local ?? []) setMap(simulator, local);
  return simulator;
}

function setMap(simulator: FlowSimulator, map: ShortMap): void {
  expect(simulator.command({ kind: 'SetControlMap', text: textOf(map), uid: 0 })).toBe('1800');
}

function act(simulator: FlowSimulator, step: Step): void {
  if ('expect' in step) {
    verify(simulator, step.expect);
    return;
  }
  switch (step.do) {
    case 'offer':
      simulator.dispatch({ kind: 'CheckRequested' });
      break;
    case 'restart':
      simulator.restart({ reboots: false });
      break;
    case 'local':
      setMap(simulator, step.map);
      break;
    case 'local-unanswered':
      setMap(simulator, step.map);
      return;
    case 'pass':
      simulator.advance(step.seconds * 1000);
      break;
    case 'pass-unanswered':
      simulator.advance(step.seconds * 1000, false);
      return;
  }
  simulator.run();
}

function verify(simulator: FlowSimulator, expected: Expectation): void {
  const { state, ticks, reports } = simulator;
  const effects = ticks.flatMap((tick) => tick.effects);
  const found: Required<Expectation> = {
    chain: simulator.chain(),
    lacks: (expected.lacks ?? []).filter((call) => !simulator.trace.includes(call)),
    outcome: outcomeOf(simulator),
    result: state.history[0]?.result ?? '',
    step: state.step,
    reports: reports
      .filter(({ outcome }) => outcome === 'accepted')
      .map(({ status }) => status)
      .join(' '),
    blockers: (state.wait?.blockers ?? []).map(({ id }) => short(id)).toSorted(),
    fetches: effects.filter(({ kind }) => kind === 'fetchControlMap').length,
    failure: (state.deployment?.failure ?? state.history[0]?.failure)?.name ?? '',
    maps: state.controlMaps.map((map) => short(mapKey(map))),
    expired: state.controlMaps.filter(({ isExpired }) => isExpired).map((map) => short(mapKey(map))),
  };
  expect(
    Object.fromEntries(Object.keys(expected).map((key) => [key, found[key as keyof Expectation]])),
  ).toEqual(expected);
}

describe('control maps in the update flow', () => {
  it.each(rows.map((row) => ({ ...row, title: `${row.number}: ${row.name}` })))('case $title', (row) => {
    const simulator = begin(row);
    for (const step of row.steps) act(simulator, step);
    verify(simulator, row.expected);
    if (row.expected.step === undefined) expect(simulator.step).toBe('idle');
    // Whoever reads the row must see both, or that there is no difference.
    expect(row.mender === undefined).toBe(row.rule === undefined);
  });

  it('are all cases that the list of 68 leaves to the state machine', () => {
    const listed = CONTROL_MAP_CASES.filter(({ runIn }) => runIn.includes('flow')).map(
      ({ number }) => number,
    );
    expect(listed.filter((number) => number >= 51)).toEqual([...new Set(rows.map(({ number }) => number))]);
    expect(new Set(rows.map(({ number }) => number)).size).toBe(18);
  });
});

describe('on_action_executed', () => {
  const rule = { action: 'pause', onMapExpire: 'fail', onActionExecuted: 'continue' } as const;
  const map = { id: idOf('U1'), priority: 0, states: { ArtifactInstall_Enter: rule } } as const;

  function paused(): FlowSimulator {
    const simulator = new FlowSimulator().boot().run();
    simulator.command({ kind: 'SetControlMap', text: controlMapJson(map), uid: 0 });
    simulator.dispatch({ kind: 'CheckRequested' });
    return simulator.run();
  }

  const actionOf = ({ state }: FlowSimulator) => state.controlMaps[0]?.states.ArtifactInstall_Enter?.action;

  it('is not used up by looks at the gate, restarts and snoozes, only by the passage', () => {
    const simulator = paused();
    for (let turns = 0; turns < 3; turns += 1) {
      simulator.command({ kind: 'Pause', deploymentId: DEPLOYMENT_ID, uid: 0 });
      simulator.command({ kind: 'Resume', deploymentId: DEPLOYMENT_ID, uid: 0 });
      simulator.restart({ reboots: turns === 1 });
      simulator.run();
      expect(simulator.step).toBe('install-gate');
      expect(actionOf(simulator)).toBe('pause');
    }
    const ticket = simulator.state.wait?.ticket ?? '';
    simulator.command({ kind: 'Continue', ticket, uid: 0, comment: '', waiver: 'override' });
    expect(actionOf(simulator)).toBe('continue');
    expect(outcomeOf(simulator.run())).toBe('ok');
  });

  it('is not used up by an abort', () => {
    const simulator = paused();
    simulator.command({ kind: 'Abort', deploymentId: DEPLOYMENT_ID, uid: 0, reason: '' });
    simulator.run();
    expect(actionOf(simulator)).toBe('pause');
  });

  it('holds again for the next passage when the map is posted again', () => {
    const simulator = paused();
    simulator.command({ kind: 'SetControlMap', text: controlMapJson(map), uid: 0 });
    expect(simulator.step).toBe('install-gate');
    const forced = {
      ...map,
      states: { ArtifactInstall_Enter: { ...rule, action: 'force_continue' as const } },
    };
    simulator.command({ kind: 'SetControlMap', text: controlMapJson(forced), uid: 0 });
    expect(simulator.step).not.toBe('install-gate');
    expect(actionOf(simulator)).toBe('continue');
  });
});

describe('an expired map', () => {
  it('is cleared at the next poll, and does not hit the next deployment', () => {
    const simulator = new FlowSimulator().boot().run();
    const states = { ArtifactInstall_Enter: { action: 'pause' } };
    simulator.command({ kind: 'SetControlMap', text: JSON.stringify({ id: idOf('U1'), states }), uid: 0 });
    simulator.advance(3_600_000);
    expect(simulator.state.controlMaps).toMatchObject([{ isExpired: true }]);
    simulator.dispatch({ kind: 'CheckRequested' });
    simulator.run();
    expect(simulator.state.controlMaps).toEqual([]);
    expect(outcomeOf(simulator)).toBe('ok');
  });

  it('wakes a wait that only it blocks', () => {
    const simulator = new FlowSimulator().boot().run();
    const states = { ArtifactInstall_Enter: { action: 'pause', on_map_expire: 'continue' } };
    simulator.command({ kind: 'SetControlMap', text: JSON.stringify({ id: idOf('U1'), states }), uid: 0 });
    simulator.dispatch({ kind: 'CheckRequested' });
    simulator.run();
    simulator.advance(3_590_000);
    expect(simulator.step).toBe('install-gate');
    simulator.advance(10_000);
    expect(outcomeOf(simulator)).toBe('ok');
    const ends = simulator.notices.flatMap((notice) => (notice.kind === 'WaitEnded' ? [notice.outcome] : []));
    expect(ends).toEqual(['expired-continue']);
  });
});

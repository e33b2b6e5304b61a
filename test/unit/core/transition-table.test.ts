import { describe, expect, it } from 'vitest';
import { HOLD_POINTS } from '../../../src/core/hold-point.ts';
import { ACTIVITIES, FLOW_STEPS, PUBLIC_STATES, type FlowStep } from '../../../src/core/state.ts';
import {
  FLOW,
  isFinalReport,
  type FlowRow,
  type Outcome,
  type Target,
  type Targets,
  type Work,
} from '../../../src/core/transition-table.ts';
import { isStuck, reach } from '../../support/flow-steps.ts';

const rows = FLOW_STEPS.map((step): [FlowStep, FlowRow] => [step, FLOW[step]]);

/** What each kind of work can come to; a row must answer each of these, and no other. */
const OUTCOMES: Readonly<Record<Work['kind'], readonly Outcome[]>> = {
  none: ['install', 'check', 'inventory'],
  scripts: ['done', 'failed'],
  module: ['done', 'failed'],
  cleanup: ['done', 'failed'],
  reboot: ['done', 'failed'],
  'ask-needs-reboot': ['reboot', 'no-reboot', 'failed'],
  'ask-supports-rollback': ['supported', 'unsupported', 'failed'],
  download: ['done', 'failed'],
  gate: ['done', 'aborted'],
  report: ['done', 'aborted'],
  // offline: the commit without a server, where the configuration allows it.
  authorize: ['done', 'failed', 'offline'],
  'check-script-version': ['done', 'failed'],
  'send-inventory': ['done', 'failed'],
  // aborted: the offer has a control map that is none.
  'check-for-deployment': ['offered', 'done', 'failed', 'aborted'],
};

function listed(targets: Targets): readonly (FlowStep | Target)[] {
  return (Array.isArray(targets) ? targets : [targets]) as readonly (FlowStep | Target)[];
}

function steps(targets: Targets): readonly FlowStep[] {
  return listed(targets).map((entry) => (typeof entry === 'string' ? entry : entry.to));
}

function outcomesOf({ work }: FlowRow): readonly Outcome[] {
  const more: readonly Outcome[] =
    work.kind === 'report' && work.delivery === 'required'
      ? ['undelivered', 'offline']
      : work.kind === 'report' && work.delivery === 'final'
        ? ['undelivered']
        : // A control map's no: elsewhere it leads where every other no leads.
          work.kind === 'gate' && work.point === 'ArtifactInstall_Enter'
          ? ['failed']
          : [];
  return [...OUTCOMES[work.kind], ...more];
}

describe.each(rows)('the row of %s', (step, row) => {
  it('has names that users know', () => {
    expect(PUBLIC_STATES).toContain(row.state);
    expect(ACTIVITIES).toContain(row.activity);
    expect(row.step).toMatch(/^[A-Z][A-Za-z]+(_(Enter|Leave|Error))?$/);
  });

  it('answers every outcome its work can have, and no other', () => {
    expect(Object.keys(row.next).toSorted()).toEqual([...outcomesOf(row)].toSorted());
  });

  it('ends every list of targets with an unconditional one, and has no other in front of it', () => {
    for (const targets of [...Object.values(row.next), row.restart]) {
      const list = listed(targets);
      const conditional = list.map((entry) => typeof entry !== 'string' && entry.when !== undefined);
      expect(conditional.at(-1)).toBe(false);
      expect(conditional.slice(0, -1)).not.toContain(false);
    }
  });

  it('never leads to itself, except after a restart', () => {
    for (const targets of Object.values(row.next)) expect(steps(targets)).not.toContain(step);
  });

  it('knows where an abort, a rollback and a failed save lead', () => {
    for (const way of [row.abort, row.rollback]) {
      if (way === 'cancel') expect(row.next.failed).toBeDefined();
      if (way === 'leave') expect(row.next.aborted).toBeDefined();
    }
    if (row.whenNotStored === undefined) expect(row.next.failed ?? row.next.aborted).toBeDefined();
  });

  it('is reached by the core, with something under way', () => {
    const simulator = reach(step);
    expect(simulator.step).toBe(step);
    expect(isStuck(simulator)).toBe(false);
  });
});

describe('the table', () => {
  it('leads to every step from idle-enter', () => {
    const reached = new Set<FlowStep>();
    const open: FlowStep[] = ['idle-enter'];
    for (let step = open.pop(); step !== undefined; step = open.pop()) {
      if (reached.has(step)) continue;
      reached.add(step);
      const { next, restart } = FLOW[step];
      open.push(...[...Object.values(next), restart].flatMap(steps));
    }
    expect(FLOW_STEPS.filter((step) => !reached.has(step))).toEqual([]);
  });

  it('leads from every step back to idle', () => {
    const ending = new Set<FlowStep>(['idle']);
    for (let size = 0; size !== ending.size;) {
      size = ending.size;
      for (const [step, { next }] of rows) {
        if (
          Object.values(next)
            .flatMap(steps)
            .some((to) => ending.has(to))
        )
          ending.add(step);
      }
    }
    expect(FLOW_STEPS.filter((step) => !ending.has(step))).toEqual([]);
  });

  it('has one gate for each hold point, in the state that the point names', () => {
    const gates = rows.flatMap(([, { work, state, step }]) =>
      work.kind === 'gate' ? [{ point: work.point, state, step }] : [],
    );
    expect(gates.map(({ point }) => point)).toEqual(HOLD_POINTS);
    for (const { point, state, step } of gates) {
      expect(point).toBe(`${state}_Enter`);
      expect(step).toBe(point);
    }
  });

  it('counts at least one step in every circle that a deployment can go round in', () => {
    // Without the counted steps, and without idle, no step may be reachable from itself.
    const isLeftOut = (step: FlowStep): boolean =>
      FLOW[step].checkpoint !== undefined || FLOW[step].state === 'Idle' || FLOW[step].state === 'Sync';
    for (const start of FLOW_STEPS) {
      const seen = new Set<FlowStep>();
      const open = isLeftOut(start) ? [] : Object.values(FLOW[start].next).flatMap(steps);
      for (let step = open.pop(); step !== undefined; step = open.pop()) {
        if (seen.has(step) || isLeftOut(step)) continue;
        expect(step, `${start} is reached again without a count`).not.toBe(start);
        seen.add(step);
        open.push(...Object.values(FLOW[step].next).flatMap(steps));
      }
    }
  });

  it('counts where Mender 5.1 writes a record, under the name it has there', () => {
    // Source: spec/update-flow.md section 6.2, "C writes only at".
    const records = rows.flatMap(([step, { checkpoint }]) => (checkpoint ? [[step, checkpoint]] : []));
    expect(Object.fromEntries(records)).toEqual({
      'download-enter': 'update-store',
      'install-enter': 'update-install',
      'reboot-enter': 'reboot',
      'verify-reboot': 'after-reboot',
      'commit-enter': 'update-commit',
      'commit-leave': 'update-after-commit',
      'rollback-enter': 'rollback',
      'rollback-reboot-enter': 'rollback-reboot',
      'verify-rollback-reboot': 'after-rollback-reboot',
      'failure-enter': 'update-error',
      'cleanup-after-success': 'cleanup',
      'cleanup-after-failure': 'cleanup',
    });
  });

  it('never reports success behind a failed step', () => {
    for (const [step, { next }] of rows) {
      for (const [outcome, targets] of Object.entries(next)) {
        if (!steps(targets).includes('report-success')) continue;
        expect([step, outcome]).toEqual(['cleanup-after-success', 'done']);
      }
    }
  });

  it('accepts an abort nowhere from the commit on, nor on the way back', () => {
    const until = FLOW_STEPS.indexOf('commit-authorize');
    for (const [step, { abort }] of rows) {
      if (FLOW_STEPS.indexOf(step) >= until) expect([step, abort]).toEqual([step, undefined]);
    }
  });

  it('accepts a rollback from the end of ArtifactInstall up to a wait at ArtifactCommit', () => {
    expect(rows.filter(([, { rollback }]) => rollback).map(([step]) => step)).toEqual([
      'install-leave',
      'needs-reboot',
      'reboot-gate',
      'reboot-status',
      'reboot-enter',
      'verify-reboot',
      'reboot-leave',
      'commit-reverify',
      'commit-gate',
    ]);
  });

  it('has three final reports', () => {
    expect(FLOW_STEPS.filter(isFinalReport)).toEqual([
      'report-success',
      'report-failure',
      'report-already-installed',
    ]);
  });
});

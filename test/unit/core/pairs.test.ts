import { describe, expect, it } from 'vitest';
import { EVENT_KINDS, type EventBody, type EventKind } from '../../../src/core/event.ts';
import { FLOW_STEPS, type FlowStep, type UpdateState } from '../../../src/core/state.ts';
import { transition } from '../../../src/core/transition.ts';
import { FLOW, WORK_EVENTS } from '../../../src/core/transition-table.ts';
import { holdAdded, variantsOf } from '../../support/flow-events.ts';
import { DEPLOYMENT_ID, NEW_NAME } from '../../support/flow-simulator.ts';
import { reach } from '../../support/flow-steps.ts';
import { readScenarios } from '../../support/scenario-rules.ts';

/** step → kind of event → why it must change nothing there. */
const { reasons, steps } = readScenarios<{
  readonly reasons: Readonly<Record<string, string>>;
  readonly steps: Readonly<Record<string, Readonly<Partial<Record<EventKind, string>>>>>;
}>('impossible-pairs.json');

const SET_ASIDE = {
  deploymentId: DEPLOYMENT_ID,
  artifactName: NEW_NAME,
  tries: 1,
  needsPerson: true,
  offersToSkip: 0,
  isRetryWanted: false,
  isToldAgain: true,
  failedWallMs: 1,
  offeredWallMs: 2,
};
const AT = { at: { wallMs: Date.UTC(2031, 1, 4), bootMs: 100_000 }, nonce: 'e'.repeat(32) };

/** The state in the step with what the event is about, where that is not the flow itself. */
function states(step: FlowStep, kind: EventKind): UpdateState {
  const simulator = reach(step);
  const { deployment } = simulator.state;
  switch (kind) {
    case 'ResumeRequested':
      if (deployment === null) return simulator.state;
      return { ...simulator.state, deployment: { ...deployment, pause: { uid: 1000, sinceWallMs: 0 } } };
    case 'HoldRefreshed':
      simulator.dispatch(holdAdded({ timeoutSeconds: 600 }));
      return simulator.state;
    case 'HoldReleased':
    case 'HolderVanished':
      simulator.dispatch(holdAdded({}));
      return simulator.state;
    case 'AlarmRang': {
      const [pause] = variantsOf('ControlMapGiven', simulator.state).slice(-2);
      if (pause) simulator.dispatch(pause);
      const due = { expiresBootMs: AT.at.bootMs - 1 };
      return {
        ...simulator.state,
        controlMaps: simulator.state.controlMaps.map((map) => ({ ...map, ...due })),
      };
    }
    case 'RetryRequested': {
      const failure = { name: 'Commit', message: 'failed', details: {} } as const;
      return { ...simulator.state, setAside: [{ ...SET_ASIDE, failure }] };
    }
    case 'JournalWritten':
      simulator.dispatch({ kind: 'UpdatesSwitched', isEnabled: true, uid: 0 });
      return simulator.state;
    default:
      return simulator.state;
  }
}

function changes(state: UpdateState, body: EventBody): boolean {
  const { state: after, effects } = transition(state, { ...body, ...AT });
  if (after === state) expect(effects).toEqual([]);
  return after !== state;
}

describe.each(FLOW_STEPS.map((step) => [step]))('in %s', (step) => {
  const impossible = steps[step] ?? {};

  it.each(EVENT_KINDS.map((kind) => [kind, impossible[kind] ?? 'changes something']))(
    '%s: %s',
    (kind, reason) => {
      const state = states(step, kind);
      const variants = variantsOf(kind, state);
      const changing = variants.filter((body) => changes(state, body));
      if (reason === 'changes something') expect(changing.length).toBeGreaterThan(0);
      else expect(changing).toEqual([]);
    },
  );

  it('the outcome of other work changes nothing', () => {
    const { state } = reach(step);
    for (const kind of EVENT_KINDS) {
      for (const body of variantsOf(kind, state)) {
        if (!('workId' in body)) continue;
        for (const workId of [state.workId - 1, state.workId + 1]) {
          expect(transition(state, { ...body, workId, ...AT })).toEqual({ state, effects: [] });
        }
      }
    }
  });

  it('the work’s own outcomes are those the table names', () => {
    const { state } = reach(step);
    const own = EVENT_KINDS.filter((kind) => variantsOf(kind, state).some((body) => 'workId' in body)).filter(
      (kind) => impossible[kind] !== 'other-work',
    );
    expect(own.toSorted()).toEqual([...WORK_EVENTS[FLOW[step].work.kind]].toSorted());
  });
});

describe('the list of pairs that change nothing', () => {
  it('gives a known reason for each, and uses every reason', () => {
    const used = new Set(Object.values(steps).flatMap((kinds) => Object.values(kinds)));
    expect([...used].toSorted()).toEqual(Object.keys(reasons).toSorted());
  });
});

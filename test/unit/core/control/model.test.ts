import { describe, expect, it } from 'vitest';
import { HOLD_POINTS } from '../../../../src/core/hold-point.ts';
import { ALL_ACTIONS, MAIN_ACTIONS } from '../../../support/control-model/actions.ts';
import { REAL_CORE } from '../../../support/control-model/core.ts';
import { explore, wander } from '../../../support/control-model/explore.ts';
import { MODEL_GATES } from '../../../support/control-model/gates.ts';
import { randomFrom, seedFromEnvironment } from '../../../support/random.ts';

/**
 * Every interleaving at every kind of gate on the real decision and ticket code; what must be true of each moment is in
 * control-model/invariants.ts, who should block in control-model/facts.ts.
 */
const DEPTH = Number(process.env['MODEL_DEPTH'] ?? 6);
const RUNS = Number(process.env['MODEL_RUNS'] ?? 10_500);

describe('everything that can happen at a gate, in every order', { timeout: 120_000 }, () => {
  it.each(MODEL_GATES)('holds at $name', ({ name, gate }) => {
    const { states, transitions, isExhausted } = explore(REAL_CORE, {
      gate,
      actions: MAIN_ACTIONS,
      depth: DEPTH,
    });
    const depth = isExhausted ? 'all there are' : `depth ${DEPTH}`;
    console.info(`${name}: ${states} states, ${transitions} transitions, ${depth}`);
    expect(states).toBeGreaterThan(DEPTH * 100);
  });

  it.each(MODEL_GATES)(
    'holds at $name with everything else that may happen, to depth 3',
    ({ name, gate }) => {
      const { states, transitions } = explore(REAL_CORE, { gate, actions: ALL_ACTIONS, depth: 3 });
      console.info(`${name}, all actions: ${states} states, ${transitions} transitions, depth 3`);
      expect(states).toBeGreaterThan(500);
    },
  );

  it('holds in long runs at random', () => {
    const seed = seedFromEnvironment();
    const random = randomFrom(seed);
    const runs = Math.ceil(RUNS / MODEL_GATES.length);
    let events = 0;
    for (const { gate } of MODEL_GATES) {
      try {
        events += wander(REAL_CORE, { gate, actions: ALL_ACTIONS, runs, random });
      } catch (error) {
        throw new Error(`TEST_SEED=${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
    console.info(`seed ${seed}: ${runs * MODEL_GATES.length} runs, ${events} events`);
    expect(events).toBeGreaterThan(RUNS * 20);
  });

  it('is about every hold point', () => {
    expect(new Set(MODEL_GATES.map(({ gate }) => gate.point))).toEqual(new Set(HOLD_POINTS));
  });
});

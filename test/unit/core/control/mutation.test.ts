import { describe, expect, it } from 'vitest';
import { ALL_ACTIONS } from '../../../support/control-model/actions.ts';
import { REAL_CORE, Violation, type Core } from '../../../support/control-model/core.ts';
import { explore, wander } from '../../../support/control-model/explore.ts';
import { MODEL_GATES } from '../../../support/control-model/gates.ts';
import { loadMutant, mutantsOfGate } from '../../../support/control-model/mutants.ts';
import { randomFrom } from '../../../support/random.ts';

/**
 * The model test tested: with any single test of the decision taken away, something it demands must fail. The same
 * fixed walk for each, so that a mutant that is found is found every time.
 */
const SEED = 20_310_203;
const RUNS = 60;

/** Changes after which nothing anybody can see is different, with the reason; anything else must be found. */
const EQUIVALENT: readonly (readonly [RegExp, string])[] = [];

/** What the model has against this core; '' = nothing. */
function complaint(core: Core): string {
  try {
    for (const { gate } of MODEL_GATES) explore(core, { gate, actions: ALL_ACTIONS, depth: 2 });
    const random = randomFrom(SEED);
    for (const { gate } of MODEL_GATES) wander(core, { gate, actions: ALL_ACTIONS, runs: RUNS, random });
    return '';
  } catch (error) {
    return error instanceof Violation
      ? error.message
      : `${(error as Error).name}: ${(error as Error).message}`;
  }
}

describe('the model test', () => {
  it('finds nothing wrong with the real decision on the walk that it uses here', () => {
    expect(complaint(REAL_CORE)).toBe('');
  });

  it('finds every decision from which a single test was taken away', async () => {
    const mutants = mutantsOfGate();
    const survivors: string[] = [];
    let killed = 0;
    for (const mutant of mutants) {
      const why = EQUIVALENT.find(([pattern]) => pattern.test(mutant.name))?.[1];
      const found = why === undefined ? complaint(await loadMutant(mutant)) : '';
      const verdict = why !== undefined ? `equivalent: ${why}` : found === '' ? 'SURVIVED' : 'killed';
      if (verdict === 'SURVIVED') survivors.push(mutant.name);
      if (verdict === 'killed') killed += 1;
      console.info(`${verdict}  ${mutant.name}`);
    }
    console.info(`${mutants.length} mutants, ${killed} killed, ${survivors.length} survived`);
    expect(mutants.length).toBeGreaterThan(60);
    expect(survivors).toEqual([]);
  }, 240_000);
});

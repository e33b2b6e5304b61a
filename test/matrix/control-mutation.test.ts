import { describe, expect, it } from 'vitest';
import { mutantsOfGate } from '../support/control-model/mutants.ts';
import { EQUIVALENT, judgeMutants, type MutantVerdict } from '../support/control-model/mutation-verdict.ts';

/** The model test tested: with any single test of the decision at a gate taken away, something it demands must fail. */
describe('the model test', () => {
  it('finds every decision from which a single test was taken away', { timeout: 1_800_000 }, async () => {
    const verdicts = await judgeMutants(mutantsOfGate());
    const by = (who: MutantVerdict['by']): readonly string[] =>
      verdicts.filter((verdict) => verdict.by === who).map(({ mutant }) => mutant.name);
    console.info(
      `${verdicts.length} mutants: ${by('model').length} found by the model, ${by('cases').length} more by the ` +
        `decided situations, ${by('equivalent').length} equivalent, ${by('nobody').length} survived`,
    );
    expect(by('nobody')).toEqual([]);
    // Fewer would mean that the places to change are not found any more.
    expect(verdicts.length).toBeGreaterThan(150);
    // What is listed as equivalent is still there.
    for (const [name] of EQUIVALENT) expect(by('equivalent').join('\n')).toMatch(new RegExp(name, 'm'));
    expect(by('equivalent').length).toBeLessThan(10);
  });
});

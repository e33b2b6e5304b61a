import { describe, expect, it } from 'vitest';
import { REAL_CORE } from '../../../support/control-model/core.ts';
import { mutantsOfGate } from '../../../support/control-model/mutants.ts';
import { complaintOfModel, judgeMutants } from '../../../support/control-model/mutation-verdict.ts';
import { randomFrom, seedFromEnvironment } from '../../../support/random.ts';

/** The model test tested, a part of it each time; the whole is test/matrix/control-mutation.test.ts. */
const SLICE = 6;

describe('the model test', { timeout: 120_000 }, () => {
  it('finds nothing wrong with the real decision on the walk that it uses here', () => {
    expect(complaintOfModel(REAL_CORE)).toBe('');
  });

  it(`finds the decision with a single test taken away, ${SLICE} of them at random`, async () => {
    const seed = seedFromEnvironment();
    console.info(`TEST_SEED=${seed}`);
    const random = randomFrom(seed);
    const slice = mutantsOfGate()
      .map((mutant) => ({ mutant, place: random() }))
      .toSorted((one, other) => one.place - other.place)
      .slice(0, SLICE)
      .map(({ mutant }) => mutant);
    expect(slice).toHaveLength(SLICE);
    const verdicts = await judgeMutants(slice);
    const survivors = verdicts.filter(({ by }) => by === 'nobody').map(({ mutant }) => mutant.name);
    expect(survivors, `TEST_SEED=${seed}`).toEqual([]);
  });
});

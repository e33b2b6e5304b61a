import { describe, expect, it } from 'vitest';
import { forbiddenCells, readTable, runCase } from '../../support/crash/outcomes.ts';
import { FAULTS, SCENARIOS, titleOf, type Scenario, type Strike } from '../../support/crash/plan.ts';
import { Trial, type Ending } from '../../support/crash/trial.ts';
import { randomFrom, seedFromEnvironment } from '../../support/random.ts';

/** A slice of test/matrix/crash-outcomes.test.ts, drawn anew in each run. */
const CASES = 360;

describe('whatever strikes a save', { timeout: 300_000 }, () => {
  const table = readTable();

  it('the table has every scenario', () => {
    expect([...table.keys()]).toEqual(SCENARIOS.map(titleOf));
  });

  it('is, in every cell of the table, what a rule allows', () => {
    expect(forbiddenCells(table, new Map(SCENARIOS.map((one) => [titleOf(one), one])))).toEqual([]);
  });

  const seed = seedFromEnvironment();
  it(`ends as the table says: ${CASES} cases, seed ${seed}`, async () => {
    const random = randomFrom(seed);
    const all = SCENARIOS.flatMap((scenario) =>
      [...(table.get(titleOf(scenario))?.rows.keys() ?? [])].flatMap((save) =>
        FAULTS.map((fault): readonly [Scenario, Strike] => [scenario, { save, fault }]),
      ),
    );
    console.info(`${CASES} of ${all.length} cases, seed ${seed}`);
    const owns = new Map<Scenario, Ending>();
    const wrong: string[] = [];
    for (let left = CASES; left > 0; left -= 1) {
      const drawn = all[Math.floor(random() * all.length)];
      if (drawn === undefined) break;
      const [scenario, strike] = drawn;
      const own = owns.get(scenario) ?? (await Trial.run(scenario)).endings[0];
      owns.set(scenario, own);
      const { cell, objections } = await runCase(scenario, strike, own, 1 + Math.floor(random() * 2 ** 31));
      const where = `${titleOf(scenario)}: ${strike.save} ${strike.fault}`;
      const expected = table.get(titleOf(scenario))?.rows.get(strike.save)?.get(strike.fault);
      if (cell !== expected) wrong.push(`${where}: the table says ${expected}, now ${cell}`);
      wrong.push(...objections.map((why) => `${where}: ${why}`));
    }
    expect(wrong).toEqual([]);
  });
});

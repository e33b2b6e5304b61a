import { existsSync, writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import {
  codeOf,
  readTable,
  runCase,
  TABLE_PATH,
  textOf,
  type Row,
  type TableBlock,
} from '../support/crash/outcomes.ts';
import { FAULTS, SCENARIOS, titleOf, type FaultKind, type SaveName } from '../support/crash/plan.ts';
import { Trial } from '../support/crash/trial.ts';

/**
 * Every save of every update × every fault, by the real core, loop and store code (test/support/crash/trial.ts). Nothing
 * may come of it that no rule allows, and what does come of it is as the table says, which is reviewed.
 */
const isUpdate = process.env['UPDATE_CRASH_OUTCOMES'] === '1';
const table = new Map<string, TableBlock>();
const checkedIn = isUpdate ? new Map<string, TableBlock>() : readTable();

describe('whatever strikes a save', { timeout: 1_800_000 }, () => {
  for (const [index, scenario] of SCENARIOS.entries()) {
    const title = titleOf(scenario);
    it(title, async () => {
      const whole = await Trial.run(scenario);
      const [own] = whole.endings;
      const rows = new Map<SaveName, Row>();
      const objections: string[] = [];
      const changes: string[] = [];
      for (const save of whole.saves) {
        const row = new Map<FaultKind, string>();
        for (const [column, fault] of FAULTS.entries()) {
          const seed = index * 1000 + rows.size * 10 + column + 1;
          const { cell, objections: wrong } = await runCase(scenario, { save, fault }, own, seed);
          row.set(fault, cell);
          objections.push(...wrong.map((why) => `${save} ${fault}: ${why}`));
          const before = checkedIn.get(title)?.rows.get(save)?.get(fault);
          if (!isUpdate && before !== row.get(fault)) {
            changes.push(`${save} ${fault}: the table says ${before ?? 'nothing'}, now ${row.get(fault)}`);
          }
        }
        rows.set(save, row);
      }
      table.set(title, { own: codeOf(own, own), rows });
      expect(objections).toEqual([]);
      expect(changes).toEqual([]);
    });
  }

  it('the table has nothing that is not met any more, and enough', () => {
    if (isUpdate) return;
    expect(textOf(table).split('\n')).toEqual(textOf(checkedIn).split('\n'));
    const cases = [...table.values()].reduce((sum, { rows }) => sum + rows.size * FAULTS.length, 0);
    console.info(`${cases} cases in ${table.size} scenarios, each met by its fault`);
    expect(cases).toBeGreaterThan(8_000);
  });
});

afterAll(() => {
  if (!isUpdate) return;
  // Scenarios that were not asked for (`-t`) stay as they are.
  const before = existsSync(TABLE_PATH) ? readTable() : new Map<string, TableBlock>();
  const blocks = SCENARIOS.map(titleOf).flatMap((title): [string, TableBlock][] => {
    const block = table.get(title) ?? before.get(title);
    return block ? [[title, block]] : [];
  });
  writeFileSync(TABLE_PATH, textOf(new Map(blocks)));
});

/** The table of design/faults.md: where each row is tested, checked against the files it names, and printed. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FAULT_ROWS } from './rows.ts';

const ROWS = 42;
const textOf = (file: string): string => readFileSync(resolve('test', file), 'utf8');

describe('the table of faults', () => {
  it('has every row of design/faults.md once, in order', () => {
    expect(FAULT_ROWS.map(({ row }) => row)).toEqual(
      Array.from({ length: ROWS }, (_nothing, index) => index + 1),
    );
  });

  it('names tests that exist, and in this folder by the number of the row', () => {
    for (const { row, evidence } of FAULT_ROWS) {
      for (const { file, test } of evidence) {
        const lines = textOf(file)
          .split('\n')
          .filter((line) => line.includes(test));
        expect(lines, `R${row}: "${test}" in ${file}`).not.toEqual([]);
        if (!file.startsWith('faults/')) continue;
        // In the name of the test, or of the group it belongs to.
        expect(
          textOf(file)
            .split('\n')
            .some((line) => /^\s*(it|describe|')/.test(line) && new RegExp(`\\bR${row}\\b`).test(line)),
          `R${row} is named in ${file}`,
        ).toBe(true);
      }
    }
  });

  it('says what is missing wherever a row is not tested whole', () => {
    for (const { row, state, evidence, missing } of FAULT_ROWS) {
      expect(missing === '', `R${row}`).toBe(state === 'whole');
      expect(evidence.length === 0, `R${row}`).toBe(state === 'open');
    }
  });

  it('is printed', () => {
    const lines = FAULT_ROWS.map(({ row, title, state, evidence, missing }) => {
      const files = [...new Set(evidence.map(({ file }) => file))].join(', ');
      return `R${row} ${state}: ${title}${files === '' ? '' : ` | ${files}`}${missing === '' ? '' : ` | missing: ${missing}`}`;
    });
    console.log(lines.join('\n'));
    expect(lines).toHaveLength(ROWS);
  });
});

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { FLOW_STEPS } from '../../../src/core/state.ts';
import { FLOW } from '../../../src/core/transition-table.ts';
import { LOOP_LIMIT } from '../../../src/core/walk.ts';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));
const text = readFileSync(`${PROJECT}docs/update-flow.md`, 'utf8');

describe('docs/update-flow.md', () => {
  it('is what the table says', () => {
    const { status, stderr } = spawnSync('npx', ['tsx', 'scripts/generate-flow-docs.ts', '--check'], {
      cwd: PROJECT,
      encoding: 'utf8',
      timeout: 60_000,
    });
    expect({ status, isOutOfDate: stderr.includes('out of date') }).toEqual({
      status: 0,
      isOutOfDate: false,
    });
  });

  it.each(FLOW_STEPS.map((step) => [step]))('maps %s to what users and the server see', (step) => {
    const row = text.split('\n').find((line) => line.startsWith(`| \`${step}\` `));
    const cells = row?.split('|').map((cell) => cell.trim()) ?? [];
    const { state, activity, step: shown, checkpoint, abort, rollback, work } = FLOW[step];
    const status =
      work.kind === 'report' ? work.status : work.kind === 'gate' ? (work.pauseStatus ?? '') : '';
    expect(cells.slice(2, 5)).toEqual([state, activity, shown]);
    expect(cells.slice(6, 8)).toEqual([status, checkpoint ?? '']);
    expect(cells.slice(9, 11)).toEqual([abort ?? '', rollback ?? '']);
  });

  it('names the loop limit there is', () => {
    expect(text).toContain(`loop limit of ${LOOP_LIMIT}.`);
  });
});

import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openJournal, type Change, type Journal } from '../../../src/devserver/journal.ts';

let folder: string;
let path: string;
const open: Journal[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-journal-'));
  path = join(folder, 'state.journal');
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((journal) => journal.close()));
  await rm(folder, { recursive: true, force: true });
});

async function opened(at = path): Promise<Journal> {
  const journal = await openJournal(at);
  open.push(journal);
  return journal;
}
function contents(journal: Journal): unknown {
  return Object.fromEntries(
    [...journal.records].map(([name, records]) => [name, Object.fromEntries(records)] as const),
  );
}

describe('the journal', () => {
  it('has after opening again what was committed, with removals and replacements', async () => {
    const journal = await opened();
    await journal.commit([
      ['devices', 'a', { n: 1 }],
      ['devices', 'b', { n: 1 }],
    ]);
    await Promise.all([
      journal.commit([['devices', 'a', { n: 2, text: 'Zeile\nund "mehr" \u2028' }]]),
      journal.commit([['devices', 'b', null]]),
      journal.commit([['runs', 'a/b', { list: [1, null] }]]),
    ]);
    await journal.close();
    const again = await opened();
    expect(again.complaints).toEqual([]);
    expect(contents(again)).toEqual({
      devices: { a: { n: 2, text: 'Zeile\nund "mehr" \u2028' } },
      runs: { 'a/b': { list: [1, null] } },
    });
  });

  it('is after a cut at any byte exactly some number of its first transactions', async () => {
    const transactions = fc.array(
      fc.array(
        fc.tuple(
          fc.constantFrom('x', 'y'),
          fc.constantFrom('1', '2', '3'),
          fc.option(fc.record({ v: fc.string() })),
        ),
        { minLength: 1, maxLength: 3 },
      ),
      { minLength: 1, maxLength: 5 },
    );
    const work = fc.asyncProperty(transactions, fc.nat(), async (all, where) => {
      await rm(path, { force: true });
      const journal = await openJournal(path);
      const states = [contents(journal)];
      for (const changes of all as Change[][]) {
        await journal.commit(changes);
        states.push(contents(journal));
      }
      await journal.close();
      const bytes = await readFile(path);
      const header = bytes.indexOf('\n') + 1;
      const length = header + (where % (bytes.length - header + 1));
      await writeFile(path, bytes.subarray(0, length));
      const cut = await openJournal(path);
      const lines = bytes.subarray(0, length).toString().split('\n').length - 2;
      const expected = JSON.stringify(sorted(states[lines]));
      expect(JSON.stringify(sorted(contents(cut)))).toBe(expected);
      // And it goes on from there.
      await cut.commit([['x', 'after', { v: 'the cut' }]]);
      await cut.close();
      const later = await openJournal(path);
      expect(later.complaints).toEqual([]);
      expect(later.records.get('x')?.get('after')).toEqual({ v: 'the cut' });
      await later.close();
    });
    await fc.assert(work, { numRuns: 60 });
  });

  it('reads on behind damage in the middle, keeps the file as evidence, and says so', async () => {
    const journal = await opened();
    for (const n of [1, 2, 3]) await journal.commit([['devices', String(n), { n }]]);
    await journal.close();
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace('{"n":2}', '{"n":9}'));
    const again = await opened();
    expect(contents(again)).toEqual({ devices: { 1: { n: 1 }, 3: { n: 3 } } });
    expect(again.complaints).toEqual([expect.stringMatching(/^damaged at byte \d+; .*\.broken$/)]);
    expect(await readFile(`${path}.broken`, 'utf8')).toContain('{"n":9}');
    await again.close();
    expect((await opened()).complaints).toEqual([]);
  });

  it('leaves a file of another kind as it is and refuses to begin', async () => {
    await writeFile(path, 'the diary of somebody\n');
    await expect(openJournal(path)).rejects.toMatchObject({ kind: 'store' });
    expect(await readFile(path, 'utf8')).toBe('the diary of somebody\n');
  });

  it('removes what an interrupted rewrite left', async () => {
    await (await opened()).commit([['devices', 'a', { n: 1 }]]);
    await appendFile(`${path}.new`, 'half');
    await open[0]?.close();
    expect(contents(await opened())).toEqual({ devices: { a: { n: 1 } } });
    await expect(stat(`${path}.new`)).rejects.toThrow(/ENOENT/);
  });

  it('does not grow without bound while the same things change', async () => {
    const journal = await opened();
    for (let round = 0; round < 40; round++) {
      await Promise.all(
        Array.from({ length: 200 }, (_, n) => journal.commit([['devices', String(n % 5), { round, n }]])),
      );
    }
    expect((await stat(path)).size).toBeLessThan(300_000);
    await journal.close();
    const again = await opened();
    expect(again.records.get('devices')?.size).toBe(5);
    expect(again.records.get('devices')?.get('4')).toEqual({ round: 39, n: 199 });
  });

  it('refuses changes after it was closed', async () => {
    const journal = await opened();
    await journal.close();
    await expect(journal.commit([['a', 'b', {}]])).rejects.toMatchObject({ kind: 'store' });
    expect(journal.records.size).toBe(0);
  });
});

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value)
    .map(([key, inner]) => [key, sorted(inner)] as const)
    // A collection that has become empty is as good as none.
    .filter(([, inner]) => typeof inner !== 'object' || inner === null || Object.keys(inner).length > 0)
    .sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(entries);
}

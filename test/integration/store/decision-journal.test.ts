import { mkdir, mkdtemp, readFile, rm, rmdir, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileDecisionJournal } from '../../../src/adapters/store/decision-journal.ts';
import type { DecisionEntry } from '../../../src/core/control/journal.ts';
import { UpdateError } from '../../../src/core/errors.ts';

/** Proofs on a real disk: appended, numbered, bounded, and whole after whatever happened. */
let directory: string;

beforeEach(async () => {
  directory = join(await mkdtemp(join(tmpdir(), 'holdpoint-journal-')), 'holdpoint');
});

afterEach(() => rm(join(directory, '..'), { recursive: true, force: true }));

const path = (): string => join(directory, 'decisions.jsonl');
const olderPath = (): string => join(directory, 'decisions.1.jsonl');

function open(maxBytes?: number): FileDecisionJournal {
  return new FileDecisionJournal({ directory, ...(maxBytes === undefined ? {} : { maxBytes }) });
}

function entry(seq: number, comment = `number ${seq}`): DecisionEntry {
  return {
    seq,
    kind: 'consent',
    atWallMs: Date.UTC(2026, 0, 1) + seq * 1000,
    uid: 1000,
    app: 'kiosk',
    deploymentId: '5f1c0f3e-3b66-4b6e-8f57-0a9b5a1f8f10',
    artifactName: 'release-2',
    digest: `sha256:${'0'.repeat(64)}`,
    point: 'ArtifactInstall_Enter',
    seconds: 0,
    comment,
  };
}

function entries(from: number, to: number): readonly DecisionEntry[] {
  return Array.from({ length: to - from + 1 }, (_, index) => entry(from + index));
}

async function seqs(journal: FileDecisionJournal, from = 1, max = 10_000): Promise<readonly number[]> {
  const { lines } = await journal.read(from, max);
  return lines.map((line) => (JSON.parse(line) as { seq: number }).seq);
}

const range = (from: number, to: number): readonly number[] => entries(from, to).map(({ seq }) => seq);

describe('the journal of decisions', () => {
  it('writes one line of JSON for each decision, for the eyes of root alone', async () => {
    expect(await open().append([entry(1, 'we "are"\nclosed\u2028now')])).toBe(1);
    const text = await readFile(path(), 'utf8');
    expect(text.split('\n')).toHaveLength(2);
    expect(JSON.parse(text)).toEqual({
      seq: 1,
      kind: 'consent',
      time: '2026-01-01T00:00:01.000Z',
      uid: 1000,
      app: 'kiosk',
      'deployment-id': '5f1c0f3e-3b66-4b6e-8f57-0a9b5a1f8f10',
      'artifact-name': 'release-2',
      digest: `sha256:${'0'.repeat(64)}`,
      point: 'ArtifactInstall_Enter',
      seconds: 0,
      comment: 'we "are"\nclosed\u2028now',
    });
    expect((await stat(path())).mode & 0o777).toBe(0o600);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
  });

  it('writes nothing twice, in this process or the next', async () => {
    const journal = open();
    await journal.append(entries(1, 3));
    expect(await journal.append(entries(2, 5))).toBe(5);
    expect(await open().append(entries(1, 6))).toBe(6);
    expect(await open().append(entries(1, 6))).toBe(6);
    expect(await seqs(open())).toEqual(range(1, 6));
  });

  it('keeps the order of orders given at the same time', async () => {
    const journal = open();
    await Promise.all(range(1, 50).map((seq) => journal.append([entry(seq)])));
    expect(await seqs(journal)).toEqual(range(1, 50));
  });

  it('is read in pages, from any number on', async () => {
    const journal = open();
    await journal.append(entries(1, 10));
    const page = await journal.read(4, 3);
    expect(page.lines.map((line) => (JSON.parse(line) as { seq: number }).seq)).toEqual([4, 5, 6]);
    expect(page.nextSeq).toBe(7);
    expect(await journal.read(11, 3)).toEqual({ lines: [], nextSeq: 11 });
    expect(await open().read(1, 3)).toMatchObject({ nextSeq: 4 });
  });

  it('is empty where nothing was written', async () => {
    expect(await open().read(1, 10)).toEqual({ lines: [], nextSeq: 1 });
    expect(await open().append([])).toBe(0);
  });

  it('cuts off what a power cut tore, wherever it tore, and writes it again', async () => {
    await open().append(entries(1, 3));
    const whole = await readFile(path());
    const start = whole.lastIndexOf('\n', whole.length - 2) + 1;
    for (let length = start; length < whole.length; length++) {
      await writeFile(path(), whole);
      await truncate(path(), length);
      const journal = open();
      expect(await seqs(journal)).toEqual([1, 2]);
      expect(await journal.append([entry(3)])).toBe(3);
      expect(await readFile(path())).toEqual(whole);
    }
  });

  it('has two files of bounded size, and numbers that go on when the first has gone', async () => {
    const maxBytes = 4_000;
    const journal = open(maxBytes);
    for (const one of entries(1, 100)) await journal.append([one]);
    for (const file of [path(), olderPath()]) {
      const { size, mode } = await stat(file);
      expect(size).toBeLessThanOrEqual(maxBytes);
      expect(mode & 0o777).toBe(0o600);
    }
    const kept = await seqs(journal);
    expect(kept).toEqual(range(kept[0]!, 100));
    expect(kept.length).toBeGreaterThan(10);
    expect(kept.length).toBeLessThan(30);
    expect(await open(maxBytes).append(entries(95, 101))).toBe(101);
    expect((await seqs(open(maxBytes))).at(-1)).toBe(101);
  });

  it('finds its last number in the older file when the power went between the two', async () => {
    const journal = open(4_000);
    for (const one of entries(1, 30)) await journal.append([one]);
    await rm(path());
    const older = await seqs(open());
    expect(await open().append(entries(1, 31))).toBe(31);
    expect(await seqs(open())).toEqual([...older, ...range(older.at(-1)! + 1, 31)]);
  });

  it('says why it could not be written, and gets it all when it can be', async () => {
    const journal = open();
    await journal.append([entry(1)]);
    await rm(path());
    await mkdir(path());
    const error: unknown = await journal.append([entry(2)]).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UpdateError);
    expect(error).toMatchObject({ kind: 'store', message: expect.stringContaining('EISDIR') as string });
    await rmdir(path());
    expect(await journal.append(entries(2, 3))).toBe(3);
    expect(await seqs(journal)).toEqual([2, 3]);
  });

  it('passes over lines that are none of its own', async () => {
    await open().append(entries(1, 2));
    await writeFile(path(), `${await readFile(path(), 'utf8')}garbage\n{"seq":"x"}\n\u0000\n`);
    const journal = open();
    expect(await journal.append([entry(3)])).toBe(3);
    expect(await seqs(journal)).toEqual([1, 2, 3]);
  });
});

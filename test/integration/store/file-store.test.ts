import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  link,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileStore } from '../../../src/adapters/store/file-store.ts';
import { decodeRecord } from '../../../src/adapters/store/record.ts';
import { realStoreFiles, type StoreFiles } from '../../../src/adapters/store/store-files.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { FaultyFiles } from '../../support/faulty-files.ts';
import { parseTestDocument, testDocument, type TestDocument } from './document.ts';

let root: string;
let directory: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-store-'));
  directory = join(root, 'data', 'holdpoint');
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

function open(files: StoreFiles = realStoreFiles): FileStore<TestDocument> {
  return new FileStore({ directory, name: 'state', parse: parseTestDocument, files });
}

async function saveAll(...counts: readonly number[]): Promise<void> {
  const store = open();
  for (const count of counts) await store.save(testDocument(count));
}

/** A file as versions before format 2 wrote it: nothing but header and document. */
function firstFormat(generation: number, document: TestDocument): string {
  const body = JSON.stringify(document);
  const sha256 = createHash('sha256').update(`${generation}\n${body}`).digest('hex');
  return `${JSON.stringify({ format: 1, generation, bytes: body.length, sha256 })}\n${body}`;
}

async function names(): Promise<string[]> {
  return (await readdir(directory)).sort();
}

async function rejection(promise: Promise<unknown>): Promise<UpdateError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(UpdateError);
    return error as UpdateError;
  }
  throw new Error('expected a rejection');
}

describe('a file store', () => {
  it('finds nothing, and creates nothing, where nothing was stored', async () => {
    expect(await open().load()).toEqual({ document: null, generation: 0, complaints: [] });
    await expect(stat(directory)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('loads in a new process what was saved last, and counts generations', async () => {
    await saveAll(1, 2, 3);
    expect(await open().load()).toEqual({ document: testDocument(3), generation: 3, complaints: [] });
  });

  it('keeps exactly two generations, the directory private and the files private', async () => {
    await saveAll(1, 2, 3, 4);
    expect(await names()).toEqual(['state-a.json', 'state-b.json']);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    for (const name of await names()) expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
  });

  it('performs saves in the order they were asked for, without waiting in between', async () => {
    const store = open();
    await Promise.all([1, 2, 3, 4, 5, 6, 7].map((count) => store.save(testDocument(count))));
    expect((await open().load()).document?.count).toBe(7);
  });

  it('saves the document as it was when save was called', async () => {
    const document = { count: 1, filler: 'x' };
    const saving = open().save(document);
    document.count = 99;
    await saving;
    expect((await open().load()).document?.count).toBe(1);
  });

  it('reads what earlier versions stored, and goes on from there', async () => {
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'state-a.json'), firstFormat(7, testDocument(7)));
    await writeFile(join(directory, 'state-b.json'), firstFormat(8, testDocument(8)));
    const store = open();
    expect(await store.load()).toEqual({ document: testDocument(8), generation: 8, complaints: [] });
    for (const count of [9, 10, 11]) {
      await store.save(testDocument(count));
      expect(await open().load()).toEqual({
        document: testDocument(count),
        generation: count,
        complaints: [],
      });
    }
    expect(await names()).toEqual(['state-a.json', 'state-b.json']);
  });

  it('does not change a copy that shares the file with it', async () => {
    await saveAll(1, 2, 3);
    for (const slot of ['a', 'b']) {
      await link(join(directory, `state-${slot}.json`), join(directory, `copy-${slot}.json`));
    }
    await saveAll(4, 5, 6);
    expect(decodeRecord(await readFile(join(directory, 'copy-a.json'))).value).toEqual(testDocument(3));
    expect(decodeRecord(await readFile(join(directory, 'copy-b.json'))).value).toEqual(testDocument(2));
    expect((await open().load()).document?.count).toBe(6);
  });

  it('goes on counting when it saves without having loaded', async () => {
    await saveAll(1, 2, 3);
    await open().save(testDocument(4));
    expect(await open().load()).toMatchObject({ document: { count: 4 }, generation: 4 });
  });

  it('refuses a document that could not be loaded again, before it touches a file', async () => {
    await saveAll(1);
    const bad = { count: 'two', filler: '' } as unknown as TestDocument;
    expect((await rejection(open().save(bad))).message).toContain('found count string');
    const endless: Record<string, unknown> = { count: 1 };
    endless['self'] = endless;
    expect((await rejection(open().save(endless as unknown as TestDocument))).kind).toBe('store');
    expect((await rejection(open().save(undefined as unknown as TestDocument))).kind).toBe('store');
    expect((await open().load()).document?.count).toBe(1);
  });

  it('refuses a document above its limit and one above its limit on disk', async () => {
    const store = new FileStore({
      directory,
      name: 'state',
      parse: parseTestDocument,
      maxDocumentBytes: 3000,
    });
    await store.save(testDocument(1));
    expect((await rejection(store.save(testDocument(2, 4000)))).message).toContain('at most 3000');
    await writeFile(join(directory, 'state-b.json'), Buffer.alloc(100_000));
    const { document, complaints } = await store.load();
    expect(document?.count).toBe(1);
    expect(complaints).toHaveLength(1);
  });
});

describe('damage', () => {
  const damages: Readonly<Record<string, (path: string) => Promise<void>>> = {
    'is empty': (path) => truncate(path, 0),
    'was cut in its header': (path) => truncate(path, 20),
    'was cut in its document': async (path) => truncate(path, (await readFile(path)).lastIndexOf('}')),
    'has one bit of its document flipped': async (path) => {
      const bytes = await readFile(path);
      const at = bytes.lastIndexOf('}') - 100;
      bytes[at] = (bytes[at] ?? 0) ^ 0x01;
      await writeFile(path, bytes);
    },
    'is full of zeros': async (path) => writeFile(path, Buffer.alloc((await stat(path)).size)),
    'is of the first format and has bytes after its end': (path) =>
      writeFile(path, `${firstFormat(4, testDocument(4))}x`),
    'is not JSON': (path) => writeFile(path, 'not at all\n{}'),
    'is of a later format': async (path) =>
      writeFile(path, (await readFile(path, 'utf8')).replace('"format":2', '"format":3')),
    'is a directory': async (path) => {
      await rm(path);
      await mkdir(path);
    },
    'is a symbolic link': async (path) => {
      await rm(path);
      await symlink('/etc/hostname', path);
    },
    'is a named pipe': async (path) => {
      await rm(path);
      execFileSync('mkfifo', [path]);
    },
  };

  for (const [name, damage] of Object.entries(damages)) {
    it(`falls back to the generation before, and keeps the evidence, when the newest ${name}`, async () => {
      await saveAll(1, 2, 3, 4);
      await damage(join(directory, 'state-b.json'));
      const store = open();
      const { document, generation, complaints } = await store.load();
      expect(document).toEqual(testDocument(3));
      expect(generation).toBe(3);
      expect(complaints).toHaveLength(1);
      expect(complaints[0]).toMatch(
        /state-b\.json is damaged .*: .*; it was kept as .*state-b\.json\.broken-1-/,
      );
      expect((await names()).filter((one) => one.includes('.broken-'))).toHaveLength(1);
      await store.save(testDocument(5));
      expect(await open().load()).toMatchObject({ document: { count: 5 }, complaints: [] });
    });

    it(`starts with nothing, and is usable, when both ${name.replace(/^(is|has|was)/, '$1 bad:')}`, async () => {
      await saveAll(1, 2);
      await damage(join(directory, 'state-a.json'));
      await damage(join(directory, 'state-b.json'));
      const store = open();
      const { document, complaints } = await store.load();
      expect(document).toBeNull();
      expect(complaints).toHaveLength(2);
      await store.save(testDocument(3));
      expect(await open().load()).toMatchObject({ document: { count: 3 }, complaints: [] });
    });
  }

  it('notices every single flipped bit of a whole generation', async () => {
    const store = open();
    await store.save({ count: 1, filler: 'old' });
    await store.save({ count: 2, filler: 'new' });
    const path = join(directory, 'state-b.json');
    const good = await readFile(path);
    // What follows it is room, and means nothing.
    const length = good.lastIndexOf('}') + 1;
    for (let bit = 0; bit < length * 8; bit++) {
      const bad = Buffer.from(good);
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await writeFile(path, bad);
      const { document } = await open().load();
      expect(document, `bit ${bit}`).toEqual({ count: 1, filler: 'old' });
      await writeFile(path, good);
    }
    expect((await names()).filter((one) => one.includes('.broken-'))).toHaveLength(3);
  });

  it('keeps the last three broken files and no more', async () => {
    for (let round = 1; round <= 6; round++) {
      await saveAll(1, 2);
      await writeFile(join(directory, 'state-a.json'), `damage ${round}`);
      await open().load();
    }
    const broken = (await names()).filter((one) => one.includes('.broken-'));
    expect(broken).toHaveLength(3);
    const contents = await Promise.all(broken.map((one) => readFile(join(directory, one), 'utf8')));
    expect(contents.sort()).toEqual(['damage 4', 'damage 5', 'damage 6']);
  });

  it('removes what an interrupted save left behind', async () => {
    await saveAll(1);
    await writeFile(join(directory, 'state.json.new'), '{"form');
    expect(await open().load()).toMatchObject({ document: { count: 1 }, complaints: [] });
    expect(await names()).toEqual(['state-a.json']);
  });

  it('does not mistake missing rights or too many open files for damage', async () => {
    await saveAll(1, 2);
    for (const code of ['EACCES', 'EMFILE']) {
      const files = new FaultyFiles(realStoreFiles);
      files.setFault({ at: 'read', code });
      expect(await rejection(open(files).load())).toMatchObject({
        kind: 'store',
        details: { 'error-code': code },
      });
    }
    expect((await open().load()).document?.count).toBe(2);
  });

  it('answers from the other generation on a medium with read errors and no writing', async () => {
    await saveAll(1, 2);
    const files = new FaultyFiles(realStoreFiles);
    files.setFault({ at: 0, code: 'EIO' });
    const { document, complaints } = await open(files).load();
    expect(document?.count).toBe(2);
    expect(complaints).toHaveLength(1);
  });

  it('passes over a damaged generation that cannot be set aside, and never believes it later', async () => {
    await saveAll(1, 2);
    const refusing = new FaultyFiles(realStoreFiles);
    refusing.setFault({ at: 'rename', code: 'EROFS' });
    const parseOdd = (value: unknown): TestDocument => {
      const document = parseTestDocument(value);
      if (document.count === 2) throw new UpdateError('store', 'found 2');
      return document;
    };
    const picky = new FileStore({ directory, name: 'state', parse: parseOdd, files: refusing });
    const { document, complaints } = await picky.load();
    expect(document?.count).toBe(1);
    expect(complaints[0]).toContain('could not be set aside: EROFS');
    refusing.setFault(null);
    await picky.save(testDocument(7));
    expect((await open().load()).document?.count).toBe(7);
  });
});

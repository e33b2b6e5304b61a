import { execFileSync, spawn } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileStore } from '../../../src/adapters/store/file-store.ts';
import { realStoreFiles, type StoreFiles } from '../../../src/adapters/store/store-files.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { FaultyFiles, SimulatedDisk, type Fault } from '../../support/faulty-files.ts';
import { randomFrom, seedFromEnvironment } from '../../support/random.ts';
import { parseTestDocument, testDocument, type TestDocument } from './document.ts';

let root: string;
let directory: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-crash-'));
  directory = join(root, 'holdpoint');
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

function open(files: StoreFiles = realStoreFiles, where = directory): FileStore<TestDocument> {
  return new FileStore({ directory: where, name: 'state', parse: parseTestDocument, files });
}

async function rejection(promise: Promise<unknown>): Promise<UpdateError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UpdateError);
  return error as UpdateError;
}

/** The operations of one save, on a store that has been loaded and has saved `before` times. */
async function operationsOfASave(before: number): Promise<readonly string[]> {
  const files = new FaultyFiles(realStoreFiles);
  const store = open(files, join(root, `rehearsal-${before}`));
  for (let count = 1; count <= before; count++) await store.save(testDocument(count));
  await store.load();
  files.setFault(null);
  await store.save(testDocument(before + 1));
  return [...files.operations];
}

describe('a save that is interrupted', () => {
  it('syncs the file before the rename and the directory after it', async () => {
    const each = ['create', 'write', 'sync', 'close', 'rename', 'syncDirectory'];
    expect(await operationsOfASave(1)).toEqual(['makeDirectory', ...each]);
    // The first save makes sure of the directory's own entry too.
    expect(await operationsOfASave(0)).toEqual(['makeDirectory', 'syncDirectory', ...each]);
  });

  it('leaves the old or the new document, whichever operation the process dies at', async () => {
    const seen = new Set<number>();
    for (const before of [0, 1, 2, 3]) {
      const faults = (await operationsOfASave(before)).flatMap((_, at): Fault[] => [
        { at, code: 'CRASH' },
        { at, code: 'CRASH', tear: 0.5 },
        { at, code: 'CRASH', isDone: true },
      ]);
      for (const fault of faults) {
        await rm(directory, { recursive: true, force: true });
        const files = new FaultyFiles(realStoreFiles);
        const store = open(files);
        for (let count = 1; count <= before; count++) await store.save(testDocument(count));
        await store.load();
        files.setFault(fault);
        await rejection(store.save(testDocument(before + 1)));

        const after = await open().load();
        const found = after.document?.count ?? 0;
        expect([before, before + 1]).toContain(found);
        if (found > 0) expect(after.document).toEqual(testDocument(found));
        expect(after.complaints).toEqual([]);
        expect((await readdir(root)).includes('holdpoint') ? await readdir(directory) : []).not.toContain(
          'state.json.new',
        );
        seen.add(found - before);

        await open().save(testDocument(100));
        expect((await open().load()).document?.count).toBe(100);
      }
    }
    expect([...seen].sort()).toEqual([0, 1]);
  });

  it('keeps the last acknowledged document while saves go on failing at every operation', async () => {
    const operations = await operationsOfASave(1);
    for (let at = 0; at < operations.length; at++) {
      await rm(directory, { recursive: true, force: true });
      const files = new FaultyFiles(realStoreFiles);
      const store = open(files);
      await store.save(testDocument(1));
      await store.save(testDocument(2));
      for (const attempt of [3, 4, 5]) {
        files.setFault({ at, code: 'EIO' });
        expect((await rejection(store.save(testDocument(attempt)))).kind).toBe('store');
        expect((await open().load()).document?.count).toBeGreaterThanOrEqual(2);
      }
      files.setFault(null);
      await store.save(testDocument(6));
      expect(await open().load()).toMatchObject({ document: { count: 6 }, complaints: [] });
    }
  });

  it('reports a failed fsync once, without trying that file again', async () => {
    const files = new FaultyFiles(realStoreFiles);
    const store = open(files);
    await store.save(testDocument(1));
    files.setFault({ at: 'sync', code: 'EIO' });
    const error = await rejection(store.save(testDocument(2)));
    expect(error).toMatchObject({
      kind: 'store',
      failureName: 'Storage',
      details: { operation: 'syncing the temporary file', 'error-code': 'EIO' },
    });
    expect(files.operations.filter((operation) => operation === 'sync')).toHaveLength(1);
    expect(files.operations).not.toContain('rename');
    expect((await open().load()).document?.count).toBe(1);
  });

  it('says how much was needed and how much is free when the disk is full', async () => {
    const files = new FaultyFiles(realStoreFiles);
    const store = open(files);
    await store.save(testDocument(1));
    for (const code of ['ENOSPC', 'EDQUOT']) {
      files.setFault({ at: 'write', code, tear: 0.3 });
      const error = await rejection(store.save(testDocument(2)));
      expect(error).toMatchObject({ kind: 'noSpace', failureName: 'NoSpace' });
      expect(error.details['bytes-needed']).toBeGreaterThan(2000);
      expect(error.details['bytes-free']).toBeGreaterThan(0);
      expect(await readdir(directory)).not.toContain('state.json.new');
    }
    files.setFault(null);
    await store.save(testDocument(3));
    expect((await open().load()).document?.count).toBe(3);
  });

  it('rejects with kind store on a file system that became read-only', async () => {
    const files = new FaultyFiles(realStoreFiles);
    const store = open(files);
    await store.save(testDocument(1));
    files.setFault({ at: 'create', code: 'EROFS' });
    expect(await rejection(store.save(testDocument(2)))).toMatchObject({
      kind: 'store',
      details: { 'error-code': 'EROFS' },
    });
  });
});

describe.skipIf(process.getuid?.() !== 0)('a real file system of its own', () => {
  let mounted: string;

  beforeEach(async () => {
    mounted = join(root, 'mounted');
    await mkdir(mounted);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', mounted]);
  });

  afterEach(() => {
    execFileSync('umount', [mounted]);
  });

  it('that is full rejects with the free bytes, loses nothing, and works again when space returns', async () => {
    const store = open(realStoreFiles, join(mounted, 'holdpoint'));
    await store.save(testDocument(1));
    await store.save(testDocument(2));
    const ballast = join(mounted, 'ballast');
    await writeFile(ballast, Buffer.alloc(1)).catch(() => undefined);
    for (let isFull = false; !isFull;) {
      isFull = await appendFile(ballast, Buffer.alloc(4096)).then(
        () => false,
        () => true,
      );
    }
    const error = await rejection(store.save(testDocument(3)));
    expect(error).toMatchObject({ kind: 'noSpace', details: { 'bytes-free': 0 } });
    expect((await open(realStoreFiles, join(mounted, 'holdpoint')).load()).document?.count).toBe(2);
    await rm(ballast);
    await store.save(testDocument(4));
    expect((await open(realStoreFiles, join(mounted, 'holdpoint')).load()).document?.count).toBe(4);
  });

  it('that becomes read-only can be loaded, damage included, and rejects saves until it is writable', async () => {
    const directory = join(mounted, 'holdpoint');
    const store = open(realStoreFiles, directory);
    await store.save(testDocument(1));
    await store.save(testDocument(2));
    await writeFile(join(directory, 'state-b.json'), 'damage');
    execFileSync('mount', ['-o', 'remount,ro', mounted]);
    const { document, complaints } = await open(realStoreFiles, directory).load();
    expect(document?.count).toBe(1);
    expect(complaints.join()).toContain('could not be set aside: EROFS');
    expect(await rejection(store.save(testDocument(3)))).toMatchObject({
      kind: 'store',
      details: { 'error-code': 'EROFS' },
    });
    execFileSync('mount', ['-o', 'remount,rw', mounted]);
    await store.save(testDocument(4));
    expect((await open(realStoreFiles, directory).load()).document?.count).toBe(4);
  });
});

describe('a power cut', () => {
  it('never loses an acknowledged document, whatever unsynced data survives', async () => {
    const seed = seedFromEnvironment();
    console.log(`power cut seed ${seed} (repeat with TEST_SEED=${seed})`);
    const random = randomFrom(seed);
    for (let round = 0; round < 2000; round++) {
      const disk = new SimulatedDisk('/disk');
      let acknowledged = 0;
      let attempted = 0;
      // Several power cuts on the same disk: what one leaves behind must not hurt after the next.
      for (let cut = 0; cut < 4; cut++) {
        disk.cutPowerBefore(Math.floor(random() * 30));
        const store = open(disk, '/disk');
        try {
          await store.load();
          for (;;) {
            attempted++;
            await store.save(testDocument(attempted, Math.floor(random() * 300)));
            acknowledged = attempted;
          }
        } catch (error) {
          expect(error).toBeInstanceOf(UpdateError);
        }
        disk.cutPower(random);
        const { document } = await open(disk, '/disk').load();
        const found = document?.count ?? 0;
        expect(found, `seed ${seed} round ${round} cut ${cut}`).toBeGreaterThanOrEqual(acknowledged);
        expect(found).toBeLessThanOrEqual(attempted);
        acknowledged = found;
        attempted = Math.max(attempted, found);
      }
    }
  });

  /** Proof that the simulated disk is hostile enough: leaving out either sync loses documents. */
  for (const leftOut of ['sync', 'syncDirectory'] as const) {
    it(`would lose documents if the store left out ${leftOut}`, async () => {
      const random = randomFrom(7);
      let lost = 0;
      for (let round = 0; round < 300; round++) {
        const disk = new SimulatedDisk('/disk');
        const lazy: StoreFiles = {
          makeDirectory: () => disk.makeDirectory(),
          create: async (path) => {
            const file = await disk.create(path);
            return leftOut === 'sync' ? { ...file, sync: () => Promise.resolve() } : file;
          },
          read: (path) => disk.read(path),
          rename: (from, to) => disk.rename(from, to),
          remove: (path) => disk.remove(path),
          list: (where) => disk.list(where),
          syncDirectory: (path) =>
            leftOut === 'syncDirectory' ? Promise.resolve() : disk.syncDirectory(path),
          freeBytes: () => disk.freeBytes(),
        };
        const store = open(lazy, '/disk');
        for (let count = 1; count <= 3; count++) await store.save(testDocument(count, 50));
        disk.cutPower(random);
        if ((await open(disk, '/disk').load()).document?.count !== 3) lost++;
      }
      expect(lost).toBeGreaterThan(30);
    });
  }
});

describe('a process killed while it saves', () => {
  it('always leaves a document that loads and is not older than the last acknowledged one', async () => {
    const seed = seedFromEnvironment();
    console.log(`kill seed ${seed} (repeat with TEST_SEED=${seed})`);
    const random = randomFrom(seed);
    await mkdir(directory, { mode: 0o700 });
    let acknowledged = 0;
    for (let round = 0; round < 50; round++) {
      const before = acknowledged;
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', fileURLToPath(new URL('saver.ts', import.meta.url)), directory],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      let output = '';
      const lifeMs = random() * 40;
      await new Promise<void>((resolve, reject) => {
        child.on('error', reject);
        child.stdout.on('data', (chunk: Buffer) => {
          // The clock starts with the first acknowledged save, so that each round kills a process that is saving.
          if (output === '') setTimeout(() => child.kill('SIGKILL'), lifeMs);
          output += chunk.toString();
        });
        child.on('close', () => resolve());
      });
      expect(child.signalCode).toBe('SIGKILL');
      const lines = output.split('\n').slice(0, -1);
      acknowledged = Math.max(before, Number(lines.at(-1) ?? before));
      const { document, complaints } = await open().load();
      expect(complaints).toEqual([]);
      const found = document?.count ?? 0;
      expect(found, `seed ${seed} round ${round}`).toBeGreaterThanOrEqual(acknowledged);
      expect(found).toBeLessThanOrEqual(acknowledged + 1);
      acknowledged = found;
    }
    expect(acknowledged).toBeGreaterThanOrEqual(50);
  }, 120_000);
});

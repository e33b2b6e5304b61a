import { execFileSync, spawn } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileStore } from '../../../src/adapters/store/file-store.ts';
import { encodeRecord } from '../../../src/adapters/store/record.ts';
import { realStoreFiles, type StoreFile, type StoreFiles } from '../../../src/adapters/store/store-files.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { FaultyFiles, SimulatedDisk, type Fault, type Operation } from '../../support/faulty-files.ts';
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
async function operationsOfASave(before: number): Promise<readonly Operation[]> {
  const files = new FaultyFiles(realStoreFiles);
  const store = open(files, join(root, `rehearsal-${before}`));
  for (let count = 1; count <= before; count++) await store.save(testDocument(count));
  await store.load();
  files.setFault(null);
  await store.save(testDocument(before + 1));
  return [...files.operations];
}

describe('a save that is interrupted', () => {
  it('makes a new file twice, synced before the rename, and then writes over the older one', async () => {
    const anew = ['makeDirectory', 'create', 'write', 'sync', 'close', 'rename', 'syncDirectory'];
    // The first save makes sure of the directory's own entry too.
    expect(await operationsOfASave(0)).toEqual(['makeDirectory', 'syncDirectory', ...anew.slice(1)]);
    expect(await operationsOfASave(1)).toEqual(['overwrite', ...anew]);
    for (const before of [2, 3, 10]) {
      expect(await operationsOfASave(before)).toEqual(['overwrite', 'write', 'sync', 'close']);
    }
  });

  it('makes a new file when the document has outgrown the room of the older one', async () => {
    const files = new FaultyFiles(realStoreFiles);
    const store = open(files);
    for (const count of [1, 2, 3]) await store.save(testDocument(count));
    let anew = 0;
    for (let size = 1000; size < 200_000; size *= 2) {
      files.setFault(null);
      await store.save(testDocument(4, size));
      if (files.operations.includes('rename')) anew++;
      expect((await open().load()).document).toEqual(testDocument(4, size));
      expect((await readdir(directory)).sort()).toEqual(['state-a.json', 'state-b.json']);
    }
    expect(anew).toBeGreaterThan(2);
    expect(anew).toBeLessThan(6);
    files.setFault(null);
    await store.save(testDocument(5, 10));
    expect(files.operations).not.toContain('rename');
    expect((await open().load()).document).toEqual(testDocument(5, 10));
  });

  it('leaves the old or the new document, whichever operation the process dies at', async () => {
    const seen = new Set<number>();
    let tornCount = 0;
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
        // Only what was being written over can be in pieces, and the evidence of it is kept.
        const isTorn = before >= 2 && fault.tear !== undefined && files.operations.at(-1) === 'write';
        expect(after.complaints).toHaveLength(isTorn ? 1 : 0);
        if (isTorn) {
          tornCount++;
          expect(after.complaints[0]).toContain('it was kept as');
          expect(found).toBe(before);
        }
        expect((await readdir(root)).includes('holdpoint') ? await readdir(directory) : []).not.toContain(
          'state.json.new',
        );
        seen.add(found - before);

        await open().save(testDocument(100));
        expect((await open().load()).document?.count).toBe(100);
      }
    }
    expect([...seen].sort()).toEqual([0, 1]);
    expect(tornCount).toBe(2);
  });

  it('leaves the old or the new document, wherever writing over the older one was cut off', async () => {
    const record = (generation: number, count: number): Uint8Array =>
      encodeRecord(generation, Buffer.from(JSON.stringify(testDocument(count, 3000))));
    const [older, newest, coming] = [record(1, 1), record(2, 2), record(3, 3)];
    const length = Buffer.from(coming).lastIndexOf('}') + 1;
    async function found(content: Uint8Array): Promise<number> {
      const disk = new SimulatedDisk('/disk');
      disk.put('state-a.json', content);
      disk.put('state-b.json', newest);
      const { document, complaints } = await open(disk, '/disk').load();
      const count = document?.count ?? 0;
      expect(document).toEqual(testDocument(count, 3000));
      const isWhole = Buffer.compare(content, older) === 0 || count === 3;
      expect(complaints).toHaveLength(isWhole ? 0 : 1);
      return count;
    }
    const isThere = (content: Uint8Array): boolean =>
      Buffer.compare(content.subarray(0, length), coming.subarray(0, length)) === 0;
    const after = (at: number, first: Uint8Array, second: Uint8Array): Uint8Array =>
      Buffer.concat([first.subarray(0, at), second.subarray(at)]);
    for (let at = 0; at <= length + 1; at++) {
      expect(await found(after(at, coming, older)), `cut at ${at}`).toBe(
        isThere(after(at, coming, older)) ? 3 : 2,
      );
    }
    // And in any order of its sectors.
    const sectors = coming.length / 512;
    for (let written = 0; written < 2 ** sectors; written++) {
      const mixed = Buffer.from(older);
      for (let sector = 0; sector < sectors; sector++) {
        if (written & (1 << sector))
          mixed.set(coming.subarray(sector * 512, sector * 512 + 512), sector * 512);
      }
      expect(await found(mixed), `sectors ${written}`).toBe(isThere(mixed) ? 3 : 2);
    }
  });

  it('puts a new file in the place of one that cannot be written over', async () => {
    const files = new FaultyFiles(realStoreFiles);
    const store = open(files);
    for (const count of [1, 2, 3]) await store.save(testDocument(count));
    files.setFault({ at: 1, code: 'EIO', tear: 0.5 });
    await store.save(testDocument(4));
    expect(files.operations).toContain('rename');
    expect(await open().load()).toMatchObject({ document: { count: 4 }, complaints: [] });
  });

  it('keeps the last acknowledged document while saves go on failing at every operation', async () => {
    let rejections = 0;
    // Each operation by its name: whatever comes after it, such as the new file after a failed write over the old one, fails too.
    for (const at of new Set([...(await operationsOfASave(1)), ...(await operationsOfASave(2))])) {
      await rm(directory, { recursive: true, force: true });
      const files = new FaultyFiles(realStoreFiles);
      const store = open(files);
      await store.save(testDocument(1));
      await store.save(testDocument(2));
      for (const attempt of [3, 4, 5, 6, 7, 8]) {
        files.setFault({ at, code: 'EIO' });
        // First over what is there, then beyond its room.
        const size = attempt < 6 ? 2000 : 10 ** (attempt - 2);
        await store.save(testDocument(attempt, size)).catch((error: unknown) => {
          expect(error).toMatchObject({ kind: 'store' });
          rejections++;
        });
        expect((await open().load()).document?.count).toBeGreaterThanOrEqual(2);
      }
      files.setFault(null);
      await store.save(testDocument(9));
      expect(await open().load()).toMatchObject({ document: { count: 9 }, complaints: [] });
    }
    expect(rejections).toBeGreaterThan(20);
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

  it('that is full keeps what fits its room, rejects more with the free bytes, and works again when space returns', async () => {
    const store = open(realStoreFiles, join(mounted, 'holdpoint'));
    await store.save(testDocument(1));
    const ballast = join(mounted, 'ballast');
    await writeFile(ballast, Buffer.alloc(1)).catch(() => undefined);
    for (let isFull = false; !isFull;) {
      isFull = await appendFile(ballast, Buffer.alloc(4096)).then(
        () => false,
        () => true,
      );
    }
    const found = async (): Promise<TestDocument | null> =>
      (await open(realStoreFiles, join(mounted, 'holdpoint')).load()).document;
    // No second file yet.
    const error = await rejection(store.save(testDocument(2)));
    expect(error).toMatchObject({ kind: 'noSpace', details: { 'bytes-free': 0 } });
    expect((await found())?.count).toBe(1);
    await rm(ballast);
    await store.save(testDocument(3));
    await store.save(testDocument(4));
    await writeFile(ballast, Buffer.alloc(256 * 1024)).catch(() => undefined);
    await store.save(testDocument(5));
    expect((await rejection(store.save(testDocument(6, 30_000)))).kind).toBe('noSpace');
    expect((await found())?.count).toBe(5);
    await store.save(testDocument(7));
    await rm(ballast);
    await store.save(testDocument(8, 30_000));
    expect(await found()).toEqual(testDocument(8, 30_000));
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
    const seen = { kills: 0, cuts: 0, torn: 0, grown: 0 };
    for (let round = 0; round < 1500; round++) {
      const disk = new SimulatedDisk('/disk');
      let acknowledged = 0;
      let attempted = 0;
      // Several power cuts and kills on the same disk: what one leaves behind must not hurt after the next.
      for (let end = 0; end < 6; end++) {
        disk.cutPowerBefore(Math.floor(random() * 30));
        const store = open(disk, '/disk');
        try {
          const { document } = await store.load();
          // A process that lives on acts on what it has loaded: from here on that must not be lost either.
          if (!disk.isDown) acknowledged = Math.max(acknowledged, document?.count ?? 0);
          for (;;) {
            attempted++;
            const isLong = random() < 0.1;
            if (isLong) seen.grown++;
            await store.save(testDocument(attempted, Math.floor(random() * (isLong ? 20_000 : 300))));
            acknowledged = attempted;
          }
        } catch (error) {
          expect(error).toBeInstanceOf(UpdateError);
        }
        if (random() < 0.4) {
          disk.kill();
          seen.kills++;
          continue;
        }
        disk.cutPower(random);
        seen.cuts++;
        const { document, complaints } = await open(disk, '/disk').load();
        seen.torn += complaints.length;
        const found = document?.count ?? 0;
        expect(found, `seed ${seed} round ${round} end ${end}`).toBeGreaterThanOrEqual(acknowledged);
        expect(found).toBeLessThanOrEqual(attempted);
        acknowledged = found;
        attempted = Math.max(attempted, found);
      }
    }
    console.log(`power cuts: ${JSON.stringify(seen)}`);
    expect(seen.torn).toBeGreaterThan(10);
  });

  /** Proof that the simulated disk is hostile enough: leaving out any of the syncs loses documents. */
  const lazy = (disk: SimulatedDisk, leftOut: 'sync' | 'syncDirectory' | 'syncFile'): StoreFiles => {
    const slow = <F extends StoreFile | null>(file: F): F =>
      file && leftOut === 'sync' ? { ...file, sync: () => Promise.resolve() } : file;
    return {
      makeDirectory: () => disk.makeDirectory(),
      create: async (path) => slow(await disk.create(path)),
      overwrite: async (path, bytes) => slow(await disk.overwrite(path, bytes)),
      read: (path) => disk.read(path),
      rename: (from, to) => disk.rename(from, to),
      remove: (path) => disk.remove(path),
      list: (where) => disk.list(where),
      syncFile: (path) => (leftOut === 'syncFile' ? Promise.resolve() : disk.syncFile(path)),
      syncDirectory: (path) => (leftOut === 'syncDirectory' ? Promise.resolve() : disk.syncDirectory(path)),
      freeBytes: () => disk.freeBytes(),
    };
  };

  for (const leftOut of ['sync', 'syncDirectory'] as const) {
    for (const saves of [2, 5]) {
      it(`would lose documents if the store left out ${leftOut} in ${saves} saves`, async () => {
        const random = randomFrom(7);
        let lost = 0;
        for (let round = 0; round < 300; round++) {
          const disk = new SimulatedDisk('/disk');
          const store = open(lazy(disk, leftOut), '/disk');
          for (let count = 1; count <= saves; count++) await store.save(testDocument(count, 50));
          disk.cutPower(random);
          if ((await open(disk, '/disk').load()).document?.count !== saves) lost++;
        }
        expect(lost).toBeGreaterThan(30);
      });
    }
  }

  /** A killed process leaves behind what is in memory only; the next one writes over what it would need. */
  it('would lose everything if the store did not first make sure of what a killed process has left', async () => {
    const random = randomFrom(7);
    let lost = 0;
    for (let round = 0; round < 300; round++) {
      const disk = new SimulatedDisk('/disk');
      const before = open(disk, '/disk');
      for (const count of [1, 2, 3]) await before.save(testDocument(count, 50));
      // Written over the older one, and killed before it was synced.
      disk.cutPowerBefore(2);
      await rejection(before.save(testDocument(4, 50)));
      disk.kill();
      const store = open(lazy(disk, 'syncFile'), '/disk');
      expect((await store.load()).document?.count).toBe(4);
      disk.cutPowerBefore(2);
      await rejection(store.save(testDocument(5, 50)));
      disk.cutPower(random);
      if (((await open(disk, '/disk').load()).document?.count ?? 0) < 4) lost++;
    }
    expect(lost).toBeGreaterThan(10);
  });
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
      // A kill may end a write half-way; what was being written over is then in pieces, and never anything else.
      expect(complaints.length).toBeLessThanOrEqual(1);
      const found = document?.count ?? 0;
      expect(found, `seed ${seed} round ${round}`).toBeGreaterThanOrEqual(acknowledged);
      expect(found).toBeLessThanOrEqual(acknowledged + 1);
      acknowledged = found;
    }
    expect(acknowledged).toBeGreaterThanOrEqual(50);
  }, 300_000);
});

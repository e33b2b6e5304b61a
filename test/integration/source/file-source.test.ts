import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFileSource } from '../../../src/adapters/source/file-source.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import type { ArtifactBytes } from '../../../src/ports/artifact-source.ts';

const MIB = 1024 * 1024;
let root: string;
let path: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-source-'));
  path = join(root, 'a.mender');
});

afterEach(async () => {
  expect(openDescriptors()).toEqual([]);
  await rm(root, { recursive: true, force: true });
});

/** What this process holds open in the test's directory. */
function openDescriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${descriptor}`);
      return target.startsWith(root) ? [target] : [];
    } catch {
      return [];
    }
  });
}

async function untilClosed(): Promise<void> {
  const end = Date.now() + 5_000;
  while (openDescriptors().length > 0 && Date.now() < end)
    await new Promise((resolve) => setImmediate(resolve));
}

const never = new AbortController().signal;

async function readAll(bytes: ArtifactBytes): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes.chunks) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function rejection(promise: Promise<unknown>): Promise<UpdateError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UpdateError);
  return error as UpdateError;
}

describe('a file source', () => {
  for (const size of [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 12_345]) {
    it(`hands over a file of ${size} bytes as it is, in chunks that stay as they were`, async () => {
      const content = randomBytes(size);
      await writeFile(path, content);
      const bytes = await openFileSource({ kind: 'file', path }, never);
      expect(bytes.sizeBytes).toBe(size);
      // All chunks are kept until the end: a buffer used twice would show here.
      const read = await readAll(bytes);
      expect(read.equals(content)).toBe(true);
    });
  }

  it('accepts the file that was looked at and refuses another one in its place', async () => {
    await writeFile(path, 'one');
    const facts = await stat(path, { bigint: true });
    const location = { kind: 'file', path, device: String(facts.dev), inode: String(facts.ino) } as const;
    expect((await readAll(await openFileSource(location, never))).toString()).toBe('one');
    await writeFile(join(root, 'other'), 'two');
    await rename(join(root, 'other'), path);
    const error = await rejection(openFileSource(location, never));
    expect(error).toMatchObject({ kind: 'source', details: { reason: 'replaced' } });
    expect(error.message).toContain(`expected device ${facts.dev} inode ${facts.ino}`);
  });

  it('refuses everything that is not a regular file, and does not hang on it', async () => {
    await writeFile(join(root, 'target'), 'x');
    await symlink(join(root, 'target'), path);
    expect((await rejection(openFileSource({ kind: 'file', path }, never))).message).toContain(
      'found a symbolic link',
    );
    expect((await rejection(openFileSource({ kind: 'file', path: root }, never))).message).toContain(
      'found a directory',
    );
    expect((await rejection(openFileSource({ kind: 'file', path: '/dev/zero' }, never))).message).toContain(
      'found a device',
    );
    execFileSync('mkfifo', [join(root, 'pipe')]);
    expect(
      (await rejection(openFileSource({ kind: 'file', path: join(root, 'pipe') }, never))).message,
    ).toContain('found a named pipe');
  });

  it('names a file that does not exist', async () => {
    const error = await rejection(openFileSource({ kind: 'file', path }, never));
    expect(error).toMatchObject({ kind: 'source', details: { path, 'error-code': 'ENOENT' } });
  });

  it('says so when the file is cut while it is read', async () => {
    await writeFile(path, Buffer.alloc(8 * MIB));
    const { chunks } = await openFileSource({ kind: 'file', path }, never);
    const iterator = chunks[Symbol.asyncIterator]();
    await iterator.next();
    await truncate(path, 3 * MIB);
    const rest = async (): Promise<void> => {
      while (!(await iterator.next()).done);
    };
    const error = await rejection(rest());
    expect(error.kind).toBe('source');
    expect(error.message).toMatch(/found its end after \d+ bytes, expected 8388608/);
  });

  it('stops on abort, before, between and without chunks, and closes the file', async () => {
    await writeFile(path, Buffer.alloc(4 * MIB));
    expect((await rejection(openFileSource({ kind: 'file', path }, AbortSignal.abort()))).kind).toBe(
      'cancelled',
    );

    const between = new AbortController();
    const { chunks } = await openFileSource({ kind: 'file', path }, between.signal);
    const iterator = chunks[Symbol.asyncIterator]();
    await iterator.next();
    between.abort();
    expect((await rejection(Promise.resolve(iterator.next()))).kind).toBe('cancelled');
    expect(openDescriptors()).toEqual([]);

    const unread = new AbortController();
    await openFileSource({ kind: 'file', path }, unread.signal);
    expect(openDescriptors()).toHaveLength(1);
    unread.abort();
    await untilClosed();
  });

  it('closes the file on abort even if an iterator was made and never used', async () => {
    await writeFile(path, Buffer.alloc(MIB));
    const stop = new AbortController();
    const { chunks } = await openFileSource({ kind: 'file', path }, stop.signal);
    const iterator = chunks[Symbol.asyncIterator]();
    stop.abort();
    await untilClosed();
    expect((await rejection(Promise.resolve(iterator.next()))).kind).toBe('cancelled');
  });

  it('closes the file when the consumer leaves early', async () => {
    await writeFile(path, Buffer.alloc(4 * MIB));
    const { chunks } = await openFileSource({ kind: 'file', path }, never);
    for await (const chunk of chunks) {
      expect(chunk.length).toBe(MIB);
      break;
    }
    expect(openDescriptors()).toEqual([]);
  });

  it('can be read once', async () => {
    await writeFile(path, 'x');
    const bytes = await openFileSource({ kind: 'file', path }, never);
    await readAll(bytes);
    expect((await rejection(readAll(bytes))).kind).toBe('internal');
  });

  it('holds few chunks in memory while it reads a big file', async () => {
    execFileSync('truncate', ['-s', '512M', path]);
    const { chunks } = await openFileSource({ kind: 'file', path }, never);
    const hash = createHash('sha256');
    let size = 0;
    let peak = 0;
    for await (const chunk of chunks) {
      size += chunk.length;
      if (size % (64 * MIB) === 0) hash.update(chunk);
      peak = Math.max(peak, process.memoryUsage().arrayBuffers);
    }
    expect(size).toBe(512 * MIB);
    // Garbage waits for its collection; half of the file would be a leak.
    expect(peak).toBeLessThan(256 * MIB);
  });
});

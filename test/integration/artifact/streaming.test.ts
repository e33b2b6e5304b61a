/** How an artifact streams: what is handed out when, how it is stopped, and what is left behind. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { createArtifactReader } from '../../../src/adapters/artifact/reader.ts';
import { ArtifactError } from '../../../src/core/artifact-error.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import type { OpenArtifact, PayloadFile } from '../../../src/ports/artifact-reader.ts';
import {
  buildArtifact,
  compress,
  pax,
  sha256,
  tar,
  type FilePlan,
  type Suffix,
} from '../../support/artifact-builder.ts';
import { codeOf, inChunks, judge, judgeChunks } from '../../support/artifact-verdict.ts';
import { eventually } from '../../support/eventually.ts';

const MIB = 2 ** 20;
const NO_KEYS = { verifyKeyPaths: [] };
const never = (): AbortSignal => new AbortController().signal;
const noise = (bytes: number): Buffer => {
  const buffer = Buffer.alloc(bytes);
  for (let at = 0, state = 1; at < bytes; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    if (at + 4 <= bytes) buffer.writeUInt32LE(state, at);
  }
  return buffer;
};
const LARGE: readonly FilePlan[] = [
  { name: 'one.bin', content: noise(3 * MIB + 17) },
  { name: 'empty.bin', content: '' },
  { name: 'two.bin', content: noise(MIB) },
];

function open(bytes: Uint8Array, signal = never(), chunkBytes = 64 * 1024): Promise<OpenArtifact> {
  return createArtifactReader().open(inChunks(bytes, chunkBytes), NO_KEYS, signal);
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error('was expected to reject');
    },
    (error: unknown) => error,
  );
}

/** xz and zstd processes that this process started and that are still there. */
function helpers(): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        const [, command = '', state = '', parent = ''] = /^\d+ \((.*)\) (\S) (\d+)/.exec(stat) ?? [];
        return Number(parent) === process.pid && /^(xz|zstd)$/.test(command) && state !== 'Z';
      } catch {
        return false;
      }
    });
}

async function firstFile(artifact: OpenArtifact): Promise<PayloadFile> {
  const step = await artifact.payloadFiles()[Symbol.asyncIterator]().next();
  if (step.done === true) throw new Error('no file');
  return step.value;
}

describe('the order of things', () => {
  it('opens an artifact before a single byte of its payload has come', async () => {
    const bytes = buildArtifact({ files: LARGE, suffix: '' });
    const dataAt = bytes.indexOf('data/0000.tar\0');
    let handedOver = 0;
    async function* source(): AsyncGenerator<Uint8Array> {
      for await (const chunk of inChunks(bytes.subarray(0, dataAt), 512)) {
        handedOver += chunk.byteLength;
        yield chunk;
      }
      throw new Error('the payload was asked for');
    }
    const artifact = await createArtifactReader().open(source(), NO_KEYS, never());
    expect(artifact.info.payloadFileNames).toEqual(['one.bin', 'empty.bin', 'two.bin']);
    expect(artifact.consumedBytes).toBeLessThanOrEqual(handedOver);
    await artifact.close();
  });

  it('hands out pieces of what comes in without copying them', async () => {
    const bytes = buildArtifact({ files: LARGE, suffix: '' });
    const artifact = await open(bytes, never(), MIB);
    const file = await firstFile(artifact);
    for await (const piece of file.content) expect(piece.buffer).toBe(bytes.buffer);
    await artifact.close();
  });

  it('never hands out the last piece of a file whose sum is wrong', async () => {
    const bytes = buildArtifact({
      suffix: '',
      dataEntries: ([one]) => [{ ...one, name: 'hello.txt', content: 'hellO\n' }],
    });
    const verdict = await judge(bytes);
    expect(codeOf(verdict)).toBe('checksum-mismatch');
    expect(verdict.payloadBytes).toBe(0);
  });

  it('reads over what was left unread, and checks it all the same', async () => {
    const good = await open(buildArtifact({ files: LARGE }));
    const names: string[] = [];
    for await (const file of good.payloadFiles()) names.push(file.name);
    expect(names).toEqual(['one.bin', 'empty.bin', 'two.bin']);
    await good.close();

    const bad = await open(
      buildArtifact({
        files: LARGE,
        dataEntries: ([one, ...rest]) => [{ ...one, name: 'one.bin', content: noise(3 * MIB + 16) }, ...rest],
      }),
    );
    expect(await rejection(bad.finish())).toMatchObject({ code: 'checksum-mismatch' });
    await bad.close();
  });

  it('finishes from the middle of a file, and from the middle of the list', async () => {
    const artifact = await open(buildArtifact({ files: LARGE }));
    const file = await firstFile(artifact);
    for await (const piece of file.content) {
      expect(piece.byteLength).toBeGreaterThan(0);
      break;
    }
    await artifact.finish();
    await artifact.finish();
    await artifact.close();
  });

  it('says the same of everything after the first failure', async () => {
    const artifact = await open(
      buildArtifact({ whole: (bytes) => Buffer.concat([bytes, Buffer.from('x')]) }),
    );
    const first = await rejection(artifact.finish());
    expect(first).toMatchObject({ code: 'trailing-data' });
    expect(await rejection(artifact.finish())).toBe(first);
    await artifact.close();
    expect(await rejection(artifact.finish())).toBe(first);
  });

  it('gives nothing more of a file that was left for the next one', async () => {
    const artifact = await open(buildArtifact({ files: LARGE }));
    const files = artifact.payloadFiles()[Symbol.asyncIterator]();
    const first = await files.next();
    await files.next();
    const left = (first.value as PayloadFile).content[Symbol.asyncIterator]();
    expect(await rejection(left.next())).toMatchObject({ kind: 'internal' });
    await artifact.finish();
    await artifact.close();
  });
});

describe.each(['', '.gz', '.xz', '.zst'] as readonly Suffix[])('with the suffix "%s"', (suffix) => {
  const bytes = buildArtifact({ files: LARGE, suffix });

  it('hands out every file as it was', async () => {
    const verdict = await judge(bytes);
    expect(codeOf(verdict)).toBe('valid');
    expect(verdict.files).toEqual(
      Object.fromEntries(LARGE.map(({ name, content }) => [name, sha256(content)])),
    );
  });

  it('passes an error of the source on unchanged, from wherever it comes', async () => {
    for (const share of [0, 0.2, 0.7, 0.999]) {
      const failure = new UpdateError('source', 'the connection was lost');
      async function* source(): AsyncGenerator<Uint8Array> {
        yield* inChunks(bytes.subarray(0, Math.floor(bytes.byteLength * share)), 10_000);
        throw failure;
      }
      const verdict = await judgeChunks(source());
      expect(verdict.error, `after ${share}`).toBe(failure);
    }
    expect(helpers()).toEqual([]);
  });

  it('stops on abort while it waits for a source that never answers', async () => {
    const controller = new AbortController();
    async function* source(): AsyncGenerator<Uint8Array> {
      yield* inChunks(bytes.subarray(0, bytes.byteLength / 2), 10_000);
      controller.abort();
      await new Promise(() => undefined);
    }
    const verdict = await judgeChunks(source(), { signal: controller.signal });
    expect(verdict.error).toMatchObject({ kind: 'cancelled' });
    await eventually('no helper is left', () => helpers().length === 0);
  });

  it('stops on abort while nobody reads, and leaves no process behind', async () => {
    const controller = new AbortController();
    const artifact = await open(bytes, controller.signal);
    const file = await firstFile(artifact);
    const content = file.content[Symbol.asyncIterator]();
    await content.next();
    controller.abort();
    expect(await rejection(content.next())).toMatchObject({ kind: 'cancelled' });
    await eventually('no helper is left', () => helpers().length === 0);
    expect(await rejection(artifact.finish())).toMatchObject({ kind: 'cancelled' });
    await artifact.close();
  });

  it('leaves no process behind when it is closed in the middle, twice', async () => {
    const artifact = await open(bytes);
    const file = await firstFile(artifact);
    await file.content[Symbol.asyncIterator]().next();
    await Promise.all([artifact.close(), artifact.close()]);
    expect(helpers()).toEqual([]);
    expect(await rejection(artifact.finish())).toMatchObject({ kind: 'cancelled' });
  });

  it('can be closed at once', async () => {
    const artifact = await open(bytes);
    await artifact.close();
    await artifact.close();
    expect(helpers()).toEqual([]);
  });
});

describe('stopping', () => {
  it('does not even start for a signal that has aborted', async () => {
    const signal = AbortSignal.abort();
    expect(await rejection(open(buildArtifact(), signal))).toMatchObject({ kind: 'cancelled' });
  });

  it('lets go of the source in the end, and when an artifact is refused', async () => {
    for (const bytes of [buildArtifact(), buildArtifact({ version: '{}' })]) {
      let isReturned = false;
      const inner = inChunks(bytes, 600);
      const source = {
        [Symbol.asyncIterator]: () => ({
          next: () => inner.next(),
          return: async () => {
            isReturned = true;
            return { done: true as const, value: undefined };
          },
        }),
      };
      await createArtifactReader()
        .open(source, NO_KEYS, never())
        .then(
          (artifact) => artifact.close(),
          () => undefined,
        );
      expect(isReturned).toBe(true);
    }
  });
});

describe('a missing program', () => {
  it.each([
    ['.xz', 'xz', 'xz-utils'],
    ['.zst', 'zstd', 'zstd'],
  ] as const)('for %s is named with its Debian package', async (suffix, program, debianPackage) => {
    const folder = mkdtempSync(join(tmpdir(), 'holdpoint-no-programs-'));
    try {
      const reader = createArtifactReader({ searchPath: folder });
      const error = await rejection(reader.open(inChunks(buildArtifact({ suffix }), 4096), NO_KEYS, never()));
      expect(error).toBeInstanceOf(UpdateError);
      expect(error).not.toBeInstanceOf(ArtifactError);
      expect(error).toMatchObject({ kind: 'incompatible', details: { program, package: debianPackage } });
      expect((error as UpdateError).message).toContain(`install the Debian package ${debianPackage}`);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('is not noticed when it is not needed', async () => {
    const reader = createArtifactReader({ searchPath: '/nowhere' });
    const artifact = await reader.open(inChunks(buildArtifact(), 4096), NO_KEYS, never());
    await artifact.finish();
    await artifact.close();
  });

  it('is not the same as one that dies: that is told with its signal', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdpoint-dying-program-'));
    try {
      writeFileSync(join(folder, 'xz'), '#!/bin/sh\nkill -KILL $$\n', { mode: 0o755 });
      const reader = createArtifactReader({ searchPath: `${folder}:/bin` });
      const error = await rejection(
        reader.open(inChunks(buildArtifact({ suffix: '.xz' }), 4096), NO_KEYS, never()),
      );
      expect(error).toMatchObject({ kind: 'internal' });
      expect((error as UpdateError).message).toContain('SIGKILL');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('windows larger than the limit', () => {
  const zeros = Buffer.alloc(4 * MIB);
  const archive = tar([{ name: 'z.bin', content: zeros }]);

  it.each([
    ['.xz', ['xz', '-c', '--lzma2=preset=0,dict=192MiB']],
    ['.zst', ['zstd', '-qc', '--ultra', '--long=28', '--no-check']],
  ] as const)('are refused in %s', (suffix, [program, ...args]) => {
    const run = spawnSync(program, args, { input: archive, maxBuffer: 64 * MIB });
    expect(run.status).toBe(0);
    // zstd writes the window it needs, which for known small content is small: a stream of unknown size says 256 MiB.
    const plan = { suffix, files: [{ name: 'z.bin', content: zeros }], dataPacked: () => run.stdout };
    return judge(buildArtifact(plan)).then((verdict) => expect(codeOf(verdict)).toBe('too-large'));
  });

  it('of exactly 64 MiB, as mender-artifact writes them, are fine', async () => {
    const packed = spawnSync('xz', ['-c', '--lzma2=preset=0,dict=64MiB'], { input: archive }).stdout;
    const plan = {
      suffix: '.xz' as const,
      files: [{ name: 'z.bin', content: zeros }],
      dataPacked: () => packed,
    };
    expect(codeOf(await judge(buildArtifact(plan)))).toBe('valid');
  });
});

describe('memory', () => {
  // In a process of its own, so that what is measured is the reader and nothing else.
  const support = join(import.meta.dirname, '../../support/artifact-memory.ts');
  const growthMib = (artifact: Buffer): number => {
    const folder = mkdtempSync(join(tmpdir(), 'holdpoint-memory-'));
    try {
      const path = join(folder, 'artifact.mender');
      writeFileSync(path, artifact);
      const run = spawnSync(process.execPath, ['--expose-gc', '--import', 'tsx', support, path], {
        encoding: 'utf8',
      });
      expect(run.stderr.replace(/^npm warn.*$/gm, '')).toBe('');
      const { code, growthBytes } = JSON.parse(run.stdout) as {
        readonly code: string;
        readonly growthBytes: number;
      };
      expect(code).toBe('too-large');
      return growthBytes / MIB;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };
  const bomb = (bytes: number): Buffer => gzipSync(Buffer.alloc(bytes), { level: 1 });

  it('stays small for a header archive that unpacks to 512 MiB', () => {
    const headerPacked = (_packed: Buffer, inner: Buffer): Buffer =>
      Buffer.concat([gzipSync(inner), bomb(512 * MIB)]);
    expect(growthMib(buildArtifact({ headerPacked }))).toBeLessThan(64);
  });

  it('stays small for members that claim to be huge', () => {
    const entries = buildArtifact({
      headerEntries: (members) => [
        ...members.slice(0, 1),
        { name: 'scripts/ArtifactInstall_Enter_00', statedSize: 2 ** 31 },
      ],
    });
    expect(growthMib(entries)).toBeLessThan(64);
    const endless = buildArtifact({
      members: (members) => [pax({ comment: 'x'.repeat(2 ** 17) }), ...members],
    });
    expect(growthMib(endless)).toBeLessThan(64);
  });

  it('does not depend on the size of the payload: 256 MiB of zeros out of a small file', async () => {
    const zeros = Buffer.alloc(256 * MIB);
    const bytes = buildArtifact({
      files: [{ name: 'zeros.bin', content: zeros }],
      dataTar: (inner) => inner,
      dataPacked: (_packed, inner) => compress(inner, '.gz'),
    });
    const before = process.memoryUsage().arrayBuffers;
    let peak = 0;
    const artifact = await open(bytes);
    const file = await firstFile(artifact);
    for await (const piece of file.content) {
      expect(piece.byteLength).toBeLessThanOrEqual(MIB);
      peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
    }
    await artifact.finish();
    await artifact.close();
    expect(peak / MIB).toBeLessThan(64);
  });
});

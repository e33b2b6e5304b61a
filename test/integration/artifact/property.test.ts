/**
 * Real artifacts, changed at random: whatever is done to one, the reader either refuses it or hands out exactly what
 * the original holds. Set TEST_SEED to see a run again, PROPERTY_RUNS for more of them.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UpdateError } from '../../../src/core/errors.ts';
import { compress } from '../../support/artifact-builder.ts';
import { judge, type Verdict } from '../../support/artifact-verdict.ts';
import { randomFrom, seedFromEnvironment } from '../../support/random.ts';

const seed = seedFromEnvironment();
const numRuns = Number(process.env['PROPERTY_RUNS'] ?? 250);
const WITHIN_MS = 10_000;
const GROWTH_LIMIT_BYTES = 64 * 2 ** 20;

interface Original {
  readonly name: string;
  readonly bytes: Buffer;
  readonly keys: readonly string[];
  readonly verdict: Verdict;
}

let folder = '';
const originals: Original[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdpoint-property-'));
  const at = (name: string): string => join(folder, name);
  // Not to be compressed, so that in every artifact most of what can be hit is payload.
  const random = randomFrom(seed);
  writeFileSync(at('one.bin'), Buffer.from(Array.from({ length: 20_000 }, () => Math.floor(random() * 256))));
  writeFileSync(at('two.txt'), 'two\n');
  writeFileSync(at('empty'), '');
  mkdirSync(at('scripts'));
  const script = at('scripts/ArtifactInstall_Enter_00');
  writeFileSync(script, '#!/bin/sh\nexit 0\n');
  writeFileSync(at('meta.json'), '{"b":[1,2],"a":"ü"}');
  execFileSync('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at('key.pem')], {
    stdio: 'pipe',
  });
  execFileSync('openssl', ['ec', '-in', at('key.pem'), '-pubout', '-out', at('key.pub.pem')], {
    stdio: 'pipe',
  });
  const make = async (name: string, signed: boolean, ...more: readonly string[]): Promise<void> => {
    const path = at(`${name}.mender`);
    const args = [
      'write',
      'module-image',
      '-T',
      'test-module',
      '-t',
      'test-device',
      '-n',
      `release-${name}`,
      '-o',
      path,
    ];
    const files = ['one.bin', 'two.txt', 'empty'].flatMap((file) => ['-f', at(file)]);
    const extra = ['-s', script, '-m', at('meta.json'), '-p', 'app.version:1', '-g', 'group-a'];
    const key = signed ? ['-k', at('key.pem')] : [];
    execFileSync('mender-artifact', [...args, ...files, ...extra, ...key, ...more], { stdio: 'pipe' });
    await add(name, readFileSync(path), signed ? [at('key.pub.pem')] : []);
  };
  await make('none', false, '--compression', 'none');
  await make('gzip', false, '--compression', 'gzip');
  await make('signed', true, '--compression', 'none');
  await make('xz', false, '--compression', 'lzma');
  const repacked = repackAsZstd(at('none.mender'));
  await add('zstd', repacked, []);
}, 60_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function add(name: string, bytes: Buffer, keys: readonly string[]): Promise<void> {
  const verdict = await judge(bytes, { verifyKeyPaths: keys });
  expect([name, verdict.error, verdict.phase]).toEqual([name, null, 'valid']);
  originals.push({ name, bytes, keys, verdict });
}

/** The payload archive of an uncompressed artifact, compressed: its own sum is in no manifest. */
function repackAsZstd(path: string): Buffer {
  const unpacked = join(folder, 'unpacked');
  mkdirSync(unpacked);
  execFileSync('tar', ['-xf', path, '-C', unpacked], { stdio: 'pipe' });
  const data = join(unpacked, 'data/0000.tar');
  writeFileSync(`${data}.zst`, compress(readFileSync(data), '.zst'));
  const members = ['version', 'manifest', 'header.tar', 'data/0000.tar.zst'];
  return execFileSync('tar', ['-cf', '-', '--owner=0', '--group=0', '-C', unpacked, ...members], {
    stdio: 'pipe',
  });
}

type Mutation =
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'overwrite'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'cut'; readonly at: number }
  | { readonly kind: 'remove'; readonly at: number; readonly length: number }
  | { readonly kind: 'repeat'; readonly at: number; readonly length: number }
  | { readonly kind: 'swap' | 'duplicate' | 'drop'; readonly from: number; readonly to: number }
  | { readonly kind: 'size'; readonly from: number; readonly size: number };

/** Positions and lengths are shares 0..1 of what is there, so that every artifact is hit everywhere alike. */
const share = fc.noBias(fc.nat(999_999)).map((millionths) => millionths / 1_000_000);
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('flip' as const), at: share, bit: fc.nat(7) }) },
  fc.record({
    kind: fc.constant('overwrite' as const),
    at: share,
    bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
  }),
  fc.record({ kind: fc.constant('cut' as const), at: share }),
  fc.record({ kind: fc.constant('remove' as const), at: share, length: fc.constantFrom(1, 7, 512, 1024) }),
  fc.record({ kind: fc.constant('repeat' as const), at: share, length: fc.constantFrom(1, 7, 512, 1024) }),
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom('swap' as const, 'duplicate' as const, 'drop' as const),
      from: share,
      to: share,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('size' as const),
      from: share,
      size: fc.constantFrom(0, 1, 511, 512, 513, 5000, 2 ** 20 + 1, 2 ** 31, 8 ** 11 - 1),
    }),
  },
);

/** Start and end of every member, found by its header; inside an uncompressed payload archive also its entries. */
function members(bytes: Buffer): readonly { readonly start: number; readonly end: number }[] {
  const found: { start: number; end: number }[] = [];
  for (let at = 0; at + 512 <= bytes.byteLength; at += 512) {
    if (bytes.toString('latin1', at + 257, at + 262) === 'ustar')
      found.push({ start: at, end: bytes.byteLength });
  }
  return found.map((one, index) => ({ start: one.start, end: found[index + 1]?.start ?? one.end }));
}

function mutate(bytes: Buffer, change: Mutation): Buffer {
  const copy = Buffer.from(bytes);
  if ('from' in change) return mutateMembers(copy, change);
  const at = Math.floor(change.at * copy.byteLength);
  switch (change.kind) {
    case 'flip':
      copy[at] = (copy[at] ?? 0) ^ (1 << change.bit);
      return copy;
    case 'overwrite':
      copy.set(change.bytes.subarray(0, copy.byteLength - at), at);
      return copy;
    case 'cut':
      return copy.subarray(0, at);
    case 'remove':
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + change.length)]);
    case 'repeat':
      return Buffer.concat([copy.subarray(0, at + change.length), copy.subarray(at)]);
  }
}

function mutateMembers(bytes: Buffer, change: Extract<Mutation, { readonly from: number }>): Buffer {
  const all = members(bytes);
  if (all.length === 0) return bytes;
  const pick = (part: number): { start: number; end: number } =>
    all[Math.floor(part * all.length)] ?? { start: 0, end: bytes.byteLength };
  const from = pick(change.from);
  if (change.kind === 'size') return withSize(bytes, from.start, change.size);
  const parts = all.map(({ start, end }) => bytes.subarray(start, end));
  const source = Math.floor(change.from * parts.length);
  const target = Math.floor(change.to * parts.length);
  const moved = parts[source] ?? Buffer.alloc(0);
  if (change.kind === 'drop') return Buffer.concat(parts.toSpliced(source, 1));
  if (change.kind === 'duplicate') return Buffer.concat(parts.toSpliced(target, 0, moved));
  return Buffer.concat(parts.with(source, parts[target] ?? moved).with(target, moved));
}

/** Another size in a header, with a check value that fits: a lie, not damage. */
function withSize(bytes: Buffer, at: number, size: number): Buffer {
  bytes.write(`${size.toString(8).padStart(11, '0')}\0`, at + 124, 'latin1');
  bytes.write('        ', at + 148, 'latin1');
  const sum = bytes.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
  return bytes;
}

async function within<T>(promise: Promise<T>, as: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`hangs: ${as}`)), WITHIN_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

describe(`changed at random (seed ${seed})`, () => {
  it.each(['none', 'gzip', 'signed', 'xz', 'zstd'])(
    '%s: is refused, or is what it was',
    async (name) => {
      const original = originals.find((one) => one.name === name) as Original;
      const runs = name === 'xz' || name === 'zstd' ? Math.ceil(numRuns / 5) : numRuns;
      const phases = new Map<Verdict['phase'], number>();
      const before = process.memoryUsage().rss;
      await fc.assert(
        fc.asyncProperty(
          fc.array(mutation, { minLength: 1, maxLength: 2 }),
          fc.constantFrom(61, 512, 4096, 2 ** 20),
          async (changes, chunkBytes) => {
            const bytes = changes.reduce(mutate, original.bytes);
            const options = { verifyKeyPaths: original.keys, chunkBytes };
            const verdict = await within(judge(bytes, options), JSON.stringify(changes));
            phases.set(verdict.phase, (phases.get(verdict.phase) ?? 0) + 1);
            if (verdict.error === null) {
              expect(verdict.info).toEqual(original.verdict.info);
              expect(verdict.files).toEqual(original.verdict.files);
              expect(verdict.scripts).toEqual(original.verdict.scripts);
              expect(verdict.consumedBytes).toBe(bytes.byteLength);
            } else {
              // Anything else would be a crash that only looks like a verdict.
              expect(verdict.error).toBeInstanceOf(UpdateError);
              expect((verdict.error as UpdateError).kind).toBe('artifact');
            }
          },
        ),
        { seed, numRuns: runs },
      );
      // Otherwise one half of the reader would not have been tried at all.
      expect([...phases.keys()]).toEqual(expect.arrayContaining(['header', 'payload']));
      // Loose, as the test runner itself grows: what leaked with every run would be far beyond it.
      expect(process.memoryUsage().rss - before).toBeLessThan(4 * GROWTH_LIMIT_BYTES);
    },
    120_000,
  );

  it('never says valid of a signed artifact whose manifest is another one, with every sum corrected', async () => {
    const original = originals.find((one) => one.name === 'signed') as Original;
    const manifestAt = 1536;
    const length = Number.parseInt(original.bytes.toString('latin1', 1024 + 124, 1024 + 135), 8);
    await fc.assert(
      fc.asyncProperty(fc.nat(length - 1), fc.constantFrom(...'0123456789abcdef'), async (at, digit) => {
        const bytes = Buffer.from(original.bytes);
        const changed = Buffer.from(digit, 'latin1')[0] as number;
        fc.pre(bytes[manifestAt + at] !== changed);
        bytes[manifestAt + at] = changed;
        const verdict = await judge(bytes, { verifyKeyPaths: original.keys });
        expect(verdict.phase).toBe('header');
        expect((verdict.error as UpdateError).kind).toBe('artifact');
      }),
      { seed, numRuns: 100 },
    );
  });
});

describe('random bytes', () => {
  it(`are refused before anything is opened (seed ${seed})`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 3000 }),
        fc.integer({ min: 1, max: 600 }),
        async (bytes, chunkBytes) => {
          const verdict = await within(judge(bytes, { chunkBytes }), 'random bytes');
          expect(verdict.phase).toBe('header');
          expect((verdict.error as UpdateError).kind).toBe('artifact');
        },
      ),
      { seed, numRuns: 300 },
    );
  });
});

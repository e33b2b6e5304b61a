/** Cases 1 to 48 and 87 to 92 of spec/artifact.md section 12: the outer archive, version, manifest, signature. */
import { randomBytes, type KeyObject } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import {
  VERSION_TEXT,
  base256,
  buildArtifact,
  compress,
  sha256,
  tar,
  type ArtifactPlan,
  type TarPlan,
} from './artifact-builder.ts';
import { accepted, header, malformed, payload, type MalformedCase } from './malformed-case.ts';

/** Changes one member of the outer archive. */
export function member(at: number, changes: Partial<TarPlan>): ArtifactPlan {
  return {
    members: (members) => members.map((plan, index) => (index === at ? { ...plan, ...changes } : plan)),
  };
}

/** Puts the members into another order; an index may be missing or come twice. */
function order(...indices: readonly number[]): ArtifactPlan {
  return { members: (members) => indices.map((index) => members[index] as TarPlan) };
}

/** Puts another member in front of the one at the index. */
function insert(at: number, extra: TarPlan): ArtifactPlan {
  return { members: (members) => members.toSpliced(at, 0, extra) };
}

function cut(at: (artifact: Buffer) => number, plan: ArtifactPlan = {}): () => Buffer {
  return () => {
    const artifact = buildArtifact(plan);
    return artifact.subarray(0, at(artifact));
  };
}

/** Where a member's header starts. */
function headerOf(artifact: Buffer, name: string): number {
  for (let at = 0; at < artifact.byteLength; at += 512) {
    if (artifact.subarray(at, at + name.length + 1).equals(Buffer.from(`${name}\0`))) return at;
  }
  throw new Error(`no member ${name}`);
}

function version(text: string): ArtifactPlan {
  return { version: text };
}

function manifest(change: (text: string) => string): ArtifactPlan {
  return { manifest: change };
}

function withoutLine(name: string): ArtifactPlan {
  return { manifestLines: (lines) => lines.filter((line) => !line.endsWith(`  ${name}`)) };
}

const EMPTY_SUM = sha256('');
const TYPES = {
  hardlink: '1',
  symlink: '2',
  'char device': '3',
  'block device': '4',
  directory: '5',
  fifo: '6',
};
const UNTIL_LAST_BLOCKS = -1024;

const ARCHIVE_CASES: readonly MalformedCase[] = [
  malformed(
    1,
    'empty file, zeros only',
    header('not-an-artifact', 'empty', () => Buffer.alloc(0)),
    header('not-an-artifact', 'zeros', () => Buffer.alloc(10_240)),
    header('not-an-artifact', 'fewer zeros than a block', () => Buffer.alloc(7)),
  ),
  malformed(
    2,
    'random bytes, HTML page',
    header('not-an-artifact', 'random', () => randomBytes(4096)),
    header('not-an-artifact', 'page', () =>
      Buffer.from(`<!DOCTYPE html>${'<p>please log in</p>'.repeat(100)}`),
    ),
    header('not-an-artifact', 'short page', () => Buffer.from('<html></html>')),
  ),
  malformed(
    3,
    'whole file gzipped',
    header('not-an-artifact', 'gzip', { whole: (artifact) => gzipSync(artifact) }),
    header('not-an-artifact', 'xz', { whole: (artifact) => compress(artifact, '.xz') }),
    header('not-an-artifact', 'zstd', { whole: (artifact) => compress(artifact, '.zst') }),
  ),
  malformed(
    4,
    'cut inside version/manifest',
    header(
      'unexpected-end',
      'in the header of version',
      cut(() => 300),
    ),
    header(
      'unexpected-end',
      'in version',
      cut(() => 520),
    ),
    header(
      'unexpected-end',
      'behind version',
      cut(() => 1024),
    ),
    header(
      'unexpected-end',
      'in manifest',
      cut(() => 1600),
    ),
    header(
      'unexpected-end',
      'behind manifest',
      cut((artifact) => headerOf(artifact, 'header.tar.gz')),
    ),
  ),
  malformed(
    5,
    'cut inside header archive',
    header(
      'unexpected-end',
      'in its header',
      cut((artifact) => headerOf(artifact, 'header.tar.gz') + 100),
    ),
    header(
      'unexpected-end',
      'in its content',
      cut((artifact) => headerOf(artifact, 'header.tar.gz') + 600),
    ),
  ),
  malformed(
    6,
    'cut inside data',
    ...(['', '.gz', '.xz', '.zst'] as const).map((suffix) =>
      payload(
        'unexpected-end',
        `suffix "${suffix}"`,
        cut((artifact) => headerOf(artifact, `data/0000.tar${suffix}`) + 560, { suffix }),
      ),
    ),
    payload(
      'unexpected-end',
      'in the filling behind it',
      cut((artifact) => artifact.length - 1024 - 3),
    ),
  ),
  malformed(
    7,
    'data member missing, lines left',
    payload('listed-file-missing', 'marked end', order(0, 1, 2)),
    payload('listed-file-missing', 'no marked end', { ...order(0, 1, 2), endBlocks: 0 }),
  ),
  malformed(
    8,
    'no end-of-archive blocks',
    accepted('nothing at all behind the payload', { endBlocks: 0 }),
    accepted('one zero block', { endBlocks: 1 }),
    accepted('less than a zero block', {
      endBlocks: 0,
      whole: (artifact) => Buffer.concat([artifact, Buffer.alloc(99)]),
    }),
    payload('trailing-data', 'text instead', {
      endBlocks: 0,
      whole: (artifact) => Buffer.concat([artifact, Buffer.from('more')]),
    }),
    payload('trailing-data', 'a block of something instead', {
      endBlocks: 0,
      whole: (artifact) => Buffer.concat([artifact, Buffer.alloc(2048, 'x')]),
    }),
    payload('trailing-data', 'zeros, then something', {
      endBlocks: 0,
      whole: (artifact) => Buffer.concat([artifact, Buffer.alloc(100), Buffer.from('x')]),
    }),
  ),
  malformed(
    9,
    'garbage after the end',
    payload('trailing-data', 'at once', { whole: (artifact) => Buffer.concat([artifact, Buffer.from('x')]) }),
    payload('trailing-data', 'after a MiB of zeros', {
      whole: (artifact) => Buffer.concat([artifact, Buffer.alloc(2 ** 20), Buffer.from('x')]),
    }),
    payload('trailing-data', 'behind one zero block', {
      endBlocks: 1,
      whole: (artifact) => Buffer.concat([artifact, Buffer.alloc(600, 'x')]),
    }),
  ),
  malformed(
    10,
    'second Artifact appended',
    payload('trailing-data', 'behind the end', { whole: (artifact) => Buffer.concat([artifact, artifact]) }),
    payload('wrong-order', 'instead of the end', {
      whole: (artifact) => Buffer.concat([artifact.subarray(0, UNTIL_LAST_BLOCKS), artifact]),
    }),
  ),
  malformed(
    11,
    'tar header checksum wrong',
    header('damaged-tar', 'version', member(0, { isChecksumWrong: true })),
    header('damaged-tar', 'manifest', member(1, { isChecksumWrong: true })),
    header('damaged-tar', 'header', member(2, { isChecksumWrong: true })),
    payload('damaged-tar', 'data', member(3, { isChecksumWrong: true })),
  ),
  malformed(
    12,
    'size not octal / negative',
    header('damaged-tar', 'not octal', member(1, { statedSize: '0000000089\0' })),
    header('damaged-tar', 'text', member(1, { statedSize: 'a lot' })),
    header('damaged-tar', 'minus sign', member(1, { statedSize: '-0000000100' })),
    header('damaged-tar', 'base-256 negative', member(1, { statedSize: Buffer.alloc(12, 0xff) })),
  ),
  malformed(
    13,
    'size 2^63-1',
    ...[0, 1, 2].map((at) =>
      header('too-large', `member ${at}`, member(at, { statedSize: base256(2n ** 63n - 1n) })),
    ),
    payload('too-large', 'data', member(3, { statedSize: base256(2n ** 63n - 1n) })),
    header(
      'too-large',
      'all of the field',
      member(1, { statedSize: Buffer.concat([Buffer.from([0x81]), Buffer.alloc(11)]) }),
    ),
    header('too-large', 'more than a manifest may have', member(1, { statedSize: 2 ** 20 + 1 })),
    header('too-large', 'more than a header may have', member(2, { statedSize: 2 ** 24 + 1 })),
  ),
  malformed(
    14,
    'size larger than content',
    header('bad-version', 'version', member(0, { statedSize: 40 })),
    header('bad-manifest', 'manifest', member(1, { statedSize: 400 })),
    header('checksum-mismatch', 'header', {
      ...member(2, { statedSize: 1000 }),
      headerPacked: (packed) => packed,
    }),
    payload('damaged-compression', 'data', {
      members: (members) =>
        members.map((plan, at) =>
          at === 3 ? { ...plan, statedSize: (plan.content as Buffer).byteLength + 1 } : plan,
        ),
    }),
  ),
  malformed(
    15,
    'size smaller than content',
    header('bad-version', 'version', member(0, { statedSize: 30 })),
    header('bad-manifest', 'manifest', member(1, { statedSize: 100 })),
    header('checksum-mismatch', 'header', member(2, { statedSize: 100 })),
    payload('damaged-compression', 'data', member(3, { statedSize: 40 })),
  ),
  malformed(
    16,
    '`./version`, `/version`, `VERSION`',
    ...['./version', '/version', 'VERSION'].map((name) => header('wrong-member', name, member(0, { name }))),
  ),
  malformed(
    17,
    '`version2`, `header-info-x`',
    header('wrong-member', 'version2', member(0, { name: 'version2' })),
    header('wrong-member', 'header-info-x', {
      headerEntries: ([first, ...rest]) => [{ ...(first as TarPlan), name: 'header-info-x' }, ...rest],
    }),
  ),
  malformed(18, '`data/../../x`', payload('wrong-member', 'data', member(3, { name: 'data/../../x' }))),
  malformed(
    19,
    'manifest is symlink/hardlink/device/fifo/dir',
    ...Object.entries(TYPES).map(([as, type]) =>
      header('not-a-regular-file', as, member(1, { type, content: '', linkName: 'version' })),
    ),
    header('not-a-regular-file', 'symlink with content', member(1, { type: '2', linkName: 'version' })),
    header('not-a-regular-file', 'unknown type', member(1, { type: 'Z' })),
  ),
  malformed(
    20,
    'data member is a symlink',
    payload('not-a-regular-file', 'symlink', member(3, { type: '2', linkName: '/etc/shadow', content: '' })),
    payload('not-a-regular-file', 'hard link', member(3, { type: '1', linkName: 'manifest', content: '' })),
  ),
  malformed(
    21,
    'version not first',
    header('wrong-order', 'manifest first', order(1, 0, 2, 3)),
    header('wrong-order', 'no version', order(1, 2, 3)),
    header('wrong-order', 'header first', order(2, 0, 1, 3)),
  ),
  malformed(
    22,
    'manifest after header; data before header',
    header('wrong-order', 'manifest after header', order(0, 2, 1, 3)),
    header('wrong-order', 'data before header', order(0, 1, 3, 2)),
    header('wrong-order', 'data before manifest', order(0, 3, 1, 2)),
  ),
  malformed(
    23,
    'header missing',
    header('wrong-order', 'data instead', order(0, 1, 3)),
    header('wrong-order', 'nothing instead', order(0, 1)),
  ),
  malformed(
    24,
    'unknown member anywhere',
    ...[0, 1, 2].map((at) =>
      header('wrong-member', `at ${at}`, insert(at, { name: 'surprise', content: 'x' })),
    ),
    ...[3, 4].map((at) =>
      payload('wrong-member', `at ${at}`, insert(at, { name: 'surprise', content: 'x' })),
    ),
    payload('wrong-member', 'directory data/', insert(3, { name: 'data/', type: '5' })),
  ),
  malformed(
    25,
    'duplicate version/manifest/header',
    header('wrong-order', 'version', order(0, 0, 1, 2, 3)),
    header('wrong-order', 'manifest', order(0, 1, 1, 2, 3)),
    payload('wrong-order', 'header', order(0, 1, 2, 2, 3)),
  ),
  malformed(26, 'duplicate `data/0000`', payload('wrong-order', 'the same again', order(0, 1, 2, 3, 3))),
  malformed(
    27,
    'extra `data/0001`',
    payload(
      'wrong-member',
      'behind',
      insert(4, { name: 'data/0001.tar.gz', content: compress(tar([]), '.gz') }),
    ),
    payload(
      'wrong-member',
      'in front',
      insert(3, { name: 'data/0001.tar.gz', content: compress(tar([]), '.gz') }),
    ),
  ),
  malformed(
    28,
    '`data/0.tar.gz`',
    payload('wrong-member', 'one digit', member(3, { name: 'data/0.tar.gz' })),
    payload('wrong-member', 'five digits', member(3, { name: 'data/00000.tar.gz' })),
  ),
];

const VERSION_CASES: readonly MalformedCase[] = [
  malformed(
    29,
    'version JSON broken, not an object, string number',
    ...['{"format":"mender","version":3', '[]', '3', 'null', '', '{"format":"mender","version":"3"}'].map(
      (text) => header('bad-version', text, version(text)),
    ),
    header('bad-version', 'fraction', version('{"format":"mender","version":3.5}')),
    header('bad-version', 'unknown key', version('{"format":"mender","version":3,"more":1}')),
    header('bad-version', 'not UTF-8', member(0, { content: Buffer.from([0x7b, 0xff, 0x7d]) })),
  ),
  malformed(
    30,
    'format not `mender`/missing',
    header('bad-version', 'other', version('{"format":"rauc","version":3}')),
    header('bad-version', 'missing', version('{"version":3}')),
  ),
  malformed(
    31,
    'version 1, 4, negative',
    ...[1, 4, -3].map((number) =>
      header('unsupported-version', String(number), version(`{"format":"mender","version":${number}}`)),
    ),
  ),
  malformed(32, 'version 2', header('unsupported-version', '2', version('{"format":"mender","version":2}'))),
  malformed(
    33,
    'text behind version JSON',
    header('bad-version', 'text', version(`${VERSION_TEXT} trailing`)),
    header('bad-version', 'a second value', version(`${VERSION_TEXT}{}`)),
  ),
  malformed(
    34,
    'version sum wrong',
    header('checksum-mismatch', 'other sum', {
      manifestLines: (lines) =>
        lines.map((line) => (line.endsWith('  version') ? `${EMPTY_SUM}  version` : line)),
    }),
    header('checksum-mismatch', 'a blank more in version', member(0, { content: `${VERSION_TEXT}\n` })),
  ),
];

const MANIFEST_CASES: readonly MalformedCase[] = [
  malformed(
    35,
    'manifest empty, no version line',
    header(
      'checksum-missing',
      'empty',
      manifest(() => ''),
    ),
    header('checksum-missing', 'no version line', withoutLine('version')),
  ),
  malformed(
    36,
    'no header line',
    header('checksum-missing', 'none', withoutLine('header.tar.gz')),
    header(
      'checksum-missing',
      'for another suffix',
      manifest((text) => text.replace('header.tar.gz', 'header.tar.xz')),
    ),
  ),
  malformed(
    37,
    'payload file without line',
    payload('file-not-in-manifest', 'one', withoutLine('data/0000/blob.bin')),
  ),
  malformed(
    38,
    'line without file',
    payload('listed-file-missing', 'data line', {
      manifestLines: (lines) => [...lines, `${EMPTY_SUM}  data/0000/never.there`],
    }),
    header('bad-manifest', 'second header line', {
      manifestLines: (lines) => [...lines, `${EMPTY_SUM}  header.tar`],
    }),
  ),
  malformed(
    39,
    'one/three blanks, ` *`, short or non-hex sums',
    header(
      'bad-manifest',
      'one blank',
      manifest((text) => text.replace('  version', ' version')),
    ),
    header(
      'bad-manifest',
      'three blanks',
      manifest((text) => text.replace('  version', '   version')),
    ),
    header(
      'bad-manifest',
      'star',
      manifest((text) => text.replace('  version', ' *version')),
    ),
    header(
      'bad-manifest',
      'tab',
      manifest((text) => text.replace('  version', '\tversion')),
    ),
    header(
      'bad-manifest',
      'short',
      manifest((text) => text.slice(1)),
    ),
    header(
      'bad-manifest',
      'not hex',
      manifest((text) => `g${text.slice(1)}`),
    ),
    header(
      'bad-manifest',
      'blank at the end of a line',
      manifest((text) => text.replace('version', 'version ')),
    ),
    header(
      'bad-manifest',
      'empty line',
      manifest((text) => `\n${text}`),
    ),
    header(
      'bad-manifest',
      'zero byte',
      manifest((text) => text.replace('version', 'version\0')),
    ),
  ),
  malformed(
    40,
    'upper-case sums',
    header(
      'bad-manifest',
      'all',
      manifest((text) => text.replace(/^[0-9a-f]{64}/gm, (sum) => sum.toUpperCase())),
    ),
  ),
  malformed(
    41,
    'duplicate line',
    header('bad-manifest', 'the same', { manifestLines: (lines) => [...lines, lines.at(-1) as string] }),
    header('bad-manifest', 'another sum', { manifestLines: (lines) => [`${EMPTY_SUM}  version`, ...lines] }),
    header('bad-manifest', 'payload file', { manifestLines: (lines) => [...lines, lines[0] as string] }),
  ),
  malformed(
    42,
    'path with `..`, absolute, sub-folder in a data line',
    ...[
      'data/0000/../x',
      '/data/0000/x',
      'data/0000/a/b',
      'data/0000/..',
      'data/0000/.',
      'data/0000/',
      'data/0001/x',
      'data/0/x',
      'scripts/x',
      'headers/0000/type-info',
    ].map((name) =>
      header('bad-manifest', name, { manifestLines: (lines) => [...lines, `${EMPTY_SUM}  ${name}`] }),
    ),
  ),
  malformed(
    43,
    'CR LF',
    header(
      'bad-manifest',
      'all lines',
      manifest((text) => text.replaceAll('\n', '\r\n')),
    ),
  ),
  malformed(
    44,
    'no final newline',
    header(
      'bad-manifest',
      'last line',
      manifest((text) => text.slice(0, -1)),
    ),
  ),
  malformed(
    45,
    'header sum wrong',
    header('checksum-mismatch', 'other sum', {
      manifestLines: (lines) =>
        lines.map((line) => (line.endsWith('  header.tar.gz') ? `${EMPTY_SUM}  header.tar.gz` : line)),
    }),
    header('checksum-mismatch', 'one bit of the header', {
      members: (members) =>
        members.map((plan, at) => (at === 2 ? { ...plan, content: flipped(plan.content as Buffer) } : plan)),
    }),
  ),
  malformed(
    46,
    'header compressed stream damaged/cut (sum right)',
    ...(['.gz', '.xz', '.zst'] as const).flatMap((suffix) => [
      header('damaged-compression', `${suffix} flipped`, {
        suffix,
        headerPacked: (packed) => flipped(packed),
      }),
      header('damaged-compression', `${suffix} cut in half`, {
        suffix,
        headerPacked: (packed) => packed.subarray(0, packed.byteLength / 2),
      }),
      header('damaged-compression', `${suffix} cut by a byte`, {
        suffix,
        headerPacked: (packed) => packed.subarray(0, -1),
      }),
      header('damaged-compression', `${suffix} empty`, { suffix, headerPacked: () => Buffer.alloc(0) }),
      header('damaged-compression', `${suffix} with something behind`, {
        suffix,
        headerPacked: (packed) => Buffer.concat([packed, Buffer.from('more!')]),
      }),
    ]),
    header('damaged-compression', '.gz with zeros behind', {
      headerPacked: (packed) => Buffer.concat([packed, Buffer.alloc(8)]),
    }),
    header('unexpected-end', 'archive inside without its end', {
      headerTar: (archive) => archive.subarray(0, UNTIL_LAST_BLOCKS),
    }),
  ),
  malformed(
    47,
    'suffix and content disagree',
    header('damaged-compression', 'plain as .gz', { headerPacked: (_packed, archive) => archive }),
    header('damaged-compression', 'gzip as .xz', {
      suffix: '.xz',
      headerPacked: (_packed, archive) => gzipSync(archive),
    }),
    header('damaged-compression', 'gzip as .zst', {
      suffix: '.zst',
      headerPacked: (_packed, archive) => gzipSync(archive),
    }),
    header('damaged-compression', 'xz as .zst', {
      suffix: '.zst',
      headerPacked: (_packed, archive) => compress(archive, '.xz'),
    }),
    header('damaged-tar', 'gzip as plain', {
      suffix: '',
      headerPacked: (_packed, archive) => Buffer.concat([gzipSync(archive), Buffer.alloc(512)]),
    }),
    payload('damaged-compression', 'payload: gzip as .zst', {
      dataName: 'data/0000.tar.zst',
      dataPacked: (_packed, archive) => gzipSync(archive),
    }),
  ),
  malformed(
    48,
    'unknown suffix `.bz2` (content gzip)',
    header('unknown-compression', 'header', {
      headerName: 'header.tar.bz2',
      headerPacked: (packed) => gzipSync(packed),
    }),
    header('unknown-compression', 'header, line for .gz', {
      ...member(2, { name: 'header.tar.bz2' }),
    }),
    payload('unknown-compression', 'data', { dataName: 'data/0000.tar.bz2' }),
  ),
];

export function flipped(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  const at = Math.floor(copy.byteLength / 2);
  copy[at] = (copy[at] as number) ^ 0x10;
  return copy;
}

export const OUTER_CASES: readonly MalformedCase[] = [...ARCHIVE_CASES, ...VERSION_CASES, ...MANIFEST_CASES];

export interface SigningKeys {
  readonly ec: KeyObject;
  readonly rsa: KeyObject;
  readonly other: KeyObject;
}

/** Cases 87 to 92; these need keys. */
export function trustCases(keys: SigningKeys): readonly MalformedCase[] {
  const augment: TarPlan = { name: 'manifest-augment', content: `${EMPTY_SUM}  data/0000/blob.bin\n` };
  const signed = { signKey: keys.ec } as const;
  const broken = (as: string, plan: ArtifactPlan) =>
    (['ec', 'rsa'] as const).map((name) =>
      header('signature-invalid', `${name}: ${as}`, { signKey: keys[name], ...plan }, { keys: [name] }),
    );
  return [
    malformed(
      87,
      'augmented',
      header('augmented-artifact', 'unsigned', insert(2, augment)),
      header('augmented-artifact', 'signed', { ...signed, ...insert(3, augment) }, { keys: ['ec'] }),
      payload(
        'augmented-artifact',
        'header-augment only',
        insert(3, { name: 'header-augment.tar.gz', content: 'x' }),
      ),
    ),
    malformed(
      88,
      'augment line replaces a signed sum',
      header(
        'augmented-artifact',
        'header sum',
        insert(2, { name: 'manifest-augment', content: `${EMPTY_SUM}  header.tar.gz\n` }),
      ),
    ),
    malformed(
      89,
      'unsigned, key set',
      header('signature-missing', 'one key', {}, { keys: ['ec'] }),
      header('signature-missing', 'two keys', {}, { keys: ['rsa', 'ec'] }),
      header('signature-missing', 'nothing behind the manifest', order(0, 1), { keys: ['ec'] }),
    ),
    malformed(
      90,
      'signature empty, cut, extended, zero, flipped, over other text, by other key, not base64, raw binary',
      ...broken('empty', { signature: () => '' }),
      ...broken('cut', {
        signature: (text) => Buffer.from(text, 'base64').subarray(0, -1).toString('base64'),
      }),
      ...broken('cut base64', { signature: (text) => text.slice(0, -3) }),
      ...broken('extended', {
        signature: (text) => Buffer.concat([Buffer.from(text, 'base64'), Buffer.alloc(1)]).toString('base64'),
      }),
      ...broken('zero', {
        signature: (text) => Buffer.alloc(Buffer.from(text, 'base64').byteLength).toString('base64'),
      }),
      ...broken('flipped', { signature: (text) => flipped(Buffer.from(text, 'base64')).toString('base64') }),
      ...broken('by another key', { signKey: keys.other }),
      ...broken('not base64', { signature: (text) => `!${text.slice(1)}` }),
      ...broken('raw binary', { signature: (text) => Buffer.from(text, 'base64') }),
      ...broken('base64 for URLs', { signature: () => Buffer.alloc(64, 0xfb).toString('base64url') }),
    ),
    malformed(
      91,
      'manifest changed or reordered after signing',
      ...broken('reordered', {
        signedManifest: (text) => `${text.trimEnd().split('\n').toReversed().join('\n')}\n`,
      }),
      ...broken('a file line less', { signedManifest: (text) => text.slice(text.indexOf('\n') + 1) }),
      ...broken('another sum', { signedManifest: (text) => `${EMPTY_SUM}${text.slice(64)}` }),
    ),
    malformed(
      92,
      'manifest.sig before manifest, twice, after header',
      header('wrong-order', 'before manifest', { ...signed, ...order(0, 2, 1, 3, 4) }, { keys: ['ec'] }),
      header('wrong-order', 'twice', { ...signed, ...order(0, 1, 2, 2, 3, 4) }, { keys: ['ec'] }),
      header('wrong-order', 'twice, no key', { ...signed, ...order(0, 1, 2, 2, 3, 4) }),
      payload('wrong-order', 'after header, no key', { ...signed, ...order(0, 1, 3, 2, 4) }),
      header('signature-missing', 'after header', { ...signed, ...order(0, 1, 3, 2, 4) }, { keys: ['ec'] }),
    ),
  ];
}

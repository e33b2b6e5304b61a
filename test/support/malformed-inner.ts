/** Cases 49 to 86 of spec/artifact.md section 12: the header archive, policy, the payload archive. */
import { gzipSync } from 'node:zlib';
import {
  DEFAULT_FILES,
  base256,
  buildArtifact,
  compress,
  headerInfo,
  pax,
  sha256,
  tarEntry,
  typeInfo,
  type ArtifactPlan,
  type FilePlan,
  type TarPlan,
} from './artifact-builder.ts';
import {
  NONSENSE,
  accepted,
  header,
  malformed,
  payload,
  policy,
  type MalformedCase,
} from './malformed-case.ts';
import { flipped } from './malformed-outer.ts';

function info(changes: Readonly<Record<string, unknown>>): ArtifactPlan {
  return { headerInfo: headerInfo(changes) };
}

function without(key: string): ArtifactPlan {
  return { headerInfo: Object.fromEntries(Object.entries(headerInfo()).filter(([name]) => name !== key)) };
}

function type(changes: Readonly<Record<string, unknown>>): ArtifactPlan {
  return { typeInfo: typeInfo(changes) };
}

/** Header members in another order; an index may be missing or come twice. */
function headerOrder(...indices: readonly number[]): ArtifactPlan {
  return { headerEntries: (entries) => indices.map((index) => entries[index] as TarPlan) };
}

function headerInsert(at: number, extra: TarPlan): ArtifactPlan {
  return { headerEntries: (entries) => entries.toSpliced(at, 0, extra) };
}

function script(name: string, content: string | Buffer = '#!/bin/sh\n'): ArtifactPlan {
  return { scripts: [{ name, content }] };
}

/** The payload archive holds these, while the manifest lists the files of the plan. */
function data(change: (entries: readonly TarPlan[]) => readonly (TarPlan | Buffer)[]): ArtifactPlan {
  return { dataEntries: change };
}

function packed(change: (bytes: Buffer, archive: Buffer) => Buffer): ArtifactPlan {
  return { dataPacked: change };
}

function name(artifactName: unknown): ArtifactPlan {
  return info({ artifact_provides: { artifact_name: artifactName } });
}

function devices(deviceType: unknown): ArtifactPlan {
  return info({ artifact_depends: { device_type: deviceType } });
}

function payloadType(value: unknown): ArtifactPlan {
  return info({ payloads: [{ type: value }] });
}

const DEEP = 200_000;
const SCRIPT = 'ArtifactInstall_Enter_00';
const EMPTY: ArtifactPlan = {
  headerInfo: headerInfo({ payloads: [{ type: null }] }),
  typeInfo: { type: null },
  files: [],
};
/** 65 MiB that gzip makes small. */
const bomb = (): Buffer => gzipSync(Buffer.alloc(65 * 2 ** 20), { level: 1 });
const [HELLO, BLOB] = DEFAULT_FILES as readonly [FilePlan, FilePlan];

const HEADER_CASES: readonly MalformedCase[] = [
  malformed(
    49,
    'header-info missing, not first, twice, symlink',
    header('wrong-order', 'missing', headerOrder(1)),
    header('wrong-order', 'not first', headerOrder(1, 0)),
    header('wrong-order', 'twice', headerOrder(0, 0, 1)),
    header('wrong-order', 'nothing at all', headerOrder()),
    header('not-a-regular-file', 'symlink', {
      headerEntries: (entries) => [{ name: 'header-info', type: '2', linkName: 'x' }, ...entries.slice(1)],
    }),
  ),
  malformed(
    50,
    'header-info empty, broken, list, null',
    ...['', '{', '[]', 'null', '{}x', '"text"', "{'payloads':[]}"].map((text) =>
      header('bad-header-info', `"${text}"`, { headerInfo: text }),
    ),
    header('bad-header-info', 'not UTF-8', {
      headerEntries: (entries) => [
        { name: 'header-info', content: Buffer.from([0xff, 0xfe]) },
        ...entries.slice(1),
      ],
    }),
    header('bad-header-info', 'unknown key', info({ more: 1 })),
  ),
  malformed(
    51,
    'JSON 200000 levels deep',
    header('bad-header-info', 'header-info', {
      headerInfo: `{"payloads":${'['.repeat(DEEP)}${']'.repeat(DEEP)}}`,
    }),
    header('bad-type-info', 'type-info', { typeInfo: `{"a":${'['.repeat(DEEP)}${']'.repeat(DEEP)}}` }),
    header('bad-meta-data', 'meta-data', { metaData: `{"a":${'['.repeat(DEEP)}${']'.repeat(DEEP)}}` }),
  ),
  malformed(
    52,
    'no payloads / empty list',
    header('bad-header-info', 'none', without('payloads')),
    header('bad-header-info', 'empty list', info({ payloads: [] })),
    header('bad-header-info', 'not a list', info({ payloads: { type: 'test-module' } })),
    header('bad-header-info', 'not an object in it', info({ payloads: ['test-module'] })),
  ),
  malformed(
    53,
    'two payloads',
    header('multiple-payloads', 'two', info({ payloads: [{ type: 'a' }, { type: 'b' }] })),
  ),
  malformed(
    54,
    'type `""`, number, missing',
    header('bad-payload-type', 'empty', payloadType('')),
    header('bad-payload-type', 'number', payloadType(7)),
    header('bad-payload-type', 'missing', info({ payloads: [{}] })),
  ),
  malformed(
    55,
    'type `../../bin/sh`, `a/b`, `..`',
    ...['../../bin/sh', 'a/b', '..', '.', '/bin/sh', 'a\0b', 'a\nb', 'x'.repeat(300)].map((value) =>
      header('bad-payload-type', JSON.stringify(value.slice(0, 20)), payloadType(value)),
    ),
  ),
  malformed(
    56,
    'unknown type',
    accepted('is known to the reader as any other: only the look-up of the module can refuse it', {
      ...payloadType('no-such-update-module'),
      ...type({ type: 'no-such-update-module' }),
    }),
  ),
  malformed(
    57,
    'no artifact_provides; no/empty/number artifact_name',
    header('bad-header-info', 'no artifact_provides', without('artifact_provides')),
    header('bad-header-info', 'no name', info({ artifact_provides: {} })),
    header('bad-header-info', 'empty name', name('')),
    header('bad-header-info', 'number', name(5)),
    header('bad-header-info', 'null', name(null)),
  ),
  malformed(
    58,
    'control characters or 5000 characters in the name',
    ...[
      'a\nb',
      'a\u001b[2Jb',
      'a\u0000b',
      'a\u0085b',
      'a\u2028b',
      'a\ud800b',
      'x'.repeat(5000),
      'é'.repeat(129),
    ].map((value) => header('bad-header-info', JSON.stringify(value.slice(0, 20)), name(value))),
    header(
      'bad-header-info',
      'in the group',
      info({ artifact_provides: { artifact_name: 'a', artifact_group: 'g\n' } }),
    ),
  ),
  malformed(
    59,
    'no device_type / empty / string',
    header('bad-header-info', 'none', info({ artifact_depends: {} })),
    header('bad-header-info', 'empty', devices([])),
    header('bad-header-info', 'string', devices('test-device')),
    header('bad-header-info', 'number in the list', devices([1])),
  ),
  malformed(60, 'artifact_depends absent', header('bad-header-info', 'absent', without('artifact_depends'))),
  malformed(
    61,
    'wrong device type',
    policy('wrong-device-type', 'another one', devices(['other-device'])),
    policy('wrong-device-type', 'only the start of it', devices(['test'])),
    policy('unknown-device-type', 'device type not known', {}, { deviceType: null }),
  ),
  malformed(
    62,
    'unmet artifact_name/group/key',
    policy(
      'unmet-dependency',
      'name',
      info({ artifact_depends: { device_type: ['test-device'], artifact_name: ['x'] } }),
    ),
    policy(
      'unmet-dependency',
      'group',
      info({ artifact_depends: { device_type: ['test-device'], artifact_group: ['x'] } }),
    ),
    policy('unmet-dependency', 'key', type({ artifact_depends: { 'no.such.key': 'x' } })),
    policy('unmet-dependency', 'key with an empty list', type({ artifact_depends: { key: [] } }), {
      installed: { artifactName: 'a', artifactGroup: '', provides: { key: '' } },
    }),
    policy('unmet-dependency', 'a key every object has', type({ artifact_depends: { constructor: ['x'] } })),
    accepted('all met', type({ artifact_depends: { key: ['b', 'a'], artifact_group: 'g' } }), {
      installed: { artifactName: 'n', artifactGroup: 'g', provides: { key: 'a' } },
    }),
  ),
  malformed(
    63,
    'type-info missing',
    header('wrong-order', 'nothing there', headerOrder(0)),
    header('wrong-order', 'meta-data in its place', { metaData: { a: 1 }, ...headerOrder(0, 2) }),
  ),
  malformed(
    64,
    'type-info twice, index 0001',
    header('wrong-order', 'twice', headerOrder(0, 1, 1)),
    header('wrong-member', 'index 0001', {
      headerEntries: ([first, second]) => [
        first as TarPlan,
        { ...(second as TarPlan), name: 'headers/0001/type-info' },
      ],
    }),
    header('wrong-order', 'meta-data twice', { metaData: { a: 1 }, ...headerOrder(0, 1, 2, 2) }),
    header('wrong-order', 'script behind it', { ...script(SCRIPT), ...headerOrder(0, 2, 1) }),
  ),
  malformed(
    65,
    'type-info type differs',
    header('payload-type-mismatch', 'another', type({ type: 'another-module' })),
    header('payload-type-mismatch', 'empty, not a root file system', type({ type: '' })),
    header('payload-type-mismatch', 'null', type({ type: null })),
    header('payload-type-mismatch', 'missing', type({ type: undefined })),
    header('payload-type-mismatch', 'set for an empty payload', { ...EMPTY, typeInfo: typeInfo() }),
    accepted('empty for a root file system, as old tools write it', {
      ...payloadType('rootfs-image'),
      ...type({ type: '' }),
      files: [BLOB],
    }),
  ),
  malformed(
    66,
    'provides not a string, depends number, clears no list',
    header('bad-type-info', 'provides number', type({ artifact_provides: { a: 1 } })),
    header('bad-type-info', 'provides list', type({ artifact_provides: { a: ['b'] } })),
    header('bad-type-info', 'provides no object', type({ artifact_provides: 'a' })),
    header('bad-type-info', 'depends number', type({ artifact_depends: { a: 1 } })),
    header('bad-type-info', 'clears string', type({ clears_artifact_provides: '*' })),
    header('bad-type-info', 'clears numbers', type({ clears_artifact_provides: [1] })),
    header('bad-type-info', 'no object', { typeInfo: '[]' }),
    header('bad-type-info', 'type number', type({ type: 1 })),
    header('bad-type-info', 'control character', type({ artifact_provides: { a: 'x\ny' } })),
  ),
  malformed(
    67,
    'type-info redefines artifact_name/device_type',
    header('reserved-key', 'provides name', type({ artifact_provides: { artifact_name: 'x' } })),
    header('reserved-key', 'provides device type', type({ artifact_provides: { device_type: 'x' } })),
    header(
      'reserved-key',
      'depends device type',
      type({ artifact_depends: { device_type: ['test-device'] } }),
    ),
    header('reserved-key', 'depends name a second time', {
      ...info({ artifact_depends: { device_type: ['test-device'], artifact_name: ['a'] } }),
      ...type({ artifact_depends: { artifact_name: 'b' } }),
    }),
    header('reserved-key', 'prototype', {
      typeInfo: '{"type":"test-module","artifact_provides":{"__proto__":"x"}}',
    }),
  ),
  malformed(
    68,
    'meta-data broken or no object',
    ...['{', '[]', 'null', '1', ' '].map((text) => header('bad-meta-data', `"${text}"`, { metaData: text })),
    accepted('no bytes, which means none', { metaData: '' }),
  ),
  malformed(
    69,
    'unknown file / `..` in header archive',
    ...['surprise', '../x', '/etc/passwd', 'headers/0000/../../x', './header-info', 'headers/0000/'].flatMap(
      (extra) =>
        [0, 1, 2].map((at) =>
          header('wrong-member', `${extra} at ${at}`, headerInsert(at, { name: extra, content: 'x' })),
        ),
    ),
  ),
  malformed(
    70,
    'script with wrong state or no number',
    ...[
      'Download_Enter_00',
      'Idle_Enter_00',
      'Nothing_Enter_00',
      'ArtifactInstall_Enter',
      'ArtifactInstall_Enter_1',
      'ArtifactInstall_Enter_00_a b',
      'ArtifactInstall_Enter_00x',
      'ArtifactInstall_Enter_00_\u001b[2J',
    ].map((bad) => header('bad-script', JSON.stringify(bad), script(bad))),
  ),
  malformed(
    71,
    'script with `..`, absolute, sub-folder',
    ...['../x', '/etc/init.d/x', `${SCRIPT}_/../../x`, `sub/${SCRIPT}`, '', '..']
      .map((bad) =>
        header(
          'bad-script',
          `"${bad}"`,
          bad === '' ? headerInsert(1, { name: 'scripts//', content: 'x' }) : script(bad),
        ),
      )
      .filter((one) => one.as !== '""'),
    header('not-a-regular-file', 'the folder itself', headerInsert(1, { name: 'scripts/', type: '5' })),
  ),
  malformed(
    72,
    'script is a symlink (no content)',
    header(
      'not-a-regular-file',
      'symlink',
      headerInsert(1, { name: `scripts/${SCRIPT}`, type: '2', linkName: '/bin/sh' }),
    ),
    header(
      'not-a-regular-file',
      'hard link',
      headerInsert(1, { name: `scripts/${SCRIPT}`, type: '1', linkName: 'header-info' }),
    ),
  ),
  malformed(
    73,
    'same script twice',
    header('duplicate-file', 'same content', { ...script(SCRIPT), ...headerOrder(0, 1, 1, 2) }),
    header('duplicate-file', 'other content', {
      scripts: [
        { name: SCRIPT, content: 'a' },
        { name: SCRIPT, content: 'b' },
      ],
    }),
  ),
  malformed(
    74,
    'huge meta-data/script (bomb)',
    header('too-large', 'meta-data', { metaData: `{"a":"${'x'.repeat(2 ** 20)}"}` }),
    header('too-large', 'header-info', { headerInfo: ' '.repeat(2 ** 20 + 1) }),
    header('too-large', 'type-info', { typeInfo: ' '.repeat(2 ** 20 + 1) }),
    header('too-large', 'script', script(SCRIPT, Buffer.alloc(10 * 2 ** 20 + 1))),
    header('too-large', 'script that claims 8 GiB', {
      headerEntries: (entries) =>
        entries.toSpliced(1, 0, { name: `scripts/${SCRIPT}`, statedSize: base256(2n ** 33n) }),
    }),
    header('too-large', '1001 scripts', {
      scripts: Array.from({ length: 1001 }, (_, at) => ({ name: `${SCRIPT}_${at}`, content: 'x' })),
    }),
    header('too-large', 'zeros behind the archive', {
      headerPacked: (_packed, archive) => Buffer.concat([gzipSync(archive), bomb()]),
    }),
    header('too-large', 'seven scripts of almost 10 MiB', {
      scripts: Array.from({ length: 7 }, (_, at) => ({
        name: `${SCRIPT}_${at}`,
        content: Buffer.alloc(10 * 2 ** 20),
      })),
    }),
    header('too-large', 'pax record of 1 MiB', {
      headerEntries: (entries) => entries.toSpliced(1, 0, pax({ comment: 'x'.repeat(2 ** 20) })),
    }),
    header('too-large', 'endless extension headers', {
      headerEntries: (entries) =>
        entries.toSpliced(1, 0, ...Array.from({ length: 50 }, () => pax({ a: 'b' }, 'g'))),
    }),
  ),
];

const PAYLOAD_CASES: readonly MalformedCase[] = [
  malformed(
    75,
    'payload byte changed, file short, contents swapped',
    ...(['', '.gz', '.xz', '.zst'] as const).map((suffix) =>
      payload('checksum-mismatch', `byte changed, suffix "${suffix}"`, {
        suffix,
        ...data(([one, two]) => [
          one as TarPlan,
          { ...(two as TarPlan), content: flipped(Buffer.from(two?.content ?? '')) },
        ]),
      }),
    ),
    payload(
      'checksum-mismatch',
      'file short',
      data(([one, two]) => [{ ...(one as TarPlan), content: 'hello' }, two as TarPlan]),
    ),
    payload(
      'checksum-mismatch',
      'file empty',
      data(([one, two]) => [{ ...(one as TarPlan), content: '' }, two as TarPlan]),
    ),
    payload(
      'checksum-mismatch',
      'contents swapped',
      data(() => [
        { ...HELLO, content: BLOB.content },
        { ...BLOB, content: HELLO.content },
      ]),
    ),
  ),
  malformed(
    76,
    'extra payload file',
    payload(
      'file-not-in-manifest',
      'last',
      data((entries) => [...entries, { name: 'extra', content: 'x' }]),
    ),
  ),
  malformed(
    77,
    'listed payload file missing',
    payload(
      'listed-file-missing',
      'second',
      data(([one]) => [one as TarPlan]),
    ),
    payload(
      'listed-file-missing',
      'all',
      data(() => []),
    ),
  ),
  malformed(
    78,
    'payload file twice',
    payload(
      'duplicate-file',
      'the same',
      data(([one, two]) => [one as TarPlan, one as TarPlan, two as TarPlan]),
    ),
  ),
  malformed(
    79,
    'payload stream damaged or cut',
    ...(['.gz', '.xz', '.zst'] as const).flatMap((suffix) => [
      payload(
        'damaged-compression',
        `${suffix} damaged`,
        { suffix, ...packed((bytes) => flipped(bytes)) },
        NONSENSE,
      ),
      payload('damaged-compression', `${suffix} cut`, {
        suffix,
        ...packed((bytes) => bytes.subarray(0, -20)),
      }),
      payload('damaged-compression', `${suffix} nothing left`, { suffix, ...packed(() => Buffer.alloc(0)) }),
      payload('damaged-compression', `${suffix} something behind`, {
        suffix,
        ...packed((bytes) => Buffer.concat([bytes, Buffer.from('and more')])),
      }),
    ]),
    payload(
      'damaged-compression',
      '.gz zeros behind',
      packed((bytes) => Buffer.concat([bytes, Buffer.alloc(4)])),
    ),
    accepted(
      '.gz of two gzip members, which is fine',
      packed((_bytes, archive) =>
        Buffer.concat([gzipSync(archive.subarray(0, 700)), gzipSync(archive.subarray(700))]),
      ),
    ),
    accepted('.xz of two streams, which is fine', {
      suffix: '.xz',
      ...packed((_bytes, archive) =>
        Buffer.concat([compress(archive.subarray(0, 700), '.xz'), compress(archive.subarray(700), '.xz')]),
      ),
    }),
  ),
  malformed(
    80,
    'gzip check value wrong (files right)',
    payload(
      'damaged-compression',
      'check value',
      packed((bytes) => spoilt(bytes, -8)),
    ),
    payload(
      'damaged-compression',
      'length',
      packed((bytes) => spoilt(bytes, -4)),
    ),
  ),
  malformed(
    81,
    'garbage behind the inner tar',
    payload('trailing-data', 'gzip', { dataTar: (archive) => Buffer.concat([archive, Buffer.from('x')]) }),
    payload('trailing-data', 'plain', {
      suffix: '',
      dataTar: (archive) => Buffer.concat([archive, Buffer.alloc(512), Buffer.from('x')]),
    }),
    payload('trailing-data', 'a second archive', { dataTar: (archive) => Buffer.concat([archive, archive]) }),
  ),
  malformed(
    82,
    'inner tar cut, size lie, header sum',
    payload('unexpected-end', 'cut in a file', { dataTar: (archive) => archive.subarray(0, 2000) }),
    payload('unexpected-end', 'cut in a header', { dataTar: (archive) => archive.subarray(0, 1100) }),
    payload('unexpected-end', 'cut before its end blocks', {
      dataTar: (archive) => archive.subarray(0, -1024),
    }),
    payload(
      'unexpected-end',
      'size too large',
      data(([one, two]) => [one as TarPlan, { ...(two as TarPlan), statedSize: 9000 }]),
    ),
    payload(
      'unexpected-end',
      'size of 4 GiB',
      data(([one, two]) => [one as TarPlan, { ...(two as TarPlan), statedSize: base256(2n ** 32n) }]),
    ),
    payload(
      'checksum-mismatch',
      'size too small',
      data(([one, two]) => [one as TarPlan, { ...(two as TarPlan), statedSize: 2999 }]),
    ),
    payload(
      'damaged-tar',
      'header sum',
      data(([one, two]) => [one as TarPlan, { ...(two as TarPlan), isChecksumWrong: true }]),
    ),
    payload(
      'damaged-tar',
      'pax size not a number',
      data((entries) => [pax({ size: '-1' }), ...entries]),
    ),
    payload(
      'damaged-tar',
      'pax record damaged',
      data((entries) => [{ name: 'x', type: 'x', content: '99 a=b\n' }, ...entries]),
    ),
  ),
  malformed(
    83,
    'payload name `../x`, `/x`, `a/b`, `.`, `..`',
    ...['../x', '/x', 'a/b', '.', '..'].flatMap((bad) => [
      payload(
        'bad-file-name',
        `${bad}, not listed`,
        data((entries) => [{ name: bad, content: 'x' }, ...entries]),
      ),
      header('bad-manifest', `${bad}, listed`, { files: [{ name: bad, content: 'x' }] }),
    ]),
    payload(
      'bad-file-name',
      'by a pax path',
      data((entries) => [pax({ path: '../x' }), ...entries]),
    ),
    payload(
      'bad-file-name',
      'by a GNU long name',
      data((entries) => [{ name: '././@LongLink', type: 'L', content: '../x\0' }, ...entries]),
    ),
    payload(
      'damaged-tar',
      'zero byte in a pax path',
      data((entries) => [pax({ path: 'hello.txt\0/../x' }), ...entries]),
    ),
  ),
  malformed(
    84,
    'payload name with blank, `$`, `\\`, newline, non-ASCII',
    ...['a b', 'a$b', 'a\\b', 'a\nb', 'é', 'x'.repeat(100) + 'y'].map((bad) =>
      payload(
        'bad-file-name',
        JSON.stringify(bad),
        data((entries) => [pax({ path: bad }), ...entries]),
      ),
    ),
    header('bad-file-name', 'listed', { files: [{ name: 'a$b', content: 'x' }] }),
    header('bad-manifest', 'blank, listed', { files: [{ name: 'a b', content: 'x' }] }),
  ),
  malformed(
    85,
    'payload symlink/hardlink/device/fifo/dir/unknown type (sum of no bytes listed)',
    ...['1', '2', '3', '4', '5', '6', '7', 'S', 'Z', '~'].map((flag) =>
      payload('not-a-regular-file', `type ${flag}`, {
        files: [{ name: 'link', content: '' }],
        ...data(() => [{ name: 'link', type: flag, linkName: '/etc/shadow' }]),
      }),
    ),
    payload('not-a-regular-file', 'sparse by pax', {
      files: [{ name: 'sparse', content: '' }],
      ...data((entries) => [pax({ 'GNU.sparse.major': '1' }), ...entries]),
    }),
    payload('not-a-regular-file', 'old directory, a slash behind the name', {
      files: [{ name: 'dir', content: '' }],
      ...data(() => [{ name: 'dir/', type: '\0' }]),
    }),
  ),
  malformed(
    86,
    'empty-payload type with files or meta-data',
    header('empty-payload-not-empty', 'listed files', { ...EMPTY, files: [HELLO] }),
    payload('empty-payload-not-empty', 'file not listed', {
      ...EMPTY,
      ...data(() => [{ name: 'x', content: 'x' }]),
    }),
    header('empty-payload-not-empty', 'meta-data', { ...EMPTY, metaData: { a: 1 } }),
    accepted('with an empty archive', EMPTY),
    accepted('without an archive', { ...EMPTY, members: (members) => members.slice(0, 3) }),
  ),
];

function spoilt(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  const index = copy.byteLength + at;
  copy[index] = (copy[index] as number) ^ 1;
  return copy;
}

export const INNER_CASES: readonly MalformedCase[] = [...HEADER_CASES, ...PAYLOAD_CASES];

/** Good artifacts in every dialect of tar that has to be read. */
export function dialects(): Readonly<Record<string, Buffer>> {
  const longName = 'n'.repeat(100);
  const files = [{ name: longName, content: BLOB.content }];
  const viaLongLink = tarEntry({ name: '././@LongLink', type: 'L', content: `${longName}\0` });
  return {
    'pre-POSIX v7': buildArtifact({
      dataEntries: (entries) => entries.map((one) => ({ ...one, type: '\0', magic: '' })),
    }),
    'GNU magic': buildArtifact({
      dataEntries: (entries) => entries.map((one) => ({ ...one, magic: 'ustar  \0' })),
    }),
    'GNU long name': buildArtifact({
      files,
      dataEntries: ([one]) => [viaLongLink, { ...(one as TarPlan), name: 'short' }],
    }),
    'base-256 size': buildArtifact({
      dataEntries: (entries) =>
        entries.map((one) => ({
          ...one,
          statedSize: base256(BigInt(Buffer.from(one.content ?? '').byteLength)),
        })),
    }),
    'pax path': buildArtifact({
      files,
      dataEntries: ([one]) => [pax({ path: longName, mtime: '1.5' }), { ...(one as TarPlan), name: 'short' }],
    }),
    'pax size over a wrong one': buildArtifact({
      files,
      dataEntries: ([one]) => [pax({ size: '3000' }), { ...(one as TarPlan), statedSize: 0 }],
    }),
    'pax global header, ignored': buildArtifact({
      dataEntries: (entries) => [pax({ path: 'all-the-same', comment: 'x' }, 'g'), ...entries],
      members: (members) => [pax({ comment: sha256('x') }, 'g'), ...members],
    }),
  };
}

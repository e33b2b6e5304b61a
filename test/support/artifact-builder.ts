/**
 * Builds artifacts byte by byte, good ones and ones that lie: every part can be replaced after it was made and before
 * the next part, which depends on it, is. Own small tar writer, so that headers can say what no archiver would write.
 */
import { execFileSync } from 'node:child_process';
import { createHash, sign, type KeyObject } from 'node:crypto';
import { gzipSync } from 'node:zlib';

const BLOCK = 512;

export interface TarPlan {
  readonly name: string;
  readonly content?: Uint8Array | string;
  /** Type flag, `0` = regular file. */
  readonly type?: string;
  /** What the header says instead of the content's length; a string is put into the field as it is. */
  readonly statedSize?: number | string | Buffer;
  readonly linkName?: string;
  /** Spoils the check value of the header. */
  readonly isChecksumWrong?: boolean;
  readonly magic?: string;
}

export function tarEntry(plan: TarPlan): Buffer {
  const content = Buffer.from(plan.content ?? '');
  const header = Buffer.alloc(BLOCK);
  header.write(plan.name, 0, 100, 'utf8');
  header.write('0000600\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  sizeField(plan.statedSize ?? content.byteLength).copy(header, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write(plan.type ?? '0', 156, 1, 'latin1');
  header.write(plan.linkName ?? '', 157, 100);
  header.write(plan.magic ?? 'ustar\0' + '00', 257, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0) + (plan.isChecksumWrong === true ? 1 : 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc(padding(content.byteLength))]);
}

function sizeField(size: number | string | Buffer): Buffer {
  const field = Buffer.alloc(12);
  if (Buffer.isBuffer(size)) size.copy(field);
  else field.write(typeof size === 'string' ? size : `${size.toString(8).padStart(11, '0')}\0`, 0, 'latin1');
  return field;
}

/** A size in GNU base-256, which reaches beyond 8 GiB. */
export function base256(size: bigint): Buffer {
  const field = Buffer.alloc(12);
  field.writeBigUInt64BE(size, 4);
  field[0] = 0x80;
  return field;
}

function padding(length: number): number {
  return (BLOCK - (length % BLOCK)) % BLOCK;
}

/** Two zero blocks at the end unless told otherwise. */
export function tar(entries: readonly (TarPlan | Buffer)[], endBlocks = 2): Buffer {
  const parts = entries.map((entry) => (Buffer.isBuffer(entry) ? entry : tarEntry(entry)));
  return Buffer.concat([...parts, Buffer.alloc(endBlocks * BLOCK)]);
}

/** A pax header with these records. */
export function pax(records: Readonly<Record<string, string>>, type = 'x'): TarPlan {
  const content = Object.entries(records).map(([key, value]) => paxRecord(key, value));
  return { name: 'PaxHeaders/x', type, content: content.join('') };
}

function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const restBytes = Buffer.byteLength(rest);
  let length = restBytes;
  while (String(length).length + restBytes !== length) length = String(length).length + restBytes;
  return `${length}${rest}`;
}

export type Suffix = '' | '.gz' | '.xz' | '.zst';

export function compress(bytes: Buffer, suffix: string): Buffer {
  if (suffix === '.gz') return gzipSync(bytes);
  if (suffix === '.xz') return execFileSync('xz', ['-c'], { input: bytes, maxBuffer: 2 ** 30 });
  if (suffix === '.zst') return execFileSync('zstd', ['-qc'], { input: bytes, maxBuffer: 2 ** 30 });
  return bytes;
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export interface FilePlan {
  readonly name: string;
  readonly content: Uint8Array | string;
}

/** Everything has a default that makes a good artifact; functions are given what would be there without them. */
export interface ArtifactPlan {
  readonly version?: string;
  /** Text, or a value to be written as JSON. */
  readonly headerInfo?: unknown;
  readonly typeInfo?: unknown;
  /** null = no such member. */
  readonly metaData?: unknown;
  readonly scripts?: readonly FilePlan[];
  readonly files?: readonly FilePlan[];
  /** Of both archives, as far as they are not set on their own. */
  readonly suffix?: Suffix;
  readonly headerName?: string;
  readonly dataName?: string;
  readonly headerEntries?: (entries: readonly TarPlan[]) => readonly (TarPlan | Buffer)[];
  readonly headerTar?: (archive: Buffer) => Buffer;
  readonly headerPacked?: (packed: Buffer, archive: Buffer) => Buffer;
  readonly dataEntries?: (entries: readonly TarPlan[]) => readonly (TarPlan | Buffer)[];
  readonly dataTar?: (archive: Buffer) => Buffer;
  readonly dataPacked?: (packed: Buffer, archive: Buffer) => Buffer;
  readonly manifestLines?: (lines: readonly string[]) => readonly string[];
  readonly manifest?: (text: string) => string | Buffer;
  readonly signKey?: KeyObject;
  readonly signature?: (base64: string, manifest: Buffer) => string | Buffer;
  /** Replaces the manifest after it was signed. */
  readonly signedManifest?: (text: string) => string;
  readonly members?: (members: readonly TarPlan[]) => readonly (TarPlan | Buffer)[];
  readonly endBlocks?: number;
  readonly whole?: (artifact: Buffer) => Buffer;
}

export const VERSION_TEXT = '{"format":"mender","version":3}';
export const DEVICE_TYPE = 'test-device';

export function headerInfo(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    payloads: [{ type: 'test-module' }],
    artifact_provides: { artifact_name: 'release-1' },
    artifact_depends: { device_type: [DEVICE_TYPE] },
    ...changes,
  };
}

export function typeInfo(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    type: 'test-module',
    artifact_provides: { 'rootfs-image.test-module.version': 'release-1' },
    clears_artifact_provides: ['rootfs-image.test-module.*'],
    ...changes,
  };
}

export const DEFAULT_FILES: readonly FilePlan[] = [
  { name: 'hello.txt', content: 'hello\n' },
  { name: 'blob.bin', content: Buffer.alloc(3000, 'holdpoint ') },
];

export function buildArtifact(plan: ArtifactPlan = {}): Buffer {
  const suffix = plan.suffix ?? '.gz';
  const headerName = plan.headerName ?? `header.tar${suffix}`;
  const dataName = plan.dataName ?? `data/0000.tar${suffix}`;
  const version = plan.version ?? VERSION_TEXT;
  const files = plan.files ?? DEFAULT_FILES;

  const headerPlans = headerMembers(plan);
  const headerTar = step(tar(plan.headerEntries?.(headerPlans) ?? headerPlans), plan.headerTar);
  const headerPacked = pack(headerTar, suffixOf(headerName, suffix), plan.headerPacked);
  const dataPlans: readonly TarPlan[] = files;
  const dataTar = step(tar(plan.dataEntries?.(dataPlans) ?? dataPlans), plan.dataTar);
  const dataPacked = pack(dataTar, suffixOf(dataName, suffix), plan.dataPacked);

  const lines = [
    ...files.map((file) => `${sha256(file.content)}  data/0000/${file.name}`),
    `${sha256(headerPacked)}  ${headerName}`,
    `${sha256(version)}  version`,
  ];
  const text = (plan.manifestLines?.(lines) ?? lines).map((line) => `${line}\n`).join('');
  const manifest = Buffer.from(plan.manifest?.(text) ?? text);
  const signature = signatureOf(plan, manifest);
  const members: readonly TarPlan[] = [
    { name: 'version', content: version },
    { name: 'manifest', content: plan.signedManifest?.(manifest.toString()) ?? manifest },
    ...(signature === null ? [] : [{ name: 'manifest.sig', content: signature }]),
    { name: headerName, content: headerPacked },
    { name: dataName, content: dataPacked },
  ];
  return step(tar(plan.members?.(members) ?? members, plan.endBlocks ?? 2), plan.whole);
}

function headerMembers(plan: ArtifactPlan): readonly TarPlan[] {
  const metaData = plan.metaData ?? null;
  return [
    { name: 'header-info', content: json(plan.headerInfo ?? headerInfo()) },
    ...(plan.scripts ?? []).map(({ name, content }) => ({ name: `scripts/${name}`, content })),
    { name: 'headers/0000/type-info', content: json(plan.typeInfo ?? typeInfo()) },
    ...(metaData === null ? [] : [{ name: 'headers/0000/meta-data', content: json(metaData) }]),
  ];
}

function json(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function step(bytes: Buffer, change: ((bytes: Buffer) => Buffer) | undefined): Buffer {
  return change === undefined ? bytes : change(bytes);
}

function pack(archive: Buffer, suffix: string, change: ArtifactPlan['headerPacked']): Buffer {
  const packed = compress(archive, suffix);
  return change === undefined ? packed : change(packed, archive);
}

function suffixOf(name: string, fallback: string): string {
  return /\.(gz|xz|zst)$/.exec(name)?.[0] ?? (name.endsWith('.tar') ? '' : fallback);
}

function signatureOf(plan: ArtifactPlan, manifest: Buffer): string | Buffer | null {
  if (plan.signKey === undefined) return null;
  const isEc = plan.signKey.asymmetricKeyType === 'ec';
  const raw = sign(
    'sha256',
    manifest,
    isEc ? { key: plan.signKey, dsaEncoding: 'ieee-p1363' } : plan.signKey,
  );
  const base64 = raw.toString('base64');
  return plan.signature?.(base64, manifest) ?? base64;
}

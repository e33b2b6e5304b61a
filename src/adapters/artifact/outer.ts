/**
 * The outer archive in front of the payload: which member may come when, and what each says. Nothing behind the
 * header member is touched. Source: spec/artifact.md sections 1, 4, 10 and 12.
 */
import { ArtifactError, type ArtifactErrorCode } from '../../core/artifact-error.ts';
import { quoted } from '../../core/printable.ts';
import { ByteReader, type Pull } from './bytes.ts';
import { requireSum, sumOf } from './checksum.ts';
import { compressionOf, type Compression } from './compression.ts';
import { requireRegular } from './header.ts';
import { LIMITS } from './limits.ts';
import { parseManifest, type Manifest } from './manifest.ts';
import { verifySignature, type VerifyKey } from './signature.ts';
import { TarReader, type TarMember } from './tar.ts';
import { requireVersion3 } from './version.ts';

const ARTIFACT = 'artifact';

export interface Front {
  readonly outer: TarReader;
  readonly manifest: Manifest;
  /** SHA-256 of the raw manifest, 64 hex digits. */
  readonly manifestSum: string;
  readonly isSigned: boolean;
  /** Path of the key that verified the signature; '' = no key was asked for. */
  readonly verifiedBy: string;
  /** The header member as stored; its sum was right. */
  readonly headerBytes: Buffer;
  readonly headerCompression: Compression;
}

/** Reads up to the end of the header member and verifies all of it. `keys` null = signatures are not checked. */
export async function readFront(pull: Pull, keys: readonly VerifyKey[] | null): Promise<Front> {
  const outer = new TarReader(new ByteReader(pull), ARTIFACT);
  const first = await outer.next(explainStart);
  if (first === null) {
    const found = outer.offset === 0 ? 'no data at all' : 'nothing but zero bytes';
    throw refusal('not-an-artifact', ARTIFACT, found, 'a tar archive whose first member is "version"');
  }
  const versionBytes = await content(outer, first, 'version', LIMITS.versionBytes);
  requireVersion3(versionBytes);
  const manifestBytes = await content(outer, await outer.next(), 'manifest', LIMITS.manifestBytes);
  const manifest = parseManifest(manifestBytes);

  let member = await outer.next();
  const isSigned = member?.name === 'manifest.sig';
  let verifiedBy = '';
  if (isSigned) {
    const signature = await content(outer, member, 'manifest.sig', LIMITS.signatureBytes);
    if (keys !== null) verifiedBy = verifySignature(manifestBytes, signature, keys);
    member = await outer.next();
  } else if (keys !== null) {
    const found = member === null ? 'the end of the artifact' : `the member ${quoted(member.name)}`;
    throw refusal(
      'signature-missing',
      outer.place(member?.offset),
      found,
      'a signed artifact: "manifest.sig"',
    );
  }
  requireSum('version', sumOf(versionBytes), manifest.versionSum);
  const { bytes, compression } = await headerMember(outer, member, manifest);
  return {
    outer,
    manifest,
    manifestSum: sumOf(manifestBytes),
    isSigned,
    verifiedBy,
    headerBytes: bytes,
    headerCompression: compression,
  };
}

async function headerMember(
  outer: TarReader,
  member: TarMember | null,
  manifest: Manifest,
): Promise<{ readonly bytes: Buffer; readonly compression: Compression }> {
  const compression = member === null ? null : compressionOf(member.name, 'header.tar');
  if (member === null || compression === null)
    throw misplacedMember(outer, member, 'header.tar with its suffix');
  if (compression === 'unknown') throw misplacedMember(outer, member, 'header.tar with a known suffix');
  requireRegular(ARTIFACT, member);
  if (member.name !== manifest.headerName) {
    const found = `a line for ${manifest.headerName} only`;
    throw refusal('checksum-missing', 'manifest', found, `a checksum for ${member.name}`);
  }
  const bytes = await outer.all(LIMITS.headerStoredBytes);
  requireSum(member.name, sumOf(bytes), manifest.headerSum);
  return { bytes, compression };
}

async function content(
  outer: TarReader,
  member: TarMember | null,
  expected: string,
  maxBytes: number,
): Promise<Buffer> {
  if (member === null || member.name !== expected) throw misplacedMember(outer, member, quoted(expected));
  requireRegular(ARTIFACT, member);
  return outer.all(maxBytes);
}

/** The error for a member that may not come here; null = the archive ended instead. */
export function misplacedMember(outer: TarReader, member: TarMember | null, expected: string): ArtifactError {
  if (member === null) {
    const code = outer.isEndMarked ? 'wrong-order' : 'unexpected-end';
    return refusal(code, outer.place(), 'the end of the artifact', expected);
  }
  const { name } = member;
  return refusal(misplacement(name), outer.place(member.offset), `the member ${quoted(name)}`, expected);
}

function misplacement(name: string): ArtifactErrorCode {
  if (name === 'version' || name === 'manifest' || name === 'manifest.sig') return 'wrong-order';
  if (name === 'manifest-augment' || compressionOf(name, 'header-augment.tar') !== null) {
    return 'augmented-artifact';
  }
  const compression = compressionOf(name, 'header.tar') ?? compressionOf(name, 'data/0000.tar');
  if (compression === null) return 'wrong-member';
  return compression === 'unknown' ? 'unknown-compression' : 'wrong-order';
}

/**
 * Bytes that are no tar header: at the start they show that this is something else. A header of `version` that is
 * merely damaged or cut still shows what it was.
 */
function explainStart(block: Uint8Array, offset: number): ArtifactError | null {
  if (offset > 0) return null;
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
  const magic = bytes.toString('latin1', 257, 262);
  if (magic === 'ustar' || bytes.toString('latin1', 0, 8) === 'version\0') return null;
  const expected = 'a tar archive, not compressed, whose first member is "version"';
  return refusal('not-an-artifact', `${ARTIFACT}, byte 0`, guess(bytes), expected);
}

function guess(bytes: Buffer): string {
  const start = bytes.toString('hex', 0, 6);
  if (start.startsWith('1f8b')) return 'gzip data';
  if (start === 'fd377a585a00') return 'xz data';
  if (start.startsWith('28b52ffd')) return 'zstd data';
  const text = bytes.toString('latin1').trimStart();
  if (text.startsWith('<')) return 'a text in HTML or XML';
  return 'data that is not a tar archive';
}

function refusal(code: ArtifactErrorCode, where: string, found: string, expected: string): ArtifactError {
  return new ArtifactError(code, { where, found, expected });
}

/**
 * The header archive, already verified against the manifest: header-info, state scripts, type-info, meta-data, in
 * exactly this order. Everything it yields is kept in memory, within limits; nothing is written anywhere.
 * Source: spec/artifact.md section 5.
 */
import { ArtifactError, type ArtifactErrorCode } from '../../core/artifact-error.ts';
import { isOneLine, quoted } from '../../core/printable.ts';
import { isArtifactScriptFamily, parseScriptName } from '../../core/state-script.ts';
import type { StateScriptFile } from '../../ports/artifact-reader.ts';
import { ByteReader, type Pull } from './bytes.ts';
import { parseHeaderInfo, type HeaderInfo } from './header-info.ts';
import { LIMITS } from './limits.ts';
import { TarReader, type TarMember } from './tar.ts';
import { parseMetaData, parseTypeInfo, type TypeInfo } from './type-info.ts';

export interface Header {
  readonly info: HeaderInfo;
  readonly typeInfo: TypeInfo;
  readonly metaDataJson: string | null;
  /** In byte order of their names. */
  readonly scripts: readonly StateScriptFile[];
}

const SCRIPTS = 'scripts/';
const TYPE_INFO = 'headers/0000/type-info';
const META_DATA = 'headers/0000/meta-data';

/** Reads the unpacked archive to its end. `name` is the member's, for messages. */
export async function readHeader(unpacked: Pull, name: string): Promise<Header> {
  const tar = new TarReader(new ByteReader(limited(unpacked, name)), name);
  let member = await tar.next();
  const info = parseHeaderInfo(await content(tar, name, member, 'header-info', LIMITS.headerJsonBytes));
  member = await tar.next();
  const scripts: StateScriptFile[] = [];
  for (; member?.name.startsWith(SCRIPTS) === true; member = await tar.next()) {
    scripts.push(await readScript(tar, name, member, scripts));
  }
  const typeInfoBytes = await content(tar, name, member, TYPE_INFO, LIMITS.headerJsonBytes);
  const typeInfo = parseTypeInfo(typeInfoBytes, info);
  member = await tar.next();
  let metaDataJson: string | null = null;
  if (member !== null) {
    const bytes = await content(tar, name, member, META_DATA, LIMITS.headerJsonBytes);
    requireEmptyPayloadWithout(info, bytes);
    metaDataJson = parseMetaData(bytes);
    member = await tar.next();
  }
  if (member !== null) throw misplaced(name, member, 'the end of the header archive');
  requireMarkedEnd(tar, name);
  await tar.expectOnlyZeros();
  scripts.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  return { info, typeInfo, metaDataJson, scripts };
}

/** Counts what comes out of the decompression, so that a small file cannot keep the device busy for long. */
function limited(unpacked: Pull, name: string): Pull {
  let total = 0;
  return async () => {
    const piece = await unpacked();
    total += piece?.byteLength ?? 0;
    if (total <= LIMITS.headerUnpackedBytes) return piece;
    const found = `more than ${LIMITS.headerUnpackedBytes} bytes unpacked`;
    throw refusal('too-large', name, found, `at most ${LIMITS.headerUnpackedBytes} bytes`);
  };
}

/** Only the artifact itself may lack the blocks that mark its end: here the size is known and verified. */
export function requireMarkedEnd(tar: TarReader, archive: string): void {
  if (tar.isEndMarked) return;
  const where = `${archive}, byte ${tar.offset}`;
  throw refusal('unexpected-end', where, 'the end of the data', 'the zero blocks that end an archive');
}

async function content(
  tar: TarReader,
  archive: string,
  member: TarMember | null,
  expected: string,
  maxBytes: number,
): Promise<Buffer> {
  if (member === null) {
    if (!tar.isEndMarked) requireMarkedEnd(tar, archive);
    throw refusal(
      'wrong-order',
      `${archive}, byte ${tar.offset}`,
      'the end of the archive',
      quoted(expected),
    );
  }
  if (member.name !== expected) throw misplaced(archive, member, quoted(expected));
  requireRegular(archive, member);
  return tar.all(maxBytes);
}

export function requireRegular(archive: string, member: TarMember): void {
  if (member.otherType === null) return;
  const where = `${archive}, member ${quoted(member.name)} at byte ${member.offset}`;
  throw refusal('not-a-regular-file', where, member.otherType, 'a regular file');
}

function misplaced(archive: string, member: TarMember, expected: string): ArtifactError {
  const { name } = member;
  const isKnown =
    name === 'header-info' || name === TYPE_INFO || name === META_DATA || name.startsWith(SCRIPTS);
  const code = isKnown ? 'wrong-order' : 'wrong-member';
  return refusal(code, `${archive}, byte ${member.offset}`, `the member ${quoted(name)}`, expected);
}

async function readScript(
  tar: TarReader,
  archive: string,
  member: TarMember,
  before: readonly StateScriptFile[],
): Promise<StateScriptFile> {
  requireRegular(archive, member);
  const name = member.name.slice(SCRIPTS.length);
  const where = `${archive}, member ${quoted(member.name)} at byte ${member.offset}`;
  const parsed = parseScriptName(name);
  const isNamed =
    parsed !== null &&
    isArtifactScriptFamily(parsed.family) &&
    isOneLine(name) &&
    !name.includes('\uFFFD') &&
    Buffer.byteLength(name) <= LIMITS.scriptNameBytes;
  if (!isNamed) {
    throw refusal(
      'bad-script',
      where,
      `the name ${quoted(name)}`,
      'an artifact state script, STATE_ACTION_NN[_text]',
    );
  }
  if (before.some((script) => script.name === name)) {
    throw refusal('duplicate-file', where, 'a second script of this name', 'each script once');
  }
  if (before.length === LIMITS.scripts) {
    throw refusal('too-large', archive, `more than ${LIMITS.scripts} scripts`, `at most ${LIMITS.scripts}`);
  }
  return { name, content: await tar.all(LIMITS.scriptBytes) };
}

function requireEmptyPayloadWithout(info: HeaderInfo, metaData: Uint8Array): void {
  if (info.payloadType !== null || metaData.byteLength === 0) return;
  const found = `${metaData.byteLength} bytes of meta-data`;
  throw refusal('empty-payload-not-empty', META_DATA, found, 'none for an empty payload');
}

function refusal(code: ArtifactErrorCode, where: string, found: string, expected: string): ArtifactError {
  return new ArtifactError(code, { where, found, expected });
}

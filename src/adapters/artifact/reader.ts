/**
 * The artifact reader: format 3, strictly, as a stream. Order of checks: keys, version, manifest, signature,
 * version sum, header sum, header content; only then is there an artifact whose payload can be asked for.
 * Source: spec/artifact.md section 10, last column.
 */
import { ArtifactError, type ArtifactErrorCode } from '../../core/artifact-error.ts';
import type { ArtifactInfo } from '../../core/artifact.ts';
import { quoted } from '../../core/printable.ts';
import type { ArtifactReader, OpenArtifact, ReadOptions } from '../../ports/artifact-reader.ts';
import { ChunkSource, type Pull } from './bytes.ts';
import { unpack } from './decompress.ts';
import { readHeader, type Header } from './header.ts';
import { LIMITS } from './limits.ts';
import { readFront, type Front } from './outer.ts';
import { VerifiedArtifact } from './payload.ts';
import { loadVerifyKeys } from './signature.ts';

export interface ArtifactReaderSettings {
  /** Folders in which `xz` and `zstd` are looked up, as in PATH; by default those of this process. */
  readonly searchPath?: string;
}

/**
 * A reader of artifacts; keeps nothing between two of them. Beside ArtifactErrors `open` and everything after it
 * reject with kind `cancelled` on abort, with kind `incompatible` when the program for the artifact's compression is
 * not installed, and with whatever the source of the chunks fails with, unchanged.
 */
export function createArtifactReader(settings: ArtifactReaderSettings = {}): ArtifactReader {
  const searchPath = settings.searchPath ?? process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin';
  return { open: (chunks, options, signal) => openArtifact(chunks, options, signal, searchPath) };
}

async function openArtifact(
  chunks: AsyncIterable<Uint8Array>,
  options: ReadOptions,
  signal: AbortSignal,
  searchPath: string,
): Promise<OpenArtifact> {
  const source = new ChunkSource(chunks, signal);
  try {
    const isChecked = options.verifyKeyPaths.length > 0 && options.isSignatureIgnored !== true;
    const keys = isChecked ? await loadVerifyKeys(options.verifyKeyPaths) : null;
    const front = await readFront(source.pull, keys);
    const header = await unpackHeader(front, signal, searchPath);
    requireFittingFiles(front, header);
    return new VerifiedArtifact({
      info: describeArtifact(front, header),
      scripts: header.scripts,
      fileSums: front.manifest.fileSums,
      source,
      outer: front.outer,
      signal,
      searchPath,
    });
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function unpackHeader(front: Front, signal: AbortSignal, searchPath: string): Promise<Header> {
  const member = front.manifest.headerName;
  const unpacker = unpack(front.headerCompression, once(front.headerBytes), { member, signal, searchPath });
  try {
    return await readHeader(unpacker.pull, member);
  } catch (error) {
    throw (await damageBehind(error, unpacker.pull)) ?? error;
  } finally {
    await unpacker.close();
  }
}

/**
 * Damaged compression may first come out as nonsense in the archive. Then it is the damage that is told, whatever the
 * nonsense looked like; null = what was found wrong in the archive is really in it.
 */
async function damageBehind(error: unknown, pull: Pull): Promise<unknown> {
  if (!(error instanceof ArtifactError) || error.code === 'too-large') return null;
  try {
    let left = LIMITS.headerUnpackedBytes;
    for (let piece = await pull(); piece !== null && left > 0; piece = await pull()) left -= piece.byteLength;
    return null;
  } catch (damage) {
    return damage;
  }
}

function once(bytes: Buffer): Pull {
  let rest: Buffer | null = bytes.byteLength === 0 ? null : bytes;
  return async () => {
    const piece = rest;
    rest = null;
    return piece;
  };
}

/** What the manifest lists must be possible for the payload type, before any of it is read. */
function requireFittingFiles(front: Front, header: Header): void {
  const type = header.info.payloadType;
  const count = front.manifest.fileSums.size;
  if (type === null && count > 0) {
    throw refusal(
      'empty-payload-not-empty',
      'manifest',
      `${count} payload files`,
      'none for an empty payload',
    );
  }
  if (type === 'rootfs-image' && count !== 1) {
    const found = `${count} payload files for ${quoted(type)}`;
    throw refusal('bad-manifest', 'manifest', found, 'exactly one, the file system image');
  }
}

function describeArtifact(front: Front, header: Header): ArtifactInfo {
  const { info, typeInfo } = header;
  return {
    artifactName: info.artifactName,
    artifactGroup: info.artifactGroup,
    payloadType: info.payloadType,
    compatibleDevices: info.compatibleDevices,
    depends: Object.fromEntries([...info.depends, ...typeInfo.depends]),
    provides: typeInfo.provides,
    clearsProvides: typeInfo.clearsProvides,
    scripts: header.scripts.map((script) => script.name),
    digest: `sha256:${front.manifestSum}`,
    isSigned: front.isSigned,
    verifiedBy: front.verifiedBy,
    headerInfoJson: info.json,
    typeInfoJson: typeInfo.json,
    metaDataJson: header.metaDataJson,
    payloadFileNames: [...front.manifest.fileSums.keys()],
  };
}

function refusal(code: ArtifactErrorCode, where: string, found: string, expected: string): ArtifactError {
  return new ArtifactError(code, { where, found, expected });
}

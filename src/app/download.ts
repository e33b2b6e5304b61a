import { ArtifactError } from '../core/artifact-error.ts';
import type { ArtifactInfo, ArtifactLocation, Installed } from '../core/artifact.ts';
import { checkDepends } from '../core/provides.ts';
import { releaseFactsOf } from '../core/release-facts.ts';
import type { ArtifactSummary } from '../core/state.ts';
import type { OpenArtifact } from '../ports/artifact-reader.ts';
import type { ArtifactBytes } from '../ports/artifact-source.ts';
import type { Ports } from './ports.ts';

/**
 * The download: artifact source → reader → update module, in one stream, nothing held in memory. Not one
 * payload byte reaches the module before the artifact has been found sound and fit for this device.
 */
export interface DownloadOrder {
  readonly location: ArtifactLocation;
  /** `sha256:…`; '' = any. */
  readonly requiredDigest: string;
  /** Artifact name the server announced; '' = any. */
  readonly announcedName: string;
  readonly installed: Installed;
}

export interface DownloadWatcher {
  /** The source is open; nothing has been verified. `sizeBytes`: −1 = unknown. */
  onOpen?(sizeBytes: number): void;
  /** Resolves when the module may be called: whoever starts again knows by then whose clean-up to call. */
  onVerified(artifact: ArtifactSummary, sizeBytes: number): Promise<void>;
  onBytes(downloadedBytes: number): void;
  /** Resolves at once, or when a suspended download may go on. */
  mayContinue(): Promise<void> | null;
}

type Tools = Pick<Ports, 'source' | 'reader' | 'modules' | 'scripts' | 'system' | 'verifyKeyPaths'>;

/** @returns the size of the artifact, bytes */
export async function downloadArtifact(
  tools: Tools,
  order: DownloadOrder,
  watcher: DownloadWatcher,
  signal: AbortSignal,
): Promise<number> {
  const { artifact, sizeBytes } = await beginDownload(tools, order, watcher, signal);
  try {
    await watcher.onVerified(summaryOf(artifact.info), sizeBytes);
    return await receivePayload(tools, artifact, signal);
  } finally {
    await artifact.close();
  }
}

/**
 * Everything in front of the payload: the artifact is verified and fits, its scripts and the module's file tree lie
 * ready. Whoever gets it closes it.
 */
export async function beginDownload(
  tools: Tools,
  order: DownloadOrder,
  watcher: Pick<DownloadWatcher, 'onOpen' | 'onBytes' | 'mayContinue'>,
  signal: AbortSignal,
): Promise<OpenedArtifact> {
  const { modules, scripts } = tools;
  // What an earlier update left must neither run nor be cleaned up in this one's name.
  await scripts.clearArtifactScripts();
  await modules.removeTree();
  const opened = await openArtifact(tools, order.location, signal, watcher);
  const { info } = opened.artifact;
  try {
    const deviceType = await verifyFit(tools, info, order);
    await scripts.installArtifactScripts(opened.artifact.scripts);
    if (info.payloadType !== null) {
      await modules.prepareTree(info, { deviceType, installed: order.installed });
    }
    return opened;
  } catch (error) {
    await opened.artifact.close();
    throw error;
  }
}

/** Hands the payload to its module and verifies the rest. @returns the size of the artifact, bytes */
export async function receivePayload(
  { modules }: Pick<Ports, 'modules'>,
  artifact: OpenArtifact,
  signal: AbortSignal,
): Promise<number> {
  const { payloadType } = artifact.info;
  if (payloadType !== null) await modules.download(payloadType, artifact.payloadFiles(), signal);
  await artifact.finish();
  return artifact.consumedBytes;
}

export interface OpenedArtifact {
  readonly artifact: OpenArtifact;
  /** −1 = unknown. */
  readonly sizeBytes: number;
  readonly identity: ArtifactBytes['identity'];
}

/** Opens an artifact and verifies everything in front of its payload. */
export async function openArtifact(
  tools: Pick<Ports, 'source' | 'reader' | 'verifyKeyPaths'>,
  location: ArtifactLocation,
  signal: AbortSignal,
  watcher?: Pick<DownloadWatcher, 'onOpen' | 'onBytes' | 'mayContinue'>,
): Promise<OpenedArtifact> {
  const bytes = await tools.source.open(location, signal);
  watcher?.onOpen?.(bytes.sizeBytes);
  const chunks = watcher ? metered(bytes.chunks, watcher) : bytes.chunks;
  const artifact = await tools.reader.open(chunks, { verifyKeyPaths: tools.verifyKeyPaths }, signal);
  return { artifact, sizeBytes: bytes.sizeBytes, identity: bytes.identity };
}

/** Rejects with an ArtifactError unless the artifact is the one that was meant and fits this device. */
export async function verifyFit(
  tools: Pick<Ports, 'modules' | 'system'>,
  info: ArtifactInfo,
  order: Pick<DownloadOrder, 'requiredDigest' | 'announcedName' | 'installed'>,
): Promise<string> {
  if (order.requiredDigest !== '' && order.requiredDigest !== info.digest) {
    throw new ArtifactError('digest-mismatch', {
      where: 'manifest',
      found: info.digest,
      expected: order.requiredDigest,
    });
  }
  if (order.announcedName !== '' && order.announcedName !== info.artifactName) {
    throw new ArtifactError('bad-header-info', {
      where: 'header-info: artifact_name',
      found: JSON.stringify(info.artifactName),
      expected: `${JSON.stringify(order.announcedName)}, which the server announced`,
    });
  }
  const deviceType = await tools.system.deviceType();
  checkDepends(info, order.installed, deviceType);
  if (info.payloadType !== null) await tools.modules.requireModule(info.payloadType);
  return deviceType;
}

export function summaryOf(info: ArtifactInfo): ArtifactSummary {
  return {
    artifactName: info.artifactName,
    artifactGroup: info.artifactGroup,
    payloadType: info.payloadType,
    compatibleDevices: info.compatibleDevices,
    provides: info.provides,
    clearsProvides: info.clearsProvides,
    digest: info.digest,
    isSigned: info.isSigned,
    ...releaseFactsOf(info),
  };
}

async function* metered(
  chunks: AsyncIterable<Uint8Array>,
  watcher: Pick<DownloadWatcher, 'onOpen' | 'onBytes' | 'mayContinue'>,
): AsyncGenerator<Uint8Array> {
  let total = 0;
  for await (const chunk of chunks) {
    // A pause takes hold between two blocks: nothing is lost, and the source feels the back-pressure.
    const suspended = watcher.mayContinue();
    if (suspended !== null) await suspended;
    yield chunk;
    total += chunk.byteLength;
    watcher.onBytes(total);
  }
}

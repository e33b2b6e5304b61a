import { ArtifactError } from '../core/artifact-error.ts';
import type { ArtifactInfo, Installed } from '../core/artifact.ts';
import { UpdateError } from '../core/errors.ts';
import { applyProvides, checkDepends } from '../core/provides.ts';
import { NOTHING_INSTALLED } from '../core/state.ts';
import type { Ports } from './ports.ts';

/**
 * First start of a device: what is installed is what its bootstrap artifact says, else `unknown`. The file is gone
 * afterwards in every case, also when it was not used, so that it can never count a second time.
 * Source: spec/artifact.md section 7.2, spec/configuration.md section 3.6.
 */
export interface BootstrapFile {
  readonly path: string;
  /** Removes it; fine when it is not there. */
  readonly remove: () => Promise<void>;
}

type Tools = Pick<Ports, 'reader' | 'source' | 'system' | 'log'>;

/** @returns what to record as installed; null = something is recorded already (`installed`) and stays */
export async function readBootstrap(
  tools: Tools,
  file: BootstrapFile,
  installed: Installed | null,
): Promise<Installed | null> {
  try {
    return installed === null ? await readProvides(tools, file.path) : null;
  } catch (error) {
    const isMissing = error instanceof UpdateError && error.details['error-code'] === 'ENOENT';
    if (!isMissing) tools.log.warn('The bootstrap artifact is not used', { err: error });
    return NOTHING_INSTALLED;
  } finally {
    await file.remove().catch((error: unknown) => {
      tools.log.warn('The bootstrap artifact could not be removed', { err: error });
    });
  }
}

async function readProvides({ reader, source, system }: Tools, path: string): Promise<Installed> {
  const { signal } = new AbortController();
  const bytes = await source.open({ kind: 'file', path }, signal);
  const artifact = await reader.open(bytes.chunks, { verifyKeyPaths: [], isSignatureIgnored: true }, signal);
  try {
    requireNothingToInstall(artifact.info);
    checkDepends(artifact.info, NOTHING_INSTALLED, await system.deviceType());
    await artifact.finish();
    return applyProvides(NOTHING_INSTALLED, artifact.info);
  } finally {
    await artifact.close();
  }
}

function requireNothingToInstall(info: ArtifactInfo): void {
  if (info.payloadType === null && info.scripts.length === 0) return;
  throw new ArtifactError('bad-payload-type', {
    where: 'bootstrap artifact',
    found: info.payloadType === null ? 'state scripts' : `payload type ${JSON.stringify(info.payloadType)}`,
    expected: 'an empty payload without state scripts',
  });
}

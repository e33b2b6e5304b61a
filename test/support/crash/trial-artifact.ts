/** The artifact that the trials of the crash matrix install. */
import { createArtifactReader } from '../../../src/adapters/artifact/reader.ts';
import { summaryOf } from '../../../src/app/download.ts';
import type { ArtifactSummary } from '../../../src/core/state.ts';
import { buildArtifact, headerInfo, typeInfo } from '../artifact-builder.ts';

export const NEW_NAME = 'release-2';

export const ARTIFACT_BYTES = buildArtifact({
  suffix: '',
  headerInfo: headerInfo({ artifact_provides: { artifact_name: NEW_NAME } }),
  typeInfo: typeInfo(),
});

export async function* artifactBytes(): AsyncGenerator<Uint8Array> {
  yield ARTIFACT_BYTES;
}

/** As the service does before it takes the order of a file: see app/service.ts. */
export async function previewedArtifact(): Promise<ArtifactSummary> {
  const artifact = await createArtifactReader().open(
    artifactBytes(),
    { verifyKeyPaths: [] },
    new AbortController().signal,
  );
  try {
    return summaryOf(artifact.info);
  } finally {
    await artifact.close();
  }
}

/** Opens an artifact wherever it lies. */
import type { ArtifactBytes, ArtifactLocation, ArtifactSource } from '../../ports/artifact-source.ts';
import { openFileSource } from './file-source.ts';
import type { UrlSourceOptions } from './http-client.ts';
import { openUrlSource } from './url-source.ts';

export class LocalAndHttpSource implements ArtifactSource {
  readonly #options: UrlSourceOptions;

  constructor(options: UrlSourceOptions) {
    this.#options = options;
  }

  open(location: ArtifactLocation, signal: AbortSignal): Promise<ArtifactBytes> {
    return location.kind === 'file'
      ? openFileSource(location, signal)
      : openUrlSource(location.url, this.#options, signal);
  }
}

/** Opens an artifact wherever it lies. */
import type { ArtifactBytes, ArtifactLocation, ArtifactSource } from '../../ports/artifact-source.ts';
import { openFileSource } from './file-source.ts';
import type { UrlSourceOptions } from './http-client.ts';

export class LocalAndHttpSource implements ArtifactSource {
  readonly #options: UrlSourceOptions;

  constructor(options: UrlSourceOptions) {
    this.#options = options;
  }

  async open(location: ArtifactLocation, signal: AbortSignal): Promise<ArtifactBytes> {
    if (location.kind === 'file') return openFileSource(location, signal);
    // Loaded when it is needed: the HTTP client is a third of the program, and of the time it takes to start.
    const { openUrlSource } = await import('./url-source.ts');
    return openUrlSource(location.url, this.#options, signal);
  }
}

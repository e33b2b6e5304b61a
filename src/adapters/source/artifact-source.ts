/** Opens an artifact wherever it lies. */
import { UpdateError } from '../../core/errors.ts';
import type { ArtifactBytes, ArtifactLocation, ArtifactSource } from '../../ports/artifact-source.ts';
import { openFileSource } from './file-source.ts';
import type { UrlSourceOptions } from './url-source.ts';

export class LocalAndHttpSource implements ArtifactSource {
  readonly #url: UrlSourceOptions | null;

  /** null = local files only. */
  constructor(url: UrlSourceOptions | null) {
    this.#url = url;
  }

  async open(location: ArtifactLocation, signal: AbortSignal): Promise<ArtifactBytes> {
    if (location.kind === 'file') return openFileSource(location, signal);
    if (this.#url === null) throw new UpdateError('internal', 'nothing was set up for downloads');
    // Loaded when it is needed: the HTTP client is a third of the program, and of the time it takes to start.
    const { openUrlSource } = await import('./url-source.ts');
    return openUrlSource(location.url, this.#url, signal);
  }
}

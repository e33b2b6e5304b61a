import type { ArtifactLocation } from '../core/artifact.ts';

export type { ArtifactLocation } from '../core/artifact.ts';

/**
 * Where artifacts come from. Only plain data and byte streams cross this port, so that the adapter can move
 * into a process of its own (docs/decisions/0003).
 */

export interface ArtifactBytes {
  /** −1 = unknown. */
  readonly sizeBytes: number;
  /** Of a local file: which one it was, whatever its path leads to later. */
  readonly identity?: { readonly device: string; readonly inode: string };
  /** Can be read once. Ends early with an UpdateError of kind `source`. Stops when the signal aborts. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

export interface ArtifactSource {
  open(location: ArtifactLocation, signal: AbortSignal): Promise<ArtifactBytes>;
}

/** What the parts of decompression say to each other: one engine per format, driven by decompress.ts. */
import type { Readable, Writable } from 'node:stream';
import { ArtifactError } from '../../core/artifact-error.ts';

export interface UnpackContext {
  /** The member's name, for messages. */
  readonly member: string;
  readonly signal: AbortSignal;
  /** Folders in which `xz` and `zstd` are looked up, as in PATH. */
  readonly searchPath: string;
}

/** What does the work. */
export interface Engine {
  readonly sink: Writable;
  readonly output: Readable;
  /** Rejects as soon as the work is known to have failed, with the error to report; never resolves. */
  readonly failed: Promise<never>;
  /** Called when the output has ended: rejects unless all of the input was one good stream. */
  settle(input: InputFacts): Promise<void>;
  /** Ends the work wherever it is; resolves when nothing of it is left. */
  stop(): Promise<void>;
}

export interface InputFacts {
  /** Whether all of the input was handed over, and its end told. */
  readonly isEnded: boolean;
  /** Bytes handed over. */
  readonly bytes: number;
}

export function damaged(member: string, found: string, expected: string, cause?: unknown): ArtifactError {
  return new ArtifactError('damaged-compression', { where: member, found, expected }, cause);
}

import type { ArtifactInfo } from '../core/artifact.ts';

/** One payload file as it streams by. Must be read to its end before the next one is asked for. */
export interface PayloadFile {
  readonly name: string;
  /** From the inner tar header. */
  readonly sizeBytes: number;
  /** 64 hex digits the manifest demands; what `content` yields is checked against it. */
  readonly sha256?: string;
  /**
   * The uncompressed content. Ends with an ArtifactError (`checksum-mismatch`) when the content is not what the
   * manifest says; the error comes before the iteration ends normally.
   */
  readonly content: AsyncIterable<Uint8Array>;
}

export interface StateScriptFile {
  readonly name: string;
  readonly content: Uint8Array;
}

/** An artifact of which manifest, signature, version and header have been verified, and no payload byte read. */
export interface OpenArtifact {
  readonly info: ArtifactInfo;
  /** The state scripts of the verified header. */
  readonly scripts: readonly StateScriptFile[];
  /** Payload files in artifact order. After the last one the rest of the artifact has been read and verified. */
  payloadFiles(): AsyncIterable<PayloadFile>;
  /** Reads and verifies whatever was not read yet; every listed file must have been met. */
  finish(): Promise<void>;
  /** Bytes of the artifact consumed so far. */
  readonly consumedBytes: number;
  /** Ends helper processes and lets go of the source. Safe to call twice and at any time. */
  close(): Promise<void>;
}

export interface ReadOptions {
  /** PEM files; empty = signatures are not checked. Any unreadable one refuses every artifact. */
  readonly verifyKeyPaths: readonly string[];
  /** Bootstrap artifacts: signature ignored (spec/artifact.md section 7.2). */
  readonly isSignatureIgnored?: boolean;
}

/** Rejects with an ArtifactError (core/artifact-error.ts) naming what was found, where, and what was expected. */
export interface ArtifactReader {
  open(chunks: AsyncIterable<Uint8Array>, options: ReadOptions, signal: AbortSignal): Promise<OpenArtifact>;
}

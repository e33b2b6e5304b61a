/** Reads an artifact the way a careful installer does and tells what came of it. */
import { createHash } from 'node:crypto';
import type { ArtifactInfo, Installed } from '../../src/core/artifact.ts';
import { ArtifactError } from '../../src/core/artifact-error.ts';
import { checkDepends } from '../../src/core/provides.ts';
import { createArtifactReader } from '../../src/adapters/artifact/reader.ts';

export const NOTHING_INSTALLED: Installed = { artifactName: 'unknown', artifactGroup: '', provides: {} };

export interface VerdictOptions {
  readonly verifyKeyPaths?: readonly string[];
  readonly isSignatureIgnored?: boolean;
  readonly chunkBytes?: number;
  readonly deviceType?: string | null;
  readonly installed?: Installed;
  readonly signal?: AbortSignal;
}

export interface Verdict {
  /** null = valid and fitting. */
  readonly error: unknown;
  /** `header`: nothing was opened; `policy`: depends; `payload`: while or after reading files; `valid`. */
  readonly phase: 'header' | 'policy' | 'payload' | 'valid';
  readonly payloadBytes: number;
  readonly info: ArtifactInfo | null;
  /** Name → SHA-256 of the content that was handed out completely. */
  readonly files: Readonly<Record<string, string>>;
  readonly scripts: Readonly<Record<string, string>>;
  readonly consumedBytes: number;
}

export async function* inChunks(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

export async function judge(bytes: Uint8Array, options: VerdictOptions = {}): Promise<Verdict> {
  const chunks = inChunks(bytes, options.chunkBytes ?? 64 * 1024);
  return judgeChunks(chunks, options);
}

export async function judgeChunks(
  chunks: AsyncIterable<Uint8Array>,
  options: VerdictOptions = {},
): Promise<Verdict> {
  const verdict = {
    error: null as unknown,
    phase: 'header' as Verdict['phase'],
    payloadBytes: 0,
    info: null as ArtifactInfo | null,
    files: {} as Record<string, string>,
    scripts: {} as Record<string, string>,
    consumedBytes: 0,
  };
  const { verifyKeyPaths = [], isSignatureIgnored = false } = options;
  const { signal = new AbortController().signal, deviceType = 'test-device' } = options;
  try {
    const artifact = await createArtifactReader().open(
      chunks,
      { verifyKeyPaths, isSignatureIgnored },
      signal,
    );
    try {
      verdict.info = artifact.info;
      for (const { name, content } of artifact.scripts) verdict.scripts[name] = digest([content]);
      verdict.phase = 'policy';
      checkDepends(artifact.info, options.installed ?? NOTHING_INSTALLED, deviceType);
      verdict.phase = 'payload';
      for await (const file of artifact.payloadFiles()) {
        const hash = createHash('sha256');
        for await (const piece of file.content) {
          verdict.payloadBytes += piece.byteLength;
          hash.update(piece);
        }
        verdict.files[file.name] = hash.digest('hex');
      }
      await artifact.finish();
      verdict.consumedBytes = artifact.consumedBytes;
      verdict.phase = 'valid';
    } finally {
      await artifact.close();
    }
  } catch (error) {
    verdict.error = error;
  }
  return verdict;
}

function digest(parts: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

/** The code of a refusal; throws whatever is no refusal, so that a crash never looks like a verdict. */
export function codeOf(verdict: Verdict): string {
  if (verdict.error === null) return 'valid';
  if (verdict.error instanceof ArtifactError) return verdict.error.code;
  throw verdict.error;
}

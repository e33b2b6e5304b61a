/** SHA-256 of a piece of the artifact, compared with what the manifest demands. */
import { createHash, type Hash } from 'node:crypto';
import { ArtifactError } from '../../core/artifact-error.ts';

export function newSum(): Hash {
  return createHash('sha256');
}

export function sumOf(bytes: Uint8Array): string {
  return newSum().update(bytes).digest('hex');
}

/** Throws `checksum-mismatch`; both sums are 64 lower-case hex digits. */
export function requireSum(where: string, found: string, expected: string): void {
  if (found === expected) return;
  throw new ArtifactError('checksum-mismatch', {
    where,
    found: `SHA-256 ${found}`,
    expected: `SHA-256 ${expected} as the manifest says`,
  });
}

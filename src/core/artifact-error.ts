import { UpdateError, type FailureName } from './errors.ts';

/**
 * Every reason an artifact is refused for, with the failure a deployment then ends with. The codes are stable:
 * they appear in `holdpoint inspect --json` and on the bus. Numbers in comments: cases of spec/artifact.md
 * section 12.
 */
export const ARTIFACT_ERROR_CODES = {
  'not-an-artifact': 'Format',
  'unexpected-end': 'Format',
  'damaged-tar': 'Format',
  'wrong-member': 'Format',
  'wrong-order': 'Format',
  'not-a-regular-file': 'Format',
  'too-large': 'Format',
  'trailing-data': 'Format',
  'bad-version': 'Format',
  'unsupported-version': 'Format',
  'bad-manifest': 'Format',
  'checksum-missing': 'Checksum',
  'checksum-mismatch': 'Checksum',
  'listed-file-missing': 'Checksum',
  'file-not-in-manifest': 'Checksum',
  'unknown-compression': 'Format',
  'damaged-compression': 'Format',
  'bad-header-info': 'Format',
  'bad-type-info': 'Format',
  'bad-meta-data': 'Format',
  'bad-payload-type': 'Format',
  'payload-type-mismatch': 'Format',
  'multiple-payloads': 'Format',
  'augmented-artifact': 'Format',
  'reserved-key': 'Format',
  'bad-script': 'Format',
  'bad-file-name': 'Format',
  'duplicate-file': 'Format',
  'empty-payload-not-empty': 'Format',
  'signature-missing': 'Signature',
  'signature-invalid': 'Signature',
  'verify-key-unreadable': 'Signature',
  'wrong-device-type': 'Incompatible',
  'unknown-device-type': 'Incompatible',
  'unmet-dependency': 'Dependency',
  'no-update-module': 'Incompatible',
  'digest-mismatch': 'Checksum',
} as const satisfies Record<string, FailureName>;
export type ArtifactErrorCode = keyof typeof ARTIFACT_ERROR_CODES;

export class ArtifactError extends UpdateError {
  readonly code: ArtifactErrorCode;
  /** Member or file, with the byte offset where it helps. */
  readonly where: string;
  readonly found: string;
  readonly expected: string;

  constructor(
    code: ArtifactErrorCode,
    facts: { readonly where: string; readonly found: string; readonly expected: string },
    cause?: unknown,
  ) {
    super('artifact', `${facts.where}: found ${facts.found}, expected ${facts.expected}`, {
      cause,
      failureName: ARTIFACT_ERROR_CODES[code],
      details: { code, where: facts.where, found: facts.found, expected: facts.expected },
    });
    this.code = code;
    this.where = facts.where;
    this.found = facts.found;
    this.expected = facts.expected;
  }
}

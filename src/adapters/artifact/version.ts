/** The first member: which format this is. Source: spec/artifact.md section 2. */
import { ArtifactError } from '../../core/artifact-error.ts';
import { complaints, describe, field, parseJsonObject, requireKnownKeys } from './json.ts';

/** Returns for format 3. Codes: `bad-version`, `unsupported-version`. */
export function requireVersion3(bytes: Uint8Array): void {
  const complain = complaints('bad-version', 'version');
  const { value } = parseJsonObject(bytes, complain);
  requireKnownKeys(value, ['format', 'version'], complain);
  const format = field(value, 'format');
  if (format !== 'mender') throw complain(describe(format), 'the format "mender"', 'format');
  const version = field(value, 'version');
  if (typeof version !== 'number' || !Number.isSafeInteger(version)) {
    throw complain(describe(version), 'a whole number', 'version');
  }
  if (version === 3) return;
  throw new ArtifactError('unsupported-version', {
    where: 'version',
    found: `format version ${version}`,
    expected: 'format version 3',
  });
}

/**
 * The stored form of a standalone update: the members of Mender's `standalone-state`, versions 1 and 2, so that
 * such a record can be taken over as it is. `Verdict` and `RebootAskedIn` are ours; whoever does not know them
 * passes over them.
 * Source: spec/configuration.md section 3.4.
 */
import * as v from 'valibot';
import { UpdateError } from '../../core/errors.ts';
import { IN_STATES } from '../../core/standalone-table.ts';
import type { StandaloneRecord } from '../../core/standalone.ts';

const common = {
  ArtifactName: v.pipe(v.string(), v.minLength(1)),
  ArtifactGroup: v.optional(v.string(), ''),
  ArtifactTypeInfoProvides: v.nullish(v.record(v.string(), v.string()), null),
  ArtifactClearsProvides: v.nullish(v.array(v.string()), null),
  PayloadTypes: v.tuple([v.pipe(v.string(), v.minLength(1))]),
};
const document = v.variant('Version', [
  v.object({ Version: v.literal(1), ...common }),
  v.object({
    Version: v.literal(2),
    ...common,
    InState: v.picklist(IN_STATES),
    Failed: v.boolean(),
    RolledBack: v.boolean(),
    Verdict: v.nullish(v.picklist(['new', 'old', 'inconsistent']), null),
    RebootAskedIn: v.optional(v.string(), ''),
  }),
]);

/** What `JSON.stringify` is given; null = nothing is pending. */
export type StandaloneDocument = Readonly<Record<string, unknown>> | null;

export function standaloneDocumentOf(record: StandaloneRecord | null): StandaloneDocument {
  if (record === null) return null;
  return {
    Version: 2,
    ArtifactName: record.artifactName,
    ArtifactGroup: record.artifactGroup,
    ...(record.provides && { ArtifactTypeInfoProvides: record.provides }),
    ...(record.clearsProvides && { ArtifactClearsProvides: record.clearsProvides }),
    PayloadTypes: [record.payloadType],
    InState: record.inState,
    Failed: record.hasFailed,
    RolledBack: record.isRolledBack,
    ...(record.verdict && { Verdict: record.verdict }),
    ...(record.rebootAskedIn !== '' && { RebootAskedIn: record.rebootAskedIn }),
  };
}

/** Throws UpdateError (kind `store`) naming the first member that is not as it should be, and what was found. */
export function parseStandaloneDocument(value: unknown): StandaloneRecord | null {
  if (value === null) return null;
  const result = v.safeParse(document, value, { abortEarly: true });
  if (!result.success) {
    const [issue] = result.issues;
    const path = v.getDotPath(issue) ?? 'document';
    throw new UpdateError(
      'store',
      `stored standalone update: ${path}: found ${issue.received}, expected ${issue.expected ?? 'another value'}`,
    );
  }
  const found = result.output;
  const isFirst = found.Version === 1;
  return {
    artifactName: found.ArtifactName,
    artifactGroup: found.ArtifactGroup,
    provides: found.ArtifactTypeInfoProvides,
    clearsProvides: found.ArtifactClearsProvides,
    payloadType: found.PayloadTypes[0],
    // Version 1 knew one place only.
    inState: isFirst ? 'Before_ArtifactCommit_Enter' : found.InState,
    hasFailed: isFirst ? false : found.Failed,
    isRolledBack: isFirst ? false : found.RolledBack,
    verdict: isFirst ? null : found.Verdict,
    rebootAskedIn: isFirst ? '' : found.RebootAskedIn,
  };
}

/**
 * What a standalone command says and which status it exits with. Sentences as Mender 5.1 prints them.
 * Source: spec/update-flow.md section 9.2, spec/configuration.md sections 4.2 and 4.3.
 */
import type { Failure } from '../core/errors.ts';
import { RECORD_FLOW, type Deed } from '../core/standalone-table.ts';
import type { StandaloneRecord } from '../core/standalone.ts';

export const STANDALONE_EXIT = { done: 0, failed: 1, nothingPending: 2, rebootNeeded: 4 } as const;

export interface StandaloneReport {
  readonly kind: 'ended' | 'interrupted' | 'nothing-pending' | 'already-pending' | 'refused';
  readonly deeds: readonly Deed[];
  readonly failure: Failure | null;
  readonly record: Pick<StandaloneRecord, 'inState'> | null;
}

export interface StandaloneView {
  /** For standard output. */
  readonly lines: readonly string[];
  /** What went wrong, for standard error; null = nothing did. */
  readonly complaint: string | null;
  readonly exitCode: number;
}

const NOT_MODIFIED = 'System not modified.';

export interface StandaloneOptions {
  readonly command: 'install' | 'commit' | 'rollback' | 'resume';
  /** `--reboot-exit-code`. */
  readonly isRebootTold: boolean;
  /** Exit status after an interruption, 128 + signal. */
  readonly interruptedExitCode: number;
}

export function viewStandalone(report: StandaloneReport, options: StandaloneOptions): StandaloneView {
  const { failure, record } = report;
  const exitCode = exitCodeOf(report, options);
  const hint = record === null ? [] : [RECORD_FLOW[record.inState].hint];
  switch (report.kind) {
    case 'nothing-pending':
      return { lines: ['No update in progress.'], complaint: null, exitCode };
    case 'already-pending':
      return {
        lines: [NOT_MODIFIED],
        complaint: 'an update is in progress already; commit or roll back first',
        exitCode,
      };
    case 'refused':
      return {
        lines: [],
        complaint: `not possible in state ${record?.inState ?? ''}. ${hint.join(' ')}`,
        exitCode,
      };
    case 'interrupted': {
      const where = record === null ? `Interrupted. ${NOT_MODIFIED}` : `Interrupted in ${record.inState}.`;
      return { lines: [where, ...hint], complaint: null, exitCode };
    }
    case 'ended': {
      const lines = sentences(report.deeds);
      // Stopped where Mender says nothing at all: tell how to go on.
      const isSilent = record !== null && !lines.some((text) => DONE.has(text));
      return { lines: isSilent ? [...lines, ...hint] : lines, complaint: failure?.message ?? null, exitCode };
    }
  }
}

const NOT_COMMITTED = 'Installed, but not committed.';
const STREAMED = 'Streamed to storage, but not installed/enabled.';
const DONE: ReadonlySet<string> = new Set([
  NOT_COMMITTED,
  STREAMED,
  'Committed.',
  'Installed and committed.',
]);

/** In order: what was attempted, what became of the system, what else there is to know. */
function sentences(deeds: readonly Deed[]): readonly string[] {
  const has = (deed: Deed): boolean => deeds.includes(deed);
  const lines: string[] = [];
  if (has('auto-commit')) lines.push("Update Module doesn't support rollback. Committing immediately.");
  const operation = failedOperation(has) ?? doneOperation(has, deeds);
  if (operation !== '') lines.push(operation);
  if (operation === NOT_COMMITTED) lines.push(RECORD_FLOW.Before_ArtifactCommit_Enter.hint);

  const more: string[] = [];
  const inconsistent = 'System may be in an inconsistent state.';
  if (has('rollback-refused')) more.push('Update Module does not support rollback.', NOT_MODIFIED);
  else if (has('rollback-failed')) more.push('Rollback failed.', inconsistent);
  else if (has('no-rollback')) more.push('Update Module does not support rollback.', inconsistent);
  else if (has('not-modified')) more.push(NOT_MODIFIED);
  else if (has('rolled-back')) more.push('Rolled back.');
  if (has('post-commit-failed')) more.push('One or more post-commit steps failed.', inconsistent);
  if (has('cleanup-failed')) more.push('Cleanup failed.');
  if (has('reboot-required')) more.push('At least one payload requested a reboot of the device it updated.');
  if (more.length > 0) lines.push(more.join(' '));
  return lines;
}

/** null = nothing that was attempted failed. After a commit the operation counts as done, whatever follows. */
function failedOperation(has: (deed: Deed) => boolean): string | null {
  if (!has('failed') || has('post-commit-failed')) return null;
  if (has('streaming-failed')) return 'Streaming failed.';
  if (has('installation-failed')) return 'Installation failed.';
  return has('commit-failed') ? 'Committing failed.' : null;
}

function doneOperation(has: (deed: Deed) => boolean, deeds: readonly Deed[]): string {
  if (has('committed')) return has('installed') ? 'Installed and committed.' : 'Committed.';
  if (has('installed')) return NOT_COMMITTED;
  if (has('streamed')) return STREAMED;
  return deeds.every((deed) => deed === 'cleaned') && has('cleaned') ? 'Cleaned up.' : '';
}

function exitCodeOf({ kind, deeds }: StandaloneReport, options: StandaloneOptions): number {
  if (kind === 'nothing-pending') return STANDALONE_EXIT.nothingPending;
  if (kind === 'interrupted') return options.interruptedExitCode;
  if (kind !== 'ended' || deeds.includes('failed')) return STANDALONE_EXIT.failed;
  const isRebootTold = options.isRebootTold || options.command === 'commit';
  return deeds.includes('reboot-required') && isRebootTold
    ? STANDALONE_EXIT.rebootNeeded
    : STANDALONE_EXIT.done;
}

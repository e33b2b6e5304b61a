/**
 * What a standalone command of Mender 3.x prints on standard output, and its exit status. Compared with the real client
 * in test/integration/mender-cli. Source: spec/update-flow.md section 9.1, spec/configuration.md section 4.3.
 */
import type { Deed } from '../../core/standalone-table.ts';
import {
  STANDALONE_EXIT,
  type StandaloneOptions,
  type StandaloneReport,
  type StandaloneView,
  viewStandalone,
} from '../standalone-view.ts';

/** −1 = unknown. */
export function installingLine(sizeBytes: number): string {
  return `Installing Artifact of size ${sizeBytes}...`;
}

export function viewOf3(report: StandaloneReport, options: StandaloneOptions): StandaloneView {
  const view = viewStandalone(report, options);
  // No exit status 4 from commit.
  const exitCode =
    view.exitCode === STANDALONE_EXIT.rebootNeeded && !options.isRebootTold
      ? STANDALONE_EXIT.done
      : view.exitCode;
  return { lines: linesOf(report, options.command), complaint: complaintOf(report, view), exitCode };
}

function complaintOf({ kind }: StandaloneReport, view: StandaloneView): string | null {
  if (kind === 'nothing-pending') return 'no update is in progress';
  // There is no line for it on standard output.
  return kind === 'interrupted' ? view.lines.join(' ') : view.complaint;
}

function linesOf(
  { kind, deeds }: StandaloneReport,
  command: StandaloneOptions['command'],
): readonly string[] {
  if (kind !== 'ended') return [];
  const has = (...wanted: readonly Deed[]): boolean => wanted.some((deed) => deeds.includes(deed));
  const lines: string[] = [];
  if (has('auto-commit')) lines.push("Artifact doesn't support rollback. Committing immediately.");
  if (has('committed', 'commit-failed')) lines.push('Committing Artifact...');
  else if (has('installed') && !has('failed')) {
    lines.push("Use 'commit' to update, or 'rollback' to roll back the update.");
  }
  if (has('rolled-back', 'rollback-failed')) lines.push('Rolling back Artifact...');
  if (command === 'install' && has('reboot-required')) {
    lines.push('At least one payload requested a reboot of the device it updated.');
  }
  return lines;
}

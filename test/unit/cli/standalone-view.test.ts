import { describe, expect, it } from 'vitest';
import { viewStandalone, type StandaloneReport } from '../../../src/cli/standalone-view.ts';
import type { Deed } from '../../../src/core/standalone-table.ts';

/** Sentences and exit codes of Mender 5.1: spec/update-flow.md section 9.2. */
function view(
  report: Partial<StandaloneReport>,
  options: Partial<Parameters<typeof viewStandalone>[1]> = {},
): ReturnType<typeof viewStandalone> {
  return viewStandalone(
    { kind: 'ended', deeds: [], failure: null, record: null, ...report },
    { command: 'install', isRebootTold: false, interruptedExitCode: 130, ...options },
  );
}
const INCONSISTENT = 'System may be in an inconsistent state.';

describe('a standalone command', () => {
  it.each<[string, readonly Deed[], readonly string[], number]>([
    [
      'installs and commits',
      ['streamed', 'installed', 'committed', 'cleaned'],
      ['Installed and committed.'],
      0,
    ],
    ['commits', ['committed', 'cleaned'], ['Committed.'], 0],
    ['rolls back', ['rolled-back', 'cleaned'], ['Rolled back.'], 0],
    ['cleans up', ['cleaned'], ['Cleaned up.'], 0],
    [
      'cannot stream',
      ['streaming-failed', 'not-modified', 'failed', 'cleaned'],
      ['Streaming failed.', 'System not modified.'],
      1,
    ],
    [
      'cannot install, and rolls back',
      ['streamed', 'installation-failed', 'failed', 'rolled-back', 'cleaned'],
      ['Installation failed.', 'Rolled back.'],
      1,
    ],
    [
      'cannot commit what cannot be rolled back',
      ['streamed', 'installed', 'auto-commit', 'commit-failed', 'failed', 'no-rollback', 'cleaned'],
      [
        "Update Module doesn't support rollback. Committing immediately.",
        'Committing failed.',
        `Update Module does not support rollback. ${INCONSISTENT}`,
      ],
      1,
    ],
    ['cannot roll back', ['rollback-failed', 'failed', 'cleaned'], [`Rollback failed. ${INCONSISTENT}`], 1],
    [
      'is asked for an impossible rollback',
      ['rollback-refused', 'failed'],
      ['Update Module does not support rollback. System not modified.'],
      1,
    ],
    [
      'fails behind the commit',
      ['committed', 'commit-failed', 'post-commit-failed', 'failed', 'cleaned'],
      ['Committed.', `One or more post-commit steps failed. ${INCONSISTENT}`],
      1,
    ],
    ['cannot clean up', ['committed', 'cleanup-failed', 'failed'], ['Committed.', 'Cleanup failed.'], 1],
  ])('that %s', (_, deeds, lines, exitCode) => {
    expect(view({ deeds })).toEqual({ lines, complaint: null, exitCode });
  });

  it('that stops for the user says how to go on, and that a reboot is needed', () => {
    const record = { inState: 'Before_ArtifactCommit_Enter' } as const;
    const report = { deeds: ['streamed', 'installed', 'reboot-required'], record } as const;
    const lines = [
      'Installed, but not committed.',
      "Use 'commit' to update, or 'rollback' to roll back the update.",
      'At least one payload requested a reboot of the device it updated.',
    ];
    expect(view(report)).toEqual({ lines, complaint: null, exitCode: 0 });
    expect(view(report, { isRebootTold: true }).exitCode).toBe(4);
    expect(view({ deeds: ['committed', 'reboot-required'] }, { command: 'commit' }).exitCode).toBe(4);
    expect(
      view({ deeds: ['installation-failed', 'reboot-required', 'failed'] }, { isRebootTold: true }).exitCode,
    ).toBe(1);
  });

  it('that finds nothing, something, or the wrong state', () => {
    expect(view({ kind: 'nothing-pending' })).toEqual({
      lines: ['No update in progress.'],
      complaint: null,
      exitCode: 2,
    });
    const record = { inState: 'Cleanup' } as const;
    expect(view({ kind: 'already-pending', record })).toMatchObject({
      lines: ['System not modified.'],
      exitCode: 1,
    });
    expect(view({ kind: 'refused', record })).toMatchObject({
      complaint: "not possible in state Cleanup. Use 'resume' to clean up.",
      exitCode: 1,
    });
  });

  it('that is interrupted tells the state and the way on', () => {
    expect(view({ kind: 'interrupted', deeds: ['failed'] })).toEqual({
      lines: ['Interrupted. System not modified.'],
      complaint: null,
      exitCode: 130,
    });
    const record = { inState: 'ArtifactInstall_Enter' } as const;
    expect(view({ kind: 'interrupted', record }, { interruptedExitCode: 143 })).toMatchObject({
      lines: [
        'Interrupted in ArtifactInstall_Enter.',
        "The installation was interrupted. Use 'resume' or 'rollback' to roll back.",
      ],
      exitCode: 143,
    });
  });
});

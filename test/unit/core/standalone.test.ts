import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Failure } from '../../../src/core/errors.ts';
import {
  beginRun,
  followRun,
  INSTALL_RUN,
  isStopHere,
  recordToStore,
  settle,
  type StandaloneRecord,
  type StandaloneRun,
} from '../../../src/core/standalone.ts';
import {
  IN_STATES,
  RECORD_FLOW,
  STANDALONE_FLOW,
  STANDALONE_STEPS,
  STOP_POINTS,
  type StandaloneOutcome,
  type StandaloneStep,
} from '../../../src/core/standalone-table.ts';

const RECORD: StandaloneRecord = {
  artifactName: 'release-2',
  artifactGroup: '',
  provides: { 'app.version': '2' },
  clearsProvides: ['app.*'],
  payloadType: 'probe',
  inState: 'Before_ArtifactInstall_Enter',
  hasFailed: false,
  isRolledBack: false,
  verdict: null,
  rebootAskedIn: '',
};
const BOOT = 'boot-1';
const OLD = {
  artifactName: 'release-1',
  artifactGroup: 'beta',
  provides: { 'app.version': '1', other: 'x' },
};
const FAILURE: Failure = { name: 'Internal', message: 'a test', details: {} };

/** As the driver does, the record is known once the artifact is open, and stored where the table says so. */
function step(run: StandaloneRun, outcome: StandaloneOutcome): StandaloneRun {
  const stored = recordToStore(run);
  const known = stored ?? run.record ?? { ...RECORD };
  return followRun({ ...run, record: known }, outcome, outcome === 'failed' ? FAILURE : null);
}

const outcomesOf = (at: StandaloneStep): readonly StandaloneOutcome[] =>
  Object.keys(STANDALONE_FLOW[at].next) as StandaloneOutcome[];

const starts: readonly StandaloneRun[] = [
  INSTALL_RUN,
  ...IN_STATES.flatMap((inState) =>
    (['commit', 'rollback', 'resume'] as const).flatMap(
      (command) => beginRun({ ...RECORD, inState }, command, BOOT) ?? [],
    ),
  ),
];

describe('the standalone table', () => {
  it('reaches every step', () => {
    const seen = new Set<StandaloneStep>();
    const queue = [...starts];
    for (let run = queue.pop(); run !== undefined; run = queue.pop()) {
      if (seen.has(run.step) && run.deeds.length > 3) continue;
      seen.add(run.step);
      for (const outcome of outcomesOf(run.step)) {
        const next = step(run, outcome);
        if (!seen.has(next.step)) queue.push(next);
      }
    }
    expect([...seen].sort()).toEqual([...STANDALONE_STEPS].sort());
  });

  it('has a stop for every stop point, each with a record', () => {
    const rows = Object.values(STANDALONE_FLOW).filter(({ stop }) => stop !== undefined);
    expect(rows.map(({ stop }) => stop).sort()).toEqual([...STOP_POINTS].sort());
    for (const row of rows) expect(row.saves).toBeDefined();
  });

  it('resumes from every record where that record is stored, or on the way back', () => {
    for (const inState of IN_STATES) {
      const { resumesAt } = RECORD_FLOW[inState];
      expect([inState, undefined]).toContain(STANDALONE_FLOW[resumesAt].saves);
    }
  });

  it('comes to an end whatever happens, and knows what is installed then', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...starts),
        fc.array(fc.nat(), { minLength: 40, maxLength: 40 }),
        (start, choices) => {
          let run = start;
          let wasCleanedUp = false;
          let hasSaved = start.record !== null;
          for (const choice of choices) {
            if (run.step === 'end') break;
            if (recordToStore(run) !== null || (run.step !== 'open' && run.record === null))
              hasSaved ||= true;
            // Nothing of the installation is begun before a record tells of it.
            if (run.step === 'install') expect(hasSaved).toBe(true);
            const outcomes = outcomesOf(run.step);
            if (run.step === 'cleanup') {
              wasCleanedUp = true;
              const record = recordToStore({ ...run, record: run.record ?? RECORD });
              expect(record?.verdict).not.toBeNull();
              const name = settle(OLD, record as StandaloneRecord).artifactName;
              if (run.deeds.includes('rollback-failed') || run.deeds.includes('no-rollback')) {
                expect(name).toBe('release-2_INCONSISTENT');
              }
              if (run.deeds.includes('committed') && !run.deeds.includes('failed'))
                expect(name).toBe('release-2');
              if (run.deeds.includes('not-modified')) expect(name).toBe('release-1');
            }
            const outcome = outcomes[choice % outcomes.length] as StandaloneOutcome;
            run = step(run, outcome);
            if (outcome === 'failed' && run.step !== 'install-error' && run.step !== 'cleanup') {
              const isTold = run.deeds.includes('failed') || ['rollback-check'].includes(run.step);
              expect(isTold || run.failure !== null).toBe(true);
            }
          }
          expect(run.step).toBe('end');
          if (wasCleanedUp)
            expect(run.deeds.some((deed) => deed === 'cleaned' || deed === 'cleanup-failed')).toBe(true);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('stops only where it is told to', () => {
    const run: StandaloneRun = { step: 'before-commit', record: RECORD, deeds: [], failure: null };
    expect(isStopHere(run, ['ArtifactCommit_Enter'])).toBe(true);
    expect(isStopHere(run, ['ArtifactCommit_Leave', 'Cleanup'])).toBe(false);
    expect(isStopHere({ ...run, step: 'commit' }, [...STOP_POINTS])).toBe(false);
  });
});

describe('what is installed after the clean-up', () => {
  it('is the artifact, what was there, or the new name with its suffix and the old provides', () => {
    expect(settle(OLD, { ...RECORD, verdict: 'new' })).toEqual({
      artifactName: 'release-2',
      artifactGroup: 'beta',
      provides: { 'app.version': '2', other: 'x' },
    });
    expect(settle(OLD, { ...RECORD, verdict: 'old' })).toBe(OLD);
    expect(settle(OLD, { ...RECORD, verdict: 'inconsistent' })).toEqual({
      ...OLD,
      artifactName: 'release-2_INCONSISTENT',
    });
  });

  it('is the same when it is settled twice', () => {
    for (const verdict of ['new', 'old', 'inconsistent'] as const) {
      const once = settle(OLD, { ...RECORD, verdict });
      expect(settle(once, { ...RECORD, verdict })).toEqual(once);
    }
  });

  it('follows from the flags in a record that Mender wrote', () => {
    const name = (hasFailed: boolean, isRolledBack: boolean): string =>
      settle(OLD, { ...RECORD, inState: 'Cleanup', hasFailed, isRolledBack }).artifactName;
    expect(name(false, false)).toBe('release-2');
    expect(name(true, true)).toBe('release-1');
    expect(name(true, false)).toBe('release-2_INCONSISTENT');
  });
});

describe('a reboot that the payload asked for', () => {
  const asked = (inState: StandaloneRecord['inState'], rebootAskedIn = BOOT): StandaloneRecord => ({
    ...RECORD,
    inState,
    rebootAskedIn,
  });
  it.each([
    ['commit', 'Before_ArtifactCommit_Enter'],
    ['resume', 'Before_ArtifactCommit_Enter'],
    ['resume', 'Before_ArtifactCommit_Leave'],
    ['resume', 'ArtifactCommit_Leave'],
  ] as const)('is told by %s in %s, while the same kernel runs', (command, inState) => {
    expect(beginRun(asked(inState), command, BOOT)?.deeds).toContain('reboot-required');
    expect(beginRun(asked(inState), command, 'boot-2')?.deeds).not.toContain('reboot-required');
    expect(beginRun(asked(inState, ''), command, '')?.deeds).not.toContain('reboot-required');
  });

  it('is not told by a rollback, nor by a commit that was interrupted and goes back', () => {
    expect(beginRun(asked('Before_ArtifactCommit_Enter'), 'rollback', BOOT)?.deeds).toEqual([]);
    expect(beginRun(asked('ArtifactCommit_Enter'), 'commit', BOOT)?.deeds).not.toContain('reboot-required');
  });
});

describe('a failed step on the way back', () => {
  it.each([
    'rollback-enter',
    'rollback',
    'rollback-leave',
    'failure-enter',
    'failure',
    'failure-leave',
  ] as const)('%s: the rest is attempted, and the system is called inconsistent', (failing) => {
    let run = beginRun({ ...RECORD, inState: 'ArtifactRollback_Enter' }, 'resume', BOOT) as StandaloneRun;
    const steps: string[] = [];
    while (run.step !== 'cleanup') {
      steps.push(run.step);
      run = step(run, run.step === failing ? 'failed' : 'done');
    }
    expect(steps).toEqual([
      'rollback-enter',
      'rollback',
      'rollback-leave',
      'failure-enter',
      'failure',
      'failure-leave',
    ]);
    expect(run.record?.verdict).toBe('inconsistent');
    expect(run.deeds).toContain('failed');
  });
});

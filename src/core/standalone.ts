import { inconsistentName, applyProvides } from './provides.ts';
import type { Installed, Provides } from './artifact.ts';
import type { Failure } from './errors.ts';
import {
  RECORD_FLOW,
  STANDALONE_FLOW,
  type Deed,
  type InState,
  type StandaloneOutcome,
  type StandaloneStep,
  type StandaloneTarget,
  type StopPoint,
  type Verdict,
} from './standalone-table.ts';

/**
 * Standalone mode, pure: from a record and a command, or from a step and the outcome of its work, to the next step.
 * Who drives it stores `record` wherever the row of a step says so before the step's work is begun.
 * Source: spec/update-flow.md section 9.2.
 */

/** An update that is neither committed nor rolled back. Source: spec/configuration.md section 3.4, version 2. */
export interface StandaloneRecord {
  readonly artifactName: string;
  /** '' = none. */
  readonly artifactGroup: string;
  readonly provides: Provides | null;
  readonly clearsProvides: readonly string[] | null;
  readonly payloadType: string;
  readonly inState: InState;
  /** Something went wrong in the command that stored this; false after every command that ended by itself. */
  readonly hasFailed: boolean;
  readonly isRolledBack: boolean;
  /** Ours, only with `Cleanup`: Mender works it out of the two flags, one of which it has reset by then. */
  readonly verdict: Verdict | null;
  /**
   * Ours: boot id of the kernel under which the installed payload asked for a reboot; '' = it did not, or a Mender client
   * wrote this. While that kernel runs the reboot is still to come, and whoever commits is told.
   */
  readonly rebootAskedIn: string;
}

export type StandaloneCommand = 'commit' | 'rollback' | 'resume';

/** One command on its way. */
export interface StandaloneRun {
  readonly step: StandaloneStep;
  /** What is known of the update; null until the artifact has been opened. */
  readonly record: StandaloneRecord | null;
  readonly deeds: readonly Deed[];
  /** The first thing that went wrong. */
  readonly failure: Failure | null;
}

export const INSTALL_RUN: StandaloneRun = { step: 'open', record: null, deeds: [], failure: null };

/**
 * The run that a command begins with an existing record; null = the record does not allow this command. `bootId`: of the
 * kernel that runs now.
 */
export function beginRun(
  record: StandaloneRecord,
  command: StandaloneCommand,
  bootId: string,
): StandaloneRun | null {
  const row = RECORD_FLOW[record.inState];
  if (command === 'commit' && !row.mayCommit) return null;
  if (command === 'rollback' && !row.mayRollback) return null;
  const deeds: Deed[] = [];
  // After a kill: what failed before it still failed. A command that ended by itself has told, and reset, it.
  if (record.hasFailed) deeds.push('failed');
  if (record.isRolledBack && record.inState === 'ArtifactFailure_Enter') deeds.push('rolled-back');
  if (command === 'rollback') {
    // Asked for, so nothing has failed; a rollback that was begun before is known to be possible.
    const isBegun = record.inState === 'ArtifactRollback_Enter';
    return { step: isBegun ? 'rollback-enter' : 'rollback-check', record, deeds: [], failure: null };
  }
  if (row.interrupted === undefined) {
    if (record.rebootAskedIn !== '' && record.rebootAskedIn === bootId) deeds.push('reboot-required');
    return { step: row.resumesAt, record, deeds, failure: null };
  }
  return {
    step: row.resumesAt,
    record,
    deeds: merged(deeds, [row.interrupted, 'failed']),
    failure: {
      name: 'PowerLoss',
      message: `the update was interrupted in ${record.inState}`,
      details: { step: record.inState },
    },
  };
}

/** Takes the outcome of the present step's work. An outcome the step does not have is a defect of the caller. */
export function followRun(
  run: StandaloneRun,
  outcome: StandaloneOutcome,
  failure: Failure | null,
): StandaloneRun {
  const row = STANDALONE_FLOW[run.step];
  const targets = row.next[outcome];
  if (targets === undefined) throw new Error(`${run.step} has no outcome ${outcome}`);
  const target = choose(run, targets);
  const deeds = merged(run.deeds, target.deeds ?? []);
  const record = run.record && {
    ...run.record,
    isRolledBack: isRolledBack(run.record, deeds),
  };
  const verdict = target.verdict === 'as-rolled-back' ? asRolledBack(record) : target.verdict;
  return {
    step: target.to,
    deeds,
    failure: run.failure ?? failure,
    record: record && (verdict === undefined ? record : { ...record, verdict }),
  };
}

/** The record as it is stored before the work of the present step; null = nothing is stored here. */
export function recordToStore(run: StandaloneRun): StandaloneRecord | null {
  const { saves } = STANDALONE_FLOW[run.step];
  if (saves === undefined || run.record === null) return null;
  return {
    ...run.record,
    inState: saves,
    hasFailed: run.deeds.includes('failed'),
    verdict: saves === 'Cleanup' ? verdictOf(run.record) : null,
  };
}

export function isStopHere(run: StandaloneRun, stops: readonly StopPoint[]): boolean {
  const { stop } = STANDALONE_FLOW[run.step];
  return stop !== undefined && stops.includes(stop);
}

/** What is installed after the clean-up. Applying it twice is the same as once. Source: section 6.5, column C. */
export function settle(installed: Installed, record: StandaloneRecord): Installed {
  switch (verdictOf(record)) {
    case 'old':
      return installed;
    case 'new':
      return applyProvides(installed, record);
    case 'inconsistent':
      return {
        ...installed,
        artifactName: inconsistentName(record.artifactName),
        artifactGroup: record.artifactGroup || installed.artifactGroup,
      };
  }
}

/** A record of Mender has no verdict: it follows from the flags (spec/configuration.md section 3.4). */
function verdictOf(record: StandaloneRecord): Verdict {
  if (record.verdict !== null) return record.verdict;
  if (record.isRolledBack) return 'old';
  return record.hasFailed ? 'inconsistent' : 'new';
}

function asRolledBack(record: StandaloneRecord | null): Verdict {
  return record?.isRolledBack === true ? 'old' : 'inconsistent';
}

/** A script that failed on the way back is not made good by the module's success (section 6.5, column C). */
function isRolledBack(record: StandaloneRecord, deeds: readonly Deed[]): boolean {
  if (deeds.includes('rollback-failed')) return false;
  return record.isRolledBack || deeds.includes('rolled-back') || deeds.includes('not-modified');
}

function choose(run: StandaloneRun, targets: NonNullable<StandaloneRowTargets>): StandaloneTarget {
  if (typeof targets === 'string') return { to: targets };
  if (!Array.isArray(targets)) return targets as StandaloneTarget;
  const hasFailed = run.deeds.includes('failed');
  const list = targets as readonly StandaloneTarget[];
  const fitting = list.find(({ when }) => when === undefined || (when === 'failed') === hasFailed);
  if (fitting === undefined) throw new Error(`no target applies in ${run.step}`);
  return fitting;
}
type StandaloneRowTargets = (typeof STANDALONE_FLOW)[StandaloneStep]['next'][StandaloneOutcome];

function merged(deeds: readonly Deed[], more: readonly Deed[]): readonly Deed[] {
  return [...new Set([...deeds, ...more])];
}

/** What the boot tests do to a device, and what must come of it. */
import type { FlowStep } from '../../../src/core/state.ts';
import { FORWARD_STEPS } from '../../support/stored-state.ts';
import type { Variant } from './field-lab.ts';

export interface Ending {
  readonly result: 'success' | 'failure' | 'rolled-back';
  /** Behind `io.holdpoint.Update1.Failure.`; '' = none. */
  readonly failure: string;
}

export interface BootCase {
  readonly name: string;
  readonly variant: Variant;
  readonly scripts?: Readonly<Record<string, string>>;
  /** The server holds the device at this point, and releases it when it is waiting (again). */
  readonly pauseAt?: 'ArtifactInstall_Enter' | 'ArtifactCommit_Enter';
  readonly cut?: Cut;
  /** Without a cut; with one, `endingAfterCut` says. */
  readonly ending?: Ending;
  /** Part of what continuous integration runs. */
  readonly isInSlice?: true;
}

export type Cut =
  /** As soon as the console shows that the step was entered: its state is stored by then. */
  | { readonly kind: 'entered'; readonly step: FlowStep }
  /** So many milliseconds after the download began: while the image is being written. */
  | { readonly kind: 'writing'; readonly afterMs: number }
  /** While the server holds it at `pauseAt`. */
  | { readonly kind: 'waiting' };

const success: Ending = { result: 'success', failure: '' };
const rolledBack = (failure: string): Ending => ({ result: 'rolled-back', failure });

/** A script that lets the new version be seen as refused by whoever wrote the artifact. */
const REFUSES_COMMIT = {
  ArtifactCommit_Enter_10_refuse: '#!/bin/sh\necho "the pump is not calibrated" >&2\nexit 1\n',
};

export const PLAIN_CASES: readonly BootCase[] = [
  { name: 'a good image', variant: 'good', ending: success, isInSlice: true },
  {
    name: 'an image whose init ends at once',
    variant: 'no-init',
    ending: rolledBack('Reboot'),
    isInSlice: true,
  },
  { name: 'an image whose kernel is no kernel', variant: 'no-kernel', ending: rolledBack('Reboot') },
  {
    name: 'an image whose update service does not start',
    variant: 'no-service',
    ending: rolledBack('Reboot'),
  },
  { name: 'an image whose health check fails', variant: 'unhealthy', ending: rolledBack('HealthCheck') },
  {
    name: 'a commit that a state script refuses',
    variant: 'good',
    scripts: REFUSES_COMMIT,
    ending: rolledBack('StateScript'),
  },
];

const BACKWARD_STEPS: readonly FlowStep[] = [
  'commit-error',
  'rollback-check',
  'rollback-enter',
  'rollback',
  'rollback-leave',
  'rollback-needs-reboot',
  'rollback-reboot-gate',
  'rollback-reboot-enter',
  'rollback-reboot',
  'verify-rollback-reboot',
  'rollback-reboot-leave',
  'failure-enter',
  'failure',
  'failure-leave',
  'cleanup-after-failure',
  'report-failure',
];
/** Steps at which no machine is cut, and why; the kill matrix of the process has them all. */
export const NOT_CUT: Readonly<Partial<Record<FlowStep, string>>> = {
  'idle-enter': 'nothing of a deployment is stored',
  idle: 'nothing of a deployment is stored',
  'idle-leave': 'nothing of a deployment is stored',
  'sync-enter': 'nothing of a deployment is stored',
  sync: 'nothing of a deployment is stored',
  'sync-inventory': 'nothing of a deployment is stored',
  'sync-leave': 'nothing of a deployment is stored',
  'sync-error': 'nothing of a deployment is stored',
  'download-error': 'ends as a cut at download-leave does; nothing of the boot is touched',
  'install-error': 'goes into rollback-check, as commit-error does, with the boot target flipped alike',
  'reboot-error': 'goes into rollback-check, as commit-error does, with the boot target flipped alike',
  'commit-reverify': 'reached after a cut at commit-gate, when the boot loader has gone back already',
  'commit-leave-error': 'behind the commit: the boot is decided, as at commit-leave',
  'rollback-failed-leave': 'needs a boot loader that cannot be written',
  'rollback-reboot-error': 'needs a state script of the root file system',
  'report-already-installed': 'nothing is installed',
};

const SLICE_CUTS = new Set<FlowStep>(['install', 'reboot', 'commit', 'rollback']);

export function cutCases(): readonly BootCase[] {
  return [
    ...FORWARD_STEPS.map((step) => cutAt(step, { variant: 'good' })),
    ...BACKWARD_STEPS.map((step) => cutAt(step, { variant: 'good', scripts: REFUSES_COMMIT })),
    {
      name: 'power cut while it waits for the installation',
      variant: 'good',
      pauseAt: 'ArtifactInstall_Enter',
      cut: { kind: 'waiting' },
    },
    {
      name: 'power cut while it waits for the commit',
      variant: 'good',
      pauseAt: 'ArtifactCommit_Enter',
      cut: { kind: 'waiting' },
    },
  ];
}

function cutAt(step: FlowStep, rest: Pick<BootCase, 'variant' | 'scripts'>): BootCase {
  return {
    name: `power cut at ${step}`,
    ...rest,
    cut: { kind: 'entered', step },
    ...(SLICE_CUTS.has(step) ? { isInSlice: true as const } : {}),
  };
}

/** `random`: numbers from 0 to below 1. */
export function writingCuts(count: number, random: () => number): readonly BootCase[] {
  return Array.from({ length: count }, (_, at): BootCase => {
    const afterMs = Math.round(300 + random() * 12_000);
    return {
      name: `power cut ${at + 1} while writing, ${afterMs} ms in`,
      variant: 'good',
      cut: { kind: 'writing', afterMs },
      ...(at === 0 ? { isInSlice: true as const } : {}),
    };
  });
}

/**
 * What must come of an update whose power failed when this was the newest stored step (src/core/transition-table.ts,
 * `restart`, with a reboot between). `isCommitRefused`: whether the commit of this artifact is going to be refused, if it
 * comes so far.
 */
export function endingAfterCut(storedStep: string, isCommitRefused: boolean): Ending {
  const onwards = isCommitRefused ? rolledBack('StateScript') : success;
  switch (storedStep) {
    // Nothing of the deployment was stored yet, or nothing that a restart would break: it is offered or asked again.
    case 'nothing':
    case 'idle':
    case 'idle-enter':
    case 'idle-leave':
    case 'sync-enter':
    case 'sync':
    case 'sync-leave':
    case 'download-gate':
    case 'download-status':
    case 'install-gate':
    case 'install-status':
    // The cut was the reboot.
    case 'reboot-gate':
    case 'reboot-status':
    case 'reboot-enter':
    case 'reboot':
      return onwards;
    case 'download-enter':
    case 'download':
    case 'download-leave':
      return { result: 'failure', failure: 'PowerLoss' };
    case 'install-enter':
    case 'install':
    case 'install-leave':
    case 'needs-reboot':
    case 'verify-reboot':
    case 'reboot-leave':
    case 'commit-enter':
    case 'commit-check':
    case 'commit':
      return rolledBack('PowerLoss');
    // The trial was not committed when the power failed: the boot loader went back.
    case 'commit-gate':
    case 'commit-authorize':
    case 'commit-status':
      return rolledBack('Reboot');
    case 'commit-leave':
    case 'cleanup-after-success':
    case 'report-success':
      return success;
    default:
      // On the way back: the reason it was begun for stays.
      return rolledBack('StateScript');
  }
}

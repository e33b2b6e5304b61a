import type { FlowStep } from '../../src/core/state.ts';

/**
 * What must come of the end of the process in each step that is stored: spec/update-flow.md section 6.3, as
 * design/compatibility.md changes it. The device reboots for an update and can roll back.
 */
const REBOOT_BACK = 'RR+ RR VRR RR- F+ F F- CL';
const GO_BACK = `RB+ RB RB- NR? ${REBOOT_BACK}`;
export const ASK_AND_GO_BACK = `SR? ${GO_BACK}`;
const INSTALL = 'I+ I I- NR?';
const COMMIT = 'C+ C C- CL';
export const VERIFY = `VR R- ${COMMIT}`;
const ALL = `D+ PS? D D- ${INSTALL} R+ R ${VERIFY}`;

export interface Case {
  readonly step: FlowStep;
  /** Where it is killed. */
  readonly at: string;
  /** Calls that fail once, so that the flow comes this way. */
  readonly failing?: readonly string[];
  /** Calls after the next start. */
  readonly after: string;
  readonly result: 'success' | 'failure' | 'rolled-back' | 'inconsistent';
  /** Behind `Failure.`; '' = none. */
  readonly error: string;
}

export const CASES: readonly Case[] = [
  { step: 'idle-leave', at: 'Idle-', after: ALL, result: 'success', error: '' },
  { step: 'download-enter', at: 'D+', after: '', result: 'failure', error: 'PowerLoss' },
  { step: 'download', at: 'PS?', after: 'CL', result: 'failure', error: 'PowerLoss' },
  { step: 'download', at: 'D', after: 'CL', result: 'failure', error: 'PowerLoss' },
  { step: 'download-leave', at: 'D-', after: 'CL', result: 'failure', error: 'PowerLoss' },
  { step: 'download-error', at: 'D!', failing: ['D'], after: 'CL', result: 'failure', error: 'UpdateModule' },
  { step: 'install-enter', at: 'I+', after: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'install', at: 'I', after: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'install-leave', at: 'I-', after: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  {
    step: 'install-error',
    at: 'I!',
    failing: ['I'],
    after: ASK_AND_GO_BACK,
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  { step: 'needs-reboot', at: 'NR?', after: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'reboot-enter', at: 'R+', after: VERIFY, result: 'success', error: '' },
  { step: 'reboot', at: 'R', after: VERIFY, result: 'success', error: '' },
  { step: 'verify-reboot', at: 'VR', after: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'reboot-leave', at: 'R-', after: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  {
    step: 'reboot-error',
    at: 'R!',
    failing: ['VR'],
    after: ASK_AND_GO_BACK,
    result: 'rolled-back',
    error: 'Reboot',
  },
  { step: 'commit-enter', at: 'C+', after: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'commit', at: 'C', after: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  {
    step: 'commit-error',
    at: 'C!',
    failing: ['C'],
    after: ASK_AND_GO_BACK,
    result: 'rolled-back',
    error: 'Commit',
  },
  { step: 'commit-leave', at: 'C-', after: 'C- CL', result: 'success', error: '' },
  {
    step: 'commit-leave-error',
    at: 'C!',
    failing: ['C-'],
    after: 'CL',
    result: 'inconsistent',
    error: 'StateScript',
  },
  {
    step: 'rollback-check',
    at: 'SR?',
    failing: ['I'],
    after: ASK_AND_GO_BACK,
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'rollback-enter',
    at: 'RB+',
    failing: ['I'],
    after: GO_BACK,
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'rollback',
    at: 'RB',
    failing: ['I'],
    after: GO_BACK,
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'rollback-leave',
    at: 'RB-',
    failing: ['I'],
    after: GO_BACK,
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'rollback-failed-leave',
    at: 'RB-',
    failing: ['I', 'RB'],
    after: GO_BACK,
    result: 'inconsistent',
    error: 'RollbackFailed',
  },
  {
    step: 'rollback-needs-reboot',
    at: 'NR?',
    failing: ['I'],
    after: GO_BACK,
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'rollback-reboot-enter',
    at: 'RR+',
    failing: ['I'],
    after: 'VRR RR- F+ F F- CL',
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'rollback-reboot',
    at: 'RR',
    failing: ['I'],
    after: 'VRR RR- F+ F F- CL',
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'verify-rollback-reboot',
    at: 'VRR',
    failing: ['I'],
    after: 'VRR RR- F+ F F- CL',
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'rollback-reboot-leave',
    at: 'RR-',
    failing: ['I'],
    after: 'VRR RR- F+ F F- CL',
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'rollback-reboot-error',
    at: 'RR!',
    failing: ['I', 'RR-'],
    after: 'VRR RR- F+ F F- CL',
    result: 'inconsistent',
    error: 'RollbackFailed',
  },
  {
    step: 'failure-enter',
    at: 'F+',
    failing: ['I'],
    after: 'F+ F F- CL',
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'failure',
    at: 'F',
    failing: ['I'],
    after: 'F+ F F- CL',
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  {
    step: 'failure-leave',
    at: 'F-',
    failing: ['I'],
    after: 'F+ F F- CL',
    result: 'rolled-back',
    error: 'UpdateModule',
  },
  { step: 'cleanup-after-success', at: 'CL', after: 'CL', result: 'success', error: '' },
  {
    step: 'cleanup-after-failure',
    at: 'CL',
    failing: ['D'],
    after: 'CL',
    result: 'failure',
    error: 'UpdateModule',
  },
];

/** Steps of a local update without a process to kill the service in, or that pass at once. */
export const ELSEWHERE: Readonly<Partial<Record<FlowStep, string>>> = {
  'idle-enter': 'killed in the script, below',
  idle: 'nothing under way',
  'commit-check': 'killed at the moment of the store, below',
  'commit-reverify': 'at the gates, below',
  'download-gate': 'at the gates, below',
  'install-gate': 'at the gates, below',
  'reboot-gate': 'at the gates, below',
  'commit-gate': 'at the gates, below',
  'rollback-reboot-gate': 'at the gates, below',
  'sync-enter': 'server', 'sync': 'server', 'sync-leave': 'server', 'sync-error': 'server',
  'sync-inventory': 'server',
  'download-status': 'server', 'install-status': 'server', 'reboot-status': 'server',
  'commit-authorize': 'server', 'commit-status': 'server',
  'report-success': 'server', 'report-failure': 'server', 'report-already-installed': 'server',
}; // prettier-ignore

export const CURRENT: Readonly<Record<Case['result'], string>> = {
  success: 'release-2',
  failure: 'original',
  'rolled-back': 'original',
  inconsistent: 'release-2_INCONSISTENT',
};

export function errorName(name: string): string {
  return name === '' ? '' : `io.holdpoint.Update1.Failure.${name}`;
}

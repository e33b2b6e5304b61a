/** The scenarios of `holdpoint simulate`, by the names people type. Names are added, never changed. */
import type { FailureName } from '../../core/errors.ts';
import { FAILURE_NAMES } from '../../core/errors.ts';
import type { HoldPoint } from '../../core/hold-point.ts';
import type { Scenario } from './scenario.ts';

const MIB = 1024 * 1024;
const HOUR = 3600;

const WINDOW = {
  kind: 'window',
  reasonCode: 'outside-window',
  isSkippable: true,
  isEndKnown: true,
} as const;

const ORDINARY: Readonly<Record<string, Scenario>> = {
  success: { about: 'an update that asks nobody', result: 'success' },
  kiosk: {
    about:
      'asks before the installation and before the reboot, which has a window in 3 hours that "now" sets aside',
    result: 'success',
    asks: ['ArtifactInstall_Enter', 'ArtifactReboot_Enter'],
    conditions: [{ ...WINDOW, point: 'ArtifactReboot_Enter', seconds: 3 * HOUR }],
  },
  'slow-link': {
    about: 'a download of five minutes, and then asks before the installation',
    result: 'success',
    asks: ['ArtifactInstall_Enter'],
    sizeBytes: 60 * MIB,
    bytesPerSecond: 200 * 1024,
  },
  'several-blockers': {
    about:
      'before the reboot: consent, a coffee machine that brews, a backup, a maintenance window, the server',
    result: 'success',
    asks: ['ArtifactReboot_Enter'],
    holds: [
      { point: 'ArtifactReboot_Enter', app: 'org.example.Coffee', why: 'brewing', seconds: 240 },
      { point: 'ArtifactReboot_Enter', app: 'org.example.Backup', why: 'backup running', seconds: 600 },
    ],
    conditions: [
      { ...WINDOW, point: 'ArtifactReboot_Enter', seconds: 900 },
      {
        point: 'ArtifactReboot_Enter',
        kind: 'inhibitor',
        reasonCode: 'shutdown-inhibited',
        owner: 'org.example.Recorder',
        isSkippable: false,
        seconds: 420,
        isEndKnown: false,
        details: { why: 'recording', uid: 1000 },
      },
    ],
  },
  conditions: {
    about: 'waits for a link that is not metered, then for the mains, without asking anybody',
    result: 'success',
    conditions: [
      {
        point: 'Download_Enter',
        kind: 'metered',
        reasonCode: 'metered-link',
        isSkippable: true,
        seconds: 120,
        isEndKnown: false,
      },
      {
        point: 'ArtifactInstall_Enter',
        kind: 'power',
        reasonCode: 'on-battery',
        isSkippable: false,
        seconds: 120,
        isEndKnown: false,
      },
    ],
  },
  'health-check': {
    about: 'after the reboot two programs must find the new version well; the second takes its time',
    result: 'success',
    checkers: ['kiosk-app', 'printer'],
    cues: [
      { step: 'commit-gate', afterSeconds: 5, does: { kind: 'health', checker: 'kiosk-app', verdict: 'ok' } },
      { step: 'commit-gate', afterSeconds: 60, does: { kind: 'health', checker: 'printer', verdict: 'ok' } },
    ],
  },
  'no-reboot': {
    about: 'an application update: asks before the installation, no reboot',
    result: 'success',
    asks: ['ArtifactInstall_Enter'],
    needsReboot: false,
    sizeBytes: 6 * MIB,
  },
  rollback: {
    about: 'the new version does not come up well, so that the device goes back to the old one',
    result: 'rolled-back',
    failure: 'Reboot',
    faults: { modules: { ArtifactVerifyReboot: 'module' } },
  },
  'rollback-by-user': {
    about: 'somebody goes back to the old version while it waits before the commit',
    result: 'rolled-back',
    failure: 'AbortedByUser',
    isSilent: true,
    asks: ['ArtifactCommit_Enter'],
    cues: [
      {
        step: 'commit-gate',
        afterSeconds: 30,
        does: { kind: 'rollback', reason: 'the new menu is unreadable' },
      },
    ],
  },
  'service-restart': {
    about: 'waits before the installation, and the service is restarted meanwhile: the ticket dies',
    result: 'success',
    asks: ['ArtifactInstall_Enter'],
    cues: [{ step: 'install-gate', afterSeconds: 60, does: { kind: 'restart', isReboot: false } }],
  },
  'server-unreachable': {
    about: 'the server cannot be reached at first; later there is an update',
    result: 'success',
    faults: { failingChecks: 3 },
  },
};

const GATES: Readonly<Record<string, HoldPoint>> = {
  'wait-download': 'Download_Enter',
  'wait-install': 'ArtifactInstall_Enter',
  'wait-reboot': 'ArtifactReboot_Enter',
  'wait-commit': 'ArtifactCommit_Enter',
};

function waitsAt(point: HoldPoint): Scenario {
  return { about: `asks at ${point}`, result: 'success', asks: [point] };
}

/** How each failure comes about; complete by its type. */
const FAILURES: Readonly<Record<FailureName, Omit<Scenario, 'failure'>>> = {
  Download: { about: 'the download breaks off', result: 'failure', faults: { source: 'unreachable' } },
  Signature: {
    about: 'the artifact is signed by somebody unknown',
    result: 'failure',
    faults: { artifact: 'signature-invalid' },
  },
  Checksum: {
    about: 'the artifact was damaged on its way',
    result: 'failure',
    faults: { artifact: 'checksum-mismatch' },
  },
  Format: {
    about: 'what was downloaded is no artifact',
    result: 'failure',
    faults: { artifact: 'not-an-artifact' },
  },
  Incompatible: {
    about: 'the artifact is for another device',
    result: 'failure',
    faults: { artifact: 'wrong-device-type' },
  },
  Dependency: {
    about: 'the artifact needs another version to be installed first',
    result: 'failure',
    faults: { artifact: 'unmet-dependency' },
  },
  NoSpace: { about: 'there is not enough space', result: 'failure', faults: { isDiskFull: true } },
  StateScript: {
    about: 'a state script refuses the installation',
    result: 'rolled-back',
    faults: { script: 'ArtifactInstall_Enter_10_check-doors' },
  },
  UpdateModule: {
    about: 'the update module fails to install',
    result: 'rolled-back',
    faults: { modules: { ArtifactInstall: 'module' } },
  },
  Timeout: {
    about: 'the update module takes too long',
    result: 'rolled-back',
    faults: { modules: { ArtifactInstall: 'timeout' } },
  },
  Reboot: { about: 'the device cannot be rebooted', result: 'rolled-back', faults: { reboot: true } },
  HealthCheck: {
    about: 'the self-test finds the new version ill',
    result: 'rolled-back',
    checkers: ['kiosk-app'],
    cues: [
      {
        step: 'commit-gate',
        afterSeconds: 20,
        does: { kind: 'health', checker: 'kiosk-app', verdict: 'failed' },
      },
    ],
  },
  Commit: {
    about: 'the new version cannot be made permanent',
    result: 'rolled-back',
    faults: { modules: { ArtifactCommit: 'module' } },
  },
  RollbackFailed: {
    about: 'the installation fails, and so does the way back',
    result: 'inconsistent',
    faults: { modules: { ArtifactInstall: 'module', ArtifactRollback: 'module' } },
  },
  AbortedByUser: {
    about: 'somebody gives the update up while it waits',
    result: 'aborted',
    isSilent: true,
    asks: ['ArtifactInstall_Enter'],
    cues: [{ step: 'install-gate', afterSeconds: 30, does: { kind: 'abort', reason: 'not on a Friday' } }],
  },
  AbortedByServer: {
    about: 'the server ends the deployment',
    result: 'aborted',
    faults: { isAbortedByServer: true },
  },
  HoldExpired: {
    about: 'asks before the installation, and nobody answers within two minutes',
    result: 'failure',
    isSilent: true,
    asks: ['ArtifactInstall_Enter'],
    consent: { timeoutSeconds: 120, onExpire: 'fail' },
  },
  ControlMap: {
    about: 'the server sends a control map that is none',
    result: 'failure',
    faults: { isMapInvalid: true },
  },
  PowerLoss: {
    about: 'the power goes during the installation',
    result: 'rolled-back',
    cues: [{ step: 'install', afterSeconds: 4, does: { kind: 'restart', isReboot: true } }],
  },
  Storage: {
    about: 'the device cannot store how far it has come',
    result: 'rolled-back',
    faults: { storeAt: 'install' },
  },
  Internal: {
    about: 'a defect of the service itself',
    result: 'rolled-back',
    faults: { defectAt: 'ArtifactInstall' },
  },
};

export function failureScenarioName(name: FailureName): string {
  return `fail-${name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase()}`;
}

export const SCENARIOS: ReadonlyMap<string, Scenario> = new Map([
  ...Object.entries(ORDINARY),
  ...Object.entries(GATES).map(([name, point]): [string, Scenario] => [name, waitsAt(point)]),
  [
    'wait-rollback-reboot',
    {
      about: 'the new version does not come up, and it asks at ArtifactRollbackReboot_Enter',
      result: 'rolled-back',
      failure: 'Reboot',
      asks: ['ArtifactRollbackReboot_Enter'],
      faults: { modules: { ArtifactVerifyReboot: 'module' } },
    },
  ],
  ...FAILURE_NAMES.map((failure): [string, Scenario] => [
    failureScenarioName(failure),
    { ...FAILURES[failure], failure },
  ]),
]);

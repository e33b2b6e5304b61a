import { once } from 'node:events';
import { copyFile, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FLOW_STEPS, type FlowStep } from '../../src/core/state.ts';
import { actionOf, ARTIFACT_SCRIPTS, chainOf, ROOTFS_SCRIPTS } from '../support/chain.ts';
import { ASK, makeArtifact, type DeviceOptions } from '../support/device.ts';
import { randomFrom, seedFromEnvironment } from '../support/random.ts';
import { ServiceHarness } from '../support/service.ts';
import { nextStored, storedStates } from '../support/stored-state.ts';

/**
 * The end of the process at every point of an update: the real service, really killed, started again from its files.
 * What must come of it: spec/update-flow.md section 6.3, as design/compatibility.md changes it.
 */
let folder: string;
let artifact: string;
let bootstrap: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-kill-'));
  artifact = await makeArtifact({ folder }, { scripts: ARTIFACT_SCRIPTS });
  bootstrap = await makeArtifact({ folder }, { isEmpty: true, name: 'original' });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function withDevice(options: DeviceOptions, use: (service: ServiceHarness) => Promise<void>): Promise<void> {
  const service = await ServiceHarness.create({
    needsReboot: 'Yes',
    supportsRollback: true,
    scripts: ROOTFS_SCRIPTS,
    ...options,
  });
  try {
    await copyFile(bootstrap, join(service.device.data, 'bootstrap.mender'));
    await service.start();
    await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
    await use(service);
  } finally {
    await service.dispose();
  }
}

const REBOOT_BACK = 'RR+ RR VRR RR- F+ F F- CL';
const GO_BACK = `RB+ RB RB- NR? ${REBOOT_BACK}`;
const ASK_AND_GO_BACK = `SR? ${GO_BACK}`;
const INSTALL = 'I+ I I- NR?';
const COMMIT = 'C+ C C- CL';
const VERIFY = `VR R- ${COMMIT}`;
const ALL = `D+ PS? D D- ${INSTALL} R+ R ${VERIFY}`;

interface Case {
  readonly step: FlowStep;
  /** Where it is killed. */
  readonly at: string;
  /** Calls that fail once, so that the flow comes this way. */
  readonly failing?: readonly string[];
  /** Calls after the next start. */
  readonly then: string;
  readonly result: 'success' | 'failure' | 'rolled-back' | 'inconsistent';
  /** Behind `Failure.`; '' = none. */
  readonly error: string;
}

const CASES: readonly Case[] = [
  { step: 'idle-leave', at: 'Idle-', then: ALL, result: 'success', error: '' },
  { step: 'download-enter', at: 'D+', then: '', result: 'failure', error: 'PowerLoss' },
  { step: 'download', at: 'PS?', then: 'CL', result: 'failure', error: 'PowerLoss' },
  { step: 'download', at: 'D', then: 'CL', result: 'failure', error: 'PowerLoss' },
  { step: 'download-leave', at: 'D-', then: 'CL', result: 'failure', error: 'PowerLoss' },
  { step: 'download-error', at: 'D!', failing: ['D'], then: 'CL', result: 'failure', error: 'UpdateModule' },
  { step: 'install-enter', at: 'I+', then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'install', at: 'I', then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'install-leave', at: 'I-', then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'install-error', at: 'I!', failing: ['I'], then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'UpdateModule' },
  { step: 'needs-reboot', at: 'NR?', then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'reboot-enter', at: 'R+', then: VERIFY, result: 'success', error: '' },
  { step: 'reboot', at: 'R', then: VERIFY, result: 'success', error: '' },
  { step: 'verify-reboot', at: 'VR', then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'reboot-leave', at: 'R-', then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'reboot-error', at: 'R!', failing: ['VR'], then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'Reboot' },
  { step: 'commit-enter', at: 'C+', then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'commit', at: 'C', then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'PowerLoss' },
  { step: 'commit-error', at: 'C!', failing: ['C'], then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'Commit' },
  { step: 'commit-leave', at: 'C-', then: 'C- CL', result: 'success', error: '' },
  { step: 'commit-leave-error', at: 'C!', failing: ['C-'], then: 'CL', result: 'inconsistent', error: 'StateScript' },
  { step: 'rollback-check', at: 'SR?', failing: ['I'], then: ASK_AND_GO_BACK, result: 'rolled-back', error: 'UpdateModule' },
  { step: 'rollback-enter', at: 'RB+', failing: ['I'], then: GO_BACK, result: 'rolled-back', error: 'UpdateModule' },
  { step: 'rollback', at: 'RB', failing: ['I'], then: GO_BACK, result: 'rolled-back', error: 'UpdateModule' },
  { step: 'rollback-leave', at: 'RB-', failing: ['I'], then: GO_BACK, result: 'rolled-back', error: 'UpdateModule' },
  {
    step: 'rollback-failed-leave',
    at: 'RB-',
    failing: ['I', 'RB'],
    then: GO_BACK,
    result: 'inconsistent',
    error: 'RollbackFailed',
  },
  { step: 'rollback-needs-reboot', at: 'NR?', failing: ['I'], then: GO_BACK, result: 'rolled-back', error: 'UpdateModule' },
  { step: 'rollback-reboot-enter', at: 'RR+', failing: ['I'], then: 'VRR RR- F+ F F- CL', result: 'rolled-back', error: 'UpdateModule' },
  { step: 'rollback-reboot', at: 'RR', failing: ['I'], then: 'VRR RR- F+ F F- CL', result: 'rolled-back', error: 'UpdateModule' },
  { step: 'verify-rollback-reboot', at: 'VRR', failing: ['I'], then: 'VRR RR- F+ F F- CL', result: 'rolled-back', error: 'UpdateModule' },
  { step: 'rollback-reboot-leave', at: 'RR-', failing: ['I'], then: 'VRR RR- F+ F F- CL', result: 'rolled-back', error: 'UpdateModule' },
  {
    step: 'rollback-reboot-error',
    at: 'RR!',
    failing: ['I', 'RR-'],
    then: 'VRR RR- F+ F F- CL',
    result: 'inconsistent',
    error: 'RollbackFailed',
  },
  { step: 'failure-enter', at: 'F+', failing: ['I'], then: 'F+ F F- CL', result: 'rolled-back', error: 'UpdateModule' },
  { step: 'failure', at: 'F', failing: ['I'], then: 'F+ F F- CL', result: 'rolled-back', error: 'UpdateModule' },
  { step: 'failure-leave', at: 'F-', failing: ['I'], then: 'F+ F F- CL', result: 'rolled-back', error: 'UpdateModule' },
  { step: 'cleanup-after-success', at: 'CL', then: 'CL', result: 'success', error: '' },
  { step: 'cleanup-after-failure', at: 'CL', failing: ['D'], then: 'CL', result: 'failure', error: 'UpdateModule' },
];

/** Steps of a local update without a process to kill the service in, or that pass at once. */
const ELSEWHERE: Readonly<Partial<Record<FlowStep, string>>> = {
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
  'download-status': 'server', 'install-status': 'server', 'reboot-status': 'server',
  'commit-authorize': 'server', 'commit-status': 'server',
  'report-success': 'server', 'report-failure': 'server', 'report-already-installed': 'server',
}; // prettier-ignore

const CURRENT: Readonly<Record<Case['result'], string>> = {
  success: 'release-2',
  failure: 'original',
  'rolled-back': 'original',
  inconsistent: 'release-2_INCONSISTENT',
};

function errorName(name: string): string {
  return name === '' ? '' : `io.holdpoint.Update1.Failure.${name}`;
}

describe.concurrent('killed in a step, the update goes on as the specification says', { timeout: 60_000 }, () => {
  it('with a case for every step that is stored', () => {
    const covered = new Set<string>([...CASES.map(({ step }) => step), ...Object.keys(ELSEWHERE)]);
    expect(FLOW_STEPS.filter((step) => !covered.has(step))).toEqual([]);
    expect(CASES.filter(({ step }) => step in ELSEWHERE)).toEqual([]);
  });

  CASES.forEach(({ step, at, failing = [], then, result, error }, index) => {
    // What is no gate must not care which boot it is: every other case is a power cut.
    const boot = index % 2 === 0 ? 'same' : 'next';
    it(`${step} (${at}), ${boot} boot → ${then || 'nothing more'}, ${result}`, () =>
      withDevice({}, async (service) => {
        for (const short of failing) await service.device.order(actionOf(short), 'fail-once');
        await service.device.orderKill(actionOf(at));
        await service.install(artifact);
        expect((await service.exited()).signal).toBe('SIGKILL');
        const [stored] = await storedStates(service.device.stateDirectory);
        expect(stored?.state.step).toBe(step);
        const before = (await service.device.calls()).length;

        await service.start({ boot });
        const end = await service.waitForEnd();
        expect(chainOf((await service.device.calls()).slice(before))).toBe(then);
        expect(end).toMatchObject({
          LastResult: result,
          LastErrorName: errorName(error),
          CurrentArtifactName: CURRENT[result],
        });
        if (error === 'PowerLoss') {
          expect(end['LastErrorDetails']).toMatchObject({ 'same-boot': boot === 'same' });
        }
      }));
  });

  it('idle-enter after the update: the result is there, and only the script runs again', () =>
    withDevice({}, async (service) => {
      const id = await service.install(artifact);
      await service.waitFor('it commits', (seen) => seen['State'] === 'ArtifactCommit');
      await service.device.orderKill('Idle_Enter');
      await service.exited();
      const before = (await service.device.calls()).length;
      await service.start({ boot: 'next' });
      const end = await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
      expect(end).toMatchObject({ LastResult: 'success', DeploymentId: '', CurrentArtifactName: 'release-2' });
      expect(chainOf((await service.device.calls()).slice(before), true)).toBe('Idle+');
      expect(await service.mustCall('History.Get', 's', [id])).toMatchObject({ result: { data: 'success' } });
    }));
});

describe.concurrent('killed the moment a state is stored', { timeout: 60_000 }, () => {
  const seed = seedFromEnvironment();
  const random = randomFrom(seed);
  /** An update stores about forty states; each run is killed at three of them. */
  const runs = Array.from({ length: 8 }, () => Array.from({ length: 3 }, () => 1 + Math.floor(random() * 13)));

  for (const [index, jumps] of runs.entries()) {
    it(`ends with one honest result: seed ${seed}, run ${index}, ${jumps.join(' then ')} states later`, () =>
      withDevice({}, async (service) => {
        await service.install(artifact);
        for (const jump of jumps) {
          const from = (await storedStates(service.device.stateDirectory))[0]?.generation ?? 0;
          const isDue = nextStored(service.device.stateDirectory, ({ generation }) => generation >= from + jump);
          const outcome = await Promise.race([isDue, service.waitForEnd()]);
          if ('generation' in outcome) await service.restart({ boot: random() < 0.5 ? 'same' : 'next' });
        }
        const end = await service.waitForEnd();
        const result = String(end['LastResult']) as Case['result'];
        expect(['success', 'failure', 'rolled-back']).toContain(result);
        expect(end['CurrentArtifactName']).toBe(CURRENT[result]);
        const calls = await service.device.calls();
        const commits = calls.filter((call) => call === 'ArtifactCommit').length;
        if (result === 'success') expect(commits).toBe(1);
        else expect(calls.at(-2)).not.toBe('ArtifactCommit');
        if (result === 'rolled-back') expect(calls).toContain('ArtifactRollback');
        const entries = (await service.mustCall('History.List', 'u', ['0'])) as readonly unknown[];
        expect(entries).toHaveLength(1);
      }));
  }

  it('commit-check: nothing has been committed, so it goes back', () =>
    withDevice({}, async (service) => {
      await service.device.order('ArtifactCommit_Enter', 'wait');
      await service.install(artifact);
      await service.waitFor('C+ runs', (seen) => seen['Step'] === 'ArtifactCommit_Enter');
      const isThere = nextStored(service.device.stateDirectory, ({ state }) => state.step === 'commit-check');
      // The module is held back, should the kill come late.
      await service.device.order('ArtifactCommit', 'wait');
      await service.device.cancelOrder('ArtifactCommit_Enter', 'wait');
      await isThere;
      await service.kill9();
      await service.device.cancelOrder('ArtifactCommit', 'wait');
      await service.start();
      expect(await service.waitForEnd()).toMatchObject({
        LastResult: 'rolled-back',
        LastErrorName: errorName('PowerLoss'),
        CurrentArtifactName: 'original',
      });
    }));
});

describe.concurrent('killed while waiting', { timeout: 60_000 }, () => {
  interface GateCase {
    readonly point: string;
    readonly boot: 'same' | 'next';
    readonly device?: DeviceOptions;
    readonly failing?: readonly string[];
    readonly failingLater?: string;
    /** Calls between the start and the next wait, or the end when `isAskedAgain` is false. */
    readonly then: string;
    readonly isAskedAgain: boolean;
    readonly result: Case['result'];
  }
  const gates: readonly GateCase[] = [
    { point: 'Download_Enter', boot: 'same', then: '', isAskedAgain: true, result: 'success' },
    { point: 'Download_Enter', boot: 'next', then: '', isAskedAgain: true, result: 'success' },
    { point: 'ArtifactInstall_Enter', boot: 'same', then: '', isAskedAgain: true, result: 'success' },
    { point: 'ArtifactInstall_Enter', boot: 'next', then: '', isAskedAgain: true, result: 'success' },
    { point: 'ArtifactReboot_Enter', boot: 'same', then: '', isAskedAgain: true, result: 'success' },
    // The reboot by hand was the reboot of the update.
    { point: 'ArtifactReboot_Enter', boot: 'next', then: VERIFY, isAskedAgain: false, result: 'success' },
    { point: 'ArtifactCommit_Enter', boot: 'same', then: '', isAskedAgain: true, result: 'success' },
    { point: 'ArtifactCommit_Enter', boot: 'next', then: 'VR', isAskedAgain: true, result: 'success' },
    {
      point: 'ArtifactCommit_Enter',
      boot: 'next',
      failingLater: 'VR',
      then: `VR R! ${ASK_AND_GO_BACK}`,
      isAskedAgain: false,
      result: 'rolled-back',
    },
    { point: 'ArtifactCommit_Enter', boot: 'next', device: { needsReboot: 'No' }, then: '', isAskedAgain: true, result: 'success' },
    { point: 'ArtifactRollbackReboot_Enter', boot: 'same', failing: ['I'], then: '', isAskedAgain: true, result: 'rolled-back' },
    {
      point: 'ArtifactRollbackReboot_Enter',
      boot: 'next',
      failing: ['I'],
      then: 'VRR RR- F+ F F- CL',
      isAskedAgain: false,
      result: 'rolled-back',
    },
  ];

  for (const gate of gates) {
    const { point, boot, then, isAskedAgain, result, failingLater } = gate;
    const how = failingLater === undefined ? '' : `, ${failingLater} fails`;
    it(`${point}, ${boot} boot${how}: ${isAskedAgain ? 'asks again' : 'goes on'}, ${result}`, () =>
      withDevice({ points: { [point]: ASK }, ...gate.device }, async (service) => {
        for (const short of gate.failing ?? []) await service.device.order(actionOf(short), 'fail-once');
        const id = await service.install(artifact);
        const first = await service.waitAt(point);
        await service.kill9();
        const before = (await service.device.calls()).length;
        if (failingLater !== undefined) await service.device.order(actionOf(failingLater), 'fail-once');
        await service.start({ boot });
        if (isAskedAgain) {
          const second = await service.waitAt(point);
          expect(second['WaitTicket']).not.toBe(first['WaitTicket']);
          expect(second['DeploymentId']).toBe(id);
          expect(chainOf((await service.device.calls()).slice(before))).toBe(then);
          if (then === 'VR') expect(second['Deployment']).toMatchObject({ notice: 'rebooted-while-uncommitted' });
          expect(await service.release(point)).toBe('proceeding');
        }
        const end = await service.waitForEnd();
        if (!isAskedAgain) expect(chainOf((await service.device.calls()).slice(before))).toBe(then);
        expect(end).toMatchObject({ LastResult: result, CurrentArtifactName: CURRENT[result] });
        if (failingLater !== undefined) {
          expect(end).toMatchObject({
            LastErrorName: errorName('Reboot'),
            LastErrorDetails: { reason: 'rebooted-while-uncommitted' },
          });
        }
      }));
  }

  it('consent given before the kill counts after it: nobody is asked twice', () =>
    withDevice({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await service.install(artifact);
      await service.device.orderKill('ArtifactReboot_Enter');
      await service.release('ArtifactInstall_Enter');
      await service.exited();
      await service.start({ boot: 'next' });
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));
});

describe.concurrent('damaged or contested files', { timeout: 60_000 }, () => {
  it('a torn newest generation: the one before is used, the torn one kept, and the log says so', () =>
    withDevice({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await service.install(artifact);
      await service.waitAt('ArtifactInstall_Enter');
      await service.kill9();
      const [newest] = await storedStates(service.device.stateDirectory);
      await truncate(newest?.path ?? '', 700);
      await service.start();
      // The generation before stands in the download, which an interruption ends.
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'failure', CurrentArtifactName: 'original' });
      expect(await service.log()).toMatch(/error.*is damaged/);
      const names = await readdir(service.device.stateDirectory);
      expect(names.filter((name) => name.includes('.broken-'))).toHaveLength(1);
    }));

  it('both generations bad: a clean start, both kept, and the log says so', () =>
    withDevice({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await service.install(artifact);
      await service.waitAt('ArtifactInstall_Enter');
      await service.kill9();
      const both = await storedStates(service.device.stateDirectory);
      expect(both).toHaveLength(2);
      for (const { path } of both) {
        const bytes = await readFile(path);
        bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0x40;
        await writeFile(path, bytes);
      }
      await service.start();
      const seen = await service.waitFor('the device is idle', (all) => all['Step'] === 'Idle');
      expect(seen).toMatchObject({ DeploymentId: '', LastResult: 'none', CurrentArtifactName: 'unknown' });
      const complaints = (await service.log()).split('\n').filter((line) => line.includes('is damaged'));
      expect(complaints).toHaveLength(2);
      const names = await readdir(service.device.stateDirectory);
      expect(names.filter((name) => name.includes('.broken-'))).toHaveLength(2);
      await service.install(artifact);
      await service.release('ArtifactInstall_Enter');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));

  it('a second service on the same datastore ends with 1 and names the first', () =>
    withDevice({}, async (service) => {
      const second = await service.spawn();
      expect(await once(second, 'exit')).toEqual([1, null]);
      const last = (await service.log()).trim().split('\n').at(-1);
      expect(last).toMatch(new RegExp(`^holdpointd: starting: .*holdpointd.*${service.pid}`));
      expect(service.isRunning).toBe(true);
      expect(await service.property('State')).toBe('Idle');
    }));

  it('a second service for the same bus name ends with 2, and the first stays', () =>
    withDevice({}, async (service) => {
      const other = await ServiceHarness.create({ bus: service.bus });
      try {
        const second = await other.spawn();
        expect(await once(second, 'exit')).toEqual([2, null]);
        expect(await other.log()).toContain('The bus name belongs to somebody else');
        expect(await service.property('State')).toBe('Idle');
      } finally {
        await other.dispose();
      }
    }));
});

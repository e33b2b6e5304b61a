import { readFile, rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FLOW_STEPS } from '../../src/core/state.ts';
import { actionOf, chainOf } from '../support/chain.ts';
import { eventually } from '../support/eventually.ts';
import { partOf } from '../support/part.ts';
import { randomFrom, seedFromEnvironment } from '../support/random.ts';
import { nextStored, storedStates } from '../support/stored-state.ts';
import { CASES, CURRENT, ELSEWHERE, errorName, type Case } from './kill-cases.ts';
import { originalDevices, type OriginalDevices } from './original-device.ts';

/** The end of the process at every point of an update: really killed, and started again from its files. */
let devices: OriginalDevices;
let artifact: string;

beforeAll(async () => {
  devices = await originalDevices();
  ({ artifact } = devices);
});

afterAll(() => devices.dispose());

describe.concurrent(
  'killed in a step, the update goes on as the specification says',
  { timeout: 60_000 },
  () => {
    it('with a case for every step that is stored', () => {
      const covered = new Set<string>([...CASES.map(({ step }) => step), ...Object.keys(ELSEWHERE)]);
      expect(FLOW_STEPS.filter((step) => !covered.has(step))).toEqual([]);
      expect(CASES.filter(({ step }) => step in ELSEWHERE)).toEqual([]);
    });

    // What is no gate must not care which boot it is: every other case is a power cut.
    const cases = CASES.map((one, index) => ({ ...one, boot: index % 2 === 0 ? 'same' : 'next' }) as const);
    for (const { step, at, failing = [], after, result, error, boot } of partOf('kills', cases, 3)) {
      it(`${step} (${at}), ${boot} boot → ${after || 'nothing more'}, ${result}`, () =>
        devices.use({}, async (service) => {
          for (const short of failing) await service.device.order(actionOf(short), 'fail-once');
          await service.device.orderKill(actionOf(at));
          await service.install(artifact);
          expect((await service.exited()).signal).toBe('SIGKILL');
          const [stored] = await storedStates(service.device.stateDirectory);
          expect(stored?.state.step).toBe(step);
          const before = (await service.device.calls()).length;

          await service.start({ boot });
          const end = await service.waitForEnd();
          expect(chainOf((await service.device.calls()).slice(before))).toBe(after);
          expect(end).toMatchObject({
            LastResult: result,
            LastErrorName: errorName(error),
            CurrentArtifactName: CURRENT[result],
          });
          if (error === 'PowerLoss') {
            expect(end['LastErrorDetails']).toMatchObject({ 'same-boot': boot === 'same' });
          }
        }));
    }

    it('idle-enter after the update: the result is there, and only the script runs again', () =>
      devices.use({}, async (service) => {
        const id = await service.install(artifact);
        await service.waitFor('it commits', (seen) => seen['State'] === 'ArtifactCommit');
        await service.device.orderKill('Idle_Enter');
        await service.exited();
        const before = (await service.device.calls()).length;
        await service.start({ boot: 'next' });
        const end = await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
        expect(end).toMatchObject({
          LastResult: 'success',
          DeploymentId: '',
          CurrentArtifactName: 'release-2',
        });
        expect(chainOf((await service.device.calls()).slice(before), true)).toBe('Idle+');
        expect(await service.mustCall('History.Get', 's', [id])).toMatchObject({
          result: { data: 'success' },
        });
      }));
  },
);

describe.concurrent(
  'stopped by SIGTERM in an action, which says nothing about the update',
  { timeout: 60_000 },
  () => {
    const actions = ['D+', 'D', 'I+', 'I', 'R', 'C', 'C-', 'RB', 'CL'];
    const cases = actions.map((at) => CASES.find((one) => one.at === at)).filter((one) => one !== undefined);

    for (const { at, failing = [], after, result, error } of cases) {
      it(`${at}: it ends at once, and the next start goes on as after a kill: ${after || 'nothing more'}`, () =>
        devices.use({}, async (service) => {
          for (const short of failing) await service.device.order(actionOf(short), 'fail-once');
          await service.device.order(actionOf(at), 'terminate-service', service.device.pidFile);
          await service.install(artifact);
          expect(await service.exited()).toEqual({ code: 0, signal: null });
          const before = (await service.device.calls()).length;
          await service.start();
          const end = await service.waitForEnd();
          expect(chainOf((await service.device.calls()).slice(before))).toBe(after);
          expect(end).toMatchObject({ LastResult: result, LastErrorName: errorName(error) });
        }));
    }

    it('a module that ignores SIGTERM is gone before the service is', () =>
      devices.use({}, async (service) => {
        await service.device.order('ArtifactInstall', 'hang-hard');
        await service.install(artifact);
        await service.waitFor('it installs', (seen) => seen['Step'] === 'ArtifactInstall');
        await eventually('the module runs', async () =>
          (await service.device.calls()).includes('ArtifactInstall'),
        );
        const modulePid = await childOf(service.pid);
        expect(await service.terminate()).toEqual({ code: 0, signal: null });
        expect(() => process.kill(modulePid, 0)).toThrow('ESRCH');
      }));
  },
);

async function childOf(pid: number): Promise<number> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  const child = Number(children.trim().split(' ').at(-1));
  expect(child).toBeGreaterThan(1);
  return child;
}

describe.concurrent('killed the moment a state is stored', { timeout: 60_000 }, () => {
  const seed = seedFromEnvironment();
  const random = randomFrom(seed);
  /** An update stores about forty states; each run is killed at three of them. */
  const runs = Array.from({ length: 8 }, () =>
    Array.from({ length: 3 }, () => 1 + Math.floor(random() * 13)),
  );

  for (const [index, jumps] of runs.entries()) {
    it(`ends with one honest result: seed ${seed}, run ${index}, ${jumps.join(' then ')} states later`, () =>
      devices.use({}, async (service) => {
        await service.install(artifact);
        for (const jump of jumps) {
          const from = (await storedStates(service.device.stateDirectory))[0]?.generation ?? 0;
          const isDue = nextStored(
            service.device.stateDirectory,
            ({ generation }) => generation >= from + jump,
          );
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
    devices.use({}, async (service) => {
      await service.device.order('ArtifactCommit', 'wait');
      await service.install(artifact);
      await eventually(
        'the module commits',
        async () => (await service.device.calls()).includes('ArtifactCommit'),
        30_000,
      );
      await service.kill9();
      await service.device.cancelOrder('ArtifactCommit', 'wait');
      // The step lasts too short to be hit. Had it been, the newer of the two slots would not have been there.
      const [newest, previous] = await storedStates(service.device.stateDirectory);
      expect([newest?.state.step, previous?.state.step]).toEqual(['commit', 'commit-check']);
      await rm(newest!.path);
      await service.start();
      expect(await service.waitForEnd()).toMatchObject({
        LastResult: 'rolled-back',
        LastErrorName: errorName('PowerLoss'),
        CurrentArtifactName: 'original',
      });
    }));
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { actionOf, chainOf } from '../support/chain.ts';
import { ASK, type DeviceOptions } from '../support/device.ts';
import { ASK_AND_GO_BACK, CURRENT, errorName, VERIFY, type Case } from './kill-cases.ts';
import { originalDevices, type OriginalDevices } from './original-device.ts';

/** The end of the process, or of the machine, while an update waits (design/compatibility.md "A wait"). */
let devices: OriginalDevices;
let artifact: string;

beforeAll(async () => {
  devices = await originalDevices();
  ({ artifact } = devices);
});

afterAll(() => devices.dispose());

describe.concurrent('killed while waiting', { timeout: 60_000 }, () => {
  interface GateCase {
    readonly point: string;
    readonly boot: 'same' | 'next';
    readonly device?: DeviceOptions;
    readonly failing?: readonly string[];
    readonly failingLater?: string;
    /** Calls between the start and the next wait, or the end when `isAskedAgain` is false. */
    readonly after: string;
    readonly isAskedAgain: boolean;
    readonly result: Case['result'];
  }
  const gates: readonly GateCase[] = [
    { point: 'Download_Enter', boot: 'same', after: '', isAskedAgain: true, result: 'success' },
    { point: 'Download_Enter', boot: 'next', after: '', isAskedAgain: true, result: 'success' },
    { point: 'ArtifactInstall_Enter', boot: 'same', after: '', isAskedAgain: true, result: 'success' },
    { point: 'ArtifactInstall_Enter', boot: 'next', after: '', isAskedAgain: true, result: 'success' },
    { point: 'ArtifactReboot_Enter', boot: 'same', after: '', isAskedAgain: true, result: 'success' },
    // The reboot by hand was the reboot of the update.
    { point: 'ArtifactReboot_Enter', boot: 'next', after: VERIFY, isAskedAgain: false, result: 'success' },
    { point: 'ArtifactCommit_Enter', boot: 'same', after: '', isAskedAgain: true, result: 'success' },
    { point: 'ArtifactCommit_Enter', boot: 'next', after: 'VR', isAskedAgain: true, result: 'success' },
    {
      point: 'ArtifactCommit_Enter',
      boot: 'next',
      failingLater: 'VR',
      after: `VR R! ${ASK_AND_GO_BACK}`,
      isAskedAgain: false,
      result: 'rolled-back',
    },
    {
      point: 'ArtifactCommit_Enter',
      boot: 'next',
      device: { needsReboot: 'No' },
      after: '',
      isAskedAgain: true,
      result: 'success',
    },
    {
      point: 'ArtifactRollbackReboot_Enter',
      boot: 'same',
      failing: ['I'],
      after: '',
      isAskedAgain: true,
      result: 'rolled-back',
    },
    {
      point: 'ArtifactRollbackReboot_Enter',
      boot: 'next',
      failing: ['I'],
      after: 'VRR RR- F+ F F- CL',
      isAskedAgain: false,
      result: 'rolled-back',
    },
  ];

  for (const gate of gates) {
    const { point, boot, after, isAskedAgain, result, failingLater } = gate;
    const how = failingLater === undefined ? '' : `, ${failingLater} fails`;
    it(`${point}, ${boot} boot${how}: ${isAskedAgain ? 'asks again' : 'goes on'}, ${result}`, () =>
      devices.use({ points: { [point]: ASK }, ...gate.device }, async (service) => {
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
          expect(chainOf((await service.device.calls()).slice(before))).toBe(after);
          if (after === 'VR')
            expect(second['Deployment']).toMatchObject({ notice: 'rebooted-while-uncommitted' });
          expect(await service.release(point)).toBe('proceeding');
        }
        const end = await service.waitForEnd();
        if (!isAskedAgain) expect(chainOf((await service.device.calls()).slice(before))).toBe(after);
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
    devices.use({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await service.install(artifact);
      await service.device.orderKill('ArtifactReboot_Enter');
      await service.release('ArtifactInstall_Enter');
      await service.exited();
      await service.start({ boot: 'next' });
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));
});

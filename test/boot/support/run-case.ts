/** Carries a case out on a device and judges what came of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { endingAfterCut, type BootCase, type Ending } from './cases.ts';
import type { FieldDevice, Verdict } from './field-device.ts';

const NAME_PREFIX = 'io.holdpoint.Update1.Failure.';

export interface CaseReport {
  readonly storedStep: string;
  readonly expected: Ending;
  readonly ended: Ending;
  readonly serverStatus: string;
  readonly from: string;
  readonly to: string;
  readonly why: string;
  readonly seconds: number;
  /** What is not as it must be; empty = all is well. */
  readonly complaints: readonly string[];
}

/** `artifactName`: one that was never used before. The device must be at rest, and is so afterwards. */
export async function runCase(device: FieldDevice, one: BootCase, artifactName: string): Promise<CaseReport> {
  const startedMs = performance.now();
  const complaints: string[] = [];
  const before = await device.verdict();
  const consoleBefore = device.machine.lineCount;
  const deploymentId = await device.deploy(
    { name: artifactName, variant: one.variant, ...(one.scripts ? { scripts: one.scripts } : {}) },
    one.pauseAt && { states: { [one.pauseAt]: { action: 'pause' } } },
  );

  let storedStep = '';
  if (one.cut) {
    await cutMoment(device, one, deploymentId, consoleBefore);
    ({ storedStep } = await device.cutPower());
    await device.machine.powerOn();
  }
  const expected = one.cut ? endingAfterCut(storedStep, one.scripts !== undefined) : one.ending;
  if (expected === undefined) throw new Error(`${one.name}: no ending is given`);

  // A wait that was cut is there again, unless the way back has begun meanwhile.
  if (one.pauseAt && expected.result === 'success') {
    await device.waitForStatus(deploymentId, 'it waits again', (status) => status.startsWith('pause_before'));
    await waitForWait(device, one.pauseAt);
    await device.server.must('POST', `/deployments/${deploymentId}/release`, {
      point: one.pauseAt,
      at: null,
    });
  }

  const server = await device.waitForEnd(deploymentId);
  const after = await device.verdict();
  const ended: Ending = {
    result: (after.properties['LastResult'] ?? '') as Ending['result'],
    failure: (after.properties['LastErrorName'] ?? '').replace(NAME_PREFIX, ''),
  };
  if (ended.result !== expected.result) {
    complaints.push(`the result is ${ended.result}, expected ${expected.result}`);
  }
  if (ended.failure !== expected.failure) {
    complaints.push(`the failure is '${ended.failure}', expected '${expected.failure}'`);
  }
  const isSuccess = expected.result === 'success';
  const serverStatus = isSuccess ? 'success' : 'failure';
  if (server.status !== serverStatus) {
    complaints.push(`the server was told ${server.status}, expected ${serverStatus}`);
  }
  const finals = server.history.filter(({ status }) => status === 'success' || status === 'failure');
  if (finals.some(({ status }) => status !== serverStatus)) {
    complaints.push(`the server was told both ${finals.map(({ status }) => status).join(' and ')}`);
  }
  if ((after.partition !== before.partition) !== isSuccess) {
    complaints.push(`it ran on ${before.partition} and runs on ${after.partition}`);
  }
  const name = isSuccess ? artifactName : (before.properties['CurrentArtifactName'] ?? '');
  if (after.properties['CurrentArtifactName'] !== name) {
    complaints.push(`it says it runs ${after.properties['CurrentArtifactName']}, expected ${name}`);
  }
  complaints.push(...restComplaints(after));
  return {
    storedStep,
    expected,
    ended,
    serverStatus: server.status,
    from: before.partition,
    to: after.partition,
    why: after.properties['LastErrorMessage'] ?? '',
    seconds: Math.round((performance.now() - startedMs) / 1000),
    complaints,
  };
}

/** What is true of a device at rest, whatever was done to it. */
function restComplaints({ partition, environment, areCopiesEqual, properties }: Verdict): readonly string[] {
  const found: string[] = [];
  if (environment['upgrade_available'] !== '0') {
    found.push(`upgrade_available is ${environment['upgrade_available']}`);
  }
  if (!/^\/dev\/vda[23]$/.test(partition)) found.push(`/ is on '${partition}'`);
  if (!partition.endsWith(environment['mender_boot_part'] ?? '?')) {
    found.push(`${partition} runs, but next is ${environment['mender_boot_part']}`);
  }
  if (environment['mender_saveenv_canary'] !== '1')
    found.push('the boot loader has not shown that it can save');
  if (!areCopiesEqual) found.push('the two copies of the environment differ');
  if (properties['WaitPoint'] !== '') found.push(`it waits at ${properties['WaitPoint']}`);
  return found;
}

/** Resolves when the power is to be cut. */
async function cutMoment(
  device: FieldDevice,
  { cut, pauseAt }: BootCase,
  deploymentId: string,
  consoleBefore: number,
): Promise<void> {
  const { machine } = device;
  const entered = (step: string): Promise<string> =>
    machine.waitForLine(
      `the step ${step}`,
      (line) => line.includes(` to=${step} `) && line.includes(deploymentId),
      consoleBefore,
    );
  switch (cut?.kind) {
    case 'entered':
      await entered(cut.step);
      return;
    case 'writing':
      await entered('download');
      await sleep(cut.afterMs);
      return;
    case 'waiting':
      if (pauseAt) await waitForWait(device, pauseAt);
      return;
    default:
  }
}

async function waitForWait(device: FieldDevice, point: string): Promise<void> {
  for (const endMs = performance.now() + device.machine.patienceMs; performance.now() < endMs;) {
    const found = await device.property('WaitPoint').catch(() => '');
    if (found === point) return;
    await sleep(500);
  }
  throw new Error(`the device does not wait at ${point}`);
}

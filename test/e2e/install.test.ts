import { eventually } from '../support/eventually.ts';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ASK, makeArtifact, makeKeys } from '../support/device.ts';
import { ServiceHarness } from '../support/service.ts';

/** The main job, from outside: a signed artifact goes through two hold points that somebody has to release. */
const SCRIPTS = [
  'ArtifactInstall_Enter_00_save',
  'ArtifactInstall_Leave_00_warm',
  'ArtifactCommit_Enter_00_health',
  'ArtifactCommit_Leave_00_done',
];
const ROOTFS_SCRIPTS = [
  'Idle_Enter_00_idle',
  'Idle_Leave_00_busy',
  'Download_Enter_00_begin',
  'Download_Leave_00_end',
];

let service: ServiceHarness;
let artifact: string;

beforeEach(async () => {
  service = await ServiceHarness.create({
    points: { ArtifactInstall_Enter: ASK, ArtifactCommit_Enter: ASK },
    scripts: ROOTFS_SCRIPTS,
  });
  const keys = await makeKeys(service.device);
  await writeFile(join(service.device.conf, 'mender.conf'), JSON.stringify({ ArtifactVerifyKey: keys.open }));
  artifact = await makeArtifact(service.device, { scripts: SCRIPTS, signKey: keys.secret });
  await service.start();
});

afterEach(() => service.dispose());

async function calls(): Promise<readonly string[]> {
  const all = await service.device.calls();
  return all.filter((call) => !call.startsWith('Idle_'));
}

const UP_TO_INSTALL = [
  'Download_Enter_00_begin',
  'ProvidePayloadFileSizes',
  'Download',
  'Download_Leave_00_end',
];
const UP_TO_COMMIT = [
  ...UP_TO_INSTALL,
  'ArtifactInstall_Enter_00_save',
  'ArtifactInstall',
  'ArtifactInstall_Leave_00_warm',
  'NeedsArtifactReboot',
];
const TO_THE_END = [
  ...UP_TO_COMMIT,
  'ArtifactCommit_Enter_00_health',
  'ArtifactCommit',
  'ArtifactCommit_Leave_00_done',
  'Cleanup',
];

describe('a local install', () => {
  it('runs through two hold points that busctl releases', async () => {
    const id = await service.install(artifact);
    const first = await service.waitAt('ArtifactInstall_Enter');
    expect(first).toMatchObject({
      State: 'ArtifactInstall',
      Activity: 'waiting',
      DeploymentId: id,
      ArtifactName: 'release-2',
      CurrentArtifactName: 'unknown',
      WaitOnExpire: 'fail',
      LastResult: 'none',
    });
    expect((first['Blockers'] as unknown[][]).map(([, kind]) => kind)).toEqual(['consent']);
    expect(await calls()).toEqual(UP_TO_INSTALL);
    expect(await service.release('ArtifactInstall_Enter')).toBe('proceeding');

    const second = await service.waitAt('ArtifactCommit_Enter');
    expect(second['WaitTicket']).not.toBe(first['WaitTicket']);
    expect(second['CurrentArtifactName']).toBe('unknown');
    expect(await calls()).toEqual(UP_TO_COMMIT);
    expect(await service.release('ArtifactCommit_Enter')).toBe('proceeding');

    const end = await service.waitForEnd();
    expect(end).toMatchObject({
      LastResult: 'success',
      LastErrorName: '',
      CurrentArtifactName: 'release-2',
      Progress: 100,
      WaitTicket: '',
    });
    expect(await calls()).toEqual(TO_THE_END);
    expect(await readFile(join(service.device.installedFolder, 'greeting'), 'utf8')).toBe(
      'the new version\n',
    );

    const entry = (await service.mustCall('History.Get', 's', [id])) as Record<string, { data: unknown }>;
    expect(entry['result']?.data).toBe('success');
    expect(entry['artifact-name']?.data).toBe('release-2');
    const passages = entry['passages']?.data as { point: { data: string }; reasons: { data: string[] } }[];
    expect(passages.map(({ point, reasons }) => [point.data, reasons.data])).toEqual([
      ['Download_Enter', ['nothing-blocks']],
      ['ArtifactInstall_Enter', ['consent-uid-0']],
      ['ArtifactCommit_Enter', ['consent-uid-0']],
    ]);
    const messages = (await service.deploymentLog(id)).map(({ message }) => message);
    expect(messages[0]).toBe(`Deployment ${id} started`);
    expect(messages).toContain('Running state script ArtifactInstall_Enter_00_save');
    expect(messages).toContain('Calling Update Module probe: ArtifactInstall');
    expect(messages).toContain('Waiting at ArtifactCommit_Enter for: consent (policy)');
    expect(messages.at(-1)).toBe('Deployment finished: success');
    expect(existsSync(join(service.device.data, 'modules/v3/payloads/0000/tree'))).toBe(false);

    const members = service.watch.signals
      .map(({ member }) => member)
      .filter((name) => name !== 'StateChanged');
    expect(members).toEqual([
      'DeploymentStarted',
      'WaitStarted',
      'WaitEnded',
      'WaitStarted',
      'WaitEnded',
      'DeploymentFinished',
    ]);
  });

  const ticketsTold = (): readonly unknown[] =>
    service.watch.signals.filter(({ member }) => member === 'WaitStarted').map(({ args }) => args[1]);

  it('is still waiting after a restart, with a new ticket, and the old one is dead', async () => {
    const id = await service.install(artifact);
    const before = await service.waitAt('ArtifactInstall_Enter');
    // The signal follows the properties: a service that is killed between the two has not told it.
    await eventually('the wait is told', () => ticketsTold().length === 1);
    await service.restart();
    const after = await service.waitAt('ArtifactInstall_Enter');
    expect(after['DeploymentId']).toBe(id);
    expect(after['WaitTicket']).not.toBe(before['WaitTicket']);
    expect(after['WaitSinceUSec'] as bigint).toBeLessThan((before['WaitSinceUSec'] as bigint) + 1_000_000n);
    const stale = await service.call('Continue', 's', [String(before['WaitTicket'])]);
    expect(stale.error).toContain('not, or no longer');
    expect(await calls()).toEqual(UP_TO_INSTALL);
    await eventually('the wait is told again', () => ticketsTold().length === 2);
    expect(ticketsTold()).toEqual([before['WaitTicket'], after['WaitTicket']]);

    await service.release('ArtifactInstall_Enter');
    await service.waitAt('ArtifactCommit_Enter');
    await service.restart({ boot: 'next' });
    await service.release('ArtifactCommit_Enter');
    expect(await service.waitForEnd()).toMatchObject({
      LastResult: 'success',
      CurrentArtifactName: 'release-2',
    });
    expect(await calls()).toEqual(TO_THE_END);
  });

  it('keeps its wait when the service is stopped in good order, and the result after the next start', async () => {
    const id = await service.install(artifact);
    await service.waitAt('ArtifactInstall_Enter');
    expect(await service.terminate()).toEqual({ code: 0, signal: null });
    expect(await service.log()).toContain('Stopped');
    await service.start();
    expect((await service.waitAt('ArtifactInstall_Enter'))['DeploymentId']).toBe(id);
    await service.release('ArtifactInstall_Enter');
    await service.release('ArtifactCommit_Enter');
    await service.waitForEnd();
    expect(await service.terminate()).toEqual({ code: 0, signal: null });
    await service.start();
    expect(service.watch.present()).toMatchObject({
      LastResult: 'success',
      CurrentArtifactName: 'release-2',
    });
  });

  it('says no when consent runs out, and the old version stays', async () => {
    await service.terminate();
    await writeFile(
      join(service.device.folder, 'holdpoint/holdpoint.json'),
      JSON.stringify({ Points: { ArtifactInstall_Enter: { ...ASK, timeout: 1 } } }),
    );
    await service.start();
    await service.install(artifact);
    await service.waitAt('ArtifactInstall_Enter');
    expect(await service.waitForEnd()).toMatchObject({
      LastResult: 'failure',
      LastErrorName: 'io.holdpoint.Update1.Failure.HoldExpired',
      CurrentArtifactName: 'unknown',
    });
    expect(await calls()).toEqual([...UP_TO_INSTALL, 'Cleanup']);
  });
});

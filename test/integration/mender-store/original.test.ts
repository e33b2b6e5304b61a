import { readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ModuleRunner } from '../../../src/adapters/modules/runner.ts';
import { StateScripts } from '../../../src/adapters/scripts/runner.ts';
import { exportMenderStore, takeOverFromMender } from '../../../src/app/takeover.ts';
import type { MenderTakeover } from '../../../src/core/mender-takeover.ts';
import { DEFAULT_FLOW_SETTINGS } from '../../../src/core/settings.ts';
import type { FlowStep, UpdateState } from '../../../src/core/state.ts';
import { transition } from '../../../src/core/transition.ts';
import { eventually } from '../../support/eventually.ts';
import { RecordingDeploymentLog } from '../../support/recording-log.ts';
import { DEPLOYMENT_ID, OriginalDevice, whyNoClient, type Behaviour } from './original-client.ts';
import { clock, entriesOf, picture, place, storeOf, toolsOf, type Place, type Tools } from './support.ts';

/** Stores made, and read back, by Debian's `mender` 3.4 itself. */
const reason = await whyNoClient();
if (reason !== null) console.warn(`Debian's mender cannot be run here: ${reason}`);

let device: OriginalDevice;
let where: Place;
let tools: Tools;
beforeEach(async () => {
  device = await OriginalDevice.make();
  where = await place(device.datastore);
  tools = toolsOf(where);
});
afterEach(async () => {
  await device.remove();
});

const NEW_PROVIDES = { 'probe.version': '2&3', 'rootfs-image.probe.version': 'release-2' };

/** First start of the service, here in the same boot as the client's last moment. */
async function taken(): Promise<{ readonly result: MenderTakeover; readonly state: UpdateState }> {
  const before = await picture(device.datastore);
  const result = await takeOverFromMender(tools, await tools.states.load());
  if (result === null) throw new Error('nothing was taken over');
  const after = await picture(device.datastore);
  for (const [path, checksum] of Object.entries(before)) expect(after[path], path).toBe(checksum);
  const at = tools.clock.now();
  const { state } = transition(result.seed, {
    kind: 'ServiceStarted',
    bootId: tools.bootId,
    settings: { ...DEFAULT_FLOW_SETTINGS, isServerConfigured: true },
    bootstrap: null,
    at,
    nonce: '00112233445566778899aabbccddeeff',
  });
  return { result, state };
}

describe.skipIf(reason !== null)('a device that ran mender 3.4', () => {
  it('keeps name, group and provides that the client installed and committed', async () => {
    expect(await device.command('install', device.artifact)).toMatchObject({ status: 0 });
    expect(await device.command('commit')).toMatchObject({ status: 0 });
    const { result } = await taken();
    expect(result).toMatchObject({
      installed: { artifactName: 'release-2', artifactGroup: 'shop', provides: NEW_PROVIDES },
      complaints: [],
      standalone: null,
    });
    expect(result.seed.deployment).toBeNull();
  });

  it('goes on with an installation of the command line that is not committed', async () => {
    expect(await device.command('install', device.artifact)).toMatchObject({ status: 0 });
    const { result } = await taken();
    expect((await tools.records.load()).document).toEqual({
      artifactName: 'release-2',
      artifactGroup: 'shop',
      provides: NEW_PROVIDES,
      clearsProvides: ['rootfs-image.probe.*'],
      payloadType: 'probe',
      inState: 'Before_ArtifactCommit_Enter',
      hasFailed: false,
      isRolledBack: false,
      verdict: null,
      rebootAskedIn: '',
    });
    expect(result.installed?.artifactName).toBe('original');
  });

  it.each<[point: string, behaviour: Behaviour, record: string, step: FlowStep]>([
    ['Download', {}, 'update-store', 'cleanup-after-failure'],
    ['Download_Leave', {}, 'update-after-store', 'cleanup-after-failure'],
    ['ArtifactInstall_Enter', {}, 'update-install', 'rollback-check'],
    ['ArtifactInstall_Leave', {}, 'update-install', 'rollback-check'],
    ['ArtifactReboot_Enter', { needsReboot: 'Yes' }, 'reboot', 'verify-reboot'],
    ['ArtifactVerifyReboot', { needsReboot: 'Yes' }, 'after-reboot', 'rollback-check'],
    ['ArtifactCommit', {}, 'update-commit', 'rollback-check'],
    ['ArtifactCommit_Leave', {}, 'update-after-commit', 'commit-leave'],
    ['ArtifactRollback_Enter', { fails: ['ArtifactInstall'] }, 'rollback', 'rollback-enter'],
    ['ArtifactRollback', { fails: ['ArtifactInstall'] }, 'rollback', 'rollback-enter'],
    ['ArtifactRollback_Leave', { fails: ['ArtifactInstall'] }, 'rollback', 'rollback-enter'],
    [
      'ArtifactRollbackReboot_Leave',
      { needsReboot: 'Yes', fails: ['ArtifactVerifyReboot'] },
      'after-rollback-reboot',
      'verify-rollback-reboot',
    ],
    [
      'ArtifactRollbackReboot',
      { needsReboot: 'Yes', fails: ['ArtifactVerifyReboot'] },
      'rollback-reboot',
      'verify-rollback-reboot',
    ],
    [
      'ArtifactVerifyRollbackReboot',
      { needsReboot: 'Yes', fails: ['ArtifactVerifyReboot'] },
      'verify-rollback-reboot',
      'verify-rollback-reboot',
    ],
    ['ArtifactFailure_Leave', { fails: ['ArtifactInstall'] }, 'update-error', 'failure-enter'],
    ['ArtifactFailure', { fails: ['ArtifactInstall'] }, 'update-error', 'failure-enter'],
    ['Cleanup', { fails: ['ArtifactInstall'] }, 'cleanup', 'cleanup-after-failure'],
    ['Cleanup', {}, 'cleanup', 'cleanup-after-success'],
  ])('resumes an update killed in %s (%j): record %s, step %s', async (point, behaviour, record, step) => {
    await device.killAt(point, behaviour);
    const content = await storeOf(where).read();
    expect(content?.update).toMatchObject({
      name: record,
      deploymentId: DEPLOYMENT_ID,
      uri: `${device.url}/release-2.mender?part=1&sign=a%2Fb`,
      areAllRollbacksSuccessful: null,
    });
    const { state, result } = await taken();
    expect(result.complaints).toEqual([]);
    expect(state.step).toBe(step);
    const isOver = ['commit-leave', 'cleanup-after-success'].includes(step);
    expect(state.installed.artifactName).toBe(isOver ? 'release-2' : 'original');
    expect(state.deployment).toMatchObject({ id: DEPLOYMENT_ID, isInconsistent: false, isCommitted: isOver });
  });

  it('forgets an update of which nothing had been fetched when the client was killed: it is offered again', async () => {
    await device.killAt('Download_Enter', {});
    expect((await storeOf(where).read())?.update?.name).toBe('update-fetch');
    const { result } = await taken();
    expect(result).toMatchObject({ complaints: [], seed: { step: 'idle', deployment: null } });
    expect(result.seed.installed.artifactName).toBe('original');
    expect(device.statuses).not.toContain('failure');
  });

  it('finds file tree, module and state scripts where the client put them', async () => {
    await device.killAt('ArtifactVerifyReboot', { needsReboot: 'Yes' });
    await taken();
    await rm(join(device.root, 'stop-ArtifactVerifyReboot'));
    const before = (await device.calls()).length;
    const deploymentLog = new RecordingDeploymentLog();
    const modules = new ModuleRunner(
      {
        modulesDir: join(device.root, 'share/modules/v3'),
        treeDir: join(device.datastore, 'modules/v3/payloads/0000/tree'),
        timeoutSeconds: 10,
      },
      clock,
      deploymentLog,
      tools.log,
    );
    const scripts = new StateScripts(
      {
        rootfsScriptsDir: join(device.root, 'conf/scripts'),
        artifactScriptsDir: join(device.datastore, 'scripts'),
        timeoutSeconds: 10,
        retryIntervalSeconds: 1,
        retryTimeoutSeconds: 1,
      },
      clock,
      deploymentLog,
      tools.log,
    );
    const { signal } = new AbortController();
    expect(await modules.supportsRollback('probe', signal)).toBe(true);
    await scripts.run({ family: 'ArtifactRollback', action: 'Enter', runsAll: false }, signal);
    await modules.run('probe', 'ArtifactRollback', signal);
    await modules.run('probe', 'Cleanup', signal);
    expect((await device.calls()).slice(before)).toEqual([
      'module SupportsRollback',
      'script ArtifactRollback_Enter',
      'module ArtifactRollback',
      'module Cleanup',
    ]);
  });

  it('keeps an inconsistent device inconsistent', async () => {
    await device.killAt('ArtifactFailure', { fails: ['ArtifactInstall'], supportsRollback: 'No' });
    const { state } = await taken();
    expect(state).toMatchObject({ step: 'failure-enter', deployment: { isInconsistent: true } });
    expect(state.installed.artifactName).toBe('release-2_INCONSISTENT');
  });

  it.each([
    ['success', {}, 'report-success', 'release-2'],
    ['failure', { fails: ['ArtifactInstall'] }, 'report-failure', 'original'],
  ] as const)('reports a %s that the client could not deliver', async (status, behaviour, step, name) => {
    await device.startDaemon({ ...behaviour, refusedStatus: status });
    // State scripts report it too, early; the report that counts comes behind the clean-up, and again and again.
    await eventually(
      'all is cleaned up',
      async () => (await device.calls()).includes('module Cleanup'),
      30_000,
    );
    const before = device.statuses.length;
    await eventually('the report is refused', () => device.statuses.slice(before).includes(status), 30_000);
    await device.killDaemon();
    const { state } = await taken();
    expect(state).toMatchObject({ step, installed: { artifactName: name } });
    expect(state.history).toHaveLength(1);
  });

  it.each([
    ['ArtifactInstall_Enter', 'pause_before_installing', 'No', 'install-gate'],
    ['ArtifactReboot_Enter', 'pause_before_rebooting', 'Yes', 'reboot-gate'],
    ['ArtifactCommit_Enter', 'pause_before_committing', 'Yes', 'commit-gate'],
    ['ArtifactCommit_Enter', 'pause_before_committing', 'No', 'commit-gate'],
  ] as const)(
    'neither fails nor forgets an update paused at %s (%s, reboot %s)',
    async (point, status, needsReboot, step) => {
      const controlMap = { id: DEPLOYMENT_ID, priority: 0, states: { [point]: { action: 'pause' } } };
      await device.startDaemon({ needsReboot, controlMap });
      await eventually('the client pauses', () => device.statuses.includes(status), 30_000);
      await device.killDaemon();
      const { state } = await taken();
      expect(state.step).toBe(step);
      expect(state.deployment).toMatchObject({ failure: null, isInconsistent: false });
      expect(state.controlMaps).toMatchObject([
        {
          id: DEPLOYMENT_ID,
          origin: 'server',
          states: { [point]: { action: 'pause', onMapExpire: 'fail' } },
        },
      ]);
    },
  );

  it('can go back: the client starts on the exported store, knows what is installed, resumes nothing', async () => {
    await device.killAt('ArtifactVerifyReboot', { needsReboot: 'Yes' });
    const key = await readFile(join(device.datastore, 'mender-agent.pem'));
    const { result } = await taken();
    const installed = {
      artifactName: 'release-7',
      artifactGroup: 'tills',
      provides: { 'a.version': '7&8', b: '<ü>' },
    };
    await tools.states.save({ ...result.seed, deployment: null, installed });
    const { keptAs } = await exportMenderStore(tools);
    expect(keptAs).toBe(`${where.storeFile}.before-holdpoint`);
    // The lock file of the old store is still there.
    expect((await stat(`${where.storeFile}-lock`)).isFile()).toBe(true);

    expect((await device.command('show-artifact')).stdout).toBe('release-7\n');
    const { stdout } = await device.command('show-provides');
    expect(stdout.trim().split('\n').sort()).toEqual([
      'a.version=7&8',
      'artifact_group=tills',
      'artifact_name=release-7',
      'b=<ü>',
    ]);
    expect(await device.command('commit')).toMatchObject({ status: 2 });

    const calls = await device.calls();
    const [statuses, polls] = [device.statuses.length, device.polls];
    device.isOffering = false;
    await rm(join(device.root, 'stop-ArtifactVerifyReboot'));
    await device.startDaemon();
    await eventually('the client asks for deployments again', () => device.polls >= polls + 2, 30_000);
    await device.killDaemon();
    expect(await device.calls()).toEqual(calls);
    expect(device.statuses).toHaveLength(statuses);
    expect(await entriesOf(where.storeFile)).not.toHaveProperty('state');
    expect(await readFile(join(device.datastore, 'mender-agent.pem'))).toEqual(key);
  });

  it('can put the kept store back, and the client resumes from it as if nothing had been', async () => {
    await device.killAt('ArtifactVerifyReboot', { needsReboot: 'Yes' });
    const { result } = await taken();
    await tools.states.save({ ...result.seed, deployment: null });
    const { keptAs } = await exportMenderStore(tools);
    await rename(keptAs!, where.storeFile);
    await rm(join(device.root, 'stop-ArtifactVerifyReboot'));
    await device.startDaemon({ needsReboot: 'Yes' });
    await eventually('the client reports its failure', () => device.statuses.includes('failure'), 30_000);
    expect(await device.calls()).toContain('module ArtifactRollback');
  });

  it('is refused while the client runs', async () => {
    device.isOffering = false;
    await device.startDaemon();
    await eventually('the client asks', () => device.polls > 0, 30_000);
    await expect(takeOverFromMender(tools, await tools.states.load())).rejects.toThrow(
      /process \d+ has it open: stop the Mender client first/,
    );
  });

  it('installs what a client updates to afterwards: the exported store takes another update', async () => {
    await storeOf(where).write({
      artifactName: 'release-1',
      artifactGroup: '',
      provides: { 'shop.theme': 'dark' },
    });
    expect(await device.command('install', device.artifact)).toMatchObject({ status: 0 });
    expect(await device.command('commit')).toMatchObject({ status: 0 });
    expect(await entriesOf(where.storeFile)).toMatchObject({
      'artifact-name': 'release-2',
      'artifact-group': 'shop',
    });
    expect((await storeOf(where).read())?.provides).toEqual({ ...NEW_PROVIDES, 'shop.theme': 'dark' });
  });
});

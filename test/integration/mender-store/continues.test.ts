import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { renewMenderStore, takeOverFromMender } from '../../../src/app/takeover.ts';
import type { DeploymentServer } from '../../../src/ports/deployment-server.ts';
import { compose, type Composition } from '../../support/composition.ts';
import type { Device } from '../../support/device.ts';
import { eventually } from '../../support/eventually.ts';
import { DEPLOYMENT_ID, OriginalDevice, whyNoClient, type Behaviour } from './original-client.ts';
import { entriesOf, place, toolsOf, type Place, type Tools } from './support.ts';

/**
 * Updates that Debian's `mender` 3.4 began and this service ends: the real loop, effects, modules and scripts on the
 * device the client was killed on.
 */
const reason = await whyNoClient();

let device: OriginalDevice;
let where: Place;
let tools: Tools;
let running: Composition | null;
const writings: Promise<void>[] = [];
const statuses: string[] = [];
let gateAction: 'pause' | 'force_continue';

const server: DeploymentServer = {
  isConfigured: true,
  checkForDeployment: async () => null,
  authorize: async () => {},
  reportStatus: async (_id, status) => {
    statuses.push(status);
    return 'accepted';
  },
  uploadLog: async (_id, lines) => {
    for await (const _line of lines);
    return 'accepted';
  },
  fetchControlMap: async (id) => ({ kind: 'map', text: JSON.stringify(mapOf(id, gateAction)) }),
};

function mapOf(id: string, action: string) {
  return { id, priority: 0, states: { ArtifactInstall_Enter: { action } } };
}

beforeEach(async () => {
  statuses.length = 0;
  writings.length = 0;
  gateAction = 'pause';
  running = null;
  device = await OriginalDevice.make();
  where = await place(device.datastore);
  tools = { ...toolsOf(where), bootId: (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim() };
});
afterEach(async () => {
  running?.drop();
  await Promise.all(writings);
  await device.remove();
});

/** What the service does at its start, after the client was killed. */
async function start(): Promise<Composition> {
  await takeOverFromMender(tools, await tools.states.load());
  const parts: Partial<Device> = {
    folder: device.root,
    conf: join(device.root, 'conf'),
    share: join(device.root, 'share'),
    data: device.datastore,
    stateDirectory: where.stateDirectory,
    bootIdFile: '/proc/sys/kernel/random/boot_id',
  };
  running = await compose({ device: parts as Device, server });
  renewMenderStore(running.machine.tick$, tools.menderStore, tools.log, (one) =>
    writings.push(one),
  ).subscribe();
  return running;
}

async function killedIn(point: string, behaviour: Behaviour = {}): Promise<number> {
  await device.killAt(point, behaviour);
  await rm(join(device.root, `stop-${point}`));
  return (await device.calls()).length;
}

async function ended({ machine }: Composition): Promise<void> {
  await eventually(
    'the update has ended',
    () => machine.state().deployment === null && machine.state().step === 'idle',
    20_000,
  );
  await Promise.all(writings);
}

describe.skipIf(reason !== null)('an update that mender 3.4 began', () => {
  it('is rolled back when the client was killed while it verified the reboot', async () => {
    const before = await killedIn('ArtifactVerifyReboot', { needsReboot: 'Yes' });
    await ended(await start());
    expect((await device.calls()).slice(before)).toEqual([
      'module SupportsRollback',
      'script ArtifactRollback_Enter',
      'module ArtifactRollback',
      'script ArtifactRollback_Leave',
      'module NeedsArtifactReboot',
      'module ArtifactRollbackReboot',
      'module ArtifactVerifyRollbackReboot',
      'script ArtifactRollbackReboot_Leave',
      'script ArtifactFailure_Enter',
      'module ArtifactFailure',
      'script ArtifactFailure_Leave',
      'module Cleanup',
    ]);
    expect(statuses).toEqual(['failure']);
    const { installed, history } = running!.machine.state();
    expect(installed.artifactName).toBe('original');
    expect(history).toMatchObject([{ deploymentId: DEPLOYMENT_ID, result: 'rolled-back' }]);
    // It was never committed: the client's store is as the client left it.
    expect(await entriesOf(where.storeFile)).toHaveProperty('state');
  });

  it('is committed after its reboot, and the client knows it when it comes back', async () => {
    const before = await killedIn('ArtifactReboot_Enter', { needsReboot: 'Yes' });
    await ended(await start());
    expect((await device.calls()).slice(before)).toEqual([
      'module ArtifactVerifyReboot',
      'script ArtifactReboot_Leave',
      'script ArtifactCommit_Enter',
      'module ArtifactCommit',
      'script ArtifactCommit_Leave',
      'module Cleanup',
    ]);
    expect(statuses).toEqual(['installing', 'success']);
    running!.drop();
    expect(await entriesOf(where.storeFile)).not.toHaveProperty('state');
    expect((await device.command('show-artifact')).stdout).toBe('release-2\n');
    expect((await device.command('show-provides')).stdout).toContain('probe.version=2&3\n');
    expect(await entriesOf(`${where.storeFile}.before-holdpoint`)).toHaveProperty('state');
  });

  it('is finished when the client was killed behind the commit', async () => {
    const before = await killedIn('ArtifactCommit_Leave');
    await ended(await start());
    expect((await device.calls()).slice(before)).toEqual(['script ArtifactCommit_Leave', 'module Cleanup']);
    expect(statuses).toEqual(['success']);
    expect((await entriesOf(where.storeFile))['artifact-name']).toBe('release-2');
  });

  it('waits on at its gate, over a restart, until the server lets it go on', async () => {
    const controlMap = mapOf(DEPLOYMENT_ID, 'pause');
    await device.startDaemon({ controlMap });
    await eventually('the client pauses', () => device.statuses.includes('pause_before_installing'), 30_000);
    await device.killDaemon();
    const before = (await device.calls()).length;
    const first = await start();
    await eventually('it waits again', () => first.machine.state().wait?.point === 'ArtifactInstall_Enter');
    expect((await device.calls()).slice(before)).toEqual([]);
    first.drop();
    gateAction = 'force_continue';
    await ended(await start());
    expect((await device.calls()).slice(before)).toEqual([
      'script ArtifactInstall_Enter',
      'module ArtifactInstall',
      'script ArtifactInstall_Leave',
      'module NeedsArtifactReboot',
      'script ArtifactCommit_Enter',
      'module ArtifactCommit',
      'script ArtifactCommit_Leave',
      'module Cleanup',
    ]);
    expect(statuses.at(-1)).toBe('success');
    expect(running!.machine.state().installed.artifactName).toBe('release-2');
  });
});

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startDevServer, type DevServerProcess } from '../../support/dev-server.ts';
import { makeArtifact } from '../../support/device.ts';
import { eventually } from '../../support/eventually.ts';
import { startRecordingProxy, type RecordingProxy } from '../../support/recording-proxy.ts';
import { menderClient, type MenderClient } from '../../support/mender-client.ts';
import {
  makeMenderDevice,
  type MenderDevice,
  type MenderDeviceOptions,
} from '../../support/mender-device.ts';

/** The real `mender` 3.4 of Debian against the development server, with real artifacts. */
const WITHIN_MS = 30_000;
let client: MenderClient;
let folder: string;
let payload: string;
let server: DevServerProcess | null = null;
let device: MenderDevice | null = null;
let proxy: RecordingProxy | null = null;

beforeAll(async () => {
  const found = await menderClient();
  if ('unavailable' in found)
    throw new Error(`the mender-client package cannot be had: ${found.unavailable}`);
  client = found;
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-artifacts-'));
  // The client refuses artifacts below 4096 bytes.
  payload = 'the new version\n'.repeat(20_000);
});
afterEach(async () => {
  await device?.dispose();
  await proxy?.dispose();
  await server?.dispose();
  device = null;
  proxy = null;
  server = null;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function begin(
  serverOptions: readonly string[],
  {
    isBehindProxy = false,
    ...deviceOptions
  }: Partial<MenderDeviceOptions> & {
    /** What passes can be read afterwards. */
    readonly isBehindProxy?: boolean;
  } = {},
): Promise<{ server: DevServerProcess; device: MenderDevice; artifactId: string }> {
  server = await startDevServer({ options: serverOptions });
  if (isBehindProxy) proxy = await startRecordingProxy(server.url);
  device = await makeMenderDevice(client, {
    serial: 'K-77',
    serverUrl: proxy?.url ?? server.url,
    deviceType: 'test-device',
    ...deviceOptions,
  });
  const file = await makeArtifact({ folder }, { name: 'release-2', payload });
  const { id: artifactId } = await server.must('POST', '/artifacts', await readFile(file));
  return { server, device, artifactId };
}

async function devicesOf(one: DevServerProcess): Promise<any[]> {
  return one.must('GET', '/devices');
}
async function until(what: string, claim: () => Promise<boolean>): Promise<void> {
  await eventually(what, claim, WITHIN_MS).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${server?.output().slice(-4000)}\n${device?.output().slice(-4000)}`);
  });
}
async function runOf(one: DevServerProcess, deploymentId: string): Promise<any> {
  return (await one.must('GET', `/deployments/${deploymentId}?history=true`)).devices[0];
}
function statusesOf(run: any): readonly string[] {
  const statuses = run.history.map((entry: any) => entry.status as string);
  return statuses.filter((status: string, index: number) => status !== statuses[index - 1]);
}

describe("Debian's mender against the development server", () => {
  it('asks to be let in, is accepted by a person, and sends its inventory', async () => {
    const { server, device } = await begin([]);
    device.start();
    await until('the device asked', async () => (await devicesOf(server)).length === 1);
    const [pending] = await devicesOf(server);
    expect(pending).toMatchObject({ identity: { serial: 'K-77' }, status: 'pending', inventory: null });
    await server.must('POST', `/devices/${pending.id}/accept`);
    await until('the inventory is there', async () => (await devicesOf(server))[0].inventory !== null);
    const [accepted] = await devicesOf(server);
    expect(accepted.inventory).toEqual(
      expect.arrayContaining([
        { name: 'device_type', value: 'test-device' },
        { name: 'ram', value: '512' },
        { name: 'nic', value: ['eth0', 'wlan0'] },
      ]),
    );
  });

  it('completes a deployment that is held before install and commit and released: map, pauses, success', async () => {
    const { server, device, artifactId } = await begin(['--auto-accept']);
    device.start();
    await until('the inventory is there', async () => (await devicesOf(server))[0]?.inventory != null);
    const { id } = await server.must('POST', '/deployments', {
      artifact_id: artifactId,
      devices: { attributes: { device_type: 'test-device' } },
      update_control_map: {
        states: { ArtifactInstall_Enter: { action: 'pause' }, ArtifactCommit_Enter: { action: 'pause' } },
      },
    });
    const waitsAt = async (): Promise<unknown> => (await runOf(server, id)).wait?.point;
    await until('it waits before install', async () => (await waitsAt()) === 'ArtifactInstall_Enter');
    expect(await runOf(server, id)).toMatchObject({ follows_maps: true, wait: { held_by: 'server' } });
    expect(await device.calls()).not.toContain('ArtifactInstall');
    // The client looks for a new map at each poll while it waits: still held after two of them.
    const seen = (await devicesOf(server))[0].last_seen_at;
    await until('it has asked again', async () => (await devicesOf(server))[0].last_seen_at > seen);
    expect(await waitsAt()).toBe('ArtifactInstall_Enter');

    await server.must('POST', `/deployments/${id}/release`, { point: 'ArtifactInstall_Enter' });
    await until('it waits before commit', async () => (await waitsAt()) === 'ArtifactCommit_Enter');
    expect(await device.calls()).toContain('ArtifactInstall');
    expect(await device.calls()).not.toContain('ArtifactCommit');

    // At a time: this client does not know it, so the server takes its word back when the time has come.
    const at = new Date(Date.now() + 1_500).toISOString();
    await server.must('POST', `/deployments/${id}/release`, { point: 'ArtifactCommit_Enter', at });
    await until('it is finished', async () => (await runOf(server, id)).finished_at !== null);
    const run = await runOf(server, id);
    expect(run.finished_at > at).toBe(true);
    expect(statusesOf(run)).toEqual([
      'pending',
      'downloading',
      'pause_before_installing',
      'installing',
      'pause_before_committing',
      'installing',
      'success',
    ]);
    expect(await device.calls()).toContain('ArtifactCommit');
    expect(await readFile(join(device.folder, 'installed'), 'utf8')).toBe(payload);
    await until('the inventory shows it', async () =>
      (await devicesOf(server))[0].inventory.some((one: any) => one.value === 'release-2'),
    );
  });

  it('takes an offer that carries a release at a time, passes over that member, and goes on after the time', async () => {
    const { server, device, artifactId } = await begin(['--auto-accept'], { isBehindProxy: true });
    device.start();
    await until('it is known', async () => (await devicesOf(server))[0]?.inventory != null);
    await device.stop();
    const states = { ArtifactInstall_Enter: { action: 'pause' } };
    const at = new Date(Date.now() + 20_000).toISOString();
    const { id } = await server.must('POST', '/deployments', {
      artifact_id: artifactId,
      devices: { attributes: { device_type: 'test-device' } },
      update_control_map: { states },
    });
    await server.must('POST', `/deployments/${id}/release`, { point: 'ArtifactInstall_Enter', at });
    // It asks only now: the very offer has the member.
    device.start();
    await until('it waits before install', async () => {
      const run = await runOf(server, id);
      return run?.wait?.point === 'ArtifactInstall_Enter';
    });
    expect(new Date().toISOString() < at, 'the time has not come yet').toBe(true);
    expect(await device.calls()).not.toContain('ArtifactInstall');
    const releases = [{ point: 'ArtifactInstall_Enter', release_at: at, force: false }];
    const sent = (end: string): any[] =>
      proxy!.answers
        .filter(({ path, status }) => path.endsWith(end) && status === 200)
        .map(({ text }) => JSON.parse(text));
    expect(sent('/deployments/next')).toMatchObject([
      { id, update_control_map: { states }, holdpoint: { releases } },
    ]);
    expect(sent('/deployments/next')[0].update_control_map).not.toHaveProperty('holdpoint');

    await until('it is finished', async () => (await runOf(server, id)).finished_at !== null);
    const run = await runOf(server, id);
    expect(statusesOf(run)).toEqual([
      'pending',
      'downloading',
      'pause_before_installing',
      'installing',
      'success',
    ]);
    expect(run.finished_at > at).toBe(true);
    // Refreshes before the time had it too, and were taken as well; after it the server's word is taken back.
    const refreshes = sent('/update_control_map');
    expect(refreshes[0]).toMatchObject({ holdpoint: { releases } });
    expect(refreshes.at(-1)).not.toHaveProperty('holdpoint');
    expect(device.output()).not.toMatch(/holdpoint|unknown field|nvalid/);
  });

  it('updates from the server as open-source one: v2 is not there, v1 does', async () => {
    const { server, device, artifactId } = await begin(['--auto-accept', '--oss', '--log-level', 'debug']);
    device.start();
    await until('it is known', async () => (await devicesOf(server)).length === 1);
    const { id } = await server.must('POST', '/deployments', {
      artifact_id: artifactId,
      devices: { all: true },
    });
    await until('it is finished', async () => (await runOf(server, id)).finished_at !== null);
    expect(await runOf(server, id)).toMatchObject({ status: 'success', follows_maps: false });
    expect(server.output()).toContain('path=/api/devices/v2/deployments/device/deployments/next status=404');
    expect(server.output()).toContain('path=/api/devices/v1/deployments/device/deployments/next status=200');
  });

  it('rolls back when its module fails, and its log is kept', async () => {
    const { server, device, artifactId } = await begin(['--auto-accept'], { failing: ['ArtifactInstall'] });
    device.start();
    await until('it is known', async () => (await devicesOf(server)).length === 1);
    const { id } = await server.must('POST', '/deployments', {
      artifact_id: artifactId,
      devices: { all: true },
    });
    await until('its log is there', async () => (await runOf(server, id)).has_log);
    expect((await runOf(server, id)).status).toBe('failure');
    expect(await device.calls()).toContain('ArtifactRollback');
    const [{ id: deviceId }] = await devicesOf(server);
    const { messages } = await server.must('GET', `/deployments/${id}/devices/${deviceId}/log`);
    expect(messages.some((one: any) => /ArtifactInstall/.test(one.message))).toBe(true);
  });

  it('is told of an abort at a hold point, rolls back and reports no other end', async () => {
    const { server, device, artifactId } = await begin(['--auto-accept']);
    device.start();
    await until('it is known', async () => (await devicesOf(server)).length === 1);
    const { id } = await server.must('POST', '/deployments', {
      artifact_id: artifactId,
      devices: { all: true },
      update_control_map: { states: { ArtifactCommit_Enter: { action: 'pause' } } },
    });
    await until('it waits', async () => (await runOf(server, id)).wait !== null);
    await server.must('POST', `/deployments/${id}/abort`);
    await until('it has rolled back', async () => (await device.calls()).includes('ArtifactRollback'));
    await until('it has cleaned up', async () => (await device.calls()).includes('Cleanup'));
    expect((await runOf(server, id)).status).toBe('aborted');
  });

  it('goes on with the rest of a download that was cut', async () => {
    const { server, device, artifactId } = await begin(['--auto-accept', '--log-level', 'debug']);
    await server.must('POST', '/faults', { endpoint: 'download', kind: 'cut', after_bytes: 100_000 });
    device.start();
    await until('it is known', async () => (await devicesOf(server)).length === 1);
    const { id } = await server.must('POST', '/deployments', {
      artifact_id: artifactId,
      devices: { all: true },
    });
    // The client waits 60 s before it goes on.
    await eventually('it is finished', async () => (await runOf(server, id)).finished_at !== null, 100_000);
    expect((await runOf(server, id)).status).toBe('success');
    expect(server.output()).toMatch(/path=\/api\/devices\/v1\/deployments\/download\/\S+ status=206/);
    expect(await readFile(join(device.folder, 'installed'), 'utf8')).toBe(payload);
  }, 150_000);
});

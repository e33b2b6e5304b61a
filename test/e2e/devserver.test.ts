import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startDevServer, type DevServerProcess } from '../support/dev-server.ts';
import { makeArtifact, type ArtifactOptions } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { ServiceHarness, type HarnessOptions } from '../support/service.ts';

/** The whole service against the development server, with real artifacts. */
const WITHIN_MS = 60_000;
const PAYLOAD = 'the new version\n'.repeat(20_000);
const QUICK = {
  UpdatePollIntervalSeconds: 1,
  InventoryPollIntervalSeconds: 1,
  RetryPollIntervalSeconds: 1,
  RetryPollCount: 5,
};

interface Pair {
  readonly server: DevServerProcess;
  readonly service: ServiceHarness;
  readonly deploy: (options?: ArtifactOptions, more?: object) => Promise<string>;
  readonly runOf: (id: string) => Promise<any>;
  readonly until: (what: string, claim: () => Promise<boolean>) => Promise<void>;
}

async function withPair(
  serverOptions: readonly string[],
  device: HarnessOptions,
  use: (pair: Pair) => Promise<void>,
): Promise<void> {
  const server = await startDevServer({ options: serverOptions });
  const service = await ServiceHarness.create({
    ...device,
    menderConf: { ServerURL: server.url, ...QUICK, ...device.menderConf },
  });
  const until: Pair['until'] = (what, claim) =>
    eventually(what, claim, WITHIN_MS).catch(async (error: unknown) => {
      throw new Error(
        `${String(error)}\n${server.output().slice(-3000)}\n${(await service.log()).slice(-3000)}`,
      );
    });
  try {
    await service.start();
    await use({
      server,
      service,
      until,
      deploy: async (options = {}, more = {}) => {
        const file = await makeArtifact(service.device, { name: 'release-2', payload: PAYLOAD, ...options });
        const { id: artifactId } = await server.must('POST', '/artifacts', await readFile(file));
        const order = { artifact_id: artifactId, devices: { all: true }, ...more };
        return (await server.must('POST', '/deployments', order)).id as string;
      },
      runOf: async (id) => (await server.must('GET', `/deployments/${id}?history=true`)).devices[0],
    });
  } finally {
    await service.dispose();
    await server.dispose();
  }
}

function statusesOf(run: any): readonly string[] {
  const statuses = run.history.map((entry: any) => entry.status as string);
  return statuses.filter((status: string, index: number) => status !== statuses[index - 1]);
}

const isKnown = async ({ server }: Pair): Promise<boolean> =>
  (await server.must('GET', '/devices')).length === 1;

describe.concurrent('the service with the development server', () => {
  it('asks to be let in, is accepted by a person, and sends its inventory', () =>
    withPair([], {}, async (pair) => {
      const { server, service, until } = pair;
      await until('the device has asked', () => isKnown(pair));
      const [pending] = await server.must('GET', '/devices');
      expect(pending).toMatchObject({ status: 'pending', inventory: null });
      await service.waitFor(
        'it knows',
        (seen) => seen['ServerStatus'] === 'rejected' || seen['ServerStatus'] === 'pending',
      );
      await server.must('POST', `/devices/${pending.id}/accept`);
      await until(
        'the inventory is there',
        async () => (await server.must('GET', '/devices'))[0].inventory !== null,
      );
      const { inventory } = (await server.must('GET', '/devices'))[0];
      expect(inventory).toEqual(expect.arrayContaining([{ name: 'device_type', value: 'test-device' }]));
      await service.waitFor('it is authorized', (seen) => seen['ServerStatus'] === 'authorized');
    }));

  it('waits at the points of the map, is released by the server and by the bus, and succeeds', () =>
    withPair(['--auto-accept'], { needsReboot: 'No' }, async (pair) => {
      const { server, service, until, deploy, runOf } = pair;
      await until('it is known', () => isKnown(pair));
      const states = {
        ArtifactInstall_Enter: { action: 'pause' },
        ArtifactCommit_Enter: { action: 'pause' },
      };
      const id = await deploy({}, { update_control_map: { states } });
      await service.waitAt('ArtifactInstall_Enter', WITHIN_MS);
      await until('the server knows', async () => (await runOf(id))?.wait?.point === 'ArtifactInstall_Enter');
      expect(await runOf(id)).toMatchObject({ follows_maps: true, wait: { held_by: 'server' } });
      expect(await service.device.calls()).not.toContain('ArtifactInstall');
      await server.must('POST', `/deployments/${id}/release`, { point: 'ArtifactInstall_Enter' });
      // The next map is fetched half-way through the life of the present one; a person on the device need not wait.
      const commit = await service.waitAt('ArtifactCommit_Enter', WITHIN_MS);
      expect(await service.device.calls()).toContain('ArtifactInstall');
      const { error } = await service.call('ContinueFull', 'sa{sv}', [
        String(commit['WaitTicket']),
        '1',
        'override',
        'b',
        'true',
      ]);
      expect(error).toBe('');
      await until('it is finished', async () => (await runOf(id)).finished_at !== null);
      expect(statusesOf(await runOf(id))).toEqual([
        'pending',
        'downloading',
        'pause_before_installing',
        'installing',
        'pause_before_committing',
        'installing',
        'success',
      ]);
      await until('the inventory shows it', async () =>
        (await server.must('GET', '/devices'))[0].inventory.some((one: any) => one.value === 'release-2'),
      );
    }));

  it('rolls back when its module fails, and its log is kept by the server', () =>
    withPair(['--auto-accept'], { needsReboot: 'No' }, async (pair) => {
      const { server, service, until, deploy, runOf } = pair;
      await until('it is known', () => isKnown(pair));
      await writeFile(join(service.device.control, 'ArtifactInstall.fail'), '');
      const id = await deploy();
      await until('its log is there', async () => (await runOf(id))?.has_log === true);
      expect(statusesOf(await runOf(id)).at(-1)).toBe('failure');
      expect(await service.device.calls()).toContain('ArtifactRollback');
      const [{ id: deviceId }] = await server.must('GET', '/devices');
      const { messages } = await server.must('GET', `/deployments/${id}/devices/${deviceId}/log`);
      expect(messages.some((one: any) => /ArtifactInstall/.test(one.message))).toBe(true);
    }));

  it('is told of an abort while it waits, and reports no other end', () =>
    withPair(['--auto-accept'], { needsReboot: 'No' }, async (pair) => {
      const { server, service, until, deploy, runOf } = pair;
      await until('it is known', () => isKnown(pair));
      const id = await deploy(
        {},
        { update_control_map: { states: { ArtifactInstall_Enter: { action: 'pause' } } } },
      );
      await service.waitAt('ArtifactInstall_Enter', WITHIN_MS);
      await server.must('POST', `/deployments/${id}/abort`);
      const end = await service.waitForEnd(WITHIN_MS);
      expect(end).toMatchObject({ LastResult: 'aborted' });
      expect((await runOf(id)).status).toBe('aborted');
      expect(await service.device.calls()).not.toContain('ArtifactInstall');
    }));

  it('goes on with the rest of a download that was cut', () =>
    withPair(['--auto-accept', '--log-level', 'debug'], { needsReboot: 'No' }, async (pair) => {
      const { server, until, deploy, runOf } = pair;
      await server.must('POST', '/faults', { endpoint: 'download', kind: 'cut', after_bytes: 100_000 });
      await until('it is known', () => isKnown(pair));
      const id = await deploy();
      await until('it is finished', async () => (await runOf(id))?.finished_at != null);
      expect((await runOf(id)).status).toBe('success');
      expect(server.output()).toMatch(/path=\/api\/devices\/v1\/deployments\/download\/\S+ status=206/);
    }));
});

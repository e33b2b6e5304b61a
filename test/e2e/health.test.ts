import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeArtifact, type DeviceOptions } from '../support/device.ts';
import { listedBlockers } from '../support/hold-list.ts';
import { ServiceHarness } from '../support/service.ts';

/** A new version is kept only when everybody who was named has found it well (design/dbus-api.md section 3, ReportHealth). */
const COMMIT = 'ArtifactCommit_Enter';
const HEALTH = { Health: { checkers: ['app', 'network'], deadline: 60 } };

let folder: string;
let artifact: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-health-'));
  artifact = await makeArtifact({ folder });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function withDevice(
  options: DeviceOptions,
  use: (service: ServiceHarness) => Promise<void>,
): Promise<void> {
  const service = await ServiceHarness.create({ holdpointConf: HEALTH, ...options });
  try {
    await service.start();
    await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
    await use(service);
  } finally {
    await service.dispose();
  }
}

async function report(
  service: ServiceHarness,
  id: string,
  checker: string,
  verdict: string,
  message = '',
): Promise<string> {
  return (await service.call('Holds.ReportHealth', 'ssss', [id, checker, verdict, message])).error;
}

function missing(seen: Readonly<Record<string, unknown>>): unknown {
  return listedBlockers(seen).find(({ kind }) => kind === 'health')?.details['checkers'];
}

describe.concurrent('the health of a new version', { timeout: 90_000 }, () => {
  it('lets it be kept when every checker has found it well', () =>
    withDevice({}, async (service) => {
      const id = await service.install(artifact);
      const seen = await service.waitAt(COMMIT);
      expect(listedBlockers(seen)).toMatchObject([
        {
          kind: 'health',
          owner: 'app, network',
          reasonCode: 'health-not-reported',
          details: { 'on-end': 'fail' },
        },
      ]);
      expect(await report(service, id, 'app', 'ok')).toBe('');
      await service.waitFor('only one is missing', (now) => missing(now) === 'network');
      // A yes of a person is no verdict of a checker.
      const { WaitTicket } = await service.waitAt(COMMIT);
      expect(await service.mustCall('Continue', 's', [String(WaitTicket)])).toBe('recorded');
      expect(await service.device.calls()).not.toContain('ArtifactCommit');
      expect(await report(service, id, 'network', 'ok', 'ping answered')).toBe('');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      const lines = await service.deploymentLog(id);
      expect(lines.map(({ message }) => message)).toContain('Health: network says ok: ping answered');
    }));

  it('sends it back at once when one finds it ill', () =>
    withDevice({}, async (service) => {
      const id = await service.install(artifact);
      await service.waitAt(COMMIT);
      expect(await report(service, id, 'app', 'ok')).toBe('');
      expect(await report(service, id, 'network', 'failed', 'no carrier')).toBe('');
      expect(await service.waitForEnd()).toMatchObject({
        LastResult: 'rolled-back',
        LastErrorName: 'io.holdpoint.Update1.Failure.HealthCheck',
        LastErrorDetails: { point: COMMIT, reason: 'health-failed', checker: 'network' },
      });
      expect(await service.device.calls()).toContain('ArtifactRollback');
      expect(await service.device.calls()).not.toContain('ArtifactCommit');
    }));

  it('sends it back at the deadline when one is silent', () =>
    withDevice(
      { holdpointConf: { Health: { checkers: ['app', 'network'], deadline: 2 } } },
      async (service) => {
        const id = await service.install(artifact);
        const seen = await service.waitAt(COMMIT);
        expect(seen['WaitOnExpire']).toBe('fail');
        expect(await report(service, id, 'app', 'ok')).toBe('');
        expect(await service.waitForEnd(15_000)).toMatchObject({
          LastResult: 'rolled-back',
          LastErrorName: 'io.holdpoint.Update1.Failure.HealthCheck',
          LastErrorDetails: { reason: 'health-overdue' },
        });
      },
    ));

  it('is remembered over a crash of the service, and asked for again after a reboot', () =>
    withDevice({ needsReboot: 'Automatic' }, async (service) => {
      const id = await service.install(artifact);
      expect((await service.exited()).signal).toBe('SIGKILL');
      await service.start();
      await service.waitAt(COMMIT);
      expect(await report(service, id, 'app', 'ok')).toBe('');
      await service.restart();
      await service.waitAt(COMMIT);
      await service.waitFor('the report is remembered', (seen) => missing(seen) === 'network');
      await service.restart({ boot: 'next' });
      await service.waitAt(COMMIT);
      await service.waitFor('both are asked again', (seen) => missing(seen) === 'app,network');
      expect(await report(service, id, 'app', 'ok')).toBe('');
      expect(await report(service, id, 'network', 'ok')).toBe('');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));

  it('is nobody’s business at other times, of other updates, and by other names', () =>
    withDevice(
      { points: { ArtifactInstall_Enter: { consent: 'required', 'on-expire': 'fail' } } },
      async (service) => {
        expect(await report(service, 'none', 'app', 'ok')).toContain('no update is under way');
        const id = await service.install(artifact);
        await service.waitAt('ArtifactInstall_Enter');
        expect(await report(service, id, 'app', 'ok')).toContain('not possible');
        expect(await report(service, id, 'janitor', 'ok')).toContain('expected one of app, network');
        expect(await report(service, id, 'app', 'fine')).toContain('expected ok or failed');
        expect(await report(service, `${id}x`, 'app', 'ok')).toContain('not the deployment under way');
        expect(await report(service, id, 'app', 'ok', 'x'.repeat(201))).toContain('longer than 200');
        await service.release('ArtifactInstall_Enter');
        const seen = await service.waitAt(COMMIT);
        expect(missing(seen)).toBe('app,network');
      },
    ));
});

import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, link, mkdir, mkdtemp, open, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadHoldpointTable } from '../../src/adapters/dbus/interface-xml.ts';
import { REFUSAL_ERROR_NAMES } from '../../src/adapters/dbus/errors.ts';
import { FAILURE_NAMES, type FailureName } from '../../src/core/errors.ts';
import { REFUSAL_NAMES, type RefusalName } from '../../src/core/refusal.ts';
import { ARTIFACT_SCRIPTS } from '../support/chain.ts';
import { gdbus, OTHER_UID, pythonGio, TARGET, type ToolOptions } from '../support/bus-tools.ts';
import { ASK, makeArtifact, makeKeys, type DeviceOptions } from '../support/device.ts';
import { flood } from '../support/flood.ts';
import { fillDisk } from '../support/full-disk.ts';
import { eventually } from '../support/eventually.ts';
import { ServiceHarness } from '../support/service.ts';
import withoutProducer from './without-producer.json' with { type: 'json' };

/**
 * Every error a call can be answered with and every name a deployment can fail with, from a real cause and seen from
 * outside. What cannot be produced yet is listed in without-producer.json; the last block holds the two together.
 */
const produced = {
  errors: new Set<string>(),
  failures: new Set<string>(),
  signals: new Set<string>(),
  members: new Set<string>(),
  /** Properties that had more than one value. */
  properties: new Map<string, Set<string>>(),
};

let folder: string;
let keys: { readonly secret: string; readonly open: string };
let web: Server;
const artifacts = new Map<string, string>();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-errors-'));
  keys = await makeKeys({ folder });
  const make = async (name: string, options: Parameters<typeof makeArtifact>[1]): Promise<void> => {
    artifacts.set(name, await makeArtifact({ folder }, options));
  };
  await make('good', { scripts: ARTIFACT_SCRIPTS });
  await make('signed', { signKey: keys.secret });
  await make('other-device', { deviceType: 'other-device' });
  await make('dependent', { more: ['--depends', 'rootfs-image.version:never-installed'] });
  await make('large', { payload: randomBytes(600 * 1024) });
  await make('no-module', { payloadType: 'nobody-installs-this' });
  const damaged = join(folder, 'damaged.mender');
  await copyFile(path('large'), damaged);
  const file = await open(damaged, 'r+');
  const { size } = await file.stat();
  await file.write('damage', Math.floor(size / 2));
  await file.close();
  artifacts.set('damaged', damaged);
  const garbage = join(folder, 'garbage.mender');
  await writeFile(garbage, randomBytes(4096));
  artifacts.set('garbage', garbage);
  web = createServer((request, response) => {
    const name = artifacts.get((request.url ?? '').slice(1));
    if (name === undefined) response.writeHead(404).end();
    else
      void stat(name).then((facts) => {
        response.writeHead(200, { 'content-length': facts.size });
        createReadStream(name).pipe(response);
      });
  });
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
});

afterAll(async () => {
  web.closeAllConnections();
  web.close();
  await rm(folder, { recursive: true, force: true });
});

function path(name: string): string {
  const found = artifacts.get(name);
  if (found === undefined) throw new Error(`no artifact ${name}`);
  return found;
}

function url(name: string): string {
  return `http://127.0.0.1:${(web.address() as AddressInfo).port}/${name}`;
}

async function withDevice(
  options: DeviceOptions,
  use: (service: ServiceHarness) => Promise<void>,
): Promise<void> {
  const service = await ServiceHarness.create(options);
  try {
    await service.start();
    await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
    await use(service);
  } finally {
    for (const { member } of service.watch.signals) produced.signals.add(member);
    for (const { changed } of service.watch.changes) {
      for (const [name, value] of Object.entries(changed)) {
        const values = produced.properties.get(name) ?? new Set();
        values.add(
          JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? Number(item) : item)),
        );
        produced.properties.set(name, values);
      }
    }
    await service.dispose();
  }
}

interface Answer {
  /** Dotted; '' = a reply. */
  readonly error: string;
  readonly text: string;
}

/** A call by gdbus, which shows the names of errors. `member` as in ServiceHarness.call. */
async function call(
  service: ServiceHarness,
  member: string,
  args: readonly string[],
  options?: ToolOptions,
): Promise<Answer> {
  const method = `${TARGET.main}.${member}`;
  const result = await gdbus(service.bus.address, 'call', ['--method', method, ...args], options);
  if (result.status === 0) {
    produced.members.add(method);
    return { error: '', text: result.stdout };
  }
  const [, error = '', text = ''] = /GDBus\.Error:([\w.]+): ([^\n]*)/.exec(result.stderr) ?? [];
  if (error === '') throw new Error(`${member}: ${result.stderr}`);
  return { error, text };
}

async function expectError(
  service: ServiceHarness,
  name: RefusalName,
  member: string,
  args: readonly string[],
  options?: ToolOptions,
): Promise<string> {
  const answer = await call(service, member, args, options);
  expect(`${member}: ${answer.error}`).toBe(`${member}: ${REFUSAL_ERROR_NAMES[name]}`);
  expect(answer.text).not.toMatch(/\bat .*\.[jt]s\b|node:internal|\/src\//);
  produced.errors.add(name);
  return answer.text;
}

async function must(service: ServiceHarness, member: string, args: readonly string[]): Promise<string> {
  const answer = await call(service, member, args);
  expect(`${member}: ${answer.error} ${answer.error && answer.text}`).toBe(`${member}:  `);
  return answer.text;
}

async function install(service: ServiceHarness, name: string): Promise<string> {
  const text = await must(service, 'Install.InstallPath', [path(name), '']);
  return /'([0-9a-f-]{36})'/.exec(text)?.[1] ?? '';
}

async function installUrl(service: ServiceHarness, name: string): Promise<void> {
  await must(service, 'Install.InstallUrl', [url(name), '{}']);
}

async function expectFailure(
  service: ServiceHarness,
  name: FailureName,
  details: Record<string, unknown> = {},
): Promise<void> {
  const end = await service.waitForEnd();
  expect(end['LastErrorName']).toBe(`io.holdpoint.Update1.Failure.${name}`);
  expect(end['LastErrorDetails']).toMatchObject(details);
  expect(end['LastErrorMessage']).toMatch(/^[^\n]+$/);
  expect(end['LastErrorMessage']).not.toMatch(/\bat .*\.[jt]s\b/);
  expect(end['LastResult']).not.toBe('success');
  const finished = service.watch.signals.findLast(({ member }) => member === 'DeploymentFinished');
  expect(finished?.args[3]).toBe(end['LastErrorName']);
  produced.failures.add(name);
}

const NO_TICKET = '0'.repeat(31) + 'a';
const NO_ID = '00000000-0000-4000-8000-000000000000';
const NO_DIGEST = `sha256:${'0'.repeat(64)}`;

describe.concurrent('a call is refused', { timeout: 60_000 }, () => {
  it('while nothing is under way', () =>
    withDevice({}, async (service) => {
      await expectError(service, 'StaleTicket', 'Continue', [NO_TICKET]);
      await expectError(service, 'InvalidArgs', 'Continue', ['']);
      await expectError(service, 'InvalidArgs', 'Install.InstallPath', ['relative.mender', '']);
      await expectError(service, 'InvalidArgs', 'Install.InstallPath', [path('good'), 'md5:1']);
      for (const member of ['Abort', 'Rollback'])
        await expectError(service, 'NoDeployment', member, [NO_ID, '']);
      for (const member of ['Pause', 'Resume']) await expectError(service, 'NoDeployment', member, [NO_ID]);
      await expectError(service, 'UnknownDeployment', 'History.Get', [NO_ID]);
      await expectError(service, 'UnknownDeployment', 'History.GetLog', [NO_ID, '0', '10']);
      await expectError(service, 'NotSupported', 'CheckForUpdate', []);
      await expectError(service, 'NotSupported', 'SendInventory', []);
      await expectError(service, 'StaleTicket', 'ContinueFull', [NO_TICKET, "{'override': <true>}"]);
      // A stale click is told so before anybody is asked for a password.
      await expectError(service, 'StaleTicket', 'Continue', [NO_TICKET], { uid: OTHER_UID });
      await expectError(service, 'AccessDenied', 'Install.InstallPath', [path('good'), ''], {
        uid: OTHER_UID,
      });
      await expectError(service, 'AccessDenied', 'History.GetLog', [NO_ID, '0', '10'], { uid: OTHER_UID });
      expect((await call(service, 'History.List', ['0'], { uid: OTHER_UID })).error).toBe('');
    }));

  it('for an artifact that cannot be taken', () =>
    withDevice({ menderConf: { ArtifactVerifyKey: join(folder, 'key.pub.pem') } }, async (service) => {
      const absent = await expectError(service, 'PathNotAllowed', 'Install.InstallPath', [
        join(folder, 'absent'),
        '',
      ]);
      const isFolder = await expectError(service, 'PathNotAllowed', 'Install.InstallPath', [folder, '']);
      // One answer for all: nobody can find out which files there are.
      expect(isFolder).toBe(absent);
      await expectError(service, 'ArtifactInvalid', 'Install.InstallPath', [path('garbage'), '']);
      await expectError(service, 'ArtifactUntrusted', 'Install.InstallPath', [path('good'), '']);
      await expectError(service, 'ArtifactUntrusted', 'Install.InspectPath', [path('good')]);
      await expectError(service, 'DigestMismatch', 'Install.InstallPath', [path('signed'), NO_DIGEST]);
      expect(await must(service, 'Install.InspectPath', [path('signed')])).toContain("'compatible': <true>");
      await install(service, 'signed');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));

  it('for an artifact that is not for this device', () =>
    withDevice({}, async (service) => {
      for (const name of ['other-device', 'dependent', 'no-module']) {
        await expectError(service, 'ArtifactIncompatible', 'Install.InstallPath', [path(name), '']);
      }
      expect(service.watch.present()).toMatchObject({ DeploymentId: '', LastResult: 'none' });
    }));

  it('while an update is under way, and the members that steer it work', () =>
    withDevice({ points: { ArtifactInstall_Enter: ASK }, needsReboot: 'Yes' }, async (service) => {
      await service.device.order('ArtifactCommit', 'wait');
      const id = await install(service, 'good');
      const { WaitTicket } = await service.waitAt('ArtifactInstall_Enter');
      await expectError(service, 'Busy', 'Install.InstallPath', [path('good'), '']);
      await expectError(service, 'Busy', 'Install.InstallUrl', [url('good'), '{}']);
      await expectError(service, 'UnknownDeployment', 'Abort', [NO_ID, '']);
      await expectError(service, 'WrongState', 'Rollback', [id, '']);
      await expectError(service, 'StaleTicket', 'Continue', [NO_TICKET]);
      const ticket = String(WaitTicket);
      await expectError(service, 'AccessDenied', 'Continue', [ticket], { uid: OTHER_UID });
      await expectError(service, 'NotSupported', 'ContinueFull', [ticket, "{'tomorrow': <true>}"]);
      await expectError(service, 'InvalidArgs', 'Abort', [id, 'x'.repeat(201)]);
      await must(service, 'Pause', [id]);
      expect(
        await must(service, 'ContinueFull', [String(WaitTicket), "{'comment': <'go ahead'>}"]),
      ).toContain('recorded');
      await must(service, 'Resume', [id]);
      await service.waitFor('it commits', (seen) => seen['Step'] === 'ArtifactCommit');
      for (const member of ['Abort', 'Rollback']) await expectError(service, 'WrongState', member, [id, '']);
      await service.device.cancelOrder('ArtifactCommit', 'wait');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      expect(await must(service, 'History.Get', [id])).toContain('go ahead');
      expect(await must(service, 'History.GetLog', [id, '0', '1'])).toContain(`Deployment ${id} started`);
      await must(service, 'SetUpdatesEnabled', ['false']);
      await must(service, 'SetUpdatesEnabled', ['true']);
    }));

  it('while something is held, snoozed or found ill, and the members for that work', () =>
    withDevice(
      {
        points: { ArtifactInstall_Enter: ASK },
        holdpointConf: {
          Access: { rules: [{ users: [OTHER_UID], actions: ['hold'] }] },
          Snooze: { 'max-total': 60 },
          Health: { checkers: ['app'], deadline: 60 },
        },
      },
      async (service) => {
        const hold = ['ArtifactReboot_Enter', 'backup', '60', 'keep-waiting'];
        await expectError(service, 'UnknownPoint', 'Holds.Hold', ['Idle_Enter', ...hold.slice(1)]);
        await expectError(service, 'InvalidArgs', 'Holds.Hold', [...hold.slice(0, 3), 'perhaps']);
        await expectError(service, 'UnknownHold', 'Holds.ReleaseHold', ['0123456789ab']);
        const id = /'([0-9a-f]{12})'/.exec(await must(service, 'Holds.Hold', hold))?.[1] ?? '';
        await expectError(service, 'NotHoldOwner', 'Holds.RefreshHold', [id], { uid: OTHER_UID });
        expect(await must(service, 'Holds.RefreshHold', [id])).toContain('30');
        await must(service, 'Holds.ReleaseHold', [id]);
        const wish = ["['ArtifactReboot_Enter']", 'backup', '60', 'fail', "{'priority': <int32 2>}"];
        await must(service, 'Holds.AddHold', wish);
        await expectError(service, 'InvalidMap', 'Holds.SetControlMap', ['{"id": 3}']);
        await must(service, 'Holds.SetControlMap', [`{"id":"${NO_ID}","priority":1}`]);
        expect(await must(service, 'CanDo', ['continue'])).toContain('yes');
        const deployment = await install(service, 'good');
        const { WaitTicket } = await service.waitAt('ArtifactInstall_Enter');
        await expectError(service, 'DeferralLimit', 'Snooze', [String(WaitTicket), '61']);
        await must(service, 'Snooze', [String(WaitTicket), '60']);
        await must(service, 'EndSnooze', [deployment]);
        await service.release('ArtifactInstall_Enter');
        await service.waitAt('ArtifactCommit_Enter');
        await must(service, 'Holds.ReportHealth', [deployment, 'app', 'failed', 'no picture']);
        await expectFailure(service, 'HealthCheck', { checker: 'app' });
        expect(await must(service, 'History.ExportDecisions', ['1', '10'])).toContain('postponement-ended');
      },
    ));

  it('because a control map says so', () =>
    withDevice({}, async (service) => {
      const states = '{"ArtifactCommit_Enter":{"action":"fail"}}';
      await must(service, 'Holds.SetControlMap', [`{"id":"${NO_ID}","states":${states}}`]);
      await install(service, 'good');
      await expectFailure(service, 'ControlMap', { 'map-id': NO_ID });
    }));

  it('by nobody, but the server cannot be reached', () =>
    withDevice(
      { menderConf: { ServerURL: 'http://127.0.0.1:9', RetryPollIntervalSeconds: 1 } },
      async (service) => {
        await service.waitFor('the check has failed', (seen) => Number(seen['LastCheckUSec']) > 0, 30_000);
        await service.waitFor('the next one is planned', (seen) => Number(seen['NextCheckUSec']) > 0);
        await must(service, 'SendInventory', []);
        await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
        await must(service, 'CheckForUpdate', []);
        await service.waitFor('it is known', (seen) => seen['ServerStatus'] === 'unreachable', 30_000);
      },
    ));

  it('when the disk is full: nothing is promised that is not stored', () =>
    withDevice({ datastoreKiB: 256 }, async (service) => {
      await fillDisk(service.device.data);
      await expectError(service, 'NoSpace', 'SetUpdatesEnabled', ['false']);
      expect(await service.property('UpdatesEnabled')).toBe(true);
      await expectError(service, 'NoSpace', 'Install.InstallPath', [path('good'), '']);
      expect(await service.property('DeploymentId')).toBe('');
    }));

  it('when it comes too often, or while the service is ending', () =>
    withDevice({}, async (service) => {
      const history = { suffix: '.History', member: 'List', args: '(uint32 1,)' };
      const { answers } = await flood(service.bus.address, { seconds: 3, perSecond: 0 }, history);
      expect(Object.keys(answers).toSorted()).toEqual(['', REFUSAL_ERROR_NAMES.LimitsExceeded]);
      produced.errors.add('LimitsExceeded');

      // A queue of orders that each take a write to disk waits for the service, and so does the word that it is to stop. The
      // bus itself lets a client wait for 128 replies.
      const shutdown = [
        'import os, signal',
        'bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)',
        'loop = GLib.MainLoop()',
        'answers = []',
        'def done(source, result):',
        '    try:',
        '        source.call_finish(result)',
        "        answers.append('done')",
        '    except GLib.Error as error:',
        '        answers.append(Gio.DBusError.get_remote_error(error))',
        '    if len(answers) == 100: loop.quit()',
        `os.kill(${service.pid}, signal.SIGSTOP)`,
        'for count in range(100):',
        `    bus.call('${TARGET.name}', '${TARGET.path}', '${TARGET.main}', 'SetUpdatesEnabled',`,
        "        GLib.Variant('(b)', (count % 2 == 0,)), None, Gio.DBusCallFlags.NONE, 30000, None, done)",
        'bus.flush_sync()',
        `os.kill(${service.pid}, signal.SIGTERM)`,
        `os.kill(${service.pid}, signal.SIGCONT)`,
        'loop.run()',
        "print(' '.join(sorted(set(answers) - {'done'})))",
      ];
      const ended = await pythonGio(service.bus.address, shutdown.join('\n'));
      expect(`${ended.stdout.trim()}${ended.stderr}`).toBe(REFUSAL_ERROR_NAMES.ShuttingDown);
      expect(await service.exited()).toEqual({ code: 0, signal: null });
      produced.errors.add('ShuttingDown');
    }));
});

describe.concurrent('a deployment fails', { timeout: 60_000 }, () => {
  it('Download: the link is dead', () =>
    withDevice({}, async (service) => {
      await installUrl(service, 'nothing-here');
      await expectFailure(service, 'Download', { status: 404n });
    }));
  it('Signature: nobody we know has signed it', () =>
    withDevice({ menderConf: { ArtifactVerifyKey: join(folder, 'key.pub.pem') } }, async (service) => {
      await installUrl(service, 'good');
      await expectFailure(service, 'Signature');
    }));
  it('Checksum: the payload is damaged', () =>
    withDevice({}, async (service) => {
      await install(service, 'damaged');
      await expectFailure(service, 'Checksum');
      expect(await service.device.calls()).not.toContain('ArtifactInstall');
    }));
  it('Format: it is no artifact', () =>
    withDevice({}, async (service) => {
      await installUrl(service, 'garbage');
      await expectFailure(service, 'Format');
    }));
  it('Incompatible: it is for another device', () =>
    withDevice({}, async (service) => {
      await installUrl(service, 'other-device');
      await expectFailure(service, 'Incompatible');
      expect(await service.device.calls()).not.toContain('Download');
    }));
  it('Dependency: it needs what is not installed', () =>
    withDevice({}, async (service) => {
      await installUrl(service, 'dependent');
      await expectFailure(service, 'Dependency');
    }));
  it('NoSpace: the payload does not fit', () =>
    withDevice({ datastoreKiB: 400 }, async (service) => {
      await install(service, 'large');
      await expectFailure(service, 'NoSpace');
    }));
  it('StateScript: a script says no', () =>
    withDevice({}, async (service) => {
      await service.device.order('ArtifactInstall_Enter', 'fail', '7');
      await install(service, 'good');
      await expectFailure(service, 'StateScript', {
        script: 'ArtifactInstall_Enter_00_probe',
        'exit-status': 7n,
      });
    }));
  it('UpdateModule: the module says no', () =>
    withDevice({}, async (service) => {
      await service.device.order('ArtifactInstall', 'fail', '9');
      await install(service, 'good');
      await expectFailure(service, 'UpdateModule', {
        module: 'probe',
        action: 'ArtifactInstall',
        'exit-status': 9n,
      });
    }));
  it('Timeout: the module hangs, and is gone afterwards', () =>
    withDevice({ menderConf: { ModuleTimeoutSeconds: 1 } }, async (service) => {
      await service.device.order('ArtifactInstall', 'hang');
      await install(service, 'good');
      await expectFailure(service, 'Timeout', { module: 'probe' });
    }));
  it('Reboot: the new version does not run', () =>
    withDevice({ needsReboot: 'Automatic' }, async (service) => {
      await service.device.order('ArtifactVerifyReboot', 'fail');
      await install(service, 'good');
      // The host's reboot command kills the service; the module verifies at the next start.
      expect((await service.exited()).signal).toBe('SIGKILL');
      await service.start();
      await service.exited();
      await service.start();
      await expectFailure(service, 'Reboot');
      const calls = await service.device.calls();
      expect(calls.filter((one) => one === 'Reboot')).toHaveLength(2);
      expect(service.watch.present()).toMatchObject({ LastResult: 'rolled-back' });
    }));
  it('Commit: the module does not commit', () =>
    withDevice({}, async (service) => {
      await service.device.order('ArtifactCommit', 'fail');
      await install(service, 'good');
      await expectFailure(service, 'Commit');
    }));
  it('RollbackFailed: the way back fails as well', () =>
    withDevice({}, async (service) => {
      await service.device.order('ArtifactCommit', 'fail');
      await service.device.order('ArtifactRollback', 'fail');
      await install(service, 'good');
      await expectFailure(service, 'RollbackFailed', { 'cause-name': 'Commit' });
      expect(service.watch.present()).toMatchObject({
        LastResult: 'inconsistent',
        CurrentArtifactName: 'release-2_INCONSISTENT',
      });
    }));
  it('AbortedByUser: somebody ends it, or wants the old version back', () =>
    withDevice({ points: { ArtifactInstall_Enter: ASK, ArtifactCommit_Enter: ASK } }, async (service) => {
      const first = await install(service, 'good');
      await service.waitAt('ArtifactInstall_Enter');
      await must(service, 'Abort', [first, 'not today']);
      await expectFailure(service, 'AbortedByUser', { request: 'abort', reason: 'not today' });
      expect(service.watch.present()).toMatchObject({ LastResult: 'aborted' });

      const second = await install(service, 'good');
      const { WaitTicket } = await service.waitAt('ArtifactInstall_Enter');
      expect(await must(service, 'Continue', [String(WaitTicket)])).toContain('proceeding');
      await service.waitAt('ArtifactCommit_Enter');
      await must(service, 'Rollback', [second, 'the old one was nicer']);
      await service.waitFor('the second one is over', (seen) => seen['LastResult'] === 'rolled-back');
      await expectFailure(service, 'AbortedByUser', { request: 'rollback' });
    }));
  it('HoldExpired: nobody answers in time', () =>
    withDevice({ points: { ArtifactInstall_Enter: { ...ASK, timeout: 1 } } }, async (service) => {
      await install(service, 'good');
      await expectFailure(service, 'HoldExpired', {
        point: 'ArtifactInstall_Enter',
        reason: 'consent-expired',
      });
    }));
  it('PowerLoss: the power goes during the installation', () =>
    withDevice({}, async (service) => {
      await service.device.orderKill('ArtifactInstall');
      await install(service, 'good');
      await service.exited();
      await service.start({ boot: 'next' });
      await expectFailure(service, 'PowerLoss', { step: 'ArtifactInstall', 'same-boot': false });
    }));
  it('Storage: the state cannot be written any more', () =>
    withDevice({}, async (service) => {
      await service.device.order('Download', 'wait');
      await install(service, 'good');
      await eventually('Download is called', async () => (await service.device.calls()).includes('Download'));
      await forbidSaves(service.device.stateDirectory);
      await service.device.cancelOrder('Download', 'wait');
      await expectFailure(service, 'Storage');
      expect(await service.device.calls()).not.toContain('ArtifactInstall');
    }));
  it('Internal: the service is killed in one and the same step again and again', () =>
    withDevice({}, async (service) => {
      await service.device.orderKill('ArtifactCommit_Leave');
      await install(service, 'good');
      let kills = 0;
      for (; kills < 40; kills++) {
        const isOver = await Promise.race([
          service.exited().then(() => false),
          service.waitForEnd().then(() => true),
        ]);
        if (isOver) break;
        await service.device.orderKill('ArtifactCommit_Leave');
        await service.start();
      }
      expect(kills).toBeGreaterThan(15);
      expect(kills).toBeLessThanOrEqual(28);
      await expectFailure(service, 'Internal', { reason: 'loop-limit' });
      expect(service.watch.present()).toMatchObject({ LastResult: 'inconsistent' });
      expect((await service.device.calls()).at(-1)).toBe('Cleanup');
    }));
});

/** A second name keeps a file from being written over, and what a new one would be called is taken. */
async function forbidSaves(stateDirectory: string): Promise<void> {
  for (const name of ['state-a.json', 'state-b.json']) {
    await link(join(stateDirectory, name), join(stateDirectory, `${name}.copy`));
  }
  await mkdir(join(stateDirectory, 'state.json.new'));
}

/** They need a download that lasts: test/e2e/progress.test.ts. */
const PACE = ['BytesPerSecond', 'RemainingSeconds'].map((name) => `${TARGET.main}.${name}`);

/** Needs the tests above to have run. */
describe('what is documented', () => {
  const table = loadHoldpointTable();
  const methods = [...table.interfaces.values()].flatMap(({ name, methods: own }) =>
    [...own.keys()].map((member) => ({ owner: name, member, name: `${name}.${member}` })),
  );

  it('is produced above or listed in without-producer.json, and never both', () => {
    const signals = [...(table.interfaces.get(TARGET.main)?.signals.keys() ?? [])];
    const properties = [...table.interfaces.values()].flatMap(({ name, properties: own }) =>
      [...own.values()]
        .filter(({ emits }) => emits !== 'const' && emits !== 'invalidates')
        .map((property) => `${name}.${property.name}`),
    );
    const steady = properties.filter((name) => !PACE.includes(name));
    const changing = [...produced.properties]
      .filter(([, values]) => values.size > 1)
      .map(([name]) => `${TARGET.main}.${name}`)
      .filter((name) => !PACE.includes(name));
    expectSplit(REFUSAL_NAMES, produced.errors, withoutProducer.errors);
    expectSplit(FAILURE_NAMES, produced.failures, withoutProducer.failures);
    expectSplit(signals, produced.signals, withoutProducer.signals);
    expectSplit(
      methods.map(({ name }) => name),
      produced.members,
      withoutProducer.members,
    );
    expectSplit(steady, new Set(changing), withoutProducer.properties);
  });
});

function expectSplit(
  all: readonly string[],
  made: ReadonlySet<string>,
  listed: Readonly<Record<string, string>>,
): void {
  expect(all.filter((name) => !made.has(name)).sort()).toEqual(Object.keys(listed).sort());
  expect([...made].filter((name) => !all.includes(name))).toEqual([]);
  expect(Object.values(listed).filter((work) => work === '')).toEqual([]);
}

import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  builtCommand,
  holdpoint,
  startCommand,
  type CommandResult,
  type RunningCommand,
} from '../../support/command.ts';
import { ASK, makeDevice } from '../../support/device.ts';
import { eventually } from '../../support/eventually.ts';
import { startPrivateBus } from '../../support/private-bus.ts';
import { withService, type ServiceHarness } from '../../support/service.ts';
import { busctl } from '../../support/bus-tools.ts';
import { makeShelf, type ArtifactShelf } from '../standalone/support.ts';

/** The command against the real service on a private bus. */
let shelf: ArtifactShelf;
let artifact: string;
let large: string;
beforeAll(async () => {
  shelf = await makeShelf();
  artifact = await shelf.make();
  large = await shelf.make({ name: 'release-large', payload: Buffer.alloc(4 * 1024 * 1024, 'payload ') });
});
afterAll(() => shelf.dispose());

function run(service: ServiceHarness, ...args: readonly string[]): Promise<CommandResult> {
  return holdpoint(service.device, args, { environment: onBus(service) });
}
function start(service: ServiceHarness, ...args: readonly string[]): Promise<RunningCommand> {
  // The pid file of the device belongs to the service here.
  const device = {
    environment: service.device.environment,
    pidFile: join(service.device.folder, 'command.pid'),
  };
  return startCommand(device, args, { environment: onBus(service) });
}
function onBus(service: ServiceHarness): NodeJS.ProcessEnv {
  return { DBUS_SYSTEM_BUS_ADDRESS: service.bus.address };
}
const printed = (running: RunningCommand, text: string): Promise<void> =>
  eventually(`the command prints ${text}`, () => running.output().includes(text), 20_000);

describe('holdpoint install', () => {
  it('shows the way and ends with 0 after a success', () =>
    withService({}, async (service) => {
      const result = await run(service, 'install', large);
      expect(result).toMatchObject({ status: 0, stderr: '' });
      expect(result.stdout).toMatch(/^Deployment [0-9a-f-]{36}\n/);
      expect(result.stdout).toMatch(/\d+ % Download \(downloading\)/);
      expect(result.stdout.endsWith('release-large: installed and committed.\n')).toBe(true);
      expect(await run(service, 'show-artifact')).toMatchObject({ status: 0, stdout: 'release-large\n' });
      expect((await run(service, 'show-provides')).stdout).toContain('artifact_name=release-large\n');
    }));

  it('ends with 4 when the update was rolled back, and says why in one line', () =>
    withService({}, async (service) => {
      await service.device.order('ArtifactInstall', 'fail', '7');
      const result = await run(service, 'install', artifact);
      expect(result.status).toBe(4);
      expect(result.stderr).toMatch(
        /^holdpoint: installing release-2: failed and was rolled back: UpdateModule: .*exit status 7.*holdpoint log [0-9a-f-]+'\)\n$/,
      );
    }));

  it('is refused as busy while an update of the command line is not committed', () =>
    withService({}, async (service) => {
      await service.terminate();
      expect(await run(service, 'install', '--standalone', artifact)).toMatchObject({ status: 0 });
      await service.start();
      const result = await run(service, 'install', artifact);
      expect(result.status).toBe(1);
      expect(result.stderr).toMatch(
        /^holdpoint: .*not committed yet: stop the service, then holdpoint commit/,
      );
      expect((await run(service, 'status')).stdout).not.toContain('install');
      await service.terminate();
      expect(await run(service, 'commit')).toMatchObject({ status: 0 });
    }));

  it('ends with 1 when the update failed, and when it left an inconsistent system', () =>
    withService({ supportsRollback: false }, async (service) => {
      await service.device.order('Download', 'fail');
      expect(await run(service, 'install', artifact)).toMatchObject({ status: 1 });
      await service.device.cancelOrder('Download', 'fail');
      await service.device.order('ArtifactInstall', 'fail');
      const result = await run(service, 'install', artifact);
      expect(result.status).toBe(1);
      expect(result.stderr).toContain('inconsistent state');
      expect((await run(service, 'show-artifact')).stdout).toBe('release-2_INCONSISTENT\n');
    }));

  it('says who is waited for and which commands go on, both of which work', () =>
    withService({ points: { ArtifactInstall_Enter: ASK, ArtifactCommit_Enter: ASK } }, async (service) => {
      const running = await start(service, 'install', artifact);
      await printed(running, 'To give up:');
      expect(running.output()).toContain('Waiting at ArtifactInstall_Enter for:\n  the consent');
      const own = /holdpoint (continue [0-9a-f]{32})/.exec(running.output())?.[1] ?? '';
      expect(await run(service, ...own.split(' '))).toMatchObject({ status: 0, stdout: 'Going on.\n' });
      // A repeated click gets the same answer.
      expect(await run(service, ...own.split(' '))).toMatchObject({ status: 0, stdout: 'Going on.\n' });

      await printed(running, 'Waiting at ArtifactCommit_Enter');
      await eventually(
        'both commands are printed',
        () => running.output().split('busctl --system').length === 3,
      );
      const words = running.output().split('busctl --system ').at(-1)?.split('\n')[0]?.split(' ') ?? [];
      expect(await busctl(service.bus.address, words)).toMatchObject({
        status: 0,
        stdout: 's "proceeding"\n',
      });
      expect((await running.ended).status).toBe(0);
      const stale = await run(service, 'continue', '0'.repeat(32));
      expect(stale.status).toBe(1);
      expect(stale.stderr).toMatch(/^holdpoint: continuing: .*ticket.*\n$/);
    }));

  it('with --no-wait prints the id and ends; wait, continue, status, history and log know the rest', () =>
    withService({ points: { ArtifactCommit_Enter: ASK } }, async (service) => {
      const { status, stdout } = await run(service, 'install', '--no-wait', artifact);
      expect(status).toBe(0);
      const id = stdout.trim();
      expect(id).toMatch(/^[0-9a-f-]{36}$/);
      expect((await run(service, 'wait', '--for=waiting', '--timeout', '30')).status).toBe(0);
      expect((await run(service, 'wait', '--for=finished', '--timeout', '0.2')).status).toBe(3);
      expect((await run(service, 'wait', '--for=state=ArtifactCommit')).status).toBe(0);
      const shown = JSON.parse((await run(service, 'status', '--json')).stdout) as Record<string, unknown>;
      expect(shown).toMatchObject({
        state: 'ArtifactCommit',
        activity: 'waiting',
        step: 'ArtifactCommit_Enter',
        deploymentId: id,
        artifactName: 'release-2',
        waitPoint: 'ArtifactCommit_Enter',
        allowedActions: expect.arrayContaining(['continue', 'abort', 'rollback']),
        deployment: expect.objectContaining({ source: 'local', 'payload-types': ['probe'] }),
        blockers: [expect.objectContaining({ kind: 'consent' })],
      });
      const text = (await run(service, 'status')).stdout;
      expect(text).toContain('State:        ArtifactCommit (waiting at ArtifactCommit_Enter)');
      expect(text).toContain(`holdpoint continue ${String(shown['waitTicket'])}`);

      const going = await run(service, 'continue');
      expect(going.stdout).toBe(
        `Continuing release-2 at ArtifactCommit_Enter, ticket ${String(shown['waitTicket'])}\nGoing on.\n`,
      );
      expect((await run(service, 'wait')).status).toBe(0);
      expect((await run(service, 'history')).stdout).toMatch(new RegExp(`success +release-2  ${id}\n$`));
      const entry = JSON.parse((await run(service, 'history', '--json')).stdout) as Record<string, unknown>;
      expect(entry).toMatchObject({ 'deployment-id': id, result: 'success', initiator: 0 });
      const log = (await run(service, 'log')).stdout;
      expect(log).toContain(`info    Deployment ${id} started\n`);
      expect(log).toMatch(/Deployment finished: success\n$/);
      expect((await run(service, 'log', id)).stdout).toBe(log);
      expect(await run(service, 'log', 'nonsense')).toMatchObject({
        status: 1,
        stderr: 'holdpoint: reading the log: no log of deployment nonsense is kept\n',
      });
    }));

  it('ends with 5 when somebody aborts', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      const running = await start(service, 'install', artifact);
      await printed(running, 'To give up:');
      expect((await run(service, 'abort', '--reason', 'not today')).stdout).toMatch(
        /^Aborting release-2, deployment /,
      );
      expect((await running.ended).status).toBe(5);
    }));

  it('ends with 4 after rollback-deployment', () =>
    withService({ points: { ArtifactCommit_Enter: ASK } }, async (service) => {
      const running = await start(service, 'install', artifact);
      await printed(running, 'Waiting at ArtifactCommit_Enter');
      expect((await run(service, 'rollback-deployment')).status).toBe(0);
      expect((await running.ended).status).toBe(4);
    }));

  it('leaves the update running at Ctrl-C, and says how it goes on', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      const running = await start(service, 'install', artifact);
      await printed(running, 'To give up:');
      running.child.kill('SIGINT');
      const result = await running.ended;
      expect(result.status).toBe(130);
      expect(result.stderr).toMatch(
        /^holdpoint: installing .*the update goes on: ArtifactInstall \(waiting at ArtifactInstall_Enter\)\. Watch it with 'holdpoint monitor', end it with 'holdpoint abort'\n$/,
      );
      expect(await service.property('WaitPoint')).toBe('ArtifactInstall_Enter');
    }));

  it('goes on watching over a kill -9 and restart of the service', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      const running = await start(service, 'install', artifact);
      await printed(running, 'To give up:');
      await service.restart();
      await printed(running, 'The service is gone');
      await eventually(
        'the new ticket is shown',
        () => running.output().split('To give up:').length === 3,
        20_000,
      );
      expect((await run(service, 'continue')).status).toBe(0);
      expect((await running.ended).status).toBe(0);
    }));

  it('tells in one line what the service refuses', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      const missing = await run(service, 'install', '/nonexistent/artifact');
      expect(missing).toMatchObject({ status: 1, stdout: '' });
      expect(missing.stderr).toMatch(/^holdpoint: installing \/nonexistent\/artifact: .*\n$/);
      await run(service, 'install', '--no-wait', artifact);
      const busy = await run(service, 'install', artifact);
      expect(busy.status).toBe(1);
      expect(busy.stderr).toMatch(/^holdpoint: installing .*: an update is under way.*\n$/);
    }));
});

describe('the other commands', () => {
  it('pause and unpause what is under way, enable and disable updates', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      expect(await run(service, 'pause')).toMatchObject({
        status: 1,
        stderr: 'holdpoint: pausing: no update is under way\n',
      });
      await run(service, 'install', '--no-wait', artifact);
      await service.waitAt('ArtifactInstall_Enter');
      expect((await run(service, 'pause')).status).toBe(0);
      expect(await service.property('Paused')).toBe(true);
      expect((await run(service, 'status')).stdout).toContain('an end of the pause (holdpoint unpause)');
      const recorded = await run(service, 'continue');
      expect(recorded.stdout).toContain('something else is still waited for');
      expect((await run(service, 'unpause')).status).toBe(0);
      expect((await run(service, 'wait', '--timeout', '30')).status).toBe(0);
      expect((await run(service, 'disable')).stdout).toBe('Updates are disabled.\n');
      expect(await service.property('UpdatesEnabled')).toBe(false);
      expect((await run(service, 'status')).stdout).toContain('Updates:      disabled');
      expect((await run(service, 'enable')).status).toBe(0);
      expect(await run(service, 'continue')).toMatchObject({
        status: 1,
        stderr: 'holdpoint: continuing: nothing is waiting; the state is Idle (idle)\n',
      });
    }));

  it('monitor prints a line of JSON for each change and ends with Ctrl-C', () =>
    withService({}, async (service) => {
      const running = await start(service, 'monitor', '--json');
      await printed(running, '"state":"Idle"');
      await run(service, 'install', artifact);
      await printed(running, '"lastResult":"success"');
      running.child.kill('SIGINT');
      const { status, stdout } = await running.ended;
      expect(status).toBe(0);
      const changes = stdout
        .trim()
        .split('\n')
        .map((text) => JSON.parse(text) as Record<string, unknown>);
      const states = changes.map(({ state }) => state).filter((state) => state !== undefined);
      for (const state of ['Idle', 'Download', 'ArtifactInstall', 'ArtifactCommit'])
        expect(states).toContain(state);
      const serials = changes.map(({ serial }) => serial).filter((serial) => typeof serial === 'number');
      expect(serials).toEqual([...serials].sort((one, other) => one - other));
    }));

  it('wait for a state does not miss one that is short', () =>
    withService({}, async (service) => {
      const waiting = await start(service, 'wait', '--for=state=ArtifactCommit', '--timeout', '30');
      const install = run(service, 'install', artifact);
      expect((await waiting.ended).status).toBe(0);
      await install;
    }));
});

describe('without a service', () => {
  // At the same time: each waits ten seconds for one to come.
  it.concurrent.each([
    ['status'],
    ['install', '/tmp/some.mender'],
    ['wait'],
    ['history'],
    ['monitor'],
    ['pause'],
    ['log', 'x'],
  ])('%s names holdpointd and --standalone', async (...args) => {
    const bus = await startPrivateBus();
    const device = await makeDevice();
    try {
      const result = await holdpoint(device, args, { environment: { DBUS_SYSTEM_BUS_ADDRESS: bus.address } });
      expect(result.status).toBe(1);
      expect(result.stderr).toMatch(/^holdpoint: .*holdpointd.*--standalone.*\n$/);
      const noBus = await holdpoint(device, args);
      expect(noBus.status).toBe(1);
      expect(noBus.stderr).toMatch(/^holdpoint: .*cannot connect to the message bus.*holdpointd.*\n$/);
    } finally {
      await device.dispose();
      await bus.dispose();
    }
  });

  it('inspect and check-config work, and a broken configuration is told in one line', async () => {
    const device = await makeDevice();
    try {
      const good = await holdpoint(device, ['inspect', '--json', artifact]);
      expect(good.status).toBe(0);
      expect(JSON.parse(good.stdout)).toMatchObject({ artifactName: 'release-2', payloadType: 'probe' });
      await writeFile(join(device.folder, 'bad.mender'), 'x'.repeat(2000));
      const bad = await holdpoint(device, ['inspect', '--json', join(device.folder, 'bad.mender')]);
      expect(bad.status).toBe(1);
      expect(JSON.parse(bad.stdout)).toMatchObject({ error: { code: 'not-an-artifact' } });
      expect(bad.stderr).toMatch(/^holdpoint: inspecting .*: not-an-artifact: .*\n$/);

      const config = await holdpoint(device, ['check-config']);
      expect(config.status).toBe(0);
      expect(config.stdout).toMatch(/^RebootCommand +\[".*\/reboot"\] +\(.*holdpoint\.json:1\)$/m);
      await writeFile(join(device.folder, 'holdpoint/holdpoint.json'), '{ "Points": ');
      const broken = await holdpoint(device, ['check-config']);
      expect(broken.status).toBe(1);
      expect(broken.stderr).toMatch(/^holdpoint: checking the configuration: .*holdpoint\.json.*\n$/);
    } finally {
      await device.dispose();
    }
  });

  it('output that is lost is a failure of what was to be shown, and of nothing else', async () => {
    const device = await makeDevice();
    try {
      const program = await builtCommand();
      const withFullDisk = (...args: readonly string[]) =>
        spawnSync('sh', ['-c', 'exec "$0" "$@" >/dev/full', process.execPath, program, ...args], {
          env: device.environment,
          encoding: 'utf8',
        });
      const shown = withFullDisk('inspect', '--json', artifact);
      expect(shown.stderr).toMatch(/^holdpoint: writing the output: ENOSPC.*\n$/);
      expect(shown.status).toBe(1);
      expect(withFullDisk('install', '--standalone', artifact).status).toBe(0);
      expect((await holdpoint(device, ['commit'])).status).toBe(0);
    } finally {
      await device.dispose();
    }
  });
});

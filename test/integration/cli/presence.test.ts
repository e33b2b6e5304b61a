/**
 * Commands given while the service restarts, starts, or is not running: a real bus that starts it by the service file we
 * ship, and one that cannot.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { builtService } from '../../support/built-service.ts';
import { watchBusCalls } from '../../support/bus-calls.ts';
import { busctl } from '../../support/bus-tools.ts';
import type { CommandResult } from '../../support/command.ts';
import { eventually } from '../../support/eventually.ts';
import { startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';
import { ServiceHarness, SHIPPED_POLICIES, withService } from '../../support/service.ts';
import { makeShelf, type ArtifactShelf } from '../standalone/support.ts';
import { start, told } from './support.ts';

const NAME = 'io.holdpoint.Update1';
const NO_SERVICE =
  /^holdpoint: [^\n:]+: no update service is on the bus; start holdpointd, or use --standalone[^\n]*\n$/;

/**
 * The command, which has found no service and waits; then `meanwhile`, during which it is stopped, so that it does not count
 * for the test how long a busy machine takes to start a service.
 */
async function waiting(
  service: ServiceHarness,
  args: readonly string[],
  meanwhile: () => Promise<void>,
): Promise<CommandResult> {
  const calls = await watchBusCalls(service.bus.address, 'org.freedesktop.DBus');
  try {
    const command = await start(service, ...args);
    await calls.seen('StartServiceByName');
    expect(command.child.exitCode).toBeNull();
    command.child.kill('SIGSTOP');
    await meanwhile();
    command.child.kill('SIGCONT');
    return await command.ended;
  } finally {
    await calls.stop();
  }
}

describe('a service that is off the bus for a moment', () => {
  let shelf: ArtifactShelf;
  beforeAll(async () => {
    shelf = await makeShelf();
  });
  afterAll(() => shelf.dispose());

  it.each([
    [['status'], /^Nothing is waited for: no update is under way/],
    [['holds'], /^$/],
    [['hold', 'ArtifactReboot_Enter', '--timeout', '60s'], /^[0-9a-f]{12}\n$/],
    [['hold', 'ArtifactReboot_Enter', '--', 'echo', 'held'], /^held\n$/],
    [['wait', '--for=finished', '--timeout', '30s'], /^$/],
    [['disable'], /^Updates are disabled\.\n$/],
  ])('is waited for by holdpoint %j', (args, printed) =>
    withService({}, async (service) => {
      await service.terminate();
      const { status, stdout, stderr } = await waiting(service, args, () => service.start());
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toMatch(printed);
    }),
  );

  it('takes an update as if nothing had been', () =>
    withService({}, async (service) => {
      const artifact = await shelf.make();
      await service.terminate();
      const installed = await waiting(service, ['install', artifact], () => service.start());
      expect(installed).toMatchObject({ status: 0, stderr: '' });
      expect((await service.waitForEnd())['LastResult']).toBe('success');
    }));

  it('and does not come back is told in one line, exit status 1', () =>
    withService({}, async (service) => {
      await service.terminate();
      const [status, proceed] = await Promise.all([
        told(service, ['status']),
        told(service, ['continue', 'some-ticket']),
      ]);
      for (const result of [status, proceed]) {
        expect(result).toMatchObject({ status: 1, stdout: '', signal: null });
        expect(result.stderr).toMatch(NO_SERVICE);
      }
    }));

  it('is not waited for longer than wait may take: exit status 3', () =>
    withService({}, async (service) => {
      await service.terminate();
      expect(await told(service, ['wait', '--timeout', '0.2'])).toMatchObject({ status: 3, stderr: '' });
    }));
});

describe('a bus that starts the service by the file that is shipped', () => {
  let service: ServiceHarness | null = null;
  let bus: PrivateBus | null = null;
  let folder = '';
  afterEach(async () => {
    const started = Number(await readFile(join(folder, 'pid'), 'utf8').catch(() => '0'));
    if (started > 0) process.kill(started, 'SIGKILL');
    await eventually('it has ended', () => started === 0 || !existsSync(`/proc/${started}`));
    await service?.dispose();
    await bus?.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  /** `program`: shell text in the place of /usr/bin/holdpointd. */
  async function activating(program: (service: string) => string): Promise<ServiceHarness> {
    folder = await mkdtemp(join(tmpdir(), 'holdpoint-activation-'));
    const services = join(folder, 'services');
    await mkdir(services);
    const extraConfig = `<servicedir>${services}</servicedir>`;
    bus = await startPrivateBus({ policyPaths: SHIPPED_POLICIES, extraConfig });
    service = await ServiceHarness.create({ bus });
    const starter = join(folder, 'holdpointd');
    const { environment } = service.device;
    const variables = Object.entries({ ...environment, DBUS_SYSTEM_BUS_ADDRESS: bus.address })
      .map(([name, value]) => `export ${name}='${String(value).replaceAll("'", `'\\''`)}'\n`)
      .join('');
    const run = `echo $$ >'${folder}/pid'\nexec '${process.execPath}' '${await builtService()}' 2>'${folder}/log'\n`;
    const text = `#!/bin/sh\n: >'${folder}/tried'\n${variables}${program(run)}`;
    await writeFile(starter, text, { mode: 0o755 });
    const shipped = await readFile('packaging/dbus/io.holdpoint.Update1.service', 'utf8');
    expect(shipped).toContain('\nExec=/usr/bin/holdpointd\n');
    await writeFile(join(services, `${NAME}.service`), shipped.replace('/usr/bin/holdpointd', starter));
    await busctl(bus.address, ['call', 'org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'ReloadConfig']);
    return service;
  }

  it('has it started by the command, also one that does not begin with a call', async () => {
    const started = await activating((run) => run);
    const status = await told(started, ['status']);
    expect(status).toMatchObject({ status: 0, stderr: '' });
    // A second one finds it.
    expect(await told(started, ['hold', 'ArtifactReboot_Enter', '--', 'true'])).toMatchObject({ status: 0 });
  });

  it('says why it cannot be started', async () => {
    const started = await activating(() => 'exit 9\n');
    const status = await told(started, ['status']);
    expect(status).toMatchObject({ status: 1, stdout: '' });
    expect(status.stderr).toMatch(
      /^holdpoint: asking for the status: no update service is on the bus, and the bus cannot start it \([^\n]*status 9[^\n]*\); start holdpointd[^\n]*\n$/,
    );
  });

  it('waits for one that comes from elsewhere when the one it started ends', async () => {
    const started = await activating(() => 'exit 1\n');
    const status = await waiting(started, ['status'], async () => {
      await eventually('the bus has tried', () => existsSync(join(folder, 'tried')), 60_000);
      await started.start();
    });
    expect(status).toMatchObject({ status: 0, stderr: '' });
  });
});

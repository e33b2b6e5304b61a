import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ASK, makeArtifact, type DeviceOptions } from '../support/device.ts';
import { busctl, dbusSend, gdbus, pythonGio, qdbus, TARGET } from '../support/bus-tools.ts';
import { eventually } from '../support/eventually.ts';
import { ServiceHarness } from '../support/service.ts';
import { storedStates } from '../support/stored-state.ts';

/** The bus comes and goes, the update goes on (design/faults.md R22, R23); and any client on it can steer it. */
const BACK_WITHIN_MS = 10_000;

let folder: string;
let artifact: string;
let bootstrap: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-bus-'));
  artifact = await makeArtifact(
    { folder },
    { scripts: ['ArtifactInstall_Enter_00_probe', 'ArtifactCommit_Enter_00_probe'] },
  );
  bootstrap = await makeArtifact({ folder }, { isEmpty: true, name: 'original' });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function withDevice(
  options: DeviceOptions,
  use: (service: ServiceHarness) => Promise<void>,
): Promise<void> {
  const service = await ServiceHarness.create(options);
  try {
    await copyFile(bootstrap, join(service.device.data, 'bootstrap.mender'));
    await service.start();
    await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
    await use(service);
  } finally {
    await service.dispose();
  }
}

function called(service: ServiceHarness, action: string, withinMs = 20_000): Promise<void> {
  return eventually(
    `${action} is called`,
    async () => (await service.device.calls()).includes(action),
    withinMs,
  );
}

function stored(service: ServiceHarness, step: string): Promise<void> {
  return eventually(
    `${step} is stored`,
    async () => (await storedStates(service.device.stateDirectory))[0]?.state.step === step,
    20_000,
  );
}

/** As the store has it: nobody can be asked. */
function ended(service: ServiceHarness): Promise<void> {
  return eventually(
    'the update is over',
    async () => {
      const [newest] = await storedStates(service.device.stateDirectory);
      return newest?.state.deployment === null && newest.state.history.length > 0;
    },
    90_000,
  );
}

async function stopBus(service: ServiceHarness): Promise<void> {
  await service.bus.stop();
  await service.watch.waitForAbsence();
}

type Expected = Readonly<Record<string, unknown>>;

/** Starts the bus again and waits for what must then be seen in time. */
async function startBus(service: ServiceHarness, expected: Expected): Promise<void> {
  await service.bus.start();
  await expectBack(service, expected);
}

/** As `startBus`, with a client that is there before the service and so hears all it says. */
async function startBusWithListener(service: ServiceHarness, expected: Expected): Promise<void> {
  process.kill(service.pid, 'SIGSTOP');
  await service.bus.start();
  await eventually('the client is on the bus', () => service.watch.bus.state === 'connected');
  process.kill(service.pid, 'SIGCONT');
  await expectBack(service, expected);
}

async function expectBack(service: ServiceHarness, expected: Expected): Promise<void> {
  await service.waitFor(
    `${JSON.stringify(expected)} on the new bus`,
    (seen) => Object.entries(expected).every(([name, value]) => seen[name] === value),
    BACK_WITHIN_MS,
  );
  // A client that comes now finds the object as well, not only who has waited for it.
  expect(await service.property('State')).toBe(service.watch.present()?.['State']);
}

describe.concurrent('the bus is stopped and started again', { timeout: 60_000 }, () => {
  it('while the device is idle: name and object are back, and calls work', () =>
    withDevice({}, async (service) => {
      await stopBus(service);
      await startBus(service, { State: 'Idle', CurrentArtifactName: 'original' });
      await service.install(artifact);
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));

  it('during the download: it goes on without a bus', () =>
    withDevice({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await service.device.order('Download', 'wait');
      const id = await service.install(artifact);
      await called(service, 'Download');
      await stopBus(service);
      await service.device.cancelOrder('Download', 'wait');
      await stored(service, 'install-gate');
      await startBusWithListener(service, { WaitPoint: 'ArtifactInstall_Enter', DeploymentId: id });
      await service.release('ArtifactInstall_Enter');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      const started = service.watch.signals.filter(({ member }) => member === 'WaitStarted');
      expect(started).toHaveLength(1);
    }));

  it('during a wait: the ticket is still valid', () =>
    withDevice({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await service.install(artifact);
      const before = await service.waitAt('ArtifactInstall_Enter');
      await stopBus(service);
      await startBus(service, { WaitPoint: 'ArtifactInstall_Enter', WaitTicket: before['WaitTicket'] });
      expect(await service.mustCall('Continue', 's', [String(before['WaitTicket'])])).toBe('proceeding');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));

  it('during the installation, and twice', () =>
    withDevice({}, async (service) => {
      await service.device.order('ArtifactInstall', 'wait');
      const id = await service.install(artifact);
      await called(service, 'ArtifactInstall');
      await stopBus(service);
      await startBus(service, { Step: 'ArtifactInstall', DeploymentId: id });
      await stopBus(service);
      await service.device.cancelOrder('ArtifactInstall', 'wait');
      await called(service, 'Cleanup');
      await startBus(service, { LastResult: 'success', CurrentArtifactName: 'release-2' });
    }));

  it('during the commit: it is committed, and the result is told later', () =>
    withDevice({}, async (service) => {
      await service.device.order('ArtifactCommit', 'wait');
      const id = await service.install(artifact);
      await called(service, 'ArtifactCommit');
      await stopBus(service);
      await service.device.cancelOrder('ArtifactCommit', 'wait');
      await called(service, 'Cleanup');
      await startBus(service, { LastResult: 'success', CurrentArtifactName: 'release-2', DeploymentId: '' });
      expect(await service.mustCall('History.Get', 's', [id])).toMatchObject({ result: { data: 'success' } });
    }));
});

interface StateOfUpdate {
  readonly action: string;
  /** How often the machine boots on the way there. */
  readonly boots?: number;
  /** Calls that fail on the way there. */
  readonly failing?: readonly string[];
  readonly ending: Expected;
}

const success: Expected = { LastResult: 'success', CurrentArtifactName: 'release-2' };
const rolledBack = (failure: string): Expected => ({
  LastResult: 'rolled-back',
  LastErrorName: `io.holdpoint.Update1.Failure.${failure}`,
  CurrentArtifactName: 'original',
});
const INSTALL_FAILS = { failing: ['ArtifactInstall'], ending: rolledBack('UpdateModule') };

/** The states that are not above, each with the call of the module in which the bus goes. */
const STATES: readonly StateOfUpdate[] = [
  { action: 'NeedsArtifactReboot', ending: success },
  { action: 'ArtifactVerifyReboot', boots: 1, ending: success },
  { action: 'SupportsRollback', ...INSTALL_FAILS },
  { action: 'ArtifactRollback', ...INSTALL_FAILS },
  {
    action: 'ArtifactVerifyRollbackReboot',
    boots: 2,
    failing: ['ArtifactVerifyReboot'],
    ending: rolledBack('Reboot'),
  },
  { action: 'ArtifactFailure', ...INSTALL_FAILS },
  { action: 'Cleanup', ...INSTALL_FAILS },
  { action: 'Cleanup', ending: success },
];

describe.concurrent('the bus is stopped and started again in', { timeout: 120_000 }, () => {
  it.each(STATES.map((one) => [one.action, String(one.ending['LastResult']), one] as const))(
    '%s of an update that ends in %s: it comes to its end without a bus',
    (action, _result, { boots = 0, failing = [], ending }) =>
      withDevice({ needsReboot: boots > 0 ? 'Automatic' : 'No' }, async (service) => {
        await service.device.order(action, 'wait');
        for (const call of failing) await service.device.order(call, 'fail');
        await service.install(artifact);
        for (let left = boots; left > 0; left -= 1) {
          await service.exited(60_000);
          await service.start();
        }
        await called(service, action);
        await stopBus(service);
        await service.device.cancelOrder(action, 'wait');
        await ended(service);
        await startBus(service, { ...ending, State: 'Idle', DeploymentId: '' });
      }),
  );
});

describe.concurrent('a service without a bus', { timeout: 120_000 }, () => {
  it('rolls a broken update back all the same, and is there when the bus comes', () =>
    withDevice({ needsReboot: 'Yes' }, async (service) => {
      await service.device.orderKill('ArtifactReboot');
      await service.device.order('ArtifactVerifyReboot', 'fail');
      await service.install(artifact);
      await service.exited();
      await service.bus.stop();
      await service.start({ boot: 'next', isOffBus: true });
      // Who inhibits a reboot cannot be asked: half a minute is waited for the bus, then it goes on without.
      await called(service, 'Cleanup', 60_000);
      expect(await service.device.calls()).toContain('ArtifactRollback');
      await startBus(service, {
        State: 'Idle',
        LastResult: 'rolled-back',
        LastErrorName: 'io.holdpoint.Update1.Failure.Reboot',
        CurrentArtifactName: 'original',
      });
    }));

  it('waits where it has to, and announces the wait once the bus is there', () =>
    withDevice({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await service.install(artifact);
      await service.waitAt('ArtifactInstall_Enter');
      await service.kill9();
      await service.bus.stop();
      await service.start({ isOffBus: true });
      await eventually(
        'the service has started',
        async () => (await service.log()).split('Started').length > 2,
      );
      const told = service.watch.signals.length;
      await startBusWithListener(service, { WaitPoint: 'ArtifactInstall_Enter' });
      await service.release('ArtifactInstall_Enter');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      const members = service.watch.signals.slice(told).map(({ member }) => member);
      expect(members.filter((member) => member === 'WaitStarted')).toHaveLength(1);
    }));

  it('stops in good order when it is told to', () =>
    withDevice({}, async (service) => {
      await stopBus(service);
      expect(await service.terminate()).toEqual({ code: 0, signal: null });
    }));
});

describe('the clients people have', { timeout: 60_000 }, () => {
  it('can each read where it waits and release it: five tools for five hold points', () =>
    withDevice(
      {
        needsReboot: 'Yes',
        points: {
          Download_Enter: ASK,
          ArtifactInstall_Enter: ASK,
          ArtifactReboot_Enter: ASK,
          ArtifactCommit_Enter: ASK,
          ArtifactRollbackReboot_Enter: ASK,
        },
      },
      async (service) => {
        const { address } = service.bus;
        const { name, path, main } = TARGET;
        const properties = 'org.freedesktop.DBus.Properties';
        const clients: Readonly<Record<string, (ticket: string) => Promise<readonly string[]>>> = {
          Download_Enter: async (ticket) => [
            (await busctl(address, ['get-property', name, path, main, 'WaitPoint'])).stdout,
            (await busctl(address, ['call', name, path, main, 'Continue', 's', ticket])).stdout,
          ],
          ArtifactInstall_Enter: async (ticket) => [
            (await gdbus(address, 'call', ['--method', `${properties}.Get`, main, 'WaitPoint'])).stdout,
            (await gdbus(address, 'call', ['--method', `${main}.Continue`, ticket])).stdout,
          ],
          ArtifactReboot_Enter: async (ticket) => {
            const target = [`--dest=${name}`, path];
            const get = [...target, `${properties}.Get`, `string:${main}`, 'string:WaitPoint'];
            return [
              (await dbusSend(address, get)).stdout,
              (await dbusSend(address, [...target, `${main}.Continue`, `string:${ticket}`])).stdout,
            ];
          },
          ArtifactCommit_Enter: async (ticket) => {
            const script = [
              'proxy = Gio.DBusProxy.new_for_bus_sync(Gio.BusType.SYSTEM, Gio.DBusProxyFlags.NONE, None,',
              `    '${name}', '${path}', '${main}', None)`,
              "print(proxy.get_cached_property('WaitPoint').unpack())",
              `print(proxy.Continue('(s)', '${ticket}'))`,
            ];
            return (await pythonGio(address, script.join('\n'))).stdout.split('\n');
          },
          ArtifactRollbackReboot_Enter: async (ticket) => [
            (await qdbus(address, [`${main}.WaitPoint`])).stdout,
            (await qdbus(address, [`${main}.Continue`, ticket])).stdout,
          ],
        };
        await service.device.order('ArtifactCommit', 'fail');
        await service.install(artifact);
        for (const [point, client] of Object.entries(clients)) {
          const { WaitTicket } = await service.waitAt(point);
          const [shown, answer] = await client(String(WaitTicket));
          expect(shown).toContain(point);
          expect(answer).toContain('proceeding');
        }
        expect(await service.waitForEnd()).toMatchObject({ LastResult: 'rolled-back' });
      },
    ));
});

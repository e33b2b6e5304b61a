import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  addBlockInhibited,
  announceInhibitors,
  inhibit,
  LOGIND,
  MockService,
  UPOWER,
  upowerControl,
} from '../support/dbusmock.ts';
import { makeArtifact } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { listedBlockers } from '../support/hold-list.ts';
import { startPrivateBus } from '../support/private-bus.ts';
import { ServiceHarness, SHIPPED_POLICIES, type HarnessOptions } from '../support/service.ts';

/** What the device and its surroundings have to say (design/stories.md 6, 23; design/faults.md R40). */
const INSTALL = 'ArtifactInstall_Enter';
const REBOOT = 'ArtifactReboot_Enter';

let folder: string;
let artifact: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-conditions-'));
  artifact = await makeArtifact({ folder });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** `prepare`: before the service is started. */
async function withDevice(
  options: HarnessOptions,
  prepare: (service: ServiceHarness) => Promise<void>,
  use: (service: ServiceHarness) => Promise<void>,
): Promise<void> {
  const service = await ServiceHarness.create(options);
  try {
    await prepare(service);
    await service.start();
    await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
    await use(service);
  } finally {
    await service.dispose();
  }
}

const nothing = (): Promise<void> => Promise.resolve();

/** HH:MM in UTC, so many minutes from now. */
function clockTime(fromNowMinutes: number): string {
  return new Date(Date.now() + fromNowMinutes * 60_000).toISOString().slice(11, 16);
}

function outcomes(service: ServiceHarness): readonly unknown[] {
  return service.watch.signals.filter(({ member }) => member === 'WaitEnded').map(({ args }) => args[2]);
}

describe.concurrent('a script in conditions.d', { timeout: 90_000 }, () => {
  const program = async (service: ServiceHarness, name: string, text: string): Promise<void> => {
    const path = join(service.device.folder, 'holdpoint/conditions.d', name);
    await mkdir(join(path, '..'), { recursive: true, mode: 0o755 });
    await writeFile(path, `#!/bin/sh\n${text}\n`);
    await chmod(path, 0o755);
  };
  const options = { holdpointConf: { ConditionScripts: { points: [INSTALL], interval: 1, timeout: 2 } } };

  it('blocks with the reason it prints, and lets go when it agrees', () =>
    withDevice(
      options,
      (service) =>
        program(
          service,
          '10-door',
          `[ "$1" = ${INSTALL} ] || exit 9\n[ -e '${service.device.control}/closed' ] || { echo 'the door is open'; exit 1; }`,
        ),
      async (service) => {
        await service.install(artifact);
        const seen = await service.waitAt(INSTALL);
        expect(listedBlockers(seen)).toMatchObject([
          {
            kind: 'script',
            owner: '10-door',
            reasonCode: 'condition-not-met',
            details: { reason: 'the door is open', skippable: false },
          },
        ]);
        // Nobody but the condition itself can be waited for: a yes is kept, and the wait goes on.
        expect(await service.mustCall('Continue', 's', [String(seen['WaitTicket'])])).toBe('recorded');
        await writeFile(join(service.device.control, 'closed'), '');
        expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
        expect(outcomes(service)).toEqual(['unblocked']);
      },
    ));

  it('that fails, hangs or may not be trusted counts as a no, and says which', () =>
    withDevice(
      options,
      async (service) => {
        await program(service, '10-broken', 'echo oops >&2; exit 7');
        await program(service, '20-hangs', 'sleep 600');
        await program(service, '30-open', 'exit 0');
        await chmod(join(service.device.folder, 'holdpoint/conditions.d/30-open'), 0o777);
      },
      async (service) => {
        const id = await service.install(artifact);
        const seen = await service.waitAt(INSTALL);
        expect(listedBlockers(seen).map(({ owner, reasonCode }) => [owner, reasonCode])).toEqual([
          ['10-broken', 'script-failed'],
          ['20-hangs', 'script-timeout'],
          ['30-open', 'unsafe-permissions'],
        ]);
        await service.mustCall('Abort', 'ss', [id, '']);
        expect(await service.waitForEnd()).toMatchObject({ LastResult: 'aborted' });
      },
    ));
});

describe.concurrent('a maintenance window', { timeout: 90_000 }, () => {
  it('that is closed says when it opens, and a person may set it aside where that is allowed', () =>
    withDevice(
      {
        holdpointConf: {
          Windows: [
            {
              points: [INSTALL],
              from: clockTime(120),
              to: clockTime(180),
              timezone: 'UTC',
              skippable: true,
            },
          ],
        },
      },
      nothing,
      async (service) => {
        await service.install(artifact);
        const seen = await service.waitAt(INSTALL);
        const [window] = listedBlockers(seen);
        expect(window).toMatchObject({
          kind: 'window',
          reasonCode: 'outside-window',
          details: { skippable: true },
        });
        const opensInMs = Number(window?.details['expected-end-usec']) / 1000 - Date.now();
        expect(opensInMs).toBeGreaterThan(117 * 60_000);
        expect(opensInMs).toBeLessThanOrEqual(120 * 60_000);
        const yes = [String(seen['WaitTicket']), '1', 'now', 'b', 'true'];
        expect(await service.mustCall('ContinueFull', 'sa{sv}', yes)).toBe('proceeding');
        expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
        expect(outcomes(service)).toEqual(['forced']);
      },
    ));

  it('that is open lets the update pass without a wait', () =>
    withDevice(
      {
        holdpointConf: {
          Windows: [{ points: [INSTALL], from: clockTime(-60), to: clockTime(60), timezone: 'UTC' }],
        },
      },
      nothing,
      async (service) => {
        await service.install(artifact);
        expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
        expect(outcomes(service)).toEqual([]);
      },
    ));

  it('of a freeze holds whatever anybody says, but for an override', () =>
    withDevice(
      {
        holdpointConf: {
          Freeze: [{ from: '2020-01-01', to: '2099-12-31', points: [INSTALL], reason: 'fair' }],
        },
      },
      nothing,
      async (service) => {
        await service.install(artifact);
        const seen = await service.waitAt(INSTALL);
        expect(listedBlockers(seen)).toMatchObject([{ kind: 'freeze', details: { reason: 'fair' } }]);
        const say = (option: string): Promise<unknown> =>
          service.mustCall('ContinueFull', 'sa{sv}', [String(seen['WaitTicket']), '1', option, 'b', 'true']);
        expect(await say('now')).toBe('recorded');
        expect(await say('override')).toBe('proceeding');
        expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      },
    ));
});

describe.concurrent('other services of the system', { timeout: 90_000 }, () => {
  const systemBus = (names: readonly string[]) =>
    startPrivateBus({
      policyPaths: SHIPPED_POLICIES,
      extraConfig: `<policy context="default">${names
        .map((name) => `<allow own="${name}"/><allow send_destination="${name}"/>`)
        .join('')}</policy>`,
    });

  it('logind: whoever inhibits the shutdown is named, and the reboot waits for him', async () => {
    const bus = await systemBus([LOGIND]);
    const logind = new MockService(bus.address, LOGIND, 'logind');
    try {
      await logind.start();
      await addBlockInhibited(logind);
      const announce = (): Promise<void> => announceInhibitors(logind);
      const who = { what: 'shutdown', who: 'Surgery', why: 'patient on table', mode: 'block' } as const;
      const lock = await inhibit(bus.address, who, announce);
      await withDevice({ bus, needsReboot: 'Automatic' }, nothing, async (service) => {
        await service.install(artifact);
        const seen = await service.waitAt(REBOOT);
        expect(listedBlockers(seen)).toMatchObject([
          {
            kind: 'inhibitor',
            owner: 'Surgery',
            reasonCode: 'shutdown-inhibited',
            details: { why: 'patient on table' },
          },
        ]);
        expect(await service.device.calls()).not.toContain('Reboot');
        await lock.release();
        expect((await service.exited()).signal).toBe('SIGKILL');
        await service.start();
        expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      });
    } finally {
      await logind.dispose();
      await bus.dispose();
    }
  });

  it('UPower: on battery nothing is installed', async () => {
    const bus = await systemBus([UPOWER]);
    const upower = new MockService(bus.address, UPOWER, 'upower');
    try {
      await upower.start();
      const power = upowerControl(upower);
      await power.set({ isOnBattery: true, percent: 80 });
      await withDevice(
        { bus, holdpointConf: { Power: { 'require-mains': true, points: [INSTALL] } } },
        nothing,
        async (service) => {
          await service.install(artifact);
          const seen = await service.waitAt(INSTALL);
          expect(listedBlockers(seen)).toMatchObject([{ kind: 'power', reasonCode: 'on-battery' }]);
          // It stays silent: what is not known is not met.
          await upower.kill();
          await service.waitFor('it is not known', (now) =>
            listedBlockers(now).some(({ reasonCode }) => reasonCode === 'not-known'),
          );
          await upower.start();
          await power.set({ isOnBattery: false, percent: 80 });
          expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
        },
      );
    } finally {
      await upower.dispose();
      await bus.dispose();
    }
  });
});

describe.concurrent('conditions over a crash', { timeout: 90_000 }, () => {
  it('are looked at anew, and nobody is asked twice', () =>
    withDevice(
      { holdpointConf: { Freeze: [{ from: '2020-01-01', to: '2099-12-31', points: [INSTALL] }] } },
      nothing,
      async (service) => {
        await service.install(artifact);
        const before = await service.waitAt(INSTALL);
        await service.restart();
        const after = await service.waitAt(INSTALL);
        expect(after['WaitTicket']).not.toBe(before['WaitTicket']);
        expect(listedBlockers(after).map(({ kind }) => kind)).toEqual(['freeze']);
        await eventually('one wait is announced by this process', () => {
          const starts = service.watch.signals.filter(({ member }) => member === 'WaitStarted');
          return starts.length <= 2;
        });
      },
    ));
});

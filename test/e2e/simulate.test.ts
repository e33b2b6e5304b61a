/**
 * `holdpoint simulate` as an ordinary user has it: the interface of the service, time that can be trusted at every speed,
 * and scenarios that end as they say. All scenarios: test/frontends/scenarios.test.ts.
 */
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { failureScenarioName, SCENARIOS } from '../../src/adapters/simulated/scenarios.ts';
import { FAILURE_NAMES } from '../../src/core/errors.ts';
import { HOLD_POINTS } from '../../src/core/hold-point.ts';
import { busctl, gdbus, OTHER_UID, TARGET } from '../support/bus-tools.ts';
import { watchProperties } from '../support/property-watch.ts';
import { randomFrom, seedFromEnvironment } from '../support/random.ts';
import { runScenario } from '../support/scenario-run.ts';
import { ServiceHarness } from '../support/service.ts';
import { startSessionBus, startSimulation, type SessionBus, type Simulation } from '../support/simulation.ts';

const HURRY = ['--speed', '100'];
const asUser = { uid: OTHER_UID };

let bus: SessionBus;
let running: Simulation | null = null;
beforeAll(async () => {
  bus = await startSessionBus();
}, 60_000);
afterEach(async () => {
  await running?.stop();
  running = null;
});
afterAll(() => bus.dispose());

function call(method: string, ...args: readonly string[]) {
  return busctl(
    bus.address,
    ['--json=short', 'call', TARGET.name, TARGET.path, TARGET.main, method, ...args],
    asUser,
  );
}

function dataOf({ stdout }: { readonly stdout: string }): unknown {
  return (JSON.parse(stdout) as { data: unknown[] }).data[0];
}

describe('holdpoint simulate', () => {
  it('has the interfaces of the service, member for member', async () => {
    running = startSimulation(bus, ['wait-install']);
    const service = await ServiceHarness.create();
    try {
      const [, real, simulated] = await Promise.all([
        running.line('DBUS_SYSTEM_BUS_ADDRESS'),
        service.start().then(() => gdbus(service.bus.address, 'introspect', ['--xml'])),
        running
          .line('DBUS_SYSTEM_BUS_ADDRESS')
          .then(() => gdbus(bus.address, 'introspect', ['--xml'], asUser)),
      ]);
      expect(simulated.stdout).toContain('<interface name="io.holdpoint.Update1.History">');
      expect(simulated.stdout).toBe(real.stdout);
    } finally {
      await service.dispose();
    }
  });

  it('tells moments by the clock of its clients, whatever its speed', async () => {
    running = startSimulation(bus, ['wait-install', '--speed', '60']);
    const watch = watchProperties(bus.address, async () => running?.lines.join('\n') ?? '');
    try {
      const seen = await watch.waitFor(
        'it waits',
        ({ WaitTicket: ticket }) => typeof ticket === 'string' && ticket !== '',
      );
      // A day at sixty times the speed.
      const uptimeUsec = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1e6;
      const leftSeconds = (Number(seen['WaitDeadlineBootUSec']) - uptimeUsec) / 1e6;
      expect(leftSeconds).toBeLessThanOrEqual(24 * 60 + 1);
      expect(leftSeconds).toBeGreaterThan(0);
      const until = dataOf(await call('Snooze', 'su', String(seen['WaitTicket']), '3600'));
      expect(Number(until) / 1000 - Date.now()).toBeLessThanOrEqual(61_000);
      const snoozed = await watch.waitFor(
        'it is snoozed',
        (now) => now['WaitTicket'] === '' && now['WaitPoint'] !== '',
      );
      expect(Number(snoozed['WaitDeadlineUSec'])).toBeGreaterThan(Number(until));
    } finally {
      watch.close();
    }
  });

  it('comes back after a reboot with the same deployment and dead tickets', async () => {
    running = startSimulation(bus, ['service-restart', ...HURRY]);
    const ticketed = /ticket ([0-9a-f]{32})/;
    const [, first] = ticketed.exec(await running.line('; ticket ')) ?? [];
    await running.line('on the bus again');
    const late = await call('Continue', 's', first ?? '');
    expect(late.stderr).toContain('this ticket is not, or no longer, the one that is waited for');
  });

  it('plays the same with the same seed, and something else with another one', async () => {
    const play = async (seed: string): Promise<string> => {
      const { lines } = await runScenario(bus, 'wait-install', [...HURRY, '--seed', seed]);
      return lines.join('\n');
    };
    const ticket = /ticket ([0-9a-f]{32})/;
    const [one, again, other] = [await play('7'), await play('7'), await play('8')];
    expect(ticket.exec(again)?.[1]).toBe(ticket.exec(one)?.[1]);
    expect(ticket.exec(other)?.[1]).not.toBe(ticket.exec(one)?.[1]);
  });

  it('has a scenario for every way to fail and for a wait at every hold point', () => {
    const all = [...SCENARIOS.values()];
    expect([...SCENARIOS.keys()]).toEqual(expect.arrayContaining(FAILURE_NAMES.map(failureScenarioName)));
    for (const name of FAILURE_NAMES) expect(SCENARIOS.get(failureScenarioName(name))?.failure).toBe(name);
    for (const point of HOLD_POINTS) expect(all.some(({ asks = [] }) => asks.includes(point))).toBe(true);
  });

  it('names the scenario that was meant, and says how to get a bus', async () => {
    const misspelt = startSimulation(bus, ['kiosc']);
    expect(await misspelt.ended).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('did you mean kiosk?'),
    });
    const lost = startSimulation({ ...bus, address: '' }, ['kiosk']);
    expect(await lost.ended).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('dbus-run-session'),
    });
  });

  it('refuses to share the bus with another one', async () => {
    running = startSimulation(bus, ['wait-install']);
    await running.line('DBUS_SYSTEM_BUS_ADDRESS');
    const second = startSimulation(bus, ['success']);
    const { status, stderr } = await second.ended;
    expect(stderr).toMatch(/^holdpoint: simulating success: io\.holdpoint\.Update1 belongs to somebody else/);
    expect(status).toBe(1);
  });

  const seed = seedFromEnvironment();
  const random = randomFrom(seed);
  const drawn = [...SCENARIOS.keys()].filter((name) => name !== 'kiosk').sort(() => random() - 0.5);
  it.each(['kiosk', ...drawn.slice(0, 2)])(
    `plays %s to its end (TEST_SEED=${seed})`,
    async (name) => {
      const { status, stderr, client } = await runScenario(bus, name, HURRY);
      expect(stderr).toBe('');
      expect(status).toBe(0);
      expect(client).toContain('DeploymentFinished');
    },
    120_000,
  );
});

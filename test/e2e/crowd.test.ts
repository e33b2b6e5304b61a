import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { clientStats } from '../support/bus-stats.ts';
import { TARGET } from '../support/bus-tools.ts';
import { eventually } from '../support/eventually.ts';
import { listedHolds } from '../support/hold-list.ts';
import { openFiles, rssMib } from '../support/process-facts.ts';
import { ServiceHarness } from '../support/service.ts';

/** Clients that connect, hold and are killed leave nothing behind (design/stories.md 2, design/faults.md R24). */
const POINT = 'ArtifactInstall_Enter';
/** daemon, bin, sys, sync: the bus turns away users nobody has heard of. */
const UIDS = [1, 2, 3, 4];
const PER_PROCESS = 16;
const BATCHES = 16;
const MAX_GROWTH_MIB = 32;

it(`${BATCHES * UIDS.length * PER_PROCESS} clients that hold and are killed leave nothing behind`, async () => {
  const service = await ServiceHarness.create({
    holdpointConf: {
      HoldLinger: 1,
      Access: { polkit: 'off', rules: [{ users: UIDS, actions: ['hold'] }] },
    },
  });
  // Handed over as text: the folder of the project may be closed to others.
  const script = await readFile('test/support/crowd-of-holders.py', 'utf8');
  const crowd = new Set<ChildProcess>();
  const join = async (uid: number): Promise<void> => {
    const who = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--pdeathsig', 'KILL'];
    const child = spawn('setpriv', [...who, '/usr/bin/python3', '-c', script, String(PER_PROCESS), POINT], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', DBUS_SYSTEM_BUS_ADDRESS: service.bus.address },
    });
    crowd.add(child);
    let complaints = '';
    child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
    const [said] = (await Promise.race([
      once(child.stdout, 'data'),
      once(child, 'exit').then(() => {
        throw new Error(`the clients ended: ${complaints}`);
      }),
    ])) as [Buffer];
    expect(said.toString().trim()).toBe(String(PER_PROCESS));
  };
  const leave = async (): Promise<void> => {
    const ended = [...crowd].map((child) => once(child, 'exit'));
    for (const child of crowd) child.kill('SIGKILL');
    await Promise.all(ended);
    crowd.clear();
    await eventually('nobody holds', async () => (await listedHolds(service)).length === 0, 20_000);
  };

  try {
    await service.start();
    await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
    const before = await clientStats(service.bus.address, TARGET.name);
    const files = await openFiles(service.pid);
    let settledMib = 0;
    for (let batch = 0; batch < BATCHES; batch++) {
      await Promise.all(UIDS.map(join));
      const holds = await listedHolds(service);
      expect(holds).toHaveLength(UIDS.length * PER_PROCESS);
      expect(new Set(holds.map(({ uid }) => uid))).toEqual(new Set(UIDS));
      await leave();
      // What is compiled and cached on first use is no leak.
      if (batch === 3) settledMib = await rssMib(service.pid);
    }
    const after = await clientStats(service.bus.address, TARGET.name);
    expect(after.matchRules).toBe(before.matchRules);
    expect(await openFiles(service.pid)).toBeLessThanOrEqual(files + 2);
    const grownMib = (await rssMib(service.pid)) - settledMib;
    console.log(
      `memory: ${settledMib.toFixed(1)} MiB after 256 clients, ${grownMib.toFixed(1)} MiB more at the end`,
    );
    expect(grownMib).toBeLessThan(MAX_GROWTH_MIB);
    expect(await service.log()).not.toMatch(/ error .*(watch|hold)/i);
  } finally {
    for (const child of crowd) child.kill('SIGKILL');
    await service.dispose();
  }
}, 180_000);

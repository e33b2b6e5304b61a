/** From the start of the service to its name on the bus, and what it does while nobody wants anything. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createDevice } from './device.ts';
import type { BenchOptions } from './options.ts';
import type { Row } from './report.ts';
import type { Scratch } from './scratch.ts';
import { startBus, startService } from './service.ts';
import { median } from './statistics.ts';

const START_MS = 250;
/** One tick of the kernel's accounting; less cannot be told from nothing. */
const IDLE_CPU_MS = 10;
const TICK_MS = 10;
/** V8 tidies up once after the start, 8 to 13 s later (about 30 ms of CPU): a part of the start, not of idling. */
const SETTLE_MS = 15_000;

export async function benchStart(
  options: BenchOptions,
  scratch: Scratch,
  say: (text: string) => void,
): Promise<readonly Row[]> {
  const device = await createDevice(join(scratch.folder, 'start-device'));
  const { bus, client } = await startBus(scratch);
  const place = { bus, client, device, scratch };
  const samples: number[] = [];
  for (let round = 0; round < options.rounds + 1; round++) {
    const service = await startService(place);
    await service.stop();
    if (round > 0) samples.push(service.startMs);
    say(`start to name owned: ${service.startMs.toFixed(0)} ms${round === 0 ? ' (warm-up)' : ''}`);
  }
  const service = await startService(place);
  await sleep(SETTLE_MS);
  say(`idling for ${options.idleSeconds} s`);
  const before = await doings(service.pid);
  await sleep(options.idleSeconds * 1000);
  const after = await doings(service.pid);
  await service.stop();
  return [
    {
      name: 'service, start to name owned',
      unit: 'ms',
      ours: median(samples),
      peer: null,
      target: { of: 'ours', atMost: START_MS },
      samples: { ours: samples, peer: [] },
    },
    {
      name: `service idle, CPU in ${options.idleSeconds} s`,
      unit: 'ms',
      ours: after.cpuMs - before.cpuMs,
      peer: null,
      target: { of: 'ours', atMost: IDLE_CPU_MS },
      note: `counted in ticks of ${TICK_MS} ms, from ${SETTLE_MS / 1000} s after the start on`,
    },
    {
      name: 'service idle, wake-ups of all threads',
      unit: 'wake-ups/s',
      ours: (after.wakeUps - before.wakeUps) / options.idleSeconds,
      peer: null,
      target: null,
    },
    { name: 'service idle, RSS', unit: 'MiB', ours: after.rssMib, peer: null, target: null },
  ];
}

interface Doings {
  readonly cpuMs: number;
  readonly wakeUps: number;
  readonly rssMib: number;
}

async function doings(pid: number): Promise<Doings> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
  // Behind the name, which may hold anything: field 3 of proc(5) and on; utime is 14, stime 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  let wakeUps = 0;
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    const status = await readFile(`/proc/${pid}/task/${thread}/status`, 'latin1');
    wakeUps += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? 0);
  }
  const status = await readFile(`/proc/${pid}/status`, 'latin1');
  return {
    cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS,
    wakeUps,
    rssMib: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024,
  };
}

/** How fast the service answers while it installs one update after the other, and how long its loop stands still. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { filter, firstValueFrom, timeout } from 'rxjs';
import type { BusClient } from '../src/adapters/dbus/connection.ts';
import { HOLDPOINT_BUS_NAME, HOLDPOINT_PATH } from '../src/adapters/dbus/interface-xml.ts';
import { createDevice, MODULE } from './device.ts';
import type { BenchOptions } from './options.ts';
import { artifactOf } from './payloads.ts';
import type { Row } from './report.ts';
import type { Scratch } from './scratch.ts';
import { startBus, startService } from './service.ts';
import { percentile } from './statistics.ts';

const run = promisify(execFile);
const UPDATE_LIMIT_MS = 300_000;
const CALL_LIMIT = { p50: 1, p99: 10 } as const;
const STALL_MS = 20;

interface CallerResult {
  readonly samples: Readonly<Record<string, readonly number[]>>;
  readonly errors: readonly string[];
}

export async function benchBus(
  options: BenchOptions,
  scratch: Scratch,
  cache: string,
  say: (text: string) => void,
): Promise<readonly Row[]> {
  const device = await createDevice(join(scratch.folder, 'bus-device'));
  const loopFile = join(scratch.folder, 'loop.json');
  const { bus, client } = await startBus(scratch);
  const rows: Row[] = [];
  for (const compression of ['none', 'gzip'] as const) {
    const sizeMib = options.sizesMib.large;
    const artifact = await artifactOf(
      { payloadType: MODULE.stream, compression, sizeMib },
      cache,
      scratch.signal,
    );
    await device.reset();
    const service = await startService(
      { bus, client, device, scratch },
      ['--import', resolve('bench/loop-watch.mjs')],
      { HOLDPOINT_BENCH_LOOP: loopFile },
    );
    process.kill(service.pid, 'SIGUSR2');
    say(`bus: calling for ${options.busSeconds} s while updates run (${compression})`);
    let isOver = false;
    const calling = run(
      process.execPath,
      ['--import', 'tsx', resolve('bench/bus-caller.ts'), bus.address, String(options.busSeconds)],
      { maxBuffer: 64 * 1024 * 1024 },
    ).finally(() => (isOver = true));
    let updates = 0;
    do {
      await update(client, artifact);
      updates++;
    } while (!isOver);
    const result = JSON.parse((await calling).stdout) as CallerResult;
    const expected = 'io.holdpoint.Update1.Error.StaleTicket';
    if (result.errors.join() !== expected) {
      throw new Error(`Continue: found the errors "${result.errors.join()}", expected ${expected}`);
    }
    await service.stop();
    const stall = JSON.parse(await readFile(loopFile, 'utf8')) as Record<string, number>;
    rows.push(...callRows(result, compression), {
      name: `event loop, longest stall, updates running (${compression})`,
      unit: 'ms',
      ours: stall['maxMs']!,
      peer: null,
      target: { of: 'ours', atMost: STALL_MS },
      note: `${updates} updates; 99.9 % below ${stall['p999Ms']!.toFixed(1)} ms`,
    });
  }
  return rows;
}

/** What the caller names a call to the bus daemon itself: what no service can be faster than. */
const FLOOR = 'bus';

function callRows({ samples }: CallerResult, compression: string): readonly Row[] {
  return Object.entries(samples).flatMap(([name, times]) =>
    (['p50', 'p99'] as const).map((which): Row => ({
      name: `${name === FLOOR ? 'floor: bus daemon alone' : name} ${which}, updates running (${compression})`,
      unit: 'ms',
      ours: percentile(times, which === 'p50' ? 0.5 : 0.99),
      peer: null,
      target: name === FLOOR ? null : { of: 'ours', atMost: CALL_LIMIT[which] },
      ...(which === 'p50' ? { note: `${times.length} calls` } : {}),
    })),
  );
}

/** One update from the call to its end; rejects unless it succeeds. */
async function update(client: BusClient, artifact: string): Promise<void> {
  const finished = firstValueFrom(
    client
      .signals$({
        sender: HOLDPOINT_BUS_NAME,
        interface: 'io.holdpoint.Update1',
        member: 'DeploymentFinished',
      })
      .pipe(
        filter(({ args }) => args.length > 0),
        timeout(UPDATE_LIMIT_MS),
      ),
  );
  finished.catch(() => undefined);
  await client.call({
    destination: HOLDPOINT_BUS_NAME,
    path: HOLDPOINT_PATH,
    interface: 'io.holdpoint.Update1.Install',
    member: 'InstallPath',
    signature: 'ss',
    body: [artifact, ''],
  });
  const { args } = await finished;
  if (args[2] !== 'success') throw new Error(`an update ended with ${JSON.stringify(args.slice(2, 4))}`);
  await idle(client);
}

/** The last words of a deployment come before the state is Idle again, and only then the next may start. */
async function idle(client: BusClient): Promise<void> {
  for (;;) {
    const [value] = await client.call({
      destination: HOLDPOINT_BUS_NAME,
      path: HOLDPOINT_PATH,
      interface: 'org.freedesktop.DBus.Properties',
      member: 'Get',
      signature: 'ss',
      body: ['io.holdpoint.Update1', 'State'],
    });
    if ((value as { readonly value: unknown }).value === 'Idle') return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The real service on a private bus, for as long as a measurement needs it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, closeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { filter, firstValueFrom, timeout } from 'rxjs';
import { openClient, type BusClient } from '../src/adapters/dbus/connection.ts';
import { HOLDPOINT_BUS_NAME } from '../src/adapters/dbus/interface-xml.ts';
import { startPrivateBus, type PrivateBus } from '../test/support/private-bus.ts';
import { SHIPPED_POLICIES } from '../test/support/service.ts';
import { deviceEnvironment } from './clients.ts';
import type { Device } from './device.ts';
import type { Scratch } from './scratch.ts';

const START_LIMIT_MS = 30_000;

export interface Service {
  readonly pid: number;
  /** From before the process is started to the signal of the bus that the name is owned. */
  readonly startMs: number;
  /** Rejects unless it ends well. */
  stop(): Promise<void>;
}

export async function startBus(
  scratch: Scratch,
): Promise<{ readonly bus: PrivateBus; readonly client: BusClient }> {
  const bus = await startPrivateBus({ policyPaths: SHIPPED_POLICIES });
  scratch.onEnd(() => bus.dispose());
  const client = await openClient(bus.address);
  scratch.onEnd(() => client.close());
  return { bus, client };
}

export async function startService(
  place: {
    readonly bus: PrivateBus;
    readonly client: BusClient;
    readonly device: Device;
    readonly scratch: Scratch;
  },
  nodeArguments: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Service> {
  const { bus, client, device, scratch } = place;
  const logPath = join(scratch.folder, 'service.log');
  const log = openSync(logPath, 'w');
  const owned = firstValueFrom(
    client.nameOwner$(HOLDPOINT_BUS_NAME).pipe(
      filter((owner) => owner !== ''),
      timeout(START_LIMIT_MS),
    ),
  );
  // The match rule has to be at the bus before the clock starts.
  await client.call({
    destination: 'org.freedesktop.DBus',
    path: '/org/freedesktop/DBus',
    interface: 'org.freedesktop.DBus',
    member: 'GetId',
    signature: '',
    body: [],
  });
  const startedMs = performance.now();
  const child = spawn(process.execPath, [...nodeArguments, resolve('dist/holdpointd.js')], {
    env: { ...deviceEnvironment(device), DBUS_SYSTEM_BUS_ADDRESS: bus.address, ...env },
    stdio: ['ignore', 'ignore', log],
  });
  closeSync(log);
  const exited = once(child, 'exit');
  scratch.onEnd(() => void (isRunning(child) && child.kill('SIGKILL')));
  const early = exited.then(async ([code]) => {
    throw new Error(`holdpointd ended with ${code}:\n${await readFile(logPath, 'utf8')}`);
  });
  early.catch(() => undefined);
  await Promise.race([owned, early]);
  const startMs = performance.now() - startedMs;
  return {
    pid: child.pid!,
    startMs,
    async stop() {
      child.kill('SIGTERM');
      const [code] = (await exited) as [number | null];
      if (code !== 0) throw new Error(`holdpointd ended with ${code}:\n${await readFile(logPath, 'utf8')}`);
    },
  };
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

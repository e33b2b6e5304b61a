/** Daemons of both clients at one development server of ours, told by the server when each thing happened. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { chmod, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { DevServerProcess } from '../test/support/dev-server.ts';
import { eventually } from '../test/support/eventually.ts';
import type { Client } from './clients.ts';
import { createDevice } from './device.ts';
import type { Scratch } from './scratch.ts';
import { startBus } from './service.ts';

const run = promisify(execFile);
const LIMIT_MS = 300_000;
const NUDGE_MS = 300;

export interface ServerCertificate {
  readonly cert: string;
  readonly key: string;
}

export async function makeCertificate(folder: string): Promise<ServerCertificate> {
  const made = { cert: join(folder, 'server.pem'), key: join(folder, 'server.key') };
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', made.key];
  await run('openssl', ['req', '-x509', ...key, '-days', '2', ...subject, '-out', made.cert]);
  return made;
}

export interface Daemon {
  readonly client: Client;
  /** The server knows it by this. */
  readonly deviceId: string;
  /** CPU of its present threads so far, milliseconds. */
  cpuMs(): Promise<number>;
  /** Asks it to look for an update, until the server has given it the deployment. */
  nudgeUntil(claim: () => Promise<boolean>): Promise<void>;
  stop(): Promise<void>;
}

export async function startDaemon(
  client: Client,
  place: { readonly scratch: Scratch; readonly server: DevServerProcess; readonly name: string },
  conf: Readonly<Record<string, unknown>>,
): Promise<Daemon> {
  const { scratch, server, name } = place;
  const root = join(scratch.folder, `${name}-${client.name}`);
  const serial = `${name}-${client.name}`;
  const device = await createDevice(root);
  await writeFile(join(device.conf, 'mender.conf'), JSON.stringify(conf));
  await mkdir(join(device.data, 'identity'), { recursive: true });
  const identity = join(device.data, 'identity/mender-device-identity');
  await writeFile(identity, `#!/bin/sh\necho serial=${serial}\n`);
  await chmod(identity, 0o755);
  const { bus } = await startBus(scratch);
  const { command, env } = client.daemon(device);
  const logPath = join(root, 'log');
  const log = openSync(logPath, 'w');
  const child = spawn(command[0]!, command.slice(1), {
    env: { ...env, DBUS_SYSTEM_BUS_ADDRESS: bus.address },
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const ended = once(child, 'close');
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await ended;
  };
  scratch.onEnd(stop);
  let deviceId = '';
  await eventually(
    `${client.name} is known`,
    async () => {
      if (child.exitCode !== null) throw new Error(`${client.name}: ${await readFile(logPath, 'utf8')}`);
      const devices = (await server.must('GET', '/devices')) as {
        id: string;
        identity: { serial: string };
      }[];
      deviceId = devices.find((one) => one.identity.serial === serial)?.id ?? '';
      await sleep(50);
      return deviceId !== '';
    },
    LIMIT_MS,
  );
  return {
    client,
    deviceId,
    stop,
    async cpuMs() {
      let ns = 0;
      for (const thread of await readdir(`/proc/${child.pid}/task`)) {
        const text = await readFile(`/proc/${child.pid}/task/${thread}/schedstat`, 'latin1').catch(() => '0');
        ns += Number(text.split(' ')[0]);
      }
      return ns / 1e6;
    },
    async nudgeUntil(claim) {
      const endMs = performance.now() + LIMIT_MS;
      while (!(await claim())) {
        if (performance.now() > endMs) throw new Error(`${client.name}: ${await readFile(logPath, 'utf8')}`);
        child.kill('SIGUSR1');
        await sleep(NUDGE_MS);
      }
    },
  };
}

export interface Deployed {
  /** When the server gave it away, and each of the first reports of a status, milliseconds since 1970. */
  readonly atMs: Readonly<Record<string, number>>;
}

/** Deploys to one device and waits for the end, which must be a success. */
export async function deployTo(
  server: DevServerProcess,
  daemon: Daemon,
  artifactId: string,
): Promise<Deployed> {
  const order = { artifact_id: artifactId, devices: { ids: [daemon.deviceId] } };
  const { id } = await server.must('POST', '/deployments', order);
  const look = async (): Promise<any> =>
    (await server.must('GET', `/deployments/${id}?history=true`)).devices[0];
  await daemon.nudgeUntil(async () => (await look()).offered_at !== null);
  await eventually(
    'the deployment is over',
    async () => {
      await sleep(20);
      return (await look()).finished_at !== null;
    },
    LIMIT_MS,
  );
  const found = await look();
  if (found.status !== 'success')
    throw new Error(`${daemon.client.name}: the deployment ended with ${found.status}`);
  const atMs: Record<string, number> = { offered: Date.parse(found.offered_at) };
  for (const { at, status } of found.history) atMs[status] ??= Date.parse(at);
  return { atMs };
}

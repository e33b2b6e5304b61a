/** Both clients as daemons at our development server, and the server under the load of many. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startDevServer, type DevServerProcess } from '../test/support/dev-server.ts';
import { ProtocolDevice } from '../test/support/protocol-device.ts';
import { startRecordingProxy } from '../test/support/recording-proxy.ts';
import type { Client } from './clients.ts';
import { MODULE } from './device.ts';
import type { BenchOptions } from './options.ts';
import { artifactOf, writeArtifact } from './payloads.ts';
import type { Row } from './report.ts';
import type { Scratch } from './scratch.ts';
import {
  deployTo,
  makeCertificate,
  startDaemon,
  type Daemon,
  type Deployed,
  type ServerCertificate,
} from './server-rig.ts';
import { median, percentile } from './statistics.ts';
import type { Contest } from './turns.ts';

const HOUR_S = 3600;
const DEVICES = 500;
const DEVICE_INTERVAL_MS = 5_000;
const P99_MS = 50;
const SETTLE_MS = 15_000;
/** Both look for updates only when they are told to. */
const QUIET = {
  UpdatePollIntervalSeconds: HOUR_S,
  InventoryPollIntervalSeconds: HOUR_S,
  RetryPollIntervalSeconds: 5,
};

export async function benchServer(
  contest: Contest,
  options: BenchOptions,
  scratch: Scratch,
  cache: string,
): Promise<readonly Row[]> {
  return [
    await offerToSuccess(contest, scratch),
    ...(await idlePolls(contest, options, scratch)),
    await largeDownload(contest, options, scratch, cache),
    ...(await manyDevices(contest, options, scratch)),
  ];
}

async function startServer(
  scratch: Scratch,
  certificate: ServerCertificate | null = null,
): Promise<DevServerProcess> {
  const tls = certificate === null ? [] : ['--tls-cert', certificate.cert, '--tls-key', certificate.key];
  const server = await startDevServer({
    options: ['--auto-accept', ...tls],
    ...(certificate && { ca: await readFile(certificate.cert, 'utf8') }),
  });
  scratch.onEnd(() => server.dispose());
  return server;
}

async function offerToSuccess(contest: Contest, scratch: Scratch): Promise<Row> {
  const name = 'server: offer to success, tiny artifact, no scripts';
  const server = await startServer(scratch);
  const payload = join(scratch.folder, 'tiny');
  // Debian's client refuses artifacts below 4096 bytes.
  await writeFile(payload, 'tiny\n'.repeat(1000));
  const artifactIds: string[] = [];
  for (const release of ['tiny-1', 'tiny-2']) {
    const path = join(scratch.folder, `${release}.mender`);
    const order = { payloadType: MODULE.nothing, compression: 'none', files: [payload], scripts: [] };
    await writeArtifact({ ...order, path, name: release }, scratch.signal);
    artifactIds.push((await server.must('POST', '/artifacts', await readFile(path))).id as string);
  }
  const conf = { ServerURL: server.url, ...QUIET };
  const daemons = await daemonsOf(contest, (client) =>
    startDaemon(client, { scratch, server, name: 'tiny' }, conf),
  );
  const samples = await inTurns(contest, name, daemons, contest.rounds * 3, (daemon, round) =>
    deployTo(server, daemon, artifactIds[round % 2]!).then(({ atMs }) => between(atMs, 'offered', 'success')),
  );
  await Promise.all(daemons.map((daemon) => daemon.stop()));
  await server.dispose();
  return { name, unit: 'ms', ...figures(samples), target: { of: 'ratio', atMost: 1 } };
}

async function idlePolls(contest: Contest, options: BenchOptions, scratch: Scratch): Promise<readonly Row[]> {
  const server = await startServer(scratch);
  const proxy = await startRecordingProxy(server.url);
  scratch.onEnd(() => proxy.dispose());
  const conf = { ServerURL: proxy.url, ...QUIET, UpdatePollIntervalSeconds: 1 };
  const daemons = await daemonsOf(contest, (client) =>
    startDaemon(client, { scratch, server, name: 'idle' }, conf),
  );
  await sleep(SETTLE_MS);
  contest.say(`both poll every second for ${options.pollSeconds} s`);
  const look = (): Promise<readonly (readonly [cpuMs: number, polls: number])[]> =>
    Promise.all(
      daemons.map(async (daemon) => {
        const polls = proxy.requests.filter(
          ({ deviceId, path }) => deviceId === daemon.deviceId && path.includes('/deployments/next'),
        );
        return [await daemon.cpuMs(), polls.length] as const;
      }),
    );
  const before = await look();
  await sleep(options.pollSeconds * 1000);
  const after = await look();
  const each = after.map(
    ([cpuMs, polls], index) => (cpuMs - before[index]![0]) / (polls - before[index]![1]),
  );
  await Promise.all(daemons.map((daemon) => daemon.stop()));
  await proxy.dispose();
  await server.dispose();
  return [
    {
      name: 'server: CPU per idle poll',
      unit: 'ms',
      ours: each[0]!,
      peer: each[1] ?? null,
      target: { of: 'ratio', atMost: 1 },
      note: `every second for ${options.pollSeconds} s, all threads`,
    },
  ];
}

async function largeDownload(
  contest: Contest,
  options: BenchOptions,
  scratch: Scratch,
  cache: string,
): Promise<Row> {
  const sizeMib = options.sizesMib.large;
  const name = `server: download of ${sizeMib} MiB over HTTPS`;
  const certificate = await makeCertificate(scratch.folder);
  const server = await startServer(scratch, certificate);
  const plan = { payloadType: MODULE.stream, compression: 'none', sizeMib } as const;
  contest.say(`${name}: making the artifact`);
  const path = await artifactOf(plan, cache, scratch.signal);
  const { id } = await server.must('POST', '/artifacts', await readFile(path));
  const conf = { ServerURL: server.url, ServerCertificate: certificate.cert, ...QUIET };
  const rounds = Math.min(contest.rounds, 3);
  const samples = new Map<Client, number[]>();
  // A device takes an artifact only once, so each turn has a device of its own.
  for (let round = 0; round < rounds; round++) {
    const clients = clientsOf(contest);
    for (const client of round % 2 === 0 ? clients : clients.toReversed()) {
      const daemon = await startDaemon(client, { scratch, server, name: `large-${round}` }, conf);
      const { atMs } = await deployTo(server, daemon, id as string);
      await daemon.stop();
      const ms = between(atMs, 'downloading', 'installing');
      samples.set(client, [...(samples.get(client) ?? []), ms]);
      contest.say(`${name}: round ${round + 1} of ${rounds}: ${client.name} ${ms} ms`);
    }
  }
  await server.dispose();
  return { name, unit: 'ms', ...figures(samples), target: { of: 'ratio', atMost: 1 } };
}

async function manyDevices(
  contest: Contest,
  options: BenchOptions,
  scratch: Scratch,
): Promise<readonly Row[]> {
  const server = await startServer(scratch);
  const devices = Array.from(
    { length: DEVICES },
    (_, index) => new ProtocolDevice(server.url, { serial: `d-${index}` }),
  );
  contest.say(`${DEVICES} simulated devices poll for ${options.pollSeconds} s`);
  for (const device of devices) await device.authenticate();
  const tookMs: number[] = [];
  const endMs = performance.now() + options.pollSeconds * 1000;
  await Promise.all(
    devices.map(async (device, index) => {
      await sleep((index / DEVICES) * DEVICE_INTERVAL_MS);
      while (performance.now() < endMs) {
        const startMs = performance.now();
        const { status } = await device.next();
        const took = performance.now() - startMs;
        if (status !== 204) throw new Error(`a poll was answered ${status}`);
        tookMs.push(took);
        await sleep(Math.max(0, DEVICE_INTERVAL_MS - took));
      }
    }),
  );
  await server.dispose();
  const row = { unit: 'ms', peer: null, samples: { ours: [], peer: [] } } as const;
  return [
    {
      ...row,
      name: `server: poll of one of ${DEVICES} devices, p99`,
      ours: percentile(tookMs, 0.99),
      target: { of: 'ours', atMost: P99_MS },
      note: `${tookMs.length} polls, as the devices see it, all in one process`,
    },
    { ...row, name: 'server: the same, median', ours: median(tookMs), target: null },
  ];
}

function clientsOf({ ours, peer }: Contest): readonly Client[] {
  return peer === null ? [ours] : [ours, peer];
}

async function daemonsOf(
  contest: Contest,
  start: (client: Client) => Promise<Daemon>,
): Promise<readonly Daemon[]> {
  const daemons: Daemon[] = [];
  for (const client of clientsOf(contest)) daemons.push(await start(client));
  return daemons;
}

async function inTurns(
  contest: Contest,
  name: string,
  daemons: readonly Daemon[],
  rounds: number,
  turn: (daemon: Daemon, round: number) => Promise<number>,
): Promise<ReadonlyMap<Client, number[]>> {
  const samples = new Map<Client, number[]>(daemons.map(({ client }) => [client, []]));
  for (let round = -1; round < rounds; round++) {
    const told: string[] = [];
    for (const daemon of round % 2 === 0 ? daemons : daemons.toReversed()) {
      const ms = await turn(daemon, round + 1);
      if (round >= 0) samples.get(daemon.client)?.push(ms);
      told.push(`${daemon.client.name} ${ms.toFixed(0)} ms`);
    }
    contest.say(`${name}: ${round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`}: ${told.join(', ')}`);
  }
  return samples;
}

/** Ours is the first client. */
function figures(samples: ReadonlyMap<Client, readonly number[]>): Pick<Row, 'ours' | 'peer' | 'samples'> {
  const [ours = [], peer = []] = [...samples.values()];
  return { ours: median(ours), peer: peer.length === 0 ? null : median(peer), samples: { ours, peer } };
}

function between(atMs: Deployed['atMs'], from: string, to: string): number {
  const [start, end] = [atMs[from], atMs[to]];
  if (start === undefined || end === undefined) throw new Error(`no ${from} or no ${to} was reported`);
  return end - start;
}

/**
 * The stories of many devices that wait for one word (design/stories.md 12 and 16), at any size: whole services beside
 * simulated clients, at one development server. Nothing here is judged by how fast the machine is: what counts is how
 * often a device asked.
 */
import { execFile } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { startDevServer, type DevServerProcess } from './dev-server.ts';
import { makeArtifact, PAYLOAD_TYPE } from './device.ts';
import { startProtocolFleet, type ProtocolFleet } from './protocol-fleet.ts';
import { randomFrom, seedFromEnvironment } from './random.ts';
import { startRecordingProxy, type RecordingProxy } from './recording-proxy.ts';
import { ServiceHarness, type HarnessOptions } from './service.ts';

const run = promisify(execFile);
const WITHIN_MS = 400_000;
const LOOK_MS = 100;
const STARTED_AT_ONCE = 4;

export interface FleetSize {
  readonly services: number;
  readonly simulated: number;
  /** How many of each are off the network when everybody is released. */
  readonly offlineServices: number;
  readonly offlineSimulated: number;
  readonly intervalSeconds: number;
}

interface Fleet {
  readonly server: DevServerProcess;
  readonly proxy: RecordingProxy;
  readonly services: readonly ServiceHarness[];
  /** Id the server knows a service by. */
  readonly idOf: (service: ServiceHarness) => string;
}

/** Story 12: QA lets everybody commit, with one change at the server. */
export async function approveCommitEverywhere(size: FleetSize): Promise<void> {
  const seed = seedFromEnvironment();
  console.info(`TEST_SEED=${seed}`);
  const { intervalSeconds } = size;
  const total = size.services + size.simulated;
  await withFleet(size.services, { intervalSeconds, device: { needsReboot: 'No' } }, async (fleet) => {
    const { server, proxy, services, idOf } = fleet;
    const simulated = startProtocolFleet({
      url: server.url,
      count: size.simulated,
      intervalMs: intervalSeconds * 1000,
      random: randomFrom(seed),
    });
    try {
      await until('everybody is known', fleet, async () => (await countDevices(server)) === total);
      const id = await deploy(fleet, { ArtifactCommit_Enter: { action: 'pause' } });
      await untilCounts(fleet, id, { pause_before_committing: total });
      await tellMemory(fleet);

      const awayServices = services.slice(0, size.offlineServices);
      const awayMembers = simulated.members.slice(0, size.offlineSimulated);
      for (const service of awayServices) proxy.offline.add(idOf(service));
      for (const member of awayMembers) member.isOffline = true;
      const awayCount = awayServices.length + awayMembers.length;
      const releasedMs = Date.now();
      await server.must('POST', `/deployments/${id}/release`, { point: 'ArtifactCommit_Enter' });
      await untilCounts(fleet, id, { success: total - awayCount, pause_before_committing: awayCount });
      expectAtMostTwoLooks(fleet, simulated, releasedMs, { awayServices, awayMembers });
      tellSpread(fleet, simulated, releasedMs, intervalSeconds);

      // As many polling intervals as an hour has, by Mender's 30 minutes.
      const missed = (service: ServiceHarness): number =>
        proxy.requests.filter(({ deviceId, isCut }) => isCut && deviceId === idOf(service)).length;
      await until(
        'the absent have missed an hour',
        fleet,
        () =>
          awayServices.every((service) => missed(service) >= 2) &&
          awayMembers.every((member) => member.missed >= 2),
      );
      expect(await countsOf(server, id)).toEqual(
        nonZero({ success: total - awayCount, pause_before_committing: awayCount }),
      );
      const backMs = Date.now();
      proxy.offline.clear();
      for (const member of awayMembers) member.isOffline = false;
      await untilCounts(fleet, id, { success: total });
      expectAtMostTwoLooks(fleet, simulated, backMs, { awayServices: [], awayMembers: [] });
      for (const service of services) {
        const calls = await service.device.calls();
        expect(calls).toContain('ArtifactCommit');
        expect(calls.filter((call) => /Rollback|Failure/.test(call) && call !== 'SupportsRollback')).toEqual(
          [],
        );
      }
    } finally {
      await simulated.stop();
    }
  });
}

/**
 * Story 16: co-located devices reboot together, at a time the server has named, each by its own clock; one that somebody
 * holds stays, and says why.
 */
export async function rebootTogether(size: {
  readonly services: number;
  readonly leadSeconds: number;
}): Promise<RebootTimes> {
  const rig = { intervalSeconds: 2, device: { needsReboot: 'Yes' } } as const;
  return withFleet(size.services, rig, async (fleet) => {
    const { server, services, proxy, idOf } = fleet;
    await Promise.all(services.map(timeReboots));
    await until('everybody is known', fleet, async () => (await countDevices(server)) === services.length);
    const [blocked, ...free] = services as [ServiceHarness, ...ServiceHarness[]];
    const hold = ['ArtifactReboot_Enter', 'surgery running', '3600', 'keep-waiting'];
    const holdId = String(await blocked.mustCall('Holds.Hold', 'ssus', hold));
    const id = await deploy(fleet, { ArtifactReboot_Enter: { action: 'pause' } });
    await untilCounts(fleet, id, { pause_before_rebooting: services.length });

    const atMs = Date.now() + size.leadSeconds * 1000;
    const at = new Date(atMs).toISOString();
    await server.must('POST', `/deployments/${id}/release`, { point: 'ArtifactReboot_Enter', at });
    const own = (service: ServiceHarness): readonly string[] => (service === blocked ? ['hold held'] : []);
    for (const service of services) {
      const wanted = ['map paused-until-release', ...own(service)].join();
      await until(`it shows ${wanted}`, fleet, async () => (await reasonsOf(service)).join() === wanted);
    }
    expect(Date.now(), 'all have been told in time').toBeLessThan(atMs);
    const shell = latestShell(atMs, services.length);
    // Nobody is told anything more: each has its own clock.
    for (const service of services) proxy.offline.add(idOf(service));
    await until('the free ones reboot', fleet, async () => {
      const calls = await Promise.all(free.map(({ device }) => device.calls()));
      return calls.every((some) => some.includes('ArtifactReboot'));
    });
    proxy.offline.clear();
    await untilCounts(fleet, id, { success: free.length, pause_before_rebooting: 1 });
    const delaysMs = await Promise.all(free.map(async (service) => (await rebootMs(service)) - atMs));
    for (const delayMs of delaysMs) expect(delayMs).toBeGreaterThanOrEqual(0);
    const shellMs = await shell;
    console.info(`after the moment: shells ${shellMs} ms, reboots ${delaysMs.join(', ')} ms`);

    // The one that is held has not gone down, and says why; so does the server.
    expect(await blocked.device.calls()).not.toContain('ArtifactReboot');
    await until('the map has let go', fleet, async () => (await reasonsOf(blocked)).join() === 'hold held');
    const { devices } = await server.must('GET', `/deployments/${id}`);
    const waiting = devices.filter((one: any) => one.wait !== null);
    expect(waiting).toMatchObject([
      { device_id: idOf(blocked), wait: { point: 'ArtifactReboot_Enter', held_by: 'device' } },
    ]);
    expect(waiting[0].wait.reason).toMatch(/hold \(/);
    await blocked.mustCall('Holds.ReleaseHold', 's', [holdId]);
    await untilCounts(fleet, id, { success: services.length });
    return { delaysMs, shellMs };
  });
}

export interface RebootTimes {
  /** How long after the moment each reboot was called for, milliseconds. */
  readonly delaysMs: readonly number[];
  /** How long after it the last of as many shells had started that did nothing but wait for it: what the machine is good for. */
  readonly shellMs: number;
}

async function latestShell(atMs: number, count: number): Promise<number> {
  await sleep(Math.max(0, atMs - Date.now()));
  const times = await Promise.all(
    Array.from({ length: count }, async () => Number((await run('date', ['+%s%3N'])).stdout)),
  );
  return Math.max(...times) - atMs;
}

interface Rig {
  readonly intervalSeconds: number;
  readonly device: HarnessOptions;
}

async function withFleet<T>(count: number, rig: Rig, use: (fleet: Fleet) => Promise<T>): Promise<T> {
  const server = await startDevServer({ options: ['--auto-accept', '--max-devices', '2000'] });
  const proxy = await startRecordingProxy(server.url);
  const services: ServiceHarness[] = [];
  const ids = new Map<ServiceHarness, string>();
  try {
    const serials = Array.from({ length: count }, (_, index) => `service-${index}`);
    while (services.length < count) {
      const batch = serials.slice(services.length, services.length + STARTED_AT_ONCE);
      services.push(...(await Promise.all(batch.map((serial) => startService(serial, proxy.url, rig)))));
    }
    const known = async (): Promise<any[]> => server.must('GET', '/devices');
    await until('the services are known', { services }, async () => (await known()).length >= count);
    for (const { id, identity } of await known()) {
      const index = serials.indexOf(identity.serial as string);
      if (index >= 0) ids.set(services[index]!, id as string);
    }
    return await use({ server, proxy, services, idOf: (service) => ids.get(service) ?? '' });
  } finally {
    await Promise.all(services.map((service) => service.dispose()));
    await proxy.dispose();
    await server.dispose();
  }
}

async function startService(serial: string, serverUrl: string, rig: Rig): Promise<ServiceHarness> {
  const service = await ServiceHarness.create({
    ...rig.device,
    menderConf: {
      ServerURL: serverUrl,
      UpdatePollIntervalSeconds: rig.intervalSeconds,
      InventoryPollIntervalSeconds: 3600,
      RetryPollIntervalSeconds: rig.intervalSeconds,
      // It is the hour that is short here, not the patience.
      RetryPollCount: 1000,
      UpdateControlMapExpirationTimeSeconds: 3600,
    },
  });
  const identity = join(service.device.share, 'identity/mender-device-identity');
  await writeFile(identity, `#!/bin/sh\necho serial=${serial}\n`);
  // Many at once on a small machine: that they have started is seen when the server knows them.
  await service.start({ isOffBus: true });
  return service;
}

async function deploy({ server, services }: Fleet, states: object): Promise<string> {
  const file = await makeArtifact(services[0]!.device, { name: 'release-2' });
  const { id: artifactId } = await server.must('POST', '/artifacts', await readFile(file));
  const order = { artifact_id: artifactId, devices: { all: true }, update_control_map: { states } };
  return (await server.must('POST', '/deployments', order)).id as string;
}

async function countDevices(server: DevServerProcess): Promise<number> {
  return (await server.must('GET', '/status')).counts.devices as number;
}

async function countsOf(server: DevServerProcess, id: string): Promise<Readonly<Record<string, number>>> {
  return (await server.must('GET', `/deployments/${id}?limit=0`)).device_counts;
}

function nonZero(counts: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}

/** Exactly so many devices in these states and none in another. A device that has failed ends the waiting. */
async function untilCounts(
  fleet: Fleet,
  id: string,
  counts: Readonly<Record<string, number>>,
): Promise<void> {
  const wanted = nonZero(counts);
  await until(JSON.stringify(wanted), fleet, async () => {
    const found = await countsOf(fleet.server, id);
    if (found['failure'] !== undefined || found['aborted'] !== undefined) {
      const { devices } = await fleet.server.must('GET', `/deployments/${id}?history=true`);
      const failed = devices.filter(({ status }: any) => status === 'failure' || status === 'aborted');
      throw new Error(`devices have failed: ${JSON.stringify(failed.slice(0, 3))}`);
    }
    return (
      Object.keys(found).length === Object.keys(wanted).length &&
      Object.entries(wanted).every(([status, count]) => found[status] === count)
    );
  });
}

async function until(
  what: string,
  { services }: Pick<Fleet, 'services'>,
  claim: () => boolean | Promise<boolean>,
): Promise<void> {
  const endMs = performance.now() + WITHIN_MS;
  while (!(await claim())) {
    if (performance.now() > endMs) {
      const logs = await Promise.all(services.slice(0, 3).map((service) => service.log()));
      throw new Error(
        `not so after ${WITHIN_MS} ms: ${what}\n${logs.map((log) => log.slice(-1500)).join('\n---\n')}`,
      );
    }
    await sleep(LOOK_MS);
  }
}

interface Away {
  readonly awayServices: readonly ServiceHarness[];
  readonly awayMembers: readonly unknown[];
}

/** Within two polling intervals: nobody needed a third look, whatever an interval takes on this machine. */
function expectAtMostTwoLooks(fleet: Fleet, simulated: ProtocolFleet, sinceMs: number, away: Away): void {
  const { proxy, services, idOf } = fleet;
  for (const service of services.filter((one) => !away.awayServices.includes(one))) {
    const looks = proxy.requests.filter(
      ({ atMs, deviceId, path, isCut }) =>
        atMs >= sinceMs && !isCut && deviceId === idOf(service) && path.endsWith('/update_control_map'),
    );
    expect(looks.length).toBeLessThanOrEqual(2);
  }
  for (const member of simulated.members.filter((one) => !away.awayMembers.includes(one))) {
    expect(member.requests.filter(({ atMs }) => atMs >= sinceMs).length).toBeLessThanOrEqual(2);
  }
}

/** How the looks at the map are spread over an interval: the largest tenth of it, and all. */
function tellSpread(fleet: Fleet, simulated: ProtocolFleet, sinceMs: number, intervalSeconds: number): void {
  const looks = [
    ...fleet.proxy.requests
      .filter(({ atMs, path }) => atMs >= sinceMs && path.endsWith('/update_control_map'))
      .map(({ atMs }) => atMs),
    ...simulated.members.flatMap(({ requests }) =>
      requests.filter(({ atMs, kind }) => atMs >= sinceMs && kind === 'map').map(({ atMs }) => atMs),
    ),
  ];
  const sliceMs = intervalSeconds * 100;
  const slices = new Map<number, number>();
  for (const atMs of looks) {
    const slice = Math.floor((atMs - sinceMs) / sliceMs);
    slices.set(slice, (slices.get(slice) ?? 0) + 1);
  }
  const most = Math.max(0, ...slices.values());
  console.info(
    `${looks.length} looks at the map in ${slices.size} tenths of an interval, at most ${most} in one`,
  );
  // Not all at once: with everybody in step one slice would have them all.
  if (looks.length >= 100) expect(most).toBeLessThan(looks.length / 2);
}

/** What they take while all of them wait: what is theirs alone (PSS), and the most that was resident. */
async function tellMemory({ services, server }: Fleet): Promise<void> {
  const megabytes = async (pid: number, file: string, name: string): Promise<number> => {
    const text = await readFile(`/proc/${pid}/${file}`, 'utf8');
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) / 1024;
  };
  const pids = services.map(({ pid }) => pid);
  const shares = await Promise.all(pids.map((pid) => megabytes(pid, 'smaps_rollup', 'Pss')));
  const peaks = await Promise.all(pids.map((pid) => megabytes(pid, 'status', 'VmHWM')));
  const sum = shares.reduce((all, one) => all + one, 0);
  const serverPeak = await megabytes(server.child.pid ?? 0, 'status', 'VmHWM');
  console.info(
    `${services.length} services: ${Math.round(sum)} MB together, at most ${Math.round(Math.max(...peaks))} MB ` +
      `resident in one; the server at most ${Math.round(serverPeak)} MB`,
  );
}

/** The module's ArtifactReboot writes when it was called. */
async function timeReboots({ device }: ServiceHarness): Promise<void> {
  const module = join(device.share, 'modules/v3', PAYLOAD_TYPE);
  const probe = await readFile(module, 'utf8');
  const noting = `[ "$1" = ArtifactReboot ] && date +%s%3N >'${device.control}/rebooted-at'\n`;
  await writeFile(module, probe.replace('\n', `\n${noting}`));
  await chmod(module, 0o755);
}

async function rebootMs({ device }: ServiceHarness): Promise<number> {
  return Number(await readFile(join(device.control, 'rebooted-at'), 'utf8'));
}

/** `kind reason` of each blocker. */
async function reasonsOf(service: ServiceHarness): Promise<readonly string[]> {
  const blockers = (await service.property('Blockers')) as readonly (readonly unknown[])[];
  return blockers.map(([, kind, , reason]) => `${String(kind)} ${String(reason)}`);
}

/**
 * Links that are bad for hours (design/faults.md R11, R14, R15), at any length: the running service, for which time runs
 * fast. What is slow here is slow by its clocks.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { expect } from 'vitest';
import { sampleOffer } from '../support/device-api.ts';
import { eventually } from '../support/eventually.ts';
import { FastTime } from '../support/fake-time.ts';
import { HOSTS, Island } from './island.ts';
import { wrapped } from './namespaces.ts';
import { expectPlan, POLL_SECONDS, sendRange, withRig, type Rig, type RigOptions } from './rig.ts';

const MINUTE_MS = 60_000;
/** Of the service, while the test waits. A loaded machine may take a second for anything; that is a minute here. */
const FACTOR = 60;
const PATIENCE_MS = 900_000;
/** A link is good for as long as silence is waited for, so that it has run out by then. */
const LINK_MS = 5 * MINUTE_MS;
/** As a device is configured: with back-off, and no report every eight seconds. */
const PATIENT = {
  menderConf: { RetryPollIntervalSeconds: 300, RetryPollCount: 0, RetryDownloadCount: 10 },
  holdpointConf: { DownloadReportInterval: 600 },
};

async function withFastTime(
  options: RigOptions,
  prepare: (rig: Rig, time: FastTime) => void | Promise<void>,
  use: (rig: Rig, time: FastTime) => Promise<void>,
): Promise<void> {
  let time: FastTime | undefined;
  try {
    await withRig(
      {
        ...PATIENT,
        ...options,
        environment: FastTime.environment(FACTOR),
        prepare: async (rig) => {
          time = new FastTime(rig.service.device.folder, FACTOR);
          await prepare(rig, time);
        },
      },
      (rig) => use(rig, time!),
    );
  } finally {
    time?.dispose();
  }
}

/** No name can be resolved for so long (R11). Resolves with the checks that were made, and what the log has of them. */
export async function liveWithoutNames(minutes: number): Promise<{ checks: number; logBytes: number }> {
  let hosts = '';
  const found = { checks: 0, logBytes: 0 };
  const withoutServer = '127.0.0.1 localhost\n';
  await withFastTime(
    { serverUrl: 'http://updates.holdpoint.test:1' },
    async ({ service, api }, time) => {
      hosts = join(service.device.folder, 'hosts');
      const names = join(service.device.folder, 'resolv.conf');
      await writeFile(hosts, withoutServer);
      await writeFile(names, 'nameserver 127.0.0.254\noptions timeout:1 attempts:1\n');
      const mounts = [`mount --bind '${hosts}' /etc/hosts`, `mount --bind '${names}' /etc/resolv.conf`];
      wrapped(service, [], [time.mount, ...mounts].join(' && '));
      const conf = join(service.device.conf, 'mender.conf');
      await writeFile(conf, readFileSync(conf, 'utf8').replace('.test:1"', `.test:${api.port}"`));
    },
    async (rig, time) => {
      const { service } = rig;
      const pid = service.pid;
      const checks = (): readonly unknown[] =>
        service.watch.signals.filter(({ member }) => member === 'CheckFinished').map(({ args }) => args[1]);
      await eventually(
        'the time without names is over',
        () => {
          if (!service.isRunning) throw new Error('the service has ended');
          return time.elapsedMs() >= minutes * MINUTE_MS;
        },
        PATIENCE_MS,
      );
      expect(service.pid).toBe(pid);
      expect(new Set(checks())).toEqual(new Set(['failed']));
      found.checks = checks().length;
      found.logBytes = Buffer.byteLength(await service.log());
      const seen = await rig.idle();
      expect(seen).toMatchObject({ ServerStatus: 'unreachable', LastResult: 'none' });
      expectPlan(seen, { nowMs: time.wallMs() });
      expect(rig.api.requests).toEqual([]);

      // By itself, at the latest when it has said.
      await writeFile(hosts, `${withoutServer.trim()} updates.holdpoint.test\n`);
      const backMs = time.elapsedMs();
      await service.waitFor('it finds the server', (now) => now['ServerStatus'] === 'authorized', 120_000);
      expect(time.elapsedMs() - backMs).toBeLessThan((POLL_SECONDS * 1.06 + 120) * 1000);
    },
  );
  return found;
}

/** A thousand bytes a minute, all in one answer (R14). */
export async function downloadSteadily(minutes: number): Promise<void> {
  const ranges: string[] = [];
  const timers: NodeJS.Timeout[] = [];
  try {
    await withFastTime(
      {},
      ({ service }, time) => wrapped(service, [], time.mount),
      async (rig, time) => {
        rig.fileAnswer = (request, response, bytes) => {
          ranges.push(request.headers.range ?? 'all');
          response.writeHead(200, { 'content-length': bytes.length, etag: '"1"' });
          let at = 0;
          const timer = setInterval(() => {
            response.write(bytes.subarray(at, (at += 1000)));
            if (at < bytes.length) return;
            clearInterval(timer);
            response.end();
          }, MINUTE_MS / FACTOR);
          timers.push(timer);
          response.on('close', () => clearInterval(timer));
        };
        const fromMs = time.elapsedMs();
        const id = rig.offer(await rig.publish({ payload: randomBytes(minutes * 1000) }));
        await rig.service.mustCall('CheckForUpdate');
        const end = await rig.service.waitForEnd(PATIENCE_MS);
        expect(end).toMatchObject({ LastResult: 'success', CurrentArtifactName: 'release-2' });
        // In one piece: nothing took the slow stream for a dead one.
        expect(ranges).toEqual(['all']);
        expect(time.elapsedMs() - fromMs).toBeGreaterThan(minutes * MINUTE_MS);
        await eventually('the server knows', () => rig.statuses(id).includes('success'), 60_000);
      },
    );
  } finally {
    for (const timer of timers) clearInterval(timer);
  }
}

/**
 * A link of so many kilobits a second, over which the file takes so long, from links that are good for five minutes each; twice
 * the storage falls silent on the way (R15).
 */
export async function downloadOverThinLink(minutes: number, kbits: number): Promise<void> {
  const island = await Island.create();
  /** Until when its link is good, for each request; and what became of it. */
  const asked: { readonly range: string; readonly isGood: boolean }[] = [];
  let links = 0;
  try {
    await withFastTime(
      { ...PATIENT, serverUrl: `http://${HOSTS.server}` },
      ({ service, api }, time) => {
        island.ports.server = api.port;
        island.settle(service, { setup: time.mount, rateKbit: kbits * FACTOR });
      },
      async (rig, time) => {
        const { service } = rig;
        const payload = randomBytes(Math.round((minutes * 60 * kbits * 1000) / 8));
        const { port, pathname } = new URL(await rig.publish({ payload }));
        island.ports.storage = Number(port);
        const id = randomUUID();
        rig.api.answerAlways('next-v2', (_request, response: ServerResponse) => {
          links += 1;
          const goodUntilMs = Math.round(time.elapsedMs() + LINK_MS);
          const uri = `http://${HOSTS.storage}${pathname}?until=${goodUntilMs}`;
          response
            .writeHead(200, { 'content-type': 'application/json' })
            .end(JSON.stringify(sampleOffer(id, 'release-2', uri)));
        });
        rig.fileAnswer = (request, response, bytes) => {
          const isGood = Number(/until=(\d+)/.exec(request.url ?? '')?.[1]) > time.elapsedMs();
          asked.push({ range: request.headers.range ?? 'all', isGood });
          if (isGood) sendRange(request, response, bytes);
          else response.writeHead(403).end();
        };
        const fromMs = time.elapsedMs();
        await service.mustCall('CheckForUpdate');
        const interruptions = async (): Promise<number> =>
          (await service.log()).split('The download was interrupted').length;
        for (const part of [0.3, 0.6]) {
          await service.waitFor(
            `${part} of it are there`,
            (seen) => Number(seen['DownloadedBytes']) > part * payload.length,
            PATIENCE_MS,
          );
          const before = await interruptions();
          await island.takeAway('storage');
          await eventually(
            'the silence is noticed',
            async () => (await interruptions()) > before,
            PATIENCE_MS,
          );
          await island.bringBack('storage');
        }
        const end = await service.waitForEnd(PATIENCE_MS);
        expect(end).toMatchObject({ LastResult: 'success', CurrentArtifactName: 'release-2' });
        expect(time.elapsedMs() - fromMs).toBeGreaterThan(minutes * MINUTE_MS * 0.8);
        rig.api.answerAlways('next-v2', null);
        await eventually('the server knows', () => rig.statuses(id).includes('success'), 60_000);
        // One deployment, one download; what had come was not asked for again.
        expect(await rig.calls('Download')).toBe(1);
        const begun = asked.findIndex(({ isGood }) => isGood) + 1;
        expect(asked.slice(0, begun).every(({ range }) => range === 'all')).toBe(true);
        const rest = asked.slice(begun);
        expect(rest.every(({ range }) => /^bytes=[1-9]\d*-/.test(range))).toBe(true);
        expect(rest.filter(({ isGood }) => !isGood).length).toBeGreaterThanOrEqual(2);
        expect(rest.filter(({ isGood }) => isGood).length).toBeGreaterThanOrEqual(2);
        expect(links).toBeGreaterThanOrEqual(3);
      },
    );
  } finally {
    await island.dispose();
  }
}

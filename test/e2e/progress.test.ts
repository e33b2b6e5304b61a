import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openClient } from '../../src/adapters/dbus/connection.ts';
import { getAll } from '../support/bus-client.ts';
import { ASK, makeArtifact } from '../support/device.ts';
import { bare, type Properties } from '../support/property-watch.ts';
import { randomFrom, seedFromEnvironment } from '../support/random.ts';
import { ServiceHarness, withService } from '../support/service.ts';
import { serveSlowly } from '../support/slow-web-server.ts';

/** One honest progress figure, over a download that takes its time (design/stories.md 7 and 8). */
const PAYLOAD_BYTES = 6 * 1024 * 1024;
const BYTES_PER_SECOND = 400 * 1024;
const LATE_CLIENTS = 40;

let folder: string;
let artifact: string;
let sizeBytes: number;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-progress-'));
  artifact = await makeArtifact({ folder }, { payload: randomBytes(PAYLOAD_BYTES) });
  sizeBytes = (await stat(artifact)).size;
});

afterAll(() => rm(folder, { recursive: true, force: true }));

function installUrl(service: ServiceHarness, url: string): Promise<unknown> {
  return service.mustCall('Install.InstallUrl', 'sa{sv}', [url, '0']);
}

async function readAll(address: string): Promise<Properties> {
  const client = await openClient(address);
  try {
    return bare(await getAll(client)) as Properties;
  } finally {
    client.close();
  }
}

/** What a client that was there from the start has seen, one state after the other. */
function statesSeen(service: ServiceHarness, first: Properties): readonly string[] {
  const states = [first];
  for (const { changed } of service.watch.changes) states.push({ ...states.at(-1), ...changed });
  return states.map(textOf);
}

function textOf(state: Properties): string {
  const entries = Object.entries(state).sort(([one], [other]) => (one < other ? -1 : 1));
  return JSON.stringify(entries, (_key, item: unknown) => (typeof item === 'bigint' ? `${item}n` : item));
}

describe.concurrent('a download at a steady rate', { timeout: 60_000 }, () => {
  it('is shown by one figure that never goes back, to whoever comes and whenever', async () => {
    const seed = seedFromEnvironment();
    console.log(`seed of the late clients: ${seed}`);
    const random = randomFrom(seed);
    const server = await serveSlowly(artifact, BYTES_PER_SECOND);
    try {
      await withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
        await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
        const first = await readAll(service.bus.address);
        const changesBefore = service.watch.changes.length;
        await installUrl(service, server.url);
        const begun = await service.waitFor('bytes come', (seen) => (seen['DownloadedBytes'] as bigint) > 0n);
        expect(begun).toMatchObject({ State: 'Download', Activity: 'downloading', RemainingSeconds: -1n });

        const durationMs = (sizeBytes / BYTES_PER_SECOND) * 1000;
        const late: Promise<Properties>[] = [];
        for (let count = 0; count < LATE_CLIENTS; count++) {
          late.push(readAll(service.bus.address));
          // Not a wait for anything: the moments are what is being tried.
          await sleep((random() * 2 * (durationMs - 1500)) / LATE_CLIENTS);
        }
        await service.release('ArtifactInstall_Enter');
        await service.waitForEnd();

        const changes = service.watch.changes.slice(changesBefore);
        const figures = changes.flatMap(({ changed }) =>
          'Progress' in changed ? [Number(changed['Progress'])] : [],
        );
        expect(figures.length).toBeGreaterThan(20);
        expect(figures).toEqual([...figures].sort((one, other) => one - other));
        expect(figures.filter((figure) => figure === 100)).toHaveLength(1);
        const hundred = changes.find(({ changed }) => changed['Progress'] === 100);
        expect(hundred?.changed['LastResult']).toBe('success');
        const bytes = changes.flatMap(({ changed }) =>
          'DownloadedBytes' in changed ? [Number(changed['DownloadedBytes'])] : [],
        );
        expect(bytes).toEqual([...bytes].sort((one, other) => one - other));
        expect(bytes.at(-1)).toBe(sizeBytes);

        // Steps may come at any time; what only tells of progress comes at most four times a second.
        const figuresOnly = changes.filter(
          ({ changed }) => !('Step' in changed) && 'DownloadedBytes' in changed,
        );
        for (const { atMs } of figuresOnly) {
          const inOneSecond = figuresOnly.filter((other) => other.atMs >= atMs && other.atMs < atMs + 1000);
          expect(inOneSecond.length).toBeLessThanOrEqual(5);
        }
        const spanMs = (figuresOnly.at(-1)?.atMs ?? 0) - (figuresOnly[0]?.atMs ?? 0);
        expect((figuresOnly.length - 1) / (spanMs / 1000)).toBeLessThanOrEqual(4.2);

        const firstBytesMs =
          changes.find(({ changed }) => Number(changed['DownloadedBytes'] ?? 0) > 0)?.atMs ?? 0;
        const estimates = changes.flatMap(({ changed, atMs }) =>
          Number(changed['RemainingSeconds'] ?? -1) >= 0
            ? [{ atMs, seconds: Number(changed['RemainingSeconds']) }]
            : [],
        );
        expect(estimates.length).toBeGreaterThan(0);
        // Ten seconds of data come first; the clocks are those of two processes.
        expect((estimates[0]?.atMs ?? 0) - firstBytesMs).toBeGreaterThan(9_500);
        const endMs =
          changes.find(
            ({ changed }) =>
              changed['Step'] === 'Download_Leave' || changed['WaitPoint'] === 'ArtifactInstall_Enter',
          )?.atMs ?? 0;
        for (const { atMs, seconds } of estimates) {
          const trulyLeft = (endMs - atMs) / 1000;
          expect(Math.abs(seconds - trulyLeft)).toBeLessThanOrEqual(Math.max(1.5, trulyLeft * 0.3));
        }

        const seen = new Set(statesSeen(service, first));
        const states = await Promise.all(late);
        expect(states.filter((state) => !seen.has(textOf(state))).map((state) => state['Step'])).toEqual([]);
        expect(new Set(states.map((state) => String(state['DownloadedBytes']))).size).toBeGreaterThan(10);
        expect(server.requests).toBe(1);
        // The query of a link is a credential.
        expect(await service.log()).not.toContain('signature=secret');
      });
    } finally {
      await server.close();
    }
  });

  it('stands still while paused, and goes on where it was', async () => {
    const server = await serveSlowly(artifact, 8 * BYTES_PER_SECOND);
    try {
      await withService({}, async (service) => {
        const id = String(await installUrl(service, server.url));
        await service.waitFor('bytes come', (seen) => (seen['DownloadedBytes'] as bigint) > 500_000n);
        await service.mustCall('Pause', 's', [id]);
        const paused = await service.waitFor('it is paused', (seen) => seen['Paused'] === true);
        expect(paused['AllowedActions']).toContain('resume');
        // The block that was on its way when it was suspended is the last one that counts.
        await sleep(400);
        const before = service.watch.present()?.['DownloadedBytes'];
        const sentBefore = server.sentBytes();
        await sleep(1200);
        expect(service.watch.present()?.['DownloadedBytes']).toBe(before);
        // Back-pressure reaches the server: what it could still send is what buffers hold.
        expect(server.sentBytes() - sentBefore).toBeLessThan(PAYLOAD_BYTES / 2);
        expect(service.watch.present()).toMatchObject({ Step: 'Download', Paused: true });

        await service.mustCall('Resume', 's', [id]);
        expect(await service.waitForEnd()).toMatchObject({
          LastResult: 'success',
          DownloadedBytes: BigInt(sizeBytes),
        });
        expect(server.requests).toBe(1);
      });
    } finally {
      await server.close();
    }
  });

  for (const isPaused of [false, true]) {
    it(`ends soon after Abort${isPaused ? ', also while paused' : ''}`, async () => {
      const server = await serveSlowly(artifact, BYTES_PER_SECOND);
      try {
        await withService({}, async (service) => {
          const id = String(await installUrl(service, server.url));
          await service.waitFor('bytes come', (seen) => (seen['DownloadedBytes'] as bigint) > 100_000n);
          if (isPaused) await service.mustCall('Pause', 's', [id]);
          await service.mustCall('Abort', 'ss', [id, 'not now']);
          expect(await service.waitForEnd(10_000)).toMatchObject({
            LastResult: 'aborted',
            LastErrorName: 'io.holdpoint.Update1.Failure.AbortedByUser',
            CurrentArtifactName: 'unknown',
          });
          const calls = await service.device.calls();
          expect(calls.at(-1)).toBe('Cleanup');
          expect(calls).not.toContain('ArtifactInstall');
        });
      } finally {
        await server.close();
      }
    });
  }
});

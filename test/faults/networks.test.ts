/**
 * Downloads over networks that lose every packet, for a while or for good, and through proxies that die (design/faults.md
 * R12, R13, R19, R21): the running service in a network namespace of its own.
 */
import { createServer as createHttpServer, request as httpRequest } from 'node:http';
import { resolve } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { Island, HOSTS } from './island.ts';
import { expectPlan, sendRange, withRig, type Rig, type RigOptions } from './rig.ts';
import { Listener } from './sockets.ts';

vi.setConfig({ testTimeout: 240_000 });
/** Limits of minutes are met in seconds: see hurry.cjs. */
const HURRY = { NODE_OPTIONS: `--require ${resolve('test/faults/hurry.cjs')}` };
const DOWNLOAD_FAILURE = 'io.holdpoint.Update1.Failure.Download';
const AHEAD_BYTES = 2_000;

async function onIsland(
  options: RigOptions,
  use: (rig: Rig, island: Island, publish: (name?: string) => Promise<string>) => Promise<void>,
): Promise<void> {
  const island = await Island.create();
  try {
    await withRig(
      {
        ...options,
        serverUrl: `http://${HOSTS.server}`,
        environment: HURRY,
        prepare: ({ service, api }) => {
          island.ports.server = api.port;
          island.settle(service);
        },
      },
      (rig) =>
        use(rig, island, async (name = 'release-2') => {
          const { port, pathname } = new URL(await rig.publish({ name }));
          island.ports.storage = Number(port);
          return `http://${HOSTS.storage}${pathname}`;
        }),
    );
  } finally {
    await island.dispose();
  }
}

/** The first answer stops in the middle of the file without ending; the others are proper. */
function stopsInTheMiddle(rig: Rig): { readonly ranges: readonly string[] } {
  const ranges: string[] = [];
  rig.fileAnswer = (request, response, bytes) => {
    ranges.push(request.headers.range ?? 'all');
    if (ranges.length > 1) return sendRange(request, response, bytes);
    response.writeHead(200, { 'content-length': bytes.length, etag: '"1"' });
    response.write(bytes.subarray(0, AHEAD_BYTES));
  };
  return { ranges };
}

describe.concurrent('a download', () => {
  it('whose packets vanish in the middle goes on where it was as soon as they come again (R12)', () =>
    onIsland({ menderConf: { RetryDownloadCount: 10_000 } }, async (rig, island, publish) => {
      const { service } = rig;
      const { ranges } = stopsInTheMiddle(rig);
      const id = rig.offer(await publish());
      await service.mustCall('CheckForUpdate');
      await service.waitFor(
        'the first bytes are there',
        (seen) => seen['Step'] === 'Download' && ranges.length === 1,
        60_000,
      );
      await island.takeAway('storage');
      // Silence is noticed, and trying again leads nowhere yet.
      await eventually(
        'it has noticed',
        async () => /nothing came for|Connect Timeout|timeout/i.test(await service.log()),
        60_000,
      );
      expect(await service.property('Step')).toBe('Download');
      await island.bringBack('storage');
      const end = await service.waitFor('the end', (seen) => seen['LastResult'] !== 'none', 60_000);
      expect(end).toMatchObject({ LastResult: 'success', CurrentArtifactName: 'release-2' });
      await rig.idle();
      expect(ranges.slice(0, 2)).toEqual(['all', expect.stringMatching(/^bytes=[1-9]\d*-/)]);
      expect(await rig.calls('Download')).toBe(1);
      expect(rig.statuses(id).at(-1)).toBe('success');
    }));

  it('whose link stays cut for longer than all tries fails, is told once, and the next poll works (R13)', () =>
    onIsland({ menderConf: { RetryDownloadCount: 2 } }, async (rig, island, publish) => {
      const { service } = rig;
      const { ranges } = stopsInTheMiddle(rig);
      const id = rig.offer(await publish());
      await service.mustCall('CheckForUpdate');
      await service.waitFor(
        'the first bytes are there',
        (seen) => seen['Step'] === 'Download' && ranges.length === 1,
        60_000,
      );
      await island.takeAway('storage');
      const end = await service.waitFor(
        'the end',
        (seen) => seen['LastResult'] !== 'none' && seen['DeploymentId'] === '',
        120_000,
      );
      expect(end).toMatchObject({ LastResult: 'failure', LastErrorName: DOWNLOAD_FAILURE });
      expectPlan(await rig.idle());
      expect(rig.statuses(id).filter((status) => status === 'failure')).toHaveLength(1);
      expect(ranges).toHaveLength(1);
      rig.api.offer(null);
      await rig.pollsAgain();
      await island.bringBack('storage');
      expect((await rig.deploy(await publish('release-3'), 'release-3')).end).toMatchObject({
        LastResult: 'success',
      });
    }));

  it('from a storage that a firewall drops the packets of fails with its name, and the server hears of it (R21)', () =>
    onIsland({ menderConf: { RetryDownloadCount: 1 } }, async (rig, island, publish) => {
      const url = await publish();
      await island.takeAway('storage');
      const { id, end } = await rig.deploy(url);
      expect(end).toMatchObject({ LastResult: 'failure', LastErrorName: DOWNLOAD_FAILURE });
      expect(String(end['LastErrorMessage'])).toContain(HOSTS.storage);
      expect(end['LastErrorDetails']).toMatchObject({ host: HOSTS.storage });
      expect(rig.statuses(id).at(-1)).toBe('failure');
      await rig.pollsAgain();
    }));

  it('through a proxy that dies in the middle goes on when there is a proxy again (R19)', async () => {
    let storage = 0;
    let cutAfter = AHEAD_BYTES;
    const died: Promise<void>[] = [];
    const proxy: Listener = new Listener(
      createHttpServer((request, response) => {
        const { host, pathname } = new URL(request.url ?? '');
        expect(host).toBe('files.holdpoint.test');
        const far = httpRequest(
          { host: '127.0.0.1', port: storage, path: pathname, headers: request.headers },
          (answer) => {
            response.writeHead(answer.statusCode ?? 502, answer.headers);
            let passed = 0;
            answer.on('data', (chunk: Buffer) => {
              passed += chunk.length;
              if (cutAfter === 0) return void response.write(chunk);
              response.write(chunk.subarray(0, cutAfter), () => {
                if (cutAfter > 0 && passed >= cutAfter) {
                  cutAfter = 0;
                  died.push(proxy.close());
                }
              });
            });
            answer.on('end', () => response.end()).on('error', () => response.destroy());
          },
        );
        far.on('error', () => response.destroy()).end();
      }),
    );
    const port = await proxy.listen();
    try {
      await withRig(
        {
          menderConf: { RetryDownloadCount: 10_000 },
          environment: { http_proxy: `http://127.0.0.1:${port}`, no_proxy: '' },
        },
        async (rig) => {
          rig.fileAnswer = sendRange;
          const url = new URL(await rig.publish());
          storage = Number(url.port);
          const id = rig.offer(`http://files.holdpoint.test${url.pathname}`);
          await rig.service.mustCall('CheckForUpdate');
          await eventually('the proxy has died', () => died.length > 0, 60_000);
          await Promise.all(died);
          await eventually(
            'it has noticed',
            async () => /ECONNREFUSED/.test(await rig.service.log()),
            60_000,
          );
          await proxy.listen(port);
          const end = await rig.service.waitFor('the end', (seen) => seen['LastResult'] !== 'none', 60_000);
          expect(end).toMatchObject({ LastResult: 'success' });
          await rig.idle();
          expect(rig.statuses(id).at(-1)).toBe('success');
          expect(await rig.calls('Download')).toBe(1);
        },
      );
    } finally {
      await proxy.close();
    }
  });
});

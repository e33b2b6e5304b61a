/**
 * Faults of the way to the server (design/faults.md R7, R10, R11, R12, R19, R20): names that cannot be resolved, networks
 * and servers that swallow everything, proxies that die, certificates of others and of other times, a clock at 1970. The
 * running service is idle after each, says when it asks next, and finds the server as soon as the way is free again.
 */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Lab } from '../integration/server/lab.ts';
import { startDeviceApi, type DeviceApi } from '../support/device-api.ts';
import { eventually } from '../support/eventually.ts';
import { steppedClock } from '../support/fake-time.ts';
import { wrapped } from './namespaces.ts';
import { expectPlan, withRig, type Rig } from './rig.ts';
import { Listener, pipeTo } from './sockets.ts';

// Many services side by side, on a machine that may have other things to do.
vi.setConfig({ testTimeout: 240_000 });

const HURRY = { NODE_OPTIONS: `--require ${resolve('test/faults/hurry.cjs')}` };

/** A check that finds no server. Returns what the log says of it. */
async function fails(rig: Rig, what: string): Promise<string> {
  const from = (await rig.service.log()).length;
  const { result, seen } = await rig.poll();
  expect(result, what).toBe('failed');
  expectPlan(seen);
  expect(seen, what).toMatchObject({ State: 'Idle', LastResult: 'none', CurrentArtifactName: 'unknown' });
  return (await rig.service.log()).slice(from);
}

let lab: Lab;
const apis: DeviceApi[] = [];
beforeAll(() => {
  lab = new Lab();
  lab.authority('ca');
  lab.authority('other');
  lab.certificate('server', 'ca', 'IP:127.0.0.1,DNS:updates.holdpoint.test');
  lab.certificate('stranger', 'other');
  lab.certificate('elsewhere', 'ca', 'DNS:files.example');
  lab.certificate('expired', 'ca', undefined, ['20200101000000Z', '20210101000000Z']);
  lab.certificate('future', 'ca', undefined, ['20900101000000Z', '20910101000000Z']);
});
afterAll(async () => {
  await Promise.all(apis.map((api) => api.close()));
  await lab.dispose();
});

const tls = (name: string) => ({
  cert: readFileSync(lab.at(`${name}.crt`)),
  key: readFileSync(lab.at(`${name}.key`)),
});

async function tlsServer(name: string): Promise<DeviceApi> {
  const api = await startDeviceApi({ tls: tls(name) });
  apis.push(api);
  return api;
}

describe.concurrent('the running service', () => {
  it('gets no further than a certificate of somebody else, another name or another date, and asks again (R10)', async () => {
    let target = 0;
    const relay = new Listener(createServer((socket) => pipeTo(socket, target)));
    const plain = new Listener(createServer((socket) => void socket.end('HTTP/1.1 200 OK\r\n\r\n')));
    const mute = new Listener(createServer((socket) => void socket.destroy()));
    try {
      const port = await relay.listen();
      const others = new Map<string, number>([
        ['plain', await plain.listen()],
        ['mute', await mute.listen()],
      ]);
      for (const name of ['stranger', 'elsewhere', 'expired', 'future']) {
        others.set(name, (await tlsServer(name)).port);
      }
      await withRig(
        {
          api: { tls: tls('server') },
          serverUrl: `https://127.0.0.1:${port}`,
          menderConf: { ServerCertificate: lab.at('ca.crt') },
          prepare: (rig) => void (target = rig.api.port),
        },
        async (rig) => {
          await rig.pollsAgain();
          for (const [name, elsewhere] of others) {
            target = elsewhere;
            relay.drop();
            const log = await fails(rig, name);
            if (name === 'expired') expect(log).toContain('certificate has expired');
            if (name === 'stranger') expect(log).toMatch(/self.signed|unable to/i);
          }
          for (const api of apis) expect(api.requests).toEqual([]);
          target = rig.api.port;
          relay.drop();
          await rig.pollsAgain();
        },
      );
    } finally {
      await Promise.all([relay, plain, mute].map((one) => one.close()));
    }
  });

  it('that is at 1970 says that its clock is wrong, marks nothing as failed, and goes on when it is right (R7)', () =>
    withRig(
      {
        api: { tls: tls('server') },
        menderConf: { ServerCertificate: lab.at('ca.crt') },
      },
      async (rig) => {
        await rig.pollsAgain();
        await rig.service.terminate();
        const clock = await steppedClock(join(rig.service.device.folder, 'time'));
        await clock.step('@1970-01-02 00:05:00');
        await rig.service.start({ environment: clock.environment });
        const { result, seen } = await rig.poll();
        expect(result).toBe('failed');
        expect(seen).toMatchObject({ LastResult: 'none', ServerStatus: 'waiting-for-clock' });
        expect(rig.api.of('status')).toEqual([]);
        expectPlan(seen, { nowMs: Date.UTC(1970, 0, 2, 0, 5) });
        expect(await rig.service.log()).toMatch(/the clock of this device says 1970-01-0\d.*cannot be right/);
        await clock.step('+0');
        await eventually(
          'the clock is right again',
          async () => (await rig.poll()).result === 'up-to-date',
          30_000,
        );
        const later = await rig.idle();
        expect(later['ServerStatus']).toBe('authorized');
        expectPlan(later);
      },
    ));

  it('outlives a proxy that refuses, closes or dies, also in the middle of an update (R19)', async () => {
    let target = 0;
    let tunnels = 0;
    let mode: 'good' | '407' | '502' | 'cut' = 'good';
    const proxy = new Listener(
      createHttpServer().on('connect', (request, socket: Socket) => {
        socket.on('error', () => undefined);
        tunnels += 1;
        if (mode === '407') return void socket.end('HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n');
        if (mode === '502') return void socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
        if (mode === 'cut') return void socket.destroy();
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        expect(request.url).toBe('updates.holdpoint.test:443');
        pipeTo(socket, target);
      }),
    );
    try {
      const port = await proxy.listen();
      await withRig(
        {
          api: { tls: tls('server') },
          // The device itself is never asked for through a proxy; who answers for the name is the proxy's affair.
          serverUrl: 'https://updates.holdpoint.test',
          prepare: (rig) => void (target = rig.api.port),
          menderConf: { ServerCertificate: lab.at('ca.crt') },
          environment: { https_proxy: `http://127.0.0.1:${port}`, no_proxy: '' },
        },
        async (rig) => {
          await rig.pollsAgain();
          for (mode of ['407', '502', 'cut'] as const) {
            proxy.drop();
            tunnels = 0;
            await fails(rig, mode);
            // The check, its repetition and perhaps one of the schedule; not as many as there is time for.
            expect(tunnels, mode).toBeLessThanOrEqual(8);
          }
          mode = 'good';
          await rig.pollsAgain();
          await proxy.close();
          await fails(rig, 'no proxy');
          await proxy.listen(port);
          await rig.pollsAgain();
          // It dies while the module works: reports are lost, and the one before the commit for good.
          const id = rig.offer(await rig.publish());
          await rig.service.device.order('ArtifactInstall', 'wait');
          const polled = rig.poll();
          await eventually(
            'the module works',
            async () => (await rig.calls('ArtifactInstall')) === 1,
            120_000,
          );
          await proxy.close();
          await rig.service.device.cancelOrder('ArtifactInstall', 'wait');
          const { seen } = await polled;
          expect(seen).toMatchObject({ LastResult: 'rolled-back', CurrentArtifactName: 'unknown' });
          expectPlan(seen);
          expect(rig.statuses(id)).not.toContain('success');
          await proxy.listen(port);
          // The server still offers it, which is told again that it failed; what it offers next goes through.
          expect((await rig.poll()).result).toBe('set-aside');
          await eventually('it is told', () => rig.statuses(id).at(-1) === 'failure');
          rig.offer(await rig.publish({ name: 'release-3' }), 'release-3');
          expect((await rig.poll()).seen).toMatchObject({ LastResult: 'success' });
          rig.api.offer(null);
          await rig.pollsAgain();
        },
      );
    } finally {
      await proxy.close();
    }
  });

  it('lives without name resolution, and finds the server when names are there again (R11)', () => {
    let hosts = '';
    return withRig(
      {
        serverUrl: 'http://updates.holdpoint.test:1',
        prepare: async ({ service, api }) => {
          hosts = join(service.device.folder, 'hosts');
          const names = join(service.device.folder, 'resolv.conf');
          await writeFile(hosts, '127.0.0.1 localhost\n');
          // Nobody answers there, which is told at once.
          await writeFile(names, 'nameserver 127.0.0.254\noptions timeout:1 attempts:1\n');
          wrapped(
            service,
            [],
            `mount --bind '${hosts}' /etc/hosts && mount --bind '${names}' /etc/resolv.conf`,
          );
          const conf = join(service.device.conf, 'mender.conf');
          const text = readFileSync(conf, 'utf8');
          await writeFile(conf, text.replace('.test:1"', `.test:${api.port}"`));
        },
      },
      async (rig) => {
        for (let count = 0; count < 3; count++) {
          const log = await fails(rig, 'no names');
          expect(log).toMatch(/EAI_AGAIN|ENOTFOUND|getaddrinfo/);
        }
        await writeFile(hosts, '127.0.0.1 localhost updates.holdpoint.test\n');
        await rig.pollsAgain();
        await writeFile(hosts, '127.0.0.1 localhost\n');
        const id = rig.offer(await rig.publish());
        // A connection is kept; names are asked for anew when the server has closed it.
        rig.api.answerNext('next-v2', (_request, _response, socket) => void socket.destroy());
        await fails(rig, 'no names again');
        await writeFile(hosts, '127.0.0.1 localhost updates.holdpoint.test\n');
        expect((await rig.poll()).seen).toMatchObject({ LastResult: 'success' });
        expect(rig.statuses(id).at(-1)).toBe('success');
      },
    );
  });

  it('leaves a network that swallows every packet, and asks again (R11, R12)', () =>
    withRig(
      {
        serverUrl: 'http://198.51.100.7',
        environment: HURRY,
        prepare: ({ service }) => wrapped(service, ['--net'], BLACK_HOLE),
      },
      async (rig) => {
        expect(await fails(rig, 'black hole')).toMatch(/Connect Timeout|ETIMEDOUT|EHOSTUNREACH/i);
        await fails(rig, 'black hole again');
      },
    ));

  it('leaves a server that takes a request and never answers, or stops in the middle, at each endpoint (R12)', () =>
    withRig({ environment: HURRY }, async (rig) => {
      await rig.pollsAgain();
      rig.api.answerAlways('next-v2', () => undefined);
      await fails(rig, 'no answer');
      rig.api.answerAlways('next-v2', (_request, response) => void response.writeHead(200).write('{"id":'));
      await fails(rig, 'half an answer');
      rig.api.answerAlways('next-v2', null);
      rig.api.revokeTokens();
      rig.api.answerAlways('auth', () => undefined);
      await fails(rig, 'no token');
      rig.api.answerAlways('auth', null);
      await rig.pollsAgain();
      const id = rig.offer(await rig.publish());
      rig.api.answerAlways('status', () => undefined);
      const { seen } = await rig.poll();
      expect(seen).toMatchObject({ LastResult: 'rolled-back', CurrentArtifactName: 'unknown' });
      expect(rig.statuses(id)).not.toContain('success');
      rig.api.offer(null);
      rig.api.answerAlways('status', null);
      await rig.pollsAgain();
    }));

  it('waits for a slow answer that comes (R14)', () =>
    withRig({}, async (rig) => {
      await rig.pollsAgain();
      const url = await rig.publish();
      const id = rig.offer(url);
      const slowly =
        (text: string) => async (_request: unknown, response: import('node:http').ServerResponse) => {
          response.writeHead(200, { 'content-type': 'application/json' });
          for (const character of text.match(/.{1,40}/gs) ?? []) {
            await new Promise((done) => response.write(character, done));
            await new Promise((done) => setTimeout(done, 100));
          }
          response.end();
        };
      const offer = {
        id,
        artifact: {
          artifact_name: 'release-2',
          device_types_compatible: ['test-device'],
          source: { uri: url },
        },
      };
      rig.api.answerNext('next-v2', slowly(JSON.stringify(offer)));
      expect((await rig.poll()).seen).toMatchObject({ LastResult: 'success' });
    }));
});

/** A cable whose other end takes every packet and says nothing. */
const BLACK_HOLE = [
  'ip link set lo up',
  'ip link add near type veth peer name far',
  'ip addr add 198.51.100.1/24 dev near',
  'ip link set near up',
  'ip link set far up',
  'ip neigh add 198.51.100.7 lladdr 02:00:00:00:00:01 dev near',
].join(' && ');

/**
 * Several servers, and the signals of a Mender client (spec/server-api.md section 10, spec/configuration.md section 4.4), with
 * the running service.
 */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it, vi } from 'vitest';
import { startDeviceApi } from '../support/device-api.ts';
import { eventually } from '../support/eventually.ts';
import { expectPlan, POLL_SECONDS, withRig } from './rig.ts';
import { Listener, pipeTo } from './sockets.ts';

vi.setConfig({ testTimeout: 240_000 });

describe.concurrent('a device with several servers', () => {
  it('stays with the one that took it, and goes to the next when that answers no more, and back', async () => {
    const first = await startDeviceApi();
    const relay = new Listener(createServer((socket) => pipeTo(socket, first.port)));
    try {
      const port = await relay.listen();
      await withRig(
        {
          prepare: async ({ service, api }) => {
            const conf = join(service.device.conf, 'mender.conf');
            const { ServerURL: _one, ...rest } = JSON.parse(await readFile(conf, 'utf8')) as {
              ServerURL: string;
            };
            const Servers = [{ ServerURL: `http://127.0.0.1:${port}` }, { ServerURL: api.url }];
            await writeFile(conf, JSON.stringify({ ...rest, Servers }));
          },
        },
        async (rig) => {
          await rig.pollsAgain();
          expect(rig.api.requests).toEqual([]);
          // What it answers is an answer: only silence leads elsewhere.
          first.answerNext('next-v2', { status: 500 });
          expect((await rig.poll()).result).toBe('failed');
          expect(rig.api.requests).toEqual([]);

          await relay.close();
          await rig.pollsAgain();
          expect(rig.api.calls().slice(0, 2)).toEqual(['auth', 'next-v2']);
          // It stays there, also when the first is back.
          await relay.listen(port);
          const before = first.requests.length;
          const { end } = await rig.deploy(await rig.publish());
          expect(end).toMatchObject({ LastResult: 'success' });
          // But for the authentication before the commit, which asks the first again.
          expect(first.calls().slice(before)).toContain('auth');
          await rig.pollsAgain();
          expect(first.of('next-v2').length).toBeGreaterThan(2);
        },
      );
      expect(first.problems).toEqual([]);
    } finally {
      await relay.close();
      await first.close();
    }
  });

  it('says that none answers, gives up after its tries, and says when it asks again', () =>
    withRig({}, async (rig) => {
      await rig.pollsAgain();
      rig.api.answerAlways('next-v2', (_request, _response, socket) => void socket.destroy());
      rig.api.answerAlways('auth', (_request, _response, socket) => void socket.destroy());
      const { result, seen } = await rig.poll();
      expect(result).toBe('failed');
      expect(seen['ServerStatus']).toBe('unreachable');
      expectPlan(seen);
      // When all tries are used up, the usual interval is what it says.
      const isUsual = (now: typeof seen): boolean =>
        now['Step'] === 'Idle' &&
        Number(now['NextCheckUSec']) / 1000 - Date.now() > 0.9 * POLL_SECONDS * 1000;
      expectPlan(await rig.service.waitFor('it has given up', isUsual, 60_000));
      // With one server nothing is won by an authentication.
      expect(rig.api.of('auth')).toHaveLength(1);
      rig.api.answerAlways('next-v2', null);
      rig.api.answerAlways('auth', null);
      await rig.pollsAgain();
    }));
});

describe.concurrent('the signals of a Mender client', () => {
  it('SIGUSR1 has it check and SIGUSR2 send the inventory, at once when idle, else when it is idle again', () =>
    withRig(
      {
        prepare: async ({ service: { device } }) => {
          const program = join(device.share, 'inventory/mender-inventory-probe');
          await mkdir(join(device.share, 'inventory'), { recursive: true });
          await writeFile(program, `#!/bin/sh\ncat '${device.control}/inventory.value'\n`, { mode: 0o755 });
          await device.order('inventory', 'value', 'probe=first');
        },
      },
      async (rig) => {
        const { service, api } = rig;
        const count = (endpoint: 'next-v2' | 'inventory'): number => api.of(endpoint).length;
        await rig.pollsAgain();
        let [checks, inventories] = [count('next-v2'), count('inventory')];
        process.kill(service.pid, 'SIGUSR1');
        await eventually('it checks', () => count('next-v2') > checks, 60_000);
        await rig.idle();
        expect(count('inventory')).toBe(inventories);
        // The same again would not be sent.
        await service.device.order('inventory', 'value', 'probe=second');
        checks = count('next-v2');
        process.kill(service.pid, 'SIGUSR2');
        await eventually('the inventory is sent', () => count('inventory') > inventories, 60_000);
        await rig.idle();
        expect(count('next-v2')).toBe(checks);

        const id = rig.offerOnce(await rig.publish(), 'release-2', null);
        await service.device.order('ArtifactInstall', 'wait');
        process.kill(service.pid, 'SIGUSR1');
        await eventually('the module works', async () => (await rig.calls('ArtifactInstall')) === 1, 60_000);
        [checks, inventories] = [count('next-v2'), count('inventory')];
        process.kill(service.pid, 'SIGUSR1');
        process.kill(service.pid, 'SIGUSR2');
        // The service has heard both before it answers this.
        expect(await service.property('Step')).toBe('ArtifactInstall');
        expect([count('next-v2'), count('inventory')]).toEqual([checks, inventories]);
        await service.device.order('inventory', 'value', 'probe=third');
        await service.device.cancelOrder('ArtifactInstall', 'wait');
        expect((await rig.endOf(id))['LastResult']).toBe('success');
        await eventually('it checks', () => count('next-v2') > checks, 60_000);
        await eventually('the inventory is sent', () => count('inventory') > inventories, 60_000);
      },
    ));
});

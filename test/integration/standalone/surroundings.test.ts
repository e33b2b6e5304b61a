import { createReadStream, existsSync } from 'node:fs';
import { copyFile, readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { actionOf } from '../../support/chain.ts';
import { holdpoint, startCommand } from '../../support/command.ts';
import { ASK, makeKeys } from '../../support/device.ts';
import { eventually } from '../../support/eventually.ts';
import { withService } from '../../support/service.ts';
import { makeShelf, withBench, type ArtifactShelf } from './support.ts';

/** Standalone work and what is around it: other processes, the first start, bad artifacts, damaged files. */
let shelf: ArtifactShelf;
let artifact: string;
let empty: string;
beforeAll(async () => {
  shelf = await makeShelf();
  artifact = await shelf.make();
  empty = await shelf.make({
    name: 'factory-1',
    isEmpty: true,
    scripts: [],
    more: ['--provides', 'board.version:7', '--provides-group', 'beta'],
  });
});
afterAll(() => shelf.dispose());

describe('one writer', () => {
  it('a second command is refused and names the first', () =>
    withBench({}, async (bench) => {
      await bench.device.order(actionOf('I'), 'wait');
      const running = await startCommand(bench.device, ['install', '--standalone', artifact]);
      await eventually('the installation runs', async () =>
        (await bench.device.calls()).includes('ArtifactInstall'),
      );
      const second = await bench.run(['rollback']);
      expect(second.status).toBe(1);
      expect(second.stderr).toMatch(
        new RegExp(`^holdpoint: rolling back: .*holdpoint install.*${String(running.child.pid)}.*\n$`),
      );
      // Looking needs no lock.
      expect((await bench.run(['show-artifact'])).stdout).toBe('unknown\n');
      await bench.device.cancelOrder(actionOf('I'), 'wait');
      expect((await running.ended).status).toBe(0);
    }));

  it('the service keeps commands out, and they see what is installed all the same', () =>
    withService({}, async ({ device }) => {
      const refused = await holdpoint(device, ['install', '--standalone', artifact]);
      expect(refused.status).toBe(1);
      expect(refused.stderr).toMatch(/^holdpoint: installing .*holdpointd.*\n$/);
      expect((await holdpoint(device, ['show-provides'])).stdout).toBe('artifact_name=unknown\n');
    }));

  it('an update the service was killed in is the service’s to end', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await service.install(artifact);
      await service.waitAt('ArtifactInstall_Enter');
      await service.kill9();
      const refused = await holdpoint(service.device, ['install', '--standalone', artifact]);
      expect(refused.status).toBe(1);
      expect(refused.stderr).toMatch(
        /^holdpoint: installing .*middle of an update \(ArtifactInstall_Enter\).*\n$/,
      );
    }));
});

describe('the first start', () => {
  it('takes over the bootstrap artifact, and removes it', () =>
    withBench({}, async (bench) => {
      const bootstrap = join(bench.device.data, 'bootstrap.mender');
      await copyFile(empty, bootstrap);
      expect((await bench.run(['show-provides'])).stdout).toBe(
        'artifact_group=beta\nartifact_name=factory-1\nboard.version=7\n',
      );
      expect(existsSync(bootstrap)).toBe(false);
      expect(await bench.name()).toBe('factory-1');
    }));

  it.each([
    ['no bootstrap artifact', async () => {}],
    ['one that is damaged', (path: string) => writeFile(path, 'not an artifact')],
    ['one with a payload', (path: string) => copyFile(artifact, path)],
  ])('with %s the name is unknown', (_, put) =>
    withBench({}, async (bench) => {
      const bootstrap = join(bench.device.data, 'bootstrap.mender');
      await put(bootstrap);
      expect(await bench.name()).toBe('unknown');
      expect(existsSync(bootstrap)).toBe(false);
    }),
  );

  it('removes a bootstrap artifact that comes too late, unused, at the next install', () =>
    withBench({}, async (bench) => {
      expect(await bench.name()).toBe('unknown');
      await copyFile(empty, join(bench.device.data, 'bootstrap.mender'));
      await bench.install(artifact);
      expect(existsSync(join(bench.device.data, 'bootstrap.mender'))).toBe(false);
      expect(await bench.name()).toBe('unknown');
    }));
});

describe('artifacts', () => {
  it('come from web servers as well', () =>
    withBench({ supportsRollback: false }, async (bench) => {
      const { size } = await stat(artifact);
      const server = createServer((_request, response) => {
        response.writeHead(200, { 'content-length': size });
        createReadStream(artifact).pipe(response);
      });
      await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/release-2.mender`;
      const result = await bench.install(url);
      await new Promise((closed) => server.close(closed));
      expect(result.status).toBe(0);
      expect(result.stdout).toContain('100 % Streaming');
      expect(await bench.name()).toBe('release-2');
    }));

  it('without payload are committed at once, but only if they fit', () =>
    withBench({}, async (bench) => {
      const picky = await shelf.make({
        name: 'factory-2',
        isEmpty: true,
        scripts: [],
        more: ['--depends', 'board.version:8'],
      });
      expect((await bench.install(empty)).status).toBe(0);
      const refused = await bench.install(picky);
      expect(refused.status).toBe(1);
      expect(refused.stderr).toContain('board.version');
      expect(await bench.name()).toBe('factory-1');
      expect(await bench.chain()).toBe('');
    }));

  it('that are truncated, unsigned where a key is configured, for another device or without a module call nothing', () =>
    withBench({}, async (bench) => {
      const cut = join(bench.device.folder, 'cut.mender');
      await copyFile(artifact, cut);
      await truncate(cut, 2000);
      const other = await shelf.make({ name: 'other', deviceType: 'other-device' });
      const moduleless = await shelf.make({ name: 'moduleless', payloadType: 'no-such-module' });
      for (const path of [cut, other, moduleless, '/nonexistent/artifact']) {
        const result = await bench.install(path);
        expect(result.status).toBe(1);
        expect(result.stdout).toContain('Streaming failed.\nSystem not modified.\n');
        expect(result.stderr.trim().split('\n')).toHaveLength(1);
      }
      const { open } = await makeKeys(bench.device);
      await writeFile(join(bench.device.conf, 'mender.conf'), JSON.stringify({ ArtifactVerifyKey: open }));
      expect((await bench.install(artifact)).stderr).toContain('expected a signed artifact');
      expect(await bench.chain()).toBe('');
      expect(await bench.record()).toBeNull();
    }));
});

describe('a damaged record', () => {
  it('gives way to the one before it, and is kept as evidence', () =>
    withBench({}, async (bench) => {
      await bench.install(artifact);
      const folder = bench.device.stateDirectory;
      const files = (await readdir(folder)).filter((name) => /^standalone-[ab]\.json$/.test(name));
      for (const name of files) await writeFile(join(folder, name), 'damage');
      const result = await bench.run(['rollback']);
      expect(result.status).toBe(2);
      expect(result.stderr).toContain('is damaged');
      expect((await readdir(folder)).filter((name) => name.includes('.broken-'))).toHaveLength(files.length);
    }));
});

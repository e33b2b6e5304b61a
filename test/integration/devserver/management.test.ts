import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Agent, request } from 'undici';
import { builtDevServer, startDevServer, type DevServerProcess } from '../../support/dev-server.ts';
import { makeArtifact } from '../../support/device.ts';
import { eventually } from '../../support/eventually.ts';
import { ProtocolDevice } from '../../support/protocol-device.ts';

const run = promisify(execFile);
let server: DevServerProcess;
let folder: string;
let bytes: Buffer;
let artifactId: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-artifacts-'));
  server = await startDevServer({ options: ['--auto-accept'] });
  bytes = await readFile(await makeArtifact({ folder }, { name: 'release-2' }));
  artifactId = (await server.must('POST', '/artifacts', bytes)).id;
});
afterAll(async () => {
  await server.dispose();
  await rm(folder, { recursive: true, force: true });
});

async function newDevice(serial: string): Promise<{ device: ProtocolDevice; id: string }> {
  const device = new ProtocolDevice(server.url, { serial });
  expect((await device.authenticate()).status).toBe(200);
  const all = await server.must('GET', '/devices');
  return { device, id: all.find((one: any) => one.identity.serial === serial).id };
}

describe('the management API', () => {
  it('wants its token in a header for every call, and takes no cookie and no query for it', async () => {
    const at = `${server.url}/api/dev/v1/devices`;
    const status = async (headers: Record<string, string>, url = at): Promise<number> =>
      (await fetch(url, { headers })).status;
    expect(await status({})).toBe(401);
    expect(await status({ 'X-Holdpoint-Token': 'wrong' })).toBe(401);
    expect(await status({ Cookie: `token=${server.token}` })).toBe(401);
    expect(await status({}, `${at}?token=${server.token}`)).toBe(401);
    expect(await status({ 'X-Holdpoint-Token': server.token })).toBe(200);
    expect(await status({ Authorization: `Bearer ${server.token}` })).toBe(200);
    const { device } = await newDevice('no-manager');
    expect(await status({ Authorization: `Bearer ${device.token}` })).toBe(401);
    for (const [method, path] of [
      ['POST', '/artifacts'],
      ['POST', '/deployments'],
      ['DELETE', `/artifacts/${artifactId}`],
      ['GET', '/events'],
      ['POST', '/faults'],
    ] as const) {
      const answer = await fetch(`${server.url}/api/dev/v1${path}`, {
        method,
        ...(method === 'POST' ? { body: '{}' } : {}),
      });
      expect([method, path, answer.status]).toEqual([method, path, 401]);
    }
  });

  it('answers a preflight of another origin with nothing that lets it in', async () => {
    const answer = await fetch(`${server.url}/api/dev/v1/devices`, {
      method: 'OPTIONS',
      headers: {
        Origin: 'http://elsewhere.example',
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'x-holdpoint-token',
      },
    });
    expect(answer.status).toBe(405);
    expect(answer.headers.get('access-control-allow-origin')).toBeNull();
  });

  it('verifies an artifact before it is there: damaged, cut and foreign files are refused and leave nothing', async () => {
    const damaged = Buffer.from(bytes);
    damaged[damaged.length - 1500] = (damaged[damaged.length - 1500] ?? 0) ^ 1;
    for (const content of [damaged, bytes.subarray(0, 6000), Buffer.from('no artifact'), Buffer.alloc(0)]) {
      const answer = await server.manage('POST', '/artifacts', content);
      expect(answer.status).toBe(422);
      expect(answer.json.error).toMatch(/^not a valid artifact \([a-z-]+\): /);
    }
    expect(await server.must('GET', '/artifacts')).toHaveLength(1);
    expect(await readdir(join(server.folder, 'data/artifacts'))).toEqual([`${artifactId}.mender`]);
  });

  it('shows what is in an artifact, refuses a second one of its name and type, and deletes only what nobody needs', async () => {
    const [artifact] = await server.must('GET', '/artifacts');
    expect(artifact).toMatchObject({
      artifact_name: 'release-2',
      device_types_compatible: ['test-device'],
      payload_type: 'probe',
      size_bytes: bytes.length,
      payload_files: ['greeting'],
      is_signed: false,
    });
    expect((await server.manage('POST', '/artifacts', bytes)).status).toBe(409);
    const other = await server.must(
      'POST',
      '/artifacts',
      await readFile(await makeArtifact({ folder }, { name: 'release-3' })),
    );
    const { id: deviceId } = await newDevice('needs-it');
    const { id } = await server.must('POST', '/deployments', {
      artifact_id: other.id,
      devices: { ids: [deviceId] },
    });
    expect((await server.manage('DELETE', `/artifacts/${other.id}`)).status).toBe(409);
    await server.must('POST', `/deployments/${id}/abort`);
    expect((await server.manage('DELETE', `/artifacts/${other.id}`)).status).toBe(204);
    expect((await server.manage('DELETE', `/artifacts/${other.id}`)).status).toBe(404);
    await expect(stat(join(server.folder, `data/artifacts/${other.id}.mender`))).rejects.toThrow(/ENOENT/);
  });

  it('chooses devices by id, by what they say about themselves, or all that fit', async () => {
    const { device: north, id: northId } = await newDevice('north');
    const { device: south, id: southId } = await newDevice('south');
    const { device: other, id: otherId } = await newDevice('other-type');
    await north.inventory([
      { name: 'device_type', value: 'test-device' },
      { name: 'site', value: ['n', 'x'] },
    ]);
    await south.inventory([{ name: 'device_type', value: 'test-device' }]);
    await other.inventory([{ name: 'device_type', value: 'toaster' }]);
    const chosen = async (devices: object): Promise<string[]> => {
      const { id } = await server.must('POST', '/deployments', { artifact_id: artifactId, devices });
      const ids = (await server.must('GET', `/deployments/${id}`)).devices.map((one: any) => one.device_id);
      await server.must('POST', `/deployments/${id}/abort`);
      return ids;
    };
    expect(await chosen({ ids: [southId, southId] })).toEqual([southId]);
    expect(await chosen({ attributes: { site: 'n' } })).toEqual([northId]);
    expect(await chosen({ attributes: { serial: 'south' } })).toEqual([southId]);
    const all = await chosen({ all: true });
    expect(all).toEqual(expect.arrayContaining([northId, southId]));
    expect(all).not.toContain(otherId);
    for (const devices of [{ attributes: { site: 'nowhere' } }, { ids: ['unknown'] }, { ids: [] }, {}, []]) {
      const answer = await server.manage('POST', '/deployments', { artifact_id: artifactId, devices });
      expect([devices, answer.status]).toEqual([devices, 400]);
    }
  });

  it('refuses broken maps naming the place, and maps and releases that nobody would be given', async () => {
    const { device, id: deviceId } = await newDevice('mapped');
    const create = (more: object): ReturnType<DevServerProcess['manage']> =>
      server.manage('POST', '/deployments', {
        artifact_id: artifactId,
        devices: { ids: [deviceId] },
        ...more,
      });
    const broken = await create({
      update_control_map: { states: { ArtifactInstall_Enter: { action: 'hop' } } },
    });
    expect([broken.status, broken.json.error]).toEqual([
      400,
      expect.stringContaining('$.states.ArtifactInstall_Enter.action'),
    ]);
    for (const map of [{ id: 'x' }, { priority: 11 }, { states: { Bogus: {} } }, { more: 1 }, [], 'map']) {
      expect([map, (await create({ update_control_map: map })).status]).toEqual([map, 400]);
    }
    const { id } = (await create({})).json;
    const setMap = (): ReturnType<DevServerProcess['manage']> =>
      server.manage('PUT', `/deployments/${id}/update_control_map`, { update_control_map: { states: {} } });
    const release = (body: object): ReturnType<DevServerProcess['manage']> =>
      server.manage('POST', `/deployments/${id}/release`, body);
    expect((await release({ point: 'ArtifactCommit_Enter' })).status).toBe(409);
    // Nobody has begun: it can still get one.
    expect((await setMap()).status).toBe(204);
    for (const body of [
      { point: 'Idle_Enter' },
      { point: 'ArtifactCommit_Enter', at: 'tomorrow' },
      { point: 'ArtifactCommit_Enter', at: '2030-05-06T07:08:09' },
      { point: 'ArtifactCommit_Enter', at: '2030-13-06T07:08:09Z' },
      { point: 'ArtifactCommit_Enter', at: '9999-01-01T00:00:00Z' },
      { point: 'ArtifactCommit_Enter', now: true },
      {},
    ]) {
      expect([body, (await release(body)).status]).toEqual([body, 400]);
    }
    await server.must('POST', `/deployments/${id}/abort`);
    expect((await setMap()).status).toBe(409);
    const plain = (await create({})).json;
    await device.next();
    const late = await server.manage('PUT', `/deployments/${plain.id}/update_control_map`, {
      update_control_map: { states: {} },
    });
    expect([late.status, late.json.error]).toEqual([409, expect.stringContaining('without a map')]);
  });

  it('tells changes as they happen', async () => {
    const watching = new AbortController();
    const response = await fetch(`${server.url}/api/dev/v1/events`, {
      headers: { 'X-Holdpoint-Token': server.token },
      signal: watching.signal,
    });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    let text = '';
    const reading = (async () => {
      for await (const chunk of response.body!) text += Buffer.from(chunk as Uint8Array).toString();
    })().catch(() => {});
    await eventually('it has begun', () => text.includes('event: hello'));
    const { device, id } = await newDevice('watched');
    await eventually('the device is told', () =>
      text.includes(`event: change\ndata: {"kind":"device","id":"${id}"}`),
    );
    const deployment = await server.must('POST', '/deployments', {
      artifact_id: artifactId,
      devices: { ids: [id] },
    });
    await device.next();
    text = '';
    await device.status(deployment.id, 'downloading');
    await eventually('the report is told', () =>
      text.includes(`"kind":"deployment","id":"${deployment.id}"`),
    );
    text = '';
    await device.status(deployment.id, 'downloading');
    await device.next();
    // What changed nothing is not told: the next thing that is told is the next thing that changes.
    await device.inventory([{ name: 'last', value: 'one' }]);
    await eventually('the inventory is told', () => text.includes('"kind":"device"'));
    expect(text).not.toContain('"kind":"deployment"');
    watching.abort();
    await reading;
  });

  it('forgets a device that is removed, ends what it had, and meets it as a new one', async () => {
    const { device, id } = await newDevice('gone');
    const deployment = await server.must('POST', '/deployments', {
      artifact_id: artifactId,
      devices: { ids: [id] },
    });
    await server.must('DELETE', `/devices/${id}`);
    expect((await device.next()).status).toBe(401);
    const { devices, status } = await server.must('GET', `/deployments/${deployment.id}`);
    expect([status, devices[0].status]).toEqual(['finished', 'decommissioned']);
    expect((await newDevice('gone')).id).not.toBe(id);
  });

  it('gives lists in pages', async () => {
    const total = Number((await server.manage('GET', '/devices?limit=1')).headers.get('x-total-count'));
    expect(total).toBeGreaterThan(2);
    const one = await server.must('GET', '/devices?limit=1&offset=1');
    expect(one).toHaveLength(1);
    expect((await server.manage('GET', '/devices?limit=501')).status).toBe(400);
    expect((await server.manage('GET', '/devices?offset=-1')).status).toBe(400);
  });
});

describe('the program', () => {
  it('has a help that teaches, and says in one line what is wrong with its options', async () => {
    const program = await builtDevServer();
    const call = (...args: string[]): Promise<{ code?: number; stdout: string; stderr: string }> =>
      run(process.execPath, [program, ...args], { timeout: 20_000 }).catch((error: any) => error);
    const help = await call('--help');
    expect(help.stdout).toContain('First steps');
    expect(help.stdout).toContain('X-Holdpoint-Token');
    for (const args of [
      ['--listen', '8080'],
      ['--listen', '127.0.0.1:70000'],
      ['--tls-cert', 'only.pem'],
      ['--link-lifetime', '0'],
      ['--public-url', 'ftp://x'],
      ['--unknown'],
      ['too', 'much'],
    ]) {
      const { code, stderr } = await call(...args);
      expect([args, code]).toEqual([args, 1]);
      expect(stderr).not.toMatch(/\bat .*:\d+/);
    }
    const weak = join(folder, 'weak-token');
    await writeFile(weak, '123\n');
    const refused = await call('--listen', '127.0.0.1:0', '--data', join(folder, 'd'), '--token-file', weak);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('at least 16')]);
    const taken = await call('--listen', new URL(server.url).host, '--data', join(folder, 'd'));
    expect([taken.code, taken.stderr]).toEqual([1, expect.stringContaining('EADDRINUSE')]);
  });

  it('ends with 2 when another server has the folder, and with 0 on SIGTERM while somebody watches', async () => {
    const one = await startDevServer();
    try {
      const program = await builtDevServer();
      const second: any = await run(process.execPath, [
        program,
        '--listen',
        '127.0.0.1:0',
        '--data',
        join(one.folder, 'data'),
      ]).catch((error: unknown) => error);
      expect(second.code).toBe(2);
      const watching = await fetch(`${one.url}/api/dev/v1/events`, {
        headers: { 'X-Holdpoint-Token': one.token },
      });
      const startMs = performance.now();
      expect(await one.stop()).toBe(0);
      expect(performance.now() - startMs).toBeLessThan(2_500);
      await watching.text().catch(() => '');
    } finally {
      await one.dispose();
    }
  });

  it('keeps its secrets from other users, and warns loudly', async () => {
    for (const name of ['data/keys/server-key.pem', 'data/keys/link-secret', 'data/state.journal', 'token']) {
      expect([name, (await stat(join(server.folder, name))).mode & 0o777]).toEqual([name, 0o600]);
    }
    expect(server.output()).toContain('for DEVELOPMENT and SMALL CLOSED NETWORKS only');
    expect(server.output()).not.toContain(server.token);
  });

  it('serves devices on every address, and the management on this machine only', async () => {
    const outside = Object.values(networkInterfaces())
      .flat()
      .find((one) => one && one.family === 'IPv4' && !one.internal)?.address;
    const open = await startDevServer({ listen: '0.0.0.0:0', options: ['--auto-accept'] });
    try {
      expect(open.output()).toContain('without TLS');
      expect((await open.manage('GET', '/status')).status).toBe(200);
      if (outside === undefined) return;
      const url = open.url.replace('0.0.0.0', outside);
      const far = await fetch(`${url}/api/dev/v1/status`, { headers: { 'X-Holdpoint-Token': open.token } });
      expect(far.status).toBe(403);
      expect((await new ProtocolDevice(url, { serial: 'far' }).authenticate()).status).toBe(200);
    } finally {
      await open.dispose();
    }
  });

  it('keeps the two apart with --management-listen', async () => {
    const split = await startDevServer({ options: ['--management-listen', '127.0.0.1:0', '--auto-accept'] });
    try {
      expect((await split.manage('GET', '/status')).status).toBe(200);
      const there = await fetch(`${split.url}/api/dev/v1/status`, {
        headers: { 'X-Holdpoint-Token': split.token },
      });
      expect([there.status, (await fetch(`${split.url}/`)).status]).toEqual([404, 404]);
      expect((await new ProtocolDevice(split.url, { serial: 'one' }).authenticate()).status).toBe(200);
    } finally {
      await split.dispose();
    }
  });

  it('speaks TLS, and gives links that do too', async () => {
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    await run('openssl', [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=DNS:localhost',
      '-keyout',
      key,
      '-out',
      cert,
    ]);
    const secure = await startDevServer({ options: ['--tls-cert', cert, '--tls-key', key] });
    const dispatcher = new Agent({ connect: { ca: await readFile(cert) } });
    try {
      const { port } = new URL(secure.url);
      expect(secure.url.startsWith('https://')).toBe(true);
      const call = async (path: string, method: 'GET' | 'POST', body?: Buffer | string): Promise<any> => {
        const answer = await request(`https://localhost:${port}${path}`, {
          method,
          dispatcher,
          headers: { 'X-Holdpoint-Token': secure.token },
          ...(body === undefined ? {} : { body }),
        });
        return answer.body.json();
      };
      expect((await call('/api/dev/v1/status', 'GET')).counts.devices).toBe(0);
      const { id } = await call('/api/dev/v1/artifacts', 'POST', bytes);
      expect(id).toMatch(/^[0-9a-f-]{36}$/);
      await expect(fetch(`https://localhost:${port}/`)).rejects.toThrow();
    } finally {
      await dispatcher.close();
      await secure.dispose();
    }
  });
});

describe('a full disk', () => {
  it('is told with 507, loses nothing, and is over when there is room again', async () => {
    const small = await mkdtemp(join(tmpdir(), 'holdpoint-small-'));
    await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'holdpoint-test', small]);
    let full: DevServerProcess | null = null;
    try {
      full = await startDevServer({ folder: small, options: ['--auto-accept'] });
      const { id: fits } = await full.must('POST', '/artifacts', bytes);
      const big = await readFile(
        await makeArtifact({ folder }, { name: 'too-big', payload: 'x'.repeat(2_000_000) }),
      );
      expect((await full.manage('POST', '/artifacts', big)).status).toBe(507);
      expect(await readdir(join(small, 'data/artifacts'))).toEqual([`${fits}.mender`]);
      const device = new ProtocolDevice(full.url, { serial: 'patient' });
      await device.authenticate();
      const { id } = await full.must('POST', '/deployments', { artifact_id: fits, devices: { all: true } });
      await device.next();
      const filler = join(small, 'filler');
      await run('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4096']).catch(() => {});
      let refused = 0;
      for (let step = 0; step < 200 && refused === 0; step++) {
        const { status } = await device.status(id, 'installing', `${'x'.repeat(150)} ${step}`);
        if (status !== 204) refused = status;
      }
      expect(refused).toBe(507);
      await unlink(filler);
      expect((await device.status(id, 'rebooting')).status).toBe(204);
      await full.kill();
      full = await startDevServer({ folder: small });
      const [only] = (await full.must('GET', `/deployments/${id}`)).devices;
      expect(only.status).toBe('rebooting');
      expect(full.output()).not.toContain('damaged');
    } finally {
      await full?.kill();
      await run('umount', ['--lazy', small]);
      await rm(small, { recursive: true, force: true });
    }
  });
});

describe('load', () => {
  it('answers 500 devices that ask every 5 s', async () => {
    const busy = await startDevServer({ options: ['--auto-accept'] });
    try {
      const { id } = await busy.must('POST', '/artifacts', bytes);
      const devices = Array.from(
        { length: 500 },
        (_, index) => new ProtocolDevice(busy.url, { serial: `n${index}` }),
      );
      for (let start = 0; start < devices.length; start += 25) {
        await Promise.all(devices.slice(start, start + 25).map((one) => one.authenticate()));
      }
      await busy.must('POST', '/deployments', {
        artifact_id: id,
        devices: { attributes: { serial: 'n7' } },
      });
      const times: number[] = [];
      const endMs = performance.now() + 5_000;
      await Promise.all(
        devices.map(async (device, index) => {
          await new Promise((done) => setTimeout(done, index * 10));
          if (performance.now() > endMs) return;
          const startMs = performance.now();
          const { status } = await device.next();
          times.push(performance.now() - startMs);
          expect(status).toBe(index === 7 ? 200 : 204);
        }),
      );
      times.sort((one, other) => one - other);
      const p99 = times[Math.floor(times.length * 0.99)] ?? 0;
      console.info(
        `${times.length} polls in 5 s, p50 ${times[times.length >> 1]?.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
      );
      // Half of the CPU may be somebody else's here; the benchmark holds it to 50 ms.
      expect(p99).toBeLessThan(500);
      expect(times.length).toBeGreaterThan(450);
    } finally {
      await busy.dispose();
    }
  });
});

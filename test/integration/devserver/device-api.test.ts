import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDevServer, type DevServerProcess } from '../../support/dev-server.ts';
import { makeArtifact } from '../../support/device.ts';
import { makeKeyPair, ProtocolDevice, type KeyType } from '../../support/protocol-device.ts';

/** The device side over HTTP, clause by clause of spec/server-api.md. */
let server: DevServerProcess;
let folder: string;
let artifactId: string;
let serial = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-artifacts-'));
  server = await startDevServer({ options: ['--jwt-lifetime', '600'] });
  const file = await makeArtifact({ folder }, { name: 'release-2' });
  artifactId = (await server.must('POST', '/artifacts', await readFile(file))).id;
});
afterAll(async () => {
  await server.dispose();
  await rm(folder, { recursive: true, force: true });
});

function newDevice(options: { keyType?: KeyType; deviceType?: string } = {}): ProtocolDevice {
  const { keyType, ...rest } = options;
  return new ProtocolDevice(server.url, {
    serial: `device-${++serial}`,
    ...(keyType ? { keys: makeKeyPair(keyType) } : {}),
    ...rest,
  });
}
async function idOf(device: ProtocolDevice): Promise<string> {
  const all = await server.must('GET', '/devices');
  return all.find((one: any) => one.identity.serial === device.identity['serial']).id;
}
async function accepted(options: { keyType?: KeyType; deviceType?: string } = {}): Promise<ProtocolDevice> {
  const device = newDevice(options);
  expect((await device.authenticate()).status).toBe(401);
  await server.must('POST', `/devices/${await idOf(device)}/accept`);
  expect((await device.authenticate()).status).toBe(200);
  return device;
}
async function deploy(device: ProtocolDevice, more: object = {}): Promise<string> {
  const deployment = await server.must('POST', '/deployments', {
    artifact_id: artifactId,
    devices: { ids: [await idOf(device)] },
    ...more,
  });
  return deployment.id;
}
async function runOf(deploymentId: string): Promise<any> {
  return (await server.must('GET', `/deployments/${deploymentId}?history=true`)).devices[0];
}

describe('authentication', () => {
  for (const keyType of ['rsa', 'ec', 'ed25519'] as const) {
    it(`lets a device with a key of type ${keyType} in, once it has been accepted`, async () => {
      const device = newDevice({ keyType });
      const first = await device.authenticate();
      expect(first.status).toBe(401);
      expect(first.json).toEqual({ error: 'the device is pending', request_id: expect.any(String) });
      expect(first.headers.get('request_id')).toBe(first.json.request_id);
      await server.must('POST', `/devices/${await idOf(device)}/accept`);
      const second = await device.authenticate();
      expect(second.status).toBe(200);
      expect(second.headers.get('content-type')).toBe('application/jwt');
      expect(second.text.split('.')).toHaveLength(3);
      expect((await device.next()).status).toBe(204);
    });

    it(`refuses a signature of type ${keyType} over other bytes, if only the end of line is missing`, async () => {
      const device = newDevice({ keyType });
      const body = device.authBody();
      const answer = await device.authenticate(body, { 'X-MEN-Signature': device.signatureOf(body.trim()) });
      expect(answer.status).toBe(401);
      expect(answer.json.error).toBe('signature verification failed');
    });
  }

  it('takes the same identity in another order and escaping for the same device', async () => {
    const keys = makeKeyPair('ed25519');
    const device = new ProtocolDevice(server.url, { serial: 'unused', keys });
    const body = (idData: string): string =>
      JSON.stringify({ id_data: idData, pubkey: keys.pem.trim(), tier: 'standard' });
    await device.authenticate(body('{"mac":["02:00","02:01"],"name":"a\\u0026b"}'));
    await device.authenticate(body('{"name":"a&b","mac":["02:00","02:01"]}'));
    const all = await server.must('GET', '/devices');
    expect(all.filter((one: any) => one.identity.name === 'a&b')).toHaveLength(1);
  });

  it('refuses a token after the device was rejected, and takes the device in again when it is accepted again', async () => {
    const device = await accepted();
    const id = await idOf(device);
    await server.must('POST', `/devices/${id}/reject`);
    const answer = await device.next();
    expect([answer.status, answer.json.error]).toEqual([401, 'the token has been revoked']);
    expect((await device.authenticate()).json.error).toBe('the device is rejected');
    await server.must('POST', `/devices/${id}/accept`);
    expect((await device.authenticate()).status).toBe(200);
  });

  it('lets a known device with another key wait, and the old key stop counting once the new one is accepted', async () => {
    const old = await accepted();
    const renewed = new ProtocolDevice(server.url, { serial: String(old.identity['serial']) });
    expect((await renewed.authenticate()).status).toBe(401);
    expect((await old.next()).status).toBe(204);
    await server.must('POST', `/devices/${await idOf(old)}/accept`);
    expect((await renewed.authenticate()).status).toBe(200);
    expect((await old.next()).status).toBe(401);
    expect((await old.authenticate()).status).toBe(401);
  });

  it('lets a known device with another key wait even where new devices are let in', async () => {
    const open = await startDevServer({ options: ['--auto-accept'] });
    try {
      const device = new ProtocolDevice(open.url, { serial: 'known' });
      expect((await device.authenticate()).status).toBe(200);
      const other = new ProtocolDevice(open.url, { serial: 'known' });
      expect((await other.authenticate()).json.error).toBe('the device is pending');
      expect((await device.next()).status).toBe(204);
    } finally {
      await open.dispose();
    }
  });

  it('remembers eight keys of a device, the one that counts among them, and forgets the oldest others', async () => {
    const device = await accepted();
    const id = await idOf(device);
    for (let count = 0; count < 12; count++) {
      const other = new ProtocolDevice(server.url, { serial: String(device.identity['serial']) });
      expect((await other.authenticate()).status).toBe(401);
    }
    const { auth_sets: keys } = await server.must('GET', `/devices/${id}`);
    expect(keys.map(({ status }: any) => status)).toEqual(['accepted', ...Array(7).fill('pending')]);
    expect((await device.next()).status).toBe(204);
    expect((await device.authenticate()).status).toBe(200);
  });

  it('refuses tokens that are missing, changed, signed by others, or say another algorithm', async () => {
    const device = await accepted();
    const good = device.token;
    const [header = '', claims = '', signature = ''] = good.split('.');
    const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url');
    const other = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, unknown>;
    const changed = Buffer.from(JSON.stringify({ ...other, exp: 9_999_999_999 })).toString('base64url');
    for (const token of [
      '',
      'x',
      `${header}.${claims}.`,
      `${none}.${claims}.`,
      `${none}.${claims}.${signature}`,
      `${header}.${changed}.${signature}`,
      `${good}x`,
      'a'.repeat(8000),
    ]) {
      device.token = token;
      const answer = await device.next();
      expect([token, answer.status]).toEqual([token, 401]);
      expect(answer.json).toEqual({ error: expect.any(String), request_id: expect.any(String) });
    }
    device.token = good;
    expect((await device.next()).status).toBe(204);
  });

  it('says 400 for what it cannot understand, 415 for other content types, 413 for too much', async () => {
    const device = newDevice();
    const ask = async (body: string, headers: Record<string, string> = {}): Promise<number> =>
      (await device.authenticate(body, { 'X-MEN-Signature': device.signatureOf(body), ...headers })).status;
    const body = device.authBody();
    const parts = JSON.parse(body) as Record<string, string>;
    const secret = device.keys.secret.export({ type: 'pkcs8', format: 'pem' });
    expect(await ask('{')).toBe(400);
    expect(await ask('[]')).toBe(400);
    expect(await ask(JSON.stringify({ pubkey: parts['pubkey'] }))).toBe(400);
    expect(await ask(JSON.stringify({ ...parts, id_data: 'no JSON' }))).toBe(400);
    expect(await ask(JSON.stringify({ ...parts, id_data: '["a"]' }))).toBe(400);
    expect(await ask(JSON.stringify({ ...parts, pubkey: 'no key' }))).toBe(400);
    expect(await ask(JSON.stringify({ ...parts, pubkey: secret }))).toBe(400);
    expect((await device.authenticate(body, {})).status).toBe(400);
    expect((await device.authenticate(body, { 'X-MEN-Signature': '%%%' })).status).toBe(400);
    expect(await ask(body, { 'Content-Type': 'text/plain' })).toBe(415);
    expect(await ask(body, { 'Content-Type': ';' })).toBe(400);
    expect(await ask(`"${'x'.repeat(70_000)}"`)).toBe(413);
    const known = await server.must('GET', '/devices');
    expect(known.some((one: any) => one.identity.serial === device.identity['serial'])).toBe(false);
  });

  it('reads chunked bodies', async () => {
    const device = newDevice();
    const body = device.authBody();
    const status = await new Promise<number | undefined>((done, fail) => {
      const request = httpRequest(`${server.url}/api/devices/v1/authentication/auth_requests`, {
        method: 'POST',
        headers: { 'X-MEN-Signature': device.signatureOf(body) },
      });
      request.on('response', (response) => done(response.resume().statusCode)).on('error', fail);
      request.write(body.slice(0, 20));
      request.end(body.slice(20));
    });
    expect(status).toBe(401);
    expect(await idOf(device)).toBeTruthy();
  });
});

describe('inventory', () => {
  it('replaces everything on PUT and adds to it on PATCH', async () => {
    const device = await accepted();
    const id = await idOf(device);
    const put = await device.inventory([
      { name: 'device_type', value: 'test-device' },
      { name: 'nics', value: ['eth0', 'wlan0'], description: 'interfaces' },
    ]);
    expect([put.status, put.text]).toEqual([200, '']);
    expect((await device.inventory([{ name: 'ram', value: 512 }], 'PATCH')).status).toBe(200);
    const names = async (): Promise<unknown> =>
      (await server.must('GET', `/devices/${id}`)).inventory.map((one: any) => one.name);
    expect(await names()).toEqual(['device_type', 'nics', 'ram']);
    await device.inventory([{ name: 'ram', value: 256 }]);
    expect(await names()).toEqual(['ram']);
  });

  it('refuses mixed lists, names that are empty, and more than 100 attributes', async () => {
    const device = await accepted();
    const many = Array.from({ length: 101 }, (_, index) => ({ name: `a${index}`, value: 'x' }));
    for (const body of [
      {},
      [{ name: '', value: 'x' }],
      [{ name: 'x'.repeat(1025), value: 'x' }],
      [{ name: 'a', value: ['x', 1] }],
      [{ name: 'a', value: { b: 1 } }],
      many,
    ]) {
      expect((await device.inventory(body)).status).toBe(400);
    }
    expect((await device.inventory(many.slice(1))).status).toBe(200);
    expect((await device.inventory([{ name: 'one-more', value: 'x' }], 'PATCH')).status).toBe(400);
  });
});

describe('asking for a deployment', () => {
  it('gives the same deployment on each poll until it is finished, each time with a link that works', async () => {
    const device = await accepted();
    const id = await deploy(device);
    const first = await device.next();
    expect(first.status).toBe(200);
    expect(first.json).toEqual({
      id,
      artifact: {
        id: artifactId,
        artifact_name: 'release-2',
        device_types_compatible: ['test-device'],
        source: {
          uri: expect.stringContaining(`${server.url}/`),
          expire: expect.stringMatching(/^\d{4}-.*Z$/),
          method: 'GET',
        },
      },
    });
    for (const again of [await device.next(), await device.nextPost(), await device.nextGet()]) {
      expect(again.json.id).toBe(id);
      const file = await fetch(again.json.artifact.source.uri);
      expect([file.status, Number(file.headers.get('content-length'))]).toEqual([
        200,
        (await file.arrayBuffer()).byteLength,
      ]);
    }
    expect((await device.status(id, 'success')).status).toBe(204);
    expect([(await device.next()).status, (await device.nextGet()).status]).toEqual([204, 204]);
    expect(await runOf(id)).toMatchObject({ status: 'success', finished_at: expect.any(String) });
  });

  it('ends it as already-installed without giving it, unless it is forced', async () => {
    const device = await accepted();
    device.artifactName = 'release-2';
    const id = await deploy(device);
    expect((await device.next()).status).toBe(204);
    expect((await runOf(id)).status).toBe('already-installed');
    const forced = await deploy(device, { force: true });
    expect((await device.next()).json.id).toBe(forced);
  });

  it('ends it as noartifact for a device of another type', async () => {
    const device = await accepted({ deviceType: 'something-else' });
    const id = await deploy(device);
    expect((await device.next()).status).toBe(204);
    expect((await runOf(id)).status).toBe('noartifact');
  });

  it('says 409 and ends it as failure for a device that has become another one meanwhile', async () => {
    const device = await accepted();
    const id = await deploy(device);
    expect((await device.next()).status).toBe(200);
    device.artifactName = 'quite-another-one';
    expect((await device.next()).status).toBe(409);
    expect((await runOf(id)).status).toBe('failure');
    expect((await device.next()).status).toBe(204);
  });

  it('refuses names and types that are missing, empty or too long', async () => {
    const device = await accepted();
    const post = (path: string, body: unknown): Promise<{ status: number }> =>
      device.call('POST', `${path}/deployments/device/deployments/next`, { body });
    expect((await post('v2', { device_provides: { device_type: 'a' } })).status).toBe(400);
    expect((await post('v2', { device_type: 'a', artifact_name: 'b' })).status).toBe(400);
    expect((await post('v2', { device_provides: { ...device.provides, more: 1 } })).status).toBe(400);
    expect((await post('v1', { device_type: '', artifact_name: 'b' })).status).toBe(400);
    expect((await post('v1', { device_type: 'a', artifact_name: 'b'.repeat(4097) })).status).toBe(400);
    const get = await device.call('GET', 'v1/deployments/device/deployments/next?device_type=a');
    expect(get.status).toBe(400);
  });
});

describe('status reports', () => {
  it('takes every status and substate, and shows what the device waits for', async () => {
    const device = await accepted();
    const id = await deploy(device, {
      update_control_map: { states: { ArtifactCommit_Enter: { action: 'pause' } } },
    });
    await device.next();
    for (const [status, substate] of [
      ['downloading', undefined],
      ['installing', 'Executing script: ArtifactInstall_Enter_05'],
      ['pause_before_installing', undefined],
      ['rebooting', undefined],
      ['pause_before_rebooting', undefined],
      ['installing', undefined],
      ['pause_before_committing', 'waiting for the night shift'],
    ] as const) {
      expect((await device.status(id, status, substate)).status).toBe(204);
      expect(await runOf(id)).toMatchObject({ status, substate: substate ?? '' });
    }
    expect((await runOf(id)).wait).toEqual({
      point: 'ArtifactCommit_Enter',
      since: expect.any(String),
      held_by: 'server',
      release_at: null,
      reason: 'waiting for the night shift',
    });
    const before = await runOf(id);
    expect((await device.status(id, 'pause_before_committing', 'waiting for the night shift')).status).toBe(
      204,
    );
    expect(await runOf(id)).toEqual(before);
  });

  it('says 400 for unknown ones and long substates, 404 for what the device does not have', async () => {
    const device = await accepted();
    const id = await deploy(device);
    await device.next();
    expect((await device.status(id, 'dancing')).status).toBe(400);
    expect((await device.status(id, '')).status).toBe(400);
    expect((await device.status(id, 'installing', 'x'.repeat(201))).status).toBe(400);
    expect((await device.status(id, 'installing', 'x'.repeat(200))).status).toBe(204);
    expect((await device.status('00000000-0000-4000-8000-000000000000', 'installing')).status).toBe(404);
    const stranger = await accepted();
    expect((await stranger.status(id, 'installing')).status).toBe(404);
    expect((await stranger.map(id)).status).toBe(404);
    expect(
      (await stranger.log(id, [{ timestamp: '2030-01-01T00:00:00Z', level: 'info', message: 'x' }])).status,
    ).toBe(404);
  });

  it('says 409 to every report after an abort, also to the final one, and offers it no more', async () => {
    const device = await accepted();
    const id = await deploy(device);
    await device.next();
    await device.status(id, 'downloading');
    await server.must('POST', `/deployments/${id}/abort`);
    for (const status of ['installing', 'failure', 'success']) {
      expect((await device.status(id, status)).status).toBe(409);
    }
    expect((await device.next()).status).toBe(204);
    expect((await device.map(id)).status).toBe(404);
    expect((await runOf(id)).status).toBe('aborted');
  });

  it('keeps a final result: the same again is fine, another one is 409', async () => {
    const device = await accepted();
    const id = await deploy(device);
    await device.next();
    await device.status(id, 'failure');
    expect((await device.status(id, 'failure')).status).toBe(204);
    expect((await device.status(id, 'success')).status).toBe(409);
    expect((await device.status(id, 'installing')).status).toBe(409);
    expect((await runOf(id)).status).toBe('failure');
  });
});

describe('logs', () => {
  it('stores what a device sends and shows it', async () => {
    const device = await accepted();
    const id = await deploy(device);
    await device.next();
    const messages = [
      { timestamp: '2030-05-06T07:08:09Z', level: 'info', message: 'checksum mismatch' },
      { timestamp: '2030-05-06T07:08:09.123+02:00', level: 'error', message: 'Größe' },
    ];
    expect((await device.log(id, messages)).status).toBe(204);
    const { device_id: deviceId, has_log: hasLog } = await runOf(id);
    expect(hasLog).toBe(true);
    expect(await server.must('GET', `/deployments/${id}/devices/${deviceId}/log`)).toEqual({ messages });
  });

  it('refuses empty ones, broken lines, and more than 1 MiB', async () => {
    const device = await accepted();
    const id = await deploy(device);
    await device.next();
    const line = { timestamp: '2030-05-06T07:08:09Z', level: 'info', message: 'x' };
    expect((await device.log(id, [])).status).toBe(400);
    expect((await device.log(id, [{ ...line, level: '' }])).status).toBe(400);
    expect((await device.log(id, [{ ...line, timestamp: 'yesterday' }])).status).toBe(400);
    expect((await device.log(id, [{ ...line, message: 'x'.repeat(1024 * 1024) }])).status).toBe(413);
    expect((await runOf(id)).has_log).toBe(false);
  });
});

describe('control maps', () => {
  const pause = { states: { ArtifactCommit_Enter: { action: 'pause', on_map_expire: 'continue' } } };
  const rule = { action: 'pause', on_map_expire: 'continue', on_action_executed: 'pause' };

  it('come with the deployment and at each refresh, with the id of the deployment', async () => {
    const device = await accepted();
    const id = await deploy(device, { update_control_map: pause });
    const map = { id, priority: 0, states: { ArtifactCommit_Enter: rule } };
    expect((await device.next()).json.update_control_map).toEqual(map);
    const refresh = await device.map(id);
    expect([refresh.status, refresh.json]).toEqual([200, { update_control_map: map }]);
    expect((await runOf(id)).follows_maps).toBe(true);
  });

  it('are not given to a client that does not ask for them, which is shown', async () => {
    const device = await accepted();
    const id = await deploy(device, { update_control_map: pause });
    expect((await device.next({})).json).not.toHaveProperty('update_control_map');
    expect((await device.nextPost()).json).not.toHaveProperty('update_control_map');
    expect((await runOf(id)).follows_maps).toBe(false);
  });

  it('are 404 for a deployment without one', async () => {
    const device = await accepted();
    const id = await deploy(device);
    await device.next();
    expect((await device.map(id)).status).toBe(404);
  });

  it('change while the deployment runs; a release takes the pause back, and a forced one overrules others', async () => {
    const device = await accepted();
    const id = await deploy(device, { update_control_map: pause });
    await device.next();
    await server.must('PUT', `/deployments/${id}/update_control_map`, {
      update_control_map: {
        priority: 3,
        states: { ArtifactReboot_Enter: { action: 'pause' }, ArtifactCommit_Enter: { action: 'fail' } },
      },
    });
    const states = async (): Promise<any> => (await device.map(id)).json.update_control_map.states;
    expect((await states()).ArtifactReboot_Enter.action).toBe('pause');
    expect((await states()).ArtifactCommit_Enter.action).toBe('fail');
    await server.must('POST', `/deployments/${id}/release`, { point: 'ArtifactReboot_Enter' });
    expect(Object.keys(await states())).toEqual(['ArtifactCommit_Enter']);
    await server.must('POST', `/deployments/${id}/release`, { point: 'ArtifactReboot_Enter', force: true });
    expect((await states()).ArtifactReboot_Enter.action).toBe('force_continue');
  });

  it('tell a release that is to come beside the map, and take the pause back when its time has come', async () => {
    const device = await accepted();
    const id = await deploy(device, { update_control_map: pause });
    await device.next();
    const atMs = Date.now() + 1_200;
    const at = new Date(atMs).toISOString();
    await server.must('POST', `/deployments/${id}/release`, { point: 'ArtifactCommit_Enter', at });
    for (const answer of [await device.map(id), await device.next()]) {
      expect(answer.json.update_control_map.states.ArtifactCommit_Enter).toEqual(rule);
      expect(answer.json.holdpoint).toEqual({
        releases: [{ point: 'ArtifactCommit_Enter', release_at: at, force: false }],
      });
    }
    await expect
      .poll(async () => (await device.map(id)).json, { timeout: 5_000, interval: 20 })
      .toEqual({ update_control_map: { id, priority: 0, states: {} } });
    expect(Date.now()).toBeGreaterThanOrEqual(atMs);
  });
});

describe('every answer', () => {
  it('has a request id, and errors are JSON, also for what does not exist', async () => {
    const device = await accepted();
    const unknown = await device.call('GET', 'v3/everything');
    expect([unknown.status, unknown.json.request_id]).toEqual([404, unknown.headers.get('request_id')]);
    const wrong = await device.call('DELETE', 'v1/inventory/device/attributes');
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'PUT, PATCH']);
    const broken = await device.call('PUT', 'v1/deployments/device/deployments/%zz/status', { body: {} });
    expect(broken.status).toBe(400);
  });

  it('never carries a token, key or stack into the log', async () => {
    const device = await accepted();
    await device.next();
    expect(server.output()).not.toContain(device.token);
    expect(server.output()).not.toContain(server.token);
    expect(server.output()).not.toMatch(/signature=|\bat .*\.js:\d+/);
  });
});

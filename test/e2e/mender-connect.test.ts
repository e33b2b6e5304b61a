/**
 * Debian's `mender-connect` 2.1 on our whole service: it finds the token on the bus and the server, over TLS, through the
 * forwarder. The test is the server's deviceconnect.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busctl, OTHER_UID } from '../support/bus-tools.ts';
import { startDeviceApi, type DeviceApi } from '../support/device-api.ts';
import { eventually } from '../support/eventually.ts';
import { startMenderConnect, type MenderConnect } from '../support/mender-connect.ts';
import { pack, unpack } from '../support/message-pack.ts';
import { ServiceHarness } from '../support/service.ts';
import { OPCODE, WebSocketPeer } from '../support/web-socket-peer.ts';
import { Lab } from '../integration/server/lab.ts';

const LIMIT_MS = 60_000;
const CONNECT = '/api/devices/v1/deviceconnect/connect';
const TARGET = [
  'io.mender.AuthenticationManager',
  '/io/mender/AuthenticationManager',
  'io.mender.Authentication1',
];
/** `ProtoTypeControl` of the protocol: opening a session, pings. */
const CONTROL = 0xffff;

interface Message {
  readonly hdr: { readonly proto: number; readonly typ: string; readonly sid?: string };
  readonly body?: unknown;
}

let lab: Lab;
let api: DeviceApi;
let service: ServiceHarness;
let connect: MenderConnect;
const peers: { readonly path: string; readonly authorization: string; readonly peer: WebSocketPeer }[] = [];

beforeAll(async () => {
  lab = new Lab();
  lab.authority('ca');
  lab.certificate('server', 'ca', 'IP:127.0.0.1');
  api = await startDeviceApi({
    tls: { cert: readFileSync(lab.at('server.crt')), key: readFileSync(lab.at('server.key')) },
  });
  api.onUpgrade((message, socket) => {
    const { authorization = '' } = message.headers;
    const peer = WebSocketPeer.accept(message, socket, ['Sec-WebSocket-Protocol: protomsg/msgpack']);
    peers.push({ path: message.url ?? '', authorization, peer });
  });
  service = await ServiceHarness.create({
    menderConf: {
      ServerURL: api.url,
      ServerCertificate: lab.at('ca.crt'),
      DaemonLogLevel: 'debug',
      UpdatePollIntervalSeconds: 3600,
      InventoryPollIntervalSeconds: 3600,
    },
  });
  await service.start();
  const started = await startMenderConnect(service.bus.address);
  if ('unavailable' in started) throw new Error(started.unavailable);
  connect = started;
}, 120_000);
afterAll(async () => {
  await connect?.dispose();
  await service?.dispose();
  await api?.close();
  await lab?.dispose();
});

async function pair(): Promise<readonly string[]> {
  const { stdout, stderr } = await busctl(service.bus.address, [
    '--json=short',
    'call',
    ...TARGET,
    'GetJwtToken',
  ]);
  if (stderr !== '') throw new Error(stderr);
  return (JSON.parse(stdout) as { readonly data: readonly string[] }).data;
}

async function connection(number: number): Promise<WebSocketPeer> {
  await eventually(
    `connection ${number} of mender-connect: ${connect.output()}`,
    () => peers.length >= number,
    LIMIT_MS,
  ).catch(async (error: unknown) => {
    throw new Error(`${String(error)}\n${connect.output()}\n${await service.log()}`);
  });
  return (peers[number - 1] as (typeof peers)[number]).peer;
}

const messages = (peer: WebSocketPeer): readonly Message[] =>
  peer.frames
    .filter(({ opcode }) => opcode === OPCODE.binary)
    .map(({ payload }) => unpack(payload) as Message);

describe('mender-connect', () => {
  test('takes the token from the bus and reaches the server with it', async () => {
    await connection(1);
    expect(connect.version).toMatch(/^2\.1/);
    expect(peers[0]).toMatchObject({ path: CONNECT, authorization: `Bearer ${api.token}` });
    expect(await pair()).toEqual([api.token, expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/)]);
  }, 90_000);

  test('answers pings, and opens a session in its own protocol', async () => {
    const peer = await connection(1);
    peer.send(OPCODE.ping, 'are you there');
    const pong = await peer.next(({ opcode }) => opcode === OPCODE.pong, LIMIT_MS);
    expect(pong.payload.toString()).toBe('are you there');
    const header = { proto: CONTROL, sid: 'session-1' };
    peer.send(OPCODE.binary, pack({ hdr: { ...header, typ: 'ping' } }));
    peer.send(OPCODE.binary, pack({ hdr: { ...header, typ: 'open' }, body: pack({ versions: [1] }) }));
    const find = (typ: string): Message | undefined => messages(peer).find(({ hdr }) => hdr.typ === typ);
    await eventually('the session is accepted', () => find('accept') !== undefined, LIMIT_MS).catch(() => {
      throw new Error(`${JSON.stringify(messages(peer))}\n${connect.output()}`);
    });
    expect(find('accept')).toMatchObject({ hdr: { proto: CONTROL, sid: 'session-1' } });
    expect(unpack(find('accept')?.body as Buffer)).toMatchObject({ version: 1 });
  }, 90_000);

  test('connects again after a break, and after a new token at the same address', async () => {
    const [, before] = await pair();
    const first = await connection(1);
    first.socket.destroy();
    await connection(2);
    const oldToken = api.token;
    await busctl(service.bus.address, ['call', ...TARGET, 'FetchJwtToken']);
    await eventually('there is a new token', async () => (await pair())[0] !== oldToken, LIMIT_MS);
    expect((await pair())[1]).toBe(before);
    const count = peers.length;
    for (const { peer } of peers) peer.socket.destroy();
    await connection(count + 1);
    expect(peers.at(-1)?.authorization).toBe(`Bearer ${api.token}`);
  }, 180_000);
});

describe('the service', () => {
  test('gives nobody else the token, refuses the authentication path, and closes the door with the token', async () => {
    const nobody = await busctl(service.bus.address, ['call', ...TARGET, 'GetJwtToken'], { uid: OTHER_UID });
    expect([nobody.status, nobody.stdout]).toEqual([1, '']);
    const [token, url] = await pair();
    const authorization = `Bearer ${token}`;
    const inventory = await fetch(`${url}/api/devices/v1/inventory/device/attributes`, {
      method: 'PUT',
      headers: { authorization, 'content-type': 'application/json' },
      body: '[{"name":"a","value":"b"}]',
    });
    expect(inventory.status).toBe(200);
    const path = '/api/devices/v1/authentication/auth_requests';
    expect((await fetch(`${url}${path}`, { method: 'POST', headers: { authorization } })).status).toBe(403);
    const last = peers.at(-1)?.peer as WebSocketPeer;
    api.answerAlways('auth', { status: 401, body: '{"error":"rejected"}' });
    await busctl(service.bus.address, ['call', ...TARGET, 'FetchJwtToken']);
    await eventually('the pair is empty', async () => (await pair()).join('') === '', LIMIT_MS);
    await last.next(({ opcode }) => opcode === OPCODE.close, LIMIT_MS);
    expect(last.closed).toEqual({ code: 1000, reason: 'shutting down proxy' });
    await expect(fetch(`${url}${path}`)).rejects.toThrow();
  }, 90_000);

  test('ends in good order, and has no token in its log', async () => {
    expect(await service.terminate()).toEqual({ code: 0, signal: null });
    const log = await service.log();
    for (const { authorization } of peers) expect(log).not.toContain(authorization.replace('Bearer ', ''));
    expect(log).not.toContain(api.token);
    expect(log).toContain('Stopped');
  }, 90_000);
});

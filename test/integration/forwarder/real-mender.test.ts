/** The forwarder beside that of Debian's `mender` 3.4: the same requests, the same refusals byte for byte. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Forwarder } from '../../../src/adapters/forwarder/forwarder.ts';
import { busctl } from '../../support/bus-tools.ts';
import { startDeviceApi, type DeviceApi } from '../../support/device-api.ts';
import { eventually } from '../../support/eventually.ts';
import { startMenderDaemon, type MenderDaemon } from '../../support/mender-daemon.ts';
import { credentials, get, openForwarder, type RawAnswer } from './support.ts';

const NAME = 'io.mender.AuthenticationManager';
const CALL = ['--json=short', 'call', NAME, '/io/mender/AuthenticationManager', 'io.mender.Authentication1'];
const PLAIN = '/api/devices/v1/inventory/device/attributes';
const CONNECT = '/api/devices/v1/deviceconnect/connect';
const UPGRADE = [
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];

let api: DeviceApi;
let mender: MenderDaemon;
let forwarder: Forwarder;
let theirs = { token: '', url: '' };
let ours = { token: '', url: '' };

beforeAll(async () => {
  api = await startDeviceApi();
  const started = await startMenderDaemon({ config: { ServerURL: api.url }, identity: 'serial=1' });
  if ('unavailable' in started) throw new Error(started.unavailable);
  mender = started;
  await eventually(
    'the real client has a token',
    async () => {
      const { stdout } = await busctl(mender.bus.address, [...CALL, 'GetJwtToken']);
      const [token = '', url = ''] = (JSON.parse(stdout) as { readonly data: readonly string[] }).data;
      theirs = { token, url };
      return token !== '';
    },
    60_000,
  );
  forwarder = openForwarder();
  ours = { token: theirs.token, url: await forwarder.serve(credentials(api.url, theirs.token)) };
}, 90_000);
afterAll(async () => {
  await forwarder.close();
  await mender.dispose();
  await api.close();
});

/** What of an answer must be alike: not the date, and headers in any order. */
function essence({ status, head, body }: RawAnswer): unknown {
  const headers = head
    .split('\r\n')
    .slice(1)
    .map((line) => line.toLowerCase())
    .filter((line) => !/^(date|connection|keep-alive):/.test(line))
    .sort();
  return { status, headers, body };
}

async function both(
  target: string,
  lines: (token: string) => readonly string[],
): Promise<readonly unknown[]> {
  const answers = [theirs, ours].map(async ({ url, token }) => essence(await get(url, target, lines(token))));
  return Promise.all(answers);
}

describe.each([
  ['without a token', PLAIN, (): string[] => [], 401, 'no authorization header\n'],
  [
    'with another token',
    PLAIN,
    () => ['Authorization: Bearer x'],
    401,
    'invalid JWT token in Authorization header\n',
  ],
  ['with another scheme', PLAIN, () => ['Authorization: Basic eDp5'], 401, 'no authorization header\n'],
  ['with a bare scheme', PLAIN, () => ['Authorization: Bearer'], 401, 'no authorization header\n'],
  [
    'with the token alone',
    PLAIN,
    (token: string) => [`Authorization: ${token}`],
    401,
    'no authorization header\n',
  ],
  [
    'in capitals',
    PLAIN,
    (token: string) => [`Authorization: BEARER ${token}`],
    401,
    'no authorization header\n',
  ],
  [
    'outside of the device API',
    '/other',
    (token: string) => [`Authorization: Bearer ${token}`],
    404,
    '404 page not found\n',
  ],
  ['of the root', '/', (): string[] => [], 404, '404 page not found\n'],
  [
    'to authenticate',
    '/api/devices/v1/authentication/auth_requests',
    (token: string) => [`Authorization: Bearer ${token}`],
    403,
    'Forbidden\n',
  ],
  [
    'to authenticate, without a token',
    '/api/devices/v1/authentication/auth_requests',
    (): string[] => [],
    403,
    'Forbidden\n',
  ],
  [
    'to authenticate in disguise',
    '/api/devices/v1/%61uthentication/x',
    (token: string) => [`Authorization: Bearer ${token}`],
    403,
    'Forbidden\n',
  ],
  ['for a WebSocket without a token', CONNECT, () => UPGRADE, 401, 'no authorization header\n'],
] as const)('a request %s', (_what, target, lines, status, body) => {
  test('is refused as the real client refuses it', async () => {
    const before = api.requests.length;
    const [real, own] = await both(target, lines);
    expect(own).toEqual(real);
    expect(own).toMatchObject({ status, body });
    expect(api.requests.slice(before).filter(({ endpoint }) => endpoint === 'other')).toEqual([]);
  });
});

test('with the token, a request and its refusal by the server are passed on alike', async () => {
  for (const target of ['/api/devices/v1/other/thing?a=b&c=%20', CONNECT]) {
    const [real, own] = (await both(target, (token) => [`Authorization: Bearer ${token}`])) as readonly {
      readonly status: number;
      readonly body: string;
    }[];
    expect(own).toMatchObject({ status: 404, body: '{"error":"not found"}' });
    expect({ status: real?.status, body: real?.body }).toEqual({ status: own?.status, body: own?.body });
  }
  const seen = api.of('other').filter(({ path }) => path.includes('thing'));
  expect(new Set(seen.map(({ method, path }) => `${method} ${path}`)).size).toBe(1);
});

test('while the server is away it answers 503, to a WebSocket byte for byte', async () => {
  await api.close();
  const token = (text: string): string[] => [`Authorization: Bearer ${text}`];
  const [realSocket, ownSocket] = await both(CONNECT, (text) => [
    ...token(text),
    'Connection: Upgrade',
    ...UPGRADE,
  ]);
  expect(ownSocket).toEqual(realSocket);
  expect(ownSocket).toMatchObject({ status: 503, body: 'Service Unavailable\n' });
  const [real, own] = await both(PLAIN, token);
  expect(real).toMatchObject({ status: 503 });
  expect(own).toMatchObject({ status: 503, body: 'the server cannot be reached: ECONNREFUSED\n' });
});

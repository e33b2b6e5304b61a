import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ServerStatus } from '../../../src/core/effect.ts';
import {
  sampleOffer,
  startDeviceApi,
  type Answer,
  type DeviceApi,
  type Endpoint,
} from '../../support/device-api.ts';
import type { MenderServer } from '../../../src/adapters/server/mender-server.ts';
import { eventually } from '../../support/eventually.ts';
import { everythingOf, failureOf, Lab, never } from './lab.ts';

const ID = '5f0e7c1e-6f0f-4f6e-9f6c-0d6a1c2b3d4e';
const LINK = 'https://files.example.net/a/release-2.mender?sig=geheim';

let lab: Lab;
let api: DeviceApi;
let client: MenderServer;

beforeEach(async () => {
  lab = new Lab();
  api = await startDeviceApi();
  client = lab.client([api.url]);
});
afterEach(async () => {
  await lab.dispose();
  await api.close();
});

const check = () => client.deployments.checkForDeployment(never);
const report = (status: ServerStatus, substate = '') =>
  client.deployments.reportStatus(ID, status, substate, never);
const bodies = (endpoint: Endpoint): readonly string[] => api.of(endpoint).map(({ body }) => body.toString());

async function* lines(...all: readonly string[]): AsyncGenerator<string> {
  yield* all;
}

describe('asking for a deployment', () => {
  it('is not possible while the device type is unknown', async () => {
    lab.deviceType = '';
    expect((await failureOf(check())).kind).toBe('config');
    expect(api.requests).toEqual([]);
  });

  it('says what is installed, keys sorted, and announces that maps are understood', async () => {
    lab.installed = {
      artifactName: 'shop-4.2',
      artifactGroup: 'beta',
      provides: {
        'rootfs-image.version': '4.2',
        'rootfs-image.checksum': '9f',
        device_type: 'liar',
        zone: 'ä',
      },
    };
    expect(await check()).toBeNull();
    expect(api.calls()).toEqual(['auth', 'next-v2']);
    expect(bodies('next-v2')).toEqual([
      '{"device_provides":{"artifact_group":"beta","artifact_name":"shop-4.2","device_type":"test-device",' +
        '"rootfs-image.checksum":"9f","rootfs-image.version":"4.2","zone":"ä"},"update_control_map":true}',
    ]);
    expect(api.of('next-v2')[0]?.headers).toMatchObject({
      authorization: `Bearer ${api.token}`,
      'content-length': String(api.of('next-v2')[0]?.body.length),
    });
    expect(api.problems).toEqual([]);
  });

  it('gets the offer, with its map byte for byte as it was sent', async () => {
    const map =
      '{"priority":1.0,\n "states":{"ArtifactInstall_Enter":{"action":"pause","x":"}]\\""}}, "states":{}}';
    const offer = JSON.stringify({ ...sampleOffer(ID, 'release-2', LINK), unknown: [{ a: '{' }] });
    api.answerAlways('next-v2', {
      status: 200,
      body: `${offer.slice(0, -1)} , "update_control_map" : ${map} }\n`,
    });
    expect(await check()).toEqual({
      deploymentId: ID,
      artifactName: 'release-2',
      location: { kind: 'url', url: LINK },
      controlMapText: map,
    });
    api.answerAlways('next-v2', null);
    for (const extra of [{}, { update_control_map: null }]) {
      api.offer({ ...sampleOffer(ID, 'release-2', LINK), ...extra });
      expect((await check())?.controlMapText).toBeNull();
    }
  });

  it('needs no more of an offer than its id and link', async () => {
    api.offer({ id: ID, artifact: { source: { uri: 'http://x/a' } } });
    expect(await check()).toMatchObject({ deploymentId: ID, artifactName: '' });
  });

  it('falls back to the older ways after 404, one after the other, anew at every poll', async () => {
    lab.deviceType = 'kiosk a&b=c+d/ü';
    lab.installed = { ...lab.installed, artifactName: '100%' };
    api.answerAlways('next-v2', { status: 404, body: '{"error":"not found"}' });
    api.offer(sampleOffer(ID, 'release-2', LINK));
    expect((await check())?.deploymentId).toBe(ID);
    expect(api.calls()).toEqual(['auth', 'next-v2', 'next-v1']);
    expect(bodies('next-v1')).toEqual(['{"artifact_name":"100%","device_type":"kiosk a&b=c+d/ü"}']);
    api.answerAlways('next-v1', { status: 404, body: '<html>not here</html>' });
    expect((await check())?.deploymentId).toBe(ID);
    expect(api.of('next-v1-get')[0]?.path).toBe(
      '/api/devices/v1/deployments/device/deployments/next?artifact_name=100%25&device_type=kiosk%20a%26b%3Dc%2Bd%2F%C3%BC',
    );
    api.answerAlways('next-v1-get', { status: 404 });
    expect((await failureOf(check())).details).toMatchObject({ reason: 'status', status: 404 });
    expect(api.calls().slice(1)).toEqual(
      [
        ['next-v2', 'next-v1'],
        ['next-v2', 'next-v1', 'next-v1-get'],
        ['next-v2', 'next-v1', 'next-v1-get'],
      ].flat(),
    );
    expect(api.problems).toEqual([]);
  });

  it('ends at any other status, without a fallback and without being taken for an answer', async () => {
    for (const status of [201, 202, 206, 400, 403, 405, 409, 410, 413, 418, 429, 500, 501, 502, 503, 504]) {
      api.answerNext('next-v2', { status, body: '{"error":"simulated","request_id":"1"}' });
      const error = await failureOf(check());
      expect(error.kind).toBe('server');
      expect(error.isTransient).toBe(true);
      expect(error.message).toContain(
        `found status ${status}, the server says "simulated", expected 200 or 204`,
      );
      expect(error.details).toMatchObject({ reason: 'status', status });
    }
    expect(api.of('next-v1')).toEqual([]);
  });

  it('refuses offers that are none, and shows nothing of their links', async () => {
    const good = sampleOffer(ID, 'release-2', LINK);
    const artifact = good['artifact'] as Record<string, unknown>;
    const bad: readonly (readonly [string, string])[] = [
      ['', '0 characters'],
      [JSON.stringify(good).slice(0, -3), 'not JSON'],
      ['[]', 'not an object'],
      ['"x"', 'not an object'],
      ['null', 'not an object'],
      ['{}', 'id'],
      [JSON.stringify({ ...good, id: 7 }), 'id'],
      [JSON.stringify({ ...good, id: '../../etc' }), 'id'],
      [JSON.stringify({ ...good, id: '' }), 'id'],
      [JSON.stringify({ ...good, artifact: null }), 'artifact'],
      [JSON.stringify({ ...good, artifact: { ...artifact, artifact_name: 7 } }), 'artifact.artifact_name'],
      [JSON.stringify({ ...good, artifact: { ...artifact, source: {} } }), 'artifact.source.uri'],
      [
        JSON.stringify({ ...good, artifact: { ...artifact, source: { uri: 'file:///geheim' } } }),
        'artifact.source.uri',
      ],
      [
        JSON.stringify({ ...good, artifact: { ...artifact, source: { uri: 'https://[geheim' } } }),
        'artifact.source.uri',
      ],
    ];
    for (const [body, message] of bad) {
      api.answerNext('next-v2', { status: 200, body });
      const error = await failureOf(check());
      expect(error.details['reason']).toBe('bad-answer');
      expect(error.message).toContain(message);
      expect(everythingOf(error)).not.toContain('geheim');
    }
  });

  it('reads an answer of a megabyte and no more', async () => {
    const fill = (bytes: number): string => {
      const offer = JSON.stringify({ ...sampleOffer(ID, 'release-2', LINK), fill: '' });
      return offer.replace('"fill":""', `"fill":"${'x'.repeat(bytes - offer.length)}"`);
    };
    api.answerNext('next-v2', { status: 200, body: fill(1024 * 1024) });
    expect((await check())?.deploymentId).toBe(ID);
    api.answerNext('next-v2', { status: 200, body: fill(1024 * 1024 + 1) });
    expect((await failureOf(check())).message).toContain('more than 1048576 bytes');
    // A stream without an end is left, too.
    api.answerNext('next-v2', (_request, response) => {
      response.writeHead(500);
      const timer = setInterval(() => response.write('x'.repeat(10_000)), 1);
      response.once('close', () => clearInterval(timer));
    });
    expect((await failureOf(check())).details['status']).toBe(500);
  });
});

describe('a request that is answered 401', () => {
  it('is repeated once, after one new authentication, with the new token', async () => {
    await check();
    api.revokeTokens();
    expect(await report('installing')).toBe('accepted');
    expect(api.calls().slice(2)).toEqual(['status', 'auth', 'status']);
    expect(bodies('status')).toEqual(['{"status":"installing"}', '{"status":"installing"}']);
    expect(api.of('status')[1]?.headers.authorization).toBe(`Bearer ${api.token}`);
  });

  it('fails when the repetition is answered 401 as well', async () => {
    api.answerAlways('status', { status: 401, body: '{"error":"revoked"}' });
    const error = await failureOf(report('installing'));
    expect(error.details).toMatchObject({ reason: 'unauthorized', status: 401 });
    expect(api.calls()).toEqual(['auth', 'status', 'auth', 'status']);
  });

  it('costs one authentication, however many requests it hits at once', async () => {
    await check();
    api.revokeTokens();
    const statuses: readonly ServerStatus[] = ['downloading', 'installing', 'rebooting', 'success'];
    await Promise.all([...statuses.map((status) => report(status)), check(), client.inventory.send(never)]);
    expect(api.of('auth')).toHaveLength(2);
    expect(api.problems).toEqual([]);
  });

  it('takes the token that another request has obtained meanwhile', async () => {
    await check();
    api.revokeTokens();
    let refuse: () => void = () => {};
    api.answerNext('status', (_request, response) => {
      refuse = () => response.writeHead(401).end('{"error":"unauthorized"}');
    });
    const late = report('downloading');
    await eventually('it has arrived', () => api.of('status').length === 1);
    await check();
    expect(api.of('auth')).toHaveLength(2);
    refuse();
    expect(await late).toBe('accepted');
    expect(api.of('auth')).toHaveLength(2);
    expect(api.of('status')[1]?.headers.authorization).toBe(`Bearer ${api.token}`);
  });

  it('goes to the server that gives the new token', async () => {
    const other = await startDeviceApi();
    try {
      client = lab.client([api.url, other.url]);
      await check();
      api.revokeTokens();
      api.answerAlways('auth', { status: 503 });
      expect(await report('installing')).toBe('accepted');
      expect(other.calls()).toEqual(['auth', 'status']);
    } finally {
      await other.close();
    }
  });

  it('says that the device is not accepted when the new authentication does', async () => {
    await check();
    api.revokeTokens();
    api.answerAlways('auth', { status: 401 });
    expect((await failureOf(check())).details['reason']).toBe('rejected');
    expect(client.authentication.cached()).toBeNull();
  });
});

describe('a request that is not answered at all', () => {
  const silent: Answer = () => undefined;

  it('goes to the next server when that gives a token, and once only to one that is still the first', async () => {
    const other = await startDeviceApi();
    try {
      client = lab.client([api.url, other.url], { http: { limits: { headersMs: 300 } } });
      await check();
      api.answerAlways('status', silent);
      expect((await failureOf(report('installing'))).details['reason']).toBe('timeout');
      expect(api.calls()).toEqual(['auth', 'next-v2', 'status', 'auth']);
      expect(other.calls()).toEqual([]);
      api.answerAlways('auth', { status: 503 });
      expect(await report('installing')).toBe('accepted');
      expect(other.calls()).toEqual(['auth', 'status']);
    } finally {
      await other.close();
    }
  });
});

describe('authorizing before a commit', () => {
  it('always asks the server, whatever is cached', async () => {
    await check();
    await client.deployments.authorize(never);
    expect(api.calls()).toEqual(['auth', 'next-v2', 'auth']);
    api.answerNext('auth', { status: 401 });
    expect((await failureOf(client.deployments.authorize(never))).details['reason']).toBe('rejected');
  });
});

describe('a status report', () => {
  it('has a substate only where there is one, cut to what servers take', async () => {
    expect(await report('installing', 'Executing script: ArtifactInstall_Enter_05')).toBe('accepted');
    expect(await report('pause_before_installing', `${'ä'.repeat(99)}bcd`)).toBe('accepted');
    expect(bodies('status')).toEqual([
      '{"status":"installing","substate":"Executing script: ArtifactInstall_Enter_05"}',
      `{"status":"pause_before_installing","substate":"${'ä'.repeat(99)}bc"}`,
    ]);
    expect(api.of('status')[0]?.path).toBe(`/api/devices/v1/deployments/device/deployments/${ID}/status`);
    expect(api.problems).toEqual([]);
  });

  it('is no abort when what stands before the server answers in its place', async () => {
    const pages: readonly Answer[] = [
      { status: 409, body: '<html>Conflict</html>' },
      { status: 409, body: 'conflict', headers: { 'content-type': 'text/html' } },
      { status: 409, body: 'upstream conflict' },
    ];
    for (const page of pages) {
      api.answerNext('status', page);
      expect((await failureOf(report('installing'))).details).toMatchObject({
        reason: 'status',
        status: 409,
      });
    }
    api.answerNext(
      'map',
      { status: 404, body: '404 page not found\n' },
      { status: 404, body: '<html></html>' },
    );
    for (const _ of [1, 2]) {
      const error = await failureOf(client.deployments.fetchControlMap(ID, never));
      expect(error.details).toMatchObject({ reason: 'status', status: 404 });
    }
    await check();
    api.answerNext('next-v2', { status: 401, body: '<html>log in</html>' });
    expect((await failureOf(check())).details['status']).toBe(401);
    expect(api.of('auth')).toHaveLength(1);
  });

  it('is an abort after 409 and after nothing else', async () => {
    api.answerNext('status', { status: 409, body: '{"error":"aborted"}' });
    expect(await report('installing')).toBe('aborted');
    for (const status of [200, 202, 400, 403, 404, 410, 412, 423, 429, 500, 502, 503]) {
      api.answerNext('status', { status });
      expect((await failureOf(report('installing'))).details).toMatchObject({ reason: 'status', status });
    }
  });

  it('hands on how long an overloaded server wants to be left alone, as seconds or as a date', async () => {
    const cases: readonly (readonly [Record<string, string>, number | undefined])[] = [
      [{ 'Retry-After': '17' }, 17],
      [{ 'RETRY-AFTER': ' 0 ' }, 0],
      // Measured against the server's clock, not ours.
      [{ 'retry-after': 'Tue, 03 Feb 2032 04:05:06 GMT', date: 'Tue, 03 Feb 2032 04:04:06 GMT' }, 60],
      [{ 'retry-after': 'Tue, 03 Feb 1998 04:05:06 GMT', date: 'Tue, 03 Feb 2032 04:04:06 GMT' }, 0],
      [{ 'retry-after': 'soon' }, undefined],
      [{ 'retry-after': '-5' }, undefined],
      [{ 'retry-after': '1.5' }, undefined],
      [{}, undefined],
    ];
    for (const [headers, seconds] of cases) {
      for (const status of [429, 503]) {
        api.answerNext('status', { status, headers });
        expect((await failureOf(report('success'))).details['retry-after-seconds']).toBe(seconds);
      }
    }
  });
});

describe('the control map of a deployment', () => {
  const fetch = () => client.deployments.fetchControlMap(ID, never);

  it('comes as the text that was sent', async () => {
    api.answerNext('map', {
      status: 200,
      body: '{"other":1,"update_control_map": {"priority": 0.0, "id":"x"} }',
    });
    expect(await fetch()).toEqual({ kind: 'map', text: '{"priority": 0.0, "id":"x"}' });
    expect(api.of('map')[0]?.path).toBe(
      `/api/devices/v2/deployments/device/deployments/${ID}/update_control_map`,
    );
  });

  it('is gone with its deployment after 404, and after nothing else', async () => {
    api.answerNext('map', { status: 404 });
    expect(await fetch()).toEqual({ kind: 'deployment-gone' });
    for (const status of [204, 400, 403, 409, 410, 429, 500, 503]) {
      api.answerNext('map', { status });
      expect((await failureOf(fetch())).details).toMatchObject({ reason: 'status', status });
    }
    for (const body of ['', '{}', '{"update_control_map":null}', 'x', '[]']) {
      api.answerNext('map', { status: 200, body });
      expect((await failureOf(fetch())).details['reason']).toBe('bad-answer');
    }
  });
});

describe('the deployment log', () => {
  const entry = (message: string, second = 7): string =>
    JSON.stringify({ timestamp: `2030-05-06T07:08:0${second}Z`, level: 'info', message });
  const upload = (...all: readonly string[]) => client.deployments.uploadLog(ID, lines(...all), never);
  const sent = (): readonly { readonly message: string }[] => {
    const body = api.of('log').at(-1)?.json ?? { messages: [] };
    return (body as { messages: { message: string }[] }).messages;
  };

  it('is sent line by line as it was written', async () => {
    expect(await upload(entry('a'), entry('b "ä"\u0000', 8))).toBe('accepted');
    expect(bodies('log')).toEqual([`{"messages":[${entry('a')},${entry('b "ä"\u0000', 8)}]}`]);
    expect(api.problems).toEqual([]);
  });

  it('marks damaged lines and keeps the others', async () => {
    await upload(
      entry('a'),
      entry('b').slice(0, -4),
      '{"timestamp":"x","level":"info","message":"m"}',
      '',
      entry('c', 9),
    );
    expect(sent()).toEqual([
      {
        timestamp: '2030-05-06T07:08:07Z',
        level: 'ERROR',
        message: '(THE ORIGINAL LOGS CONTAINED INVALID ENTRIES)',
      },
      JSON.parse(entry('a')),
      { timestamp: '2030-05-06T07:08:07Z', level: 'ERROR', message: '(CORRUPTED LOG DATA)' },
      { timestamp: '2030-05-06T07:08:07Z', level: 'ERROR', message: '(CORRUPTED LOG DATA)' },
      JSON.parse(entry('c', 9)),
    ]);
    expect(api.problems).toEqual([]);
  });

  it('always has an entry, for servers refuse a log without', async () => {
    await upload();
    expect(sent().map(({ message }) => message)).toEqual(['(THE DEPLOYMENT LOG WAS EMPTY)']);
    expect(api.problems).toEqual([]);
  });

  it('is cut to a megabyte, the newest kept, in bounded memory', async () => {
    const text = 'ü'.repeat(500);
    async function* endless(): AsyncGenerator<string> {
      for (let index = 0; index < 200_000; index++) yield entry(`${index} ${text}`);
    }
    const before = process.memoryUsage().rss;
    await client.deployments.uploadLog(ID, endless(), never);
    const [request] = api.of('log');
    expect(request!.body.length).toBeGreaterThan(990_000);
    expect(request!.body.length).toBeLessThanOrEqual(1_000_000);
    expect(sent()[0]?.message).toMatch(/^\(THE ORIGINAL LOGS WERE TOO BIG/);
    expect(sent().at(-1)?.message).toContain('199999 ');
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024);
    expect(api.problems).toEqual([]);
  });

  it('is halved for a server that takes less, and given up without wedging the deployment', async () => {
    const limit: Answer = ({ body }, response) => {
      response.writeHead(body.length > 3000 ? 413 : 204).end();
    };
    api.answerAlways('log', limit);
    const many = Array.from({ length: 100 }, (_, index) => entry(`${index} ${'x'.repeat(30)}`));
    expect(await upload(...many)).toBe('accepted');
    expect(sent().at(-1)?.message).toMatch(/^99 /);
    expect(sent()[0]?.message).toMatch(/TOO BIG/);
    api.answerAlways('log', { status: 413 });
    expect(await upload(...many)).toBe('accepted');
    expect(lab.log.records.at(-1)).toMatchObject({ level: 'warn' });
    expect(api.problems).toEqual([]);
  });

  it('is refused as a transient fault by everything else', async () => {
    for (const status of [200, 400, 404, 429, 500, 503]) {
      api.answerNext('log', { status });
      expect((await failureOf(upload(entry('a')))).details).toMatchObject({ reason: 'status', status });
    }
    api.answerNext('log', { status: 409 });
    expect(await upload(entry('a'))).toBe('aborted');
  });
});

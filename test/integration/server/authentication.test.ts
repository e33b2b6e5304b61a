import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuthenticationState } from '../../../src/ports/authentication.ts';
import { startDeviceApi, type Answer, type DeviceApi } from '../../support/device-api.ts';
import { eventually } from '../../support/eventually.ts';
import { everythingOf, failureOf, Lab, never, type LabOptions } from './lab.ts';

let lab: Lab;
const apis: DeviceApi[] = [];

beforeEach(() => {
  lab = new Lab();
});
afterEach(async () => {
  await lab.dispose();
  await Promise.all(apis.splice(0).map((api) => api.close()));
});

async function server(): Promise<DeviceApi> {
  const api = await startDeviceApi();
  apis.push(api);
  return api;
}

function authentication(servers: readonly string[], options: LabOptions = {}) {
  const { authentication: one } = lab.client(servers, options);
  const states: AuthenticationState[] = [];
  one.state$.subscribe((state) => states.push(state));
  return { one, states };
}

const refusal = (text = 'dev auth: unauthorized'): Answer => ({
  status: 401,
  body: JSON.stringify({ error: text, request_id: 'r' }),
});

describe('an identity that cannot be read', () => {
  it('is the one that was accepted last, which is kept for root only and across restarts', async () => {
    const api = await server();
    lab.program('identity', 'echo sn=K-77');
    await authentication([api.url]).one.authenticate(never);
    expect(readFileSync(lab.at('identity.json'), 'utf8')).toBe('{"sn":"K-77"}');
    expect(statSync(lab.at('identity.json')).mode & 0o777).toBe(0o600);
    for (const text of ['exit 1', 'echo nonsense', ':', 'kill -9 $$']) {
      lab.program('identity', text);
      await authentication([api.url]).one.authenticate(never);
      expect(api.of('auth').at(-1)?.json, text).toMatchObject({ id_data: '{"sn":"K-77"}' });
    }
    rmSync(lab.at('identity'));
    await authentication([api.url]).one.authenticate(never);
    expect(api.of('auth')).toHaveLength(6);
  });

  it('is none that no server has accepted, and none that is not whole', async () => {
    const api = await server();
    api.answerAlways('auth', refusal());
    lab.program('identity', 'echo sn=K-77');
    await failureOf(authentication([api.url]).one.authenticate(never));
    expect(existsSync(lab.at('identity.json'))).toBe(false);
    lab.program('identity', 'exit 1');
    for (const broken of ['', '{"sn":', '[]', 'null']) {
      writeFileSync(lab.at('identity.json'), broken);
      const error = await failureOf(authentication([api.url]).one.authenticate(never));
      expect(error.kind, broken).toBe('script');
    }
    expect(api.of('auth')).toHaveLength(1);
  });
});

describe('an authentication', () => {
  it('sends exactly what it signed, in the members and headers of the C++ client', async () => {
    const api = await server();
    lab.program(
      'identity',
      'echo mac=02:00:5e:00:00:02\necho sn=K-77\necho\necho mac=02:00:5e:00:00:01\necho a=x=y',
    );
    const { one, states } = authentication([api.url], { tenantToken: ' tt-demo\n', tier: 'micro' });
    const { token, serverUrl } = await one.authenticate(never);
    expect(api.problems).toEqual([]);
    expect([token.reveal(), serverUrl]).toEqual([api.token, api.url]);
    const [request] = api.requests;
    const pubkey = lab.openssl('pkey', '-in', 'mender-agent.pem', '-pubout');
    expect(request?.body.toString()).toBe(
      `{"id_data":"{\\"a\\":\\"x=y\\",\\"mac\\":[\\"02:00:5e:00:00:02\\",\\"02:00:5e:00:00:01\\"],\\"sn\\":\\"K-77\\"}",` +
        `"pubkey":${JSON.stringify(pubkey)},"tenant_token":"tt-demo","tier":"micro"}`,
    );
    expect(request?.headers).toMatchObject({
      'content-type': 'application/json',
      'content-length': String(request?.body.length),
      accept: 'application/json',
      authorization: 'API_KEY',
      'user-agent': 'Holdpoint/1.2.3',
    });
    writeFileSync(lab.at('body'), request!.body);
    writeFileSync(lab.at('sig'), Buffer.from(String(request!.headers['x-men-signature']), 'base64'));
    const verified = lab.opensslLine('pkeyutl -verify -inkey mender-agent.pem -rawin -in body -sigfile sig');
    expect(verified).toContain('Verified Successfully');
    expect(states.map(({ status }) => status)).toEqual(['none', 'authorized']);
  });

  it('leaves out an empty tenant token', async () => {
    const api = await server();
    await authentication([api.url]).one.authenticate(never);
    expect(Object.keys(api.requests[0]?.json as object)).toEqual(['id_data', 'pubkey', 'tier']);
  });

  it('is one for all who ask at the same time, and a new one for who asks later', async () => {
    const api = await server();
    const { one, states } = authentication([api.url]);
    const all = await Promise.all(
      Array.from({ length: 50 }, () => one.authenticate(new AbortController().signal)),
    );
    expect(new Set(all).size).toBe(1);
    expect(api.calls()).toEqual(['auth']);
    await one.authenticate(never);
    expect(api.calls()).toEqual(['auth', 'auth']);
    // Everybody who waits for a token is told of every attempt.
    expect(states.map(({ status }) => status)).toEqual(['none', 'authorized', 'authorized']);
  });

  it('goes on for the others when one of them no longer waits, and stops when nobody does', async () => {
    const api = await server();
    let ended = 0;
    let release: () => void = () => {};
    const held: Answer = (_request, response) => {
      response.once('close', () => (ended += response.writableFinished ? 0 : 1));
      release = () => response.writeHead(200, { 'content-length': 5 }).end('token');
    };
    api.answerNext('auth', held, held);
    const { one } = authentication([api.url]);
    const [first, second] = [new AbortController(), new AbortController()];
    const left = failureOf(one.authenticate(first.signal));
    const stays = one.authenticate(second.signal);
    await eventually('the request has arrived', () => api.requests.length === 1);
    first.abort();
    expect((await left).kind).toBe('cancelled');
    expect(ended).toBe(0);
    release();
    expect((await stays).token.reveal()).toBe('token');

    const third = new AbortController();
    const alone = failureOf(one.authenticate(third.signal));
    await eventually('the second request has arrived', () => api.requests.length === 2);
    third.abort();
    // Before what was stopped has come to its end: who comes now begins anew.
    const next = alone.then(() => one.authenticate(never));
    expect((await alone).kind).toBe('cancelled');
    expect((await next).token.reveal()).toBe(api.token);
    await eventually('the connection has ended', () => ended === 1);
    expect(one.cached()?.token.reveal()).toBe(api.token);
  });

  it('asks the next server after anything but a token, in order, and stays with the one that gave it', async () => {
    const [bad, slow, good, never4] = [await server(), await server(), await server(), await server()];
    bad.answerAlways('auth', { status: 400, body: '{"error":"bad request"}' });
    slow.answerAlways('auth', () => undefined);
    const dead = await server();
    await dead.close();
    const { one } = authentication([dead.url, bad.url, slow.url, good.url, never4.url], {
      http: { limits: { headersMs: 300 } },
    });
    expect((await one.authenticate(never)).serverUrl).toBe(good.url);
    expect([bad, slow, good, never4].map((api) => api.calls().length)).toEqual([1, 1, 1, 0]);
  });

  it('asks no other server when the device itself cannot speak to any', async () => {
    const [first, second] = [await server(), await server()];
    const { one } = authentication([first.url.replace('http:', 'https:'), second.url], {
      http: { clientCertificate: { certificatePath: lab.at('not-there.crt'), key: lab.at('client.key') } },
    });
    const error = await failureOf(one.authenticate(never));
    expect(error.kind).toBe('config');
    expect(error.message).toContain('not-there.crt');
    expect([first, second].map((api) => api.requests.length)).toEqual([0, 0]);
  });

  it('waits as long as the server that wants to be left alone the longest', async () => {
    const [first, second, third] = [await server(), await server(), await server()];
    const busy = (seconds: number): Answer => ({ status: 503, headers: { 'retry-after': String(seconds) } });
    first.answerNext('auth', busy(20));
    second.answerNext('auth', busy(120));
    third.answerNext('auth', { status: 500 });
    const { one } = authentication([first.url, second.url, third.url]);
    const { details } = await failureOf(one.authenticate(never));
    expect(details).toMatchObject({ status: 500, 'retry-after-seconds': 120 });
  });

  it('reads the identity anew each time', async () => {
    const api = await server();
    const { one } = authentication([api.url]);
    await one.authenticate(never);
    lab.program('identity', 'echo serial=other');
    await one.authenticate(never);
    expect(api.requests.map(({ json }) => (json as { id_data: string }).id_data)).toEqual([
      '{"serial":"bench-0001"}',
      '{"serial":"other"}',
    ]);
  });
});

describe('the standing of the device', () => {
  it('is pending until it is accepted, and rejected when it no longer is', async () => {
    const api = await server();
    const { one, states } = authentication([api.url]);
    api.answerNext('auth', refusal(), refusal());
    for (const _ of [1, 2]) {
      const error = await failureOf(one.authenticate(never));
      expect(error).toMatchObject({ kind: 'server', details: { reason: 'pending', status: 401 } });
      expect(error.message).toContain('the server says "dev auth: unauthorized"');
    }
    await one.authenticate(never);
    api.answerNext('auth', refusal());
    expect((await failureOf(one.authenticate(never))).details['reason']).toBe('rejected');
    expect(states.map(({ status, credentials }) => [status, credentials !== null])).toEqual([
      ['none', false],
      ['pending', false],
      ['pending', false],
      ['authorized', true],
      ['rejected', false],
    ]);
  });

  it('is what the server says, where it says so', async () => {
    const api = await server();
    api.answerNext('auth', refusal('device was rejected by the operator'));
    const { one } = authentication([api.url]);
    expect((await failureOf(one.authenticate(never))).details['reason']).toBe('rejected');
    await one.authenticate(never);
    api.answerNext('auth', refusal('the device is pending'));
    expect((await failureOf(one.authenticate(never))).details['reason']).toBe('pending');
  });

  it('is unreachable after other answers, which leave the token in place', async () => {
    const api = await server();
    const { one, states } = authentication([api.url]);
    await one.authenticate(never);
    const token = api.token;
    for (const status of [400, 404, 409, 429, 500, 502, 503]) {
      api.answerNext('auth', { status, body: 'no', headers: { 'retry-after': '7' } });
      const error = await failureOf(one.authenticate(never));
      expect(error.details).toMatchObject({ reason: 'status', status, 'retry-after-seconds': 7 });
      expect(states.at(-1)?.status).toBe('unreachable');
      expect(one.cached()?.token.reveal()).toBe(token);
    }
  });

  it('is not authorized by an empty answer, a log-in page or a text that is no token', async () => {
    const api = await server();
    const { one } = authentication([api.url]);
    const answers: readonly Answer[] = [
      { status: 200, body: '' },
      { status: 200, body: '<!DOCTYPE html><html>Welcome to the hotel</html>' },
      { status: 200, body: 'welcome', headers: { 'content-type': 'text/html; charset=utf-8' } },
      { status: 200, body: 'two words' },
      { status: 200, body: 'a\r\nX-Injected: 1' },
      { status: 200, body: 'a'.repeat(20_000) },
      { status: 200, body: 'b'.repeat(2_000_000) },
      { status: 204 },
      { status: 302, headers: { location: 'http://127.0.0.1:1/login' } },
    ];
    const reasons: unknown[] = [];
    for (const answer of answers) {
      api.answerNext('auth', answer);
      reasons.push((await failureOf(one.authenticate(never))).details['reason']);
    }
    const bad = 'bad-answer';
    expect(reasons).toEqual([bad, 'web-page', 'web-page', bad, bad, bad, bad, 'status', 'redirect']);
    expect(one.cached()).toBeNull();
  });

  it('is not judged by a page that somebody in between answers with', async () => {
    const api = await server();
    const { one, states } = authentication([api.url]);
    await one.authenticate(never);
    for (const status of [401, 403]) {
      api.answerNext('auth', { status, body: '<html>Please log in</html>' });
      expect((await failureOf(one.authenticate(never))).details['reason']).toBe('status');
      expect(states.at(-1)).toMatchObject({ status: 'unreachable', credentials: { serverUrl: api.url } });
    }
  });

  it('is unknown without a server, for which nothing is run and no key made', async () => {
    const { deployments, authentication: none } = lab.client([]);
    expect(deployments.isConfigured).toBe(false);
    expect((await failureOf(none.authenticate(never))).message).toBe('no server is configured');
    expect((await failureOf(deployments.checkForDeployment(never))).message).toBe('no server is configured');
    expect(existsSync(lab.at('mender-agent.pem'))).toBe(false);
  });

  it('keeps a token when it is another server that does not know the device', async () => {
    const [first, second] = [await server(), await server()];
    first.answerNext('auth', { status: 503 });
    const { one } = authentication([first.url, second.url]);
    expect((await one.authenticate(never)).serverUrl).toBe(second.url);
    first.answerNext('auth', refusal());
    second.answerNext('auth', { status: 502 });
    expect((await failureOf(one.authenticate(never))).details['status']).toBe(401);
    expect(one.cached()?.serverUrl).toBe(second.url);
  });

  it('stays as it was when the device itself cannot say who it is', async () => {
    const api = await server();
    const { one, states } = authentication([api.url], {
      identity: { program: lab.at('identity'), timeoutMs: 300 },
    });
    await one.authenticate(never);
    const cases: readonly (readonly [string, RegExp])[] = [
      ['echo serial=1; exit 3', /ended with 3, expected 0/],
      ['echo serial=1; echo what is this', /line 2: found "what is this", expected key=value/],
      ['true', /found no output/],
      ['echo serial=1; sleep 60', /did not end within 0.3 s/],
      ['yes a=b', /did not end|more than 65536 bytes/],
      ['echo =1', /expected key=value/],
      ['head -c 70000 /dev/zero | tr "\\0" x; echo', /more than 65536 bytes/],
    ];
    for (const [program, message] of cases) {
      lab.program('identity', program);
      const error = await failureOf(one.authenticate(never));
      expect(error.kind).toBe('script');
      expect(error.message).toMatch(message);
      expect(states.at(-1)).toMatchObject({ status: 'authorized', failure: error.message });
    }
    lab.program('identity', 'true', 0o644);
    expect((await failureOf(one.authenticate(never))).message).toContain('no permission to execute it');
    expect(api.calls()).toEqual(['auth']);
  });
});

describe('the token', () => {
  it('shows up neither in logs nor in anything that is printed', async () => {
    const api = await server();
    const { deployments, authentication: one } = lab.client([api.url], { tenantToken: 'tenant-secret' });
    const credentials = await one.authenticate(never);
    api.answerAlways(
      'next-v2',
      (request, response) =>
        void response
          .writeHead(500)
          .end(JSON.stringify({ error: `cannot read ${request.headers.authorization}` })),
    );
    const error = await failureOf(deployments.checkForDeployment(never));
    expect(error.message).toContain('cannot read Bearer (token)');
    const printed = [
      everythingOf(error),
      inspect(credentials, { depth: 9, showHidden: true }),
      JSON.stringify(credentials),
      String(credentials.token),
      `${credentials.token}`,
      inspect(lab.log.records, { depth: 9 }),
      inspect(error, { depth: 9, showHidden: true }),
    ].join('\n');
    expect(printed).not.toContain(api.token);
    expect(printed).not.toContain('tenant-secret');
  });
});

describe('the tenant token', () => {
  it('shows up in no error and no log, also where a server repeats it', async () => {
    const api = await server();
    api.answerNext('auth', refusal('unknown tenant: tt-secret'), {
      status: 400,
      body: '{"error":"tt-secret?"}',
    });
    const { one } = authentication([api.url], { tenantToken: ' tt-secret\n' });
    for (const words of ['unknown tenant: (tenant token)', '(tenant token)?']) {
      const error = await failureOf(one.authenticate(never));
      expect(error.message).toContain(words);
      expect(everythingOf(error) + inspect(lab.log.records, { depth: 9 })).not.toContain('tt-secret');
    }
    expect(api.of('auth').map(({ json }) => (json as { tenant_token: string }).tenant_token)).toEqual([
      'tt-secret',
      'tt-secret',
    ]);
  });
});

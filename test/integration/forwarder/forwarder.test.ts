import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { request as httpRequest } from 'node:http';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Forwarder } from '../../../src/adapters/forwarder/forwarder.ts';
import { eventually } from '../../support/eventually.ts';
import { RecordingLog } from '../../support/recording-log.ts';
import { credentials, get, openForwarder, raw, startUpstream, TOKEN, type Upstream } from './support.ts';

const PATH = '/api/devices/v1/thing';
const BEARER = { authorization: `Bearer ${TOKEN}` };

let upstream: Upstream;
let forwarder: Forwarder;
let log: RecordingLog;
let url: string;

beforeEach(async () => {
  upstream = await startUpstream();
  log = new RecordingLog();
  forwarder = openForwarder({}, log);
  url = await forwarder.serve(credentials(upstream.url));
});
afterEach(async () => {
  await upstream.close();
  await forwarder.close();
  expect(JSON.stringify(log.records)).not.toContain(TOKEN);
});

const fetchText = async (target: string, init: RequestInit = {}): Promise<string> => {
  const answer = await fetch(`${url}${target}`, { ...init, headers: { ...BEARER, ...init.headers } });
  return `${answer.status} ${await answer.text()}`;
};

describe('the address', () => {
  test('is on the loopback interface only, and the same over every new token', async () => {
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(await forwarder.serve(credentials(upstream.url, 'another'))).toBe(url);
    const elsewhere = connect({ host: '127.0.0.2', port: Number(new URL(url).port) });
    const [error] = (await once(elsewhere, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNREFUSED');
  });

  test('accepts nobody while there is no token, and is back at the same port', async () => {
    expect(await forwarder.serve(null)).toBe('');
    await expect(fetch(`${url}${PATH}`)).rejects.toThrow();
    expect(await forwarder.serve(credentials(upstream.url))).toBe(url);
    expect(await fetchText(PATH)).toBe('200 the answer');
  });

  test('moves to another port where the old one has been taken meanwhile', async () => {
    await forwarder.serve(null);
    const { createServer } = await import('node:net');
    const thief = createServer().listen(Number(new URL(url).port), '127.0.0.1');
    await once(thief, 'listening');
    const moved = await forwarder.serve(credentials(upstream.url));
    expect(moved).not.toBe(url);
    url = moved;
    expect(await fetchText(PATH)).toBe('200 the answer');
    await new Promise((resolve) => thief.close(resolve));
  });

  test('an old token opens nothing once there is a new one', async () => {
    await forwarder.serve(credentials(upstream.url, 'new'));
    expect(await fetchText(PATH)).toBe('401 invalid JWT token in Authorization header\n');
    expect(upstream.requests).toEqual([]);
  });
});

describe('a request', () => {
  test('reaches the server below the path of its own URL, with its Host, and without what belongs to one connection', async () => {
    await forwarder.serve(credentials(`${upstream.url}/mender/base`));
    await get(url, `${PATH}?q=%20x`, [
      `Authorization: bearer ${TOKEN}`,
      'X-Own: one',
      'X-Own: two',
      'Connection: X-Hop, close',
      'X-Hop: secret',
      'Keep-Alive: timeout=9',
      'Proxy-Authorization: Basic eDp5',
      'TE: trailers',
      'User-Agent: an add-on',
    ]);
    const [seen] = upstream.requests;
    expect(seen?.url).toBe(`/mender/base${PATH}?q=%20x`);
    const names = (seen?.raw ?? []).filter((_text, at) => at % 2 === 0).map((name) => name.toLowerCase());
    const valueOf = (name: string): unknown =>
      seen?.raw[(seen.raw.findIndex((text) => text.toLowerCase() === name) ?? 0) + 1];
    expect(valueOf('host')).toBe(`127.0.0.1:${upstream.port}`);
    expect(valueOf('authorization')).toBe(`Bearer ${TOKEN}`);
    expect(valueOf('user-agent')).toBe('an add-on');
    expect(names.filter((name) => name === 'x-own')).toHaveLength(2);
    for (const hop of ['x-hop', 'keep-alive', 'proxy-authorization', 'te']) expect(names).not.toContain(hop);
  });

  test.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])('may be a %s', async (method) => {
    upstream.handle = (message, response) => {
      message.pipe(response.writeHead(207, { 'x-method': message.method, 'set-cookie': ['a=1', 'b=2'] }));
    };
    const isBare = method === 'GET';
    const answer = await fetch(`${url}${PATH}`, {
      method,
      headers: BEARER,
      ...(isBare ? {} : { body: 'text' }),
    });
    expect([answer.status, answer.headers.get('x-method'), await answer.text()]).toEqual([
      207,
      method,
      isBare ? '' : 'text',
    ]);
    expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
  });

  test('of HEAD, and answers without a body, leave the connection usable', async () => {
    upstream.handle = (message, response) =>
      void response.writeHead(message.method === 'HEAD' ? 200 : 304, { 'x-size': '7' }).end();
    const head = await fetch(`${url}${PATH}`, { method: 'HEAD', headers: BEARER });
    expect([head.status, head.headers.get('x-size')]).toEqual([200, '7']);
    expect((await fetch(`${url}${PATH}`, { headers: BEARER })).status).toBe(304);
  });

  test('of 64 MiB each way is streamed: neither side is read ahead of the other', async () => {
    const piece = randomBytes(1024 * 1024);
    const pieces = 64;
    const wanted = createHash('sha256');
    for (let at = 0; at < pieces; at++) wanted.update(piece);
    const hash = wanted.digest('hex');
    let received = '';
    upstream.handle = (message, response) => {
      const sum = createHash('sha256');
      message.on('data', (chunk: Buffer) => sum.update(chunk));
      message.on('end', () => {
        received = sum.digest('hex');
        Readable.from(Array.from({ length: pieces }, () => piece)).pipe(response);
      });
    };
    const sent = httpRequest(`${url}${PATH}`, { method: 'PUT', headers: BEARER });
    Readable.from(Array.from({ length: pieces }, () => piece)).pipe(sent);
    const [answer] = (await once(sent, 'response')) as [Readable];
    const sum = createHash('sha256');
    for await (const chunk of answer as AsyncIterable<Buffer>) sum.update(chunk);
    expect([received, sum.digest('hex')]).toEqual([hash, hash]);
  });

  test('whose client does not read stops the server from sending: memory stays bounded', async () => {
    let written = 0;
    upstream.handle = (_message, response) => {
      const piece = Buffer.alloc(256 * 1024);
      const more = (): void => {
        while (!response.destroyed && response.write(piece)) written += piece.length;
        written += piece.length;
      };
      response.on('drain', more);
      more();
    };
    const lazy = httpRequest(`${url}${PATH}`, { headers: BEARER });
    lazy.end();
    const [answer] = (await once(lazy, 'response')) as [Readable];
    answer.pause();
    let before = -1;
    // Comes to rest where every buffer on the way is full.
    await eventually(
      'the server is stopped',
      async () => {
        const isAtRest = written > 0 && written === before;
        before = written;
        await new Promise((resolve) => setTimeout(resolve, 300));
        return isAtRest && written === before;
      },
      60_000,
    );
    expect(written).toBeLessThan(64 * 1024 * 1024);
    lazy.destroy();
    await eventually('the server is told that nobody is there', () => upstream.sockets.size === 0);
  });

  test('whose body the server refuses to read gets that answer whole, on a connection that goes on', async () => {
    upstream.handle = (_message, response) => void response.writeHead(413).end('too much');
    const body = Buffer.alloc(4 * 1024 * 1024);
    expect(await fetchText(PATH, { method: 'PUT', body })).toBe('413 too much');
    upstream.handle = (_message, response) => void response.end('again');
    expect(await fetchText(PATH)).toBe('200 again');
  });

  test('is ended at the server when the client leaves', async () => {
    const arrived = new Promise<void>((resolve) => (upstream.handle = () => resolve()));
    const leaving = httpRequest(`${url}${PATH}`, { headers: BEARER });
    leaving.on('error', () => undefined);
    leaving.end();
    await arrived;
    leaving.destroy();
    await eventually('the server is told', () => upstream.sockets.size === 0);
  });

  test.each([
    '/api/devices/v1/authentication/auth_requests',
    '/api/devices/v1/%61uthentication/auth_requests',
    '/api/devices/v1/%2561uthentication/auth_requests',
    '/api/devices/v1//authentication/auth_requests',
    '//api/devices/v1/authentication/auth_requests',
    '/api/devices/v1/x/../authentication/auth_requests',
    '/api/devices/v1/x/%2e%2e/authentication/auth_requests',
    '/x/../api/devices/v1/authentication/auth_requests',
    '/api/devices/v1/./authentication',
    '/api/devices/v1/Authentication/auth_requests',
    '/api/devices/v1/authentication;x=1/auth_requests',
    '/api/devices/v1%2fauthentication/auth_requests',
    '/api/devices/v1\\authentication/auth_requests',
    '/api/devices/v2/authentication/auth_requests',
    'http://127.0.0.1/api/devices/v1/authentication/auth_requests',
  ])('for %s is forbidden', async (target) => {
    const { status, body } = await get(url, target);
    expect([status, body]).toEqual([403, 'Forbidden\n']);
    expect(upstream.requests).toEqual([]);
  });

  test.each([
    '/',
    '/api',
    '/api/management/v1/x',
    '/api/devices/../management/x',
    '/api/devices/v1/a%2fb',
    '*',
  ])('for %s is unknown', async (target) => {
    const { status } = await get(url, target);
    expect([400, 404]).toContain(status);
    expect(upstream.requests).toEqual([]);
  });
});

describe('a server', () => {
  test('that cannot be reached is 503 with a reason, and one line in the log', async () => {
    await upstream.close();
    for (let time = 0; time < 3; time++) {
      expect(await fetchText(PATH)).toBe('503 the server cannot be reached: ECONNREFUSED\n');
    }
    expect(log.records.filter(({ level }) => level === 'warn')).toHaveLength(1);
  });

  test('that never answers is 503 after the time limit', async () => {
    const patient = openForwarder({ limits: { headersMs: 300 } }, log);
    const address = await patient.serve(credentials(upstream.url));
    upstream.handle = () => undefined;
    const { status, body } = await get(address, PATH);
    expect([status, body]).toEqual([503, 'the server cannot be reached: UND_ERR_HEADERS_TIMEOUT\n']);
    await patient.close();
  });

  test('that falls silent inside an answer ends it visibly', async () => {
    const patient = openForwarder({ limits: { idleMs: 300 } }, log);
    const address = await patient.serve(credentials(upstream.url));
    upstream.handle = (_message, response) =>
      void response.writeHead(200, { 'content-length': 10 }).write('half');
    const answer = await fetch(`${address}${PATH}`, { headers: BEARER });
    await expect(answer.text()).rejects.toThrow();
    await patient.close();
  });
});

describe('what a client can cost', () => {
  test('connections are bounded', async () => {
    const small = openForwarder({ limits: { maxConnections: 3 } }, log);
    const address = await small.serve(credentials(upstream.url));
    const port = Number(new URL(address).port);
    const sockets = Array.from({ length: 8 }, () => connect({ host: '127.0.0.1', port }));
    let ended = 0;
    for (const socket of sockets)
      socket
        .on('error', () => undefined)
        .on('close', () => (ended += 1))
        .resume();
    await eventually('all but three are turned away', () => ended === 5);
    for (const socket of sockets) socket.destroy();
    await small.close();
  });

  test('clients that fall silent in the middle of a request are given up, at the server too', async () => {
    const small = openForwarder({ limits: { clientIdleMs: 200 } }, log);
    const address = await small.serve(credentials(upstream.url));
    let isGone = false;
    upstream.handle = (message) => void message.once('close', () => (isGone = true));
    const lines = ['Host: x', `Authorization: Bearer ${TOKEN}`, 'Content-Length: 10', '', 'half'];
    await raw(address, [`POST ${PATH} HTTP/1.1`, ...lines].join('\r\n'));
    await eventually('the server is left', () => isGone);
    await small.close();
  });

  test('a header that is too large is refused, and one that does not end is given up', async () => {
    expect((await get(url, PATH, [`X-Big: ${'x'.repeat(64 * 1024)}`])).status).toBe(431);
    const small = openForwarder({ limits: { clientIdleMs: 200 } }, log);
    const address = await small.serve(credentials(upstream.url));
    const { status } = await raw(address, `GET ${PATH} HTTP/1.1\r\nHost: x\r\nX-`);
    expect([0, 408]).toContain(status);
    await small.close();
  });

  test('two lengths, or a length and pieces, are refused and never passed on', async () => {
    const head = `POST ${PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ${TOKEN}\r\n`;
    for (const lines of [
      'Content-Length: 1\r\nContent-Length: 2\r\n',
      'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n',
    ]) {
      expect((await raw(url, `${head}${lines}\r\n0\r\n\r\n`)).status).toBe(400);
    }
    expect(upstream.requests).toEqual([]);
  });
});

test('closing lets an answer under way come to its end, and then lets nobody in', async () => {
  let finish = (): void => {};
  const begun = new Promise<void>((resolve) => {
    upstream.handle = (_message, response) => {
      response.write('first ');
      finish = () => response.end('last');
      resolve();
    };
  });
  const answer = fetchText(PATH);
  await begun;
  await eventually('the answer has begun', () => upstream.sockets.size === 1);
  const closed = forwarder.close();
  finish();
  expect(await answer).toBe('200 first last');
  await closed;
  expect(await forwarder.serve(credentials(upstream.url))).toBe('');
});

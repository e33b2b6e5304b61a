import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, request as httpRequest, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProxyEnvironment } from '../../../src/adapters/http/proxy.ts';
import { startDeviceApi, type DeviceApi } from '../../support/device-api.ts';
import { everythingOf, failureOf, Lab, never, type LabOptions } from './lab.ts';

/** A name only the proxy knows: whoever asks for it directly finds nothing. */
const HOST = 'server.invalid';

let lab: Lab;
let secure: DeviceApi;
let plain: DeviceApi;
const closers: (() => void)[] = [];

beforeEach(async () => {
  lab = new Lab();
  lab.authority('ca');
  lab.certificate('server', 'ca', `DNS:${HOST}`);
  lab.certificate('client', 'ca');
  lab.certificate('proxy', 'ca', 'DNS:localhost,IP:127.0.0.1');
  secure = await startDeviceApi({
    tls: {
      cert: pem('server.crt'),
      key: pem('server.key'),
      ca: pem('ca.crt'),
      requestCert: true,
      rejectUnauthorized: false,
    },
  });
  plain = await startDeviceApi();
});
afterEach(async () => {
  await lab.dispose();
  for (const close of closers.splice(0)) close();
  await Promise.all([secure.close(), plain.close()]);
});

const pem = (name: string): Buffer => readFileSync(lab.at(name));
const url = (api: DeviceApi): string => `${api === secure ? 'https' : 'http'}://${HOST}:${api.port}`;

interface TestProxy {
  readonly port: number;
  /** Requests as the proxy saw them. */
  readonly seen: string[];
  readonly sockets: Set<Socket>;
}

async function startProxy(
  options: { readonly authorization?: string; readonly isTls?: boolean } = {},
): Promise<TestProxy> {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const server: Server = options.isTls
    ? createTlsServer({ cert: pem('proxy.crt'), key: pem('proxy.key') })
    : createServer();
  const isWelcome = (given: string | undefined): boolean => given === options.authorization;
  server.on('connect', (message, client: Socket) => {
    seen.push(`CONNECT ${message.url}`);
    client.on('error', () => undefined);
    if (!isWelcome(message.headers['proxy-authorization'])) {
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    const upstream = connect(Number(message.url?.split(':')[1]), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(client).pipe(upstream);
    });
    upstream.on('error', () => client.destroy());
    client.on('close', () => upstream.destroy());
  });
  server.on('request', (message, response) => {
    seen.push(`${message.method} ${message.url}`);
    if (!isWelcome(message.headers['proxy-authorization'])) {
      response.writeHead(407, { 'content-type': 'text/html' }).end('<html>who are you</html>');
      return;
    }
    const { 'proxy-authorization': _mine, ...headers } = message.headers;
    const target = new URL(message.url ?? '');
    const onward = httpRequest(
      {
        host: '127.0.0.1',
        port: target.port,
        method: message.method,
        path: target.pathname + target.search,
        headers,
      },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    onward.on('error', () => response.destroy());
    message.pipe(onward);
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, seen, sockets };
}

const client = (api: DeviceApi, proxyEnvironment: ProxyEnvironment, http: LabOptions['http'] = {}) =>
  lab.client([url(api)], { http: { serverCertificatePath: lab.at('ca.crt'), proxyEnvironment, ...http } })
    .deployments;
const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;

describe('a proxy', () => {
  it('is asked for a tunnel to https, in which the server is checked and sees the client certificate', async () => {
    const proxy = await startProxy();
    const clientCertificate = { certificatePath: lab.at('client.crt'), key: lab.at('client.key') };
    const environment = { https_proxy: `http://127.0.0.1:${proxy.port}` };
    expect(await client(secure, environment, { clientCertificate }).checkForDeployment(never)).toBeNull();
    expect(proxy.seen).toEqual([`CONNECT ${HOST}:${secure.port}`]);
    expect(secure.requests.map(({ clientCertificate: name, headers }) => [name, headers.host])).toEqual([
      ['client', `${HOST}:${secure.port}`],
      ['client', `${HOST}:${secure.port}`],
    ]);
    expect(secure.problems).toEqual([]);
    const distrusting = client(secure, environment, { serverCertificatePath: null });
    expect((await failureOf(distrusting.checkForDeployment(never))).details['reason']).toBe('tls');
  });

  it('refuses a server that shows the certificate of another name inside of the tunnel', async () => {
    const proxy = await startProxy();
    const other = lab.client([`https://other.invalid:${secure.port}`], {
      http: {
        serverCertificatePath: lab.at('ca.crt'),
        proxyEnvironment: { https_proxy: `http://127.0.0.1:${proxy.port}` },
      },
    });
    const error = await failureOf(other.deployments.checkForDeployment(never));
    expect(error.details['reason']).toBe('tls');
    expect(secure.requests).toEqual([]);
  });

  it('is asked for plain http itself, not for a tunnel', async () => {
    const proxy = await startProxy();
    const environment = { HTTP_PROXY: `127.0.0.1:${proxy.port}` };
    expect(await client(plain, environment).checkForDeployment(never)).toBeNull();
    expect(proxy.seen).toEqual([
      `POST ${url(plain)}/api/devices/v1/authentication/auth_requests`,
      `POST ${url(plain)}/api/devices/v2/deployments/device/deployments/next`,
    ]);
    expect(plain.problems).toEqual([]);
  });

  it('may itself be reached through TLS', async () => {
    const proxy = await startProxy({ isTls: true });
    const environment = { https_proxy: `https://localhost:${proxy.port}` };
    expect(await client(secure, environment).checkForDeployment(never)).toBeNull();
    expect(proxy.seen).toHaveLength(1);
  });

  it('gets user and password, odd characters included, and the server does not', async () => {
    const proxy = await startProxy({ authorization: basic('us:er:p@ss%20/wörd') });
    const login = `${encodeURIComponent('us:er')}:p@ss%2520%2Fw%C3%B6rd`;
    const environment = {
      https_proxy: `http://${login}@127.0.0.1:${proxy.port}`,
      http_proxy: `http://${login}@127.0.0.1:${proxy.port}`,
    };
    expect(await client(secure, environment).checkForDeployment(never)).toBeNull();
    expect(await client(plain, environment).checkForDeployment(never)).toBeNull();
    for (const { headers } of [...secure.requests, ...plain.requests]) {
      expect(headers['proxy-authorization']).toBeUndefined();
    }
  });

  it('that wants other credentials, or is no proxy, is told apart and named without its password', async () => {
    const proxy = await startProxy({ authorization: basic('right:one') });
    const login = `http://wrong:geheim@127.0.0.1:${proxy.port}`;
    for (const api of [secure, plain]) {
      const failing = client(api, { https_proxy: login, http_proxy: login });
      const error = await failureOf(failing.checkForDeployment(never));
      expect(error).toMatchObject({ kind: 'server', details: { reason: 'proxy' } });
      expect(error.message).toContain('407');
      expect(everythingOf(error)).not.toContain('geheim');
    }
    const bad = await failureOf(
      client(secure, { https_proxy: 'http://u:geheim@[' }).checkForDeployment(never),
    );
    expect(bad).toMatchObject({ kind: 'config', details: { key: 'https_proxy' } });
    expect(everythingOf(bad)).not.toContain('geheim');
  });

  it('that is gone, silent or dies midway fails the request, and the next one tries again', async () => {
    const proxy = await startProxy();
    const environment = { https_proxy: `http://127.0.0.1:${proxy.port}` };
    const one = client(secure, environment, { limits: { connectMs: 500, headersMs: 800, totalMs: 5000 } });
    await one.checkForDeployment(never);
    secure.answerNext(
      'status',
      () => void proxy.sockets.forEach((socket) => socket.destroy()),
      () => void proxy.sockets.forEach((socket) => socket.destroy()),
    );
    const report = () => one.reportStatus('id', 'installing', '', never);
    expect((await failureOf(report())).details['reason']).toBe('connection-lost');
    expect(await report()).toBe('accepted');

    const gone = client(secure, { https_proxy: 'http://127.0.0.1:9' });
    expect((await failureOf(gone.checkForDeployment(never))).details['reason']).toBe('refused');
    const silent = createServer();
    silent.on('connect', () => undefined);
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    closers.push(() => silent.close());
    const { port } = silent.address() as AddressInfo;
    const waiting = client(
      secure,
      { https_proxy: `http://127.0.0.1:${port}` },
      { limits: { headersMs: 500, totalMs: 4000 } },
    );
    expect((await failureOf(waiting.checkForDeployment(never))).details['reason']).toBe('timeout');
  });

  it('is passed by for what no_proxy names', async () => {
    const proxy = await startProxy();
    const environment = { https_proxy: `http://127.0.0.1:${proxy.port}`, no_proxy: 'a.example, .invalid' };
    expect((await failureOf(client(secure, environment).checkForDeployment(never))).details['reason']).toBe(
      'name-resolution',
    );
    expect(proxy.seen).toEqual([]);
  });
});

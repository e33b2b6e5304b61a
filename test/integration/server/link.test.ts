import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  startDeviceApi,
  type Answer,
  type DeviceApi,
  type DeviceApiOptions,
} from '../../support/device-api.ts';
import { everythingOf, failureOf, Lab, never, type LabOptions } from './lab.ts';

let lab: Lab;
const closers: (() => Promise<unknown>)[] = [];

beforeEach(() => {
  lab = new Lab();
});
afterEach(async () => {
  await lab.dispose();
  await Promise.all(closers.splice(0).map((close) => close()));
});

async function api(options: DeviceApiOptions = {}): Promise<DeviceApi> {
  const one = await startDeviceApi(options);
  closers.push(() => one.close());
  return one;
}

/** A server below HTTP. */
async function tcp(onSocket: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const check = (url: string, options: LabOptions = {}, signal = never) =>
  lab.client([url], options).deployments.checkForDeployment(signal);
const reasonOf = async (promise: Promise<unknown>) => (await failureOf(promise)).details['reason'];

const pem = (name: string): Buffer => readFileSync(lab.at(name));
const at = (wallMs: number) => ({
  now: () => ({ wallMs, bootMs: 0 }),
  timer: lab.clock.timer.bind(lab.clock),
});

describe('a link that does not work', () => {
  it('is told apart by what fails', async () => {
    const closed = await api();
    await closed.close();
    expect(await failureOf(check('http://no-such-host.invalid'))).toMatchObject({
      kind: 'server',
      details: { reason: 'name-resolution', host: 'no-such-host.invalid' },
    });
    expect(await reasonOf(check(closed.url))).toBe('refused');
    expect(await reasonOf(check(await tcp((socket) => socket.destroy())))).toBe('connection-lost');
    expect(await reasonOf(check(await tcp((socket) => void socket.end('SSH-2.0-x\r\n'))))).toBe(
      'connection-lost',
    );
    expect(await reasonOf(check(closed.url.replace('http:', 'https:')))).toBe('refused');
    // TLS asked of a server that speaks none.
    const plain = await api();
    expect(await reasonOf(check(plain.url.replace('http:', 'https:')))).toBe('tls');
  });

  it('is left after a time when nothing comes, at each stage', async () => {
    const limits = { connectMs: 400, headersMs: 400, idleMs: 400, totalMs: 2500 };
    const silent = await tcp(() => undefined);
    expect(await reasonOf(check(silent, { http: { limits } }))).toBe('timeout');
    // Silence inside of the TLS handshake counts as connecting.
    expect(await reasonOf(check(silent.replace('http:', 'https:'), { http: { limits } }))).toBe('timeout');
    const half = await tcp(
      (socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id'),
    );
    expect(await reasonOf(check(half, { http: { limits } }))).toBe('timeout');
  });

  it('gets more time for a log than for a few words', async () => {
    const one = await api();
    const client = lab.client([one.url], { http: { limits: { headersMs: 300 } } });
    await client.deployments.checkForDeployment(never);
    const late: Answer = (_request, response) => void setTimeout(() => response.writeHead(204).end(), 2500);
    one.answerNext('log', late, late);
    const log = async function* (lines: number): AsyncGenerator<string> {
      for (let line = 0; line < lines; line++) {
        yield JSON.stringify({
          timestamp: '2030-01-02T03:04:05Z',
          level: 'info',
          message: `${line}`.padEnd(900),
        });
      }
    };
    expect(await client.deployments.uploadLog('id', log(1000), never)).toBe('accepted');
    expect(await reasonOf(client.deployments.uploadLog('id', log(2), never))).toBe('timeout');
  });

  it('is left when the answer trickles for ever', async () => {
    const url = await tcp((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n');
      const timer = setInterval(() => socket.write('x'), 20);
      socket.once('close', () => clearInterval(timer));
    });
    const error = await failureOf(check(url, { http: { limits: { totalMs: 500 } } }));
    expect(error.details['reason']).toBe('timeout');
    expect(error.message).toContain('no whole answer within 0.5 s');
  });

  it('is not believed when the answer is cut short', async () => {
    const cut = await tcp((socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntoken'));
    expect(await reasonOf(check(cut))).toBe('connection-lost');
    const chunked = await tcp(
      (socket) => void socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntoken\r\n'),
    );
    expect(await reasonOf(check(chunked))).toBe('connection-lost');
    const compressed = await api();
    compressed.answerNext('next-v2', { status: 200, body: 'x', headers: { 'content-encoding': 'gzip' } });
    expect((await failureOf(check(compressed.url))).message).toContain('found content encoding gzip');
    const headers = await tcp(
      (socket) => void socket.write(`HTTP/1.1 200 OK\r\n${'X-A: '.padEnd(40_000, 'x')}\r\n\r\n`),
    );
    expect(await reasonOf(check(headers))).toBe('connection-lost');
  });

  it('is repeated on a new connection when the kept one was closed in between', async () => {
    const one = await api();
    const { deployments } = lab.client([one.url]);
    await deployments.checkForDeployment(never);
    one.answerNext('next-v2', (_request, _response, socket) => void socket.destroy());
    expect(await deployments.checkForDeployment(never)).toBeNull();
    expect(one.calls()).toEqual(['auth', 'next-v2', 'next-v2', 'next-v2']);
    one.answerAlways('next-v2', (_request, _response, socket) => void socket.destroy());
    expect(await reasonOf(deployments.checkForDeployment(never))).toBe('connection-lost');
  });

  it('ends at once when the work is cancelled', async () => {
    const controller = new AbortController();
    const url = await tcp(() => controller.abort());
    expect((await failureOf(check(url, {}, controller.signal))).kind).toBe('cancelled');
    expect((await failureOf(check(url, {}, controller.signal))).kind).toBe('cancelled');
  });
});

describe('a network that asks for a log-in first', () => {
  it('is no server: its pages are neither read nor taken for success', async () => {
    const one = await api();
    const client = lab.client([one.url]);
    await client.deployments.checkForDeployment(never);
    const page = '<!DOCTYPE html>\n<html><body>Please log in</body></html>';
    const portals: readonly Answer[] = [
      { status: 200, body: page },
      { status: 200, body: page, headers: { 'content-type': 'text/html' } },
      { status: 200, body: '{}', headers: { 'content-type': 'text/html' } },
      { status: 302, headers: { location: 'http://127.0.0.1:9/login' } },
      { status: 303, headers: { location: 'http://127.0.0.1:9/login' } },
      { status: 302 },
      { status: 302, headers: { location: 'http://[' } },
      { status: 302, headers: { location: 'ftp://x/y' } },
    ];
    for (const portal of portals) {
      for (const endpoint of ['next-v2', 'status', 'inventory', 'log', 'map'] as const)
        one.answerNext(endpoint, portal);
      const asked: readonly (() => Promise<unknown>)[] = [
        () => client.deployments.checkForDeployment(never),
        () => client.deployments.reportStatus('id', 'success', '', never),
        () => client.inventory.send(never),
        () => client.deployments.uploadLog('id', (async function* () {})(), never),
      ];
      for (const ask of asked) expect(await reasonOf(ask())).toMatch(/^(web-page|redirect)$/);
    }
    // A page with an error status is an error without its text.
    one.answerNext('status', { status: 511, body: page, headers: { 'content-type': 'text/html' } });
    const error = await failureOf(client.deployments.reportStatus('id', 'success', '', never));
    expect(error.message).toMatch(/found status 511, expected 204$/);
  });
});

describe('a redirect', () => {
  it('is followed where the request stays what it is, without credentials for another origin', async () => {
    const [one, other] = [await api(), await api()];
    const client = lab.client([one.url]);
    await client.deployments.checkForDeployment(never);
    const to = (status: number, location: string): Answer => ({ status, headers: { location } });
    const path = '/api/devices/v1/deployments/device/deployments/id/status';
    one.answerNext('status', to(307, path), to(308, path));
    expect(await client.deployments.reportStatus('id', 'success', '', never)).toBe('accepted');
    expect(one.of('status').map(({ body, headers }) => [body.toString(), headers.authorization])).toEqual(
      Array.from({ length: 3 }, () => ['{"status":"success"}', `Bearer ${one.token}`]),
    );

    other.answerAlways('map', { status: 200, body: '{"update_control_map":{}}' });
    one.answerNext(
      'map',
      to(302, `${other.url}/api/devices/v2/deployments/device/deployments/id/update_control_map`),
    );
    expect(await client.deployments.fetchControlMap('id', never)).toMatchObject({ kind: 'map' });
    expect(other.of('map')[0]?.headers.authorization).toBeUndefined();
    // The other one's 401 is not about our token.
    other.answerAlways('map', { status: 401 });
    one.answerNext(
      'map',
      to(302, `${other.url}/api/devices/v2/deployments/device/deployments/id/update_control_map`),
    );
    expect(await reasonOf(client.deployments.fetchControlMap('id', never))).toBe('unauthorized');
    expect(one.of('auth')).toHaveLength(1);
  });

  it('is not followed for ever, nor from https to http', async () => {
    lab.authority('ca');
    lab.certificate('server', 'ca');
    const secure = await api({ tls: { cert: pem('server.crt'), key: pem('server.key') } });
    const plain = await api();
    const client = lab.client([secure.url], { http: { serverCertificatePath: lab.at('ca.crt') } });
    await client.deployments.checkForDeployment(never);
    secure.answerNext('map', { status: 302, headers: { location: plain.url } });
    expect((await failureOf(client.deployments.fetchControlMap('id', never))).message).toContain(
      'which is not encrypted',
    );
    const loop: Answer = ({ path }, response) => void response.writeHead(307, { location: path }).end();
    secure.answerAlways('status', loop);
    expect((await failureOf(client.deployments.reportStatus('id', 'success', '', never))).message).toContain(
      'after 5 others',
    );
    expect(secure.of('status')).toHaveLength(6);
    expect(plain.requests).toEqual([]);
  });

  it('brings the identity of the device to no other origin', async () => {
    const [one, other] = [await api(), await api()];
    one.answerNext('auth', { status: 307, headers: { location: `${other.url}/api` } });
    const error = await failureOf(check(one.url, { tenantToken: 'secret' }));
    expect(error.message).toContain('configure it as the server');
    expect(other.requests).toEqual([]);
  });
});

describe('trust', () => {
  beforeEach(() => {
    lab.authority('ca');
    lab.authority('other-ca');
    lab.certificate('server', 'ca');
    lab.certificate('client', 'ca');
  });
  const tls = (name: string, more: DeviceApiOptions['tls'] = {}): DeviceApiOptions => ({
    tls: { cert: pem(`${name}.crt`), key: pem(`${name}.key`), ...more },
  });
  const trusting = (more: LabOptions['http'] = {}): LabOptions => ({
    http: { serverCertificatePath: lab.at('ca.crt'), ...more },
  });

  it('is given to the configured certificate beside the roots of the system', async () => {
    const one = await api(tls('server'));
    expect(await check(one.url, trusting())).toBeNull();
    expect(await check(one.url.replace('127.0.0.1', 'localhost'), trusting())).toBeNull();
    expect(await check(one.url, trusting({ systemTrustPath: lab.at('none') }))).toBeNull();
    // The system's own list, where the configured one does not help.
    const more = { systemTrustPath: lab.at('ca.crt'), serverCertificatePath: lab.at('other-ca.crt') };
    expect(await check(one.url, { http: more })).toBeNull();
    expect(one.problems).toEqual([]);
  });

  it('is refused to a certificate of somebody else, for another name, or of another date', async () => {
    const year = (from: number, to: number): readonly [string, string] => [
      `${from}0101000000Z`,
      `${to}0101000000Z`,
    ];
    lab.certificate('elsewhere', 'ca', 'DNS:elsewhere.example');
    lab.certificate('expired', 'ca', undefined, year(2020, 2022));
    lab.certificate('future', 'ca', undefined, year(2040, 2041));
    const servers = { server: 'other-ca.crt', elsewhere: 'ca.crt', expired: 'ca.crt', future: 'ca.crt' };
    const codes: Record<string, unknown> = {};
    for (const [name, ca] of Object.entries(servers)) {
      const one = await api(tls(name));
      const error = await failureOf(check(one.url, trusting({ serverCertificatePath: lab.at(ca) })));
      expect(error.details['reason']).toBe('tls');
      codes[name] = error.details['error-code'];
      expect(one.requests).toEqual([]);
    }
    expect(codes).toEqual({
      server: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      elsewhere: 'ERR_TLS_CERT_ALTNAME_INVALID',
      expired: 'CERT_HAS_EXPIRED',
      future: 'CERT_NOT_YET_VALID',
    });
  });

  it('says that the clock is wrong where the date of the device cannot be', async () => {
    lab.certificate('future', 'ca', undefined, ['20400101000000Z', '20410101000000Z']);
    const one = await api(tls('future'));
    // The clock our side asks; the check itself is OpenSSL's, with the time of this machine.
    const client = lab.client([one.url], { ...trusting(), clock: at(Date.UTC(1970, 0, 1, 0, 5)) });
    const error = await failureOf(client.deployments.checkForDeployment(never));
    expect(error.details).toMatchObject({ reason: 'clock-wrong', 'error-code': 'CERT_NOT_YET_VALID' });
    expect(error.message).toContain(
      'the clock of this device says 1970-01-01T00:05:00.000Z, which cannot be right',
    );
  });

  it('is not needed with SkipVerify, which is warned of loudly', async () => {
    const one = await api(tls('server'));
    expect(await check(one.url, { http: { isTlsVerificationSkipped: true } })).toBeNull();
    expect(lab.log.records[0]).toMatchObject({ level: 'warn' });
    expect(lab.log.records[0]?.sentence).toContain('SkipVerify is set: the server is NOT authenticated');
  });

  it('follows a certificate file that is exchanged, without a restart', async () => {
    const one = await api(tls('server'));
    writeFileSync(lab.at('trusted.crt'), pem('other-ca.crt'));
    const client = lab.client([one.url], trusting({ serverCertificatePath: lab.at('trusted.crt') }));
    expect(await reasonOf(client.deployments.checkForDeployment(never))).toBe('tls');
    writeFileSync(lab.at('trusted.crt'), Buffer.concat([pem('other-ca.crt'), pem('ca.crt')]));
    expect(await client.deployments.checkForDeployment(never)).toBeNull();
  });

  it('warns once of every certificate that ends within thirty days, and of none that does not', async () => {
    const date = (days: number): string =>
      new Date(Date.now() + days * 86_400_000).toISOString().replace(/[-:T]|\.\d+/g, '');
    lab.certificate('soon', 'ca', undefined, [date(-9), date(20)]);
    lab.certificate('later', 'ca', undefined, [date(-9), date(40)]);
    lab.opensslLine(
      'req -x509 -key ca.key -out long-ca.crt -days 4000 -subj /CN=ca -addext basicConstraints=critical,CA:TRUE',
    );
    const certificate = { serverCertificatePath: lab.at('long-ca.crt') };
    lab.certificate('expired', 'ca', undefined, [date(-9), date(-1)]);
    const soon = await api(tls('soon'));
    const later = await api(tls('later'));
    const clientCertificate = { certificatePath: lab.at('expired.crt'), key: lab.at('expired.key') };
    for (const one of [soon, later]) {
      const { deployments } = lab.client([one.url], {
        http: { ...certificate, clientCertificate, isKeepAliveDisabled: true },
      });
      await deployments.checkForDeployment(never);
    }
    const warnings = lab.log.records.filter(({ level }) => level === 'warn');
    expect(warnings.map(({ sentence, fields }) => [sentence, fields['certificate']])).toEqual([
      ['a certificate has expired', lab.at('expired.crt')],
      ['a certificate expires soon', new URL(soon.url).host],
      ['a certificate has expired', lab.at('expired.crt')],
    ]);
    expect(warnings[1]?.fields['daysLeft']).toBe(19);
  });

  it('survives an additional certificate that cannot be read, with a warning', async () => {
    const one = await api();
    for (const path of [lab.at('none.crt'), lab.at('identity')]) {
      expect(await check(one.url, trusting({ serverCertificatePath: path }))).toBeNull();
      expect(lab.log.records.at(-2)).toMatchObject({
        level: 'warn',
        sentence: 'the additional server certificate is not used',
      });
    }
  });

  it('is earned with the client certificate where a server wants one', async () => {
    const one = await api(tls('server', { ca: pem('ca.crt'), requestCert: true, rejectUnauthorized: true }));
    const clientCertificate = { certificatePath: lab.at('client.crt'), key: lab.at('client.key') };
    expect(await check(one.url, trusting({ clientCertificate }))).toBeNull();
    expect(one.requests.map(({ clientCertificate: name }) => name)).toEqual(['client', 'client']);
    // With TLS 1.3 the refusal may overtake its reason and look like a lost connection.
    const strict = await api(tls('server', { ca: pem('ca.crt'), requestCert: true, maxVersion: 'TLSv1.2' }));
    expect(await reasonOf(check(strict.url, trusting()))).toBe('tls');
    expect(strict.requests).toEqual([]);
  });

  it('cannot be earned with a client certificate that is missing, damaged, or not of its key', async () => {
    const one = await api(tls('server'));
    const certificatePath = lab.at('client.crt');
    const cases: readonly (readonly [{ certificatePath: string; key: string }, RegExp])[] = [
      [
        { certificatePath: lab.at('none'), key: lab.at('client.key') },
        /HttpsClient.Certificate: .*cannot be read/,
      ],
      [{ certificatePath, key: lab.at('identity') }, /HttpsClient.Key: found no PEM text/],
      [{ certificatePath, key: lab.at('server.key') }, /HttpsClient: .*mismatch/],
      [
        { certificatePath, key: 'pkcs11:object=k?pin-value=1234' },
        /HttpsClient.Key: keys behind pkcs11: are not/,
      ],
    ];
    for (const [clientCertificate, message] of cases) {
      const error = await failureOf(check(one.url, trusting({ clientCertificate })));
      expect(error.message).toMatch(message);
      expect(everythingOf(error)).not.toMatch(/1234|PRIVATE KEY/);
    }
    expect(one.requests).toEqual([]);
  });
});

describe('connections', () => {
  it('are kept for the next request, unless that is switched off', async () => {
    const one = await api();
    const numbers = async (isKeepAliveDisabled: boolean): Promise<number> => {
      const before = one.requests.length;
      const { deployments } = lab.client([one.url], { http: { isKeepAliveDisabled } });
      for (let poll = 0; poll < 3; poll++) await deployments.checkForDeployment(never);
      return new Set(one.requests.slice(before).map(({ connection }) => connection)).size;
    };
    expect(await numbers(false)).toBe(1);
    expect(await numbers(true)).toBe(4);
    expect(one.requests.at(-1)?.headers.connection).toBe('close');
  });
});

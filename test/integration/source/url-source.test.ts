import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer, type ServerOptions } from 'node:https';
import {
  connect,
  createServer as createTcpServer,
  type AddressInfo,
  type Server as TcpServer,
  type Socket,
} from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { UrlSourceOptions } from '../../../src/adapters/source/url-source.ts';
import { LocalAndHttpSource } from '../../../src/adapters/source/artifact-source.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import type { ArtifactBytes } from '../../../src/ports/artifact-source.ts';
import { realClock } from '../../support/clocks.ts';
import { RecordingLog } from '../../support/recording-log.ts';

let root: string;
const servers: (Server | TcpServer)[] = [];
const sockets = new Set<Socket>();

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-url-'));
  makeCertificates();
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

function makeCertificates(): void {
  const run = (...args: string[]): void => void execFileSync('openssl', args, { cwd: root, stdio: 'pipe' });
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  run('req', '-x509', ...ec, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=Test CA');
  for (const name of ['server', 'client']) {
    run(
      'req',
      ...ec,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}`,
      '-addext',
      'subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:files.test',
    );
    run(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-out',
      `${name}.crt`,
      '-days',
      '2',
      '-copy_extensions',
      'copy',
    );
  }
}

const pem = (name: string): Buffer => readFileSync(join(root, name));

async function listen(server: Server | TcpServer): Promise<number> {
  servers.push(server);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function http(listener: RequestListener): Promise<string> {
  return `http://127.0.0.1:${await listen(createHttpServer(listener))}`;
}

async function https(listener: RequestListener, options: ServerOptions = {}): Promise<string> {
  const server = createHttpsServer({ cert: pem('server.crt'), key: pem('server.key'), ...options }, listener);
  server.on('tlsClientError', () => undefined);
  return `https://127.0.0.1:${await listen(server)}`;
}

const never = new AbortController().signal;

function open(
  url: string,
  options: Partial<UrlSourceOptions> = {},
  signal: AbortSignal = never,
): Promise<ArtifactBytes> {
  const source = new LocalAndHttpSource({
    clock: realClock,
    log: new RecordingLog(),
    serverCertificatePath: null,
    isTlsVerificationSkipped: false,
    ...options,
  });
  return source.open({ kind: 'url', url }, signal);
}

async function readAll(bytes: ArtifactBytes): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes.chunks) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function download(
  url: string,
  options: Partial<UrlSourceOptions> = {},
  signal: AbortSignal = never,
): Promise<Buffer> {
  return readAll(await open(url, options, signal));
}

async function rejection(promise: Promise<unknown>): Promise<UpdateError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UpdateError);
  return error as UpdateError;
}

const answer = (text: string) => (_request: IncomingMessage, response: ServerResponse) =>
  void response.end(text);

describe('a URL source', () => {
  it('hands over the body as it is and knows its size', async () => {
    const content = randomBytes(3_000_000);
    const base = await http((_request, response) => {
      response.setHeader('content-length', content.length);
      response.end(content);
    });
    const bytes = await open(`${base}/a.mender`);
    expect(bytes.sizeBytes).toBe(content.length);
    expect((await readAll(bytes)).equals(content)).toBe(true);
  });

  it('says −1 where the server does not give the size', async () => {
    const base = await http((_request, response) => {
      response.write('a');
      response.end('b');
    });
    const bytes = await open(base);
    expect(bytes.sizeBytes).toBe(-1);
    expect((await readAll(bytes)).toString()).toBe('ab');
  });

  it('fails with the status, the host and the time to wait, and no secret of the URL', async () => {
    const base = await http((_request, response) => {
      response.writeHead(503, { 'retry-after': '120' });
      response.end('x'.repeat(200_000));
    });
    const url = `${base.replace('//', '//user:pass%40word@')}/a.mender?X-Amz-Signature=s3cr3t#f`;
    const error = await rejection(open(url));
    expect(error).toMatchObject({
      kind: 'source',
      failureName: 'Download',
      details: { url: `${base}/a.mender`, host: base.slice(7), status: 503, 'retry-after-seconds': 120 },
    });
    expect(JSON.stringify([error.message, error.details, String(error.cause), error.stack])).not.toMatch(
      /s3cr3t|pass|user/,
    );
  });

  it('sends user and password as credentials, and to no other origin', async () => {
    const seen: (string | undefined)[] = [];
    const other = await http((request, response) => {
      seen.push(request.headers.authorization);
      response.end('ok');
    });
    const base = await http((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(302, { location: `${other}/next` });
      response.end();
    });
    await download(`${base.replace('//', '//user:p%40ss@')}/a`);
    expect(seen).toEqual([`Basic ${Buffer.from('user:p@ss').toString('base64')}`, undefined]);
  });

  it('follows ten redirects, relative ones too, and not eleven', async () => {
    const base = await http((request, response) => {
      const left = Number(request.url?.slice(1));
      if (left === 0) return void response.end('there');
      response.writeHead([301, 302, 303, 307, 308][left % 5] ?? 302, { location: `/${left - 1}` });
      return void response.end();
    });
    expect((await download(`${base}/10`)).toString()).toBe('there');
    const error = await rejection(open(`${base}/11`));
    expect(error).toMatchObject({ kind: 'source', details: { reason: 'redirect' } });
  });

  it('refuses a redirect from https to http, and to other schemes', async () => {
    let wasAsked = false;
    const plain = await http((_request, response) => {
      wasAsked = true;
      response.end('x');
    });
    for (const location of [`${plain}/a`, 'file:///etc/passwd', 'http://']) {
      const base = await https((_request, response) => {
        response.writeHead(302, { location });
        response.end();
      });
      const error = await rejection(open(base, { isTlsVerificationSkipped: true }));
      expect(error.details['reason']).toBe('redirect');
    }
    expect(wasAsked).toBe(false);
  });

  it('ends with a typed error when the connection breaks before the announced end', async () => {
    const base = await http((_request, response) => {
      response.writeHead(200, { 'content-length': '1000000' });
      response.write(Buffer.alloc(300_000), () => response.destroy());
    });
    const error = await rejection(download(base));
    expect(error.kind).toBe('source');
    expect(error.isTransient).toBe(true);
    expect(error.details).toMatchObject({ 'bytes-expected': 1_000_000 });
    expect(error.details['bytes-found']).toBeLessThanOrEqual(300_000);
  });

  it('ends with a typed error when a chunked body breaks off', async () => {
    const base = await http((_request, response) => {
      response.write(Buffer.alloc(100_000), () => response.destroy());
    });
    expect((await rejection(download(base))).kind).toBe('source');
  });

  it('does not take more bytes than announced for a good download', async () => {
    const port = await listen(
      createTcpServer((socket) => {
        socket.once('data', () =>
          socket.end('HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabcdef'),
        );
      }),
    );
    const outcome = await open(`http://127.0.0.1:${port}/`)
      .then(readAll)
      .then(String, (error: unknown) => error);
    if (outcome !== 'abc') expect(outcome).toMatchObject({ kind: 'source' });
  });

  it('gives up on a silent server, before the header and inside the body', async () => {
    const silent = await http(() => undefined);
    expect(await rejection(open(silent, { headersTimeoutMs: 200 }))).toMatchObject({
      kind: 'source',
      details: { 'error-code': 'UND_ERR_HEADERS_TIMEOUT' },
    });
    const stalled = await http((_request, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('some');
    });
    expect(await rejection(download(stalled, { idleTimeoutMs: 200 }))).toMatchObject({
      kind: 'source',
      details: { reason: 'timeout', 'bytes-found': 4, 'bytes-expected': 1000 },
    });
  });

  it('lets a slow stream live that goes on, and a slow consumer too', async () => {
    const slow = await http((_request, response) => {
      let left = 8;
      const timer = setInterval(() => {
        if (left-- > 0) return void response.write('x');
        clearInterval(timer);
        response.end();
      }, 300);
    });
    // Longer in all than the limit, never silent for that long. Undici looks at its timers twice a second.
    expect((await download(slow, { idleTimeoutMs: 1500 })).toString()).toBe('xxxxxxxx');

    const content = randomBytes(8_000_000);
    const fast = await http((_request, response) => void response.end(content));
    const { chunks } = await open(fast, { idleTimeoutMs: 300 });
    const received: Uint8Array[] = [];
    for await (const chunk of chunks) {
      if (received.length === 0) await new Promise((resolve) => setTimeout(resolve, 2_000));
      received.push(chunk);
    }
    expect(Buffer.concat(received).equals(content)).toBe(true);
  }, 15_000);

  it('stops on abort: while connecting, while reading, unread', async () => {
    const silent = await http(() => undefined);
    const early = new AbortController();
    const opening = rejection(open(silent, {}, early.signal));
    early.abort();
    expect((await opening).kind).toBe('cancelled');

    let closed = 0;
    const endless = await http((request, response) => {
      request.socket.on('close', () => closed++);
      const push = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
        if (!response.destroyed) response.once('drain', push);
      };
      push();
    });
    const reading = new AbortController();
    const { chunks } = await open(endless, {}, reading.signal);
    const consume = async (): Promise<void> => {
      let size = 0;
      for await (const chunk of chunks) {
        size += chunk.length;
        if (size > 1_000_000) reading.abort();
      }
    };
    expect((await rejection(consume())).kind).toBe('cancelled');

    const unread = new AbortController();
    await open(endless, {}, unread.signal);
    unread.abort();

    const left = await open(endless);
    for await (const chunk of left.chunks) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    await vi.waitFor(() => expect(closed).toBe(3), { timeout: 5_000 });
  });

  it('does not read ahead of a consumer that stands still', async () => {
    let sent = 0;
    const base = await http((_request, response) => {
      const push = (): void => {
        while (!response.destroyed && sent < 200_000_000) {
          sent += 65_536;
          if (!response.write(Buffer.alloc(65_536))) return void response.once('drain', push);
        }
      };
      push();
    });
    const stop = new AbortController();
    const { chunks } = await open(base, {}, stop.signal);
    const iterator = chunks[Symbol.asyncIterator]();
    await iterator.next();
    let before = -1;
    await vi.waitFor(
      () => {
        const now = sent;
        const isStill = now === before;
        before = now;
        expect(isStill).toBe(true);
      },
      { timeout: 10_000, interval: 200 },
    );
    expect(sent).toBeLessThan(50_000_000);
    await iterator.return?.();
  });

  it('does not take a log-in page or an encoded body for an artifact', async () => {
    const portal = await http((_request, response) => {
      response.setHeader('content-type', 'text/html; charset=utf-8');
      response.end('<html>');
    });
    expect(await rejection(open(portal))).toMatchObject({
      kind: 'source',
      details: { reason: 'web-page' },
    });
    const packed = await http((_request, response) => {
      response.setHeader('content-encoding', 'gzip');
      response.end('x');
    });
    expect((await rejection(open(packed))).message).toContain('found content encoding gzip');
  });

  it('names the host it cannot reach', async () => {
    const port = await listen(createTcpServer());
    await new Promise((resolve) => servers.pop()?.close(resolve));
    const error = await rejection(open(`http://127.0.0.1:${port}/a?token=s3cr3t`));
    expect(error).toMatchObject({
      kind: 'source',
      details: { host: `127.0.0.1:${port}`, 'error-code': 'ECONNREFUSED' },
    });
    expect(error.message).not.toContain('s3cr3t');
  });

  it('refuses what is no http URL without repeating it', async () => {
    for (const url of ['ftp://u:s3cr3t@h/a', 'not a url s3cr3t', '', 'http://']) {
      const error = await rejection(open(url));
      expect(error.kind).toBe('invalidArgument');
      expect(`${error.message}${String(error.cause)}`).not.toContain('s3cr3t');
    }
  });
});

describe('trust', () => {
  it('refuses an unknown issuer, and accepts it as ServerCertificate or with SkipVerify', async () => {
    const base = await https(answer('ok'));
    const error = await rejection(open(base));
    expect(error.kind).toBe('source');
    expect(String(error.details['error-code'])).toMatch(/UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT)/);
    expect((await download(base, { serverCertificatePath: join(root, 'ca.crt') })).toString()).toBe('ok');
    expect((await download(base, { isTlsVerificationSkipped: true })).toString()).toBe('ok');
  });

  it('uses the bundle of the system, as it is at the time of the download', async () => {
    const base = await https(answer('ok'));
    const systemTrustPath = join(root, 'bundle.crt');
    await writeFile(systemTrustPath, '');
    expect((await rejection(open(base, { systemTrustPath }))).kind).toBe('source');
    await writeFile(systemTrustPath, pem('ca.crt'));
    expect((await download(base, { systemTrustPath })).toString()).toBe('ok');
  });

  it('shows the client certificate', async () => {
    const base = await https(answer('ok'), {
      ca: pem('ca.crt'),
      requestCert: true,
      rejectUnauthorized: true,
    });
    const serverCertificatePath = join(root, 'ca.crt');
    expect((await rejection(download(base, { serverCertificatePath }))).kind).toBe('source');
    const clientCertificate = {
      certificatePath: join(root, 'client.crt'),
      key: join(root, 'client.key'),
    };
    expect((await download(base, { serverCertificatePath, clientCertificate })).toString()).toBe('ok');
  });

  it('names a client certificate that cannot be used, and does without a ServerCertificate that cannot', async () => {
    const base = await https(answer('ok'));
    const clientCertificate = { certificatePath: join(root, 'none.crt'), key: join(root, 'client.key') };
    const missing = await rejection(open(base, { clientCertificate }));
    expect(missing).toMatchObject({ kind: 'config', details: { key: 'HttpsClient.Certificate' } });
    await writeFile(join(root, 'empty.crt'), '');
    const serverCertificatePath = join(root, 'empty.crt');
    const systemTrustPath = join(root, 'ca.crt');
    expect((await download(base, { serverCertificatePath, systemTrustPath })).toString()).toBe('ok');
  });
});

describe('a proxy', () => {
  /** Answers CONNECT by a tunnel and plain requests by itself. */
  async function proxy(seen: string[]): Promise<string> {
    const server = createHttpServer((request, response) => {
      seen.push(`${request.method} ${request.url}`);
      response.end('from the proxy');
    });
    server.on('connect', (request, client: Socket) => {
      seen.push(`CONNECT ${request.url}`);
      const target = connect(Number((request.url ?? '').split(':')[1]), '127.0.0.1', () => {
        client.write('HTTP/1.1 200 OK\r\n\r\n');
        target.pipe(client).pipe(target);
      });
      target.on('error', () => client.destroy());
      client.on('error', () => target.destroy());
    });
    return `http://127.0.0.1:${await listen(server)}`;
  }

  it('is used for https through a tunnel, with our trust, and not for hosts in NO_PROXY', async () => {
    const seen: string[] = [];
    const environment = { https_proxy: await proxy(seen) };
    const base = (await https(answer('ok'))).replace('127.0.0.1', 'files.test');
    const options = { serverCertificatePath: join(root, 'ca.crt'), proxyEnvironment: environment };
    expect((await download(base, options)).toString()).toBe('ok');
    expect(seen).toEqual([`CONNECT ${base.slice(8)}`]);
    expect((await rejection(open(base, { proxyEnvironment: environment }))).kind).toBe('source');
    seen.length = 0;
    const direct = { ...environment, no_proxy: 'example.com files.test' };
    const unknown = await rejection(open(base, { ...options, proxyEnvironment: direct }));
    expect(unknown.details['reason']).toBe('name-resolution');
    expect(seen).toEqual([]);
  });

  it('ends with a typed error when the proxy refuses', async () => {
    const refusing = createHttpServer();
    refusing.on('connect', (_request, client: Socket) =>
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'),
    );
    const proxyEnvironment = { https_proxy: `http://u:s3cr3t@127.0.0.1:${await listen(refusing)}` };
    const base = (await https(answer('ok'))).replace('127.0.0.1', 'files.test');
    const error = await rejection(open(base, { isTlsVerificationSkipped: true, proxyEnvironment }));
    expect(error.kind).toBe('source');
    expect(error.message).toContain('407');
    expect(JSON.stringify([error.message, error.details])).not.toContain('s3cr3t');
  });
});

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Forwarder } from '../../../src/adapters/forwarder/forwarder.ts';
import { eventually } from '../../support/eventually.ts';
import { RecordingLog } from '../../support/recording-log.ts';
import { acceptKey, OPCODE, WebSocketPeer } from '../../support/web-socket-peer.ts';
import { Lab } from '../server/lab.ts';
import { credentials, get, openForwarder, raw, startUpstream, TOKEN, type Upstream } from './support.ts';

const PATH = '/api/devices/v1/deviceconnect/connect';
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

let upstream: Upstream;
let forwarder: Forwarder;
let log: RecordingLog;
let url: string;
let servers: WebSocketPeer[];

beforeEach(async () => {
  upstream = await startUpstream();
  servers = [];
  upstream.upgrade = (message, socket) =>
    void servers.push(
      WebSocketPeer.accept(message, socket, ['Sec-WebSocket-Protocol: protomsg/msgpack', 'Set-Cookie: a=1']),
    );
  log = new RecordingLog();
  forwarder = openForwarder({}, log);
  url = await forwarder.serve(credentials(upstream.url));
});
afterEach(async () => {
  await upstream.close();
  await forwarder.close();
  expect(JSON.stringify(log.records)).not.toContain(TOKEN);
});

interface Opened {
  readonly peer: WebSocketPeer;
  readonly answer: IncomingMessage;
}

async function open(address: string, token = TOKEN): Promise<Opened | { readonly refused: IncomingMessage }> {
  const request = httpRequest(`${address}${PATH}`, {
    headers: {
      authorization: `Bearer ${token}`,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': KEY,
      'sec-websocket-protocol': 'protomsg/msgpack',
    },
  });
  request.on('error', () => undefined);
  request.end();
  return Promise.race([
    once(request, 'upgrade').then(([answer, socket, head]) => {
      if ((head as Buffer).length > 0) (socket as Socket).unshift(head as Buffer);
      return { peer: new WebSocketPeer(socket as Socket, true), answer: answer as IncomingMessage };
    }),
    once(request, 'response').then(([refused]) => ({ refused: refused as IncomingMessage })),
  ]);
}

async function opened(address = url): Promise<Opened & { readonly server: WebSocketPeer }> {
  const before = servers.length;
  const result = await open(address);
  if ('refused' in result) throw new Error(`refused with ${result.refused.statusCode}`);
  await eventually('the server has it', () => servers.length > before);
  return { ...result, server: servers.at(-1) as WebSocketPeer };
}

describe('a handshake', () => {
  test('is the server’s own: key, subprotocol and cookies pass, and the token that counts', async () => {
    const { answer } = await opened();
    expect(answer.statusCode).toBe(101);
    expect(answer.headers).toMatchObject({
      upgrade: 'websocket',
      'sec-websocket-accept': acceptKey(KEY),
      'sec-websocket-protocol': 'protomsg/msgpack',
      'set-cookie': ['a=1'],
    });
    const [seen] = upstream.requests;
    expect(seen?.url).toBe(PATH);
    expect(seen?.raw).toContain(`Bearer ${TOKEN}`);
    expect(seen?.raw).toContain(KEY);
  });

  test('that the server refuses is refused in its words', async () => {
    upstream.upgrade = (_message, socket) =>
      void socket.end('HTTP/1.1 409 Conflict\r\nX-Why: twice\r\nContent-Length: 6\r\n\r\nno two');
    const result = await open(url);
    if (!('refused' in result)) throw new Error('it was accepted');
    const chunks: Buffer[] = [];
    for await (const chunk of result.refused as AsyncIterable<Buffer>) chunks.push(chunk);
    expect([
      result.refused.statusCode,
      result.refused.headers['x-why'],
      Buffer.concat(chunks).toString(),
    ]).toEqual([409, 'twice', 'no two']);
  });

  test('that takes its time is no way into our memory: what comes early waits at its sender, and is not lost', async () => {
    const sentBytes = 64 * 1024 * 1024;
    const frame = Buffer.alloc(14 + 1024 * 1024);
    // One binary frame of 1 MiB, masked with zeros.
    Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]).copy(frame);
    let server: Duplex | undefined;
    let arrivedBytes = 0;
    upstream.upgrade = (_message, socket, head) => {
      server = socket;
      arrivedBytes = head.length;
      socket.on('data', (chunk: Buffer) => (arrivedBytes += chunk.length));
    };
    const client = connect(Number(new URL(url).port), '127.0.0.1');
    client.on('error', () => undefined);
    const lines = [
      `GET ${PATH} HTTP/1.1`,
      'Host: x',
      `Authorization: Bearer ${TOKEN}`,
      'Connection: Upgrade',
    ];
    client.write([...lines, 'Upgrade: websocket', `Sec-WebSocket-Key: ${KEY}`, '', ''].join('\r\n'));
    for (let sent = 0; sent < sentBytes; sent += 1024 * 1024) client.write(frame);
    await eventually('the server is asked', () => server !== undefined);
    const takenBytes = (): number => client.bytesWritten - client.writableLength;
    let before = -1;
    await eventually('nothing more is taken', async () => {
      const isStill = takenBytes() === before;
      before = takenBytes();
      await sleep(300);
      return isStill;
    });
    // What the kernel holds for both ends of a connection is a few MiB.
    expect(takenBytes()).toBeLessThan(sentBytes / 2);
    const accept = ['Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Accept: ${acceptKey(KEY)}`];
    server?.write(['HTTP/1.1 101 Switching Protocols', ...accept, '', ''].join('\r\n'));
    await eventually('all of it has arrived', () => arrivedBytes === 64 * frame.length);
    client.destroy();
  }, 60_000);

  test('is a GET without a body and nothing else', async () => {
    const lines = [
      'Host: x',
      `Authorization: Bearer ${TOKEN}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      `Sec-WebSocket-Key: ${KEY}`,
    ];
    for (const [method, more] of [
      ['POST', 'Content-Length: 0'],
      ['GET', 'Content-Length: 4'],
      ['GET', 'Transfer-Encoding: chunked'],
    ] as const) {
      const text = [`${method} ${PATH} HTTP/1.1`, ...lines, more, '', ''].join('\r\n');
      const { status, body } = await raw(url, text);
      expect([status, body], `${method}, ${more}`).toEqual([400, 'Bad Request\n']);
    }
    expect(upstream.requests).toEqual([]);
  });

  test('that comes to its end while the forwarder closes opens nothing', async () => {
    let accept: () => void = () => {};
    let isGone = false;
    upstream.upgrade = (message, socket) => {
      for (const event of ['end', 'close']) socket.once(event, () => (isGone = true));
      accept = () => void WebSocketPeer.accept(message, socket, []);
    };
    const patient = openForwarder({ limits: { graceMs: 30_000 } }, log);
    const address = await patient.serve(credentials(upstream.url));
    const request = httpRequest(`${address}${PATH}`, {
      headers: {
        authorization: `Bearer ${TOKEN}`,
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-key': KEY,
      },
    });
    const ended = once(request, 'error');
    request.once('upgrade', () => expect.unreachable());
    request.end();
    await eventually('the server is asked', () => upstream.requests.length === 1);
    const closed = patient.close();
    accept();
    await Promise.all([closed, ended]);
    await eventually('the server is left', () => isGone);
  }, 20_000);

  test('with a wrong token, at the authentication path or one too many never reaches the server', async () => {
    const few = openForwarder({ limits: { maxWebSockets: 2, lingerMs: 200 } }, log);
    const address = await few.serve(credentials(upstream.url));
    const wrong = await open(address, 'wrong');
    expect('refused' in wrong && wrong.refused.statusCode).toBe(401);
    const lines = [`Authorization: Bearer ${TOKEN}`, 'Connection: Upgrade', 'Upgrade: websocket'];
    expect((await get(address, '/api/devices/v1/authentication/ws', lines)).status).toBe(403);
    const [first] = await Promise.all([opened(address), opened(address)]);
    const third = await get(address, PATH, lines);
    expect([third.status, third.body]).toEqual([503, 'too many websocket connections\n']);
    expect(upstream.requests).toHaveLength(2);
    // Who leaves makes room.
    first.peer.socket.destroy();
    await eventually('there is room again', async () => !('refused' in (await open(address))));
    await few.close();
  }, 60_000);

  test('with a server that is away or says nothing is 503', async () => {
    const patient = openForwarder({ limits: { headersMs: 300 } }, log);
    const address = await patient.serve(credentials(upstream.url));
    upstream.upgrade = () => undefined;
    const silent = await open(address);
    expect('refused' in silent && silent.refused.statusCode).toBe(503);
    await upstream.close();
    const away = await open(address);
    expect('refused' in away && away.refused.statusCode).toBe(503);
    await patient.close();
  });

  test('whose client leaves is given up at the server', async () => {
    const arrived = new Promise<void>((resolve) => {
      upstream.upgrade = (_message, server) => {
        // Who does not read does not hear that the other side is gone.
        server.resume().on('end', () => server.end());
        resolve();
      };
    });
    const { port } = new URL(url);
    const socket = connect({ host: '127.0.0.1', port: Number(port) });
    socket.write(
      `GET ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    );
    await arrived;
    socket.destroy();
    await eventually('the server is told', () => upstream.sockets.size === 0);
  });

  test('of another protocol is an ordinary request', async () => {
    const lines = [`Authorization: Bearer ${TOKEN}`, 'Connection: Upgrade', 'Upgrade: h2c'];
    const { status, body } = await get(url, '/api/devices/v1/thing', lines);
    expect([status, body]).toEqual([200, 'the answer']);
  });
});

describe('an open WebSocket', () => {
  test('carries text, large messages, pings and pongs both ways, unchanged', async () => {
    const { peer, server } = await opened();
    const large = Buffer.alloc(3 * 1024 * 1024, 'x');
    peer.send(OPCODE.text, 'hello');
    peer.send(OPCODE.binary, large);
    peer.send(OPCODE.ping, 'p1');
    server.send(OPCODE.text, 'welcome');
    server.send(OPCODE.binary, large);
    server.send(OPCODE.pong, 'p1');
    const fromClient = await server.next(({ opcode }) => opcode === OPCODE.ping);
    expect([fromClient.isMasked, fromClient.payload.toString()]).toEqual([true, 'p1']);
    await peer.next(({ opcode }) => opcode === OPCODE.pong);
    for (const [side, word] of [
      [server, 'hello'],
      [peer, 'welcome'],
    ] as const) {
      expect(side.frames[0]?.payload.toString()).toBe(word);
      expect(side.frames[1]?.payload.equals(large)).toBe(true);
    }
  });

  test('several at a time do not mix', async () => {
    const all = await Promise.all([1, 2, 3, 4].map(async (number) => ({ number, ...(await open(url)) })));
    for (const one of all) if ('peer' in one) one.peer.send(OPCODE.text, `from ${one.number}`);
    await eventually('all have come', () => servers.every(({ frames }) => frames.length === 1));
    const texts = servers.map(({ frames }) => frames.map(({ payload }) => payload.toString()).join());
    expect(texts.sort()).toEqual(['from 1', 'from 2', 'from 3', 'from 4']);
  });

  test('is closed by either side with its own code and reason', async () => {
    const one = await opened();
    one.server.send(OPCODE.close, Buffer.concat([Buffer.from([0x0f, 0xa1]), Buffer.from('go away')]));
    await one.peer.next(({ opcode }) => opcode === OPCODE.close);
    expect(one.peer.closed).toEqual({ code: 4001, reason: 'go away' });
    one.peer.send(OPCODE.close, Buffer.from([0x0f, 0xa1]));
    await one.server.next(({ opcode }) => opcode === OPCODE.close);
    one.server.socket.end();
    await one.peer.ended();

    const two = await opened();
    two.peer.send(OPCODE.close, Buffer.concat([Buffer.from([0x03, 0xe9]), Buffer.from('bye')]));
    await two.server.next(({ opcode }) => opcode === OPCODE.close);
    expect(two.server.closed).toEqual({ code: 1001, reason: 'bye' });
  });

  test('ends for the other side when one breaks off', async () => {
    const one = await opened();
    one.server.socket.destroy();
    await one.peer.ended();
    const two = await opened();
    two.peer.socket.destroy();
    await two.server.ended();
  });

  test('outlives a new token at the same port', async () => {
    const { peer, server } = await opened();
    expect(await forwarder.serve(credentials(upstream.url, 'another'))).toBe(url);
    peer.send(OPCODE.text, 'still here');
    await server.next(({ payload }) => payload.toString() === 'still here');
  });

  test('whose client does not read stops the server from sending', async () => {
    const { peer, server } = await opened();
    peer.socket.pause();
    const piece = Buffer.alloc(256 * 1024);
    let sent = 0;
    while (server.send(OPCODE.binary, piece) || server.socket.writableLength < 64 * 1024 * 1024) {
      sent += piece.length;
      if (sent > 256 * 1024 * 1024) break;
      await new Promise(setImmediate);
      if (server.socket.writableNeedDrain && server.socket.writableLength > 32 * 1024 * 1024) break;
    }
    // What has left the server is in buffers on the way; the rest waits at the server.
    expect(sent - server.socket.writableLength).toBeLessThan(32 * 1024 * 1024);
    peer.socket.destroy();
  });
});

describe('the end of the forwarder', () => {
  test.each(['the token is gone', 'the service ends'])(
    'says 1000 to both sides when %s, and waits for their answer',
    async (why) => {
      const { peer, server } = await opened();
      const over = why === 'the service ends' ? forwarder.close() : forwarder.serve(null);
      await Promise.all([peer, server].map((side) => side.next(({ opcode }) => opcode === OPCODE.close)));
      for (const side of [peer, server])
        expect(side.closed).toEqual({ code: 1000, reason: 'shutting down proxy' });
      expect(server.frames.at(-1)?.isMasked).toBe(true);
      expect(peer.frames.at(-1)?.isMasked).toBe(false);
      peer.send(OPCODE.close, Buffer.from([3, 232]));
      server.send(OPCODE.close, Buffer.from([3, 232]));
      await Promise.all([peer.ended(), server.ended(), over]);
    },
  );

  test('comes after the grace time where nobody answers, and between frames only', async () => {
    const strict = openForwarder({ limits: { graceMs: 300 } }, log);
    const address = await strict.serve(credentials(upstream.url));
    const { peer, server } = await opened(address);
    // Half of a message is on its way: nothing may be put into it.
    server.socket.write(Buffer.from([0x82, 10, 1, 2, 3]));
    await eventually('it has come', () => peer.socket.readableFlowing === true);
    await strict.close();
    await Promise.all([peer.ended(), server.ended()]);
    expect(server.closed).toEqual({ code: 1000, reason: 'shutting down proxy' });
  });
});

describe('over TLS', () => {
  let lab: Lab;
  let secure: Upstream;

  beforeEach(async () => {
    lab = new Lab();
    lab.authority('ca');
    lab.certificate('server', 'ca', 'DNS:server.invalid,IP:127.0.0.1');
    lab.certificate('client', 'ca');
    const pem = (name: string): Buffer => readFileSync(lab.at(name));
    secure = await startUpstream({
      cert: pem('server.crt'),
      key: pem('server.key'),
      ca: pem('ca.crt'),
      requestCert: true,
      rejectUnauthorized: true,
    });
    secure.upgrade = (message, socket) => void servers.push(WebSocketPeer.accept(message, socket));
  });
  afterEach(async () => {
    await secure.close();
    await lab.dispose();
  });
  const clientCertificate = (): { certificatePath: string; key: string } => ({
    certificatePath: lab.at('client.crt'),
    key: lab.at('client.key'),
  });

  test('it shows the client certificate and goes through a proxy, as requests to the server do', async () => {
    const asked: string[] = [];
    const proxy = createServer();
    proxy.on('connect', (message, client: Socket) => {
      asked.push(`${message.url} ${message.headers['proxy-authorization']}`);
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      const onward = connect(secure.port, '127.0.0.1');
      onward.on('error', () => client.destroy());
      client.on('error', () => onward.destroy());
      onward.pipe(client).pipe(onward);
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const { port } = proxy.address() as AddressInfo;
    const trusting = openForwarder(
      {
        serverCertificatePath: lab.at('ca.crt'),
        clientCertificate: clientCertificate(),
        proxyEnvironment: { https_proxy: `http://user:pw@127.0.0.1:${port}` },
      },
      log,
    );
    const address = await trusting.serve(credentials(`https://server.invalid:${secure.port}`));
    const { peer, server } = await opened(address);
    peer.send(OPCODE.text, 'through');
    await server.next(({ payload }) => payload.toString() === 'through');
    expect((await get(address, '/api/devices/v1/thing')).body).toBe('the answer');
    const basic = `Basic ${Buffer.from('user:pw').toString('base64')}`;
    expect(new Set(asked)).toEqual(new Set([`server.invalid:${secure.port} ${basic}`]));
    peer.socket.destroy();
    await trusting.close();
    await new Promise((resolve) => proxy.close(resolve));
  });

  test('a server that is not trusted gets neither the token nor a WebSocket', async () => {
    const strict = openForwarder({ clientCertificate: clientCertificate() }, log);
    const address = await strict.serve(credentials(`https://127.0.0.1:${secure.port}`));
    const result = await open(address);
    expect('refused' in result && result.refused.statusCode).toBe(503);
    expect((await get(address, '/api/devices/v1/thing')).status).toBe(503);
    expect(secure.requests).toEqual([]);
    await strict.close();
  });
});

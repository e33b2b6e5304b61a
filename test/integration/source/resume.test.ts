import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { timer } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { LocalAndHttpSource } from '../../../src/adapters/source/artifact-source.ts';
import type { UrlSourceOptions } from '../../../src/adapters/source/url-source.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { RecordingLog } from '../../support/recording-log.ts';

/** A server that answers request after request as the list says; the last one stays. */
type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const FILE = randomBytes(700_000);
const ETAG = '"version-1"';
const RETRY = { maxRetries: 6, maxIntervalSeconds: 300, isOpeningRetried: true };

const servers: Server[] = [];
const sockets = new Set<Socket>();

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

/** Waits are over at once; how long they were to be is kept. */
class HurriedClock implements Clock {
  readonly waitsMs: number[] = [];

  now(): { readonly wallMs: number; readonly bootMs: number } {
    return { wallMs: Date.now(), bootMs: performance.now() };
  }

  timer(delayMs: number): ReturnType<Clock['timer']> {
    this.waitsMs.push(delayMs);
    return timer(0) as ReturnType<Clock['timer']>;
  }
}

async function serve(...answers: Answer[]): Promise<{ readonly url: string; readonly ranges: string[] }> {
  const ranges: string[] = [];
  const server = createServer((request, response) => {
    response.on('error', () => undefined);
    const answer = answers[Math.min(ranges.length, answers.length - 1)];
    ranges.push(request.headers.range ?? '');
    answer?.(request, response);
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/artifact?signature=s3cr3t`,
    ranges,
  };
}

/** The file, or the range asked for, up to so many bytes; then the connection is cut. */
function part(bytes: number, { etag = ETAG, file = FILE }: { etag?: string; file?: Buffer } = {}): Answer {
  return (request, response) => {
    const [, from] = /^bytes=(\d+)-\d+$/.exec(request.headers.range ?? '') ?? [];
    const first = Number(from ?? 0);
    const body = file.subarray(first, first + bytes);
    response.writeHead(from === undefined ? 200 : 206, {
      'content-length': file.length - first,
      ...(etag !== '' && { etag }),
      ...(from !== undefined && { 'content-range': `bytes ${first}-${file.length - 1}/${file.length}` }),
    });
    response.write(body, () => {
      if (first + body.length === file.length) response.end();
      else response.destroy();
    });
  };
}

/** Without ranges: always the whole file. */
function whole(bytes: number, options: { etag?: string; file?: Buffer } = {}): Answer {
  const answer = part(bytes, options);
  return (request, response) => {
    delete request.headers.range;
    answer(request, response);
  };
}

const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (_request, response) =>
    void response.writeHead(code, headers).end();

async function download(
  url: string,
  clock: Clock,
  options: Partial<UrlSourceOptions> = {},
  signal = new AbortController().signal,
): Promise<Buffer> {
  const source = new LocalAndHttpSource({
    clock,
    log: new RecordingLog(),
    serverCertificatePath: null,
    isTlsVerificationSkipped: false,
    retry: RETRY,
    ...options,
  });
  const chunks: Uint8Array[] = [];
  for await (const chunk of (await source.open({ kind: 'url', url }, signal)).chunks) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function failure(promise: Promise<unknown>): Promise<UpdateError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UpdateError);
  expect(JSON.stringify([(error as UpdateError).message, (error as UpdateError).details])).not.toContain(
    's3cr3t',
  );
  return error as UpdateError;
}

describe('a download that is cut off', () => {
  it('asks for exactly the rest, at once after the first break and later after each further one', async () => {
    const clock = new HurriedClock();
    const { url, ranges } = await serve(part(300_000), part(1), part(10), part(FILE.length));
    expect((await download(url, clock)).equals(FILE)).toBe(true);
    const last = FILE.length - 1;
    expect(ranges).toHaveLength(4);
    expect(ranges[0]).toBe('');
    for (const range of ranges.slice(1)) expect(range).toMatch(new RegExp(`^bytes=[0-9]+-${last}$`));
    expect(clock.waitsMs).toHaveLength(2);
    for (const waitMs of clock.waitsMs) {
      expect(waitMs).toBeGreaterThanOrEqual(60_000);
      expect(waitMs).toBeLessThanOrEqual(75_000);
    }
  });

  it('sends the validator of the file it began with', async () => {
    const seen: unknown[] = [];
    const noted =
      (answer: Answer): Answer =>
      (request, response) => {
        seen.push(request.headers['if-range']);
        answer(request, response);
      };
    const { url } = await serve(noted(part(1_000)), noted(part(FILE.length)));
    await download(url, new HurriedClock());
    expect(seen).toEqual([undefined, ETAG]);
  });

  it('forgets earlier breaks once it has come further, however many there are', async () => {
    const clock = new HurriedClock();
    const { url, ranges } = await serve(part(70_000));
    expect((await download(url, clock)).equals(FILE)).toBe(true);
    expect(ranges.length).toBeGreaterThanOrEqual(10);
    expect(clock.waitsMs).toEqual([]);
  });

  it('is given up after so many tries without progress, and says how far it came', async () => {
    const { url, ranges } = await serve(part(200_000), status(503));
    const error = await failure(download(url, new HurriedClock()));
    expect(error).toMatchObject({
      kind: 'source',
      details: { status: 503, 'bytes-found': 200_000, 'bytes-expected': FILE.length, tries: 7 },
    });
    expect(ranges).toHaveLength(7);
  });

  it('waits as long as an overloaded server asks for, and goes on', async () => {
    const clock = new HurriedClock();
    const { url } = await serve(
      status(429, { 'retry-after': '200' }),
      part(200_000),
      status(503, { 'retry-after': '250' }),
      part(FILE.length),
    );
    expect((await download(url, clock)).equals(FILE)).toBe(true);
    expect(clock.waitsMs.map((ms) => Math.floor(ms / 1000))).toEqual([
      expect.toSatisfy((seconds: number) => seconds >= 200 && seconds <= 250),
      expect.toSatisfy((seconds: number) => seconds >= 250 && seconds <= 313),
    ]);
  });
});

describe('a server without ranges', () => {
  it('sends the file again, of which the known beginning is compared and not handed on twice', async () => {
    const { url, ranges } = await serve(whole(400_000, { etag: '' }), whole(FILE.length, { etag: '' }));
    expect((await download(url, new HurriedClock())).equals(FILE)).toBe(true);
    expect(ranges[1]).toBe(`bytes=400000-${FILE.length - 1}`);
  });

  it('whose file has become another one of the same size is found out before a byte of it is handed on', async () => {
    const other = Buffer.from(FILE);
    other[399_999]! ^= 1;
    const { url } = await serve(whole(400_000, { etag: '' }), whole(FILE.length, { etag: '', file: other }));
    const error = await failure(download(url, new HurriedClock()));
    expect(error).toMatchObject({ kind: 'source', details: { reason: 'changed' } });
    expect(error.message).toContain('SHA-256 of the first 400000 bytes');
  });

  it('and without a length cannot be gone on from', async () => {
    const { url, ranges } = await serve((_request, response) => {
      response.write(FILE.subarray(0, 1_000), () => response.destroy());
    });
    const error = await failure(download(url, new HurriedClock()));
    expect(error.message).toContain('the server did not say how long the file is');
    expect(ranges).toHaveLength(1);
  });
});

describe('a file that was replaced meanwhile', () => {
  it.each([
    ['another entity tag', whole(FILE.length, { etag: '"version-2"' })],
    ['another entity tag of the rest', part(FILE.length, { etag: '"version-2"' })],
    ['another size', whole(FILE.length, { file: FILE.subarray(0, 500_000) })],
    ['nothing left', status(416, { 'content-range': 'bytes */100' })],
  ])('is an error of its own: %s', async (_what, answer) => {
    const { url, ranges } = await serve(part(400_000), answer);
    const error = await failure(download(url, new HurriedClock()));
    expect(error).toMatchObject({ kind: 'source', details: { reason: 'changed' } });
    expect(ranges).toHaveLength(2);
  });

  it.each([
    ['another place', { 'content-range': `bytes 5-${FILE.length - 1}/${FILE.length}` }],
    ['no place', {}],
    ['too short a piece', { 'content-range': `bytes 400000-400009/${FILE.length}` }],
  ])('is not pieced together from an answer about %s', async (_what, headers: Record<string, string>) => {
    const { url } = await serve(
      part(400_000),
      (_request, response) => void response.writeHead(206, headers).end(FILE.subarray(0, 10)),
      part(FILE.length),
    );
    expect((await download(url, new HurriedClock())).equals(FILE)).toBe(true);
  });
});

describe('a log-in page of a network in the middle of a download', () => {
  it.each([
    ['as HTML', { 'content-type': 'text/html' }],
    ['without saying so', {}],
  ])('is waited out: %s', async (_what, headers: Record<string, string>) => {
    const page: Answer = (_request, response) =>
      void response.writeHead(200, headers).end('<!DOCTYPE html><html>log in</html>');
    const { url } = await serve(page, part(300_000), page, part(FILE.length));
    expect((await download(url, new HurriedClock())).equals(FILE)).toBe(true);
  });
});

describe('a link that has expired', () => {
  it.each([400, 401, 403, 404, 410])('with %i is renewed, and the download goes on', async (code) => {
    const fresh = await serve(part(FILE.length));
    const old = await serve(part(300_000), status(code));
    const asked: string[] = [];
    const links = {
      refresh: (expired: string): Promise<string> => {
        asked.push(expired);
        return Promise.resolve(fresh.url);
      },
    };
    expect((await download(old.url, new HurriedClock(), { links })).equals(FILE)).toBe(true);
    expect(asked).toEqual([old.url]);
    expect(fresh.ranges).toEqual([`bytes=300000-${FILE.length - 1}`]);
  });

  it('ends the download when there is no other, or the same one again', async () => {
    for (const answer of [null, 'same'] as const) {
      const { url, ranges } = await serve(part(300_000), status(403));
      const links = { refresh: () => Promise.resolve(answer === null ? null : url) };
      const error = await failure(download(url, new HurriedClock(), { links }));
      expect(error).toMatchObject({ kind: 'source', details: { status: 403 } });
      expect(ranges).toHaveLength(2);
    }
  });

  it('is asked for again when the server cannot be reached now', async () => {
    const fresh = await serve(part(FILE.length));
    const old = await serve(part(300_000), status(403));
    let asked = 0;
    const links = {
      refresh: (): Promise<string> => {
        asked += 1;
        return asked < 3
          ? Promise.reject(new UpdateError('server', 'no route', { details: { 'retry-after-seconds': 90 } }))
          : Promise.resolve(fresh.url);
      },
    };
    const clock = new HurriedClock();
    expect((await download(old.url, clock, { links })).equals(FILE)).toBe(true);
    expect(clock.waitsMs).toHaveLength(2);
    for (const waitMs of clock.waitsMs) expect(waitMs).toBeGreaterThanOrEqual(90_000);
  });
});

describe('a limit of the rate', () => {
  it('is not exceeded by more than a tenth', async () => {
    const clock = new VirtualClock();
    const { url } = await serve(part(FILE.length));
    const fromMs = clock.now().bootMs;
    let isOver = false;
    const done = download(url, clock, { rateLimit: 70_000 }).finally(() => (isOver = true));
    while (!isOver) {
      clock.advance(10);
      await new Promise((resolve) => setImmediate(resolve));
      // Real bytes need real time to come; the virtual clock stands still meanwhile.
      if (clock.now().bootMs - fromMs > 60_000) break;
    }
    expect((await done).length).toBe(FILE.length);
    const seconds = (clock.now().bootMs - fromMs) / 1000;
    expect(seconds).toBeGreaterThan(9);
  });
});

describe('giving up by hand', () => {
  it('ends a wait between two tries at once', async () => {
    const clock = new VirtualClock();
    const { url } = await serve(status(503));
    const controller = new AbortController();
    const ending = failure(download(url, clock, {}, controller.signal));
    await once(servers[0] as Server, 'request');
    controller.abort();
    expect((await ending).kind).toBe('cancelled');
  });
});

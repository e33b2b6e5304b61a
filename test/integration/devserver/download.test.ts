import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDevServer, type DevServerProcess } from '../../support/dev-server.ts';
import { makeArtifact } from '../../support/device.ts';
import { eventually } from '../../support/eventually.ts';
import { ProtocolDevice } from '../../support/protocol-device.ts';

/** Artifact download: spec/server-api.md section 9, RFC 9110 sections 13 and 14. */
let server: DevServerProcess;
let folder: string;
let bytes: Buffer;
let device: ProtocolDevice;
let uri: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-artifacts-'));
  server = await startDevServer({ options: ['--auto-accept', '--link-lifetime', '60'] });
  bytes = await readFile(
    await makeArtifact({ folder }, { name: 'release-2', payload: 'payload\n'.repeat(50_000) }),
  );
  const { id } = await server.must('POST', '/artifacts', bytes);
  device = new ProtocolDevice(server.url, { serial: 'downloader' });
  await device.authenticate();
  await server.must('POST', '/deployments', { artifact_id: id, devices: { all: true } });
  uri = (await device.next()).json.artifact.source.uri;
});
afterAll(async () => {
  await server.dispose();
  await rm(folder, { recursive: true, force: true });
});

async function get(
  headers: Record<string, string> = {},
  options: { method?: string; at?: string } = {},
): Promise<{ status: number; headers: Headers; body: Buffer }> {
  const response = await fetch(options.at ?? uri, { method: options.method ?? 'GET', headers });
  return {
    status: response.status,
    headers: response.headers,
    body: Buffer.from(await response.arrayBuffer()),
  };
}

describe('a download', () => {
  it('is the artifact, with length, validators and no compression, and needs no token', async () => {
    const { status, headers, body } = await get({ 'Accept-Encoding': 'gzip, br' });
    expect(status).toBe(200);
    expect(body.equals(bytes)).toBe(true);
    expect(headers.get('content-length')).toBe(String(bytes.length));
    expect(headers.get('content-encoding')).toBeNull();
    expect(headers.get('accept-ranges')).toBe('bytes');
    expect(headers.get('etag')).toBe(`"${createHash('sha256').update(bytes).digest('hex')}"`);
    expect(headers.get('cache-control')).toContain('no-transform');
  });

  it('answers HEAD like GET, without the bytes', async () => {
    const { status, headers, body } = await get({}, { method: 'HEAD' });
    expect([status, body.length]).toEqual([200, 0]);
    expect(headers.get('content-length')).toBe(String(bytes.length));
    expect(headers.get('etag')).toMatch(/^"[0-9a-f]{64}"$/);
    expect((await get({ Range: 'bytes=5-9' }, { method: 'HEAD' })).status).toBe(200);
  });

  it('answers single ranges with 206 and exactly the bytes asked for', async () => {
    const size = bytes.length;
    for (const [range, first, last] of [
      ['bytes=0-0', 0, 0],
      ['bytes=1000-', 1000, size - 1],
      [`bytes=1000-${size - 1}`, 1000, size - 1],
      [`bytes=${size - 1}-`, size - 1, size - 1],
      [`bytes=100-${size + 5000}`, 100, size - 1],
      ['bytes=-512', size - 512, size - 1],
      [`bytes=-${size * 2}`, 0, size - 1],
    ] as const) {
      const { status, headers, body } = await get({ Range: range });
      expect([range, status]).toEqual([range, 206]);
      expect(headers.get('content-range')).toBe(`bytes ${first}-${last}/${size}`);
      expect(headers.get('content-length')).toBe(String(last - first + 1));
      expect(body.equals(bytes.subarray(first, last + 1))).toBe(true);
    }
  });

  it('says 416 with the length for a range behind the end, as a JSON error', async () => {
    for (const range of [`bytes=${bytes.length}-`, 'bytes=-0', `bytes=${bytes.length + 7}-9999999999`]) {
      const { status, headers, body } = await get({ Range: range });
      expect([range, status]).toEqual([range, 416]);
      expect(headers.get('content-range')).toBe(`bytes */${bytes.length}`);
      expect(headers.get('content-type')).toBe('application/json');
      expect(JSON.parse(body.toString())).toHaveProperty('request_id');
    }
  });

  it('passes over ranges it does not serve and answers with everything', async () => {
    for (const range of ['bytes=0-1,5-6', 'lines=1-2', 'bytes=9-1', 'bytes=-', 'bytes=a-b']) {
      const { status, body } = await get({ Range: range });
      expect([range, status, body.length]).toEqual([range, 200, bytes.length]);
    }
  });

  it('goes on only when If-Range names this very file', async () => {
    const { headers } = await get({}, { method: 'HEAD' });
    const etag = headers.get('etag') ?? '';
    const date = headers.get('last-modified') ?? '';
    const status = async (condition: string): Promise<number> =>
      (await get({ Range: 'bytes=10-', 'If-Range': condition })).status;
    expect(await status(etag)).toBe(206);
    expect(await status(date)).toBe(206);
    expect(await status('"something else"')).toBe(200);
    expect(await status(`W/${etag}`)).toBe(200);
    expect(await status('Thu, 01 Jan 1970 00:00:00 GMT')).toBe(200);
  });
});

describe('a link', () => {
  it('is refused with 403 when anything in it was changed', async () => {
    const url = new URL(uri);
    for (const [name, value] of [
      ['expire', '9999999999'],
      ['expire', ''],
      ['device', 'another'],
      ['deployment', 'another'],
      ['signature', 'A'.repeat(43)],
      ['signature', ''],
    ] as const) {
      const changed = new URL(url);
      changed.searchParams.set(name, value);
      expect([name, value, (await get({}, { at: changed.href })).status]).toEqual([name, value, 403]);
    }
    const bare = new URL(url);
    bare.search = '';
    expect((await get({}, { at: bare.href })).status).toBe(403);
    const other = new URL(url);
    other.pathname = other.pathname.replace(/[^/]+$/, '00000000-0000-4000-8000-000000000000');
    expect((await get({}, { at: other.href })).status).toBe(403);
  });

  it('is refused with 403 once it has expired, while a fresh one works, also for the rest of the file', async () => {
    const short = await startDevServer({ options: ['--auto-accept', '--link-lifetime', '1'] });
    try {
      const { id } = await short.must('POST', '/artifacts', bytes);
      const late = new ProtocolDevice(short.url, { serial: 'late' });
      await late.authenticate();
      await short.must('POST', '/deployments', { artifact_id: id, devices: { all: true } });
      const source = (await late.next()).json.artifact.source;
      expect((await get({}, { at: source.uri })).status).toBe(200);
      await eventually('it has expired', () => Date.now() > Date.parse(source.expire));
      const refused = await get({ Range: 'bytes=10-' }, { at: source.uri });
      expect([refused.status, JSON.parse(refused.body.toString()).error]).toEqual([
        403,
        'the link has expired',
      ]);
      const fresh = (await late.next()).json.artifact.source.uri;
      expect((await get({ Range: 'bytes=10-' }, { at: fresh })).body.equals(bytes.subarray(10))).toBe(true);
    } finally {
      await short.dispose();
    }
  });

  it('still works after the server was restarted', async () => {
    const first = await startDevServer({ options: ['--auto-accept'] });
    let second: DevServerProcess | null = null;
    try {
      const { id } = await first.must('POST', '/artifacts', bytes);
      const one = new ProtocolDevice(first.url, { serial: 'patient' });
      await one.authenticate();
      await first.must('POST', '/deployments', { artifact_id: id, devices: { all: true } });
      const link = new URL((await one.next()).json.artifact.source.uri);
      expect(await first.stop()).toBe(0);
      second = await startDevServer({ folder: first.folder, listen: link.host });
      expect((await get({}, { at: link.href })).body.equals(bytes)).toBe(true);
      expect((await one.next()).status).toBe(200);
    } finally {
      await second?.dispose();
      await first.dispose();
    }
  });
});

describe('an ordered fault', () => {
  it('cuts a download after so many bytes, once, so that the rest can be fetched', async () => {
    await server.must('POST', '/faults', { endpoint: 'download', kind: 'cut', after_bytes: 150_000 });
    const response = await fetch(uri);
    let got = 0;
    await expect(async () => {
      for await (const chunk of response.body!) got += (chunk as Uint8Array).length;
    }).rejects.toThrow();
    expect(got).toBe(150_000);
    const rest = await get({ Range: `bytes=${got}-` });
    expect([rest.status, rest.body.equals(bytes.subarray(got))]).toEqual([206, true]);
  });

  it('answers with a status and Retry-After, with a page of HTML, or not at all', async () => {
    const order = (fault: object): Promise<unknown> => server.must('POST', '/faults', fault);
    await order({ endpoint: 'next', kind: 'status', status: 429, retry_after: '7' });
    const busy = await device.next();
    expect([busy.status, busy.headers.get('retry-after')]).toEqual([429, '7']);
    await order({ endpoint: 'next', kind: 'html' });
    const portal = await device.next();
    expect([portal.status, portal.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    await order({ endpoint: 'download', kind: 'status', status: 503, count: 2 });
    expect([(await get()).status, (await get()).status, (await get()).status]).toEqual([503, 503, 200]);
    await order({ endpoint: 'map', kind: 'silence' });
    const silent = fetch(`${server.url}/api/devices/v2/deployments/device/deployments/x/update_control_map`, {
      headers: { Authorization: `Bearer ${device.token}` },
      signal: AbortSignal.timeout(300),
    });
    await expect(silent).rejects.toThrow();
    expect(await server.must('GET', '/faults')).toEqual([]);
    expect((await device.next()).status).toBe(200);
  });

  it('slows a download down', async () => {
    const perSecond = 400_000;
    await server.must('POST', '/faults', {
      endpoint: 'download',
      kind: 'slow',
      bytes_per_second: perSecond,
    });
    const startMs = performance.now();
    expect((await get()).body.length).toBe(bytes.length);
    expect(performance.now() - startMs).toBeGreaterThan((bytes.length / perSecond) * 1000 * 0.8);
  });
});

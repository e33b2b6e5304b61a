import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SystemClock } from '../../../src/adapters/system/clock.ts';
import { plausibleDates } from '../../../src/adapters/http/plausible-dates.ts';
import { createHostedLogin, type HostedLogin } from '../../../src/cli/mender/setup/hosted.ts';
import { RecordingLog } from '../../support/recording-log.ts';
import { menderLinks } from './twins.ts';

vi.setConfig({ testTimeout: 300_000 });

/** `mender setup` where people are: at a terminal, and at hosted.mender.io. */
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-setup-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

interface Session {
  readonly shown: string;
  readonly status: number;
}

async function atTerminal(
  args: readonly string[],
  feed: readonly (readonly [shown: string, typed: string])[],
): Promise<Session> {
  const program = [process.execPath, join(await menderLinks(), 'mender'), ...args];
  const child = spawn('python3', [resolve('test/support/terminal-session.py'), ...program], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...process.env,
      MENDER_CONF_DIR: join(folder, 'conf'),
      MENDER_DATASTORE_DIR: join(folder, 'data'),
    },
  });
  child.stdin.end(JSON.stringify(feed));
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await once(child, 'close');
  return JSON.parse(text) as Session;
}

describe('at a terminal', () => {
  it('answers can be corrected while they are typed, and are written', async () => {
    const { shown, status } = await atTerminal(
      [
        'setup',
        '--hosted-mender=false',
        '--server-url',
        'https://one.example',
        '--server-cert',
        '',
        '--demo-polling',
      ],
      [['Device type', 'kiosx\u007fk\n']],
    );
    expect(shown).toContain('Mender setup successfully.');
    expect(status).toBe(0);
    expect(await readFile(join(folder, 'data/device_type'), 'utf8')).toBe('device_type=kiosk\n');
  });

  it('Ctrl-C ends it, and nothing is written', async () => {
    const { shown, status } = await atTerminal(['setup', '--quiet'], [['Device type', '\u0003']]);
    expect(shown).toContain('mender: setting up: interrupted');
    expect(status).toBe(130);
    expect(existsSync(join(folder, 'conf/mender.conf'))).toBe(false);
  });

  it('a password is not shown', async () => {
    const { shown, status } = await atTerminal(
      ['setup', '--quiet', '--device-type', 'kiosk', '--hosted-mender'],
      [
        ['Email: ', 'a@b.example\n'],
        ['Password: ', 'secret-123\u0003'],
      ],
    );
    expect(shown).toContain('a@b.example');
    expect(shown).not.toContain('secret');
    expect(status).toBe(130);
  });
});

describe('the login at hosted.mender.io', () => {
  const logs = new RecordingLog();
  type Handler = (request: IncomingMessage, response: ServerResponse) => void;

  async function withServer(handler: Handler, use: (login: HostedLogin) => Promise<void>): Promise<void> {
    const server = createServer(handler);
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    const options = {
      serverCertificatePath: null,
      isTlsVerificationSkipped: false,
      clientCertificate: null,
      isKeepAliveDisabled: true,
      idleConnectionTimeoutSeconds: 0,
      proxyEnvironment: {},
      plausibleDates: plausibleDates({ builtWallMs: 0, files: [] }),
    };
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      await use(createHostedLogin(url, options, new SystemClock(), logs, new AbortController().signal));
    } finally {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    }
  }

  const right: Handler = (request, response) => {
    const [method, path, authorization] = [request.method, request.url, request.headers.authorization];
    const basic = `Basic ${Buffer.from('a@b.example:right').toString('base64')}`;
    if (method === 'POST' && path === '/api/management/v1/useradm/auth/login') {
      if (authorization === basic) return void response.end('user-token');
      return void response.writeHead(401).end('{"error":"unauthorized"}');
    }
    if (path === '/api/management/v1/tenantadm/user/tenant' && authorization === 'Bearer user-token') {
      return void response.end('{"id":"1","tenant_token":"tt-7"}');
    }
    return void response.writeHead(404).end();
  };

  it('gives the token of the tenant, or says that user and password are not right', () =>
    withServer(right, async (login) => {
      expect(await login('a@b.example', 'wrong')).toEqual({ kind: 'refused' });
      expect(await login('a@b.example', 'right')).toEqual({ kind: 'token', token: 'tt-7' });
      expect(JSON.stringify(logs)).not.toMatch(/right|tt-7|user-token/);
    }));

  it.each<[string, Handler]>([
    ['another status', (_, response) => void response.writeHead(500).end('secret')],
    ['no token', (_, response) => void response.end('')],
    [
      'no tenant',
      (request, response) => void response.end(request.method === 'POST' ? 'user-token' : '{"id":"1"}'),
    ],
    ['no JSON', (request, response) => void response.end(request.method === 'POST' ? 'user-token' : 'tt-7')],
  ])('with %s fails in one sentence without what was answered', (_, handler) =>
    withServer(handler, async (login) => {
      const error: unknown = await login('a@b.example', 'right').catch((reason: unknown) => reason);
      expect(error).toMatchObject({ kind: 'server' });
      expect(String(error)).not.toMatch(/secret|user-token|tt-7|right/);
    }),
  );
});

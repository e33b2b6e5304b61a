/**
 * The same device, once as Debian's `mender` 3.4 and once as ours, at the same server: the same key file, identity
 * program and inventory programs. What differs is listed, and nothing else may.
 */
import { execFile } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startDeviceApi, type DeviceApi, type ReceivedRequest } from '../../support/device-api.ts';
import { menderClient } from '../../support/mender-client.ts';
import { Lab, never } from './lab.ts';

const run = promisify(execFile);
const mender = await menderClient();
const unavailable = await (async (): Promise<string> => {
  if ('unavailable' in mender) return mender.unavailable;
  if (process.getuid?.() !== 0) return 'a mount namespace needs root';
  return run('unshare', [
    '--mount',
    'sh',
    '-c',
    `mount -t tmpfs none /usr/share && '${mender.program}' --version`,
  ]).then(
    () => '',
    (error: Error) => error.message,
  );
})();
if (unavailable !== '') console.warn(`the real client is not compared: ${unavailable}`);

let lab: Lab;
let api: DeviceApi;

beforeEach(async () => {
  lab = new Lab();
  api = await startDeviceApi();
});
afterEach(async () => {
  await lab.dispose();
  await api.close();
});

/** Runs the real client with our device's folders in the places it knows. */
async function realMender(...args: readonly string[]): Promise<void> {
  if ('unavailable' in mender) throw new Error(mender.unavailable);
  const share = lab.at('share');
  for (const folder of ['share', 'share/identity', 'share/inventory', 'share/modules', 'conf', 'data']) {
    mkdirSync(lab.at(folder), { recursive: true });
  }
  cpSync(lab.at('identity'), lab.at('share/identity/mender-device-identity'));
  cpSync(lab.at('inventory'), lab.at('share/inventory'), { recursive: true });
  writeFileSync(
    lab.at('conf/mender.conf'),
    JSON.stringify({ Servers: [{ ServerURL: api.url }], TenantToken: 'tt-demo' }),
  );
  writeFileSync(lab.at('data/device_type'), 'device_type=test-device\n');
  const mount = `mount -t tmpfs none /usr/share && mkdir /usr/share/mender && mount --bind '${share}' /usr/share/mender`;
  const program = [
    mender.program,
    '--no-syslog',
    '--config',
    lab.at('conf/mender.conf'),
    '--data',
    lab.at('data'),
  ];
  await run('unshare', ['--mount', 'sh', '-c', `${mount} && exec "$@"`, 'sh', ...program, ...args], {
    timeout: 30_000,
    env: { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: 'unix:path=/nonexistent/no-bus' },
  });
}

const json = (request: ReceivedRequest | undefined) => request?.json as Record<string, string>;

describe.skipIf(unavailable !== '')('beside the real mender 3.4', () => {
  const identities: Readonly<Record<string, string>> = {
    'one value': 'echo mac=02:00:5e:00:00:01',
    'several values, sorted keys, odd characters':
      'echo zone=b; echo mac=2; echo mac=1; echo "a=x=y  "; echo 9=n; echo 10=n; echo "Umlaut=ä\\"\\\\"; echo; echo empty=',
  };
  for (const [name, identity] of Object.entries(identities)) {
    it(`authenticates as the same device with the key it made: ${name}`, async () => {
      lab.program('identity', identity);
      await realMender('bootstrap');
      const [theirs] = api.of('auth');
      const keyPath = lab.at('data/mender-agent.pem');
      const key = readFileSync(keyPath);
      expect(key.toString()).toContain('BEGIN RSA PRIVATE KEY');
      await lab
        .client([api.url], { tenantToken: 'tt-demo', keys: { ownKeyPath: keyPath } })
        .authentication.authenticate(never);
      const ours = api.of('auth').at(-1);
      expect(api.problems).toEqual([]);
      expect(readFileSync(keyPath)).toEqual(key);

      const [a, b] = [json(theirs), json(ours)];
      expect(b['id_data']).toBe(a['id_data']);
      expect(b['pubkey']).toBe(a['pubkey']);
      expect(b['tenant_token']).toBe(a['tenant_token']);
      // Member order and the final newline are the Go client's own; `tier` is new in the C++ client.
      expect(Object.keys(a).sort()).toEqual(['id_data', 'pubkey', 'tenant_token']);
      expect(Object.keys(b)).toEqual(['id_data', 'pubkey', 'tenant_token', 'tier']);
      expect(theirs?.body.at(-1)).toBe(0x0a);
      expect(ours?.path).toBe(theirs?.path);
      expect(ours?.headers['content-type']).toBe(theirs?.headers['content-type']);
    });
  }

  it('differs in the identity only in how three characters are written', async () => {
    lab.program('identity', 'echo "name=<a&b>"');
    await realMender('bootstrap');
    await lab
      .client([api.url], { keys: { ownKeyPath: lab.at('data/mender-agent.pem') } })
      .authentication.authenticate(never);
    const [theirs, ours] = api.of('auth').map((request) => json(request)['id_data']);
    expect(theirs).toBe('{"name":"\\u003ca\\u0026b\\u003e"}');
    expect(ours).toBe('{"name":"<a&b>"}');
    expect(JSON.parse(ours ?? '')).toEqual(JSON.parse(theirs ?? ''));
  });

  it('signs with a key of ours that the real client then uses as its own', async () => {
    mkdirSync(lab.at('data'));
    const { authentication } = lab.client([api.url], {
      tenantToken: 'tt-demo',
      keys: { ownKeyPath: lab.at('data/mender-agent.pem') },
    });
    await authentication.authenticate(never);
    chmodSync(lab.at('data'), 0o700);
    await realMender('bootstrap');
    const [ours, theirs] = api.of('auth').map(json);
    expect(theirs?.['pubkey']).toBe(ours?.['pubkey']);
    expect(api.problems).toEqual([]);
  });
});

import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MenderServer } from '../../../src/adapters/server/mender-server.ts';
import { startDeviceApi, type DeviceApi } from '../../support/device-api.ts';
import { failureOf, Lab, never } from './lab.ts';

let lab: Lab;
let api: DeviceApi;
let client: MenderServer;

beforeEach(async () => {
  lab = new Lab();
  api = await startDeviceApi();
  client = lab.client([api.url], { inventory: { directory: lab.at('inventory'), timeoutMs: 4_000 } });
});
afterEach(async () => {
  await lab.dispose();
  await api.close();
});

const sent = (): Readonly<Record<string, unknown>> => {
  const attributes = api.of('inventory').at(-1)?.json ?? [];
  return Object.fromEntries(
    (attributes as { name: string; value: unknown }[]).map(({ name, value }) => [name, value]),
  );
};
const OWN = {
  artifact_name: 'original',
  device_type: 'test-device',
  mender_client_version: '1.2.3',
  mender_client_version_provider: 'internal',
};
const problems = (): readonly unknown[] =>
  lab.log.records.filter(({ level }) => level === 'warn').map(({ fields }) => fields['problem'] ?? fields);

describe('the inventory', () => {
  it('joins what all programs print with what the client knows, sorted by name', async () => {
    lab.program('inventory/mender-inventory-b', 'echo net=wlan0\necho empty=\necho version=a=b');
    lab.program('inventory/mender-inventory-a', 'echo net=eth0\necho device_type=liar\necho "names=ä ö"');
    expect(await client.inventory.send(never)).toBe('sent');
    expect(api.of('inventory')[0]?.body.toString()).toBe(
      '[{"name":"artifact_name","value":"original"},{"name":"device_type","value":"test-device"},' +
        '{"name":"empty","value":""},' +
        '{"name":"mender_client_version","value":"1.2.3"},{"name":"mender_client_version_provider","value":"internal"},' +
        '{"name":"names","value":"ä ö"},{"name":"net","value":["eth0","wlan0"]},{"name":"probe","value":"1"},' +
        '{"name":"version","value":"a=b"}]',
    );
    expect(api.of('inventory')[0]?.method).toBe('PUT');
    expect(api.problems).toEqual([]);
  });

  it('loses only the output of a program that fails, hangs, floods or cannot be run', async () => {
    lab.program('inventory/mender-inventory-1', 'echo one=1; exit 1');
    lab.program('inventory/mender-inventory-2', 'echo two=2; sleep 60');
    lab.program(
      'inventory/mender-inventory-3',
      'echo three=3; head -c 400000 /dev/zero | tr "\\0" "\\n"; echo x=y',
    );
    lab.program('inventory/mender-inventory-4', 'echo four=4; echo nonsense; echo five=5');
    lab.program('inventory/mender-inventory-5', 'echo six=6', 0o644);
    lab.program('inventory/other', 'echo seven=7');
    mkdirSync(lab.at('inventory/mender-inventory-folder'));
    symlinkSync(lab.at('inventory/other'), lab.at('inventory/mender-inventory-link'));
    expect(await client.inventory.send(never)).toBe('sent');
    expect(sent()).toEqual({ ...OWN, four: '4', probe: '1', seven: '7' });
    expect(problems()).toEqual([
      expect.objectContaining({ program: expect.stringContaining('mender-inventory-5') }),
      expect.objectContaining({ program: expect.stringContaining('mender-inventory-folder') }),
      expect.stringContaining('ended with 1, expected 0'),
      expect.stringContaining('did not end within 4 s'),
      expect.stringContaining('more than 262144 bytes'),
      expect.stringContaining('line 2: found "nonsense", expected key=value'),
    ]);
  });

  it('is what the client knows where there are no programs, and nothing where all of them fail', async () => {
    lab.program('inventory/mender-inventory-probe', 'exit 1');
    expect((await failureOf(client.inventory.send(never))).kind).toBe('script');
    expect(api.requests).toEqual([]);
    rmSync(lab.at('inventory'), { recursive: true });
    await client.inventory.send(never);
    expect(sent()).toEqual(OWN);
  });

  it('is sent without a device type that is unknown', async () => {
    lab.deviceType = '';
    await client.inventory.send(never);
    expect(Object.keys(sent())).not.toContain('device_type');
  });

  it('lets a program say which version is meant', async () => {
    lab.program('inventory/mender-inventory-v', 'echo mender_client_version=9');
    await client.inventory.send(never);
    expect(sent()).toMatchObject({ mender_client_version: '9', mender_client_version_provider: 'external' });
  });

  it('is cut to what servers take, so that the rest is not refused with it', async () => {
    lab.program(
      'inventory/mender-inventory-many',
      'for i in $(seq 1000 1199); do echo "key$i=v"; done; printf "%02000d=x\\n" 0',
    );
    for (const one of [1, 2, 3, 4, 5]) {
      lab.program(
        `inventory/mender-inventory-a${one}`,
        `i=0; while [ $i -lt 4 ]; do i=$((i+1)); echo "big${one}=$(head -c 60000 /dev/zero | tr '\\0' x)"; done`,
      );
    }
    await client.inventory.send(never);
    const names = Object.keys(sent());
    expect(names.length).toBeLessThanOrEqual(100);
    expect(names).toEqual(expect.arrayContaining([...Object.keys(OWN).slice(0, 2), 'key1000']));
    expect(api.of('inventory')[0]!.body.length).toBeLessThanOrEqual(250_000);
    expect(api.problems).toEqual([]);
    expect(lab.log.records.map(({ sentence }) => sentence)).toEqual(
      expect.arrayContaining([
        'an inventory attribute is left out: its name is too long',
        'inventory attributes are left out: servers take no more than a hundred',
        'an inventory attribute is left out: the inventory would be too large',
      ]),
    );
  });

  it('is sent again only when it has changed, or the device has authenticated anew', async () => {
    expect(await client.inventory.send(never)).toBe('sent');
    expect(await client.inventory.send(never)).toBe('unchanged');
    lab.installed = { ...lab.installed, artifactName: 'release-2' };
    expect(await client.inventory.send(never)).toBe('sent');
    expect(await client.inventory.send(never)).toBe('unchanged');
    await client.authentication.authenticate(never);
    expect(await client.inventory.send(never)).toBe('sent');
    expect(api.calls()).toEqual(['auth', 'inventory', 'inventory', 'auth', 'inventory']);
  });

  it('that a server did not accept is sent again', async () => {
    for (const status of [204, 400, 404, 413, 429, 500]) {
      api.answerNext('inventory', { status, headers: { 'retry-after': '3' } });
      expect((await failureOf(client.inventory.send(never))).details).toMatchObject({
        reason: 'status',
        status,
        'retry-after-seconds': 3,
      });
    }
    expect(await client.inventory.send(never)).toBe('sent');
  });

  it('goes by PATCH to a server that knows no PUT', async () => {
    api.answerNext('inventory', { status: 405 });
    expect(await client.inventory.send(never)).toBe('sent');
    expect(api.of('inventory').map(({ method }) => method)).toEqual(['PUT', 'PATCH']);
    expect(api.of('inventory')[1]?.body).toEqual(api.of('inventory')[0]?.body);
  });

  it('stops with its program when nobody wants it any more', async () => {
    lab.program('inventory/mender-inventory-slow', 'sleep 60');
    const controller = new AbortController();
    const failure = failureOf(client.inventory.send(controller.signal));
    controller.abort();
    expect((await failure).kind).toBe('cancelled');
    expect(api.requests).toEqual([]);
  });
});

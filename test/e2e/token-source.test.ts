/** Our service beside Debian's `mender` 3.4 on one bus: the one has the key, the other uses its token. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startDeviceApi } from '../support/device-api.ts';
import { eventually } from '../support/eventually.ts';
import { startMenderDaemon } from '../support/mender-daemon.ts';
import { ServiceHarness } from '../support/service.ts';

const LIMIT_MS = 60_000;

test('with TokenSource mender-auth the service authenticates nowhere itself, and works through the forwarder of the other', async () => {
  const api = await startDeviceApi();
  const mender = await startMenderDaemon({
    config: { ServerURL: api.url, UpdatePollIntervalSeconds: 3600, InventoryPollIntervalSeconds: 3600 },
    identity: 'serial=1',
  });
  if ('unavailable' in mender) throw new Error(mender.unavailable);
  // It answers as a service only once it has a token of its own.
  await eventually('the other has authenticated', () => api.of('auth').length > 0, LIMIT_MS);
  const service = await ServiceHarness.create({
    bus: mender.bus,
    menderConf: { ServerURL: api.url, UpdatePollIntervalSeconds: 3600, RetryPollIntervalSeconds: 1 },
    holdpointConf: { TokenSource: 'mender-auth', MenderNames: false },
  });
  try {
    await service.start();
    const ours = (): readonly string[] =>
      api.requests
        .filter(({ headers }) => (headers['user-agent'] ?? '').startsWith('Holdpoint/'))
        .map(({ endpoint }) => endpoint);
    await eventually(
      'the inventory and a poll of ours have arrived',
      () => {
        const endpoints = ours();
        return endpoints.includes('inventory') && endpoints.includes('next-v2');
      },
      LIMIT_MS,
    ).catch(async (error: unknown) => {
      throw new Error(`${String(error)}\n${await service.log()}`);
    });
    expect(ours()).not.toContain('auth');
    await expect(access(join(service.device.data, 'mender-agent.pem'))).rejects.toThrow();
    // A token that is refused is fetched anew from the other one.
    api.revokeTokens();
    await service.mustCall('CheckForUpdate');
    const before = ours().length;
    await eventually(
      'the repeated request is accepted',
      () => ours().length > before && api.requests.at(-1)?.headers.authorization === `Bearer ${api.token}`,
      LIMIT_MS,
    );
    expect(ours()).not.toContain('auth');
    expect(await service.log()).not.toContain(api.token);
    expect(await service.terminate()).toEqual({ code: 0, signal: null });
  } finally {
    await service.dispose();
    await mender.dispose();
    await api.close();
  }
}, 180_000);

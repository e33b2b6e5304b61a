/** The real logind, with a /run of its own so that it meets no other one; and the real systemd-inhibit. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openClient } from '../../../src/adapters/dbus/connection.ts';
import { inhibit, LOGIND, startSystemBus, type HeldInhibitor } from '../../support/dbusmock.ts';
import { eventually } from '../../support/eventually.ts';
import type { PrivateBus } from '../../support/private-bus.ts';
import { POINT, watch, type Watched } from './support.ts';

const PROGRAM = '/lib/systemd/systemd-logind';
const OWN_RUN =
  'mount -t tmpfs none /run && mkdir -p /run/systemd/inhibit /run/systemd/seats /run/systemd/sessions /run/systemd/users && exec "$0" "$@"';

/** Needs root and a mount namespace with a /run of its own; a container may refuse both. */
function unavailable(): boolean {
  if (process.getuid?.() !== 0) return true;
  return spawnSync('unshare', ['--mount', 'sh', '-c', OWN_RUN, 'test', '-x', PROGRAM]).status !== 0;
}

describe.skipIf(unavailable())('the real logind', () => {
  let bus: PrivateBus;
  let logind: ChildProcess;
  let watched: Watched | null = null;
  const held: HeldInhibitor[] = [];

  /** It announces its changes itself. */
  async function take(what: string, who: string, mode: 'block' | 'delay'): Promise<HeldInhibitor> {
    const lock = await inhibit(bus.address, { what, who, why: 'a reason', mode }, () => Promise.resolve());
    held.push(lock);
    return lock;
  }

  async function isThere(): Promise<boolean> {
    const client = await openClient(bus.address);
    try {
      const [answer] = await client.call({
        destination: 'org.freedesktop.DBus',
        path: '/org/freedesktop/DBus',
        interface: 'org.freedesktop.DBus',
        member: 'NameHasOwner',
        signature: 's',
        body: [LOGIND],
      });
      return answer === true;
    } finally {
      client.close();
    }
  }

  beforeAll(async () => {
    bus = await startSystemBus();
    // Ends with us, should the test run be killed.
    const command = ['--pdeathsig', 'KILL', 'unshare', '--mount', 'sh', '-c', OWN_RUN, PROGRAM];
    logind = spawn('setpriv', command, {
      stdio: 'ignore',
      env: { PATH: '/usr/bin:/bin', DBUS_SYSTEM_BUS_ADDRESS: bus.address },
    });
    await eventually('logind is on the bus', isThere);
  });

  afterEach(async () => {
    watched?.stop();
    watched = null;
    for (const lock of held.splice(0)) await lock.release();
  });

  afterAll(async () => {
    if (logind.exitCode === null && logind.signalCode === null) {
      const ended = once(logind, 'exit');
      logind.kill('SIGKILL');
      await ended;
    }
    await bus.dispose();
  });

  it('tells of each lock on shutdown as it comes and goes', async () => {
    watched = watch({ inhibitors: { points: [POINT] } }, { address: bus.address });
    await watched.becomes([]);
    const first = await take('shutdown:idle', 'Backup', 'block');
    await watched.becomes(['inhibitor/shutdown-inhibited']);
    expect(watched.latest()[0]).toMatchObject({ owner: 'Backup', details: { why: 'a reason', uid: 0 } });
    expect(watched.latest()[0]!.details['pid']).toBeGreaterThan(1);
    const second = await take('shutdown', 'Surgery', 'block');
    await watched.becomes(['inhibitor/shutdown-inhibited', 'inhibitor/shutdown-inhibited']);
    held.length = 0;
    await first.release();
    await watched.becomes(['inhibitor/shutdown-inhibited']);
    expect(watched.latest()[0]!.owner).toBe('Surgery');
    await second.release();
    await watched.becomes([]);
  });

  it('has locks that do not forbid to reboot', async () => {
    await take('shutdown', 'Editor', 'delay');
    await take('sleep', 'Player', 'block');
    watched = watch({ inhibitors: { points: [POINT] } }, { address: bus.address });
    await watched.becomes([]);
  });
});

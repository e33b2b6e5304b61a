/** `holdpoint monitor` on a terminal: what it shows, and what its keys do, on a simulated device. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { onTerminal, type OnTerminal } from '../../support/pty.ts';
import { asUser, startSessionBus, startSimulation, type SessionBus } from '../../support/simulation.ts';

let bus: SessionBus;
beforeAll(async () => {
  bus = await startSessionBus();
}, 60_000);
afterAll(() => bus.dispose());

function startMonitor(then = ''): OnTerminal {
  const [file, rest] = asUser('sh', ['-c', `'${process.execPath}' '${bus.program}' monitor; ${then}`]);
  return onTerminal([file, ...rest], { PATH: '/usr/bin:/bin', DBUS_SYSTEM_BUS_ADDRESS: bus.address });
}

describe('holdpoint monitor on a terminal', { timeout: 400_000 }, () => {
  it('shows what comes, who blocks, and the time left; answers by keys, each time to what is asked', async () => {
    const simulation = startSimulation(bus, ['kiosk', '--speed', '20']);
    await simulation.line('Download');
    const monitor = startMonitor();
    try {
      await monitor.shows('Faster start, better printing.');
      await monitor.shows('Waiting at ArtifactInstall_Enter for:');
      await monitor.shows('the consent that the configuration demands');
      await monitor.shows(/\[n\]ow {2}\[l\]ater {2}\[a\]bort {2}\d+:\d\d:\d\d left/);
      monitor.type('w?');
      await monitor.shows(/Keys: \[n\]ow.*\[q\]uit/);
      await monitor.shows('Waiting at ArtifactReboot_Enter for:');
      await monitor.shows('the maintenance window, which opens at');
      await monitor.shows('[n]ow  at the [w]indow  [l]ater');
      monitor.type('l');
      await monitor.shows(/Put off until \d{4}-/);
      await monitor.shows('[n]ow: ask again');
      monitor.type('n');
      await monitor.shows('It asks again.');
      await monitor.shows('[n]ow  at the [w]indow');
      monitor.type('w');
      await monitor.shows('Noted; something else is still waited for.');
      monitor.type('ax');
      await monitor.shows('Give up release-2? [y]es, any other key: no');
      await monitor.shows('It goes on.');
      monitor.type('n');
      await monitor.shows('The service is gone');
      await monitor.shows('Last result:  success');
      monitor.type('q');
      expect(await monitor.ended).toBe(0);
    } finally {
      await simulation.stop();
      await monitor.stop();
    }
  });

  it('gives up after a second key, ends with Ctrl-C, and leaves the terminal as it was', async () => {
    const simulation = startSimulation(bus, ['no-reboot', '--speed', '20']);
    await simulation.line('Download');
    const monitor = startMonitor('stty -a');
    try {
      await monitor.shows('[a]bort');
      monitor.type('ay');
      await monitor.shows('Aborting.');
      await monitor.shows('Last result:  aborted');
      monitor.type('n');
      await monitor.shows('Nothing is asked at present.');
      monitor.type('\u0003');
      await monitor.shows(/[^-]icanon/);
      expect(monitor.text()).toMatch(/[^-]echo /);
      expect(await monitor.ended).toBe(0);
    } finally {
      await simulation.stop();
      await monitor.stop();
    }
  });
});

/** examples/shell, run as they stand there: the questions on a terminal, and a command that keeps the device still. */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { busctl, OTHER_UID, TARGET } from '../support/bus-tools.ts';
import { eventually } from '../support/eventually.ts';
import { onTerminal, type OnTerminal } from '../support/pty.ts';
import { asUser, startSessionBus, startSimulation, type SessionBus } from '../support/simulation.ts';
import { NOTES } from './walk.ts';

let bus: SessionBus;
beforeAll(async () => {
  bus = await startSessionBus();
  const programs = join(bus.folder, 'bin');
  await mkdir(programs);
  await writeFile(
    join(programs, 'holdpoint'),
    `#!/bin/sh\nexec '${process.execPath}' '${bus.program}' "$@"\n`,
    {
      mode: 0o755,
    },
  );
  for (const name of ['update-ask.sh', 'wait-for-quiet.sh'])
    await copyFile(join('examples/shell', name), join(programs, name));
}, 60_000);
afterAll(() => bus.dispose());

function start(name: string, ...args: readonly string[]): OnTerminal {
  const [file, rest] = asUser(join(bus.folder, 'bin', name), args);
  return onTerminal([file, ...rest], {
    PATH: `${bus.folder}/bin:/usr/bin:/bin`,
    DBUS_SYSTEM_BUS_ADDRESS: bus.address,
  });
}

async function call(method: string, ...args: readonly string[]): Promise<string> {
  const target = [TARGET.name, TARGET.path, TARGET.main];
  const { status, stdout, stderr } = await busctl(bus.address, ['call', ...target, method, ...args], {
    uid: OTHER_UID,
  });
  if (status !== 0) throw new Error(`${method}: ${stderr}`);
  return stdout;
}

async function property(name: string, interfaceName: string = TARGET.main): Promise<string> {
  const target = [TARGET.name, TARGET.path, interfaceName, name];
  return (await busctl(bus.address, ['get-property', ...target], { uid: OTHER_UID })).stdout;
}

describe('the shell scripts', { timeout: 400_000 }, () => {
  it('update-ask.sh asks, passes the answers on, and outlives the restart of the service', async () => {
    const ask = start('update-ask.sh');
    await ask.shows('The update service is not running');
    const simulation = startSimulation(bus, ['kiosk', '--speed', '20']);
    try {
      await ask.shows(NOTES);
      await ask.shows('release-2 (installed: release-1) at ArtifactInstall_Enter: [n]ow');
      ask.type('n\n');
      await ask.shows('s "proceeding"');
      await ask.shows('at ArtifactReboot_Enter: [n]ow');
      ask.type('w\n');
      await ask.shows('s "recorded"');
      const ticket = /"(\w+)"/.exec(await property('WaitTicket'))?.[1] ?? '';
      await call('ContinueFull', 'sa{sv}', ticket, '1', 'now', 'b', 'true');
      await ask.shows('The update service is not running');
      await ask.shows('The update has ended: success');
    } finally {
      await simulation.stop();
      await ask.stop();
    }
  });

  it('update-ask.sh tells when the question is no longer the one that was asked', async () => {
    const ask = start('update-ask.sh');
    const simulation = startSimulation(bus, ['no-reboot', '--speed', '20']);
    try {
      await ask.shows('at ArtifactInstall_Enter: [n]ow');
      const ticket = /"(\w+)"/.exec(await property('WaitTicket'))?.[1] ?? '';
      await call('Snooze', 'su', ticket, '3600');
      ask.type('n\n');
      await ask.shows(/Call failed: .*ticket/i);
    } finally {
      await simulation.stop();
      await ask.stop();
    }
  });

  it('wait-for-quiet.sh holds as long as its command runs', async () => {
    const simulation = startSimulation(bus, ['kiosk', '--speed', '20']);
    try {
      await simulation.line('; ticket ');
      const quiet = start('wait-for-quiet.sh', 'sh', '-c', 'echo working; read answer; exit 7');
      await quiet.shows('working');
      expect(await property('Holds', 'io.holdpoint.Update1.Holds')).toContain('"busy: sh"');
      quiet.type('done\n');
      expect(await quiet.ended).toBe(7);
      await eventually(
        'the hold is gone',
        async () => !(await property('Holds', 'io.holdpoint.Update1.Holds')).includes('busy: sh'),
      );
    } finally {
      await simulation.stop();
    }
  });
});

/** examples/notify with dunst as the desktop's daemon: what it pops up is read from the screen, and its buttons are pressed. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chown, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, it } from 'vitest';
import { OTHER_UID, runTool } from '../support/bus-tools.ts';
import { eventually } from '../support/eventually.ts';
import { watchProperties } from '../support/property-watch.ts';
import { startScreen, type Screen } from '../support/screen.ts';
import { asUser, startSessionBus, startSimulation, type SessionBus } from '../support/simulation.ts';
import { example, startExample, stopExamples } from './programs.ts';
import { messageOf, NOTES } from './walk.ts';

/** Where a notification has several actions, a click brings up a menu of them; dunst leaves the menu to another program. */
const configOf = (menu: string): string => `[global]
    dmenu = ${menu}
    font = DejaVu Sans 13
    width = 460
    height = 300
    offset = 10x10
    origin = top-left
    frame_color = "#2463c5"
    separator_height = 2
    padding = 16
    horizontal_padding = 16
    icon_position = off
    show_indicators = no
    idle_threshold = 0
    mouse_left_click = do_action
    monitor = 0
    format = "<b>%s</b>\\n%b"
    markup = full
[urgency_normal]
    background = "#f6f7f9"
    foreground = "#1c2330"
    timeout = 0
`;

let bus: SessionBus;
let screen: Screen;
let daemon: ChildProcess;
beforeAll(async () => {
  bus = await startSessionBus();
}, 60_000);
beforeEach(async () => {
  screen = await startScreen(500, 340);
  const config = join(bus.folder, 'dunstrc');
  const menu = join(bus.folder, 'menu');
  // The person in front of the menu, who wants it now.
  await writeFile(menu, "#!/bin/sh\nexec grep -m1 'Now'\n", { mode: 0o755 });
  await writeFile(config, configOf(menu));
  await chown(config, OTHER_UID, OTHER_UID);
  const [command, args] = asUser('dunst', ['-config', config]);
  daemon = spawn(command, args, {
    stdio: 'ignore',
    env: {
      PATH: '/usr/bin:/bin',
      HOME: bus.folder,
      DISPLAY: screen.display,
      DBUS_SESSION_BUS_ADDRESS: bus.address,
      LC_ALL: 'C.UTF-8',
    },
  });
  await eventually(
    'dunst is on the bus',
    async () => {
      const { stdout } = await runTool('busctl', [`--address=${bus.address}`, 'list', '--no-legend']);
      return /^org\.freedesktop\.Notifications +\d/m.test(stdout);
    },
    60_000,
  );
}, 120_000);
afterEach(async () => {
  await stopExamples();
  const ended = once(daemon, 'exit');
  daemon.kill('SIGKILL');
  await ended;
  await screen.dispose();
});
afterAll(() => bus.dispose());

describe('the notification helper', { timeout: 900_000 }, () => {
  it('asks by a notification, passes the click on, and tells how it ended', async () => {
    startExample('/usr/bin/python3', [example('notify/update_notify.py')], {
      bus,
      display: screen.display,
      language: 'en',
    });
    const simulation = startSimulation(bus, ['no-reboot', '--speed', '20']);
    const watch = watchProperties(bus.address, async () => simulation.lines.join('\n'));
    try {
      await screen.waitFor(messageOf('en', 'point.ArtifactInstall_Enter'));
      await screen.waitFor('release-2');
      await screen.waitFor(NOTES);
      await screen.keep('notify-install');
      await screen.click(messageOf('en', 'point.ArtifactInstall_Enter'));
      await watch.waitFor(
        'it goes on',
        (seen) => seen['State'] === 'ArtifactInstall' && seen['WaitPoint'] === '',
        180_000,
      );
      await screen.waitFor(messageOf('en', 'result.success'));
      await screen.keep('notify-success');
    } finally {
      watch.close();
      await simulation.stop();
    }
  });

  it('says in German why an update failed', async () => {
    startExample('/usr/bin/python3', [example('notify/update_notify.py')], {
      bus,
      display: screen.display,
      language: 'de',
    });
    const simulation = startSimulation(bus, ['fail-dependency', '--speed', '5']);
    try {
      await screen.waitFor('Zuerst muss ein anderes Update installiert werden');
      await screen.keep('notify-failure-de');
    } finally {
      await simulation.stop();
    }
  });
});

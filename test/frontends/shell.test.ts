/** examples/shell, run as they stand there: the questions on a terminal, and a command that keeps the device still. */
import { copyFile, cp, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { busctl, OTHER_UID, TARGET } from '../support/bus-tools.ts';
import { eventually } from '../support/eventually.ts';
import { onTerminal, type OnTerminal } from '../support/pty.ts';
import { asUser, startSessionBus, startSimulation, type SessionBus } from '../support/simulation.ts';
import {
  answersTooLate,
  lateAndInGerman,
  messageOf,
  walkThrough,
  type Frontend,
  type Language,
} from './walk.ts';

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
  for (const name of await readdir('examples/shell'))
    await copyFile(join('examples/shell', name), join(programs, name));
  await cp('examples/catalogue', join(bus.folder, 'catalogue'), { recursive: true });
}, 60_000);
afterAll(() => bus.dispose());

function start(
  name: string,
  environment: Readonly<Record<string, string>>,
  ...args: readonly string[]
): OnTerminal {
  const [file, rest] = asUser(join(bus.folder, 'bin', name), args);
  return onTerminal([file, ...rest], {
    PATH: `${bus.folder}/bin:/usr/bin:/bin`,
    DBUS_SYSTEM_BUS_ADDRESS: bus.address,
    ...environment,
  });
}

/** update-ask.sh as a frontend: what stands on the terminal, and the number of an answer typed. */
function startAsking(language: Language): readonly [OnTerminal, Frontend] {
  const ask = start('update-ask.sh', { LANGUAGE: language });
  const frontend: Frontend = {
    shows: (text) => ask.shows(text),
    async press(label) {
      // Where it stands now: the questions before had their own.
      const number = ask.text().match(new RegExp(`.*\\[(\\d)\\] ${label}`, 's'))?.[1];
      if (number === undefined) throw new Error(`there is no answer "${label}": ${ask.text()}`);
      ask.type(`${number}\n`);
    },
    keep: async () => {},
  };
  return [ask, frontend];
}

async function property(
  name: string,
  interfaceName: string = TARGET.main,
  ...options: readonly string[]
): Promise<string> {
  const target = [TARGET.name, TARGET.path, interfaceName, name];
  return (await busctl(bus.address, [...options, 'get-property', ...target], { uid: OTHER_UID })).stdout;
}

describe('the shell scripts', { timeout: 400_000 }, () => {
  it('update-ask.sh asks, puts off, agrees to the window, and is there after the restart', async () => {
    const [ask, frontend] = startAsking('en');
    await walkThrough(bus, frontend, 'shell');
    await ask.stop();
  });

  it('update-ask.sh says in German why the last update failed, though it was started later', async () => {
    let ask: OnTerminal | null = null;
    const start = async (language: Language): Promise<Frontend> => {
      const [terminal, frontend] = startAsking(language);
      ask = terminal;
      return frontend;
    };
    await lateAndInGerman(bus, start, 'shell');
    await (ask as OnTerminal | null)?.stop();
  });

  it('update-ask.sh tells when the question is no longer the one that was answered', async () => {
    const [ask, frontend] = startAsking('en');
    await answersTooLate(bus, frontend);
    await ask.stop();
  });

  it('update-ask.sh shows how far it is and how long it takes, on one line that is written over', async () => {
    const [ask] = startAsking('en');
    const simulation = startSimulation(bus, ['slow-link', '--speed', '20']);
    try {
      await ask.shows(/\r[0-9]+ %, about [0-9]+ (min|s) left/);
      await ask.shows(/\r[4-9][0-9] %, about [0-9]+ s left/);
      // Below the line, not at its end.
      await ask.shows('\u001b[K\r\nInstall the update?');
    } finally {
      await simulation.stop();
      await ask.stop();
    }
  });

  it('update-ask.sh shows who blocks and until when, in the time of the device', async () => {
    const [ask, frontend] = startAsking('de');
    const simulation = startSimulation(bus, ['several-blockers', '--speed', '20']);
    try {
      await frontend.shows(messageOf('de', 'point.ArtifactReboot_Enter'));
      const { data } = JSON.parse(await property('Blockers', TARGET.main, '--json=short')) as {
        data: readonly [string, string, string, string, Record<string, { data: number }>][];
      };
      for (const owner of ['org.example.Coffee', 'org.example.Backup']) {
        const details = data.find(([, , who]) => who === owner)?.[4];
        const at = new Date((details?.['end-usec']?.data ?? 0) / 1000).toTimeString().slice(0, 5);
        const why = owner.endsWith('Coffee') ? 'brewing' : 'backup running';
        const said = messageOf('de', 'reason.held').replace('{owner}', owner).replace('{why}', why);
        const until = messageOf('de', 'ui.until').replace('{time}', at);
        await eventually(`it says ${said}, ${until}`, () => ask.text().includes(`  - ${said}, ${until}\r\n`));
      }
      // Of the recorder it is not known when it ends.
      expect(ask.text()).toMatch(/ {2}- org\.example\.Recorder [^\n]*: recording\r\n/);
    } finally {
      await simulation.stop();
      await ask.stop();
    }
  });

  it('wait-for-quiet.sh holds as long as its command runs', async () => {
    const simulation = startSimulation(bus, ['kiosk', '--speed', '20']);
    try {
      await simulation.line('; ticket ');
      const quiet = start('wait-for-quiet.sh', {}, 'sh', '-c', 'echo working; read answer; exit 7');
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

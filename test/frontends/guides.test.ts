/**
 * The guides for whoever writes a frontend, block by block as they stand there, as an ordinary user with a desktop: a bus, a
 * screen, the built command. What runs until Ctrl-C is left running, and seen to do what the guide says it does.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { startScreen, type Screen } from '../support/screen.ts';
import { asUser, startSessionBus, type SessionBus } from '../support/simulation.ts';
import { messageOf } from './walk.ts';

let bus: SessionBus;
let screen: Screen;
const running: ChildProcess[] = [];
beforeEach(async () => {
  bus = await startSessionBus();
  screen = await startScreen(620, 460);
  const programs = join(bus.folder, 'bin');
  await mkdir(programs);
  await mkdir(join(bus.folder, 'dist'));
  await symlink(bus.program, join(bus.folder, 'dist/holdpoint.js'));
  await symlink(resolve('examples'), join(bus.folder, 'examples'));
  const texts = {
    holdpoint: `exec '${process.execPath}' '${bus.program}' "$@"`,
    node: `exec '${process.execPath}' "$@"`,
    // Done before the test began; that there is such a script is seen.
    npm: `[ "$1" = ci ] || '${process.execPath}' -e 'process.exit(require("${resolve('package.json')}").scripts[process.argv[1]] ? 0 : 1)' "$2"`,
  };
  for (const [name, text] of Object.entries(texts)) {
    await writeFile(join(programs, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(programs, name), 0o755);
  }
}, 60_000);
afterEach(async () => {
  for (const child of running.splice(0)) {
    const ended = once(child, 'exit');
    if (child.exitCode !== null || child.signalCode !== null) continue;
    // With everything it has started.
    process.kill(-(child.pid as number), 'SIGKILL');
    await ended;
  }
  await screen.dispose();
  await bus.dispose();
});

interface Shell {
  readonly child: ChildProcess;
  output(): string;
}

function type(block: string): Shell {
  const [file, args] = asUser('bash', ['--norc', '-ec', block]);
  const child = spawn(file, args, {
    cwd: bus.folder,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: `${bus.folder}/bin:/usr/bin:/bin`,
      HOME: bus.folder,
      XDG_RUNTIME_DIR: bus.folder,
      LC_ALL: 'C.UTF-8',
      LANGUAGE: 'en',
      DISPLAY: screen.display,
      DBUS_SESSION_BUS_ADDRESS: bus.address,
      GDK_BACKEND: 'x11',
      GSK_RENDERER: 'cairo',
      GTK_A11Y: 'none',
    },
  });
  running.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return { child, output: () => output };
}

/** What goes on until somebody ends it, and how it is seen that it does. */
const GOES_ON: readonly (readonly [RegExp, (shell: Shell) => Promise<void>])[] = [
  [/update_dialog\.py$/, () => screen.waitFor(messageOf('en', 'point.ArtifactInstall_Enter'))],
  [
    / simulate (?!--list)/,
    (shell) => eventually('it asks', () => shell.output().includes('; ticket '), 120_000),
  ],
];

async function takeAsWritten(block: string): Promise<void> {
  const shell = type(block);
  const goesOn = GOES_ON.find(([pattern]) => pattern.test(block.trim()));
  const ended = once(shell.child, 'exit').then(([status]) => {
    if (goesOn !== undefined || status !== 0)
      throw new Error(`${block}ended with ${status}: ${shell.output()}`);
  });
  await (goesOn === undefined ? ended : Promise.race([ended, goesOn[1](shell)]));
  ended.catch(() => {});
}

describe('guides for frontends', { timeout: 600_000 }, () => {
  it.each([
    ['docs/guide/quick-start.md', 4],
    ['examples/README.md', 2],
    ['docs/guide/first-hour.md', 2],
  ] as const)('%s: what it shows works as it is typed', async (document, count) => {
    const text = await readFile(document, 'utf8');
    const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map(([, block]) => block as string);
    expect(blocks.length).toBe(count);
    for (const block of blocks) await takeAsWritten(block);
  });
});

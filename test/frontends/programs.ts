/** Programs of examples/ as an ordinary user's, on the screen and the bus of a test. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import type { Screen } from '../support/screen.ts';
import { asUser, type SessionBus } from '../support/simulation.ts';
import type { Frontend, Language } from './walk.ts';

const running = new Set<ChildProcess>();

export interface ProgramPlace {
  readonly bus: SessionBus;
  /** '' = none. */
  readonly display: string;
  readonly language: Language;
}

/** A program that finds the simulation where a real one finds the service: on the system bus. */
export function startExample(
  command: string,
  args: readonly string[],
  { bus, display, language }: ProgramPlace,
): ChildProcess {
  const [file, userArgs] = asUser(command, args);
  const child = spawn(file, userArgs, {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: '/',
    env: {
      PATH: '/usr/bin:/bin',
      HOME: bus.folder,
      XDG_RUNTIME_DIR: bus.folder,
      LANGUAGE: language,
      LC_ALL: 'C.UTF-8',
      DISPLAY: display,
      DBUS_SESSION_BUS_ADDRESS: bus.address,
      DBUS_SYSTEM_BUS_ADDRESS: bus.address,
      // No graphics card, no help for the blind on this screen.
      GDK_BACKEND: 'x11',
      GSK_RENDERER: 'cairo',
      GTK_A11Y: 'none',
      NO_AT_BRIDGE: '1',
      QT_QUICK_BACKEND: 'software',
      QT_QPA_PLATFORM: 'xcb',
      PYTHONDONTWRITEBYTECODE: '1',
    },
  });
  running.add(child);
  return child;
}

export async function stopExamples(): Promise<void> {
  const all = [...running];
  running.clear();
  await Promise.all(
    all.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }),
  );
}

export function example(path: string): string {
  return resolve('examples', path);
}

/** What is read from the screen, and clicked there. */
export function onScreen(screen: Screen): Frontend {
  return { shows: screen.waitFor, press: screen.click, keep: screen.keep };
}

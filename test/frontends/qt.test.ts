/** examples/qt6, built as its first lines say, on a screen, clicked with the mouse. */
import { execFile } from 'node:child_process';
import { copyFile, cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startScreen, type Screen } from '../support/screen.ts';
import { startSessionBus, type SessionBus } from '../support/simulation.ts';
import { onScreen, startExample, stopExamples } from './programs.ts';
import { answersTooLate, lateAndInGerman, walkThrough, type Frontend, type Language } from './walk.ts';

let bus: SessionBus;
let folder: string;
let screen: Screen;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-qt-'));
  for (const name of ['qt6', 'catalogue'])
    await cp(join('examples', name), join(folder, name), { recursive: true });
  const source = await readFile(join(folder, 'qt6/main.cpp'), 'utf8');
  const [, command = ''] = /^\/\/ {5}(cmake .*)$/m.exec(source) ?? [];
  expect(command).not.toBe('');
  await promisify(execFile)('sh', ['-c', command], {
    cwd: join(folder, 'qt6'),
    env: { ...process.env, CXXFLAGS: '-Wall -Wextra -Werror' },
  });
  bus = await startSessionBus();
  await copyFile(join(folder, 'qt6/build/update_window'), join(bus.folder, 'update_window'));
}, 600_000);
beforeEach(async () => {
  screen = await startScreen(620, 460);
});
afterEach(async () => {
  await stopExamples();
  await screen.dispose();
});
afterAll(async () => {
  await bus.dispose();
  await rm(folder, { recursive: true, force: true });
});

async function start(language: Language): Promise<Frontend> {
  startExample(join(bus.folder, 'update_window'), [], { bus, display: screen.display, language });
  return onScreen(screen);
}

describe('the Qt 6 window', { timeout: 900_000 }, () => {
  it('asks, puts off, agrees to the window, and is there after the restart', async () => {
    await walkThrough(bus, await start('en'), 'qt6');
  });

  it('says in German why the last update failed, though it was started later', async () => {
    await lateAndInGerman(bus, start, 'qt6');
  });

  it('tells when the question is no longer the one that was answered', async () => {
    await answersTooLate(bus, await start('en'));
  });
});

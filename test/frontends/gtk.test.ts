/** examples/gtk4 on a screen, clicked with the mouse. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, it } from 'vitest';
import { startScreen, type Screen } from '../support/screen.ts';
import { startSessionBus, type SessionBus } from '../support/simulation.ts';
import { example, onScreen, startExample, stopExamples } from './programs.ts';
import { answersTooLate, lateAndInGerman, walkThrough, type Frontend, type Language } from './walk.ts';

let bus: SessionBus;
let screen: Screen;
beforeAll(async () => {
  bus = await startSessionBus();
}, 60_000);
beforeEach(async () => {
  screen = await startScreen(620, 460);
});
afterEach(async () => {
  await stopExamples();
  await screen.dispose();
});
afterAll(() => bus.dispose());

async function start(language: Language): Promise<Frontend> {
  startExample('/usr/bin/python3', [example('gtk4/update_dialog.py')], {
    bus,
    display: screen.display,
    language,
  });
  return onScreen(screen);
}

describe('the GTK 4 dialog', { timeout: 900_000 }, () => {
  it('asks, puts off, agrees to the window, and is there after the restart', async () => {
    await walkThrough(bus, await start('en'), 'gtk4');
  });

  it('says in German why the last update failed, though it was started later', async () => {
    await lateAndInGerman(bus, start, 'gtk4');
  });

  it('tells when the question is no longer the one that was answered', async () => {
    await answersTooLate(bus, await start('en'));
  });
});

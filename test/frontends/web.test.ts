/** examples/web in a browser, clicked with the mouse; and who gets nothing from its bridge. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startChromium, type Browser } from '../support/chromium.ts';
import { eventually } from '../support/eventually.ts';
import { picturePath } from '../support/screen.ts';
import { startSessionBus, type SessionBus } from '../support/simulation.ts';
import { example, startExample, stopExamples } from './programs.ts';
import { answersTooLate, lateAndInGerman, walkThrough, type Frontend, type Language } from './walk.ts';

let bus: SessionBus;
let browser: Browser;
beforeAll(async () => {
  [bus, browser] = await Promise.all([startSessionBus(), startChromium()]);
}, 120_000);
afterEach(stopExamples);
afterAll(async () => {
  await browser.dispose();
  await bus.dispose();
});

/** @returns the address of the page, token included */
async function startBridge(language: Language): Promise<string> {
  const bridge = startExample('/usr/bin/python3', [example('web/bridge.py')], { bus, display: '', language });
  const [address] = (await once(createInterface({ input: bridge.stdout as Readable }), 'line')) as [string];
  return address;
}

async function start(language: Language): Promise<Frontend> {
  const page = await browser.open(await startBridge(language));
  return {
    shows: (text) =>
      eventually(
        `the page shows "${text}"`,
        () => page.evaluate<boolean>(`document.body.innerText.includes(${JSON.stringify(text)})`),
        180_000,
      ),
    async press(label) {
      await page.evaluate(
        `for (const one of document.querySelectorAll('button')) one.id = one.innerText === ${JSON.stringify(label)} ? 'pressed' : ''`,
      );
      await page.click('#pressed');
    },
    keep: async (name) => page.screenshot(await picturePath(name)),
  };
}

describe('the page of a web kiosk', { timeout: 900_000 }, () => {
  it('asks, puts off, agrees to the window, and is there after the restart', async () => {
    await walkThrough(bus, await start('en'), 'web');
  });

  it('says in German why the last update failed, though it was started later', async () => {
    await lateAndInGerman(bus, start, 'web');
  });

  it('tells when the question is no longer the one that was answered', async () => {
    await answersTooLate(bus, await start('en'));
  });

  it('has a bridge that serves nobody without its token, and no other page', async () => {
    const { origin, hash } = new URL(await startBridge('en'));
    const token = hash.slice(1);
    const ask = async (path: string, init: RequestInit = {}): Promise<number> => {
      const { status, body } = await fetch(`${origin}${path}`, init);
      await body?.cancel();
      return status;
    };
    const order = { method: 'POST', body: JSON.stringify({ answer: 'now', ticket: '' }) };
    expect(await ask('/events')).toBe(403);
    expect(await ask(`/events?token=${token.slice(1)}`)).toBe(403);
    expect(await ask(`/events?token=${token}`)).toBe(200);
    expect(await ask(`/events?token=${token}`, { headers: { Origin: 'http://evil.example' } })).toBe(403);
    expect(await ask('/answer', order)).toBe(403);
    const headers = { 'X-Token': token };
    expect(await ask('/answer', { ...order, headers })).toBe(202);
    expect(await ask('/answer', { method: 'POST', headers, body: '[]' })).toBe(400);
    expect(await ask('/answer', { method: 'POST', headers, body: 'x'.repeat(5000) })).toBe(400);
    expect(await ask('/answer', { ...order, headers, body: '{"answer":"rm","ticket":""}' })).toBe(404);
    expect(await ask('/../bridge.py')).toBe(404);
  });
});

import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startChromium, type Browser, type Page } from '../../support/chromium.ts';
import { startDevServer, type DevServerProcess } from '../../support/dev-server.ts';
import { makeArtifact } from '../../support/device.ts';
import { eventually } from '../../support/eventually.ts';
import { ProtocolDevice } from '../../support/protocol-device.ts';

/** The web page in a real browser. */
const SCREENSHOTS = join(tmpdir(), 'holdpoint-screenshots');
let browser: Browser;
let folder: string;
let artifactFile: string;
let server: DevServerProcess;
let page: Page;
let device: ProtocolDevice;

beforeAll(async () => {
  await mkdir(SCREENSHOTS, { recursive: true });
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-artifacts-'));
  artifactFile = await makeArtifact({ folder }, { name: 'release-2', payload: 'x'.repeat(300_000) });
  browser = await startChromium();
});
afterAll(async () => {
  await browser?.dispose();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  server = await startDevServer();
  device = new ProtocolDevice(server.url, { serial: '<img src=x onerror="document.title=1">' });
  page = await browser.open(`${server.url}/#token=${server.token}`);
});
afterEach(() => server.dispose());

const text = (selector: string): Promise<string> =>
  page.evaluate(`document.querySelector(${JSON.stringify(selector)})?.innerText ?? ''`);
async function shows(selector: string, wanted: string | RegExp): Promise<void> {
  let found = '';
  await eventually(`${selector} shows ${String(wanted)}`, async () => {
    found = await text(selector);
    return typeof wanted === 'string' ? found.includes(wanted) : wanted.test(found);
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}; it shows: ${found}; ${page.complaints.join('; ')}`);
  });
}

async function acceptDevice(): Promise<void> {
  expect((await device.authenticate()).status).toBe(401);
  await shows('#devices', 'pending');
  await page.click('#devices button[data-action=accept]');
  await shows('#devices', 'accepted');
  expect((await device.authenticate()).status).toBe(200);
  await device.inventory([
    { name: 'device_type', value: 'test-device' },
    { name: 'artifact_name', value: 'original' },
  ]);
  await shows('#devices', /test-device\s+original/);
}
async function upload(): Promise<void> {
  await page.chooseFile('#upload-file', artifactFile);
  await page.click('#upload-button');
  await shows('#artifacts', /release-2\s+test-device\s+probe/);
  await shows('#message', 'release-2 has been uploaded and verified.');
}
async function create(points: readonly string[]): Promise<string> {
  for (const point of points) await page.click(`#create-points input[value=${point}]`);
  await page.click('#create-button');
  await shows('#message', 'The deployment has been created.');
  const [{ id }] = await server.must('GET', '/deployments');
  return id;
}

describe('the page', () => {
  it('tells the whole story: accept, upload, create with a map, wait, change the map, release, success', async () => {
    await acceptDevice();
    await upload();
    const id = await create(['ArtifactReboot_Enter', 'ArtifactCommit_Enter']);
    await shows('#deployments', /release-2[^]*pending/);

    const offer = await device.next();
    expect(Object.keys(offer.json.update_control_map.states)).toEqual([
      'ArtifactCommit_Enter',
      'ArtifactReboot_Enter',
    ]);
    await device.status(id, 'downloading');
    await shows('#deployments', 'downloading');
    await device.status(id, 'pause_before_rebooting', 'waiting for the night shift');
    const waiting = /Waits before rebooting, held by this server, since .*waiting for the night shift/;
    await shows('#deployments', waiting);
    await shows('#devices', waiting);
    await page.screenshot(join(SCREENSHOTS, 'waiting.png'));
    expect((await stat(join(SCREENSHOTS, 'waiting.png'))).size).toBeGreaterThan(10_000);

    // The map, as text, while it runs: the reboot gate opens, the other one stays.
    await page.click('article summary');
    await page.focus('article textarea');
    await page.evaluate("document.querySelector('article textarea').select()");
    const rule = { action: 'pause', on_map_expire: 'continue' };
    await page.type(JSON.stringify({ priority: 5, states: { ArtifactCommit_Enter: rule } }));
    // What is being typed stays, whatever changes meanwhile.
    await device.status(id, 'rebooting');
    await shows('#deployments', 'rebooting');
    await page.click('article details button');
    await shows('#message', 'The map has been set.');
    expect((await device.map(id)).json.update_control_map).toMatchObject({
      priority: 5,
      states: { ArtifactCommit_Enter: rule },
    });
    expect((await device.map(id)).json.update_control_map.states).not.toHaveProperty('ArtifactReboot_Enter');

    await device.status(id, 'pause_before_committing');
    await shows('#deployments', /Waits before committing, held by this server/);
    await page.click('article [data-point=ArtifactCommit_Enter] button[data-action=release-now]');
    await shows('#message', 'Released.');
    expect((await device.map(id)).json.update_control_map.states).toEqual({});
    await shows('#deployments', /before committing: released/);
    await device.status(id, 'success');
    await shows('#deployments', /1 success/);
    expect(await page.evaluate("document.querySelectorAll('article [data-action=release-now]').length")).toBe(
      0,
    );
    expect(page.complaints).toEqual([]);
  });

  it('releases everybody at a time that was chosen', async () => {
    await acceptDevice();
    await upload();
    const id = await create(['ArtifactCommit_Enter']);
    await device.next();
    await device.status(id, 'pause_before_committing');
    await shows('#deployments', /held by this server/);
    await page.evaluate(
      "document.querySelector('article input[type=datetime-local]').value = '2031-02-03T04:05:06'",
    );
    await page.click('article button[data-action=release-at]');
    await shows('#deployments', /before committing: everybody is released at .*2\/3\/31/);
    const wanted = await page.evaluate<string>("new Date('2031-02-03T04:05:06').toISOString()");
    expect((await device.map(id)).json.holdpoint.releases[0].release_at).toBe(wanted);
    expect((await device.map(id)).json.update_control_map.states.ArtifactCommit_Enter.action).toBe('pause');
  });

  it('can be used with the keyboard alone', async () => {
    await device.authenticate();
    await shows('#devices', 'pending');
    await page.chooseFile('#upload-file', artifactFile);
    /** Tab until the element has the focus, then the key. */
    const reach = async (selector: string, key: string): Promise<void> => {
      for (let presses = 0; presses < 60; presses++) {
        await page.press('Tab');
        if (await page.evaluate<boolean>(`document.activeElement.matches(${JSON.stringify(selector)})`)) {
          await page.press(key);
          return;
        }
      }
      throw new Error(`${selector} cannot be reached with Tab`);
    };
    await reach('#devices button[data-action=accept]', 'Enter');
    await shows('#devices', 'accepted');
    await reach('#upload-button', 'Enter');
    await shows('#artifacts', 'release-2');
    await reach('#create-points input[value=ArtifactInstall_Enter]', ' ');
    await reach('#create-button', 'Enter');
    await shows('#deployments', 'release-2');
    const [{ update_control_map: map }] = await server.must('GET', '/deployments');
    expect(Object.keys(map.states)).toEqual(['ArtifactInstall_Enter']);
    await reach('article button[data-action=release-now]', 'Enter');
    await shows('#message', 'Released.');
    expect((await server.must('GET', '/deployments'))[0].update_control_map.states).toEqual({});
  });

  it('speaks German too, names every control, and takes no text for markup', async () => {
    await acceptDevice();
    await upload();
    const id = await create(['ArtifactCommit_Enter']);
    await device.next();
    await device.status(id, 'pause_before_committing', '<b>Größe</b>');
    await shows('#deployments', '<b>Größe</b>');
    await page.evaluate(
      "(() => { const select = document.querySelector('#language'); select.value = 'de'; select.dispatchEvent(new Event('change')); })()",
    );
    await shows('#deployments', /Wartet vor dem Festschreiben, angehalten von diesem Server, seit/);
    await shows('#connection', 'Verbunden');
    await shows('#create legend', 'Alle anhalten');
    await shows('.purpose', 'Nur für Entwicklung und kleine geschlossene Netze.');
    await shows('#devices', '<img src=x onerror=');
    expect(await page.evaluate('document.title')).toBe('holdpoint-server');
    expect(await page.evaluate('document.documentElement.lang')).toBe('de');
    expect(await page.evaluate("document.querySelectorAll('img, b').length")).toBe(0);
    const untranslated = await page.evaluate<string[]>(
      "[...document.querySelectorAll('[data-text]')].filter((one) => one.textContent === '' || one.textContent === one.dataset.text).map((one) => one.dataset.text)",
    );
    expect(untranslated).toEqual([]);
    const nameless = await page.evaluate<string[]>(
      "[...document.querySelectorAll('button, input, select, textarea')].filter((one) => !one.getAttribute('aria-label') && !one.textContent.trim() && !(one.labels?.[0]?.textContent.trim())).map((one) => one.outerHTML)",
    );
    expect(nameless).toEqual([]);
    await page.screenshot(join(SCREENSHOTS, 'german.png'));
    expect(page.complaints).toEqual([]);
  });

  it('keeps the token out of the address, and asks for it when it is wrong or missing', async () => {
    await eventually('it is in', () => page.evaluate<boolean>("!document.querySelector('#content').hidden"));
    expect(await page.evaluate('location.href')).toBe(`${server.url}/`);
    const stranger = await browser.open(`${server.url}/#token=wrong-one`);
    await eventually('it asks', () =>
      stranger.evaluate<boolean>(
        "!document.querySelector('#login').hidden && document.querySelector('#content').hidden",
      ),
    );
    await stranger.focus('#token');
    await stranger.type(server.token);
    await stranger.press('Enter');
    await eventually('it is in', () =>
      stranger.evaluate<boolean>("document.querySelector('#connection').textContent === 'Live'"),
    );
    expect(await stranger.evaluate('document.cookie')).toBe('');
  });

  it('shows the log of a failed device, and finds back to a server that was restarted', async () => {
    await acceptDevice();
    await upload();
    const id = await create([]);
    await device.next();
    await device.status(id, 'failure');
    await device.log(id, [{ timestamp: '2030-05-06T07:08:09Z', level: 'error', message: 'no room left' }]);
    await shows('#deployments', 'failure');
    await eventually('the log can be opened', () =>
      page.evaluate<boolean>("document.querySelector('article td button')?.hidden === false"),
    );
    await page.click('article td button');
    await shows('#log-text', '2030-05-06T07:08:09Z error no room left');
    await page.press('Enter');

    const address = new URL(server.url).host;
    await server.kill();
    await shows('#connection', 'Connection lost');
    const again = await startDevServer({ folder: server.folder, listen: address });
    try {
      await shows('#connection', 'Live');
      const other = new ProtocolDevice(again.url, { serial: 'late-comer' });
      await other.authenticate();
      await shows('#devices', 'late-comer');
    } finally {
      await again.kill();
    }
  });
});

/** Debian's Chromium without a window, driven over the DevTools protocol: just what the tests of the page need. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'undici';
import { eventually } from './eventually.ts';

const PROGRAM = 'chromium';
const ANSWER_LIMIT_MS = 20_000;
/** A person who hit nothing clicks again. */
const CLICK_TRIES = 5;

export interface Page {
  /** Value of an expression in the page; promises are waited for. */
  evaluate<T>(expression: string): Promise<T>;
  /** Clicks the middle of the first element that fits, with the mouse. */
  click(selector: string): Promise<void>;
  focus(selector: string): Promise<void>;
  /** For example `Tab`, `Enter`, ` `. */
  press(key: string): Promise<void>;
  type(text: string): Promise<void>;
  chooseFile(selector: string, path: string): Promise<void>;
  /** PNG of the whole page. */
  screenshot(path: string): Promise<void>;
  /** Exceptions, and what the browser complained about, such as a refused resource. */
  readonly complaints: readonly string[];
}

export interface Browser {
  open(url: string): Promise<Page>;
  dispose(): Promise<void>;
}

interface Message {
  readonly id?: number;
  readonly sessionId?: string;
  readonly method?: string;
  readonly params?: any;
  readonly result?: any;
  readonly error?: { readonly message: string };
}

export async function startChromium(): Promise<Browser> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-chromium-'));
  const child = spawn(
    PROGRAM,
    [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--lang=en',
      '--hide-scrollbars',
      '--window-size=1200,900',
      `--user-data-dir=${folder}`,
      '--remote-debugging-port=0',
      'about:blank',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, HOME: folder, LANGUAGE: 'en' } },
  );
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-10_000)));
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  failed.catch(() => {});
  const ended = Promise.race([once(child, 'close'), failed]).catch(() => {});
  const dispose = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
    await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  };
  try {
    let address = '';
    await Promise.race([
      failed,
      eventually(
        'Chromium listens',
        async () => {
          if (child.exitCode !== null) throw new Error(`Chromium has ended: ${output}`);
          const text = await readFile(join(folder, 'DevToolsActivePort'), 'utf8').catch(() => '');
          const [port, path] = text.split('\n');
          address = `ws://127.0.0.1:${port}${path}`;
          return path !== undefined;
        },
        30_000,
      ),
    ]);
    const connection = await Connection.open(address);
    return {
      open: (url) => openPage(connection, url),
      dispose: async () => {
        connection.close();
        await dispose();
      },
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

class Connection {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (message: Message) => void>();
  readonly #listeners: ((message: Message) => void)[] = [];
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const message = JSON.parse(String(data)) as Message;
      if (message.id === undefined) for (const listener of this.#listeners) listener(message);
      else this.#waiting.get(message.id)?.(message);
    });
  }
  static async open(address: string): Promise<Connection> {
    const socket = new WebSocket(address);
    await new Promise<void>((done, fail) => {
      socket.addEventListener('open', () => done());
      socket.addEventListener('error', () => fail(new Error(`no connection to ${address}`)));
    });
    return new Connection(socket);
  }
  listen(listener: (message: Message) => void): void {
    this.#listeners.push(listener);
  }
  send(method: string, params: object = {}, sessionId?: string): Promise<any> {
    const id = ++this.#lastId;
    return new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`${method}: no answer`)), ANSWER_LIMIT_MS);
      this.#waiting.set(id, ({ result, error }) => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        if (error) fail(new Error(`${method}: ${error.message}`));
        else done(result);
      });
      this.#socket.send(JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) }));
    });
  }
  close(): void {
    this.#socket.close();
  }
}

async function openPage(connection: Connection, url: string): Promise<Page> {
  const { targetId } = await connection.send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await connection.send('Target.attachToTarget', { targetId, flatten: true });
  const send = (method: string, params: object = {}): Promise<any> =>
    connection.send(method, params, sessionId as string);
  const complaints: string[] = [];
  let isLoaded = false;
  connection.listen((message) => {
    if (message.sessionId !== sessionId) return;
    if (message.method === 'Page.loadEventFired') isLoaded = true;
    if (message.method === 'Runtime.exceptionThrown') {
      complaints.push(JSON.stringify(message.params.exceptionDetails));
    }
    if (message.method === 'Log.entryAdded' && message.params.entry.level === 'error') {
      complaints.push(message.params.entry.text as string);
    }
    // confirm(): yes.
    if (message.method === 'Page.javascriptDialogOpening') {
      void send('Page.handleJavaScriptDialog', { accept: true });
    }
  });
  for (const domain of ['Page', 'Runtime', 'Log', 'DOM']) await send(`${domain}.enable`);
  await send('Page.navigate', { url });
  await eventually('the page is loaded', () => isLoaded, 20_000);

  const evaluate = async <T>(expression: string): Promise<T> => {
    const { result, exceptionDetails } = await send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return result.value as T;
  };
  const quoted = (text: string): string => JSON.stringify(text);
  return {
    complaints,
    evaluate,
    async click(selector) {
      for (let tries = 0; tries < CLICK_TRIES; tries++) {
        // Two frames long at the same place and on top: a page that changes meanwhile would move it away from the mouse.
        const point = await evaluate<{ x: number; y: number } | null>(`(async () => {
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          const element = document.querySelector(${quoted(selector)});
          if (!element) return null;
          let last = '';
          for (let frames = 0; frames < 300; frames++) {
            element.scrollIntoView({ block: 'center', behavior: 'instant' });
            const { x, y, width, height } = element.getBoundingClientRect();
            const middle = { x: x + width / 2, y: y + height / 2 };
            const now = [x, y, width, height].join();
            if (width > 0 && now === last && element.contains(document.elementFromPoint(middle.x, middle.y))) {
              window.isClicked = false;
              element.addEventListener('click', () => (window.isClicked = true), { once: true, capture: true });
              return middle;
            }
            last = now;
            await frame();
          }
          return null;
        })()`);
        if (point === null) throw new Error(`nothing to click on: ${selector}`);
        for (const type of ['mousePressed', 'mouseReleased']) {
          await send('Input.dispatchMouseEvent', { type, ...point, button: 'left', clickCount: 1 });
        }
        if (await evaluate<boolean>('window.isClicked')) return;
      }
      throw new Error(`${CLICK_TRIES} clicks did not arrive: ${selector}`);
    },
    async focus(selector) {
      await evaluate(`document.querySelector(${quoted(selector)}).focus()`);
    },
    async press(key) {
      const codes: Readonly<Record<string, number>> = { Tab: 9, Enter: 13, ' ': 32 };
      const text = key === 'Enter' ? '\r' : key === ' ' ? ' ' : undefined;
      const facts = { key, code: key === ' ' ? 'Space' : key, windowsVirtualKeyCode: codes[key] ?? 0 };
      await send('Input.dispatchKeyEvent', { type: 'keyDown', ...facts, ...(text ? { text } : {}) });
      await send('Input.dispatchKeyEvent', { type: 'keyUp', ...facts });
    },
    async type(text) {
      await send('Input.insertText', { text });
    },
    async chooseFile(selector, path) {
      const { root } = await send('DOM.getDocument');
      const { nodeId } = await send('DOM.querySelector', { nodeId: root.nodeId, selector });
      await send('DOM.setFileInputFiles', { nodeId, files: [path] });
    },
    async screenshot(path) {
      const { data } = await send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
      await writeFile(path, Buffer.from(data as string, 'base64'));
    },
  };
}

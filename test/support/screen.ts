/** A screen without a monitor: Xvfb, what stands on it as read from its picture, and a mouse. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { eventually } from './eventually.ts';

const run = promisify(execFile);
/** Reading a picture takes a second, on a loaded machine twenty. */
const PATIENCE_MS = 180_000;

export interface Word {
  readonly text: string;
  readonly x: number;
  readonly y: number;
}

export interface Screen {
  /** For DISPLAY. */
  readonly display: string;
  /** Every word that can be read, top to bottom. */
  words(): Promise<readonly Word[]>;
  /** Until the text can be read, letter case and white space aside. */
  waitFor(text: string): Promise<void>;
  /** Clicks the first place where the text stands, as soon as it stands there. */
  click(text: string): Promise<void>;
  /** Keeps a PNG; see `picturePath`. */
  keep(name: string): Promise<void>;
  dispose(): Promise<void>;
}

/** Where pictures of a test run are kept: SCREENSHOTS, or dist/screenshots. */
export async function picturePath(name: string): Promise<string> {
  const folder = resolve(process.env['SCREENSHOTS'] ?? 'dist/screenshots');
  await mkdir(folder, { recursive: true });
  return join(folder, `${name}.png`);
}

export async function startScreen(width: number, height: number): Promise<Screen> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-screen-'));
  const server: ChildProcess = spawn(
    'Xvfb',
    ['-displayfd', '3', '-ac', '-nolisten', 'tcp', '-screen', '0', `${width}x${height}x24`],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] },
  );
  const ended = once(server, 'exit');
  const [number] = (await Promise.race([
    once(createInterface({ input: server.stdio[3] as Readable }), 'line'),
    ended.then(() => Promise.reject(new Error('Xvfb did not start'))),
  ])) as [string];
  const display = `:${number}`;
  const env = { PATH: '/usr/bin:/bin', DISPLAY: display, HOME: folder, OMP_THREAD_LIMIT: '1' };

  async function shoot(path: string): Promise<void> {
    await run('import', ['-window', 'root', path], { env });
  }

  async function words(): Promise<readonly Word[]> {
    const path = join(folder, 'screen.png');
    await shoot(path);
    // Dark on light, and light on dark: the button that is suggested is white on blue. Black and white only: frames go.
    const pictures = [
      ['positive', ['-threshold', '75%']],
      // What lies around such a button would be a black frame, and a single word in one is not found.
      ['negative', ['-negate', '-threshold', '45%', '-fill', 'white', '-draw', 'color 5,5 floodfill']],
    ] as const;
    const found: Word[] = [];
    for (const [name, extra] of pictures) {
      const grey = join(folder, `${name}.png`);
      await run('convert', [path, '-colorspace', 'Gray', '-resize', '200%', ...extra, grey], { env });
      const { stdout } = await run('tesseract', [grey, '-', '--psm', '11', 'tsv'], { env });
      found.push(...parseWords(stdout));
    }
    return found;
  }

  async function find(text: string): Promise<Word | null> {
    return placeOf(await words(), text);
  }

  return {
    display,
    words,
    async waitFor(text) {
      let seen = '';
      await eventually(
        `"${text}" stands on the screen`,
        async () => {
          const all = await words();
          seen = all.map((word) => word.text).join(' ');
          return placeOf(all, text) !== null;
        },
        PATIENCE_MS,
      ).catch((error: unknown) => {
        throw new Error(`${String(error)}\non the screen: ${seen}`);
      });
    },
    async click(text) {
      let place: Word | null = null;
      await eventually(
        `"${text}" can be clicked`,
        async () => (place = await find(text)) !== null,
        PATIENCE_MS,
      );
      const { x, y } = place as unknown as Word;
      await run('xdotool', ['mousemove', String(x), String(y), 'click', '1'], { env });
    },
    keep: async (name) => shoot(await picturePath(name)),
    async dispose() {
      server.kill('SIGKILL');
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function parseWords(tsv: string): readonly Word[] {
  return tsv
    .split('\n')
    .slice(1)
    .map((row) => row.split('\t'))
    .filter((cells) => cells.length === 12 && (cells[11] ?? '').trim() !== '')
    .map((cells) => ({
      text: (cells[11] ?? '').trim(),
      // The picture was doubled.
      x: (Number(cells[6]) + Number(cells[8]) / 2) / 2,
      y: (Number(cells[7]) + Number(cells[9]) / 2) / 2,
    }));
}

/** Where consecutive words make up the text; the place of its first word. */
export function placeOf(words: readonly Word[], text: string): Word | null {
  const wanted = text.split(/\s+/).map(bare);
  const at = words.findIndex((_, index) =>
    wanted.every((part, offset) => bare(words[index + offset]?.text ?? '') === part),
  );
  return words[at] ?? null;
}

/** Punctuation and the dots of letters are what is misread most. */
function bare(text: string): string {
  return text
    .normalize('NFD')
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]/gu, '');
}

/** A program on a terminal of its own (by script(1)), typed into and read. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { eventually } from './eventually.ts';

export interface OnTerminal {
  /** Everything written so far, as a terminal gets it. */
  text(): string;
  /** Until the text stands behind what `shows` has found before. */
  shows(text: string | RegExp): Promise<void>;
  type(keys: string): void;
  readonly ended: Promise<number | null>;
  stop(): Promise<void>;
}

/** `command`: a file and its arguments; `environment`: all of it. */
export function onTerminal(
  command: readonly string[],
  environment: Readonly<Record<string, string>>,
): OnTerminal {
  const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  const child = spawn('script', ['--quiet', '--flush', '--return', '--command', quoted, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    cwd: '/',
    env: { TERM: 'xterm', SHELL: '/bin/sh', ...environment },
  });
  let seen = '';
  let from = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => (seen += text));
  child.stdin.on('error', () => {});
  let isOver = false;
  const ended = once(child, 'close').then(([status]) => {
    isOver = true;
    return status as number | null;
  });
  return {
    text: () => seen,
    async shows(text) {
      const pattern =
        typeof text === 'string' ? new RegExp(text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')) : text;
      await eventually(
        `${String(pattern)} stands on the terminal`,
        () => {
          const found = pattern.exec(seen.slice(from));
          if (found === null) {
            if (isOver) throw new Error('the program has ended');
            return false;
          }
          from += found.index + found[0].length;
          return true;
        },
        120_000,
      ).catch((error: unknown) => {
        throw new Error(`${String(error)}\non the terminal: ${JSON.stringify(seen.slice(from))}`);
      });
    },
    type: (keys) => void child.stdin.write(keys),
    ended,
    async stop() {
      // The terminal goes with it, and what runs on it is told so.
      child.kill('SIGKILL');
      await ended;
    },
  };
}

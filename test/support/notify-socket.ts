/** What stands in for systemd where a service tells that it is alive: test/support/notify-socket.py. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { eventually } from './eventually.ts';

export interface NotifySocket {
  /** For the service. */
  readonly environment: NodeJS.ProcessEnv;
  /** What was heard, a line for each message; `missed` = no sign of life came in time. */
  readonly heard: readonly string[];
  /** Resolves when something is heard from now on that contains the text. */
  next(text: string, withinMs?: number): Promise<void>;
  dispose(): Promise<void>;
}

export async function openNotifySocket(path: string, watchdogSeconds: number): Promise<NotifySocket> {
  const program = resolve('test/support/notify-socket.py');
  const child = spawn('python3', [program, path, String(watchdogSeconds)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const heard: string[] = [];
  let rest = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    heard.push(...lines);
  });
  const ended = once(child, 'close');
  await eventually('the socket is open', () => heard.includes('ready'));
  return {
    environment: { NOTIFY_SOCKET: path, WATCHDOG_USEC: String(watchdogSeconds * 1_000_000) },
    heard,
    next: (text, withinMs = 30_000) => {
      const from = heard.length;
      return eventually(
        `"${text}" is heard`,
        () => heard.slice(from).some((line) => line.includes(text)),
        withinMs,
      );
    },
    dispose: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** The pydbus program that controls updates, as a process of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { eventually } from './eventually.ts';

export interface ControlEvent {
  readonly event: 'set' | 'refreshed' | 'removed' | 'error';
  /** Seconds; absent from errors. */
  readonly refresh_timeout?: number;
  readonly states?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Of errors: the D-Bus name, '' = none; and the text. */
  readonly name?: string;
  readonly text?: string;
}

export interface ControlProgram {
  /** Everything printed so far. */
  readonly events: readonly ControlEvent[];
  /** One line: `next`, `install force_continue`, `remove`, `quit`. */
  tell(command: string): void;
  /** Resolves with the first event at or after the index that fits. */
  waitFor(fits: (event: ControlEvent) => boolean, from?: number): Promise<ControlEvent>;
  /** Resolves with the exit status. */
  readonly ended: Promise<number | null>;
  /** As a power cut would end it: without a word to the service. */
  kill(): Promise<void>;
}

/** `--speed 20` refreshes 20 times as often as needed. Kill it, or tell it to quit. */
export function startControlProgram(address: string, args: readonly string[] = []): ControlProgram {
  const command = [
    '--pdeathsig',
    'KILL',
    '/usr/bin/python3',
    resolve('test/support/pydbus-update-control.py'),
  ];
  const child = spawn('setpriv', [...command, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8', DBUS_SYSTEM_BUS_ADDRESS: address },
  });
  const events: ControlEvent[] = [];
  let complaints = '';
  createInterface({ input: child.stdout }).on('line', (line) =>
    events.push(JSON.parse(line) as ControlEvent),
  );
  child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
  // A program that has ended hears no commands.
  child.stdin.on('error', () => {});
  const ended = once(child, 'close').then(([status]) => status as number | null);
  return {
    events,
    tell: (line) => child.stdin.write(`${line}\n`),
    waitFor: async (fits, from = 0) => {
      const found = (): ControlEvent | undefined => events.slice(from).find(fits);
      await eventually('the control program says it', () => {
        if (found() === undefined && child.exitCode !== null) {
          throw new Error(`it ended with ${child.exitCode}: ${JSON.stringify(events)} ${complaints}`);
        }
        return found() !== undefined;
      });
      return found() as ControlEvent;
    },
    ended,
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

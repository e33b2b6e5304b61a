/** Who calls what on a bus, as dbus-monitor sees it: for tests that go on when a call is on its way, whenever that is. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { eventually } from './eventually.ts';

export interface BusCalls {
  /** Until somebody has called the method. */
  seen(method: string): Promise<void>;
  stop(): Promise<void>;
}

/** What is seen and pressed meanwhile may be read from pictures, which takes its time on a loaded machine. */
const PATIENCE_MS = 180_000;

/** @param as makes the command that of another user; default: ours */
export async function watchBusCalls(
  address: string,
  interfaceName: string,
  as: (command: string, args: readonly string[]) => readonly [string, readonly string[]] = (
    command,
    args,
  ) => [command, args],
): Promise<BusCalls> {
  const rule = `type='method_call',interface='${interfaceName}'`;
  const [command, args] = as('dbus-monitor', ['--address', address, rule]);
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], cwd: '/' });
  const ended = once(child, 'exit');
  const lines: string[] = [];
  const output = createInterface({ input: child.stdout });
  output.on('line', (text) => lines.push(text));
  // It is told of its own name first; then it is listening.
  await once(output, 'line');
  return {
    seen: (method) =>
      eventually(
        `somebody calls ${method}`,
        () => lines.some((text) => text.endsWith(`member=${method}`)),
        PATIENCE_MS,
      ),
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/**
 * The process of a command: its terminal, the signals that interrupt it, and its end with an exit status. Shared by all
 * the names the command is called by.
 */
import { isatty } from 'node:tty';
import { SystemClock } from '../adapters/system/clock.ts';
import { UpdateError } from '../core/errors.ts';
import type { Keyboard } from './monitor-keys.ts';
import type { Surroundings } from './surroundings.ts';
import { complain, type Sink, type Terminal } from './terminal.ts';

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
type SignalName = keyof typeof SIGNALS;

export interface CommandProcess {
  readonly terminal: Terminal;
  readonly around: Surroundings;
  /** Tells, in one line on standard error, why something failed. @returns exit status 1 */
  fail(doing: string, error: unknown): number;
  /**
   * Runs it and ends the process with its exit status; with 128 + signal when it was interrupted. `isForShow`: what it
   * prints is all it does, so output that is lost is a failure.
   */
  run(doing: string, action: (around: Surroundings) => Promise<number>, isForShow: boolean): void;
}

/** Takes over the signals: call once. `program`: how the command calls itself. */
export function openCommandProcess(program: string): CommandProcess {
  /** What was said and got lost, as on a full disk; null = nothing. */
  let outputError: Error | null = null;

  function sinkOf(stream: NodeJS.WriteStream): Sink {
    // Told to each write.
    stream.on('error', () => {});
    const noteLoss = (error?: NodeJS.ErrnoException | null): void => {
      // EPIPE: whoever read it has seen enough (`holdpoint history | head`).
      if (error && error.code !== 'EPIPE' && stream === process.stdout) outputError ??= error;
    };
    return {
      write: (text) => void stream.write(text, noteLoss),
      isTerminal: stream.isTTY === true && process.env['TERM'] !== 'dumb',
      columns: () => stream.columns ?? 0,
    };
  }

  const terminal: Terminal = { program, out: sinkOf(process.stdout), err: sinkOf(process.stderr) };
  const first = new AbortController();
  const second = new AbortController();
  let signalNumber: number = SIGNALS.SIGINT;
  const interruptedExitCode = (): number => 128 + signalNumber;
  let isOutputAbandoned = false;
  const listeners = new Set<(name: NodeJS.Signals) => void>();

  for (const name of Object.keys(SIGNALS) as SignalName[]) {
    process.on(name, () => {
      for (const listener of listeners) listener(name);
      if (first.signal.aborted) second.abort();
      else {
        signalNumber = SIGNALS[name];
        first.abort();
      }
    });
  }

  function fail(doing: string, error: unknown): number {
    complain(terminal, doing, error instanceof Error ? error.message : String(error));
    if (!(error instanceof UpdateError) && process.env['HOLDPOINT_DEBUG'] && error instanceof Error) {
      terminal.err.write(`${error.stack ?? ''}\n`);
    }
    return 1;
  }

  let clock: SystemClock | null = null;
  const around: Surroundings = {
    terminal,
    // Made when somebody asks for it: most commands need none, and some run where there is no /proc.
    get clock() {
      return (clock ??= new SystemClock());
    },
    interrupts: { first: first.signal, second: second.signal },
    interruptedExitCode,
    onSignal: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    abandonOutput: () => {
      isOutputAbandoned = true;
    },
    // Touched only by who reads it: a held command has the same one.
    input: () => process.stdin,
    keyboard: () => (isatty(0) && terminal.out.isTerminal ? keyboardOf(process.stdin) : null),
    isPersonThere: isatty(0) && isatty(2),
    environment: process.env,
  };

  return {
    terminal,
    around,
    fail,
    run(doing, action, isForShow) {
      void (async () => action(around))()
        .catch((error: unknown) => {
          if (!first.signal.aborted) return fail(doing, error);
          complain(terminal, doing, 'interrupted');
          return interruptedExitCode();
        })
        .then((exitCode) => {
          process.exitCode = exitCode;
          // Nothing that is left open may keep an ended command alive; what was written goes out first.
          const end = (): void => {
            const lost = outputError === null ? 0 : fail('writing the output', outputError);
            const status = isForShow ? exitCode || lost : exitCode;
            process.stderr.write('', () => process.exit(status));
          };
          if (isOutputAbandoned) end();
          else process.stdout.write('', end);
        });
    },
  };
}

function keyboardOf(stdin: NodeJS.ReadStream): Keyboard {
  return {
    listen(onKey) {
      // A line would be too late for whoever has pressed a key; Ctrl-C comes as a key then.
      const onData = (text: string): void => [...text].forEach(onKey);
      stdin.setRawMode(true);
      stdin.setEncoding('utf8').on('data', onData).resume();
      return () => {
        stdin.off('data', onData).pause();
        stdin.setRawMode(false);
      };
    },
  };
}

import { isatty } from 'node:tty';
import { CommanderError } from 'commander';
import { UpdateError } from '../core/errors.ts';
import { VERSION } from '../version.ts';
import { createActions } from './compose.ts';
import { createProgram } from './program.ts';
import { complain, type Sink, type Terminal } from './terminal.ts';

/**
 * The command `holdpoint`: reads the command line, runs one subcommand, and ends with its exit status. One line on
 * standard error for whatever went wrong, never a stack trace. The second composition root beside main.ts.
 */
// Lists of holds and histories name the program by this.
process.title = 'holdpoint';

const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
type SignalName = keyof typeof SIGNALS;

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

const terminal: Terminal = { out: sinkOf(process.stdout), err: sinkOf(process.stderr) };
const first = new AbortController();
const second = new AbortController();
let signalNumber: number = SIGNALS.SIGINT;

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

const program = createProgram({
  version: VERSION,
  writeOut: terminal.out.write,
  writeErr: terminal.err.write,
  run(doing, action, options, isForShow) {
    const interruptedExitCode = (): number => 128 + signalNumber;
    const around = {
      terminal,
      interrupts: { first: first.signal, second: second.signal },
      interruptedExitCode,
      onSignal: (listener: (name: NodeJS.Signals) => void): (() => void) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      // Touched only by who reads it: a held command has the same one.
      input: () => process.stdin,
      isPersonThere: isatty(0) && isatty(2),
      environment: process.env,
    };
    void (async () => action(createActions(around, options)))()
      .catch((error: unknown) => {
        if (!first.signal.aborted) return fail(doing, error);
        complain(terminal, doing, 'interrupted');
        return interruptedExitCode();
      })
      .then((exitCode) => {
        process.exitCode = exitCode;
        // Nothing that is left open may keep an ended command alive; what was written goes out first.
        process.stdout.write('', () => {
          const lost = outputError === null ? 0 : fail('writing the output', outputError);
          const status = isForShow ? exitCode || lost : exitCode;
          process.stderr.write('', () => process.exit(status));
        });
      });
  },
});

try {
  if (process.argv.length <= 2) program.help({ error: true });
  program.parse();
} catch (error) {
  // Commander has said what it had to say: 0 after --help and --version, 1 after a mistake.
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? 0 : 1;
}

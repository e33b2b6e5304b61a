/**
 * Runs one child process in a process group of its own, with a time limit, a way to stop it, and bounded
 * output. Knows nothing of scripts, modules or their exit codes.
 *
 * Rules: a timeout, an abort and `stop()` send SIGTERM to everything that came of the child, also to who left its group
 * (run-processes.ts), and SIGKILL to whatever is left after the grace period. After a normal end the rest
 * is left alone, as Mender does: a script may start a daemon. The end is reported when the child has exited, even while
 * others hold its pipes open; what they write later is lost.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { access } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Subscription } from 'rxjs';
import { UpdateError, type ErrorKind } from '../../core/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import { closeOutputPipes, openOutputPipes, type OutputPipe } from './output-pipe.ts';
import type { OutputSink } from './process-output.ts';
import { isRunnable } from './program-format.ts';
import type { RunLedger } from './run-ledger.ts';
import { Run, RUN_VARIABLE } from './run-processes.ts';

export { headSink, lineSink, tailSink } from './process-output.ts';
export type { HeadSink, LineSinkOptions, OutputSink, TailSink } from './process-output.ts';
export { makeFifos } from './output-pipe.ts';

/** Time between SIGTERM and SIGKILL. Source: spec/update-modules.md section 3 (5.x). */
export const DEFAULT_GRACE_MS = 10_000;
/**
 * The same for an abort: whoever gives up an update wants the work stopped within 10 s, with time left for what comes
 * after it. Source: design/stories.md 18.
 */
const LONGEST_ABORT_GRACE_MS = 5_000;
/** How long a killed child may stay (uninterruptible sleep) before it is given up. */
const UNKILLABLE_MS = 10_000;
/** After the exit: no output for this long, or this long in all, ends the reading of its pipes. */
const DRAIN_QUIET_MS = 50;
const DRAIN_TOTAL_MS = 1000;
/** Each look at a run reads all of /proc. */
const LONGEST_RUN_POLL_MS = 200;
/** Another thread's fork may hold a freshly written program open for writing for an instant. */
const BUSY_RETRIES = 5;

export interface ProcessRequest {
  /** Absolute path, or a name looked up in PATH. */
  readonly command: string;
  readonly args: readonly string[];
  /** Default: ours. */
  readonly cwd?: string;
  /** Default: ours; the number of the run is added (HOLDPOINT_RUN). */
  readonly env?: NodeJS.ProcessEnv;
  /** null = no limit. */
  readonly timeoutMs: number | null;
  readonly graceMs?: number;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
  /** Absent = /dev/null. Standard input is always /dev/null. */
  readonly stdout?: OutputSink;
  readonly stderr?: OutputSink;
  /** Kind of the error when the program cannot be started. */
  readonly errorKind: ErrorKind;
  /** Where it is noted while it runs; absent = nowhere: it may go on when we are killed. */
  readonly ledger?: Pick<RunLedger, 'begin' | 'end'>;
}

/** What made the process end: its own doing, or ours. */
export type EndReason = 'itself' | 'timeout' | 'abort' | 'stop';

export interface ProcessEnd {
  readonly reason: EndReason;
  /** null = ended by a signal, or could not be ended at all (both null). */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunningProcess {
  readonly pid: number;
  /** The child has exited; output may still be on its way. Never rejects. */
  readonly exited: Promise<ProcessEnd>;
  /** As `exited`, and all output has been delivered, and a group we killed is gone. Never rejects. */
  readonly ended: Promise<ProcessEnd>;
  /** Ends all of it as a timeout would. Harmless after the end. */
  stop(): void;
  /** Ends what the child left behind, at once, by SIGKILL. Resolves with whether there was something. */
  endRest(): Promise<boolean>;
}

/**
 * Starts a program. Rejects with the given kind when it cannot be started (details `program`, `error-code`), and
 * with kind `cancelled` when the signal had aborted before. A file that is neither a program of this machine nor
 * begins with `#!` is refused (ENOEXEC).
 */
export async function startProcess(request: ProcessRequest): Promise<RunningProcess> {
  for (let attempt = 1; ; attempt++) {
    if (request.signal?.aborted) throw cancelled(request.command);
    const pipes = await openPipes(request);
    if (request.signal?.aborted) {
      closeOutputPipes(pipes.made);
      throw cancelled(request.command);
    }
    try {
      if (request.command.includes('/') && !(await isRunnable(request.command))) {
        closeOutputPipes(pipes.made);
        throw Object.assign(new Error('exec format error'), { code: 'ENOEXEC' });
      }
      return await spawnWith(request, pipes);
    } catch (error) {
      if (codeOf(error) !== 'ETXTBSY' || attempt > BUSY_RETRIES) {
        throw await startError(request, error);
      }
      await sleep(20 * attempt);
    }
  }
}

function cancelled(command: string): UpdateError {
  return new UpdateError('cancelled', `${command} was not started: the work was stopped`);
}

/**
 * Whether the signal aborts within a moment. To be asked before a failure is judged: when the whole service is
 * being stopped, its children die at the same time as we hear of it, and that is no verdict (design/faults.md R27).
 */
export async function abortsSoon(signal: AbortSignal, withinMs = 300): Promise<boolean> {
  if (signal.aborted) return true;
  try {
    await sleep(withinMs, undefined, { signal });
  } catch {
    // Aborted: the answer is below.
  }
  return signal.aborted;
}

interface Pipes {
  readonly made: readonly OutputPipe[];
  readonly out: OutputPipe | undefined;
  readonly err: OutputPipe | undefined;
}

async function openPipes(request: ProcessRequest): Promise<Pipes> {
  const count = (request.stdout ? 1 : 0) + (request.stderr ? 1 : 0);
  if (count === 0) return { made: [], out: undefined, err: undefined };
  try {
    const made = await openOutputPipes(count);
    return {
      made,
      out: request.stdout ? made[0] : undefined,
      err: request.stderr ? made[made.length - 1] : undefined,
    };
  } catch {
    // No room for a temporary folder, or no mkfifo: a socket pair is good enough for all but /dev/stderr.
    return { made: [], out: undefined, err: undefined };
  }
}

async function spawnWith(request: ProcessRequest, pipes: Pipes): Promise<RunningProcess> {
  let child: ChildProcess;
  const id = randomBytes(16).toString('hex');
  request.ledger?.begin(id, request.command);
  try {
    child = spawn(request.command, request.args, {
      cwd: request.cwd,
      env: { ...(request.env ?? process.env), [RUN_VARIABLE]: id },
      detached: true,
      stdio: [
        'ignore',
        request.stdout ? (pipes.out?.writeFd ?? 'pipe') : 'ignore',
        request.stderr ? (pipes.err?.writeFd ?? 'pipe') : 'ignore',
      ],
    });
  } catch (error) {
    request.ledger?.end(id);
    closeOutputPipes(pipes.made);
    throw error;
  }
  // Listened to before anything else is waited for: a short child may exit at once.
  const exit = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const readers: Drain[] = [];
  const stdout = pipes.out?.reader ?? child.stdout;
  const stderr = pipes.err?.reader ?? child.stderr;
  for (const pipe of pipes.made) closeSync(pipe.writeFd);
  if (request.stdout && stdout) readers.push(readInto(stdout, request.stdout));
  if (request.stderr && stderr) readers.push(readInto(stderr, request.stderr));
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
  } catch (error) {
    request.ledger?.end(id);
    for (const reader of readers) reader.destroy();
    throw error;
  }
  child.on('error', () => {});
  return supervise(request, child.pid!, new Run(id, child.pid!), exit, readers);
}

function supervise(
  request: ProcessRequest,
  pid: number,
  run: Run,
  exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>,
  readers: readonly Drain[],
): RunningProcess {
  const { clock, signal } = request;
  let reason: EndReason = 'itself';
  let hasExited = false;
  let isKilling = false;
  let timer: Subscription | undefined;
  let giveUp: () => void = () => {};
  const givenUp = new Promise<{ code: null; signal: null }>((resolve) => {
    giveUp = () => resolve({ code: null, signal: null });
  });

  function terminate(why: EndReason): void {
    if (hasExited || reason !== 'itself') return;
    reason = why;
    timer?.unsubscribe();
    void run.signal('SIGTERM');
    const graceMs = request.graceMs ?? DEFAULT_GRACE_MS;
    timer = clock
      .timer(why === 'abort' ? Math.min(graceMs, LONGEST_ABORT_GRACE_MS) : graceMs)
      .subscribe(() => {
        void run.signal('SIGKILL');
        isKilling = true;
        timer = clock.timer(UNKILLABLE_MS).subscribe(giveUp);
      });
  }
  if (request.timeoutMs !== null) {
    timer = clock.timer(request.timeoutMs).subscribe(() => terminate('timeout'));
  }
  const onAbort = (): void => terminate('abort');
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();

  const exited = Promise.race([exit, givenUp]).then(({ code, signal: endSignal }): ProcessEnd => {
    hasExited = true;
    signal?.removeEventListener('abort', onAbort);
    if (reason === 'itself') timer?.unsubscribe();
    return { reason, exitCode: code, signal: endSignal };
  });
  const ended = exited.then(async (end) => {
    // The grace period goes on for the rest of the group; its timer still holds the SIGKILL.
    if (end.reason !== 'itself') {
      await runGone(
        run,
        () => timer?.closed ?? true,
        () => isKilling,
      );
    }
    timer?.unsubscribe();
    request.ledger?.end(run.id);
    await drainAll(readers);
    return end;
  });
  return {
    pid,
    exited,
    ended,
    stop: () => terminate('stop'),
    endRest: async () => (await run.signal('SIGKILL')) > 0,
  };
}

/** Resolves when nothing of the run is left, or when every timer has run out: nothing can be done about the rest. */
async function runGone(run: Run, isOver: () => boolean, isKilling: () => boolean): Promise<void> {
  for (let pauseMs = 5; await run.isAlive(); pauseMs = Math.min(pauseMs * 2, LONGEST_RUN_POLL_MS)) {
    if (isOver()) return;
    await sleep(pauseMs);
    // What was forked while we were looking.
    if (isKilling()) await run.signal('SIGKILL');
  }
}

interface Drain {
  readonly isDone: boolean;
  readonly bytes: number;
  readonly done: Promise<void>;
  destroy(): void;
}

function readInto(stream: Readable, sink: OutputSink): Drain {
  let isDone = false;
  let bytes = 0;
  let finish: () => void = () => {};
  const done = new Promise<void>((resolve) => {
    finish = () => {
      if (isDone) return;
      isDone = true;
      sink.end();
      resolve();
    };
  });
  stream.on('data', (chunk: Buffer) => {
    if (isDone) return;
    bytes += chunk.length;
    sink.write(chunk);
  });
  stream.once('end', finish);
  stream.once('close', finish);
  stream.on('error', finish);
  return {
    get isDone() {
      return isDone;
    },
    get bytes() {
      return bytes;
    },
    done,
    destroy() {
      finish();
      stream.destroy();
    },
  };
}

/** Reads what the child left in its pipes, then closes them, whoever else holds them. */
async function drainAll(readers: readonly Drain[]): Promise<void> {
  const startedMs = performance.now();
  let before = -1;
  for (;;) {
    if (readers.every((reader) => reader.isDone)) break;
    const bytes = readers.reduce((sum, reader) => sum + reader.bytes, 0);
    if (bytes === before || performance.now() - startedMs > DRAIN_TOTAL_MS) break;
    before = bytes;
    await Promise.race([sleep(DRAIN_QUIET_MS), Promise.all(readers.map((reader) => reader.done))]);
    // Timers run before the poll phase: let one poll for input pass before calling it quiet.
    await new Promise<void>((resolve) => setImmediate(resolve));
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  for (const reader of readers) reader.destroy();
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? 'unknown';
}

const START_FAILURES: Readonly<Record<string, string>> = {
  ENOENT: 'no such program',
  EACCES: 'no permission to execute it',
  ENOEXEC: 'not a program for this system',
  ETXTBSY: 'the file is open for writing',
  EAGAIN: 'too many processes',
  ENOMEM: 'not enough memory',
  E2BIG: 'arguments and environment are too long',
};

async function startError(request: ProcessRequest, error: unknown): Promise<UpdateError> {
  const code = codeOf(error);
  let why = START_FAILURES[code] ?? (error instanceof Error ? error.message : String(error));
  if (code === 'ENOENT' && (await isThere(request.command))) {
    const isCwdThere = request.cwd === undefined || (await isThere(request.cwd));
    why = isCwdThere ? 'the interpreter it names is missing' : `its working folder ${request.cwd} is missing`;
  }
  return new UpdateError(request.errorKind, `cannot start ${request.command}: ${why} (${code})`, {
    cause: error,
    details: { program: request.command, 'error-code': code },
  });
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

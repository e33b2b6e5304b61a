/**
 * What identity and inventory programs print: lines `key=value`, a key printed several times being a list in order.
 * Source: spec/configuration.md sections 2.2 and 2.3.
 */
import { UpdateError } from '../../core/errors.ts';
import { quoted } from '../../core/printable.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import { lineSink, startProcess, tailSink } from '../system/process.ts';

/** Key → its values in the order they were printed; never an empty list. */
export type KeyValues = ReadonlyMap<string, readonly string[]>;

/** Time one program may take (5.x; 3.x had no limit). */
export const PROGRAM_TIMEOUT_MS = 10_000;
const MAX_LINE_BYTES = 64 * 1024;
const ERROR_TAIL_BYTES = 1024;

export interface ProgramRun {
  readonly path: string;
  /** Longest standard output; a program that prints more has failed. */
  readonly maxOutputBytes: number;
  readonly timeoutMs?: number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface ProgramOutput {
  readonly values: KeyValues;
  /** The first line that is not `key=value`, with its number; '' = none. Lines after it are not in `values`. */
  readonly badLine: string;
}

/**
 * Runs the program without arguments. Rejects with kind `script` (details `script`, `exit-status` where there is one,
 * `reason`) when it cannot be started, takes too long, fails, or prints too much; with kind `cancelled` on abort.
 */
export async function runKeyValueProgram(run: ProgramRun, signal: AbortSignal): Promise<ProgramOutput> {
  const values = new Map<string, string[]>();
  let badLine = '';
  let lineNumber = 0;
  let droppedBytes = 0;
  const errors = tailSink(ERROR_TAIL_BYTES);
  const program = await startProcess({
    command: run.path,
    args: [],
    timeoutMs: run.timeoutMs ?? PROGRAM_TIMEOUT_MS,
    graceMs: 1000,
    clock: run.clock,
    signal,
    errorKind: 'script',
    stderr: errors,
    stdout: lineSink({
      maxLineBytes: MAX_LINE_BYTES,
      maxTotalBytes: run.maxOutputBytes,
      onLine: (line, isCut) => {
        lineNumber += 1;
        if (line === '' || badLine !== '') return;
        const at = line.indexOf('=');
        if (at <= 0 || isCut) {
          badLine = `line ${lineNumber}: found ${isCut ? `more than ${MAX_LINE_BYTES} bytes` : quoted(line)}, expected key=value`;
          return;
        }
        const key = line.slice(0, at);
        const list = values.get(key);
        if (list) list.push(line.slice(at + 1));
        else values.set(key, [line.slice(at + 1)]);
      },
      onDropped: (bytes) => (droppedBytes = bytes),
    }),
  });
  const end = await program.ended;
  const complaint = errors.text().trim();
  if (complaint !== '') {
    run.log.debug('a program wrote to its standard error', {
      program: run.path,
      output: quoted(complaint, 1000),
    });
  }
  if (end.reason === 'abort') throw new UpdateError('cancelled', `${run.path} was stopped`);
  if (end.reason !== 'itself') {
    throw failed(run.path, `it did not end within ${(run.timeoutMs ?? PROGRAM_TIMEOUT_MS) / 1000} s`, {
      reason: 'timeout',
    });
  }
  if (end.exitCode !== 0) {
    const how =
      end.exitCode === null ? `was ended by ${end.signal ?? 'a signal'}` : `ended with ${end.exitCode}`;
    throw failed(run.path, `it ${how}, expected 0`, {
      reason: 'exit-status',
      ...(end.exitCode === null ? {} : { 'exit-status': end.exitCode }),
    });
  }
  if (droppedBytes > 0) {
    throw failed(run.path, `it printed more than ${run.maxOutputBytes} bytes`, { reason: 'output-size' });
  }
  return { values, badLine };
}

function failed(path: string, why: string, details: Readonly<Record<string, string | number>>): UpdateError {
  return new UpdateError('script', `${path} failed: ${why}`, { details: { script: path, ...details } });
}

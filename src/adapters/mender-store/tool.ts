/** Runs a program of lmdb-utils with a time limit and bounded output, and says in words what went wrong. */
import { UpdateError } from '../../core/errors.ts';
import { printable } from '../../core/printable.ts';
import type { Clock } from '../../ports/clock.ts';
import { headSink, startProcess } from '../system/process.ts';

export interface ToolOptions {
  readonly clock: Clock;
}

/** Debian's package with `mdb_dump` and `mdb_load`. */
export const PACKAGE = 'lmdb-utils';

const TIME_LIMIT_MS = 60_000;
const MAX_ERROR_BYTES = 2000;

/** What it printed. Rejects (kind `store`): missing (details `package`), failed, killed, or more than `maxBytes`. */
export async function runTool(
  program: string,
  args: readonly string[],
  maxBytes: number,
  { clock }: ToolOptions,
): Promise<Uint8Array> {
  const output: Buffer[] = [];
  let bytes = 0;
  const complaint = headSink(MAX_ERROR_BYTES, () => undefined);
  const tooMuch = new AbortController();
  const running = await startProcess({
    command: program,
    args,
    timeoutMs: TIME_LIMIT_MS,
    clock,
    signal: tooMuch.signal,
    errorKind: 'store',
    stdout: {
      write(chunk) {
        bytes += chunk.length;
        if (bytes <= maxBytes) output.push(Buffer.from(chunk));
        else tooMuch.abort();
      },
      end() {},
    },
    stderr: complaint,
  }).catch((error: unknown) => {
    throw startError(program, error);
  });
  const end = await running.ended;
  if (bytes > maxBytes) throw new UpdateError('store', `${program} printed more than ${maxBytes} bytes`);
  if (end.reason === 'itself' && end.exitCode === 0) return Buffer.concat(output, bytes);
  const how =
    end.reason === 'timeout'
      ? `was still running after ${TIME_LIMIT_MS / 1000} s`
      : end.exitCode === null
        ? `was killed by ${end.signal ?? 'nothing that is known'}`
        : `ended with exit status ${end.exitCode}`;
  const said = printable(complaint.text().trim());
  throw new UpdateError('store', `${program} ${how}${said === '' ? '' : `: ${said}`}`, {
    details: { program, 'exit-status': end.exitCode ?? -1 },
  });
}

function startError(program: string, error: unknown): unknown {
  if (!(error instanceof UpdateError) || error.details['error-code'] !== 'ENOENT') return error;
  return new UpdateError(
    'store',
    `the program ${program} is missing: install the Debian package ${PACKAGE}`,
    { cause: error, details: { ...error.details, package: PACKAGE } },
  );
}

/**
 * Asks the host to reboot. Which program accepts the order first is enough; being alive ten minutes later is the
 * failure. Source: design/entry-points.md "reboot command"; src/ports/system.ts.
 */
import { spawn } from 'node:child_process';
import { firstValueFrom, takeUntil, fromEvent, map, merge } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import type { Clock } from '../../ports/clock.ts';

export interface RebootOptions {
  readonly clock: Clock;
  /** Program and arguments (`RebootCommand`); null = the init system, else `reboot`. No shell is involved. */
  readonly command: readonly string[] | null;
  readonly isPowerOff?: boolean;
  /** Default 10 minutes. */
  readonly patienceMs?: number;
}

/** systemctl goes through logind: other users' delay inhibitors get their time before anything stops (R40). */
const HOST_COMMANDS: readonly (readonly string[])[] = [
  ['systemctl', '--no-ask-password', 'reboot'],
  ['reboot'],
];
const POWER_OFF_COMMANDS: readonly (readonly string[])[] = [
  ['systemctl', '--no-ask-password', 'poweroff'],
  ['poweroff'],
];
const DEFAULT_PATIENCE_MS = 10 * 60_000;
const OUTPUT_TAIL = 500;
/** A shutdown that has begun may end the program that asked for it before it could report success. */
const SHUTDOWN_SIGNALS = new Set<string | null>(['SIGTERM', 'SIGKILL', 'SIGHUP']);

interface Refusal {
  readonly program: string;
  readonly exitStatus: number | string;
  readonly output: string;
}

/**
 * Never resolves. Rejects with kind `reboot` when every program refused (details `program`, `exit-status` of the
 * last one) or when the host is still up after the patience; with `cancelled` on abort. A program still running then
 * is killed with its process group.
 */
export async function rebootHost(options: RebootOptions, signal: AbortSignal): Promise<never> {
  const patienceMs = options.patienceMs ?? DEFAULT_PATIENCE_MS;
  if (signal.aborted) throw cancelled();
  const stop = new AbortController();
  const end$ = merge(
    options.clock.timer(patienceMs).pipe(
      map(
        () =>
          new UpdateError(
            'reboot',
            `the host is still up ${patienceMs / 1000} seconds after it was asked to reboot`,
            {
              details: { 'waited-seconds': patienceMs / 1000 },
            },
          ),
      ),
    ),
    fromEvent(signal, 'abort').pipe(map(cancelled)),
  );
  const end = firstValueFrom(end$.pipe(takeUntil(fromEvent(stop.signal, 'abort'))), {
    defaultValue: cancelled(),
  });
  try {
    const refusals: Refusal[] = [];
    const commands = options.isPowerOff === true ? POWER_OFF_COMMANDS : HOST_COMMANDS;
    for (const command of options.command ? [options.command] : commands) {
      const outcome = await Promise.race([ask(command, stop.signal), end]);
      if (outcome instanceof UpdateError) throw outcome;
      if (outcome === null) throw await end;
      refusals.push(outcome);
    }
    throw refused(refusals);
  } finally {
    stop.abort();
  }
}

/** null = accepted. */
function ask(command: readonly string[], stop: AbortSignal): Promise<Refusal | null> {
  const [program = '', ...args] = command;
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const collect = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-OUTPUT_TAIL);
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const killGroup = (): void => {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It ended in this moment.
      }
    };
    stop.addEventListener('abort', killGroup, { once: true });
    const settle = (refusal: Refusal | null): void => {
      stop.removeEventListener('abort', killGroup);
      resolve(refusal);
    };
    child.on('error', (error) => settle({ program, exitStatus: 'not started', output: error.message }));
    // `exit`, not `close`: a grandchild that keeps the pipes open must not keep the next program from being tried.
    child.on('exit', (code, killedBy) => {
      if (code === 0 || SHUTDOWN_SIGNALS.has(killedBy)) settle(null);
      // The last words are still in the pipe.
      else
        setImmediate(() =>
          settle({ program, exitStatus: code ?? killedBy ?? 'unknown', output: output.trim() }),
        );
    });
  });
}

function refused(refusals: readonly Refusal[]): UpdateError {
  const told = refusals.map(
    ({ program, exitStatus, output }) => `${program}: ${exitStatus}${output === '' ? '' : ` (${output})`}`,
  );
  const last = refusals.at(-1);
  return new UpdateError('reboot', `no program could reboot the host: ${told.join('; ')}`, {
    details: { program: last?.program ?? '', 'exit-status': last?.exitStatus ?? 'not started' },
  });
}

function cancelled(): UpdateError {
  return new UpdateError('cancelled', 'waiting for the reboot was cancelled');
}

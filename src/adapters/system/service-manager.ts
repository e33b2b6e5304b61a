/**
 * What the service manager is told: that we are alive, and where the update stands. Spoken in the protocol of
 * sd_notify(3) by the program systemd-notify, as Node cannot send datagrams to a unix socket.
 *
 * A sign of life is sent only after the loop has taken in an event that was queued for it: a timer alone would go on
 * feeding the watchdog of a service whose loop waits for ever. Source: design/faults.md R42.
 */
import { spawn } from 'node:child_process';
import { defer, EMPTY, ignoreElements, repeat, type Observable } from 'rxjs';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';

export interface Manager {
  /** NOTIFY_SOCKET: a path, or `@` and an abstract name. */
  readonly socket: string;
  /** WATCHDOG_USEC in milliseconds; null = it does not watch us. */
  readonly watchdogMs: number | null;
}

/** Signs of life for each watchdog period: one may be late, one may get lost. */
const SIGNS_PER_PERIOD = 3;
/** systemd-notify waits until it was heard; a manager that stands still must not keep it for ever. */
const NOTIFY_LIMIT_MS = 10_000;

/**
 * Takes the variables of sd_notify(3) out of the environment, so that no module or script speaks in our name.
 * null = nobody wants to be told.
 */
export function takeManager(environment: NodeJS.ProcessEnv, pid: number): Manager | null {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: period, WATCHDOG_PID: watched } = environment;
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete environment[name];
  if (socket === undefined || socket === '') return null;
  const isForUs = watched === undefined || Number(watched) === pid;
  const watchdogMs = isForUs && /^[1-9][0-9]{0,15}$/.test(period ?? '') ? Number(period) / 1000 : null;
  return { socket, watchdogMs };
}

export interface SignsOfLife {
  readonly manager: Manager;
  readonly clock: Clock;
  readonly log: Log;
  /** Resolves when the loop has gone round. */
  readonly passed: () => Promise<void>;
  /** One line for whoever asks the manager; no foreign text. */
  readonly status: () => string;
}

/** To be subscribed while the service runs; emits nothing. The first sign comes at once. */
export function signsOfLife({ manager, clock, log, passed, status }: SignsOfLife): Observable<never> {
  const { watchdogMs } = manager;
  if (watchdogMs === null) return EMPTY;
  let hasComplained = false;
  const sign$ = defer(async () => {
    await passed();
    const problem = await notify(manager.socket, ['WATCHDOG=1', `STATUS=${status()}`]);
    if (problem === null || hasComplained) return;
    hasComplained = true;
    log.error('The service manager cannot be told that the service is alive, and will end it (WatchdogSec)', {
      problem,
    });
  });
  return sign$.pipe(repeat({ delay: () => clock.timer(watchdogMs / SIGNS_PER_PERIOD) }), ignoreElements());
}

/** null = told. */
function notify(socket: string, messages: readonly string[]): Promise<string | null> {
  return new Promise((resolve) => {
    const child = spawn('systemd-notify', messages, {
      env: { PATH: process.env['PATH'], NOTIFY_SOCKET: socket },
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: NOTIFY_LIMIT_MS,
      killSignal: 'SIGKILL',
    });
    let complaint = '';
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < 500) complaint += chunk.toString();
    });
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => {
      resolve(code === 0 ? null : `systemd-notify: ${code ?? signal ?? 'unknown'} ${complaint.trim()}`);
    });
  });
}

/**
 * Runs one state script to its verdict, "run me again later" included. Source: spec/update-flow.md section 7.3,
 * as the C++ client: the retry window opens at the first exit 21 and, when it is over, ends even a running script.
 */
import { merge, Observable, take } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import { judgeScriptExit, type ScriptAction, type ScriptFamily } from '../../core/state-script.ts';
import type { Clock } from '../../ports/clock.ts';
import type { DeploymentLog, Log } from '../../ports/log.ts';
import {
  abortsSoon,
  startProcess,
  tailSink,
  type ProcessEnd,
  type ProcessRequest,
  type TailSink,
} from '../system/process.ts';

export interface ScriptLimits {
  /** Longest run, seconds, > 0 (StateScriptTimeoutSeconds). */
  readonly timeoutSeconds: number;
  /** Pause before a script that exited 21 runs again, seconds (StateScriptRetryIntervalSeconds). */
  readonly retryIntervalSeconds: number;
  /** From the first exit 21, seconds, until it counts as failed (StateScriptRetryTimeoutSeconds). */
  readonly retryTimeoutSeconds: number;
  /** SIGTERM to SIGKILL, milliseconds; default 10 000. */
  readonly graceMs?: number;
  /** Where a run is noted while it is under way. */
  readonly ledger?: ProcessRequest['ledger'];
}

export interface ScriptWorld {
  readonly limits: ScriptLimits;
  readonly clock: Clock;
  readonly deploymentLog: DeploymentLog;
  readonly log: Log;
}

export interface ScriptToRun {
  readonly name: string;
  readonly path: string;
  readonly family: ScriptFamily;
  readonly action: ScriptAction;
}

/** Bytes of each output that reach the deployment log. Source: design/compatibility.md. */
export const OUTPUT_TAIL_BYTES = 10 * 1024;

/** Resolves when the script has exited 0. Rejects with kind `script`, `timeout` or `cancelled`. */
export async function runScript(script: ScriptToRun, world: ScriptWorld, signal: AbortSignal): Promise<void> {
  const { limits, clock } = world;
  const windowAbort = new AbortController();
  const anyAbort = AbortSignal.any([signal, windowAbort.signal]);
  let window: { unsubscribe(): void } | undefined;
  try {
    for (;;) {
      requireGoingOn(script, signal, windowAbort.signal, limits);
      const end = await runOnce(script, world, anyAbort).catch((error: unknown) => {
        requireGoingOn(script, signal, windowAbort.signal, limits);
        throw error;
      });
      if (end.reason === 'itself' && judgeScriptExit(end.exitCode) === 'done') return;
      requireGoingOn(script, signal, windowAbort.signal, limits);
      if (end.reason === 'timeout') throw timedOut(script, end, limits);
      if (judgeScriptExit(end.exitCode) !== 'retry-later') {
        if (await abortsSoon(signal)) throw cancelled(script);
        throw failed(script, end);
      }
      window ??= clock.timer(limits.retryTimeoutSeconds * 1000).subscribe(() => windowAbort.abort());
      world.log.info('state script asked to be run again later', {
        script: script.name,
        retryIntervalSeconds: limits.retryIntervalSeconds,
      });
      await pause(clock, limits.retryIntervalSeconds * 1000, anyAbort);
    }
  } finally {
    window?.unsubscribe();
  }
}

async function runOnce(script: ScriptToRun, world: ScriptWorld, signal: AbortSignal): Promise<ProcessEnd> {
  const stdout = tailSink(OUTPUT_TAIL_BYTES);
  const stderr = tailSink(OUTPUT_TAIL_BYTES);
  world.deploymentLog.write('info', `Running state script ${script.name}`);
  try {
    const running = await startProcess({
      command: script.path,
      args: [],
      timeoutMs: world.limits.timeoutSeconds * 1000,
      ...(world.limits.graceMs === undefined ? {} : { graceMs: world.limits.graceMs }),
      clock: world.clock,
      signal,
      stdout,
      stderr,
      errorKind: 'script',
      ...(world.limits.ledger && { ledger: world.limits.ledger }),
    });
    return await running.ended;
  } catch (error) {
    if (!(error instanceof UpdateError) || error.kind === 'cancelled') throw error;
    throw new UpdateError('script', `state script ${script.name}: ${error.message}`, {
      cause: error,
      details: { ...error.details, ...detailsOf(script) },
    });
  } finally {
    writeOutput(script, 'stdout', stdout, world);
    writeOutput(script, 'stderr', stderr, world);
  }
}

/** Written after the run, also of a killed script: only then it is known which part is the tail. */
function writeOutput(script: ScriptToRun, stream: string, tail: TailSink, world: ScriptWorld): void {
  const text = tail.text();
  if (text === '') return;
  const prefix = `Output (${stream}) from state script "${script.name}": `;
  if (tail.cutBytes > 0) {
    world.deploymentLog.write('info', `${prefix}(the first ${tail.cutBytes} bytes are cut)`);
  }
  for (const line of text.replace(/\n$/, '').split('\n')) {
    world.deploymentLog.write('info', prefix + line);
    world.log.debug('state script output', { script: script.name, stream, line });
  }
}

/** Resolves early on abort. */
async function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const aborted$ = new Observable<0>((subscriber) => {
    const onAbort = (): void => subscriber.next(0);
    signal.addEventListener('abort', onAbort, { once: true });
    return () => signal.removeEventListener('abort', onAbort);
  });
  await new Promise<void>((resolve) => {
    merge(clock.timer(delayMs), aborted$).pipe(take(1)).subscribe({ complete: resolve });
  });
}

function requireGoingOn(
  script: ScriptToRun,
  signal: AbortSignal,
  windowSignal: AbortSignal,
  limits: ScriptLimits,
): void {
  if (signal.aborted) throw cancelled(script);
  if (!windowSignal.aborted) return;
  const seconds = limits.retryTimeoutSeconds;
  throw new UpdateError(
    'timeout',
    `state script ${script.name} asked to be run again later for longer than ${seconds} s`,
    { details: { ...detailsOf(script), 'exit-status': 21, 'limit-seconds': seconds } },
  );
}

function detailsOf(script: ScriptToRun): { script: string; action: string } {
  return { script: script.name, action: `${script.family}_${script.action}` };
}

function cancelled(script: ScriptToRun): UpdateError {
  return new UpdateError('cancelled', `state script ${script.name} was stopped`, {
    details: detailsOf(script),
  });
}

function timedOut(script: ScriptToRun, end: ProcessEnd, limits: ScriptLimits): UpdateError {
  const isGone = end.exitCode !== null || end.signal !== null;
  return new UpdateError(
    'timeout',
    `state script ${script.name} ran longer than ${limits.timeoutSeconds} s and was ${isGone ? 'ended' : 'given up: it cannot be killed'}`,
    { details: { ...detailsOf(script), 'limit-seconds': limits.timeoutSeconds } },
  );
}

function failed(script: ScriptToRun, end: ProcessEnd): UpdateError {
  const how = end.exitCode === null ? `was ended by ${end.signal}` : `exited with status ${end.exitCode}`;
  return new UpdateError('script', `state script ${script.name} ${how}`, {
    details: {
      ...detailsOf(script),
      ...(end.exitCode === null ? { signal: String(end.signal) } : { 'exit-status': end.exitCode }),
    },
  });
}

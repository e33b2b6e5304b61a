/**
 * One run of one condition script: with the hold point as argument and in HOLDPOINT_POINT, and nothing else of our
 * environment. Exit status 0 = met, 1 = not met and the first line of its output says why, anything else = it does
 * not work, which counts as not met.
 */
import type { ScriptRule } from '../../core/control/condition-settings.ts';
import { UpdateError } from '../../core/errors.ts';
import type { HoldPoint } from '../../core/hold-point.ts';
import { printable } from '../../core/printable.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import { headSink, startProcess } from '../system/process.ts';
import { messageOf } from './bus.ts';
import type { FoundScript } from './find-scripts.ts';
import { bounded, finding, type Finding } from './finding.ts';

export interface ScriptDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Between SIGTERM and SIGKILL; default 2 s. */
  readonly graceMs?: number;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const GRACE_MS = 2_000;
/** From the time-out until the process runner has killed it or given it up. */
export const LONGEST_END_MS = 15_000;
/** Of its output; everything further is read and dropped. */
const MAX_OUTPUT_BYTES = 4096;
const NOT_MET_STATUS = 1;
/** The reason when a script says no, as against not working. */
export const NOT_MET = 'condition-not-met';

/** null = met. Never rejects: a failure is a finding. The process group is gone when it resolves. */
export async function runScript(
  script: FoundScript,
  point: HoldPoint,
  rule: ScriptRule,
  deps: ScriptDeps,
  signal: AbortSignal,
): Promise<Finding | null> {
  const { name } = script;
  const unmet = (reasonCode: string, details: Finding['details']): Finding =>
    finding('script', reasonCode, {
      id: `script:${printable(name)}`,
      owner: bounded(name),
      isSkippable: rule.isSkippable,
      details,
    });
  if (script.kind !== 'usable') {
    const reasonCode = script.kind === 'unsafe' ? 'unsafe-permissions' : 'script-failed';
    return unmet(reasonCode, { message: bounded(script.problem) });
  }
  const stdout = headSink(MAX_OUTPUT_BYTES, () => {});
  const stderr = headSink(MAX_OUTPUT_BYTES, () => {});
  try {
    const running = await startProcess({
      command: script.path,
      args: [point],
      cwd: '/',
      env: { PATH, HOLDPOINT_POINT: point },
      timeoutMs: rule.timeoutSeconds * 1000,
      graceMs: deps.graceMs ?? GRACE_MS,
      clock: deps.clock,
      signal,
      stdout,
      stderr,
      errorKind: 'script',
    });
    const end = await running.exited;
    // Run every minute, a script that leaves processes behind would fill the device.
    if (end.reason === 'itself' && (await running.endRest())) {
      deps.log.warn('A condition script left processes behind; they are ended', { script: name });
    }
    await running.ended;
    if (end.reason === 'timeout') {
      return unmet('script-timeout', { 'timeout-seconds': rule.timeoutSeconds });
    }
    if (end.exitCode === 0) return null;
    if (end.exitCode === NOT_MET_STATUS) return unmet(NOT_MET, reasonIn(stdout.text()));
    return unmet('script-failed', {
      'exit-status': end.exitCode ?? end.signal ?? 'unknown',
      ...messageIn(stderr.text()),
    });
  } catch (error) {
    const details = error instanceof UpdateError ? error.details : {};
    return unmet('script-failed', { ...details, message: bounded(messageOf(error)) });
  }
}

function reasonIn(output: string): Finding['details'] {
  const line = firstLine(output);
  return line === '' ? {} : { reason: line };
}

function messageIn(output: string): Finding['details'] {
  const line = firstLine(output);
  return line === '' ? {} : { message: line };
}

function firstLine(output: string): string {
  return bounded((output.split(/\r?\n/, 1)[0] ?? '').trim());
}

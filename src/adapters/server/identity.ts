/**
 * Who the device is, as its identity program says. The text must stay the same for the same values: the server knows
 * the device by it. Source: spec/server-api.md section 2.1, spec/configuration.md section 2.2.
 */
import { UpdateError } from '../../core/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import { runKeyValueProgram, type KeyValues } from './key-values.ts';

const MAX_IDENTITY_BYTES = 64 * 1024;

export interface IdentityOptions {
  /** The identity executable; run anew for every authentication. */
  readonly program: string;
  /** Default 10 seconds. */
  readonly timeoutMs?: number;
  /** Where the identity that a server has accepted last is kept; absent = nowhere. */
  readonly memoryPath?: string;
}

/**
 * The identity as JSON text. Rejects with kind `script` (details `script`, `reason`) when the program fails, prints
 * nothing, or prints a line that is not `key=value`; with kind `cancelled` on abort.
 */
export async function readIdentity(
  options: IdentityOptions,
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Promise<string> {
  const { values, badLine } = await runKeyValueProgram(
    {
      path: options.program,
      maxOutputBytes: MAX_IDENTITY_BYTES,
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
      clock,
      log,
    },
    signal,
  );
  const refuse = (why: string, reason: string): UpdateError =>
    new UpdateError('script', `the identity of the device is unknown: ${options.program}: ${why}`, {
      details: { script: options.program, reason },
    });
  // Half an identity would be another device.
  if (badLine !== '') throw refuse(badLine, 'bad-line');
  if (values.size === 0) throw refuse('found no output, expected lines key=value', 'no-output');
  return identityJson(values);
}

/**
 * An object with its keys sorted bytewise; one value is a string, several an array. Written member by member: an
 * object of this language would put keys that look like numbers first.
 */
export function identityJson(values: KeyValues): string {
  const members = [...values]
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(([key, list]) => `${JSON.stringify(key)}:${JSON.stringify(list.length === 1 ? list[0] : list)}`);
  return `{${members.join(',')}}`;
}

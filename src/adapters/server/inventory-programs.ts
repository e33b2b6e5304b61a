/** Collects what the inventory programs print. Source: spec/configuration.md section 2.3. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { UpdateError } from '../../core/errors.ts';
import { quoted } from '../../core/printable.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import { runKeyValueProgram, type KeyValues } from './key-values.ts';

const PREFIX = 'mender-inventory-';
const MAX_OUTPUT_BYTES = 256 * 1024;
const MAX_PROGRAMS = 200;

export interface InventoryProgramOptions {
  readonly directory: string;
  /** For one program; default 10 seconds. */
  readonly timeoutMs?: number;
}

/**
 * Runs every executable `mender-inventory-*` in alphabetical order, one after the other, and joins what they print: the
 * values of a key that several print become one list. A program that fails loses only its own output; one that prints a
 * line which is not `key=value` keeps the lines before it. Empty for a missing directory. Rejects with kind `script`
 * when there were programs and all of them failed: nothing would then be sent over what the server knows.
 */
export async function collectInventory(
  options: InventoryProgramOptions,
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Promise<KeyValues> {
  const programs = await findPrograms(options.directory, log);
  const merged = new Map<string, string[]>();
  let failures = 0;
  let firstFailure: unknown;
  for (const path of programs) {
    try {
      const { values, badLine } = await runKeyValueProgram(
        {
          path,
          maxOutputBytes: MAX_OUTPUT_BYTES,
          ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
          clock,
          log,
        },
        signal,
      );
      if (badLine !== '') {
        log.warn('an inventory program printed a line that is not understood; the lines before it count', {
          program: path,
          problem: badLine,
        });
      }
      for (const [key, list] of values) merged.set(key, [...(merged.get(key) ?? []), ...list]);
    } catch (error) {
      if (error instanceof UpdateError && error.kind === 'cancelled') throw error;
      failures += 1;
      firstFailure ??= error;
      log.warn('an inventory program failed; what it says is left out', {
        program: path,
        problem: error instanceof Error ? error.message : String(error),
      });
    }
  }
  if (programs.length > 0 && failures === programs.length) {
    throw new UpdateError('script', `none of ${programs.length} inventory programs could be used`, {
      cause: firstFailure,
      details: { reason: 'inventory', directory: options.directory },
    });
  }
  return merged;
}

async function findPrograms(directory: string, log: Log): Promise<readonly string[]> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      log.warn('the folder of the inventory programs cannot be read', {
        directory,
        problem: error instanceof Error ? error.message : String(error),
      });
    }
    return [];
  }
  const found: string[] = [];
  const candidates = names
    .filter((name) => name.startsWith(PREFIX))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const name of candidates) {
    const path = join(directory, name);
    const file = await stat(path).catch(() => null);
    if (!file?.isFile() || (file.mode & 0o111) === 0) {
      log.warn('an inventory program is skipped: expected an executable file', {
        program: quoted(path, 200),
      });
    } else if (found.length === MAX_PROGRAMS) {
      log.warn('there are too many inventory programs; the rest is skipped', {
        directory,
        limit: MAX_PROGRAMS,
      });
      break;
    } else {
      found.push(path);
    }
  }
  return found;
}

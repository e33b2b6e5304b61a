/**
 * Which runs of modules and scripts are under way, on disk: after a kill -9 of the service they go on by themselves,
 * and the next service would recover the update beside them. So it ends them first.
 *
 * One file for each run, named by its number. Not synced: a power cut ends the run as well. Where no file can be written
 * (a full disk), the run takes place all the same, for it may be the rollback.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../ports/log.ts';
import { Run } from './run-processes.ts';

export interface RunLedgerOptions {
  /** `<datastore>/holdpoint/runs`; made when needed. */
  readonly directory: string;
  /** From SIGTERM to SIGKILL, milliseconds. Default 10 000, as at the end of a running service. */
  readonly graceMs?: number;
}

const DEFAULT_GRACE_MS = 10_000;
/** How long what was killed may stay (uninterruptible sleep) before the start goes on without its end. */
const UNKILLABLE_MS = 10_000;
const LONGEST_POLL_MS = 200;
const RUN_ID = /^[0-9a-f]{32}$/;

export class RunLedger {
  readonly #directory: string;
  readonly #graceMs: number;
  readonly #log: Log;

  constructor(options: RunLedgerOptions, log: Log) {
    this.#directory = options.directory;
    this.#graceMs = options.graceMs ?? DEFAULT_GRACE_MS;
    this.#log = log;
  }

  /** To be called before the program is started. Synchronous, as is the start: nothing comes between. */
  begin(id: string, program: string): void {
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      writeFileSync(join(this.#directory, id), `${program}\n`, { mode: 0o600 });
    } catch (error) {
      this.#log.warn('A run could not be noted; were the service killed now, it would go on unseen', {
        program,
        err: error,
      });
    }
  }

  end(id: string): void {
    try {
      rmSync(join(this.#directory, id), { force: true });
    } catch {
      // Read-only by now: at the next start nothing of the run will be found.
    }
  }

  /** Ends what is left of runs that a killed service had begun. To be called under the lock of the datastore. */
  async endLeftovers(): Promise<void> {
    const ids = (await readdir(this.#directory).catch(() => [])).filter((name) => RUN_ID.test(name));
    await Promise.all(ids.map((id) => this.#endLeftover(id)));
  }

  async #endLeftover(id: string): Promise<void> {
    const path = join(this.#directory, id);
    const run = new Run(id, null);
    if ((await run.signal('SIGTERM')) > 0) {
      const program = (await readFile(path, 'utf8').catch(() => '')).trim();
      this.#log.warn('A program that outlived the service is ended before anything else is done', {
        program,
      });
      if (!(await goneWithin(run, this.#graceMs))) {
        await run.signal('SIGKILL');
        // Whatever it forked meanwhile, too.
        if (!(await goneWithin(run, UNKILLABLE_MS, 'SIGKILL'))) {
          this.#log.error('It cannot be ended; the update goes on beside it', { program });
        }
      }
    }
    await rm(path, { force: true }).catch(() => {});
  }
}

async function goneWithin(run: Run, limitMs: number, again?: NodeJS.Signals): Promise<boolean> {
  const endMs = performance.now() + limitMs;
  for (let pauseMs = 5; await run.isAlive(); pauseMs = Math.min(pauseMs * 2, LONGEST_POLL_MS)) {
    if (performance.now() > endMs) return false;
    await sleep(pauseMs);
    if (again) await run.signal(again);
  }
  return true;
}

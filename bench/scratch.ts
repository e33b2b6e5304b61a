/** What a run makes and has to remove again, in whatever way it ends. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Removal = () => Promise<unknown> | unknown;

export interface Scratch {
  /** For this run; gone afterwards. */
  readonly folder: string;
  /** Aborts when the run ends, for whatever is still working then. */
  readonly signal: AbortSignal;
  /** Removed in reverse order of being added; each is tried, whatever becomes of the others. */
  onEnd(remove: Removal): void;
  /** Safe to call twice. */
  end(): Promise<void>;
}

export async function createScratch(): Promise<Scratch> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-bench-'));
  const running = new AbortController();
  const removals: Removal[] = [() => rm(folder, { recursive: true, force: true })];
  return {
    folder,
    signal: running.signal,
    onEnd: (remove) => void removals.push(remove),
    async end() {
      running.abort();
      for (const remove of removals.splice(0).toReversed()) {
        try {
          await remove();
        } catch (error) {
          process.stderr.write(`cleaning up: ${error instanceof Error ? error.message : String(error)}\n`);
        }
      }
    },
  };
}

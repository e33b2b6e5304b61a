/**
 * The logs devices send of failed deployments: one file each, written beside and renamed. Bounded: the oldest make
 * room, and a log goes with its deployment.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../ports/log.ts';
import { storeError, syncDirectory } from './journal.ts';

/** Of at most 1 MiB each. */
const MAX_LOGS = 500;

export class DeploymentLogs {
  readonly #folder: string;
  readonly #log: Log;
  /** Names of the files there are, the oldest first. */
  #names: string[] = [];

  private constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
  }

  /** Removes what nobody knows of: interrupted writes, and logs of deployments that are not `isKnown`. */
  static async open(
    folder: string,
    isKnown: (deploymentId: string) => boolean,
    log: Log,
  ): Promise<DeploymentLogs> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const logs = new DeploymentLogs(folder, log);
    const found: { readonly name: string; readonly ms: number }[] = [];
    for (const name of await readdir(folder)) {
      if (name.endsWith('.json') && isKnown(name.split('_')[0] ?? '')) {
        found.push({ name, ms: (await stat(join(folder, name))).mtimeMs });
      } else {
        await rm(join(folder, name), { force: true, recursive: true });
      }
    }
    logs.#names = found.sort((one, other) => one.ms - other.ms).map(({ name }) => name);
    return logs;
  }

  /** Replaces an earlier one. Rejects (kind `store` or `noSpace`). */
  async write(deploymentId: string, deviceId: string, text: string): Promise<void> {
    const name = nameOf(deploymentId, deviceId);
    const temporary = join(this.#folder, `${name}.new-${randomBytes(4).toString('hex')}`);
    try {
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, join(this.#folder, name));
      await syncDirectory(this.#folder);
    } catch (error) {
      await rm(temporary, { force: true });
      throw storeError('saving a deployment log', error);
    }
    this.#names = [...this.#names.filter((one) => one !== name), name];
    const spare = this.#names.splice(0, Math.max(0, this.#names.length - MAX_LOGS));
    for (const old of spare) this.#remove(old);
  }

  /** JSON text `{"messages":[…]}`; null = none, or it had to make room. */
  async read(deploymentId: string, deviceId: string): Promise<string | null> {
    try {
      return await readFile(join(this.#folder, nameOf(deploymentId, deviceId)), 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
      throw error;
    }
  }

  removeOf(deploymentId: string): void {
    const gone = this.#names.filter((name) => name.startsWith(`${deploymentId}_`));
    this.#names = this.#names.filter((name) => !gone.includes(name));
    for (const name of gone) this.#remove(name);
  }

  /** In the background: what is left over is removed at the next start. */
  #remove(name: string): void {
    rm(join(this.#folder, name), { force: true }).catch((error: unknown) =>
      this.#log.warn('A deployment log could not be removed', { err: error }),
    );
  }
}

/** Both are ids this server has made: hex digits and hyphens. */
function nameOf(deploymentId: string, deviceId: string): string {
  return `${deploymentId}_${deviceId}.json`;
}

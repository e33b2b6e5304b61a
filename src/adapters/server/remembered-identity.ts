/**
 * The identity of the device, also when its program is broken. A device that cannot say who it is gets no token, so that
 * nobody can repair its program from afar (design/faults.md R36); so the identity that a server has accepted last is kept
 * beside our state. The program counts as soon as it works again, whatever it says then.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { UpdateError } from '../../core/errors.ts';
import type { Log } from '../../ports/log.ts';

export interface RememberedIdentityOptions {
  readonly read: (signal: AbortSignal) => Promise<string>;
  /** Where it is kept; null = nowhere. */
  readonly memoryPath: string | null;
  readonly log: Log;
}

export class RememberedIdentity {
  readonly #options: RememberedIdentityOptions;
  /** What the memory is known to hold; '' = not known. */
  #remembered = '';
  #hasComplained = false;

  constructor(options: RememberedIdentityOptions) {
    this.#options = options;
  }

  /** JSON text. Rejects as the program does when nothing is remembered, and whenever it is cancelled. */
  async read(signal: AbortSignal): Promise<string> {
    const { read, log } = this.#options;
    try {
      const identity = await read(signal);
      this.#hasComplained = false;
      return identity;
    } catch (error) {
      if (!(error instanceof UpdateError) || error.kind === 'cancelled') throw error;
      const remembered = await this.#recall();
      if (remembered === null) throw error;
      if (!this.#hasComplained) {
        log.error('The identity program fails; the identity that was accepted last is used', {
          problem: error.message,
        });
      }
      this.#hasComplained = true;
      return remembered;
    }
  }

  /** A server knows the device by it. Without the memory all works as well, until the program breaks. */
  async accept(identity: string): Promise<void> {
    const { memoryPath, log } = this.#options;
    if (memoryPath === null || identity === this.#remembered) return;
    try {
      if ((await this.#recall()) !== identity) {
        const fresh = `${memoryPath}.new`;
        await writeFile(fresh, identity, { mode: 0o600, flush: true });
        await rename(fresh, memoryPath);
      }
      this.#remembered = identity;
    } catch (error) {
      log.debug('The identity could not be remembered', { errorMessage: String(error) });
    }
  }

  /** null = nothing, or nothing that is whole. */
  async #recall(): Promise<string | null> {
    const { memoryPath } = this.#options;
    if (memoryPath === null) return null;
    try {
      const text = await readFile(memoryPath, 'utf8');
      const value: unknown = JSON.parse(text);
      return typeof value === 'object' && value !== null && !Array.isArray(value) ? text : null;
    } catch {
      return null;
    }
  }
}

/**
 * The device type, also when its file is gone. A device that does not know what it is cannot ask for the update that
 * would repair it, and nobody can reach it any more (design/faults.md R36); so what the file said last is kept beside
 * our state. The file counts as soon as it can be read again.
 */
import { rename, writeFile } from 'node:fs/promises';
import { UpdateError } from '../../core/errors.ts';
import type { Log } from '../../ports/log.ts';
import { readDeviceType } from './device-type.ts';

export class RememberedDeviceType {
  readonly #path: string;
  readonly #memoryPath: string;
  readonly #log: Log;
  /** What the memory is known to hold; '' = not known. */
  #remembered = '';
  #hasComplained = false;

  constructor(options: { readonly path: string; readonly memoryPath: string; readonly log: Log }) {
    this.#path = options.path;
    this.#memoryPath = options.memoryPath;
    this.#log = options.log;
  }

  /** Rejects as `readDeviceType` when neither the file nor the memory says anything. */
  async read(): Promise<string> {
    try {
      const deviceType = await readDeviceType(this.#path);
      this.#hasComplained = false;
      if (deviceType !== this.#remembered) await this.#remember(deviceType);
      return deviceType;
    } catch (error) {
      const remembered = await readDeviceType(this.#memoryPath).catch(() => null);
      if (remembered === null) throw error;
      if (!this.#hasComplained) {
        const problem = error instanceof UpdateError ? error.message : String(error);
        this.#log.error('The device type cannot be read; the last known one is used', {
          deviceType: remembered,
          problem,
        });
      }
      this.#hasComplained = true;
      return remembered;
    }
  }

  /** Without it all works as well, until the file is lost. */
  async #remember(deviceType: string): Promise<void> {
    const known = await readDeviceType(this.#memoryPath).catch(() => '');
    try {
      if (known !== deviceType) {
        const fresh = `${this.#memoryPath}.new`;
        await writeFile(fresh, `device_type=${deviceType}\n`, { mode: 0o644, flush: true });
        await rename(fresh, this.#memoryPath);
      }
      this.#remembered = deviceType;
    } catch (error) {
      this.#log.debug('The device type could not be remembered', { errorMessage: String(error) });
    }
  }
}

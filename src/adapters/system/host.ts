/** The machine we run on: its boot, its type, its restart. */
import { readFileSync } from 'node:fs';
import { UpdateError } from '../../core/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { System } from '../../ports/system.ts';
import { readDeviceType } from './device-type.ts';
import { rebootHost } from './reboot.ts';
import { RememberedDeviceType } from './remembered-device-type.ts';

export interface HostOptions {
  readonly clock: Clock;
  readonly deviceTypePath: string;
  /** Where what it said last is kept; absent = nowhere. */
  readonly deviceTypeMemory?: { readonly path: string; readonly log: Log };
  /** `RebootCommand`; null = the init system, else `reboot`. */
  readonly rebootCommand: readonly string[] | null;
  /** Default /proc/sys/kernel/random/boot_id. */
  readonly bootIdPath?: string;
  /** How long a reboot may take, milliseconds. Default 10 minutes. */
  readonly rebootPatienceMs?: number;
}

const BOOT_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export class Host implements System {
  readonly #options: HostOptions;
  readonly #readDeviceType: () => Promise<string>;
  /** It cannot change while this process lives. */
  #bootId: string | undefined;

  constructor(options: HostOptions) {
    this.#options = options;
    const { deviceTypePath: path, deviceTypeMemory: memory } = options;
    const remembered = memory && new RememberedDeviceType({ path, memoryPath: memory.path, log: memory.log });
    this.#readDeviceType = () => remembered?.read() ?? readDeviceType(path);
  }

  /** Throws (kind `internal`) when the kernel does not say: guessing here would repeat or skip a reboot. */
  bootId(): string {
    this.#bootId ??= readBootId(this.#options.bootIdPath ?? '/proc/sys/kernel/random/boot_id');
    return this.#bootId;
  }

  deviceType(): Promise<string> {
    return this.#readDeviceType();
  }

  reboot(signal: AbortSignal, options: { readonly isPowerOff?: boolean } = {}): Promise<never> {
    const { clock, rebootCommand, rebootPatienceMs } = this.#options;
    return rebootHost(
      {
        clock,
        // A program that reboots is no program that switches off.
        command: options.isPowerOff === true ? null : rebootCommand,
        isPowerOff: options.isPowerOff === true,
        ...(rebootPatienceMs === undefined ? {} : { patienceMs: rebootPatienceMs }),
      },
      signal,
    );
  }
}

function readBootId(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UpdateError('internal', `reading the boot id: ${why}`, { cause });
  }
  if (!BOOT_ID.test(text)) {
    throw new UpdateError(
      'internal',
      `found boot id ${JSON.stringify(text.slice(0, 80))} in ${path}, expected a UUID`,
    );
  }
  return text;
}

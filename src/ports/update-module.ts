import type { ArtifactInfo, Installed } from '../core/artifact.ts';
import type { ModuleAction } from '../core/module-action.ts';
import type { PayloadFile } from './artifact-reader.ts';

export type { ModuleAction } from '../core/module-action.ts';

export type RebootAnswer = 'No' | 'Yes' | 'Automatic';

/** What the file tree tells the module about the device. */
export interface DeviceFacts {
  readonly deviceType: string;
  readonly installed: Installed;
}

/**
 * The one payload's update module. Everything rejects with a ModuleError (kind `module` or `timeout`, with the
 * action and exit status in its details), or with kind `cancelled` on abort; the process group is gone by then.
 */
export interface UpdateModules {
  /** Whether a program for this payload type is there. Rejects with `no-update-module` naming what was found. */
  requireModule(payloadType: string): Promise<void>;
  /** Removes the old file tree and builds a new one, durably. */
  prepareTree(info: ArtifactInfo, device: DeviceFacts): Promise<void>;
  /**
   * Asks ProvidePayloadFileSizes, then runs Download or DownloadWithFileSizes and hands it the files, by streams
   * or, if it reads none, by storing them in `files/`. Resolves when the module ended well and all is on disk.
   */
  download(payloadType: string, files: AsyncIterable<PayloadFile>, signal: AbortSignal): Promise<void>;
  /** Cleanup with a missing tree is a success without a call; every other action then fails. */
  run(payloadType: string, action: ModuleAction, signal: AbortSignal): Promise<void>;
  needsReboot(payloadType: string, signal: AbortSignal): Promise<RebootAnswer>;
  supportsRollback(payloadType: string, signal: AbortSignal): Promise<boolean>;
  /** Removes the file tree (after Cleanup, whatever its result). */
  removeTree(): Promise<void>;
}

import type { Installed } from '../core/artifact.ts';
import type { MenderStoreContent } from '../core/mender-content.ts';

/** What became of an export. */
export interface MenderStoreExport {
  /** The store the Mender client can start from. */
  readonly path: string;
  /** Where the one that was there before lies now; null = there was none, or nothing in it was worth keeping. */
  readonly keptAs: string | null;
}

/** The key-value store of a Mender client on this device, `<datastore>/mender-store`. */
export interface MenderStore {
  /**
   * What it holds; null = there is none. Changes nothing. Rejects (kind `store`, the message names the file and what
   * to do) when it cannot be read as a whole, when the tool for it is missing, and while a Mender client has it open;
   * single values that make no sense are complaints in the content.
   */
  read(): Promise<MenderStoreContent | null>;
  /**
   * Puts a fresh store in its place, whole or not at all, that holds what is installed and nothing else: the Mender
   * client resumes nothing from it. The old one is kept beside it. Rejects as `read`, with the old one still there.
   */
  write(installed: Installed): Promise<MenderStoreExport>;
}

/** What is installed, for commands that only want to know. */
import { isNoService, openUpdateClient, type UpdateClient } from '../adapters/dbus/update-client.ts';
import { FileStore } from '../adapters/store/file-store.ts';
import { parseStateDocument } from '../adapters/store/state-document.ts';
import { realStoreFiles, type StoreFiles } from '../adapters/store/store-files.ts';
import { firstInstalled } from '../compose-standalone.ts';
import type { Settings } from '../config/settings.ts';
import type { Installed } from '../core/artifact.ts';
import type { Log } from '../ports/log.ts';

/** null = no service to ask. */
export async function nameFromService(address: string): Promise<string | null> {
  let client: UpdateClient;
  try {
    client = await openUpdateClient(address);
  } catch {
    return null;
  }
  try {
    return (await client.snapshot()).currentArtifactName;
  } catch (error) {
    if (isNoService(error)) return null;
    throw error;
  } finally {
    client.close();
  }
}

/** From the store, which is only looked at; a device without any record gets its first one. */
export async function installedOf(settings: Settings, log: Log): Promise<Installed> {
  const stored = await storedInstalled(settings);
  if (stored !== null) return stored;
  try {
    return (await firstInstalled(settings, log)).installed;
  } catch (error) {
    // Whoever has the lock makes the record now.
    const made = await storedInstalled(settings);
    if (made !== null) return made;
    throw error;
  }
}

async function storedInstalled({ paths }: Settings): Promise<Installed | null> {
  const files = new FileStore({
    directory: paths.stateDirectory,
    name: 'state',
    parse: parseStateDocument,
    files: LOOK_ONLY,
  });
  return (await files.load()).document?.state.installed ?? null;
}

/** Without the lock nothing may be changed: what looks like a leftover may be another process at work. */
const refuse = (): Promise<never> => Promise.reject(new Error('the store is only looked at'));
const LOOK_ONLY: StoreFiles = {
  ...realStoreFiles,
  makeDirectory: refuse,
  create: refuse,
  overwrite: refuse,
  syncFile: refuse,
  rename: refuse,
  remove: () => Promise.resolve(),
  syncDirectory: refuse,
};

/**
 * Puts the state scripts of an artifact in their place, so that after a power cut there are either all of them,
 * complete, or none. Source: spec/artifact.md section 5.4; design/faults.md R2 (half-written scripts were run).
 */
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UpdateError } from '../../core/errors.ts';
import { isArtifactScriptFamily, parseScriptName } from '../../core/state-script.ts';
import type { StateScriptFile } from '../../ports/artifact-reader.ts';

/** Format version of the artifact they come from, as both Mender clients write it. */
const VERSION_TEXT = '3';

/**
 * Replaces what is in `folder`; no scripts = the folder is removed. Rejects with kind `script` for a name no
 * artifact may carry, with kind `noSpace` or `store` when the files cannot be stored; the old scripts are then
 * gone or still there, never mixed with the new ones.
 */
export async function installScripts(folder: string, scripts: readonly StateScriptFile[]): Promise<void> {
  for (const script of scripts) requireArtifactScript(script.name);
  const fresh = `${folder}.new`;
  try {
    await clearScripts(folder);
    if (scripts.length === 0) return;
    await mkdir(fresh, { recursive: true, mode: 0o700 });
    for (const script of scripts) await writeDurably(join(fresh, script.name), script.content, 0o700);
    await writeDurably(join(fresh, 'version'), Buffer.from(VERSION_TEXT), 0o600);
    await syncFolder(fresh);
    await rename(fresh, folder);
    await syncFolder(dirname(folder));
  } catch (error) {
    throw storageError(`cannot store the state scripts of the artifact in ${folder}`, error);
  }
}

/** Removes the folder, durably. A cut in the middle leaves it whole under another name, where nothing runs it. */
export async function clearScripts(folder: string): Promise<void> {
  const old = `${folder}.old`;
  try {
    await rm(old, { recursive: true, force: true });
    await rm(`${folder}.new`, { recursive: true, force: true });
    try {
      await rename(folder, old);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    await syncFolder(dirname(folder));
    await rm(old, { recursive: true, force: true });
  } catch (error) {
    throw storageError(`cannot remove the state scripts in ${folder}`, error);
  }
}

function requireArtifactScript(name: string): void {
  const parsed = parseScriptName(name);
  if (parsed && isArtifactScriptFamily(parsed.family) && !name.includes('\0')) return;
  throw new UpdateError('script', `an artifact may not carry a state script named ${JSON.stringify(name)}`, {
    details: { script: name },
    failureName: 'Format',
  });
}

async function writeDurably(path: string, content: Uint8Array, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    await file.writeFile(content);
    // The umask may have taken bits away from what open(2) was given.
    await file.chmod(mode);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function storageError(doing: string, error: unknown): UpdateError {
  if (error instanceof UpdateError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
  const kind = code === 'ENOSPC' || code === 'EDQUOT' ? 'noSpace' : 'store';
  const text = error instanceof Error ? error.message : String(error);
  return new UpdateError(kind, `${doing}: ${text}`, { cause: error, details: { 'error-code': code } });
}

/**
 * Finds the state scripts of one action. Source: spec/update-flow.md sections 7.1 and 7.2.
 */
import { constants } from 'node:fs';
import { access, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { UpdateError } from '../../core/errors.ts';
import { parseScriptName, type ScriptAction, type ScriptFamily } from '../../core/state-script.ts';

/** Format versions of state scripts we know. */
const SUPPORTED_VERSIONS: readonly string[] = ['2', '3'];

export interface FoundScript {
  readonly name: string;
  readonly path: string;
  /** Why it cannot be run; null = it can. */
  readonly obstacle: string | null;
}

/**
 * Scripts of this action in byte order of their names, unusable ones included. No folder = no scripts.
 * Rejects with kind `script` when the folder is there and cannot be read.
 */
export async function findScripts(
  folder: string,
  family: ScriptFamily,
  action: ScriptAction,
): Promise<readonly FoundScript[]> {
  let entries: Buffer[];
  try {
    entries = await readdir(folder, { encoding: 'buffer' });
  } catch (error) {
    if (isMissing(error)) return [];
    throw new UpdateError('script', `cannot read the state script folder ${folder}: ${textOf(error)}`, {
      cause: error,
      details: { action: `${family}_${action}` },
    });
  }
  const found: FoundScript[] = [];
  for (const entry of entries.sort((a, b) => Buffer.compare(a, b))) {
    const name = entry.toString('utf8');
    const parsed = parseScriptName(name);
    if (parsed?.family !== family || parsed.action !== action) continue;
    const path = join(folder, name);
    const isUtf8 = Buffer.from(name, 'utf8').equals(entry);
    found.push({ name, path, obstacle: isUtf8 ? await obstacleOf(path) : 'its name is not UTF-8' });
  }
  return found;
}

async function obstacleOf(path: string): Promise<string | null> {
  try {
    const facts = await stat(path);
    if (!facts.isFile()) return 'it is not a regular file';
    await access(path, constants.X_OK);
    return null;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? 'it is not executable' : textOf(error);
  }
}

/**
 * Checks the `version` file beside scripts, as the C++ client does: a missing one is fine; one that is present
 * must hold 2 or 3. Rejects with kind `script` (detail `version`: what it holds) otherwise.
 */
export async function checkVersionFile(folder: string): Promise<void> {
  const path = join(folder, 'version');
  let text: string;
  try {
    text = (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (isMissing(error)) return;
    throw new UpdateError('script', `cannot read ${path}: ${textOf(error)}`, { cause: error });
  }
  if (SUPPORTED_VERSIONS.includes(text)) return;
  const shown = JSON.stringify(text.slice(0, 40));
  throw new UpdateError('script', `${path} holds ${shown}, expected 2 or 3: state scripts are not run`, {
    details: { version: text.slice(0, 40) },
  });
}

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Finds the executables in conditions.d that may be run. Whoever can write to one of them, or to the folder, could
 * have the service run anything, so those are not run and count as not met.
 */
import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

export type FoundScript =
  | { readonly kind: 'usable'; readonly name: string; readonly path: string }
  | { readonly kind: 'unsafe' | 'unusable'; readonly name: string; readonly problem: string };

export interface FoundScripts {
  readonly scripts: readonly FoundScript[];
  /** Files that are there and are not executable: said once, in case somebody forgot the permission. */
  readonly ignored: readonly string[];
}

/** More would take longer to run than anybody would wait. */
export const MAX_SCRIPTS = 64;
/** Each entry is looked at in every round. */
const MAX_ENTRIES = 1024;
const GROUP_AND_WORLD_WRITE = 0o022;
/** Left by editors and package managers; never run, as run-parts(8) does. */
const LEFTOVER = /^\.|~$|^#|\.(?:dpkg-\w+|ucf-\w+|rpm(?:save|new|orig)|bak|swp)$/;

/**
 * In byte order of their names. No folder = none. Never rejects: a folder that cannot be read or is unsafe, or holds
 * too many, is one script with that problem. Symbolic links are followed; what they lead to is judged.
 */
export async function findScripts(folder: string, ownUid = process.geteuid?.() ?? 0): Promise<FoundScripts> {
  const name = 'conditions.d';
  let entries: Buffer[];
  try {
    const objection = objectionTo(await stat(folder), ownUid);
    if (objection !== null) return alone({ kind: 'unsafe', name, problem: `the folder ${objection}` });
    entries = await readdir(folder, { encoding: 'buffer' });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { scripts: [], ignored: [] };
    return alone({ kind: 'unusable', name, problem: `the folder cannot be read (${code ?? 'unknown'})` });
  }
  if (entries.length > MAX_ENTRIES) {
    return alone({ kind: 'unusable', name, problem: `it holds more than ${MAX_ENTRIES} files` });
  }
  entries.sort((one, other) => Buffer.compare(one, other));
  const scripts: FoundScript[] = [];
  const ignored: string[] = [];
  for (const entry of entries) {
    const text = entry.toString('utf8');
    if (LEFTOVER.test(text)) continue;
    const isUtf8 = Buffer.from(text, 'utf8').equals(entry);
    const found = isUtf8
      ? await examine(folder, text, ownUid)
      : ({ kind: 'unusable', name: text, problem: 'its name is not UTF-8' } as const);
    if (found === 'not-executable') ignored.push(text);
    else if (found !== null) scripts.push(found);
    if (scripts.length > MAX_SCRIPTS) {
      return alone({ kind: 'unusable', name, problem: `it holds more than ${MAX_SCRIPTS} scripts` });
    }
  }
  return { scripts, ignored };
}

function alone(script: FoundScript): FoundScripts {
  return { scripts: [script], ignored: [] };
}

/** null = not a regular file. */
async function examine(
  folder: string,
  name: string,
  ownUid: number,
): Promise<FoundScript | 'not-executable' | null> {
  const path = join(folder, name);
  try {
    const facts = await stat(path);
    if (!facts.isFile()) return null;
    if ((facts.mode & 0o111) === 0) return 'not-executable';
    const objection = objectionTo(facts, ownUid);
    if (objection !== null) return { kind: 'unsafe', name, problem: `it ${objection}` };
    await access(path, constants.X_OK);
    return { kind: 'usable', name, path };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    return { kind: 'unusable', name, problem: `it cannot be examined or executed (${code})` };
  }
}

function objectionTo(facts: { readonly mode: number; readonly uid: number }, ownUid: number): string | null {
  if (facts.uid !== 0 && facts.uid !== ownUid) return `is owned by user ${facts.uid}`;
  if ((facts.mode & GROUP_AND_WORLD_WRITE) !== 0) {
    return `can be written to by others (mode ${(facts.mode & 0o7777).toString(8).padStart(4, '0')})`;
  }
  return null;
}

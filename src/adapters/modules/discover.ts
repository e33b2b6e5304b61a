/** Finds the program of an update module. Source: spec/update-modules.md section 1. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ArtifactError } from '../../core/artifact-error.ts';

/** Longest file name Linux file systems take, bytes. */
const MAX_NAME_BYTES = 255;

/** Whether a name is one component that stays inside its folder. */
export function isSafeName(name: string): boolean {
  if (name === '' || name === '.' || name === '..') return false;
  return !name.includes('/') && !name.includes('\0') && Buffer.byteLength(name) <= MAX_NAME_BYTES;
}

/**
 * Path of the program for a payload type: a regular file (following links) that may be executed. Rejects with an
 * ArtifactError `no-update-module` that names what was found instead.
 */
export async function findModule(modulesDir: string, payloadType: string): Promise<string> {
  if (!isSafeName(payloadType)) {
    throw noModule(modulesDir, payloadType, `the payload type ${JSON.stringify(payloadType)}`);
  }
  const path = join(modulesDir, payloadType);
  const facts = await stat(path).catch((error: unknown) => {
    const code = (error as NodeJS.ErrnoException).code;
    const found = code === 'ENOENT' || code === 'ENOTDIR' ? 'nothing' : `an unreadable entry (${code})`;
    throw noModule(modulesDir, payloadType, found, error);
  });
  if (!facts.isFile()) {
    throw noModule(modulesDir, payloadType, facts.isDirectory() ? 'a folder' : 'a special file');
  }
  try {
    await access(path, constants.X_OK);
  } catch (error) {
    throw noModule(modulesDir, payloadType, 'a file that is not executable', error);
  }
  return path;
}

function noModule(modulesDir: string, payloadType: string, found: string, cause?: unknown): ArtifactError {
  const name = isSafeName(payloadType) ? payloadType : JSON.stringify(payloadType);
  return new ArtifactError(
    'no-update-module',
    {
      where: `update module ${name} in ${modulesDir}`,
      found,
      expected: 'an executable program named after the payload type (is the update module installed?)',
    },
    cause,
  );
}

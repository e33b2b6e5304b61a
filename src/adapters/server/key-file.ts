/** Makes the device key's file so that a power cut leaves a whole key or none. Source: design/faults.md R3, R4. */
import { generateKeyPair, randomBytes } from 'node:crypto';
import { link, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { UpdateError } from '../../core/errors.ts';

const makePair = promisify(generateKeyPair);

/**
 * Writes a new Ed25519 key (PKCS#8 PEM, mode 0600). Does nothing when somebody else has made the file meanwhile: a key
 * that may be known to a server is never written over. Rejects with kind `store` or `noSpace`.
 */
export async function generateKeyFile(path: string): Promise<void> {
  const { privateKey } = await makePair('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const folder = dirname(path);
  const temporary = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      const file = await open(temporary, 'wx', 0o600);
      try {
        await file.chmod(0o600);
        await file.writeFile(pem);
        await file.sync();
      } finally {
        await file.close();
      }
      await publish(temporary, path);
    } finally {
      await rm(temporary, { force: true });
    }
    await syncFolder(folder);
  } catch (cause) {
    throw failed(`making the device key ${path}`, path, cause);
  }
}

/** Renames the file out of the way, in place of one that was set aside before; returns the new name. */
export async function setAside(path: string, suffix: '.broken' | '.old'): Promise<string> {
  const kept = `${path}${suffix}`;
  try {
    await rename(path, kept);
    await syncFolder(dirname(path));
  } catch (cause) {
    throw failed(`setting ${path} aside`, path, cause);
  }
  return kept;
}

/** A link fails where a name exists already; a rename, for file systems without links, would replace it. */
async function publish(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS' && code !== 'EMLINK') throw error;
    await rename(temporary, path);
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function failed(doing: string, path: string, cause: unknown): UpdateError {
  const { code } = cause as NodeJS.ErrnoException;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new UpdateError(code === 'ENOSPC' || code === 'EDQUOT' ? 'noSpace' : 'store', `${doing}: ${why}`, {
    cause,
    details: { path, 'error-code': code ?? '', reason: 'key' },
  });
}

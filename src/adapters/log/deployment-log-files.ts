/**
 * The files of the deployment logs: names, numbers, room. Source: spec/configuration.md section 2.5 and
 * spec/update-flow.md section 8.4, as the C++ client: `deployments.NNNN.<id>.log`, the newest is 0000.
 */
import { readdir, rename, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';

export const MAX_FILES = 5;
/** Below this the oldest logs are deleted before a new one is written. */
export const MIN_FREE_BYTES = 100 * 1024;

const FILE_NAME = /^deployments\.([0-9]{4})\.(.+)\.log$/s;
/** Leaves room for the rest of the name in the 255 bytes of a file name. */
const MAX_ID_BYTES = 200;

export interface LogFile {
  readonly number: number;
  readonly deploymentId: string;
  readonly name: string;
}

/** Whether a deployment id can be part of a file name. */
export function isUsableId(id: string): boolean {
  if (id === '' || id === '.' || id === '..' || Buffer.byteLength(id) > MAX_ID_BYTES) return false;
  // eslint-disable-next-line no-control-regex
  return !/[/\u0000-\u001f\u007f]/.test(id);
}

/** Newest first. No folder = none. */
export async function listLogs(folder: string): Promise<readonly LogFile[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const files = names.flatMap((name): LogFile[] => {
    const match = FILE_NAME.exec(name);
    return match ? [{ number: Number(match[1]), deploymentId: match[2]!, name }] : [];
  });
  return files.sort((a, b) => a.number - b.number || (a.name < b.name ? -1 : 1));
}

/**
 * Gives number 0000 to this deployment, closes the ranks behind it, and deletes what is more than five. Resolves
 * with the path of its file, which exists already when the deployment had one.
 */
export async function makeFirst(folder: string, deploymentId: string): Promise<string> {
  const all = await listLogs(folder);
  const own = all.find((file) => file.deploymentId === deploymentId);
  const others = all.filter((file) => file.deploymentId !== deploymentId);
  for (const file of others.splice(MAX_FILES - 1)) await rm(join(folder, file.name), { force: true });
  // From the oldest on, so that a power cut in the middle never gives two of them one number for long.
  for (let index = others.length - 1; index >= 0; index--) {
    await renumber(folder, others[index]!, index + 1);
  }
  if (own) return await renumber(folder, own, 0);
  return join(folder, nameOf(0, deploymentId));
}

function nameOf(number: number, deploymentId: string): string {
  return `deployments.${String(number).padStart(4, '0')}.${deploymentId}.log`;
}

async function renumber(folder: string, file: LogFile, number: number): Promise<string> {
  const path = join(folder, nameOf(number, file.deploymentId));
  if (file.number !== number) await rename(join(folder, file.name), path);
  return path;
}

/** Deletes logs of other deployments, oldest first, until there is room. Resolves with whether there is. */
export async function makeRoom(
  folder: string,
  keepId: string,
  minFreeBytes = MIN_FREE_BYTES,
): Promise<boolean> {
  const isEnough = async (): Promise<boolean> => {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize >= minFreeBytes;
  };
  if (await isEnough()) return true;
  for (const file of [...(await listLogs(folder))].reverse()) {
    if (file.deploymentId === keepId) continue;
    await rm(join(folder, file.name), { force: true });
    if (await isEnough()) return true;
  }
  return false;
}

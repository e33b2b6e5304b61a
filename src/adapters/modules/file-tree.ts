/**
 * The work folder of an update module. Source: spec/update-modules.md section 2: a newline ends `version` and
 * `current_*`, none ends the files of `header/`. The tree is part of the stored state of an update: it outlives
 * reboots until Cleanup, so everything in it is on the disk before a module is run.
 */
import { constants, type Dirent } from 'node:fs';
import { lstat, mkdir, open, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ArtifactInfo } from '../../core/artifact.ts';
import type { DeviceFacts } from '../../ports/update-module.ts';
import { codeOf } from './errors.ts';
import { indentJson } from './json-text.ts';

const ARTIFACT_FORMAT_VERSION = 3;

/** Removes the old tree and builds a new one, durably. Rejects with what the file system says. */
export async function buildTree(tree: string, info: ArtifactInfo, device: DeviceFacts): Promise<void> {
  await removeTree(tree);
  const created = await mkdir(join(tree, 'header'), { recursive: true, mode: 0o700 });
  await mkdir(join(tree, 'tmp'), { mode: 0o700 });
  const files: Readonly<Record<string, string>> = {
    version: `${ARTIFACT_FORMAT_VERSION}\n`,
    current_artifact_name: line(device.installed.artifactName),
    current_artifact_group: line(device.installed.artifactGroup),
    current_device_type: line(device.deviceType),
    'header/artifact_name': info.artifactName,
    'header/artifact_group': info.artifactGroup,
    'header/payload_type': info.payloadType ?? '',
    'header/header-info': indentJson(info.headerInfoJson),
    'header/type-info': indentJson(info.typeInfoJson),
    'header/meta-data': info.metaDataJson === null ? 'null' : indentJson(info.metaDataJson),
  };
  for (const [name, text] of Object.entries(files)) {
    const file = await open(join(tree, name), 'wx', 0o600);
    try {
      await file.writeFile(text);
    } finally {
      await file.close();
    }
  }
  await syncTree(tree);
  // Every folder that had to be made is an entry in its parent, which has to be on the disk as well.
  const highest = dirname(created ?? tree);
  for (let folder = dirname(tree); ; folder = dirname(folder)) {
    await syncPath(folder);
    if (folder === highest || folder === dirname(folder)) break;
  }
}

/** With its end of line; empty for nothing. */
function line(value: string): string {
  return value === '' ? '' : `${value}\n`;
}

/** Removes the tree, whatever a module left in it. Does nothing when it is missing. */
export async function removeTree(tree: string): Promise<void> {
  await rm(tree, { recursive: true, force: true, maxRetries: 3 });
  await syncPath(dirname(tree)).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT' && codeOf(error) !== 'ENOTDIR') throw error;
  });
}

export async function hasTree(tree: string): Promise<boolean> {
  try {
    return (await lstat(tree)).isDirectory();
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

/**
 * Flushes every regular file and folder of the tree to the disk. What a module keeps there (backups for a
 * rollback above all) must not be lost in a power cut after its action counts as done (design/faults.md R2).
 */
export async function syncTree(folder: string): Promise<void> {
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await syncPath(path);
  }
  await syncPath(folder);
}

export async function syncPath(path: string): Promise<void> {
  let handle;
  try {
    // Neither a link nor a FIFO put there meanwhile may lead us elsewhere or block us.
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (codeOf(error) === 'ELOOP') return;
    throw error;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

import { watch } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeRecord } from '../../src/adapters/store/record.ts';
import { parseStateDocument } from '../../src/adapters/store/state-document.ts';
import type { FlowStep, UpdateState } from '../../src/core/state.ts';

/** What the service has stored, read from outside. */
export interface Stored {
  readonly path: string;
  readonly generation: number;
  readonly state: UpdateState;
}

/** Valid generations, newest first. */
export async function storedStates(stateDirectory: string): Promise<readonly Stored[]> {
  const names = await readdir(stateDirectory).catch(() => []);
  const found: Stored[] = [];
  for (const name of names.filter((one) => /^state-[ab]\.json$/.test(one))) {
    const path = join(stateDirectory, name);
    try {
      const { generation, value } = decodeRecord(await readFile(path));
      found.push({ path, generation, state: parseStateDocument(value).state });
    } catch {
      // Damaged, or replaced this moment.
    }
  }
  return found.sort((one, other) => other.generation - one.generation);
}

/** Resolves with the first stored state, from now on, the claim is true of, as soon as it has its name. */
export function nextStored(stateDirectory: string, claim: (stored: Stored) => boolean): Promise<Stored> {
  return new Promise((resolve) => {
    const watcher = watch(stateDirectory, () => {
      void storedStates(stateDirectory).then(([newest]) => {
        if (newest === undefined || !claim(newest)) return;
        watcher.close();
        resolve(newest);
      });
    });
  });
}

/** Of an update that reboots and is committed, in the order they are passed; one without a reboot leaves out that part. */
export const FORWARD_STEPS: readonly FlowStep[] = [
  'download-gate',
  'download-status',
  'download-enter',
  'download',
  'download-leave',
  'install-gate',
  'install-status',
  'install-enter',
  'install',
  'install-leave',
  'needs-reboot',
  'reboot-gate',
  'reboot-status',
  'reboot-enter',
  'reboot',
  'verify-reboot',
  'reboot-leave',
  'commit-gate',
  'commit-authorize',
  'commit-status',
  'commit-enter',
  'commit-check',
  'commit',
  'commit-leave',
  'cleanup-after-success',
  'report-success',
];

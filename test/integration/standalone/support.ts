import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileStore } from '../../../src/adapters/store/file-store.ts';
import {
  parseStandaloneDocument,
  standaloneDocumentOf,
} from '../../../src/adapters/store/standalone-document.ts';
import type { StandaloneRecord } from '../../../src/core/standalone.ts';
import type { StopPoint } from '../../../src/core/standalone-table.ts';
import { ARTIFACT_SCRIPTS, chainOf, ROOTFS_SCRIPTS } from '../../support/chain.ts';
import { holdpoint, type CommandOptions, type CommandResult } from '../../support/command.ts';
import {
  makeArtifact,
  makeDevice,
  type ArtifactOptions,
  type Device,
  type DeviceOptions,
} from '../../support/device.ts';

/** A device with probe scripts for every action, and artifacts made once for all tests of a file. */
export interface Bench {
  readonly device: Device;
  run(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  install(artifact: string, ...args: readonly string[]): Promise<CommandResult>;
  /** The calls since the last look, in the shorthand of the specification. */
  chain(): Promise<string>;
  record(): Promise<StandaloneRecord | null>;
  putRecord(record: StandaloneRecord): Promise<void>;
  /** As `show-artifact` prints it. */
  name(): Promise<string>;
}

export async function withBench(options: DeviceOptions, use: (bench: Bench) => Promise<void>): Promise<void> {
  const device = await makeDevice({ scripts: ROOTFS_SCRIPTS, ...options });
  let seen = 0;
  const records = new FileStore<unknown>({
    directory: device.stateDirectory,
    name: 'standalone',
    parse: (value) => (parseStandaloneDocument(value), value),
  });
  const run = (args: readonly string[], more?: CommandOptions): Promise<CommandResult> =>
    holdpoint(device, args, more);
  try {
    await use({
      device,
      run,
      install: (artifact, ...args) => run(['install', '--standalone', ...args, artifact]),
      chain: async () => {
        const calls = await device.calls();
        const fresh = calls.slice(seen);
        seen = calls.length;
        return chainOf(fresh);
      },
      record: async () => parseStandaloneDocument((await records.load()).document),
      putRecord: (record) => records.save(standaloneDocumentOf(record)),
      name: async () => (await run(['show-artifact'])).stdout.trim(),
    });
  } finally {
    await device.dispose();
  }
}

export interface ArtifactShelf {
  make(options?: ArtifactOptions): Promise<string>;
  dispose(): Promise<void>;
}

export async function makeShelf(): Promise<ArtifactShelf> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-artifacts-'));
  return {
    make: (options = {}) => makeArtifact({ folder }, { scripts: ARTIFACT_SCRIPTS, ...options }),
    dispose: () => rm(folder, { recursive: true, force: true }),
  };
}

export const stopAt = (point: StopPoint): readonly string[] => ['--stop-before', point];

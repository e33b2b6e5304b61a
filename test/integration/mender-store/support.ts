import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { dumpStore } from '../../../src/adapters/mender-store/dump.ts';
import { MenderStoreFile, type MenderStoreOptions } from '../../../src/adapters/mender-store/mender-store.ts';
import { FileStore } from '../../../src/adapters/store/file-store.ts';
import {
  parseStandaloneDocument,
  standaloneDocumentOf,
  type StandaloneDocument,
} from '../../../src/adapters/store/standalone-document.ts';
import {
  documentOf,
  parseStateDocument,
  type StateDocument,
} from '../../../src/adapters/store/state-document.ts';
import { SystemClock } from '../../../src/adapters/system/clock.ts';
import type { TakeoverTools } from '../../../src/app/takeover.ts';
import { RecordingLog } from '../../support/recording-log.ts';

const run = promisify(execFile);

export const clock = new SystemClock();

/** A device's datastore with a Mender store in it or not. */
export interface Place {
  readonly datastore: string;
  readonly storeFile: string;
  readonly stateDirectory: string;
  remove(): Promise<void>;
}

export async function place(datastore?: string): Promise<Place> {
  const root = datastore ?? (await mkdtemp(join(tmpdir(), 'holdpoint-mender-store-')));
  const stateDirectory = join(root, 'holdpoint');
  await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
  return {
    datastore: root,
    storeFile: join(root, 'mender-store'),
    stateDirectory,
    remove: () => rm(root, { recursive: true, force: true }),
  };
}

/** What the composition root gives it. */
export function storeOf(where: Place, options: Partial<MenderStoreOptions> = {}): MenderStoreFile {
  return new MenderStoreFile({
    path: where.storeFile,
    stateDirectory: where.stateDirectory,
    deploymentLogDirectories: [where.datastore],
    artifactInfoFile: join(where.datastore, '../conf/artifact_info'),
    parseStandalone: parseStandaloneDocument,
    clock,
    ...options,
  });
}

export interface Tools extends TakeoverTools {
  readonly log: RecordingLog;
}

/** Everything of the take-over as on a device. */
export function toolsOf(where: Place, options: Partial<MenderStoreOptions> = {}): Tools {
  const states = new FileStore<StateDocument>({
    directory: where.stateDirectory,
    name: 'state',
    parse: parseStateDocument,
  });
  const records = new FileStore<StandaloneDocument>({
    directory: where.stateDirectory,
    name: 'standalone',
    parse: (value) => {
      parseStandaloneDocument(value);
      return value as StandaloneDocument;
    },
  });
  return {
    menderStore: storeOf(where, options),
    states: {
      async load() {
        const { document, ...rest } = await states.load();
        return { ...rest, document: document?.state ?? null };
      },
      save: (state) => states.save(documentOf(state)),
    },
    records: {
      async load() {
        const { document, ...rest } = await records.load();
        return { ...rest, document: parseStandaloneDocument(document) };
      },
      save: (record) => records.save(standaloneDocumentOf(record)),
    },
    clock,
    bootId: 'boot-of-the-test',
    log: new RecordingLog(),
  };
}

/** Makes a store as a client of any version would have left it. */
export async function makeStore(
  path: string,
  entries: Readonly<Record<string, string | Buffer>>,
): Promise<void> {
  const hex = (value: string | Buffer): string => ` ${Buffer.from(value).toString('hex')}`;
  const sorted = Object.entries(entries).sort(([one], [other]) => (one < other ? -1 : 1));
  const text = [
    'VERSION=3',
    'format=bytevalue',
    'type=btree',
    'mapsize=1048576',
    'HEADER=END',
    ...sorted.flatMap(([key, value]) => [hex(key), hex(value)]),
    'DATA=END',
    '',
  ].join('\n');
  await writeFile(`${path}.text`, text);
  await rm(path, { force: true });
  await run('mdb_load', ['-n', '-f', `${path}.text`, path]);
  await rm(`${path}.text`);
}

/** Key → text of a store, read past the code under test as far as possible. */
export async function entriesOf(path: string): Promise<Readonly<Record<string, string>>> {
  const workDirectory = await mkdtemp(join(tmpdir(), 'holdpoint-entries-'));
  const entries = await dumpStore(path, { clock, workDirectory });
  await rm(workDirectory, { recursive: true, force: true });
  return Object.fromEntries([...entries].map(([key, value]) => [key, Buffer.from(value).toString()]));
}

/** File → checksum, of everything below a folder. */
export async function picture(folder: string): Promise<Readonly<Record<string, string>>> {
  const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) =>
    entry.isFile(),
  );
  const found: [string, string][] = [];
  for (const { parentPath, name } of names) {
    const path = join(parentPath, name);
    found.push([
      path.slice(folder.length + 1),
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex'),
    ]);
  }
  return Object.fromEntries(found.sort());
}

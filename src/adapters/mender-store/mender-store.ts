/** The store of a Mender client in the files of this device; the port's words are in ports/mender-store.ts. */
import { lstat, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Installed } from '../../core/artifact.ts';
import { UpdateError } from '../../core/errors.ts';
import type { MenderStoreContent } from '../../core/mender-content.ts';
import type { Clock } from '../../ports/clock.ts';
import type { MenderStore, MenderStoreExport } from '../../ports/mender-store.ts';
import {
  installedEntries,
  parseArtifactInfo,
  readDocument,
  type DocumentOptions,
  type Fallback,
  type StoreValues,
} from './document.ts';
import { dumpStore, type Entries } from './dump.ts';
import { keepStore, loadStore } from './load.ts';
import { lastLoggedState } from './logged-state.ts';
import { openBy } from './open-by.ts';

export interface MenderStoreOptions extends DocumentOptions {
  /** `<datastore>/mender-store`. */
  readonly path: string;
  /** `<datastore>/holdpoint`: private, there when this is used. */
  readonly stateDirectory: string;
  /** Where a Mender client may have kept its deployment logs, the likeliest first. */
  readonly deploymentLogDirectories: readonly string[];
  /** `<configuration>/artifact_info`: where clients before 3.5 have the name until their first update. */
  readonly artifactInfoFile: string;
  readonly clock: Clock;
  /** Default `mdb_dump` and `mdb_load`, looked up in PATH. */
  readonly dumpProgram?: string;
  readonly loadProgram?: string;
}

/** Stores are 1 MiB at most unless somebody has configured LMDB. */
const MAX_STORE_BYTES = 256 * 1024 * 1024;
const INSTALLED_KEYS = ['artifact-name', 'artifact-group', 'artifact-provides'];

export class MenderStoreFile implements MenderStore {
  readonly #options: MenderStoreOptions;

  constructor(options: MenderStoreOptions) {
    this.#options = options;
  }

  async read(): Promise<MenderStoreContent | null> {
    const { path, deploymentLogDirectories } = this.#options;
    try {
      const facts = await this.#look();
      if (facts === null) return null;
      const entries = await this.#entries(facts);
      const values = await this.#withFallback(readDocument(entries, this.#options));
      const lastState = values.update
        ? await lastLoggedState(deploymentLogDirectories, values.update.deploymentId)
        : null;
      return { ...values, writtenWallMs: facts.mtimeMs, lastLoggedState: lastState };
    } catch (error) {
      throw refused(`reading the Mender store ${path}`, path, error, READING_ADVICE);
    }
  }

  async write(installed: Installed): Promise<MenderStoreExport> {
    const { path, clock, loadProgram } = this.#options;
    try {
      const isKept = (await this.#look()) !== null && (await this.#isWorthKeeping());
      let keptAs: string | null = null;
      // A link stays a link: it may lead to the partition that outlives an update.
      const target = await realpath(path).catch(() => path);
      await loadStore(
        target,
        installedEntries(installed),
        async () => {
          if (isKept) keptAs = await keepStore(target);
        },
        { clock, ...(loadProgram && { program: loadProgram }) },
      );
      return { path, keptAs };
    } catch (error) {
      throw refused(`writing the Mender store ${path}`, path, error, '');
    }
  }

  async #withFallback(values: StoreValues): Promise<StoreValues> {
    if (values.artifactName !== null || values.provides?.['artifact_name'] !== undefined) return values;
    // A name was there and cannot be read: whatever the file says is older than that.
    if (values.complaints.some(({ key }) => key === 'artifact-name')) return values;
    const text = await readFile(this.#options.artifactInfoFile, 'utf8').catch(() => '');
    const fallback: Fallback = parseArtifactInfo(text);
    return {
      ...values,
      artifactName: fallback.artifactName,
      artifactGroup: values.artifactGroup ?? fallback.artifactGroup,
    };
  }

  /** null = there is no store. Rejects when it is no file of a sensible size, or a client has it open. */
  async #look(): Promise<{ readonly size: number; readonly mtimeMs: number } | null> {
    const { path } = this.#options;
    const isThere = await lstat(path).then(
      () => true,
      (error: unknown) => {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
        throw error;
      },
    );
    if (!isThere) return null;
    const facts = await stat(path);
    if (!facts.isFile()) throw new UpdateError('store', 'found something else than a file');
    if (facts.size > MAX_STORE_BYTES) {
      throw new UpdateError('store', `found ${facts.size} bytes, expected at most ${MAX_STORE_BYTES}`);
    }
    const pid = await openBy(`${path}-lock`);
    if (pid !== null) {
      throw new UpdateError(
        'store',
        `${pid === 0 ? 'a process' : `process ${pid}`} has it open: stop the Mender client first ` +
          '(its services are mender-client, mender-updated, mender)',
        { details: { reason: 'mender-is-running', pid } },
      );
    }
    return facts;
  }

  async #entries({ size, mtimeMs }: { readonly size: number; readonly mtimeMs: number }): Promise<Entries> {
    // What LMDB makes of an empty file: an empty store.
    if (size === 0) return new Map();
    const { path, stateDirectory, clock, dumpProgram } = this.#options;
    const entries = await dumpStore(path, {
      clock,
      workDirectory: join(stateDirectory, 'mender-store.reading'),
      ...(dumpProgram && { program: dumpProgram }),
    });
    const after = await stat(path);
    if (after.mtimeMs !== mtimeMs || after.size !== size) {
      throw new UpdateError('store', 'it was written to while it was read: stop the Mender client first', {
        details: { reason: 'mender-is-running' },
      });
    }
    return entries;
  }

  /** A store that holds no more than the new one will is kept once, the first time. One that cannot be read is kept. */
  async #isWorthKeeping(): Promise<boolean> {
    const { path } = this.#options;
    const isFirst = await lstat(`${path}.before-holdpoint`).then(
      () => false,
      () => true,
    );
    if (isFirst) return true;
    try {
      const entries = await this.#entries(await stat(path));
      return [...entries.keys()].some((key) => !INSTALLED_KEYS.includes(key));
    } catch {
      return true;
    }
  }
}

const READING_ADVICE =
  '. Start the Mender client once so that it repairs its store, or move the file away: what it holds (installed ' +
  'artifact, update in flight) is then not taken over';

/** Names the file and says what to do. `advice`: for when it is the content that is wrong. */
function refused(doing: string, path: string, error: unknown, advice: string): UpdateError {
  const why = error instanceof Error ? error.message : String(error);
  const details = error instanceof UpdateError ? error.details : {};
  // Neither a missing tool, nor a client that runs, nor a disk that is full is a verdict on the file.
  const isAboutContent =
    error instanceof UpdateError && !['package', 'reason', 'error-code'].some((key) => key in details);
  return new UpdateError('store', `${doing}: ${why}; nothing was changed${isAboutContent ? advice : ''}`, {
    cause: error,
    details: { ...details, path },
  });
}

/**
 * Artifacts on disk. An upload streams into a file of its own, is synced, read through by the artifact reader, which
 * verifies every checksum in it, and only then becomes an artifact that can be deployed. Never held in memory.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ArtifactError } from '../core/artifact-error.ts';
import type { ArtifactInfo } from '../core/artifact.ts';
import { UpdateError } from '../core/errors.ts';
import type { ArtifactReader } from '../ports/artifact-reader.ts';
import type { Log } from '../ports/log.ts';
import type { EventHub } from './events.ts';
import { HttpError } from './http-error.ts';
import { storeError, syncDirectory } from './journal.ts';
import type { ArtifactRecord, Records } from './records.ts';

const MAX_ARTIFACTS = 1_000;
const MAX_UPLOADS = 2;
const READ_BYTES = 256 * 1024;
/** How often the disk is made to take what was written: no long stall at the end. */
const SYNC_EVERY_BYTES = 64 * 1024 * 1024;

export class ArtifactShelf {
  readonly #folder: string;
  readonly #records: Records;
  readonly #reader: ArtifactReader;
  readonly #events: EventHub;
  readonly #nowMs: () => number;
  readonly #maxBytes: number;
  #uploads = 0;

  private constructor(parts: ShelfParts) {
    this.#folder = parts.folder;
    this.#records = parts.records;
    this.#reader = parts.reader;
    this.#events = parts.events;
    this.#nowMs = parts.nowMs;
    this.#maxBytes = parts.maxBytes;
  }

  /** Removes files nobody knows of; warns of artifacts whose file is missing or of another length. */
  static async open(parts: ShelfParts & { readonly log: Log }): Promise<ArtifactShelf> {
    await mkdir(parts.folder, { recursive: true, mode: 0o700 });
    const known = new Set(parts.records.artifacts.values().map(({ id }) => `${id}.mender`));
    for (const name of await readdir(parts.folder)) {
      if (!known.has(name)) await rm(join(parts.folder, name), { force: true, recursive: true });
    }
    for (const { id, name, sizeBytes } of parts.records.artifacts.values()) {
      const facts = await stat(join(parts.folder, `${id}.mender`)).catch(() => null);
      if (facts?.size !== sizeBytes) {
        parts.log.error('The file of an artifact is not what it was', { artifact: name, id });
      }
    }
    return new ArtifactShelf(parts);
  }

  fileOf(artifact: ArtifactRecord): string {
    return join(this.#folder, `${artifact.id}.mender`);
  }

  /**
   * Takes an upload. Throws HttpError: 413 too large, 422 not a valid artifact, 409 another one of this name for one
   * of its device types (the server could not tell them apart), 429 too many uploads at once, 507 no room.
   */
  async add(chunks: AsyncIterable<Uint8Array>): Promise<ArtifactRecord> {
    if (this.#records.artifacts.size >= MAX_ARTIFACTS) {
      throw new HttpError(507, `more than ${MAX_ARTIFACTS} artifacts: delete some first`);
    }
    if (this.#uploads >= MAX_UPLOADS) {
      throw new HttpError(429, `more than ${MAX_UPLOADS} uploads at once`, { 'Retry-After': '5' });
    }
    this.#uploads++;
    const id = randomUUID();
    const temporary = join(this.#folder, `${id}.part`);
    const path = join(this.#folder, `${id}.mender`);
    try {
      const { sizeBytes, sha256 } = await this.#write(temporary, chunks);
      const info = await this.#verify(temporary);
      const record: ArtifactRecord = {
        id,
        name: info.artifactName,
        group: info.artifactGroup,
        deviceTypes: info.compatibleDevices,
        payloadType: info.payloadType,
        sizeBytes,
        sha256,
        isSigned: info.isSigned,
        provides: info.provides ?? {},
        depends: info.depends,
        payloadFiles: info.payloadFileNames,
        uploadedMs: this.#nowMs(),
      };
      this.#requireDistinct(record);
      await rename(temporary, path);
      await syncDirectory(this.#folder);
      // Again: another upload may have come first.
      this.#requireDistinct(record);
      const saved = this.#records.commit([this.#records.artifacts.put(id, record)]);
      this.#events.publish({ kind: 'artifact', id });
      await saved;
      return record;
    } catch (error) {
      await rm(temporary, { force: true });
      if (!this.#records.artifacts.get(id)) await rm(path, { force: true });
      throw error;
    } finally {
      this.#uploads--;
    }
  }

  /** Throws HttpError 404. Whether it may go is for the caller to know. */
  async remove(id: string): Promise<void> {
    const artifact = this.#records.artifacts.get(id);
    if (!artifact) throw new HttpError(404, 'no such artifact');
    const saved = this.#records.commit([this.#records.artifacts.remove(id)]);
    this.#events.publish({ kind: 'artifact', id });
    await saved;
    // Whoever is downloading it keeps the file until it is closed.
    await rm(this.fileOf(artifact), { force: true });
  }

  async #write(
    path: string,
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<{ readonly sizeBytes: number; readonly sha256: string }> {
    const hash = createHash('sha256');
    let sizeBytes = 0;
    let syncedBytes = 0;
    const file = await open(path, 'wx', 0o600);
    try {
      for await (const chunk of chunks) {
        if (sizeBytes + chunk.length > this.#maxBytes) {
          throw new HttpError(413, `the artifact has more than ${this.#maxBytes} bytes`);
        }
        hash.update(chunk);
        for (let done = 0; done < chunk.length;) {
          done += (await file.write(chunk, done).catch(fail)).bytesWritten;
        }
        sizeBytes += chunk.length;
        if (sizeBytes - syncedBytes >= SYNC_EVERY_BYTES) {
          await file.datasync().catch(fail);
          syncedBytes = sizeBytes;
        }
      }
      await file.sync().catch(fail);
    } finally {
      await file.close();
    }
    return { sizeBytes, sha256: hash.digest('hex') };
  }

  async #verify(path: string): Promise<ArtifactInfo> {
    const chunks = createReadStream(path, { highWaterMark: READ_BYTES });
    try {
      const artifact = await this.#reader.open(chunks, { verifyKeyPaths: [] }, new AbortController().signal);
      try {
        for await (const file of artifact.payloadFiles()) {
          for await (const piece of file.content) void piece;
        }
        await artifact.finish();
        return artifact.info;
      } finally {
        await artifact.close();
      }
    } catch (error) {
      if (error instanceof ArtifactError) {
        throw new HttpError(422, `not a valid artifact (${error.code}): ${error.message}`);
      }
      if (error instanceof UpdateError && error.kind === 'incompatible') {
        throw new HttpError(422, `the artifact cannot be checked here: ${error.message}`);
      }
      throw error;
    } finally {
      chunks.destroy();
    }
  }

  #requireDistinct(artifact: ArtifactRecord): void {
    const twin = this.#records.artifacts
      .values()
      .find(
        ({ name, deviceTypes }) =>
          name === artifact.name && deviceTypes.some((type) => artifact.deviceTypes.includes(type)),
      );
    if (twin) {
      throw new HttpError(409, `there is an artifact ${artifact.name} for one of these device types already`);
    }
  }
}

export interface ShelfParts {
  readonly folder: string;
  readonly records: Records;
  readonly reader: ArtifactReader;
  readonly events: EventHub;
  readonly nowMs: () => number;
  readonly maxBytes: number;
}

function fail(error: unknown): never {
  throw storeError('saving an artifact', error);
}

/**
 * Crash-safe storage of one JSON document in two files, `<name>-a.json` and `<name>-b.json`, each holding one
 * generation. A save writes over the OLDER of the two, in place and synced: no name, no length and no other file
 * changes with it, so that the medium is asked for one write. The newest acknowledged generation is therefore never
 * touched by any operation of a save: whatever fails or whenever power goes, it is still there, whole, under its own name.
 *
 * Where there is nothing to write over, or too little room, or writing over it failed, the save makes a new file instead: a
 * temporary one with room to spare, synced, renamed over the older of the two, the directory synced. The same guarantee.
 *
 * A generation that does not fit its checksum, be it damaged or the victim of a power cut in the middle of a save, is set
 * aside as `<file>.broken-<sequence>-<generation>` (the last three are kept) and the other one is used. The sequence
 * counts; no clock is trusted for it. Source: design/faults.md R3 to R6, design/libraries.md "State".
 *
 * One process at a time writes here (system/lock.ts); inside it, one save at a time.
 */
import { dirname, join } from 'node:path';
import { UpdateError } from '../../core/errors.ts';
import type { LoadResult, Store } from '../../ports/store.ts';
import { claimedGeneration, decodeRecord, encodeRecord, wholeBlocks } from './record.ts';
import { realStoreFiles, type StoreFile, type StoreFiles } from './store-files.ts';

export interface FileStoreOptions<T> {
  /** `<datastore>/holdpoint`; created (0700) by the first save. */
  readonly directory: string;
  /** First part of the file names, for example `state`. */
  readonly name: string;
  /** Checks and types what was read; throws (UpdateError of kind `store`) naming what was found. */
  readonly parse: (value: unknown) => T;
  readonly files?: StoreFiles;
  /** Longest document, bytes of JSON; longer files are damage, longer documents are refused. */
  readonly maxDocumentBytes?: number;
}

const SLOTS = ['a', 'b'] as const;
type Slot = (typeof SLOTS)[number];

const KEPT_BROKEN = 3;
const DEFAULT_MAX_DOCUMENT_BYTES = 8 * 1024 * 1024;
const MAX_HEADER_BYTES = 512;
/** Room of a new file beyond what is in it, so that the generations to come fit: a half more, within these limits. */
const MIN_ROOM_BYTES = 8 * 1024;
const MAX_ROOM_BYTES = 64 * 1024;
const NO_SPACE_CODES = new Set(['ENOSPC', 'EDQUOT']);
/** What reading a damaged file system or a thing that is not our file answers. Others (EMFILE, EACCES) are no verdict on the file. */
const DAMAGE_CODES = new Set(['EIO', 'EISDIR', 'ELOOP', 'EUCLEAN', 'EBADMSG', 'ENXIO', 'EINVAL']);

interface Found<T> {
  readonly slot: Slot;
  readonly generation: number;
  readonly document: T;
}

interface Position {
  /** Where the newest valid generation lies; null = nowhere. */
  readonly slot: Slot | null;
  /** Highest number given so far, damaged generations included: a number is never given twice to be believed. */
  readonly generation: number;
}

type Reading<T> = Found<T> | { readonly slot: null; readonly generation: number };

function withRoom(length: number): number {
  return wholeBlocks(length + Math.min(Math.max(length / 2, MIN_ROOM_BYTES), MAX_ROOM_BYTES));
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export class FileStore<T> implements Store<T> {
  readonly #directory: string;
  readonly #name: string;
  readonly #parse: (value: unknown) => T;
  readonly #files: StoreFiles;
  readonly #maxDocumentBytes: number;
  /** The last thing in the queue; never rejects. */
  #tail: Promise<unknown> = Promise.resolve();
  /** The newest ACKNOWLEDGED (or loaded) generation; undefined = not looked yet. */
  #position: Position | undefined;
  /**
   * Whether the newest generation and the names of both are surely on the medium. A process that was killed may have
   * left either in memory only, and then nothing may be written over that the next power cut would have to fall back to.
   */
  #isSettled = false;
  /** Whether the directory's own entry is surely on the medium; somebody else may just have made it. */
  #isDirectoryDurable = false;

  constructor(options: FileStoreOptions<T>) {
    this.#directory = options.directory;
    this.#name = options.name;
    this.#parse = options.parse;
    this.#files = options.files ?? realStoreFiles;
    this.#maxDocumentBytes = options.maxDocumentBytes ?? DEFAULT_MAX_DOCUMENT_BYTES;
  }

  /**
   * The newest valid generation. Also removes what an interrupted save left. Rejects (kind `store`) only when the
   * files could not be looked at for a reason that says nothing about them, such as missing rights.
   */
  load(): Promise<LoadResult<T>> {
    return this.#enqueue(() => this.#load());
  }

  /**
   * The document is serialized before this returns: changing it afterwards changes nothing. A document that
   * `parse` would refuse to load again is refused here, before any file is touched.
   */
  save(document: T): Promise<void> {
    let body: Uint8Array;
    try {
      body = this.#serialize(document);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#enqueue(() => this.#save(body));
  }

  #enqueue<R>(work: () => Promise<R>): Promise<R> {
    const result = this.#tail.then(work);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  #path(slot: Slot): string {
    return join(this.#directory, `${this.#name}-${slot}.json`);
  }

  get #temporaryPath(): string {
    return join(this.#directory, `${this.#name}.json.new`);
  }

  #serialize(document: T): Uint8Array {
    const refuse = (why: string, cause?: unknown): UpdateError =>
      new UpdateError('store', `saving ${this.#name}: the document ${why}`, { cause });
    let text: string | undefined;
    try {
      text = JSON.stringify(document);
    } catch (cause) {
      throw refuse(`cannot be written as JSON: ${textOf(cause)}`, cause);
    }
    if (text === undefined) throw refuse('cannot be written as JSON: it is no value');
    try {
      this.#parse(JSON.parse(text));
    } catch (cause) {
      throw refuse(`could not be loaded again: ${textOf(cause)}`, cause);
    }
    const body = Buffer.from(text);
    if (body.length > this.#maxDocumentBytes) {
      throw refuse(`has ${body.length} bytes, at most ${this.#maxDocumentBytes} are allowed`);
    }
    return body;
  }

  async #save(body: Uint8Array): Promise<void> {
    if (this.#position === undefined) await this.#load();
    const from = this.#position ?? { slot: null, generation: 0 };
    const slot: Slot = from.slot === 'a' ? 'b' : 'a';
    const generation = from.generation + 1;
    const bytes = encodeRecord(generation, body);
    const path = this.#path(slot);
    if (!this.#isSettled) await this.#settle(from.slot);
    if (!this.#isSettled || !(await this.#writeOver(path, bytes))) await this.#writeAnew(path, bytes);
    this.#position = { slot, generation };
  }

  async #settle(newest: Slot | null): Promise<void> {
    if (newest === null) return;
    try {
      await this.#files.syncFile(this.#path(newest));
      await this.#files.syncDirectory(this.#directory);
      this.#isSettled = true;
    } catch {
      // A new file beside what is there is safe all the same; whether it can be made, making it will say.
    }
  }

  /** false = not done, and the file is what it was or beyond use: a new one has to take its place. */
  async #writeOver(path: string, bytes: Uint8Array): Promise<boolean> {
    try {
      const file = await this.#files.overwrite(path, bytes.length);
      if (file === null) return false;
      await writeWhole(file, bytes, () => {});
      return true;
    } catch {
      // A bad block, a file system that copies on writing and is full: a new file is not a second attempt on this one.
      return false;
    }
  }

  async #writeAnew(path: string, record: Uint8Array): Promise<void> {
    const bytes = Buffer.alloc(withRoom(record.length), ' ');
    bytes.set(record);
    const temporary = this.#temporaryPath;
    let doing = 'making the directory';
    try {
      await this.#files.makeDirectory(this.#directory);
      if (!this.#isDirectoryDurable) {
        await this.#files.syncDirectory(dirname(this.#directory));
        this.#isDirectoryDurable = true;
      }
      doing = 'creating the temporary file';
      const file = await this.#files.create(temporary);
      await writeWhole(file, bytes, (step) => (doing = `${step} the temporary file`));
      doing = 'renaming the temporary file';
      this.#isSettled = false;
      await this.#files.rename(temporary, path);
      doing = 'syncing the directory';
      await this.#files.syncDirectory(this.#directory);
      this.#isSettled = true;
    } catch (error) {
      // Nothing is tried again here: after a failed fsync the kernel may have dropped the pages it could not write,
      // and a second fsync would report success for data that is not there. The next save starts a new file.
      await this.#files.remove(temporary).catch(() => undefined);
      throw await this.#saveError(doing, error, bytes.length);
    }
  }

  async #saveError(doing: string, cause: unknown, neededBytes: number): Promise<UpdateError> {
    const code = codeOf(cause);
    const isFull = NO_SPACE_CODES.has(code);
    const free = isFull ? await this.#files.freeBytes(this.#directory).catch(() => null) : null;
    return new UpdateError(
      isFull ? 'noSpace' : 'store',
      `saving ${this.#name} in ${this.#directory}: ${doing}: ${textOf(cause)}`,
      {
        cause,
        details: {
          operation: doing,
          'error-code': code,
          path: this.#directory,
          'bytes-needed': neededBytes,
          ...(free === null ? {} : { 'bytes-free': free }),
        },
      },
    );
  }

  async #load(): Promise<LoadResult<T>> {
    const complaints: string[] = [];
    const readings: Reading<T>[] = [];
    for (const slot of SLOTS) readings.push(await this.#read(slot, complaints));
    await this.#removeLeftovers(complaints);
    const newest = readings
      .filter((reading) => reading.slot !== null)
      .sort((one, other) => other.generation - one.generation)[0];
    this.#position = {
      slot: newest?.slot ?? null,
      generation: Math.max(...readings.map((reading) => reading.generation)),
    };
    // What is believed from here on is acted on: the next power cut must not undo it.
    this.#isSettled = false;
    await this.#settle(newest?.slot ?? null);
    return { document: newest?.document ?? null, generation: newest?.generation ?? 0, complaints };
  }

  /** One generation; slot null = absent, or damaged and set aside with a complaint. */
  async #read(slot: Slot, complaints: string[]): Promise<Reading<T>> {
    const path = this.#path(slot);
    const maxBytes = withRoom(this.#maxDocumentBytes + MAX_HEADER_BYTES);
    let bytes: Uint8Array = new Uint8Array();
    try {
      bytes = await this.#files.read(path, maxBytes);
      if (bytes.length > maxBytes) throw new Error(`found more than ${maxBytes} bytes`);
      const { generation, value } = decodeRecord(bytes);
      return { slot, generation, document: this.#parse(value) };
    } catch (error) {
      const code = error instanceof UpdateError ? '' : codeOf(error);
      if (code === 'ENOENT') return { slot: null, generation: 0 };
      if (code !== '' && !DAMAGE_CODES.has(code)) {
        throw new UpdateError('store', `reading ${path}: ${textOf(error)}`, {
          cause: error,
          details: { operation: 'reading', 'error-code': code, path },
        });
      }
      complaints.push(
        `${path} is damaged (a save that a power cut ended leaves the same): ${textOf(error)}; ${await this.#setAside(path, bytes)}`,
      );
      return { slot: null, generation: claimedGeneration(bytes) ?? 0 };
    }
  }

  /** Keeps a damaged file as evidence. In words what became of it; never throws. */
  async #setAside(path: string, bytes: Uint8Array): Promise<string> {
    try {
      const broken = await this.#brokenFiles();
      const sequence = (broken.at(-1)?.sequence ?? 0) + 1;
      const target = `${path}.broken-${sequence}-${claimedGeneration(bytes) ?? 'unknown'}`;
      await this.#files.rename(path, target);
      for (const old of broken.slice(0, Math.max(0, broken.length + 1 - KEPT_BROKEN))) {
        await this.#files.remove(join(this.#directory, old.name));
      }
      await this.#files.syncDirectory(this.#directory);
      return `it was kept as ${target}`;
    } catch (error) {
      return `it could not be set aside: ${textOf(error)}`;
    }
  }

  async #brokenFiles(): Promise<readonly { readonly name: string; readonly sequence: number }[]> {
    return (await this.#files.list(this.#directory))
      .flatMap((name) => {
        const match = /^(.+)-[ab]\.json\.broken-(\d{1,9})-/.exec(name);
        return match && match[1] === this.#name ? [{ name, sequence: Number(match[2]) }] : [];
      })
      .sort((one, other) => one.sequence - other.sequence);
  }

  async #removeLeftovers(complaints: string[]): Promise<void> {
    try {
      await this.#files.remove(this.#temporaryPath);
    } catch (error) {
      // A read-only file system: harmless, the next save that works overwrites it.
      complaints.push(`${this.#temporaryPath} could not be removed: ${textOf(error)}`);
    }
  }
}

/** `onStep` hears what is being done, in words. The file is closed in every case. */
async function writeWhole(
  file: StoreFile,
  bytes: Uint8Array,
  onStep: (step: 'writing' | 'syncing' | 'closing') => void,
): Promise<void> {
  try {
    onStep('writing');
    await file.write(bytes);
    onStep('syncing');
    await file.sync();
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
  onStep('closing');
  await file.close();
}

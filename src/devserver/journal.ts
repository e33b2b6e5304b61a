/**
 * The embedded store: every record in memory, every change a line at the end of one file. A line is a whole
 * transaction with a checksum in front, so after a kill -9 or a power cut each acknowledged change is there and the one
 * that was being written is there wholly or not at all.
 *
 *     {"format":1}\n
 *     <16 hex digits of the sha256 of the rest> [["devices","ID",{…}],["runs","ID/ID",null]]\n      null = removed
 *
 * Changes made while a write is under way go out together in the next one: one fdatasync for all of them. When most
 * lines are outdated the file is written anew beside itself, synced and renamed over it.
 *
 * One process at a time writes here (adapters/system/lock.ts).
 */
import { createHash } from 'node:crypto';
import { copyFile, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createReadStream } from 'node:fs';
import { UpdateError } from '../core/errors.ts';

export type Change = readonly [collection: string, key: string, value: object | null];

export interface Journal {
  /** What was found, as collection → key → value. Values are replaced as a whole, never changed. */
  readonly records: ReadonlyMap<string, ReadonlyMap<string, object>>;
  /** What had to be passed over, in words for the log; empty = nothing. */
  readonly complaints: readonly string[];
  /**
   * Changes the records at once; resolves when the change is on the medium. Rejects (kind `store` or `noSpace`) when
   * it could not be written: it may then still happen, with the next write that works.
   */
  commit(changes: readonly Change[]): Promise<void>;
  /** Waits for what is under way and lets go of the file. */
  close(): Promise<void>;
}

const HEADER = '{"format":1}\n';
const SUM_DIGITS = 16;
/** Outdated lines that are not worth a rewrite. */
const SPARE_LINES = 2_000;
const MAX_LINE_BYTES = 64 * 1024 * 1024;
const NO_SPACE_CODES = new Set(['ENOSPC', 'EDQUOT']);

interface Waiting {
  readonly line: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Opens the file, which is made when missing. Rejects (kind `store`) when it is not ours or cannot be read. */
export async function openJournal(path: string): Promise<Journal> {
  const journal = new FileJournal(path);
  await journal.open();
  return journal;
}

class FileJournal implements Journal {
  readonly #path: string;
  readonly #records = new Map<string, Map<string, object>>();
  readonly #complaints: string[] = [];
  #file: FileHandle | null = null;
  /** Lines in the file, and bytes known to be whole. */
  #lines = 0;
  #bytes = 0;
  /** After a failed write or sync nothing is known about the end of the file: it is written anew. */
  #isDoubtful = false;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | null = null;
  #isClosed = false;

  constructor(path: string) {
    this.#path = path;
  }
  get records(): ReadonlyMap<string, ReadonlyMap<string, object>> {
    return this.#records;
  }
  get complaints(): readonly string[] {
    return this.#complaints;
  }

  async open(): Promise<void> {
    try {
      await rm(`${this.#path}.new`, { force: true });
      const found = await stat(this.#path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return null;
        throw error;
      });
      if (found === null) return await this.#rewrite();
      await this.#load();
      if (this.#isDoubtful) {
        await copyFile(this.#path, `${this.#path}.broken`);
        await this.#rewrite();
        return;
      }
      this.#file = await open(this.#path, 'r+');
      await this.#file.truncate(this.#bytes);
      await this.#file.sync();
    } catch (error) {
      if (error instanceof UpdateError) throw error;
      throw storeError(`opening ${this.#path}`, error);
    }
  }

  commit(changes: readonly Change[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(new UpdateError('store', 'saving: the store is closed'));
    if (changes.length === 0) return Promise.resolve();
    const line = lineOf(changes);
    this.#apply(changes);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ line, resolve, reject });
      this.#writing ??= this.#writeAll();
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#writing;
    await this.#file?.close();
    this.#file = null;
  }

  #apply(changes: readonly Change[]): void {
    for (const [collection, key, value] of changes) {
      let records = this.#records.get(collection);
      if (!records) this.#records.set(collection, (records = new Map()));
      if (value === null) records.delete(key);
      else records.set(key, value);
    }
  }

  async #writeAll(): Promise<void> {
    // Let whoever changes something in this very turn come along.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#write(batch);
        for (const { resolve } of batch) resolve();
      } catch (error) {
        this.#isDoubtful = true;
        const failure = storeError(`writing ${this.#path}`, error);
        for (const { reject } of batch) reject(failure);
      }
    }
    this.#writing = null;
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const live = [...this.#records.values()].reduce((sum, records) => sum + records.size, 0);
    if (this.#isDoubtful || this.#file === null || this.#lines > 2 * live + SPARE_LINES) {
      // The records hold the batch already.
      await this.#rewrite();
      return;
    }
    const bytes = Buffer.from(batch.map(({ line }) => line).join(''));
    await writeWhole(this.#file, bytes, this.#bytes);
    await this.#file.datasync();
    this.#bytes += bytes.length;
    this.#lines += batch.length;
  }

  /** The records as they are now, as a new file under the old name. */
  async #rewrite(): Promise<void> {
    // Taken in one go: a transaction is in it wholly or not at all.
    const changes = [...this.#records].flatMap(([collection, records]) =>
      [...records].map(([key, value]): Change => [collection, key, value]),
    );
    const temporary = `${this.#path}.new`;
    const file = await open(temporary, 'w', 0o600);
    let at = 0;
    try {
      const write = async (text: string): Promise<void> => {
        const bytes = Buffer.from(text);
        await writeWhole(file, bytes, at);
        at += bytes.length;
      };
      await write(HEADER);
      for (const change of changes) await write(lineOf([change]));
      await file.sync();
      await rename(temporary, this.#path);
      await syncDirectory(dirname(this.#path));
    } catch (error) {
      await file.close().catch(() => undefined);
      await rm(temporary, { force: true }).catch(() => undefined);
      throw error;
    }
    await this.#file?.close().catch(() => undefined);
    this.#file = file;
    this.#bytes = at;
    this.#lines = changes.length;
    this.#isDoubtful = false;
  }

  async #load(): Promise<void> {
    let isFirst = true;
    let at = 0;
    /** A line that is not whole; harmless when it is the last one. */
    let damagedAt: number | null = null;
    for await (const line of linesOf(this.#path)) {
      const end = at + line.length + 1;
      if (isFirst) {
        isFirst = false;
        if (`${line.toString()}\n` !== HEADER) {
          throw new UpdateError('store', `opening ${this.#path}: found a file of another kind or format`);
        }
      } else {
        const changes = changesOf(line);
        if (changes === null) {
          damagedAt ??= at;
        } else {
          this.#apply(changes);
          this.#lines++;
          // What lies before a whole line was written before it: that was no interrupted write, but damage.
          if (damagedAt !== null) this.#isDoubtful = true;
          this.#bytes = end;
        }
      }
      if (damagedAt === null) this.#bytes = end;
      at = end;
    }
    const { size } = await stat(this.#path);
    if (this.#isDoubtful) {
      const kept = `${this.#path}.broken`;
      this.#complaints.push(`damaged at byte ${damagedAt}; the rest was read, the file kept as ${kept}`);
    } else if (size > this.#bytes) {
      this.#complaints.push(`an interrupted write was dropped: ${size - this.#bytes} bytes at the end`);
    }
  }
}

/** Lines that end with a newline; what follows the last newline is left out. */
async function* linesOf(path: string): AsyncIterable<Buffer> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
      yield Buffer.concat([...rest, chunk.subarray(start, end)]);
      rest = [];
      restBytes = 0;
      start = end + 1;
    }
    rest.push(chunk.subarray(start));
    restBytes += chunk.length - start;
    if (restBytes > MAX_LINE_BYTES) {
      throw new UpdateError('store', `opening ${path}: found a line of more than ${MAX_LINE_BYTES} bytes`);
    }
  }
}

function sumOf(text: string | Buffer): string {
  return createHash('sha256').update(text).digest('hex').slice(0, SUM_DIGITS);
}

function lineOf(changes: readonly Change[]): string {
  const text = JSON.stringify(changes);
  return `${sumOf(text)} ${text}\n`;
}

/** null = not a whole line. */
function changesOf(line: Buffer): readonly Change[] | null {
  const text = line.subarray(SUM_DIGITS + 1);
  if (line.subarray(0, SUM_DIGITS + 1).toString('latin1') !== `${sumOf(text)} `) return null;
  return JSON.parse(text.toString()) as readonly Change[];
}

async function writeWhole(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

/** Resolves when creations, renames and removals in it are on the medium. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

export function storeError(doing: string, cause: unknown): UpdateError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const text = cause instanceof Error ? cause.message : String(cause);
  return new UpdateError(NO_SPACE_CODES.has(code) ? 'noSpace' : 'store', `${doing}: ${text}`, { cause });
}

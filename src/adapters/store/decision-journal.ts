/**
 * The journal of decisions: JSON lines, appended and synced, in two files of bounded size of which the older goes when
 * the newer is full. A line that a power cut tore off is removed at the next start; its decision is in the stored state
 * until it is whole here. Source: design/stories.md 24.
 */
import { constants } from 'node:fs';
import { mkdir, open, readFile, rename, truncate, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { DecisionEntry } from '../../core/control/journal.ts';
import { UpdateError } from '../../core/errors.ts';
import type { DecisionJournal } from '../../ports/decision-journal.ts';

const FILE = 'decisions.jsonl';
const OLDER_FILE = 'decisions.1.jsonl';
const DEFAULT_MAX_BYTES = 1024 * 1024;

export interface DecisionJournalOptions {
  readonly directory: string;
  /** Of each of the two files; a decision takes at most about 2 KiB. */
  readonly maxBytes?: number;
}

export class FileDecisionJournal implements DecisionJournal {
  readonly #path: string;
  readonly #olderPath: string;
  readonly #directory: string;
  readonly #maxBytes: number;
  /** null = not looked at yet, or what was written last may be torn. */
  #lastSeq: number | null = null;
  #sizeBytes = 0;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: DecisionJournalOptions) {
    this.#directory = options.directory;
    this.#path = join(options.directory, FILE);
    this.#olderPath = join(options.directory, OLDER_FILE);
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
  }

  append(entries: readonly DecisionEntry[]): Promise<number> {
    const done = this.#queue.then(() => this.#append(entries));
    this.#queue = done.catch(() => {});
    return done;
  }

  async read(
    fromSeq: number,
    maxLines: number,
  ): Promise<{ readonly lines: readonly string[]; readonly nextSeq: number }> {
    await this.#queue;
    const texts = await Promise.all([this.#olderPath, this.#path].map(readWhole));
    const lines: string[] = [];
    let nextSeq = fromSeq;
    for (const line of texts.flatMap(wholeLines)) {
      const seq = seqOf(line);
      if (seq === null || seq < fromSeq) continue;
      if (lines.length >= maxLines) break;
      lines.push(line);
      nextSeq = seq + 1;
    }
    return { lines, nextSeq };
  }

  async #append(entries: readonly DecisionEntry[]): Promise<number> {
    try {
      const lastSeq = this.#lastSeq ?? (await this.#recover());
      const fresh = entries.filter(({ seq }) => seq > lastSeq);
      const last = fresh.at(-1);
      if (last === undefined) return lastSeq;
      const bytes = Buffer.from(fresh.map((entry) => `${lineOf(entry)}\n`).join(''));
      if (this.#sizeBytes > 0 && this.#sizeBytes + bytes.length > this.#maxBytes) await this.#turnOver();
      // Until all is known to be there, what the file ends with is not known.
      this.#lastSeq = null;
      await this.#write(bytes);
      this.#sizeBytes += bytes.length;
      this.#lastSeq = last.seq;
      return last.seq;
    } catch (error) {
      this.#lastSeq = null;
      throw failure(error);
    }
  }

  async #write(bytes: Buffer): Promise<void> {
    // Who consented to what is for root's eyes.
    const file = await open(this.#path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600);
    try {
      await file.appendFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    if (this.#sizeBytes === 0) await syncDirectory(this.#directory);
  }

  /** Cuts off what a power cut has torn, and finds the last number. */
  async #recover(): Promise<number> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const text = await readWhole(this.#path);
    const end = text.lastIndexOf('\n') + 1;
    if (end !== text.length) await truncate(this.#path, Buffer.byteLength(text.slice(0, end)));
    this.#sizeBytes = Buffer.byteLength(text.slice(0, end));
    const lines = [...wholeLines(await readWhole(this.#olderPath)), ...wholeLines(text)];
    return lines.reduce((last, line) => Math.max(last, seqOf(line) ?? 0), 0);
  }

  async #turnOver(): Promise<void> {
    await rename(this.#path, this.#olderPath);
    await syncDirectory(this.#directory);
    this.#sizeBytes = 0;
  }
}

/** Keys as the bus has them. */
function lineOf(entry: DecisionEntry): string {
  const { seq, kind, atWallMs, uid, app, deploymentId, artifactName, digest, point, seconds, comment } =
    entry;
  return JSON.stringify({
    seq,
    kind,
    time: new Date(atWallMs).toISOString(),
    uid,
    app,
    'deployment-id': deploymentId,
    'artifact-name': artifactName,
    digest,
    point,
    seconds,
    comment,
  });
}

function seqOf(line: string): number | null {
  const match = /^\{"seq":(\d{1,15}),/.exec(line);
  return match ? Number(match[1]) : null;
}

function wholeLines(text: string): readonly string[] {
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1);
}

async function readWhole(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return '';
    throw failure(error);
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory: FileHandle = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function failure(error: unknown): UpdateError {
  if (error instanceof UpdateError) return error;
  const why = error instanceof Error ? error.message : String(error);
  const isFull = isErrno(error, 'ENOSPC') || isErrno(error, 'EDQUOT');
  return new UpdateError(isFull ? 'noSpace' : 'store', `writing the journal of decisions: ${why}`, {
    cause: error,
  });
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

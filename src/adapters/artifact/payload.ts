/**
 * The payload of an artifact whose header has been verified: its files one after the other, each checked as it
 * streams, then everything up to the end of the stream. The first failure is final: every later step repeats it.
 * Source: spec/artifact.md sections 6, 10 and 12.
 */
import type { Hash } from 'node:crypto';
import { ArtifactError, type ArtifactErrorCode } from '../../core/artifact-error.ts';
import type { ArtifactInfo } from '../../core/artifact.ts';
import { UpdateError } from '../../core/errors.ts';
import { quoted } from '../../core/printable.ts';
import type { OpenArtifact, PayloadFile, StateScriptFile } from '../../ports/artifact-reader.ts';
import { ByteReader, cancelled, type ChunkSource } from './bytes.ts';
import { newSum, requireSum } from './checksum.ts';
import { SUFFIX_LIST, compressionOf } from './compression.ts';
import { unpack, type Unpacker } from './decompress.ts';
import { fileNameFault } from './file-name.ts';
import { requireMarkedEnd, requireRegular } from './header.ts';
import { misplacedMember } from './outer.ts';
import { TarReader, type TarMember } from './tar.ts';

/** What the reader hands over: everything in front of the payload was verified. */
export interface PayloadStart {
  readonly info: ArtifactInfo;
  readonly scripts: readonly StateScriptFile[];
  readonly fileSums: ReadonlyMap<string, string>;
  readonly source: ChunkSource;
  /** Stands behind the header member. */
  readonly outer: TarReader;
  readonly signal: AbortSignal;
  readonly searchPath: string;
}

const DATA_MEMBER = 'data/0000.tar';
const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

export class VerifiedArtifact implements OpenArtifact {
  readonly info: ArtifactInfo;
  readonly scripts: readonly StateScriptFile[];
  readonly #start: PayloadStart;
  readonly #met = new Set<string>();
  #unpacker: Unpacker | null = null;
  #inner: TarReader | null = null;
  #dataName = DATA_MEMBER;
  #stage: 'unread' | 'files' | 'end' = 'unread';
  #file: FileInProgress | null = null;
  #failure: { readonly error: unknown } | null = null;
  #isClosed = false;
  #isBusy = false;
  #isHandedOut = false;
  readonly #onAbort = (): void => {
    this.#failure ??= { error: cancelled() };
    void this.#release();
  };

  constructor(start: PayloadStart) {
    this.#start = start;
    this.info = start.info;
    this.scripts = start.scripts;
    start.signal.addEventListener('abort', this.#onAbort);
    if (start.signal.aborted) this.#onAbort();
  }

  get consumedBytes(): number {
    return this.#start.outer.offset;
  }

  payloadFiles(): AsyncIterable<PayloadFile> {
    if (this.#isHandedOut) throw new UpdateError('internal', 'the payload of an artifact can be read once');
    this.#isHandedOut = true;
    return {
      [Symbol.asyncIterator]: () => ({
        next: async () => {
          const file = await this.#step(() => this.#nextFile());
          return file === null ? DONE : { done: false, value: this.#handOut(file) };
        },
      }),
    };
  }

  async finish(): Promise<void> {
    while ((await this.#step(() => this.#nextFile())) !== null);
  }

  async close(): Promise<void> {
    if (!this.#isClosed) this.#failure ??= { error: cancelled() };
    this.#isClosed = true;
    this.#start.signal.removeEventListener('abort', this.#onAbort);
    await this.#release();
  }

  async #release(): Promise<void> {
    // The source first: a step that waits for it must not keep the rest from ending.
    await this.#start.source.close();
    await this.#unpacker?.close();
  }

  /** One step at a time, and none after a failure. */
  async #step<T>(work: () => Promise<T>): Promise<T> {
    if (this.#failure !== null) throw this.#failure.error;
    if (this.#isBusy) throw new UpdateError('internal', 'an artifact was read by two readers at once');
    this.#isBusy = true;
    try {
      const result = await work();
      // Closed or aborted meanwhile: whatever was read is not to be used.
      if (this.#failure !== null) throw (this.#failure as { readonly error: unknown }).error;
      return result;
    } catch (error) {
      this.#failure ??= { error };
      void this.#release();
      throw this.#failure.error;
    } finally {
      this.#isBusy = false;
    }
  }

  #handOut(file: FileInProgress): PayloadFile {
    const next = async (): Promise<IteratorResult<Uint8Array>> => {
      if (this.#failure === null && file !== this.#file) {
        throw new UpdateError('internal', `payload file ${file.name} was left for the next one`);
      }
      const piece = await this.#step(() => file.piece());
      return piece === null ? DONE : { done: false, value: piece };
    };
    return {
      name: file.name,
      sizeBytes: file.sizeBytes,
      sha256: file.sum,
      content: { [Symbol.asyncIterator]: () => ({ next }) },
    };
  }

  async #nextFile(): Promise<FileInProgress | null> {
    if (this.#stage === 'unread') await this.#enterData();
    if (this.#stage === 'end' || this.#inner === null) return null;
    if (this.#file !== null) while ((await this.#file.piece()) !== null);
    this.#file = null;
    const member = await this.#inner.next();
    if (member === null) {
      await this.#leaveData(this.#inner);
      return null;
    }
    const sum = this.#accept(member);
    this.#file = new FileInProgress(this.#inner, this.#dataName, member, sum);
    return this.#file;
  }

  async #enterData(): Promise<void> {
    const { outer } = this.#start;
    const member = await outer.next();
    if (member === null) {
      this.#requireAllMet('the artifact ends without a payload archive');
      await outer.expectOnlyZeros();
      this.#stage = 'end';
      return;
    }
    const compression = compressionOf(member.name, DATA_MEMBER);
    if (compression === null) throw misplacedMember(outer, member, `${DATA_MEMBER} with its suffix`);
    if (compression === 'unknown') {
      throw refusal('unknown-compression', outer.place(member.offset), quoted(member.name), SUFFIX_LIST);
    }
    requireRegular('artifact', member);
    this.#dataName = member.name;
    this.#unpacker = unpack(compression, () => outer.content(), {
      member: member.name,
      signal: this.#start.signal,
      searchPath: this.#start.searchPath,
    });
    this.#inner = new TarReader(new ByteReader(this.#unpacker.pull), member.name);
    this.#stage = 'files';
  }

  /** The sum the manifest demands for a file of the payload archive. */
  #accept(member: TarMember): string {
    const where = `${this.#dataName}, byte ${member.offset}`;
    requireRegular(this.#dataName, member);
    if (this.info.payloadType === null) {
      throw refusal('empty-payload-not-empty', where, `the file ${quoted(member.name)}`, 'no payload file');
    }
    const fault = fileNameFault(member.name);
    if (fault !== null) throw refusal('bad-file-name', where, `the name ${quoted(member.name)}`, fault);
    if (this.#met.has(member.name)) {
      throw refusal('duplicate-file', where, `a second file ${quoted(member.name)}`, 'each file once');
    }
    this.#met.add(member.name);
    const sum = this.#start.fileSums.get(member.name);
    if (sum === undefined) {
      throw refusal(
        'file-not-in-manifest',
        where,
        `the file ${quoted(member.name)}`,
        'only files listed there',
      );
    }
    return sum;
  }

  async #leaveData(inner: TarReader): Promise<void> {
    const { outer } = this.#start;
    requireMarkedEnd(inner, this.#dataName);
    await inner.expectOnlyZeros();
    await this.#unpacker?.close();
    this.#requireAllMet(`${this.#dataName} ends without it`);
    const member = await outer.next((_block, offset) => outer.trailingData(offset));
    if (member !== null) throw misplacedMember(outer, member, 'the end of the artifact');
    await outer.expectOnlyZeros();
    this.#stage = 'end';
  }

  #requireAllMet(found: string): void {
    for (const name of this.#start.fileSums.keys()) {
      if (this.#met.has(name)) continue;
      throw refusal(
        'listed-file-missing',
        `payload file ${quoted(name)}`,
        found,
        'every file of the manifest',
      );
    }
  }
}

/** A payload file of which some may have been read. Hashes each piece once, on its way through. */
class FileInProgress {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sum: string;
  readonly #tar: TarReader;
  readonly #archive: string;
  readonly #hash: Hash = newSum();
  #isChecked = false;

  constructor(tar: TarReader, archive: string, member: TarMember, sum: string) {
    this.#tar = tar;
    this.#archive = archive;
    this.name = member.name;
    this.sizeBytes = member.sizeBytes;
    this.sum = sum;
  }

  /** The last piece is handed out only after the sum of the whole file was found right. */
  async piece(): Promise<Uint8Array | null> {
    const piece = await this.#tar.content();
    if (piece !== null) this.#hash.update(piece);
    if (this.#tar.contentLeft === 0 && !this.#isChecked) {
      this.#isChecked = true;
      requireSum(`${this.#archive}, file ${quoted(this.name)}`, this.#hash.digest('hex'), this.sum);
    }
    return piece;
  }
}

function refusal(code: ArtifactErrorCode, where: string, found: string, expected: string): ArtifactError {
  return new ArtifactError(code, { where, found, expected });
}

/**
 * A strict tar reader over a byte stream: members in order, content in pieces as they arrive, nothing stored but
 * headers. Serves the artifact itself, its header archive and its payload archive.
 * Source: spec/artifact.md section 1.1.
 */
import { ArtifactError } from '../../core/artifact-error.ts';
import { quoted } from '../../core/printable.ts';
import { isZero, type ByteReader } from './bytes.ts';
import { LIMITS } from './limits.ts';
import {
  BLOCK_BYTES,
  MAX_EXTENSION_BYTES,
  TarDamage,
  describeType,
  isExtension,
  parseLongName,
  parsePax,
  parseTarHeader,
  type TarHeader,
} from './tar-header.ts';

export interface TarMember {
  readonly name: string;
  readonly sizeBytes: number;
  /** What it is if not a regular file, in words; null = a regular file. */
  readonly otherType: string | null;
  /** Where its header starts, bytes from the start of the archive. */
  readonly offset: number;
}

/** A better word for a block that is no tar header (or only the start of one); null = there is none. */
export type ExplainBlock = (block: Uint8Array, offset: number) => ArtifactError | null;

export class TarReader {
  readonly #bytes: ByteReader;
  /** How the archive is called in messages. */
  readonly #archive: string;
  #member: TarMember | null = null;
  #contentLeft = 0;
  #paddingLeft = 0;
  #end: 'marked' | 'unmarked' | null = null;

  constructor(bytes: ByteReader, archive: string) {
    this.#bytes = bytes;
    this.#archive = archive;
  }

  get offset(): number {
    return this.#bytes.offset;
  }

  /** Whether the end of the archive was reached by a block of zeros, not by the end of the stream. */
  get isEndMarked(): boolean {
    return this.#end === 'marked';
  }

  /** Where the archive is being read, for messages. */
  place(offset = this.#bytes.offset): string {
    return `${this.#archive}, byte ${offset}`;
  }

  /**
   * The next member; whatever is left of the one before is passed over. null = the archive ends here: at a block of
   * zeros, or where the stream ends between two members (then {@link isEndMarked} is false).
   */
  async next(explain: ExplainBlock = () => null): Promise<TarMember | null> {
    while ((await this.content()) !== null);
    await this.#skipPadding();
    if (this.#end !== null) return null;
    let path: string | null = null;
    let sizeBytes: number | null = null;
    let isSparse = false;
    let longName: string | null = null;
    const offset = this.#bytes.offset;
    for (let extensions = 0; ; extensions++) {
      const header = await this.#header(extensions === 0, explain);
      if (header === null) return null;
      if (!isExtension(header.typeFlag)) {
        const size = sizeBytes ?? header.sizeBytes;
        const name = path ?? longName ?? header.name;
        return this.#enter(header, name, size, isSparse, offset);
      }
      if (extensions === LIMITS.tarExtensions) {
        throw this.#error('too-large', `more than ${extensions} extension headers in a row`, 'a member');
      }
      const body = await this.#extension(header);
      if (header.typeFlag === 'L') longName = parseLongName(body);
      if (header.typeFlag !== 'x') continue;
      const facts = parsePax(body);
      if (facts instanceof TarDamage) throw this.#error('damaged-tar', facts.found, facts.expected);
      path = facts.path ?? path;
      sizeBytes = facts.sizeBytes ?? sizeBytes;
      isSparse ||= facts.isSparse;
    }
  }

  /** The next piece of the present member's content, a view; null = all of it was read. */
  async content(): Promise<Uint8Array | null> {
    if (this.#contentLeft === 0) return null;
    const piece = await this.#bytes.some(Math.min(this.#contentLeft, LIMITS.chunkBytes));
    if (piece === null) throw this.#cut(`${this.#contentLeft} bytes before the end of its content`);
    this.#contentLeft -= piece.byteLength;
    return piece;
  }

  /** Bytes of the present member's content not read yet. */
  get contentLeft(): number {
    return this.#contentLeft;
  }

  /** The whole content of the present member as a buffer of its own; `too-large` before anything is read. */
  async all(maxBytes: number): Promise<Buffer> {
    const sizeBytes = this.#contentLeft;
    if (sizeBytes > maxBytes) {
      throw this.#error('too-large', `a size of ${describeSize(sizeBytes)}`, `at most ${maxBytes} bytes`);
    }
    // Grown with what arrives: the size is only a claim, and memory is not given away on a claim.
    const pieces: Uint8Array[] = [];
    for (let piece = await this.content(); piece !== null; piece = await this.content()) {
      pieces.push(Uint8Array.prototype.slice.call(piece));
    }
    return Buffer.concat(pieces, sizeBytes);
  }

  /** To be called after the last member: reads the stream to its end, in which only zero bytes may follow. */
  async expectOnlyZeros(): Promise<void> {
    const at = await this.#bytes.firstNonZero();
    if (at !== null) throw this.trailingData(at);
  }

  trailingData(offset: number): ArtifactError {
    return new ArtifactError('trailing-data', {
      where: this.place(offset),
      found: 'data behind the end of the archive',
      expected: 'nothing but zero bytes up to the end',
    });
  }

  /** An error about the present member, or about the archive while there is none. */
  #error(code: 'damaged-tar' | 'too-large', found: string, expected: string): ArtifactError {
    return new ArtifactError(code, { where: this.#where(), found, expected });
  }

  #where(): string {
    if (this.#member === null) return this.place();
    return `${this.#archive}, member ${quoted(this.#member.name)} at byte ${this.#member.offset}`;
  }

  #cut(detail: string): ArtifactError {
    return new ArtifactError('unexpected-end', {
      where: this.#where(),
      found: `the end of the data at byte ${this.#bytes.offset}, ${detail}`,
      expected: 'a complete archive',
    });
  }

  #enter(header: TarHeader, name: string, sizeBytes: number, isSparse: boolean, offset: number): TarMember {
    const isDirectory = header.typeFlag === '0' && name.endsWith('/');
    let otherType = header.typeFlag === '0' ? null : describeType(header.typeFlag);
    if (isSparse) otherType = describeType('S');
    if (isDirectory) otherType = describeType('5');
    this.#member = { name, sizeBytes, otherType, offset };
    if (!Number.isSafeInteger(sizeBytes)) {
      throw this.#error('too-large', `a size of ${describeSize(sizeBytes)}`, 'a size below 2^53 bytes');
    }
    this.#contentLeft = sizeBytes;
    this.#paddingLeft = (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
    return this.#member;
  }

  /** null = end of archive; an end in the middle of a member's headers is damage. */
  async #header(isEndAllowed: boolean, explain: ExplainBlock): Promise<TarHeader | null> {
    this.#member = null;
    const offset = this.#bytes.offset;
    const block = Buffer.alloc(BLOCK_BYTES);
    const filled = await this.#bytes.fill(block);
    const isCut = filled < BLOCK_BYTES;
    const header = isCut ? null : parseTarHeader(block);
    if (header instanceof TarDamage) throw explain(block, offset) ?? this.#damagedHeader(header, offset);
    if (isCut && !isZero(block)) {
      throw explain(block.subarray(0, filled), offset) ?? this.#cut('inside a header');
    }
    if (header !== null) return header;
    if (!isEndAllowed) throw this.#cut('behind an extension header');
    this.#end = isCut ? 'unmarked' : 'marked';
    return null;
  }

  #damagedHeader(damage: TarDamage, offset: number): ArtifactError {
    const facts = { where: this.place(offset), found: damage.found, expected: damage.expected };
    return new ArtifactError('damaged-tar', facts);
  }

  async #extension(header: TarHeader): Promise<Uint8Array> {
    if (header.sizeBytes > MAX_EXTENSION_BYTES) {
      throw this.#error(
        'too-large',
        `an extension header of ${describeSize(header.sizeBytes)}`,
        `at most ${MAX_EXTENSION_BYTES} bytes`,
      );
    }
    const body = Buffer.alloc(header.sizeBytes);
    if ((await this.#bytes.fill(body)) < body.byteLength) throw this.#cut('inside an extension header');
    this.#paddingLeft = (BLOCK_BYTES - (header.sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
    await this.#skipPadding();
    return body;
  }

  async #skipPadding(): Promise<void> {
    while (this.#paddingLeft > 0) {
      const piece = await this.#bytes.some(this.#paddingLeft);
      if (piece === null) throw this.#cut('inside the filling up to a full block');
      this.#paddingLeft -= piece.byteLength;
    }
  }
}

function describeSize(sizeBytes: number): string {
  return Number.isFinite(sizeBytes) ? `${sizeBytes} bytes` : 'more than 2^53 bytes';
}

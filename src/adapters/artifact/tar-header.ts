/**
 * One 512-byte tar header, and the records of a pax header: bytes in, values out. Reads ustar, pre-POSIX v7, GNU
 * and pax; says what is wrong in words, without knowing where in the artifact it is.
 * Source: spec/artifact.md section 1.1.
 */
import { LIMITS } from './limits.ts';
import { isZero } from './bytes.ts';

export const BLOCK_BYTES = 512;

export interface TarHeader {
  readonly name: string;
  /** As stated; may be beyond Number.MAX_SAFE_INTEGER, then it is Infinity. */
  readonly sizeBytes: number;
  /** `0` for a regular file, also where the old format has a zero byte. */
  readonly typeFlag: string;
}

/** What a pax header says about the member behind it; null = nothing. */
export interface PaxFacts {
  readonly path: string | null;
  readonly sizeBytes: number | null;
  readonly isSparse: boolean;
}

/** A sentence fragment behind "found". */
export class TarDamage {
  readonly found: string;
  readonly expected: string;
  constructor(found: string, expected: string) {
    this.found = found;
    this.expected = expected;
  }
}

const TEXT = new TextDecoder('utf-8');
const CHECKSUM_START = 148;
const CHECKSUM_END = 156;

/** null = a block of zeros, which ends an archive. */
export function parseTarHeader(block: Uint8Array): TarHeader | TarDamage | null {
  if (isZero(block)) return null;
  const stated = parseNumber(block.subarray(CHECKSUM_START, CHECKSUM_END));
  if (stated === null || !isChecksum(block, stated)) {
    return new TarDamage('a header whose check value is wrong', 'a tar header');
  }
  const sizeBytes = parseNumber(block.subarray(124, 136));
  if (sizeBytes === null) {
    return new TarDamage('a size that is not a number', 'an octal or base-256 size of at least 0');
  }
  const flag = block[156] === 0 ? '0' : String.fromCharCode(block[156] as number);
  const name = text(block.subarray(0, 100));
  const prefix = isUstar(block) ? text(block.subarray(345, 500)) : '';
  return { name: prefix === '' ? name : `${prefix}/${name}`, sizeBytes, typeFlag: flag };
}

/** POSIX ustar only: the GNU magic (`ustar` and two blanks) keeps other things where the prefix would be. */
function isUstar(block: Uint8Array): boolean {
  return String.fromCharCode(...block.subarray(257, 263)) === 'ustar\0';
}

function text(field: Uint8Array): string {
  const end = field.indexOf(0);
  return TEXT.decode(end < 0 ? field : field.subarray(0, end));
}

/** Octal digits between blanks and zero bytes, or GNU base-256. An empty field is 0; null = not a number >= 0. */
function parseNumber(field: Uint8Array): number | null {
  const first = field[0] as number;
  if (first >= 0x80) {
    if (first !== 0x80) return first === 0xff ? null : Infinity;
    let value = 0;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    return Number.isSafeInteger(value) ? value : Infinity;
  }
  const digits = /^ *([0-7]*)[ \0]*$/.exec(String.fromCharCode(...field))?.[1];
  if (digits === undefined) return null;
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}

/** The sum of all bytes with the check field taken as blanks; some old writers summed signed bytes. */
function isChecksum(block: Uint8Array, stated: number): boolean {
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < BLOCK_BYTES; at++) {
    const byte = at >= CHECKSUM_START && at < CHECKSUM_END ? 32 : (block[at] as number);
    unsigned += byte;
    signed += byte >= 0x80 ? byte - 256 : byte;
  }
  return stated === unsigned || stated === signed;
}

const LINE_FEED = 10;

/** Records `LENGTH KEY=VALUE\n`, the length counting all of it. A later record of the same key wins. */
export function parsePax(bytes: Uint8Array): PaxFacts | TarDamage {
  const facts: { path: string | null; sizeBytes: number | null; isSparse: boolean } = {
    path: null,
    sizeBytes: null,
    isSparse: false,
  };
  let start = 0;
  while (start < bytes.byteLength) {
    const stated = /^([1-9][0-9]{0,6}) /.exec(String.fromCharCode(...bytes.subarray(start, start + 8)))?.[1];
    const end = start + Number(stated);
    const separator = bytes.indexOf(61, start);
    const isRecord =
      stated !== undefined &&
      end <= bytes.byteLength &&
      bytes[end - 1] === LINE_FEED &&
      separator > start + stated.length &&
      separator < end;
    if (!isRecord) return new TarDamage('a damaged pax record', 'records of the form LENGTH KEY=VALUE');
    const key = TEXT.decode(bytes.subarray(start + stated.length + 1, separator));
    const value = TEXT.decode(bytes.subarray(separator + 1, end - 1));
    if (key === 'path') {
      if (value === '' || value.includes('\0')) return new TarDamage('a damaged pax path', 'a member name');
      facts.path = value;
    } else if (key === 'size') {
      if (!/^[0-9]{1,20}$/.test(value)) {
        return new TarDamage('a pax size that is not a number', 'decimal digits');
      }
      facts.sizeBytes = Number.isSafeInteger(Number(value)) ? Number(value) : Infinity;
    } else if (key.startsWith('GNU.sparse.')) {
      facts.isSparse = true;
    }
    start = end;
  }
  return facts;
}

/** The content of a GNU `L` member. */
export function parseLongName(bytes: Uint8Array): string {
  return text(bytes);
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  '1': 'a hard link',
  '2': 'a symbolic link',
  '3': 'a character device',
  '4': 'a block device',
  '5': 'a directory',
  '6': 'a named pipe',
  '7': 'a contiguous file',
  S: 'a sparse file',
};

/** What a member that is not a regular file is. */
export function describeType(typeFlag: string): string {
  if (Object.hasOwn(TYPE_NAMES, typeFlag)) return TYPE_NAMES[typeFlag] as string;
  return `a member of unknown type 0x${typeFlag.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

/** Members that only describe the one behind them: pax (own, global), GNU long name, GNU long link. */
export function isExtension(typeFlag: string): boolean {
  return typeFlag === 'x' || typeFlag === 'g' || typeFlag === 'L' || typeFlag === 'K';
}

export const MAX_EXTENSION_BYTES: number = LIMITS.tarExtensionBytes;

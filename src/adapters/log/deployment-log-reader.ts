/**
 * Reads a deployment log for upload and display, page by page, while it may still grow. Lines that are not what
 * we write are replaced, as the C++ client does (spec/update-flow.md section 8.4).
 */
import { open, type FileHandle } from 'node:fs/promises';

export const CORRUPTED = '(CORRUPTED LOG DATA)';
export const HAS_CORRUPTED = '(THE ORIGINAL LOGS CONTAINED INVALID ENTRIES)';
/** Text of one page. */
export const MAX_PAGE_BYTES = 512 * 1024;
/** Nothing we write is longer; what is longer is damage. */
const MAX_LINE_BYTES = 256 * 1024;
const CHUNK_BYTES = 256 * 1024;
const NEWLINE = 0x0a;
const EPOCH = '1970-01-01T00:00:00.000000Z';

export interface Page {
  readonly lines: readonly string[];
  readonly nextLine: number;
}

/** Where reading went on last time; a file that only grew need not be read from its start again. */
interface Bookmark {
  readonly inode: number;
  readonly line: number;
  readonly offset: number;
  readonly lastGood: string;
  /** Bytes known to hold no damage, or −1 = damage was found. */
  readonly soundBytes: number;
}

/** Reads one file. Keep it to read page after page without starting over. */
export class LogFileReader {
  #bookmark: Bookmark | null = null;

  /**
   * Lines from the 0-based `fromLine` on: at most `maxLines` and 512 KiB, at least one if there is any. `isGrowing`:
   * an unfinished last line is left for later; otherwise it is damage. Rejects with what the file system says.
   */
  async read(path: string, fromLine: number, maxLines: number, isGrowing: boolean): Promise<Page> {
    const file = await open(path, 'r');
    try {
      const { size, ino } = await file.stat();
      const bookmark = this.#bookmark?.inode === ino ? this.#bookmark : null;
      const soundFrom = bookmark?.soundBytes ?? 0;
      const soundBytes = soundFrom < 0 ? -1 : await this.#scan(file, soundFrom, size, isGrowing);
      const hasHeader = soundBytes < 0;
      const lines: string[] = [];
      let bytes = 0;
      // The header of a damaged log is line 0 and stands before the first line of the file.
      const shift = hasHeader ? 1 : 0;
      let line = shift;
      let offset = 0;
      let lastGood = EPOCH;
      const isKnown = bookmark && bookmark.soundBytes < 0 === hasHeader && bookmark.line <= fromLine;
      if (isKnown) ({ line, offset, lastGood } = bookmark);
      else if (hasHeader && fromLine === 0 && maxLines > 0) {
        lines.push(entry(EPOCH, HAS_CORRUPTED));
      }
      let nextLine = fromLine + lines.length;
      if (lines.length < maxLines) {
        for await (const raw of rawLines(file, offset, size, isGrowing)) {
          const good = timestampOf(raw.text);
          if (line >= fromLine) {
            const text = good === null ? entry(lastGood, CORRUPTED) : raw.text!;
            bytes += Buffer.byteLength(text);
            if (lines.length > 0 && bytes > MAX_PAGE_BYTES) break;
            lines.push(text);
            nextLine = line + 1;
          }
          lastGood = good ?? lastGood;
          line++;
          offset = raw.endOffset;
          if (lines.length >= maxLines) break;
        }
      }
      this.#bookmark = { inode: ino, line, offset, lastGood, soundBytes };
      return { lines, nextLine };
    } finally {
      await file.close();
    }
  }

  /** Bytes up to which all lines are sound; −1 = one is not. */
  async #scan(file: FileHandle, from: number, size: number, isGrowing: boolean): Promise<number> {
    let sound = from;
    for await (const raw of rawLines(file, from, size, isGrowing)) {
      if (timestampOf(raw.text) === null) return -1;
      sound = raw.endOffset;
    }
    return sound;
  }
}

interface RawLine {
  /** null = too long to be one of ours. */
  readonly text: string | null;
  /** Offset of the byte after its newline. */
  readonly endOffset: number;
}

async function* rawLines(
  file: FileHandle,
  from: number,
  size: number,
  isGrowing: boolean,
): AsyncGenerator<RawLine> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let isTooLong = false;
  function take(piece: Buffer): string | null {
    const length = pendingBytes + piece.length;
    const text =
      isTooLong || length > MAX_LINE_BYTES ? null : Buffer.concat([...pending, piece]).toString('utf8');
    pending = [];
    pendingBytes = 0;
    isTooLong = false;
    return text;
  }
  for (let position = from; position < size;) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(CHUNK_BYTES, size - position), position);
    if (bytesRead === 0) break;
    let start = 0;
    for (;;) {
      const at = buffer.subarray(0, bytesRead).indexOf(NEWLINE, start);
      if (at < 0) break;
      yield { text: take(buffer.subarray(start, at)), endOffset: position + at + 1 };
      start = at + 1;
    }
    const rest = Buffer.from(buffer.subarray(start, bytesRead));
    pendingBytes += rest.length;
    if (pendingBytes > MAX_LINE_BYTES) {
      isTooLong = true;
      pending = [];
    } else if (rest.length > 0) {
      pending.push(rest);
    }
    position += bytesRead;
  }
  if (pendingBytes > 0 && !isGrowing) yield { text: take(Buffer.alloc(0)), endOffset: size };
}

/** null = not a line of a deployment log. */
function timestampOf(text: string | null): string | null {
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return null;
    const { timestamp, level, message } = value as Record<string, unknown>;
    const isEntry = typeof timestamp === 'string' && typeof level === 'string' && typeof message === 'string';
    return isEntry ? timestamp : null;
  } catch {
    return null;
  }
}

function entry(timestamp: string, message: string): string {
  return JSON.stringify({ timestamp, level: 'error', message });
}

/**
 * What becomes of the output of a child process: split into bounded lines, or kept as a bounded head or tail.
 * Every consumer takes any amount of output in bounded memory, so that a child is never blocked by us.
 */
export interface OutputSink {
  /** Takes the next piece; the buffer may be kept. */
  write(chunk: Buffer): void;
  /** No more output will be delivered. Called once. */
  end(): void;
}

export const DEFAULT_MAX_LINE_BYTES = 64 * 1024;
const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

export interface LineSinkOptions {
  /** One line without its end; `isCut` = it was longer, the rest of it is dropped. */
  readonly onLine: (line: string, isCut: boolean) => void;
  readonly maxLineBytes?: number;
  /** Bytes of output split into lines before everything further is only counted; absent = no limit. */
  readonly maxTotalBytes?: number;
  /** Told at the end how many bytes were dropped over `maxTotalBytes`; not called for none. */
  readonly onDropped?: (bytes: number) => void;
}

/** Splits output into lines. The last one needs no newline. Invalid UTF-8 becomes U+FFFD. */
export function lineSink(options: LineSinkOptions): OutputSink {
  const maxLine = options.maxLineBytes ?? DEFAULT_MAX_LINE_BYTES;
  const maxTotal = options.maxTotalBytes ?? Infinity;
  let parts: Buffer[] = [];
  let partBytes = 0;
  let isCut = false;
  let total = 0;
  let dropped = 0;

  function keep(piece: Buffer): void {
    const room = maxLine - partBytes;
    if (piece.length > room) isCut = true;
    if (room > 0 && piece.length > 0) {
      // Copied: a slice would keep the whole 64 KiB chunk of the pipe alive for a few bytes.
      const kept = Buffer.from(piece.subarray(0, room));
      parts.push(kept);
      partBytes += kept.length;
    }
  }
  function finishLine(): void {
    let line = parts.length === 1 ? parts[0]! : Buffer.concat(parts, partBytes);
    if (!isCut && line.at(-1) === CARRIAGE_RETURN) line = line.subarray(0, -1);
    const wasCut = isCut;
    parts = [];
    partBytes = 0;
    isCut = false;
    options.onLine(line.toString('utf8'), wasCut);
  }

  return {
    write(chunk) {
      let rest = chunk;
      if (total + chunk.length > maxTotal) {
        const room = Math.max(0, maxTotal - total);
        dropped += chunk.length - room;
        rest = chunk.subarray(0, room);
      }
      total += rest.length;
      for (;;) {
        const at = rest.indexOf(NEWLINE);
        if (at < 0) break;
        keep(rest.subarray(0, at));
        finishLine();
        rest = rest.subarray(at + 1);
      }
      keep(rest);
      // Many tiny writes without a newline must not become a list of many tiny buffers.
      if (parts.length > 256) parts = [Buffer.concat(parts, partBytes)];
    },
    end() {
      if (partBytes > 0 || isCut) finishLine();
      if (dropped > 0) options.onDropped?.(dropped);
    },
  };
}

export interface TailSink extends OutputSink {
  /** The last bytes as text, begun at a line start when something was cut. */
  text(): string;
  /** Bytes that came before the kept ones. */
  readonly cutBytes: number;
}

/** Keeps the last `maxBytes` of the output. */
export function tailSink(maxBytes: number): TailSink {
  let kept: Buffer[] = [];
  let keptBytes = 0;
  let total = 0;
  function compact(): void {
    const all = Buffer.concat(kept, keptBytes);
    const tail = Buffer.from(all.subarray(Math.max(0, all.length - maxBytes)));
    kept = [tail];
    keptBytes = tail.length;
  }
  function tail(): Buffer {
    compact();
    const bytes = kept[0]!;
    if (total <= maxBytes) return bytes;
    const firstNewline = bytes.indexOf(NEWLINE);
    const start = firstNewline >= 0 && firstNewline < bytes.length - 1 ? firstNewline + 1 : 0;
    return bytes.subarray(start);
  }
  return {
    write(chunk) {
      total += chunk.length;
      const part = chunk.length > maxBytes ? chunk.subarray(chunk.length - maxBytes) : chunk;
      kept.push(part);
      keptBytes += part.length;
      if (keptBytes > maxBytes * 2 || kept.length > 256) compact();
    },
    end() {},
    text: () => tail().toString('utf8'),
    get cutBytes() {
      return total - tail().length;
    },
  };
}

export interface HeadSink extends OutputSink {
  text(): string;
}

/** Keeps the first `maxBytes`; `onOverflow` is called once, when more comes. */
export function headSink(maxBytes: number, onOverflow: () => void): HeadSink {
  const kept: Buffer[] = [];
  let keptBytes = 0;
  let hasOverflown = false;
  return {
    write(chunk) {
      if (hasOverflown) return;
      const part = Buffer.from(chunk.subarray(0, maxBytes - keptBytes));
      if (part.length > 0) kept.push(part);
      keptBytes += part.length;
      if (part.length < chunk.length) {
        hasOverflown = true;
        onOverflow();
      }
    },
    end() {},
    text: () => Buffer.concat(kept, keptBytes).toString('utf8'),
  };
}

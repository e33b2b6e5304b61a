/**
 * The log of a failed deployment as the server takes it: one request, its size limited, every entry valid, so that one
 * bad line does not lose all others. Source: spec/server-api.md section 6, design/faults.md R18, R37.
 */

/** Servers take requests of 1 MiB; some room is left for what lies in between. */
export const MAX_LOG_BYTES = 1_000_000;
const MAX_MESSAGE_CHARACTERS = 64 * 1024;
const MAX_LEVEL_CHARACTERS = 20;
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/;
const NO_TIME = '1970-01-01T00:00:00Z';

const CORRUPTED = '(CORRUPTED LOG DATA)';
const HAS_INVALID = '(THE ORIGINAL LOGS CONTAINED INVALID ENTRIES)';
const WAS_TOO_BIG = '(THE ORIGINAL LOGS WERE TOO BIG, THE OLDEST ENTRIES WERE TRUNCATED)';
const WAS_EMPTY = '(THE DEPLOYMENT LOG WAS EMPTY)';
/** What the notes at the beginning, commas and brackets take at most. */
const RESERVED_BYTES = 512;

interface Entry {
  readonly timestamp: string;
  readonly level: string;
  readonly message: string;
}

/**
 * The body of the upload, at most `maxBytes`: the newest entries that fit, after a note when older ones were left out or
 * lines were damaged; at least one entry. `now`: RFC 3339, for the notes of a log without any time. The lines are read
 * once, and no more than the result is kept in memory.
 */
export async function logBody(lines: AsyncIterable<string>, maxBytes: number, now: string): Promise<Buffer> {
  /** Newest entries as JSON; `first` is the index of the oldest that is kept. */
  const kept: string[] = [];
  let first = 0;
  let bytes = 0;
  let lastTime: string | undefined;
  let firstTime: string | undefined;
  let hasInvalid = false;
  let wasTooBig = false;
  const room = maxBytes - RESERVED_BYTES;
  for await (const line of lines) {
    if (line.trim() === '') continue;
    const entry = parseLine(line);
    if (entry) {
      lastTime = entry.timestamp;
      firstTime ??= entry.timestamp;
    } else {
      hasInvalid = true;
    }
    const text = entryJson(entry ?? { timestamp: lastTime ?? NO_TIME, level: 'ERROR', message: CORRUPTED });
    kept.push(text);
    bytes += Buffer.byteLength(text) + 1;
    while (bytes > room && first < kept.length) {
      bytes -= Buffer.byteLength(kept[first]!) + 1;
      kept[first] = '';
      first += 1;
      wasTooBig = true;
    }
    // What was let go is not kept as a growing list of empty places.
    if (first > 4096) {
      kept.splice(0, first);
      first = 0;
    }
  }
  const timestamp = firstTime ?? now;
  const notes: string[] = [];
  if (hasInvalid) notes.push(entryJson({ timestamp, level: 'ERROR', message: HAS_INVALID }));
  if (wasTooBig) notes.push(entryJson({ timestamp, level: 'WARNING', message: WAS_TOO_BIG }));
  const entries = [...notes, ...kept.slice(first)];
  // Servers refuse a log without entries.
  if (entries.length === 0) entries.push(entryJson({ timestamp, level: 'WARNING', message: WAS_EMPTY }));
  return Buffer.from(`{"messages":[${entries.join(',')}]}`);
}

/** null = not an entry a server would take. */
function parseLine(line: string): Entry | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { timestamp, level, message } = value as Record<string, unknown>;
  if (typeof timestamp !== 'string' || !RFC3339.test(timestamp) || Number.isNaN(Date.parse(timestamp)))
    return null;
  if (typeof level !== 'string' || level === '' || level.length > MAX_LEVEL_CHARACTERS) return null;
  if (typeof message !== 'string' || message === '') return null;
  return { timestamp, level, message };
}

function entryJson({ timestamp, level, message }: Entry): string {
  const isCut = message.length > MAX_MESSAGE_CHARACTERS;
  return JSON.stringify({
    timestamp,
    level,
    message: isCut ? `${message.slice(0, MAX_MESSAGE_CHARACTERS)}… (cut)` : message,
  });
}

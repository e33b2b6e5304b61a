/**
 * The bytes of one stored generation: a header line of JSON, a newline, then the body, which is the JSON of the
 * document. The checksum covers the number of the generation (decimal digits and a newline) and exactly the body
 * bytes: a flipped bit can neither change the document nor make an old generation look like the newest.
 *
 *     {"format":2,"generation":12,"bytes":2048,"sha256":"<64 hex digits>"}\n
 *     {…the document…}\n
 *     (blanks to the end of the block, then room)
 *
 * What follows the body is room for the generations that are written over this one: blanks, or what is left of an
 * earlier one. Nobody reads it. Format 1, which is still read, ends with the body.
 */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { UpdateError } from '../../core/errors.ts';

export const RECORD_FORMAT = 2;
/** Whole blocks are written, so that the file system need not read first what it is to write. */
export const BLOCK_BYTES = 4096;

const Header = v.object({
  format: v.picklist([1, RECORD_FORMAT]),
  generation: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  bytes: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
});

const NEWLINE = 0x0a;
const MAX_HEADER_BYTES = 512;

function checksumOf(generation: number, body: Uint8Array): string {
  return createHash('sha256').update(`${generation}\n`).update(body).digest('hex');
}

/** Whole blocks. `body`: the JSON text of the document. */
export function encodeRecord(generation: number, body: Uint8Array): Uint8Array {
  const header = {
    format: RECORD_FORMAT,
    generation,
    bytes: body.length,
    sha256: checksumOf(generation, body),
  };
  const start = Buffer.from(`${JSON.stringify(header)}\n`);
  const bytes = Buffer.alloc(wholeBlocks(start.length + body.length + 1), ' ');
  start.copy(bytes);
  bytes.set(body, start.length);
  bytes[start.length + body.length] = NEWLINE;
  return bytes;
}

export function wholeBlocks(length: number): number {
  return Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES;
}

function damaged(found: string, expected: string): UpdateError {
  return new UpdateError('store', `found ${found}, expected ${expected}`, { details: { found, expected } });
}

/** The value of a complete, undamaged record. Throws an UpdateError of kind `store` naming what was found. */
export function decodeRecord(bytes: Uint8Array): { readonly generation: number; readonly value: unknown } {
  if (bytes.length === 0) throw damaged('an empty file', 'a header line');
  const end = bytes.subarray(0, MAX_HEADER_BYTES).indexOf(NEWLINE);
  if (end < 0) throw damaged(`${bytes.length} bytes without a header line`, 'a header line');
  const header = v.safeParse(Header, parseJson(bytes.subarray(0, end), 'the header'));
  if (!header.success) {
    const issue = header.issues[0];
    throw damaged(
      `a header with ${v.getDotPath(issue) ?? 'its whole content'} ${issue.received}`,
      issue.expected ?? 'a value in range',
    );
  }
  const { format, generation, bytes: length, sha256: checksum } = header.output;
  const rest = bytes.subarray(end + 1);
  const body = format === 1 ? rest : rest.subarray(0, length);
  if (body.length !== length) throw damaged(`${body.length} bytes of document`, `${length} bytes`);
  const actual = checksumOf(generation, body);
  if (actual !== checksum) throw damaged(`sha256 ${actual}`, checksum);
  return { generation, value: parseJson(body, 'the document') };
}

/** The generation a possibly damaged record claims; null = not legible. For naming evidence only. */
export function claimedGeneration(bytes: Uint8Array): number | null {
  const match = /^\{"format":\d{1,3},"generation":(\d{1,15}),/.exec(
    Buffer.from(bytes.subarray(0, MAX_HEADER_BYTES)).toString('latin1'),
  );
  return match ? Number(match[1]) : null;
}

function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
  } catch (cause) {
    throw new UpdateError('store', `found ${what} that is not JSON, expected JSON`, { cause });
  }
}

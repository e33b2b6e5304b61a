/**
 * Reads an LMDB file of format 1 through `mdb_dump` of Debian's lmdb-utils. It never touches the file: LMDB writes its
 * lock file even when it only reads, and maps the whole file, so the tool is given a private copy, and a damaged file
 * ends the tool and not us. (The npm package lmdb has another file format and crashes on this one.)
 *
 * The plain hexadecimal form is asked for and not `-p`: in that one, some versions do not escape the backslash, and
 * the JSON texts of 3.x are full of them (`\u0026` in every link with a query).
 * Source: spec/configuration.md section 3.1, design/libraries.md "State".
 */
import { constants } from 'node:fs';
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { UpdateError } from '../../core/errors.ts';
import { runTool, type ToolOptions } from './tool.ts';

/** Key → value, in the order of the file. */
export type Entries = ReadonlyMap<string, Uint8Array>;

/** The keys of a Mender store are ten; LMDB has none longer than 511 bytes. */
const LIMITS = { entries: 64, keyBytes: 511, dumpBytes: 32 * 1024 * 1024 } as const;

export interface DumpOptions extends ToolOptions {
  /** Private folder for the copy; made (0700) and removed. What an interrupted reading left there is removed first. */
  readonly workDirectory: string;
  /** Default `mdb_dump`. */
  readonly program?: string;
}

/** Rejects (kind `store`) with what the tool, or this parser, found wrong. */
export async function dumpStore(path: string, options: DumpOptions): Promise<Entries> {
  const { workDirectory } = options;
  await rm(workDirectory, { recursive: true, force: true });
  await mkdir(workDirectory, { mode: 0o700 });
  try {
    const copy = join(workDirectory, 'mender-store');
    await copyFile(path, copy, constants.COPYFILE_EXCL);
    const output = await runTool(options.program ?? 'mdb_dump', ['-n', copy], LIMITS.dumpBytes, options);
    return parseDump(output);
  } finally {
    await rm(workDirectory, { recursive: true, force: true }).catch(() => undefined);
  }
}

/**
 * The text of `mdb_dump` without `-p`: header lines up to `HEADER=END`, then a line for each key and one for each value,
 * a blank and hexadecimal digits, then `DATA=END`. Anything else is refused (kind `store`), a cut text too.
 */
export function parseDump(output: Uint8Array): Entries {
  const lines = Buffer.from(output.buffer, output.byteOffset, output.byteLength)
    .toString('latin1')
    .split('\n');
  const headerEnd = lines.indexOf('HEADER=END');
  if (headerEnd < 0 || headerEnd > 32) throw unexpected(lines[0], 'a header that ends with HEADER=END');
  const header = new Set(lines.slice(0, headerEnd));
  for (const wanted of ['VERSION=3', 'format=bytevalue', 'type=btree']) {
    if (!header.has(wanted)) throw unexpected(lines.slice(0, headerEnd).join(' '), `a header with ${wanted}`);
  }
  const dataEnd = lines.indexOf('DATA=END', headerEnd);
  if (dataEnd < 0) throw unexpected(lines.at(-1), 'DATA=END at the end');
  if (lines.slice(dataEnd + 1).some((line) => line !== ''))
    throw unexpected(lines[dataEnd + 1], 'one database');
  const data = lines.slice(headerEnd + 1, dataEnd);
  if (data.length % 2 !== 0) throw unexpected(data.at(-1), 'a value for every key');
  if (data.length / 2 > LIMITS.entries) {
    throw unexpected(`${data.length / 2} keys`, `at most ${LIMITS.entries}`);
  }
  const entries = new Map<string, Uint8Array>();
  for (let at = 0; at < data.length; at += 2) {
    const key = bytesOf(data[at] ?? '');
    if (key.length === 0 || key.length > LIMITS.keyBytes) {
      throw unexpected(`a key of ${key.length} bytes`, `1 to ${LIMITS.keyBytes}`);
    }
    entries.set(key.toString('latin1'), bytesOf(data[at + 1] ?? ''));
  }
  return entries;
}

function bytesOf(line: string): Buffer {
  if (!/^ (?:[0-9a-f]{2})*$/.test(line)) throw unexpected(line, 'a blank and hexadecimal digits');
  return Buffer.from(line.slice(1), 'hex');
}

function unexpected(found: string | undefined, expected: string): UpdateError {
  const shown = JSON.stringify((found ?? '').slice(0, 60));
  return new UpdateError(
    'store',
    `the output of mdb_dump makes no sense: found ${shown}, expected ${expected}`,
  );
}

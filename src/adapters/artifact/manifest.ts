/**
 * The manifest: one SHA-256 for everything in the artifact that matters. Only its canonical text is accepted, so
 * that what is signed, what is read and what any other reader makes of it are one and the same.
 * Source: spec/artifact.md section 3.
 */
import { ArtifactError, type ArtifactErrorCode } from '../../core/artifact-error.ts';
import { quoted } from '../../core/printable.ts';
import { SUFFIX_LIST, compressionOf } from './compression.ts';
import { fileNameFault } from './file-name.ts';
import { LIMITS } from './limits.ts';

export interface Manifest {
  /** 64 lower-case hex digits each. */
  readonly versionSum: string;
  /** Name of the header member with its suffix. */
  readonly headerName: string;
  readonly headerSum: string;
  /** Payload file name → sum, in the manifest's order. */
  readonly fileSums: ReadonlyMap<string, string>;
}

const LINE = /^([0-9a-f]{64}) {2}(\S+)$/;
const DATA_PREFIX = 'data/0000/';

/** Codes: `bad-manifest`, `checksum-missing`, `unknown-compression`, `bad-file-name`, `too-large`. */
export function parseManifest(bytes: Uint8Array): Manifest {
  const lines = canonicalLines(bytes);
  const names = new Set<string>();
  const fileSums = new Map<string, string>();
  let versionSum: string | null = null;
  let header: { readonly name: string; readonly sum: string } | null = null;
  for (const [index, line] of lines.entries()) {
    const where = `manifest, line ${index + 1}`;
    const [, sum, name] = LINE.exec(line) ?? [];
    if (sum === undefined || name === undefined) {
      throw refusal('bad-manifest', where, quoted(line, 120), '64 lower-case hex digits, two blanks, a name');
    }
    if (names.has(name)) {
      throw refusal('bad-manifest', where, `a second line for ${quoted(name)}`, 'one line for each name');
    }
    names.add(name);
    if (name === 'version') {
      versionSum = sum;
    } else if (name.startsWith(DATA_PREFIX)) {
      fileSums.set(dataFileName(name, where), sum);
    } else {
      requireHeaderName(name, where);
      if (header !== null) {
        throw refusal('bad-manifest', where, `a second header, ${quoted(name)}`, `only ${header.name}`);
      }
      header = { name, sum };
    }
  }
  if (versionSum === null) throw missingLine('version');
  if (header === null) throw missingLine('header.tar');
  return { versionSum, headerName: header.name, headerSum: header.sum, fileSums };
}

function canonicalLines(bytes: Uint8Array): readonly string[] {
  if (bytes.byteLength === 0) return [];
  // One character per byte: names are plain ASCII, anything else fails the checks of its line.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  if (!text.endsWith('\n')) {
    throw refusal('bad-manifest', 'manifest, last line', 'no line end', 'a line end behind every line');
  }
  const lines = text.slice(0, -1).split('\n', LIMITS.manifestLines + 1);
  if (lines.length > LIMITS.manifestLines) {
    const expected = `at most ${LIMITS.manifestLines}`;
    throw refusal('too-large', 'manifest', `more than ${LIMITS.manifestLines} lines`, expected);
  }
  return lines;
}

function dataFileName(name: string, where: string): string {
  const fileName = name.slice(DATA_PREFIX.length);
  if (fileName.includes('/') || fileName === '' || fileName === '.' || fileName === '..') {
    throw refusal('bad-manifest', where, `the path ${quoted(name)}`, `${DATA_PREFIX} and a bare file name`);
  }
  const fault = fileNameFault(fileName);
  if (fault !== null) throw refusal('bad-file-name', where, `the name ${quoted(fileName)}`, fault);
  return fileName;
}

function requireHeaderName(name: string, where: string): void {
  const compression = compressionOf(name, 'header.tar');
  if (compression === null) {
    const expected = `version, header.tar with its suffix, or ${DATA_PREFIX} and a file name`;
    throw refusal('bad-manifest', where, `the name ${quoted(name)}`, expected);
  }
  if (compression === 'unknown') throw refusal('unknown-compression', where, quoted(name), SUFFIX_LIST);
}

function missingLine(name: string): ArtifactError {
  return refusal('checksum-missing', 'manifest', `no line for ${name}`, `a checksum for ${name}`);
}

function refusal(code: ArtifactErrorCode, where: string, found: string, expected: string): ArtifactError {
  return new ArtifactError(code, { where, found, expected });
}

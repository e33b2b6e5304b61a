/**
 * `holdpoint inspect FILE`: reads and verifies a whole artifact without installing anything, and shows what a person
 * wants to know before installing it, as text or as JSON.
 * Source: design/entry-points.md, `inspect`.
 */
import type { ArtifactInfo } from '../core/artifact.ts';
import { ArtifactError } from '../core/artifact-error.ts';
import { failureOf } from '../core/errors.ts';
import { printable } from '../core/printable.ts';
import type { ArtifactReader, ReadOptions } from '../ports/artifact-reader.ts';

export interface InspectedFile {
  readonly name: string;
  readonly sizeBytes: number;
  /** 64 hex digits, found right; '' when the reader does not tell. */
  readonly sha256: string;
}

/** Everything about a valid artifact. */
export interface Inspection {
  readonly info: ArtifactInfo;
  /** In artifact order. */
  readonly files: readonly InspectedFile[];
  /** Size of the state scripts, by name. */
  readonly scriptSizes: ReadonlyMap<string, number>;
  /** Of the artifact itself, as read to its end. */
  readonly artifactBytes: number;
}

/** Reads everything and keeps nothing of the payload. Rejects as the reader does; the source is let go of. */
export async function inspectArtifact(
  reader: ArtifactReader,
  chunks: AsyncIterable<Uint8Array>,
  options: ReadOptions,
  signal: AbortSignal,
): Promise<Inspection> {
  const artifact = await reader.open(chunks, options, signal);
  try {
    const files: InspectedFile[] = [];
    for await (const file of artifact.payloadFiles()) {
      const content = file.content[Symbol.asyncIterator]();
      while ((await content.next()).done !== true);
      files.push({ name: file.name, sizeBytes: file.sizeBytes, sha256: file.sha256 ?? '' });
    }
    await artifact.finish();
    const scriptSizes = new Map(artifact.scripts.map(({ name, content }) => [name, content.byteLength]));
    return { info: artifact.info, files, scriptSizes, artifactBytes: artifact.consumedBytes };
  } finally {
    await artifact.close();
  }
}

/** The JSON object of `--json`; field names are stable. */
export function inspectionAsJson(inspection: Inspection): Readonly<Record<string, unknown>> {
  const { info, files, artifactBytes } = inspection;
  return {
    artifactName: info.artifactName,
    artifactGroup: info.artifactGroup,
    payloadType: info.payloadType,
    compatibleDevices: info.compatibleDevices,
    depends: info.depends,
    provides: info.provides,
    clearsProvides: info.clearsProvides,
    scripts: info.scripts,
    isSigned: info.isSigned,
    verifiedBy: info.verifiedBy,
    digest: info.digest,
    metaData: info.metaDataJson === null ? null : (JSON.parse(info.metaDataJson) as unknown),
    files: files.map((file) => ({ ...file })),
    payloadBytes: payloadBytes(files),
    artifactBytes,
  };
}

/** The JSON object of `--json` for an artifact that was refused, or could not be read. */
export function refusalAsJson(error: unknown): Readonly<Record<string, unknown>> {
  const { name, message, details } = failureOf(error);
  const code = error instanceof ArtifactError ? error.code : null;
  return { error: { code, failure: name, message, details } };
}

/** The sentence for stderr: the code first, where there is one. */
export function refusalAsText(error: unknown): string {
  const { message } = failureOf(error);
  // Found texts were escaped one by one; a message of another origin may hold anything.
  return error instanceof ArtifactError ? `${error.code}: ${error.message}` : printable(message);
}

const EMPTY_PAYLOAD = 'none (changes only what the device says it provides)';

/** Lines for a person, each ending in a line feed. No character of the artifact reaches the terminal unescaped. */
export function inspectionAsText(inspection: Inspection): string {
  const { info, files, scriptSizes, artifactBytes } = inspection;
  const lines = [
    row('Artifact name', printable(info.artifactName)),
    ...(info.artifactGroup === '' ? [] : [row('Artifact group', printable(info.artifactGroup))]),
    row('Compatible devices', info.compatibleDevices.map(printable).join(', ')),
    row('Payload type', info.payloadType === null ? EMPTY_PAYLOAD : printable(info.payloadType)),
    row('Signature', signatureText(info)),
    row('Digest', info.digest),
    row('Artifact size', sizeText(artifactBytes)),
    ...section('Payload files', filesText(files)),
    ...section('Depends on', dependsText(info)),
    ...section(
      'Provides',
      Object.entries(info.provides ?? {}).map(([key, value]) => pair(key, value)),
    ),
    ...section('Clears', clearsText(info)),
    ...section(
      'State scripts',
      info.scripts.map((name) => `${printable(name)}  ${sizeText(scriptSizes.get(name) ?? 0)}`),
    ),
    ...section('Meta-data', metaDataText(info)),
  ];
  return `${lines.join('\n')}\n`;
}

const LABEL_WIDTH = 20;

function row(label: string, value: string): string {
  return `${`${label}:`.padEnd(LABEL_WIDTH)}${value}`;
}

function section(label: string, items: readonly string[]): readonly string[] {
  if (items.length === 0) return [row(label, 'nothing')];
  return [`${label}:`, ...items.map((item) => `  ${item}`)];
}

function pair(key: string, value: string): string {
  return `${printable(key)} = ${printable(value)}`;
}

function signatureText(info: ArtifactInfo): string {
  if (info.verifiedBy !== '') return `signed, verified with ${printable(info.verifiedBy)}`;
  return info.isSigned ? 'signed, NOT verified (no key was given)' : 'not signed';
}

function filesText(files: readonly InspectedFile[]): readonly string[] {
  const lines = files.flatMap((file) => [
    `${printable(file.name)}  ${sizeText(file.sizeBytes)}`,
    ...(file.sha256 === '' ? [] : [`  sha256 ${file.sha256}`]),
  ]);
  return files.length > 1 ? [...lines, `together ${sizeText(payloadBytes(files))}`] : lines;
}

function payloadBytes(files: readonly InspectedFile[]): number {
  return files.reduce((total, file) => total + file.sizeBytes, 0);
}

function dependsText(info: ArtifactInfo): readonly string[] {
  return Object.entries(info.depends).map(([key, values]) => {
    if (values.length === 0) return `${printable(key)} = (an empty list: never met)`;
    return `${printable(key)} = ${values.map(printable).join(' or ')}`;
  });
}

function clearsText(info: ArtifactInfo): readonly string[] {
  if (info.clearsProvides !== null) return info.clearsProvides.map(printable);
  return ['* (everything, because the artifact does not say)'];
}

const MAX_META_DATA_CHARACTERS = 2000;

function metaDataText(info: ArtifactInfo): readonly string[] {
  if (info.metaDataJson === null) return [];
  const pretty = JSON.stringify(JSON.parse(info.metaDataJson), null, 2);
  const shown = pretty.slice(0, MAX_META_DATA_CHARACTERS);
  const lines = shown.split('\n').map((line) => escapeControls(line));
  return shown.length === pretty.length ? lines : [...lines, `… (${pretty.length} characters, see --json)`];
}

/** JSON has escapes of its own, which are not to be escaped a second time. */
function escapeControls(line: string): string {
  return line.split('\\').map(printable).join('\\');
}

const UNITS = ['KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `1.5 MiB (1572864 bytes)`; below 1 KiB bytes alone. */
function sizeText(sizeBytes: number): string {
  if (sizeBytes < 1024) return `${sizeBytes} bytes`;
  let value = sizeBytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(1)} ${UNITS[unit]} (${sizeBytes} bytes)`;
}

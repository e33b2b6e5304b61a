/**
 * The subcommands that need no service: they read files of this device.
 */
import type { LoadedSettings } from '../config/settings.ts';
import { originText } from '../config/load.ts';
import type { Installed } from '../core/artifact.ts';
import type { ArtifactReader } from '../ports/artifact-reader.ts';
import type { ArtifactSource } from '../ports/artifact-source.ts';
import type { MenderStoreExport } from '../ports/mender-store.ts';
import {
  inspectArtifact,
  inspectionAsJson,
  inspectionAsText,
  refusalAsJson,
  refusalAsText,
} from './inspect-view.ts';
import { complain, line, oneLine, type Terminal } from './terminal.ts';

export interface InspectTools {
  readonly reader: ArtifactReader;
  readonly source: ArtifactSource;
}

/** 0 = valid, 1 = invalid or not readable. */
export async function inspect(
  { reader, source }: InspectTools,
  terminal: Terminal,
  file: string,
  options: { readonly json: boolean; readonly keys: readonly string[] },
  signal: AbortSignal,
): Promise<number> {
  try {
    const { chunks } = await source.open({ kind: 'file', path: file }, signal);
    const inspection = await inspectArtifact(reader, chunks, { verifyKeyPaths: options.keys }, signal);
    if (options.json) terminal.out.write(`${JSON.stringify(inspectionAsJson(inspection), null, 2)}\n`);
    else terminal.out.write(inspectionAsText(inspection));
    return 0;
  } catch (error) {
    if (options.json) terminal.out.write(`${JSON.stringify(refusalAsJson(error), null, 2)}\n`);
    complain(terminal, `inspecting ${file}`, refusalAsText(error));
    return 1;
  }
}

/** Empty: `unknown`, as Mender 5.1. */
export function showArtifact(terminal: Terminal, artifactName: string): number {
  line(terminal.out, artifactName === '' ? 'unknown' : artifactName);
  return 0;
}

export function showProvides(terminal: Terminal, installed: Installed): number {
  const { artifactName, artifactGroup, provides } = installed;
  // What the artifact says of itself wins, as in Mender (spec/configuration.md section 3.2).
  const all: Readonly<Record<string, string>> = {
    artifact_name: artifactName === '' ? 'unknown' : artifactName,
    ...(artifactGroup === '' ? {} : { artifact_group: artifactGroup }),
    ...provides,
  };
  for (const key of Object.keys(all).sort()) line(terminal.out, `${key}=${all[key] ?? ''}`);
  return 0;
}

export function showExport(
  terminal: Terminal,
  { path, keptAs, installed }: MenderStoreExport & { readonly installed: Installed },
): number {
  line(terminal.out, `Written: ${path}, with the artifact name ${installed.artifactName}`);
  if (keptAs !== null) line(terminal.out, `Kept: ${keptAs}`);
  return 0;
}

export function checkConfig(terminal: Terminal, { origins, warnings }: LoadedSettings): number {
  for (const warning of warnings) line(terminal.err, `holdpoint: checking the configuration: ${warning}`);
  const width = Math.max(...origins.map(({ key }) => key.length));
  for (const { key, valueJson, origin } of origins) {
    terminal.out.write(`${key.padEnd(width)}  ${oneLine(valueJson)}  (${oneLine(originText(origin))})\n`);
  }
  return 0;
}

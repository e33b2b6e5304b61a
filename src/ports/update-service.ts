import type { Command } from '../core/command.ts';
import type { ArtifactInfo } from '../core/artifact.ts';
import type { HistoryEntry } from '../core/state.ts';

/** What a client of the bus can have done; the bus adapter authorises, then calls this. */
export interface UpdateService {
  /** Rejects with RefusedCall. Resolves when the event is stored and published. */
  command(command: Exclude<Command, { kind: 'Install' }>): Promise<string>;
  /**
   * Looks at the artifact, then starts a deployment of it.
   * @returns the deployment id, which is visible in the properties by then
   */
  installPath(path: string, requiredDigest: string, uid: number): Promise<string>;
  installUrl(url: string, requiredDigest: string, uid: number): Promise<string>;
  inspectPath(path: string, uid: number): Promise<Inspection>;
  history(): readonly HistoryEntry[];
  /** null = no such deployment or no log kept of it. */
  readLog(
    deploymentId: string,
    fromLine: number,
    maxLines: number,
  ): Promise<{ readonly lines: readonly string[]; readonly nextLine: number } | null>;
}

/** A completely read and verified artifact. */
export interface Inspection {
  readonly info: ArtifactInfo;
  readonly sizeBytes: number;
  readonly files: readonly { readonly name: string; readonly sizeBytes: number }[];
}

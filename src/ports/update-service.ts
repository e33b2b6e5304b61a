import type { Command } from '../core/command.ts';
import type { Caller, HoldWish } from '../core/event.ts';
import type { ArtifactInfo } from '../core/artifact.ts';
import type { RefusalName } from '../core/refusal.ts';
import type { HistoryEntry } from '../core/state.ts';

/** What a client of the bus can have done; the bus adapter authorises, then calls this. */
export interface UpdateService {
  /** Rejects with RefusedCall. Resolves when the event is stored and published. */
  command(command: Exclude<Command, { kind: 'Install' | 'AddHold' }>): Promise<string>;
  /** Throws the RefusedCall that the command would be rejected with at this moment; changes nothing. */
  precheck(command: Extract<Command, { kind: 'Continue' | 'Snooze' }>): void;
  /** @returns the id of the hold */
  addHold(wish: HoldWish & Caller): Promise<string>;
  /** As DecisionJournal.read. */
  readDecisions(
    fromSeq: number,
    maxLines: number,
  ): Promise<{ readonly lines: readonly string[]; readonly nextSeq: number }>;
  /**
   * Looks at the artifact, then starts a deployment of it.
   * @returns the deployment id, which is visible in the properties by then
   */
  installPath(path: string, requiredDigest: string, uid: number): Promise<string>;
  installUrl(url: string, requiredDigest: string, uid: number): Promise<string>;
  inspectPath(path: string): Promise<Inspection>;
  history(): readonly HistoryEntry[];
  /** null = no such deployment or no log kept of it. */
  readLog(
    deploymentId: string,
    fromLine: number,
    maxLines: number,
  ): Promise<{ readonly lines: readonly string[]; readonly nextLine: number } | null>;
}

/** What the verified header of an artifact says. */
export interface Inspection {
  readonly info: ArtifactInfo;
  /** −1 = unknown. */
  readonly sizeBytes: number;
  /** Why it could not be installed here and now; null = it fits. */
  readonly problem: RefusalName | null;
}

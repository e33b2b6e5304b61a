import type { ArtifactInfo, ArtifactLocation } from './artifact.ts';
import type { HealthReport } from './control/health.ts';
import type { DecisionEntry } from './control/journal.ts';
import { NO_SNOOZES, type Snoozes } from './control/snooze.ts';
import type { Failure } from './errors.ts';
import type { HoldPoint } from './hold-point.ts';
import type { ReleaseFacts } from './release-facts.ts';

/** One update on its way, and what people have said of it. */

/** The part of an artifact's header that the flow goes on needing after the download. */
export type ArtifactSummary = Pick<
  ArtifactInfo,
  | 'artifactName'
  | 'artifactGroup'
  | 'payloadType'
  | 'compatibleDevices'
  | 'provides'
  | 'clearsProvides'
  | 'digest'
  | 'isSigned'
> &
  ReleaseFacts;

/** Somebody's yes at a hold point. Survives restart and reboot (design/compatibility.md "Consent"). */
export interface Consent {
  readonly point: HoldPoint;
  readonly digest: string;
  readonly uid: number;
  readonly atWallMs: number;
  readonly comment: string;
  /** Name of the program the yes came through, for people; '' = unknown. */
  readonly app: string;
}

/**
 * Somebody's order not to wait for others at a point. now: skippable conditions are set aside. override: whatever
 * waits, but a pause, updates switched off and the health verdict.
 */
export interface Waiver {
  readonly kind: 'now' | 'override';
  readonly point: HoldPoint;
  readonly digest: string;
  readonly uid: number;
  readonly atWallMs: number;
}

/** How the device goes down at the reboot gate, as a person chose. */
export type RebootMode = 'reboot' | 'poweroff' | 'none';

/** That a gate was passed, and why it was allowed. Stored before the first Enter script behind it runs. */
export interface Passage {
  readonly point: HoldPoint;
  readonly reasons: readonly string[];
  readonly atWallMs: number;
}

/** A person's order to end the deployment. */
export interface EndRequest {
  readonly kind: 'abort' | 'rollback';
  readonly uid: number;
  readonly reason: string;
}

export interface CarriedWait {
  readonly point: HoldPoint;
  readonly spentMs: number;
  /** Part of it that was snoozed. */
  readonly snoozedMs: number;
  /** Why the flow asks again, else ''. */
  readonly notice: string;
}

export interface Pause {
  readonly uid: number;
  readonly sinceWallMs: number;
}

export type RebootNeed = 'unknown' | 'No' | 'Yes' | 'Automatic';

/** The server's (or a person's) order to install one artifact on this device, and how far it has come. */
export interface Deployment {
  readonly id: string;
  readonly source: 'local' | 'server';
  readonly location: ArtifactLocation;
  /** Artifact name the server announced; '' for local installs. */
  readonly announcedName: string;
  /** `sha256:…` the artifact must have; '' = any. */
  readonly requiredDigest: string;
  /** Who asked for it; −1 = the server. */
  readonly initiatorUid: number;
  readonly startedWallMs: number;
  /** Known once the header has been read. */
  readonly artifact: ArtifactSummary | null;
  /** −1 = unknown. */
  readonly sizeBytes: number;
  readonly rebootNeed: RebootNeed;
  /** Whether the reboot of this update has been begun. */
  readonly hasRebooted: boolean;
  readonly isCommitted: boolean;
  readonly isRolledBack: boolean;
  /** The device is neither the old nor the new version; the artifact name gets its suffix. */
  readonly isInconsistent: boolean;
  /** The first thing that went wrong; a failed rollback replaces it. */
  readonly failure: Failure | null;
  readonly endRequest: EndRequest | null;
  readonly pause: Pause | null;
  readonly consents: readonly Consent[];
  readonly waivers: readonly Waiver[];
  readonly passages: readonly Passage[];
  /** Newest last; the journal file has those that do not fit (DECISIONS_KEPT). */
  readonly decisions: readonly DecisionEntry[];
  readonly snoozes: Snoozes;
  readonly healthReports: readonly HealthReport[];
  /** null = nobody has chosen. `uid`: who did. */
  readonly rebootMode: { readonly mode: RebootMode; readonly uid: number } | null;
  /** A wait that a restart interrupted: its time counts when it is entered again. */
  readonly carriedWait: CarriedWait | null;
  /** Loop guard (spec/update-flow.md section 6.4 as changed by design/compatibility.md). */
  readonly checkpointCount: number;
  readonly hasHitLoopLimit: boolean;
}

/** What a deployment begins with, as far as people and programs steer it. */
export const NOBODY_HAS_DECIDED = {
  consents: [],
  waivers: [],
  passages: [],
  decisions: [],
  snoozes: NO_SNOOZES,
  healthReports: [],
  rebootMode: null,
} as const satisfies Partial<Deployment>;

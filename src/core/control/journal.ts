import type { HoldPoint } from '../hold-point.ts';

/**
 * Proof of consent: every decision of a person or program about an update, numbered, in the order they were made. What
 * is not in the journal file yet is in the stored state, so that a crash between the two loses nothing and writes
 * nothing twice. Source: design/stories.md 24.
 */
export const DECISION_KINDS = [
  'consent',
  'now',
  'override',
  'postponement',
  'postponement-ended',
  'refusal',
  'rollback-request',
  'pause',
  'resume',
  'hold-released-by-other',
  'updates-enabled',
  'updates-disabled',
  'retry',
] as const;
export type DecisionKind = (typeof DECISION_KINDS)[number];

export interface DecisionEntry {
  /** From 1, without gaps. */
  readonly seq: number;
  readonly kind: DecisionKind;
  readonly atWallMs: number;
  readonly uid: number;
  /** Name of the program that called, for people; '' = unknown. */
  readonly app: string;
  /** '' = about no deployment. */
  readonly deploymentId: string;
  readonly artifactName: string;
  readonly digest: string;
  /** '' = at no hold point. */
  readonly point: HoldPoint | '';
  /** Of a postponement; else 0. */
  readonly seconds: number;
  /** What the person said: comment or reason; or the id of the hold or of the deployment. */
  readonly comment: string;
}

export interface Journal {
  readonly lastSeq: number;
  /** Not known to be in the journal file yet. */
  readonly unwritten: readonly DecisionEntry[];
}

export const EMPTY_JOURNAL: Journal = { lastSeq: 0, unwritten: [] };
/** Kept with the deployment and in its history entry; the journal file has all. */
export const DECISIONS_KEPT = 32;
/** More cannot wait for a journal file that cannot be written; then the oldest are given up, with an error. */
export const MAX_UNWRITTEN = 256;

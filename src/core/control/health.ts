/** Named programs that must find the new version well before it is committed. */
export interface HealthSettings {
  /** Empty = nobody is asked. */
  readonly checkers: readonly string[];
  /** Time for all of them, counted while waiting at ArtifactCommit_Enter, seconds. */
  readonly deadlineSeconds: number;
}

export const HEALTH_VERDICTS = ['ok', 'failed'] as const;
export type HealthVerdict = (typeof HEALTH_VERDICTS)[number];

export interface HealthReport {
  readonly checker: string;
  readonly verdict: HealthVerdict;
  readonly message: string;
  readonly uid: number;
  readonly atWallMs: number;
}

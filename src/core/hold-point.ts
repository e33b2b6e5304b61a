/**
 * The five places where an update may be made to wait. Source: design/compatibility.md "Gates".
 */
export const HOLD_POINTS = [
  'Download_Enter',
  'ArtifactInstall_Enter',
  'ArtifactReboot_Enter',
  'ArtifactCommit_Enter',
  'ArtifactRollbackReboot_Enter',
] as const;
export type HoldPoint = (typeof HOLD_POINTS)[number];

export function isHoldPoint(text: string): text is HoldPoint {
  return (HOLD_POINTS as readonly string[]).includes(text);
}

/** What happens when a wait runs out. `keep-waiting` still obeys the ceiling of the point. */
export type OnExpire = 'continue' | 'fail' | 'keep-waiting';

/** What an administrator configured for one hold point (`Points` in holdpoint.json). */
export interface HoldPointSettings {
  readonly consent: 'none' | 'required';
  /** Time a required consent may take, seconds of waiting; 0 = until the ceiling. */
  readonly consentTimeoutSeconds: number;
  /** Meaningful only with consent `required`, and then always given: silence is never an answer by accident. */
  readonly onExpire: OnExpire;
  /** Longest wait at this point for whatever reason, seconds; 0 = no limit, by the administrator's decision. */
  readonly ceilingSeconds: number;
  readonly onCeiling: 'continue' | 'fail';
}
export type HoldPointPolicy = Readonly<Record<HoldPoint, HoldPointSettings>>;

const DAY_SECONDS = 24 * 3600;

/** No consent asked, 7 days at most, 24 hours at commit. Source: design/compatibility.md "Ends of waits". */
export const DEFAULT_HOLD_POINT_POLICY: HoldPointPolicy = Object.fromEntries(
  HOLD_POINTS.map((point): [HoldPoint, HoldPointSettings] => [
    point,
    {
      consent: 'none',
      consentTimeoutSeconds: 0,
      onExpire: 'fail',
      ceilingSeconds: point === 'ArtifactCommit_Enter' ? DAY_SECONDS : 7 * DAY_SECONDS,
      onCeiling: 'fail',
    },
  ]),
) as Record<HoldPoint, HoldPointSettings>;

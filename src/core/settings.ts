import type { HealthSettings } from './control/health.ts';
import type { SnoozeSettings } from './control/snooze.ts';
import { DEFAULT_HOLD_POINT_POLICY, type HoldPoint, type HoldPointPolicy } from './hold-point.ts';

/**
 * The settings the update flow itself depends on. They enter the flow inside the `ServiceStarted` event, so
 * that a recorded stream of events replays the same way on a machine that is configured differently.
 */
export interface FlowSettings {
  readonly holdPoints: HoldPointPolicy;
  readonly snooze: SnoozeSettings;
  readonly health: HealthSettings;
  /** Points with conditions to be looked at. */
  readonly conditionPoints: readonly HoldPoint[];
  /** Time in which the owner of a bound hold may come back under its application id, seconds. */
  readonly holdLingerSeconds: number;
  /** Lifetime of a control map, seconds; 0 = it expires at once (spec/update-control.md section 3.1). */
  readonly controlMapExpirationSeconds: number;
  /** Lifetime of maps, timed holds and expected owners after a start, seconds. */
  readonly controlMapBootExpirationSeconds: number;
  /** Ceiling of the time between two refreshes of the server's control map, seconds (UpdatePollIntervalSeconds). */
  readonly updatePollIntervalSeconds: number;
  /** Whether updates are on before anybody has switched them (`UpdatesEnabled`). */
  readonly updatesEnabledByDefault: boolean;
  /** Whether there is a server to check with. */
  readonly isServerConfigured: boolean;
  /**
   * Whether an update of the command line is installed and not committed. It owns the module's file tree and the
   * artifact scripts, so nothing else may begin; nobody else can end it while this service runs.
   */
  readonly isStandalonePending: boolean;
  /** Ceiling of the back-off between attempts to report a status, seconds (RetryPollIntervalSeconds). */
  readonly retryPollIntervalSeconds: number;
  /**
   * Whether an update may be committed although the server could not be reached in all these attempts. False: it is
   * rolled back, as Mender does, because the new version may be what keeps the device from its server.
   */
  readonly isOfflineCommitAllowed: boolean;
  /** Attempts; 0 = automatic (three at each interval, spec/update-flow.md section 5). */
  readonly retryPollCount: number;
}

export const DEFAULT_FLOW_SETTINGS: FlowSettings = {
  holdPoints: DEFAULT_HOLD_POINT_POLICY,
  snooze: { maxTotalSeconds: 72 * 3600, maxCount: 20 },
  health: { checkers: [], deadlineSeconds: 300 },
  conditionPoints: [],
  holdLingerSeconds: 10,
  controlMapExpirationSeconds: 3600,
  controlMapBootExpirationSeconds: 600,
  updatePollIntervalSeconds: 1800,
  updatesEnabledByDefault: true,
  isServerConfigured: false,
  isStandalonePending: false,
  retryPollIntervalSeconds: 300,
  isOfflineCommitAllowed: false,
  retryPollCount: 0,
};

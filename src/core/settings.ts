import { DEFAULT_HOLD_POINT_POLICY, type HoldPointPolicy } from './hold-point.ts';

/**
 * The settings the update flow itself depends on. They enter the flow inside the `ServiceStarted` event, so
 * that a recorded stream of events replays the same way on a machine that is configured differently.
 */
export interface FlowSettings {
  readonly holdPoints: HoldPointPolicy;
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
  /** Attempts; 0 = automatic (three at each interval, spec/update-flow.md section 5). */
  readonly retryPollCount: number;
}

export const DEFAULT_FLOW_SETTINGS: FlowSettings = {
  holdPoints: DEFAULT_HOLD_POINT_POLICY,
  updatesEnabledByDefault: true,
  isServerConfigured: false,
  isStandalonePending: false,
  retryPollIntervalSeconds: 300,
  retryPollCount: 0,
};

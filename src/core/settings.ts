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
  /** Ceiling of the back-off between attempts to report a status, seconds (RetryPollIntervalSeconds). */
  readonly retryPollIntervalSeconds: number;
  /** Attempts; 0 = automatic (three at each interval, spec/update-flow.md section 5). */
  readonly retryPollCount: number;
}

export const DEFAULT_FLOW_SETTINGS: FlowSettings = {
  holdPoints: DEFAULT_HOLD_POINT_POLICY,
  updatesEnabledByDefault: true,
  isServerConfigured: false,
  retryPollIntervalSeconds: 300,
  retryPollCount: 0,
};

import type { ArtifactLocation } from '../core/artifact.ts';
import type { ServerStatus } from '../core/effect.ts';
import type { GivenMap } from '../core/server-map.ts';

/** A deployment the server offers. Plain data only (docs/decisions/0003). */
export interface DeploymentOffer {
  readonly deploymentId: string;
  readonly artifactName: string;
  readonly location: ArtifactLocation;
  /** JSON text of the update control map that came with it, as sent; null = none. */
  readonly controlMapText: string | null;
  /** JSON text of the releases announced beside it, as sent; absent = none. */
  readonly mapReleasesText?: string;
}

/** How a report went: `aborted` = the server has ended the deployment (409); rejected promises are transient. */
export type ReportOutcome = 'accepted' | 'aborted';

/**
 * The answer to a refresh of a deployment's control map: its JSON text and what was announced beside it, or the deployment is over (404).
 * Source: spec/update-control.md section 6.
 */
export type ControlMapAnswer = ({ readonly kind: 'map' } & GivenMap) | { readonly kind: 'deployment-gone' };

export interface DeploymentServer {
  /** Whether any server is configured; false = every other call rejects. */
  readonly isConfigured: boolean;
  checkForDeployment(signal: AbortSignal): Promise<DeploymentOffer | null>;
  /** Obtains a fresh authorization (before commit: proof that the server can still be reached). */
  authorize(signal: AbortSignal): Promise<void>;
  reportStatus(
    deploymentId: string,
    status: ServerStatus,
    substate: string,
    signal: AbortSignal,
  ): Promise<ReportOutcome>;
  uploadLog(deploymentId: string, lines: AsyncIterable<string>, signal: AbortSignal): Promise<ReportOutcome>;
  /** Rejects (kind `server`) for every answer that is neither a map nor a 404. */
  fetchControlMap(deploymentId: string, signal: AbortSignal): Promise<ControlMapAnswer>;
}

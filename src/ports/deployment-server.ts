import type { ArtifactLocation } from '../core/artifact.ts';
import type { ServerStatus } from '../core/effect.ts';

/** A deployment the server offers. Plain data only (docs/decisions/0003). */
export interface DeploymentOffer {
  readonly deploymentId: string;
  readonly artifactName: string;
  readonly location: ArtifactLocation;
}

/** How a report went: `aborted` = the server has ended the deployment (409); rejected promises are transient. */
export type ReportOutcome = 'accepted' | 'aborted';

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
}

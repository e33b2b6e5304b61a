/** A deployment server that offers one update until it has been told a result, and keeps everything it was told. */
import type { ServerStatus } from '../../../src/core/effect.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import type {
  DeploymentOffer,
  DeploymentServer,
  ReportOutcome,
} from '../../../src/ports/deployment-server.ts';
import { isFinal } from '../flow-simulator.ts';

export class TrialServer implements DeploymentServer {
  readonly isConfigured = true;
  /** Results it was told, without repeats; more than one would be a contradiction. */
  readonly results: ServerStatus[] = [];
  readonly #offer: DeploymentOffer;

  constructor(offer: DeploymentOffer) {
    this.#offer = offer;
  }

  async checkForDeployment(): Promise<DeploymentOffer | null> {
    return this.results.length > 0 ? null : this.#offer;
  }

  async authorize(): Promise<void> {}

  /** Whoever goes on with a deployment that is over is told so. */
  async reportStatus(_deploymentId: string, status: ServerStatus): Promise<ReportOutcome> {
    if (isFinal(status) && !this.results.includes(status)) this.results.push(status);
    else if (!isFinal(status) && this.results.length > 0) return 'aborted';
    return 'accepted';
  }

  async uploadLog(): Promise<ReportOutcome> {
    return 'accepted';
  }

  fetchControlMap(): Promise<never> {
    return Promise.reject(new UpdateError('server', 'the deployment has no control map'));
  }
}

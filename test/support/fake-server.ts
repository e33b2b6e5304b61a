import { UpdateError } from '../../src/core/errors.ts';
import type { ServerStatus } from '../../src/core/effect.ts';
import type {
  ControlMapAnswer,
  DeploymentOffer,
  DeploymentServer,
  ReportOutcome,
} from '../../src/ports/deployment-server.ts';

/** A deployment server that offers one artifact until it has a final status, and can be told to misbehave. */
const LETTERS: Readonly<Partial<Record<ServerStatus, string>>> = {
  downloading: 'd',
  installing: 'i',
  rebooting: 'r',
  success: 's',
  failure: 'f',
  'already-installed': 'a',
};

export interface ServerFault {
  readonly kind: 'aborted' | 'unreachable';
  readonly status: ServerStatus;
  /** The first attempt at this status that is met by it, counted from 1. */
  readonly attempt: number;
  readonly times: number;
}

export class FakeServer implements DeploymentServer {
  readonly isConfigured = true;
  readonly accepted: ServerStatus[] = [];
  readonly uploadedLogs: string[][] = [];
  authorizations = 0;
  failingAuthorizations = 0;
  readonly #attempts = new Map<ServerStatus, number>();
  readonly #faults: readonly ServerFault[];
  readonly #offer: DeploymentOffer;

  constructor(offer: DeploymentOffer, faults: readonly ServerFault[] = []) {
    this.#offer = offer;
    this.#faults = faults;
  }

  get isOver(): boolean {
    return this.accepted.some((status) => ['success', 'failure', 'already-installed'].includes(status));
  }

  /** Accepted statuses in shorthand, consecutive repeats merged, as the table in the specification has them. */
  get reports(): string {
    const letters = this.accepted.flatMap((status) => LETTERS[status] ?? []);
    return letters.filter((letter, index) => letter !== letters[index - 1]).join(' ');
  }

  async checkForDeployment(): Promise<DeploymentOffer | null> {
    return this.isOver ? null : this.#offer;
  }

  async authorize(): Promise<void> {
    this.authorizations += 1;
    if (this.authorizations <= this.failingAuthorizations) {
      throw new UpdateError('server', 'the server cannot be reached');
    }
  }

  async reportStatus(deploymentId: string, status: ServerStatus): Promise<ReportOutcome> {
    if (deploymentId !== this.#offer.deploymentId) throw new Error(`a report about ${deploymentId}`);
    const attempt = (this.#attempts.get(status) ?? 0) + 1;
    this.#attempts.set(status, attempt);
    const fault = this.#faults.find(
      (one) => one.status === status && attempt >= one.attempt && attempt < one.attempt + one.times,
    );
    if (fault?.kind === 'unreachable') throw new UpdateError('server', 'the server cannot be reached');
    if (fault?.kind === 'aborted') return 'aborted';
    this.accepted.push(status);
    return 'accepted';
  }

  /** The map it came with; a deployment without one has none to fetch. */
  async fetchControlMap(deploymentId: string): Promise<ControlMapAnswer> {
    const text = this.#offer.controlMapText;
    if (deploymentId !== this.#offer.deploymentId || this.isOver) return { kind: 'deployment-gone' };
    if (text === null) throw new UpdateError('server', 'the deployment has no control map');
    return { kind: 'map', text };
  }

  async uploadLog(_deploymentId: string, lines: AsyncIterable<string>): Promise<ReportOutcome> {
    const all: string[] = [];
    for await (const line of lines) all.push(line);
    this.uploadedLogs.push(all);
    return 'accepted';
  }
}

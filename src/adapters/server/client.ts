/**
 * The deployments part of the device API. Source: spec/server-api.md sections 4 to 7. Only what the specification calls
 * an abort (409 to a report, 404 to a map) is read as one: overload and faults are transient errors.
 */
import { UpdateError } from '../../core/errors.ts';
import type { ServerStatus } from '../../core/effect.ts';
import type { Authentication } from '../../ports/authentication.ts';
import type { Clock } from '../../ports/clock.ts';
import type {
  ControlMapAnswer,
  DeploymentOffer,
  DeploymentServer,
  ReportOutcome,
} from '../../ports/deployment-server.ts';
import type { Log } from '../../ports/log.ts';
import { noteFailure } from './failure-note.ts';
import { isServersOwn, parseMapAnswer, parseOffer } from './answers.ts';
import { logBody, MAX_LOG_BYTES } from './deployment-log.ts';
import { deviceProvides, type DeviceDescription } from './device-provides.ts';
import { answerError } from '../http/link-error.ts';
import type { ApiAnswer, ApiRequest, ApiSession } from './session.ts';

export interface ServerClientTools {
  readonly isConfigured: boolean;
  readonly session: ApiSession;
  readonly authentication: Authentication;
  readonly describeDevice: () => Promise<DeviceDescription>;
  readonly clock: Clock;
  readonly log: Log;
}

const DEPLOYMENTS_V1 = '/api/devices/v1/deployments/device/deployments';
const DEPLOYMENTS_V2 = '/api/devices/v2/deployments/device/deployments';
const MAX_SUBSTATE_BYTES = 200;
/** A server that takes less than it should gets half as much, this often. */
const LOG_SHRINKINGS = 4;

export class ServerClient implements DeploymentServer {
  readonly isConfigured: boolean;
  readonly #tools: ServerClientTools;

  constructor(tools: ServerClientTools) {
    this.isConfigured = tools.isConfigured;
    this.#tools = tools;
  }

  /**
   * Asks the newest endpoint first and, only after a 404, the next older one. null = nothing to do. Rejects with kind
   * `server` (details `reason`, `host`, `status`, `retry-after-seconds`), or as the device's description does.
   */
  checkForDeployment(signal: AbortSignal): Promise<DeploymentOffer | null> {
    return this.#noted(this.#check(signal));
  }

  async #check(signal: AbortSignal): Promise<DeploymentOffer | null> {
    const device = await this.#tools.describeDevice();
    if (device.deviceType === '') {
      throw new UpdateError('config', 'no deployment can be asked for: the device type is unknown', {
        failureName: 'Incompatible',
        details: { reason: 'device-type' },
      });
    }
    const provides = deviceProvides(device);
    const doing = 'asking for a deployment';
    const query = new URLSearchParams({
      artifact_name: provides['artifact_name'] ?? '',
      device_type: provides['device_type'] ?? '',
    });
    const variants: readonly ApiRequest[] = [
      {
        doing,
        method: 'POST',
        path: `${DEPLOYMENTS_V2}/next`,
        body: json({ device_provides: provides, update_control_map: true }),
      },
      { doing, method: 'POST', path: `${DEPLOYMENTS_V1}/next`, body: json(provides) },
      // A blank as %20 and not as plus: both are read, one is also understood in paths.
      {
        doing,
        method: 'GET',
        path: `${DEPLOYMENTS_V1}/next?${query.toString().replaceAll('+', '%20')}`,
        body: null,
      },
    ];
    let last: ApiAnswer | null = null;
    for (const variant of variants) {
      const answer = await this.#tools.session.call(variant, signal);
      if (answer.status === 204) return null;
      if (answer.status === 200) return offerOf(answer, doing);
      if (answer.status !== 404) throw answer.asError('200 or 204');
      last = answer;
    }
    throw last!.asError('one of the three ways to ask for a deployment to exist');
  }

  async authorize(signal: AbortSignal): Promise<void> {
    await this.#tools.authentication.authenticate(signal);
  }

  reportStatus(
    deploymentId: string,
    status: ServerStatus,
    substate: string,
    signal: AbortSignal,
  ): Promise<ReportOutcome> {
    return this.#noted(this.#report(deploymentId, status, substate, signal));
  }

  async #report(
    deploymentId: string,
    status: ServerStatus,
    substate: string,
    signal: AbortSignal,
  ): Promise<ReportOutcome> {
    const answer = await this.#tools.session.call(
      {
        doing: `reporting the status ${status}`,
        method: 'PUT',
        path: `${DEPLOYMENTS_V1}/${encodeURIComponent(deploymentId)}/status`,
        body: json(
          substate === '' ? { status } : { status, substate: cutToBytes(substate, MAX_SUBSTATE_BYTES) },
        ),
      },
      signal,
    );
    return outcomeOf(answer);
  }

  /**
   * Sends the newest part of the log that fits, at least one entry. A server for which even a small part is too large
   * (413) gets none, which counts as accepted: repeating could not help.
   */
  uploadLog(deploymentId: string, lines: AsyncIterable<string>, signal: AbortSignal): Promise<ReportOutcome> {
    return this.#noted(this.#upload(deploymentId, lines, signal));
  }

  async #upload(
    deploymentId: string,
    lines: AsyncIterable<string>,
    signal: AbortSignal,
  ): Promise<ReportOutcome> {
    const now = new Date(this.#tools.clock.now().wallMs).toISOString();
    let body = await logBody(lines, MAX_LOG_BYTES, now);
    for (let shrinkings = 0; ; shrinkings++) {
      if (signal.aborted) throw new UpdateError('cancelled', 'sending the deployment log was stopped');
      const answer = await this.#tools.session.call(
        {
          doing: 'sending the deployment log',
          method: 'PUT',
          path: `${DEPLOYMENTS_V1}/${encodeURIComponent(deploymentId)}/log`,
          body,
        },
        signal,
      );
      if (answer.status !== 413) return outcomeOf(answer);
      if (shrinkings === LOG_SHRINKINGS) {
        this.#tools.log.warn('the server takes no deployment log of any size; it is not sent', {
          deploymentId,
          bytes: body.length,
        });
        return 'accepted';
      }
      body = await logBody(entriesOf(body), Math.max(2048, Math.floor(body.length / 2)), now);
    }
  }

  async fetchControlMap(deploymentId: string, signal: AbortSignal): Promise<ControlMapAnswer> {
    const doing = 'refreshing the update control map';
    const answer = await this.#tools.session.call(
      {
        doing,
        method: 'GET',
        path: `${DEPLOYMENTS_V2}/${encodeURIComponent(deploymentId)}/update_control_map`,
        body: null,
      },
      signal,
    );
    if (answer.status === 404 && isServersOwn(answer)) return { kind: 'deployment-gone' };
    if (answer.status !== 200) throw answer.asError('200, or 404 of the server itself');
    const map = parseMapAnswer(answer.text);
    if (map.value === null) throw badAnswer(answer, doing, map.problem);
    return { kind: 'map', ...map.value };
  }

  /** Whoever looks after the device must find why the server was not reached, once for each try (design/faults.md R21). */
  async #noted<T>(call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      noteFailure(this.#tools.log, error);
      throw error;
    }
  }
}

function offerOf(answer: ApiAnswer, doing: string): DeploymentOffer {
  const offer = parseOffer(answer.text);
  if (offer.value === null) throw badAnswer(answer, doing, offer.problem);
  return offer.value;
}

function badAnswer({ host, status }: ApiAnswer, doing: string, problem: string): UpdateError {
  return answerError({ doing, host }, 'bad-answer', problem, { status });
}

function outcomeOf(answer: ApiAnswer): ReportOutcome {
  if (answer.status === 204) return 'accepted';
  if (answer.status === 409 && isServersOwn(answer)) return 'aborted';
  throw answer.asError('204');
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** Whole characters of at most so many bytes of UTF-8: servers count either. */
function cutToBytes(text: string, maxBytes: number): string {
  if (Buffer.byteLength(text) <= maxBytes) return text;
  let cut = '';
  let bytes = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > maxBytes) break;
    cut += character;
  }
  return cut;
}

async function* entriesOf(body: Buffer): AsyncGenerator<string> {
  const { messages } = JSON.parse(body.toString()) as { readonly messages: readonly unknown[] };
  for (const message of messages) yield JSON.stringify(message);
}

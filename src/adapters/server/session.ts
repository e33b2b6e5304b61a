/**
 * Requests with the device's token. Source: spec/server-api.md section 2.4: after a 401 exactly one new authentication
 * and one repetition, to the server that issued the new token; the second answer is final. Where there are several servers,
 * the same after no answer at all: only an authentication goes through the list.
 */
import { UpdateError } from '../../core/errors.ts';
import { quoted } from '../../core/printable.ts';
import type { Authentication, Credentials } from '../../ports/authentication.ts';
import { errorText } from './answers.ts';
import type { HttpAnswer, HttpClient } from './http.ts';
import { answerError } from '../http/link-error.ts';

export interface ApiRequest {
  /** For messages, for example `asking for a deployment`. */
  readonly doing: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH';
  /** Path with query, from the server's base URL on. */
  readonly path: string;
  /** JSON text; null = none. */
  readonly body: Buffer | null;
}

export interface ApiAnswer extends HttpAnswer {
  /** This answer as a failure: kind `server`, details `reason`, `host`, `status`, `retry-after-seconds`. */
  readonly asError: (expected: string) => UpdateError;
}

export class ApiSession {
  readonly #http: HttpClient;
  readonly #authentication: Authentication;
  readonly #hasSeveralServers: boolean;

  constructor(http: HttpClient, authentication: Authentication, hasSeveralServers: boolean) {
    this.#http = http;
    this.#authentication = authentication;
    this.#hasSeveralServers = hasSeveralServers;
  }

  /** Resolves with the answer, whatever its status. Rejects as `HttpClient.send` and `Authentication.authenticate`. */
  async call(request: ApiRequest, signal: AbortSignal): Promise<ApiAnswer> {
    const first = this.#authentication.cached() ?? (await this.#authentication.authenticate(signal));
    let answer: ApiAnswer;
    try {
      answer = await this.#send(request, first, signal);
    } catch (error) {
      const other = await this.#elsewhere(first, error, signal);
      if (other === null) throw error;
      return this.#send(request, other, signal);
    }
    // Somebody who never saw the token, or stands before the server, says nothing about it.
    if (answer.status !== 401 || answer.isFromElsewhere || answer.isWebPage) return answer;
    const second = await this.#renew(first, signal);
    return this.#send(request, second, signal);
  }

  /** Credentials of another server, where this one did not answer and there is another; null = none. */
  async #elsewhere(first: Credentials, error: unknown, signal: AbortSignal): Promise<Credentials | null> {
    // A certificate or proxy that cannot be used is no better at the next server.
    const isSilent = error instanceof UpdateError && error.kind === 'server';
    if (!this.#hasSeveralServers || !isSilent || signal.aborted) return null;
    try {
      const second = await this.#renew(first, signal);
      return second.serverUrl === first.serverUrl ? null : second;
    } catch {
      // That nobody answers is what there is to tell.
      return null;
    }
  }

  /** The credentials somebody else has obtained since `refused` was sent, else those of a new attempt. */
  #renew(refused: Credentials, signal: AbortSignal): Promise<Credentials> {
    const now = this.#authentication.cached();
    if (now !== null && now !== refused) return Promise.resolve(now);
    return this.#authentication.authenticate(signal);
  }

  async #send(request: ApiRequest, credentials: Credentials, signal: AbortSignal): Promise<ApiAnswer> {
    const { doing, method, path, body } = request;
    const token = credentials.token.reveal();
    const answer = await this.#http.send(
      {
        doing,
        method,
        url: new URL(`${credentials.serverUrl}${path}`),
        headers: body === null ? {} : { 'content-type': 'application/json' },
        authorization: `Bearer ${token}`,
        body,
      },
      signal,
    );
    return {
      ...answer,
      asError: (expected) => {
        // A server that repeats what it was sent must not bring the token into a log.
        const says = errorText(answer.text).replaceAll(token, '(token)');
        const said = says === '' ? '' : `, the server says ${quoted(says, 200)}`;
        const { status, retryAfterSeconds, host } = answer;
        return answerError(
          { doing, host },
          status === 401 ? 'unauthorized' : 'status',
          `found status ${status}${said}, expected ${expected}`,
          { status, ...(retryAfterSeconds === null ? {} : { 'retry-after-seconds': retryAfterSeconds }) },
        );
      },
    };
  }
}

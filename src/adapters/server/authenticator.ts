/**
 * Obtains and keeps the device's token. Source: spec/server-api.md sections 2 and 10.
 *
 * - One attempt at a time, shared by everybody who asks meanwhile.
 * - An attempt asks the configured servers in order; the first that gives a token wins, and is the server of every
 *   further request.
 * - The token is kept in memory until another one replaces it or the server that issued it refuses it: that no server
 *   can be reached says nothing about it.
 */
import { BehaviorSubject, type Observable } from 'rxjs';
import { UpdateError, type Details } from '../../core/errors.ts';
import { quoted } from '../../core/printable.ts';
import type { Log } from '../../ports/log.ts';
import type {
  Authentication,
  AuthenticationState,
  AuthenticationStatus,
  Credentials,
} from '../../ports/authentication.ts';
import { authRequestBody, type AuthRequestParts } from './auth-request.ts';
import { parseToken } from './bearer-token.ts';
import { errorText } from './answers.ts';
import type { HttpAnswer, HttpClient } from './http.ts';
import type { DeviceKey } from './keys.ts';
import { SharedFlight } from './shared-flight.ts';

export interface AuthenticatorOptions {
  /** Base URLs, in the order they are asked. */
  readonly servers: readonly string[];
  /** '' = none. */
  readonly tenantToken: string;
  readonly tier: string;
}

export interface AuthenticatorTools {
  readonly http: HttpClient;
  readonly log: Log;
  readonly loadKey: () => Promise<DeviceKey>;
  /** The identity as JSON text. */
  readonly readIdentity: (signal: AbortSignal) => Promise<string>;
  /** A server has accepted the device as that; never rejects. */
  readonly identityAccepted: (identity: string) => Promise<void>;
}

const AUTH_PATH = '/api/devices/v1/authentication/auth_requests';

type Verdict =
  | { readonly kind: 'accepted'; readonly credentials: Credentials }
  /** The server has judged: 401 or another refusal of this device. */
  | { readonly kind: 'refused'; readonly error: UpdateError; readonly server: string; readonly says: string }
  | { readonly kind: 'no-answer'; readonly error: UpdateError };

export class Authenticator implements Authentication {
  readonly #options: AuthenticatorOptions;
  readonly #tools: AuthenticatorTools;
  readonly #state = new BehaviorSubject<AuthenticationState>({
    status: 'none',
    credentials: null,
    failure: '',
  });
  readonly #flight = new SharedFlight((signal) => this.#attempt(signal));
  /** A server has accepted this device since the start: a later refusal is a rejection. */
  #wasAccepted = false;

  constructor(options: AuthenticatorOptions, tools: AuthenticatorTools) {
    this.#options = options;
    this.#tools = tools;
  }

  get state$(): Observable<AuthenticationState> {
    return this.#state.asObservable();
  }

  cached(): Credentials | null {
    return this.#state.value.credentials;
  }

  authenticate(signal: AbortSignal): Promise<Credentials> {
    return this.#flight.join(signal);
  }

  async #attempt(signal: AbortSignal): Promise<Credentials> {
    // Before anything is made or run: a device without a server needs no key.
    if (this.#options.servers.length === 0) throw new UpdateError('server', 'no server is configured');
    try {
      const key = await this.#tools.loadKey();
      const identity = await this.#tools.readIdentity(signal);
      const credentials = await this.#askAll(authRequestBody({ ...this.#options, identity, key }), signal);
      await this.#tools.identityAccepted(identity);
      return credentials;
    } catch (error) {
      // What a server or the way to it made fail is told already.
      const isTold = error instanceof UpdateError && ['server', 'cancelled'].includes(error.kind);
      if (!isTold) this.#failedHere(error);
      throw error;
    }
  }

  async #askAll(parts: AuthRequestParts, signal: AbortSignal): Promise<Credentials> {
    const { servers } = this.#options;
    const refusals: (Verdict & { kind: 'refused' })[] = [];
    const errors: UpdateError[] = [];
    for (const server of servers) {
      const verdict = await this.#ask(server, parts, signal);
      if (verdict.kind === 'accepted') {
        this.#wasAccepted = true;
        this.#publish({ status: 'authorized', credentials: verdict.credentials, failure: '' });
        return verdict.credentials;
      }
      errors.push(verdict.error);
      if (verdict.kind === 'refused') refusals.push(verdict);
    }
    throw this.#failed(refusals, errors);
  }

  async #ask(server: string, { body, signature }: AuthRequestParts, signal: AbortSignal): Promise<Verdict> {
    let answer: HttpAnswer;
    try {
      answer = await this.#tools.http.send(
        {
          doing: 'authenticating',
          method: 'POST',
          url: new URL(`${server}${AUTH_PATH}`),
          headers: { 'content-type': 'application/json', 'X-MEN-Signature': signature },
          // What the C++ client sends; servers ignore it here.
          authorization: 'API_KEY',
          body,
          isBodySecret: true,
        },
        signal,
      );
    } catch (error) {
      // A certificate or proxy that cannot be used is no better at the next server.
      if (!(error instanceof UpdateError) || error.kind !== 'server') throw error;
      return { kind: 'no-answer', error };
    }
    const { status, host } = answer;
    if (status === 200) {
      const token = parseToken(answer.text);
      if (token !== null) return { kind: 'accepted', credentials: { token, serverUrl: server } };
      // The text is not shown: it may be a token that is only slightly broken.
      return {
        kind: 'no-answer',
        error: failure(host, 'found status 200 without a token', 'bad-answer', answer),
      };
    }
    const { tenantToken } = this.#options;
    const text = errorText(answer.text);
    // A server that repeats what it was sent must not bring a secret into a log.
    const says = tenantToken.trim() === '' ? text : text.replaceAll(tenantToken.trim(), '(tenant token)');
    const why = `found status ${status}${says === '' ? '' : `, the server says ${quoted(says, 200)}`}, expected 200`;
    // Everything else (404 of a wrong URL, 429, 5xx, a page of whoever stands in between) says nothing about the device.
    if ((status === 401 || status === 403) && !answer.isWebPage) {
      return { kind: 'refused', error: failure(host, why, 'refused', answer), server, says };
    }
    return { kind: 'no-answer', error: failure(host, why, 'status', answer) };
  }

  /** An attempt that did not get as far as a server leaves our standing as it was. */
  #failedHere(error: unknown): void {
    const failure = error instanceof Error ? error.message : String(error);
    this.#publish({ ...this.#state.value, failure });
  }

  /** Everybody hears of every attempt; the log of changes only. */
  #publish(state: AuthenticationState): void {
    const before = this.#state.value;
    if (state.status !== before.status || (state.failure === '') !== (before.failure === '')) {
      const fields = {
        status: state.status,
        ...(state.credentials === null ? {} : { host: new URL(state.credentials.serverUrl).host }),
        ...(state.failure === '' ? {} : { problem: state.failure }),
      };
      if (state.failure === '') this.#tools.log.info('the server accepts this device', fields);
      else this.#tools.log.warn('the device could not authenticate', fields);
    }
    this.#state.next(state);
  }

  #failed(refusals: readonly (Verdict & { kind: 'refused' })[], errors: readonly UpdateError[]): UpdateError {
    const status = this.#statusAfter(refusals);
    const old = this.cached();
    const isDead = old !== null && refusals.some(({ server }) => server === old.serverUrl);
    const waits = errors.map(({ details }) => Number(details['retry-after-seconds'] ?? 0));
    const retryAfter = Math.max(...waits);
    // The verdict of a server says more than that another one could not be reached.
    const telling = refusals.at(-1)?.error ?? errors.at(-1);
    const details: Details = {
      ...telling?.details,
      ...(status === 'unreachable' ? {} : { reason: status }),
      ...(retryAfter > 0 ? { 'retry-after-seconds': retryAfter } : {}),
    };
    const shown = errors.slice(0, 5).map(({ message }) => message);
    const more = errors.length > shown.length ? `; and ${errors.length - shown.length} more` : '';
    const error = new UpdateError('server', `${shown.join('; ')}${more}`, { cause: telling?.cause, details });
    this.#publish({ status, credentials: isDead ? null : old, failure: error.message });
    return error;
  }

  /** Servers answer 401 to both; what tells them apart is what was before, and sometimes the words. */
  #statusAfter(refusals: readonly (Verdict & { kind: 'refused' })[]): AuthenticationStatus {
    if (refusals.length === 0) return 'unreachable';
    const isSaid = (words: RegExp): boolean => refusals.some(({ says }) => words.test(says));
    if (isSaid(/reject|decommission/i)) return 'rejected';
    return this.#wasAccepted && !isSaid(/\bpending\b/i) ? 'rejected' : 'pending';
  }
}

function failure(host: string, why: string, reason: string, answer: HttpAnswer): UpdateError {
  return new UpdateError('server', `authenticating at ${host}: ${why}`, {
    details: {
      reason,
      host,
      status: answer.status,
      ...(answer.retryAfterSeconds === null ? {} : { 'retry-after-seconds': answer.retryAfterSeconds }),
    },
  });
}

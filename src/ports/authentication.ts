import type { Observable } from 'rxjs';

/** A text that must not be printed: neither logging, JSON nor string conversion shows it. */
export interface Secret {
  /** The text itself, for the one place that needs it. */
  reveal(): string;
}

/** What a server gave after accepting the device: both or nothing. */
export interface Credentials {
  readonly token: Secret;
  /** Base URL of the server that issued the token, without trailing slash. */
  readonly serverUrl: string;
}

/**
 * What is known about the device's standing with the server:
 * - `none`: no attempt has been finished yet;
 * - `pending`: a server was reached and does not accept the device (yet);
 * - `authorized`: the last attempt gave a token;
 * - `rejected`: a server that had accepted the device, or says so in words, refuses it now;
 * - `unreachable`: no server gave an answer that counts.
 *
 * A server answers pending and rejected devices alike (401), see spec/server-api.md section 2.3.
 */
export type AuthenticationStatus = 'none' | 'pending' | 'authorized' | 'rejected' | 'unreachable';

export interface AuthenticationState {
  readonly status: AuthenticationStatus;
  /** What further requests would use; may be older than the last attempt. null = none. */
  readonly credentials: Credentials | null;
  /** Why the last attempt failed, one line for people; '' = it did not. */
  readonly failure: string;
}

export interface Authentication {
  /**
   * The latest state to every new subscriber, then one value after EVERY finished attempt, equal ones included: this
   * is what `JwtTokenStateChange` is sent from (spec/dbus-mender.md section 2.3). Never ends, never fails.
   */
  readonly state$: Observable<AuthenticationState>;
  /** What is cached, without any traffic; null = nothing. */
  cached(): Credentials | null;
  /**
   * Asks the servers anew, whatever is cached. Callers at the same time share one attempt; the abort of one of them
   * ends it for the others only when nobody is left. Rejects with kind `server` (details `reason`, `host`), `script`
   * (identity), `config` (key, certificate files), `cancelled`.
   */
  authenticate(signal: AbortSignal): Promise<Credentials>;
}

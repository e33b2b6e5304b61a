import { concatMap, skip, tap, type Subscription } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import type { Authentication, AuthenticationState, Secret } from '../../ports/authentication.ts';
import type { Log } from '../../ports/log.ts';
import type { TokenForwarder } from '../../ports/token-forwarder.ts';
import { rootOrReading } from './authorise.ts';
import type { Bus } from './connection.ts';
import { Emitter } from './emit.ts';
import type { ErrorReply } from './errors.ts';
import { loadMenderAuthTable, MENDER_AUTH_INTERFACE, MENDER_AUTH_PATH } from './interface-xml.ts';
import type { ServedObject } from './served-object.ts';

/**
 * The object /io/mender/AuthenticationManager: hands the token and the address of the forwarder to Mender's add-ons.
 * The signal is a broadcast, as theirs is; that only root receives it is the business of the bus's policy, which we
 * ship. Source: spec/dbus-mender.md section 2.
 */
export interface MenderAuthOptions {
  readonly authentication: Authentication;
  readonly forwarder: TokenForwarder;
  /** Without a server nothing can be fetched. */
  readonly isServerConfigured: boolean;
  readonly log: Log;
}

/** Both or nothing. */
interface Offer {
  readonly token: Secret;
  readonly url: string;
}

/** What Mender 3.4 answers, byte for byte. */
const FAILED: ErrorReply = {
  name: 'io.mender.Failed',
  message: 'Method returned error, see Mender logs for more details',
};
const SIGNAL = 'JwtTokenStateChange';

export class MenderAuthManager {
  readonly object: ServedObject;
  readonly #options: MenderAuthOptions;
  readonly #emitter: Emitter;
  readonly #subscription: Subscription;
  readonly #stop = new AbortController();
  #offer: Offer | null = null;
  /** Attempts that have ended. */
  #finished = 0;

  constructor(bus: Bus, options: MenderAuthOptions) {
    this.#options = options;
    this.object = {
      path: MENDER_AUTH_PATH,
      table: loadMenderAuthTable(),
      handlers: {
        [`${MENDER_AUTH_INTERFACE}.GetJwtToken`]: () => Promise.resolve(this.#values()),
        [`${MENDER_AUTH_INTERFACE}.FetchJwtToken`]: () => Promise.resolve([this.#fetch()]),
      },
      properties: () => ({}),
      notBuilt: new Set(),
      authorise: rootOrReading,
      // Neither method takes arguments: what fails is ours.
      errorReply: (error) => (error instanceof UpdateError && error.kind === 'internal' ? FAILED : null),
    };
    this.#emitter = new Emitter(bus, this.object, options.log);
    // The first value is how things stand, not an attempt.
    this.#subscription = options.authentication.state$
      .pipe(
        skip(1),
        tap(() => (this.#finished += 1)),
        concatMap((state) => this.#follow(state)),
      )
      .subscribe();
    const present = options.authentication.cached();
    if (present !== null) void this.#prepare();
  }

  /** No signal after this. The forwarder is not closed. */
  close(): void {
    this.#stop.abort();
    this.#subscription.unsubscribe();
    this.#emitter.close();
  }

  async #follow({ credentials }: AuthenticationState): Promise<void> {
    if (credentials === null) this.#offer = null;
    await this.#prepare();
    this.#announce();
  }

  /** Brings the forwarder, then the offer, to what is cached now. Never rejects. */
  async #prepare(): Promise<void> {
    const credentials = this.#options.authentication.cached();
    try {
      const url = await this.#options.forwarder.serve(credentials);
      this.#offer = credentials === null || url === '' ? null : { token: credentials.token, url };
    } catch (error) {
      this.#offer = null;
      this.#options.log.error('The forwarder for other programs cannot be reached', {
        errorMessage: error instanceof Error ? error.message : String(error),
      });
    }
  }

  #values(): readonly [token: string, url: string] {
    // What has just been refused is not given out, even while its forwarder is still being closed.
    const isDead = this.#options.authentication.cached() === null;
    return this.#offer === null || isDead ? ['', ''] : [this.#offer.token.reveal(), this.#offer.url];
  }

  #announce(): void {
    if (!this.#stop.signal.aborted) this.#emitter.signal(MENDER_AUTH_INTERFACE, SIGNAL, this.#values());
  }

  /** Whether somebody is being asked. What comes of it is the signal. */
  #fetch(): boolean {
    const { authentication, isServerConfigured, log } = this.#options;
    if (!isServerConfigured) return false;
    const before = this.#finished;
    const { signal } = this.#stop;
    authentication.authenticate(signal).catch((error: unknown) => {
      log.debug('A token was asked for and could not be had', {
        errorMessage: error instanceof Error ? error.message : String(error),
      });
      // Whoever asked waits for the signal, also where the attempt has not got as far as to have an outcome.
      setImmediate(() => {
        if (this.#finished === before) this.#announce();
      });
    });
    return true;
  }
}

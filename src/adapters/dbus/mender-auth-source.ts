/**
 * A `mender-auth` (or the daemon of Mender 3.x) that runs on this device as the source of the token: it has the key and
 * talks to the server, we send our requests through its forwarder. Source: spec/dbus-mender.md sections 2 and 4.
 */
import { BehaviorSubject, filter, firstValueFrom, Subject, Subscription, type Observable } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import type { Authentication, AuthenticationState, Credentials, Secret } from '../../ports/authentication.ts';
import type { Log } from '../../ports/log.ts';
import type { Bus } from './connection.ts';
import { MENDER_AUTH_BUS_NAME, MENDER_AUTH_INTERFACE, MENDER_AUTH_PATH } from './interface-xml.ts';

export interface MenderAuthSourceOptions {
  /** For the signal after a request; default as Mender waits. */
  readonly signalTimeoutMs?: number;
  /** For a reply: the identity script of 5.x runs meanwhile. */
  readonly callTimeoutMs?: number;
}

const SIGNAL_TIMEOUT_MS = 60_000;
const CALL_TIMEOUT_MS = 25_000;
const NOTHING = 'mender-auth has no token for this device; its log says why';
const ABSENT = 'there is no mender-auth on the bus';

export class MenderAuthSource implements Authentication {
  readonly #bus: Bus;
  readonly #log: Log;
  readonly #options: MenderAuthSourceOptions;
  readonly #state = new BehaviorSubject<AuthenticationState>({
    status: 'none',
    credentials: null,
    failure: '',
  });
  /** One value for each signal: null = an empty one. */
  readonly #signals = new Subject<Credentials | null>();
  readonly #subscription = new Subscription();
  readonly #end = new AbortController();
  #attempt: Promise<Credentials> | null = null;

  /** Listens from now on, over losses of the bus and of the other side. */
  constructor(bus: Bus, log: Log, options: MenderAuthSourceOptions = {}) {
    this.#bus = bus;
    this.#log = log;
    this.#options = options;
    const match = {
      sender: MENDER_AUTH_BUS_NAME,
      path: MENDER_AUTH_PATH,
      interface: MENDER_AUTH_INTERFACE,
      member: 'JwtTokenStateChange',
    };
    const error = (cause: unknown): void =>
      log.error('The token of mender-auth cannot be followed', { errorMessage: messageOf(cause) });
    this.#subscription.add(
      bus.signals$(match).subscribe({ next: ({ args }) => this.#take(credentialsOf(args)), error }),
    );
    this.#subscription.add(
      bus.nameOwner$(MENDER_AUTH_BUS_NAME).subscribe({ next: (owner) => this.#onOwner(owner), error }),
    );
  }

  get state$(): Observable<AuthenticationState> {
    return this.#state.asObservable();
  }

  cached(): Credentials | null {
    return this.#state.value.credentials;
  }

  async authenticate(signal: AbortSignal): Promise<Credentials> {
    if (signal.aborted || this.#end.signal.aborted) throw cancelled();
    this.#attempt ??= this.#ask().finally(() => (this.#attempt = null));
    const attempt = this.#attempt;
    let leave = (): void => {};
    const left = new Promise<never>((_resolve, reject) => {
      leave = () => reject(cancelled());
      signal.addEventListener('abort', leave, { once: true });
    });
    try {
      return await Promise.race([attempt, left]);
    } finally {
      signal.removeEventListener('abort', leave);
      // It ends by itself within its time; nobody may be there to hear how.
      attempt.catch(() => undefined);
    }
  }

  /** Ends an attempt under way (kind `cancelled`). */
  close(): void {
    this.#subscription.unsubscribe();
    this.#end.abort();
  }

  /** FetchJwtToken, and the signal that follows. */
  async #ask(): Promise<Credentials> {
    const { signalTimeoutMs = SIGNAL_TIMEOUT_MS } = this.#options;
    let settle: (outcome: Credentials | UpdateError) => void = () => {};
    const outcome = new Promise<Credentials | UpdateError>((resolve) => (settle = resolve));
    const timer = setTimeout(
      () => settle(failure(`no answer of mender-auth within ${signalTimeoutMs / 1000} s`, 'timeout')),
      signalTimeoutMs,
    );
    const stop = (): void => settle(cancelled());
    this.#end.signal.addEventListener('abort', stop, { once: true });
    // Before the call: the signal may overtake the reply.
    const listening = this.#signals.subscribe((got) => settle(got ?? failure(NOTHING, 'unauthorized')));
    // Right after the start the bus may not be there yet.
    const connected = firstValueFrom(this.#bus.state$.pipe(filter((state) => state === 'connected')));
    const call = connected.then(() => this.#call('FetchJwtToken'));
    call.then(
      ([isAsking]) => {
        if (isAsking !== true) settle(failure('mender-auth could not begin to authenticate', 'unauthorized'));
      },
      (error: unknown) => settle(failure(`asking mender-auth: ${messageOf(error)}`, 'unreachable', error)),
    );
    try {
      const result = await outcome;
      if (!(result instanceof UpdateError)) return result;
      // A signal has been published already.
      if (result.kind === 'server' && result.message !== NOTHING)
        this.#publishFailure(result.message, this.cached());
      throw result;
    } finally {
      clearTimeout(timer);
      this.#end.signal.removeEventListener('abort', stop);
      listening.unsubscribe();
    }
  }

  #take(credentials: Credentials | null): void {
    if (credentials === null) this.#publishFailure(NOTHING, null);
    else this.#publish({ status: 'authorized', credentials, failure: '' });
    this.#signals.next(credentials);
  }

  #onOwner(owner: string): void {
    if (owner === '') {
      // Its forwarder is gone with it.
      if (this.cached() !== null) this.#publishFailure(ABSENT, null);
      return;
    }
    this.#call('GetJwtToken').then(
      (args) => {
        const credentials = credentialsOf(args);
        if (credentials !== null) this.#publish({ status: 'authorized', credentials, failure: '' });
      },
      (error: unknown) => this.#log.debug('mender-auth gives no token', { errorMessage: messageOf(error) }),
    );
  }

  #call(member: string): Promise<unknown[]> {
    const { callTimeoutMs = CALL_TIMEOUT_MS } = this.#options;
    return this.#bus.call(
      {
        destination: MENDER_AUTH_BUS_NAME,
        path: MENDER_AUTH_PATH,
        interface: MENDER_AUTH_INTERFACE,
        member,
      },
      callTimeoutMs,
    );
  }

  /** What it does not say is not guessed: an empty answer may be a refusal or a network that is down. */
  #publishFailure(text: string, credentials: Credentials | null): void {
    this.#publish({ status: 'unreachable', credentials, failure: text });
  }

  #publish(state: AuthenticationState): void {
    const before = this.#state.value;
    if (state.status !== before.status || state.failure !== before.failure) {
      if (state.failure === '') this.#log.info('mender-auth gives the token of this device');
      else this.#log.warn('mender-auth gives no token', { problem: state.failure });
    }
    this.#state.next(state);
  }
}

/** null = an empty pair, or none that can be used. */
function credentialsOf([token, url]: readonly unknown[]): Credentials | null {
  if (typeof token !== 'string' || typeof url !== 'string' || token === '') return null;
  if (!/^https?:\/\/[^/?#\s]+/i.test(url) || !URL.canParse(url) || /[\s\0]/.test(token)) return null;
  return { token: new Hidden(token), serverUrl: url.replace(/\/+$/, '') };
}

class Hidden implements Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return '(token)';
  }

  toJSON(): string {
    return '(token)';
  }
}

function failure(why: string, reason: string, cause?: unknown): UpdateError {
  return new UpdateError('server', why, { cause, details: { reason, host: MENDER_AUTH_BUS_NAME } });
}

function cancelled(): UpdateError {
  return new UpdateError('cancelled', 'the authentication was no longer waited for');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

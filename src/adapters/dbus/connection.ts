import { BehaviorSubject, distinctUntilChanged, Subject, type Observable } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import type { Log } from '../../ports/log.ts';
import { CallerIds, toIncomingCall, type IncomingCall } from './incoming-call.ts';
import { asUpdateError, BUS_NAME, busCall, Link, RemoteError, type OutgoingCall } from './link.ts';
import { Subscriptions, type Signal, type SignalMatch } from './subscriptions.ts';
import { MessageType, type OutgoingMessage, type WireMessage } from './transport.ts';

/**
 * The service's connection to the bus, over all its losses: opens it again with back-off, takes the names again,
 * puts the match rules in place again. Losing the bus is an event here, never an error and never an exit; an
 * update goes on without it. Also the plain connection of the command line, which does none of this.
 */
export type BusState = 'connected' | 'lost';

/**
 * `owned`: ours. `taken`: another process has it. `denied`: the bus's policy does not let us. `lost`: it was ours
 * and was taken from us while connected. A lost bus is not reported here.
 */
export type NameState = 'owned' | 'taken' | 'denied' | 'lost';
export interface NameReport {
  readonly name: string;
  readonly state: NameState;
}

/** Source: D-Bus specification, RequestName. */
export const NameFlag = { allowReplacement: 1, replaceExisting: 2, doNotQueue: 4 } as const;

export interface NameClaim {
  readonly name: string;
  /** Sum of NameFlag; `doNotQueue` is always added. */
  readonly flags?: number;
}

export interface BusOptions {
  readonly address: string;
  /** Requested in this order at each connect, after the match rules. */
  readonly names: readonly NameClaim[];
  readonly log: Log;
  readonly firstDelayMs?: number;
  readonly maxDelayMs?: number;
  /** For connecting and saying Hello. */
  readonly openTimeoutMs?: number;
}

const FIRST_DELAY_MS = 100;
/** Clients must have us back within 10 s of the bus's return (design/faults.md R22), so waiting 10 s is too long. */
const MAX_DELAY_MS = 5_000;
const OPEN_TIMEOUT_MS = 10_000;

const RequestNameReply = { primaryOwner: 1, exists: 3, alreadyOwner: 4 } as const;

export class Bus {
  readonly #options: BusOptions;
  readonly #log: Log;
  readonly #stateSubject = new BehaviorSubject<BusState>('lost');
  readonly #nameSubject = new Subject<NameReport>();
  readonly #subscriptions = new Subscriptions();
  readonly #owned = new Set<string>();
  #link: Link | null = null;
  #busId = '';
  #callers = new CallerIds();
  #handler: (call: IncomingCall) => void = refuseCall;
  #timer: NodeJS.Timeout | null = null;
  #failedAttempts = 0;
  #isStarted = false;
  #isClosed = false;

  /** Latest state at once, then changes. `connected` means: rules in place and every name asked for. */
  readonly state$: Observable<BusState> = this.#stateSubject.pipe(distinctUntilChanged());
  /** One report per claim and connect, before `connected`; and `lost`. Does not replay: subscribe before `start`. */
  readonly name$: Observable<NameReport> = this.#nameSubject.asObservable();

  constructor(options: BusOptions) {
    this.#options = options;
    this.#log = options.log;
  }

  get state(): BusState {
    return this.#stateSubject.value;
  }

  /** '' while not connected. */
  get uniqueName(): string {
    return this.#link?.uniqueName ?? '';
  }

  /** Tells one bus from the next, which gives out the same unique names again; '' before the first connect. */
  get busId(): string {
    return this.#busId;
  }

  /** What is held in memory for others; to show that it does not grow. */
  get counts(): { readonly callers: number; readonly rules: number; readonly pendingCalls: number } {
    return {
      callers: this.#callers.size,
      rules: this.#subscriptions.ruleCount,
      pendingCalls: this.#link?.pendingCalls ?? 0,
    };
  }

  /** Who answers incoming calls; call before `start`. The handler must not throw. */
  serve(handler: (call: IncomingCall) => void): void {
    this.#handler = handler;
  }

  /** Begins to connect, and never gives up until `close`. Does not throw: an absent bus is the state `lost`. */
  start(): void {
    if (this.#isStarted || this.#isClosed) return;
    this.#isStarted = true;
    void this.#connect();
  }

  /** As Link.call; rejects at once with kind `bus` while not connected. */
  call(call: OutgoingCall, timeoutMs?: number): Promise<unknown[]> {
    if (this.#link === null) return Promise.reject(notConnected());
    return this.#link.call(call, timeoutMs);
  }

  /** Sends a signal. Returns false, and drops it, while not connected; throws kind `internal` for a malformed one. */
  emit(
    signal: Required<Pick<OutgoingMessage, 'path' | 'interface' | 'member' | 'signature' | 'body'>>,
  ): boolean {
    if (this.#link === null || !this.#link.isOpen) return false;
    this.#link.send({ ...signal, type: MessageType.signal });
    return true;
  }

  signals$(match: SignalMatch): Observable<Signal> {
    return this.#subscriptions.signals$(match);
  }

  nameOwner$(name: string): Observable<string> {
    return this.#subscriptions.nameOwner$(name);
  }

  /** Ends for good; what was sent still goes out. The observables complete. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const link = this.#link;
    this.#onClose(notConnected());
    link?.close();
    this.#stateSubject.complete();
    this.#nameSubject.complete();
  }

  async #connect(): Promise<void> {
    const callers = new CallerIds();
    let link: Link | null = null;
    let isOver = false;
    const lose = (reason: UpdateError): void => {
      if (isOver) return;
      isOver = true;
      this.#onClose(reason);
    };
    try {
      const { address, openTimeoutMs = OPEN_TIMEOUT_MS } = this.#options;
      const events = {
        onCall: (message: WireMessage, from: Link): void =>
          this.#handler(toIncomingCall(message, from, callers)),
        onSignal: (message: WireMessage): void => this.#receiveSignal(message),
        onClose: lose,
        onDefect: (error: unknown): void => this.#logDefect(error),
      };
      link = await Link.open(address, events, openTimeoutMs);
      if (this.#isClosed) return link.close();
      if (isOver) return;
      this.#link = link;
      this.#callers = callers;
      this.#subscriptions.attach(link);
      // Before the names: whoever calls us by one is known with its bus.
      [this.#busId] = (await link.call(busCall('GetId'))).map(String) as [string];
      for (const claim of this.#options.names) await this.#requestName(link, claim);
      if (this.#link !== link) return;
      this.#failedAttempts = 0;
      this.#log.info('Connected to the message bus', { uniqueName: link.uniqueName });
      this.#stateSubject.next('connected');
    } catch (error) {
      lose(asUpdateError(error));
      link?.close();
    }
  }

  async #requestName(link: Link, claim: NameClaim): Promise<void> {
    const flags = (claim.flags ?? 0) | NameFlag.doNotQueue;
    let state: NameState;
    try {
      const [answer] = await link.call(busCall('RequestName', 'su', [claim.name, flags]));
      const isOwned = answer === RequestNameReply.primaryOwner || answer === RequestNameReply.alreadyOwner;
      state = isOwned ? 'owned' : 'taken';
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error;
      this.#log.error('The bus refuses a name', { name: claim.name, errorMessage: error.message });
      state = 'denied';
    }
    if (this.#link !== link) return;
    if (state === 'owned') this.#owned.add(claim.name);
    this.#nameSubject.next({ name: claim.name, state });
  }

  #receiveSignal(message: WireMessage): void {
    const isNameLost = message.sender === BUS_NAME && message.member === 'NameLost';
    if (isNameLost && message.interface === BUS_NAME) {
      const name = String(message.body()[0]);
      if (this.#owned.delete(name)) this.#nameSubject.next({ name, state: 'lost' });
    }
    this.#subscriptions.receive(message);
  }

  #onClose(reason: UpdateError): void {
    const wasConnected = this.state === 'connected';
    this.#link = null;
    this.#owned.clear();
    this.#callers = new CallerIds();
    this.#subscriptions.detach();
    if (this.#isClosed) return this.#stateSubject.next('lost');
    const { firstDelayMs = FIRST_DELAY_MS, maxDelayMs = MAX_DELAY_MS } = this.#options;
    const delayMs = Math.min(firstDelayMs * 2 ** Math.min(this.#failedAttempts, 30), maxDelayMs);
    const sentence = wasConnected ? 'Lost the message bus' : 'Cannot reach the message bus';
    const fields = { errorMessage: reason.message, retryInMs: delayMs };
    // Once per loss in full; a bus that stays away must not fill the log.
    if (this.#failedAttempts === 0) this.#log.warn(sentence, fields);
    else this.#log.debug(sentence, fields);
    this.#failedAttempts += 1;
    if (this.#timer !== null) clearTimeout(this.#timer);
    // Kept referenced: with the socket gone, this timer is what keeps the process from ending with status 0.
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#connect();
    }, delayMs);
    this.#stateSubject.next('lost');
  }

  #logDefect(error: unknown): void {
    const { stack, message } = error instanceof Error ? error : { stack: '', message: String(error) };
    this.#log.error('A message could not be handled', { errorMessage: message, errorStack: stack });
  }
}

/** A connection that serves nothing, owns no name and is over when it is lost. */
export interface BusClient {
  readonly uniqueName: string;
  /** Resolves when the connection has ended, with why. */
  readonly closed: Promise<UpdateError>;
  call(call: OutgoingCall, timeoutMs?: number): Promise<unknown[]>;
  signals$(match: SignalMatch): Observable<Signal>;
  nameOwner$(name: string): Observable<string>;
  close(): void;
}

/** Rejects with kind `bus`, `timeout` or `config`. */
export async function openClient(
  address: string,
  options: { readonly openTimeoutMs?: number } = {},
): Promise<BusClient> {
  const subscriptions = new Subscriptions();
  const callers = new CallerIds();
  let end: (reason: UpdateError) => void = () => {};
  const closed = new Promise<UpdateError>((resolve) => (end = resolve));
  const link = await Link.open(
    address,
    {
      onCall: (message, from) => refuseCall(toIncomingCall(message, from, callers)),
      onSignal: (message) => subscriptions.receive(message),
      onClose: (reason) => {
        subscriptions.detach();
        end(reason);
      },
      // Nothing here is ours to log: a signal that cannot be read is passed over.
      onDefect: () => {},
    },
    options.openTimeoutMs ?? OPEN_TIMEOUT_MS,
  );
  subscriptions.attach(link);
  return {
    uniqueName: link.uniqueName,
    closed,
    call: (call, timeoutMs) => link.call(call, timeoutMs),
    signals$: (match) => subscriptions.signals$(match),
    nameOwner$: (name) => subscriptions.nameOwner$(name),
    close: () => link.close(),
  };
}

function refuseCall(call: IncomingCall): void {
  call.fail('org.freedesktop.DBus.Error.UnknownObject', 'This connection offers no objects');
}

function notConnected(): UpdateError {
  return new UpdateError('bus', 'not connected to the message bus', { details: { reason: 'disconnected' } });
}

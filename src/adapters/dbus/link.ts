import { UpdateError } from '../../core/errors.ts';
import { MessageFlag, MessageType, Transport, type OutgoingMessage, type WireMessage } from './transport.ts';

/**
 * One life of a connection to a bus, from Hello to the close: calls with time limits, and the way in for calls
 * and signals. Never reconnects; what must outlive it is in connection.ts.
 */
export const BUS_NAME = 'org.freedesktop.DBus';
export const BUS_PATH = '/org/freedesktop/DBus';

/** D-Bus specification: clients usually wait this long. */
export const DEFAULT_CALL_TIMEOUT_MS = 25_000;
/** setTimeout fires at once above this. */
const MAX_TIMER_MS = 2_147_483_647;

export interface OutgoingCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly unknown[];
  /** See MessageFlag. `noReplyExpected` is refused: then use `send`. */
  readonly flags?: number;
}

/** An error reply of the other side. */
export class RemoteError extends UpdateError {
  /** Dotted D-Bus name, for example `org.freedesktop.DBus.Error.AccessDenied`. */
  readonly errorName: string;

  constructor(errorName: string, message: string) {
    super('bus', message === '' ? errorName : message, { details: { 'error-name': errorName } });
    this.errorName = errorName;
  }
}

export interface LinkEvents {
  /** Called synchronously, in the order of arrival. Must not throw; whatever it throws is logged. */
  readonly onCall: (call: WireMessage, link: Link) => void;
  readonly onSignal: (signal: WireMessage) => void;
  readonly onClose: (reason: UpdateError) => void;
  readonly onDefect: (error: unknown) => void;
}

interface Pending {
  readonly destination: string;
  readonly timer: NodeJS.Timeout;
  readonly settle: (error: UpdateError | null, reply: WireMessage | null) => void;
}

export class Link {
  readonly #events: LinkEvents;
  readonly #pending = new Map<number, Pending>();
  #transport: Transport | null = null;
  #closeReason: UpdateError | null = null;
  #uniqueName = '';

  private constructor(events: LinkEvents) {
    this.#events = events;
  }

  /** Connects and says Hello. Rejects with kind `bus` or `timeout` (or a RemoteError) and leaves nothing open. */
  static async open(address: string, events: LinkEvents, timeoutMs: number): Promise<Link> {
    const link = new Link(events);
    link.#transport = await Transport.open(
      address,
      {
        onMessage: (message) => link.#receive(message),
        onClose: (reason) => link.#end(reason),
        onDefect: events.onDefect,
      },
      timeoutMs,
    );
    try {
      const [name] = await link.call(busCall('Hello'), timeoutMs);
      link.#uniqueName = String(name);
      return link;
    } catch (error) {
      link.close();
      throw error;
    }
  }

  get uniqueName(): string {
    return this.#uniqueName;
  }

  get isOpen(): boolean {
    return this.#closeReason === null && this.#transport !== null;
  }

  /** Calls not answered yet. */
  get pendingCalls(): number {
    return this.#pending.size;
  }

  /** Resolves with the reply's values. Rejects: RemoteError, kind `timeout`, kind `bus`, or `internal`. */
  call(call: OutgoingCall, timeoutMs: number = DEFAULT_CALL_TIMEOUT_MS): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      this.request(call, timeoutMs, (error, reply) => {
        if (reply === null) return reject(error as UpdateError);
        try {
          resolve(reply.body());
        } catch (cause) {
          reject(new UpdateError('bus', `${nameOf(call)}: the reply cannot be read`, { cause }));
        }
      });
    });
  }

  /**
   * As `call`, but the answer is handed over before the next message is looked at, for those who must have seen
   * it by then. `settle` is called exactly once, with an error or a reply.
   */
  request(
    call: OutgoingCall,
    timeoutMs: number,
    settle: (error: UpdateError | null, reply: WireMessage | null) => void,
  ): void {
    const flags = call.flags ?? 0;
    try {
      if ((flags & MessageFlag.noReplyExpected) !== 0) {
        throw new UpdateError('internal', `${nameOf(call)}: a call without reply cannot be waited for`);
      }
      const serial = this.send({ ...call, type: MessageType.methodCall, flags });
      const timer = setTimeout(
        () => {
          this.#pending.delete(serial);
          const text = `${nameOf(call)}: no reply within ${timeoutMs} ms`;
          settle(new UpdateError('timeout', text, { details: { 'timeout-ms': timeoutMs } }), null);
        },
        Math.min(timeoutMs, MAX_TIMER_MS),
      );
      this.#pending.set(serial, { destination: call.destination, timer, settle });
    } catch (error) {
      settle(asUpdateError(error), null);
    }
  }

  /** Throws kind `bus` when closed and kind `internal` for what cannot be a message. */
  send(message: OutgoingMessage): number {
    if (this.#transport === null) throw this.#closeReason ?? new UpdateError('bus', 'not connected');
    return this.#transport.send(message);
  }

  /** Everything pending is rejected, `onClose` follows. Safe to call twice. */
  close(): void {
    this.#transport?.close();
  }

  #receive(message: WireMessage): void {
    switch (message.type) {
      case MessageType.methodReturn:
      case MessageType.error:
        return this.#receiveReply(message);
      case MessageType.methodCall:
        return this.#events.onCall(message, this);
      case MessageType.signal:
        return this.#events.onSignal(message);
      default:
        // D-Bus specification: unknown types are ignored.
        return;
    }
  }

  #receiveReply(message: WireMessage): void {
    const pending = this.#pending.get(message.replySerial);
    if (pending === undefined) return;
    // A bus with a lax policy would let anybody answer in another's place.
    const isExact = pending.destination.startsWith(':') || pending.destination === BUS_NAME;
    // Only the bus itself may say that the other side has gone.
    const isFromBus = message.sender === BUS_NAME && message.type === MessageType.error;
    if (isExact && message.sender !== pending.destination && !isFromBus) return;
    this.#pending.delete(message.replySerial);
    clearTimeout(pending.timer);
    if (message.type === MessageType.methodReturn) return pending.settle(null, message);
    pending.settle(new RemoteError(message.errorName, errorText(message)), null);
  }

  #end(reason: UpdateError): void {
    this.#closeReason = reason;
    this.#transport = null;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { timer, settle } of pending) {
      clearTimeout(timer);
      settle(reason, null);
    }
    this.#events.onClose(reason);
  }
}

/** A call to the bus itself. */
export function busCall(member: string, signature = '', body: readonly unknown[] = []): OutgoingCall {
  return { destination: BUS_NAME, path: BUS_PATH, interface: BUS_NAME, member, signature, body };
}

export function asUpdateError(error: unknown): UpdateError {
  if (error instanceof UpdateError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new UpdateError('internal', message, { cause: error });
}

function errorText(message: WireMessage): string {
  if (!message.signature.startsWith('s')) return '';
  try {
    return String(message.body()[0]);
  } catch {
    return '';
  }
}

function nameOf(call: OutgoingCall): string {
  return `${call.interface}.${call.member} of ${call.destination}`;
}

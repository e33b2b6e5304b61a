import { credentialsOf, type CallerConnection, type Credentials } from './caller.ts';
import type { Link } from './link.ts';
import { LruMap } from './lru.ts';
import { MessageFlag, MessageType, type WireMessage } from './transport.ts';

/**
 * A method call as the dispatcher sees it: bound to the connection it came by, because after a reconnect the
 * same sender name may belong to somebody else.
 */
export interface IncomingCall {
  /** Unique name of the caller, put in by the bus. */
  readonly sender: string;
  readonly path: string;
  /** '' = the caller did not say. */
  readonly interface: string;
  readonly member: string;
  readonly signature: string;
  readonly bodyBytes: number;
  readonly isReplyExpected: boolean;
  /** Whether the caller is willing to wait for somebody to type a password. */
  readonly isInteractive: boolean;
  readonly connection: CallerConnection;
  /** Throws an UpdateError (kind `invalidArgument`) for arguments nobody accepts. */
  body(): unknown[];
  /** Who the caller is; null = it is gone, or the bus is. Never rejects. */
  credentials(): Promise<Credentials | null>;
  /** Throws when the values do not fit; does nothing when no reply is wanted or the connection is gone. */
  reply(signature: string, values: readonly unknown[]): void;
  /** Never throws. */
  fail(errorName: string, message: string): void;
}

/** More clients than that are seldom there at once; asking again costs one call. */
const MAX_CACHED_SENDERS = 256;

/**
 * Who the callers of one connection are. A unique name means the same client for as long as the bus lives, so
 * an entry never goes stale; the cache must not outlive the connection. Failures are not kept.
 */
export class CallerIds {
  readonly #known = new LruMap<string, Promise<Credentials | null>>(MAX_CACHED_SENDERS);

  get size(): number {
    return this.#known.size;
  }

  of(sender: string, link: Link): Promise<Credentials | null> {
    const known = this.#known.get(sender);
    if (known !== undefined) return known;
    const asked = credentialsOf(sender, link).then((value) => {
      if (value === null) this.#known.delete(sender);
      return value;
    });
    this.#known.set(sender, asked);
    return asked;
  }
}

const MAX_ERROR_TEXT_CHARACTERS = 1000;

export function toIncomingCall(message: WireMessage, link: Link, callers: CallerIds): IncomingCall {
  const isReplyExpected = (message.flags & MessageFlag.noReplyExpected) === 0;
  const canReply = (): boolean => isReplyExpected && link.isOpen;
  const address = { destination: message.sender, replySerial: message.serial };
  return {
    sender: message.sender,
    path: message.path,
    interface: message.interface,
    member: message.member,
    signature: message.signature,
    bodyBytes: message.bodyBytes,
    isReplyExpected,
    isInteractive: (message.flags & MessageFlag.allowInteractiveAuthorization) !== 0,
    body: () => message.body(),
    connection: link,
    credentials: () => callers.of(message.sender, link),
    reply: (signature, values) => {
      if (!canReply()) return;
      link.send({ ...address, type: MessageType.methodReturn, signature, body: values });
    },
    fail: (errorName, text) => {
      if (!canReply()) return;
      const body = [text.replaceAll('\0', '').slice(0, MAX_ERROR_TEXT_CHARACTERS)];
      try {
        link.send({ ...address, type: MessageType.error, errorName, signature: 's', body });
      } catch {
        // Closed in this moment: the caller learns it from the bus.
      }
    },
  };
}

import { createConnection, type Socket } from 'node:net';
import DBusBuffer from 'dbus-next/lib/dbus-buffer.js';
import handshake from 'dbus-next/lib/handshake.js';
import wireFormat from 'dbus-next/lib/message.js';
import validators from 'dbus-next/lib/validators.js';
import { UpdateError } from '../../core/errors.ts';
import { socketPaths } from './address.ts';
import { decodeBody, encodeBody } from './values.ts';

/**
 * One socket to a message bus: authentication, framing, messages in and out. Knows nothing of calls, names or
 * reconnecting.
 *
 * The handshake and the wire format are dbus-next's. Its own reading loop is not used: an exception in it ends
 * the process, it decodes every body before anybody has asked whether the caller may send one, and it turns
 * dictionaries into objects whose prototype the sender chooses.
 */
export const MessageType = { methodCall: 1, methodReturn: 2, error: 3, signal: 4 } as const;
export const MessageFlag = {
  noReplyExpected: 1,
  noAutoStart: 2,
  allowInteractiveAuthorization: 4,
} as const;

/** A received message. Header fields the sender left out are ''. */
export interface WireMessage {
  readonly type: number;
  readonly flags: number;
  readonly serial: number;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly errorName: string;
  /** 0 = not a reply. */
  readonly replySerial: number;
  readonly destination: string;
  /** Put in by the bus; cannot be forged. */
  readonly sender: string;
  readonly signature: string;
  readonly bodyBytes: number;
  /** Decodes the arguments, each time anew. Throws an UpdateError for what values.ts refuses. */
  body(): unknown[];
}

export interface OutgoingMessage {
  readonly type: number;
  readonly flags?: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly errorName?: string;
  readonly replySerial?: number;
  readonly destination?: string;
  readonly signature?: string;
  readonly body?: readonly unknown[];
}

export interface TransportEvents {
  readonly onMessage: (message: WireMessage) => void;
  /** Called once, after which nothing is sent or received. */
  readonly onClose: (reason: UpdateError) => void;
  /** A defect of ours in `onMessage`; the connection lives on. */
  readonly onDefect: (error: unknown) => void;
}

// Descriptors are not negotiated, so the reader of `h` throws for want of one, in the middle of a socket
// listener: any client could end the process with one small message. The index it carries is harmless.
const readSimpleType = DBusBuffer.prototype.readSimpleType;
DBusBuffer.prototype.readSimpleType = function (this: DBusBuffer, type: string): unknown {
  return type === 'h' ? this.readInt32() : readSimpleType.call(this, type);
};

/** D-Bus specification, "Message Format": no message is longer than 128 MiB. */
const MAX_MESSAGE_BYTES = 128 * 1024 * 1024;
/** A bus that does not read while this much waits is taken for lost, so that our memory stays bounded. */
const MAX_UNSENT_BYTES = 64 * 1024 * 1024;
const CLOSE_TIMEOUT_MS = 1000;
const FIXED_HEADER_BYTES = 16;
const LITTLE_ENDIAN = 'l'.charCodeAt(0);
const HEADER_FIELD = {
  type: '(',
  child: [
    { type: 'y', child: [] },
    { type: 'v', child: [] },
  ],
};

export class Transport {
  readonly #socket: Socket;
  readonly #events: TransportEvents;
  #lastSerial = 0;
  #isCorked = false;
  #isClosed = false;

  private constructor(socket: Socket, events: TransportEvents) {
    this.#socket = socket;
    this.#events = events;
    let failure: Error | null = null;
    socket.on('error', (error) => (failure = error));
    socket.on('close', () => this.#reportClose(failure));
    // The bus may have gone between its last word of the handshake and now, without another event to come.
    if (socket.destroyed) process.nextTick(() => this.#reportClose(null));
    this.#readMessages();
  }

  /** Tries each socket of the address in turn. Rejects with kind `bus`; `config` for an unusable address. */
  static async open(address: string, events: TransportEvents, timeoutMs: number): Promise<Transport> {
    let failure: unknown;
    for (const path of socketPaths(address)) {
      try {
        return new Transport(await authenticate(path, timeoutMs), events);
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  /** Returns the serial. Throws kind `internal` for what cannot be a message, `bus` when closed. */
  send(message: OutgoingMessage): number {
    if (this.#isClosed || !this.#socket.writable) throw disconnected(null);
    checkNames(message);
    const signature = message.signature ?? '';
    const encoded = encodeBody(signature, message.body ?? []);
    const serial = this.#lastSerial >= 0xffffffff ? 1 : this.#lastSerial + 1;
    const [bytes] = wireFormat.marshall({
      ...message,
      flags: message.flags ?? 0,
      serial,
      signature: signature === '' ? undefined : signature,
      body: encoded.body,
    });
    this.#lastSerial = serial;
    this.#cork();
    this.#socket.write(bytes);
    if (this.#socket.writableLength > MAX_UNSENT_BYTES) {
      this.#socket.destroy(new Error('the bus has stopped reading'));
    }
    return serial;
  }

  /**
   * What is sent in one turn goes out in one piece when it ends: an order changes properties and is answered at once, and
   * each write of its own would wake the bus, which on a busy device then has the processor first.
   */
  #cork(): void {
    if (this.#isCorked) return;
    this.#isCorked = true;
    this.#socket.cork();
    process.nextTick(() => {
      this.#isCorked = false;
      this.#socket.uncork();
    });
  }

  /** What was sent still goes out, unless the bus does not take it within a second. Safe to call twice. */
  close(): void {
    this.#socket.destroySoon();
    const timer = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT_MS);
    this.#socket.once('close', () => clearTimeout(timer));
  }

  #reportClose(failure: Error | null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#events.onClose(disconnected(failure));
  }

  #readMessages(): void {
    const socket = this.#socket;
    let header: Buffer | null = null;
    const read = (): void => {
      for (;;) {
        if (header === null) {
          header = socket.read(FIXED_HEADER_BYTES) as Buffer | null;
          if (header === null) return;
        }
        const { fieldsBytes, restBytes } = lengths(header);
        const rest = socket.read(restBytes) as Buffer | null;
        if (rest === null) return;
        const message = parseMessage(header, rest, fieldsBytes);
        header = null;
        try {
          this.#events.onMessage(message);
        } catch (error) {
          this.#events.onDefect(error);
        }
      }
    };
    const readGuarded = (): void => {
      try {
        read();
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)));
      }
    };
    socket.on('readable', readGuarded);
    readGuarded();
  }
}

function lengths(header: Buffer): { readonly fieldsBytes: number; readonly restBytes: number } {
  const isLittle = header[0] === LITTLE_ENDIAN;
  const bodyBytes = isLittle ? header.readUInt32LE(4) : header.readUInt32BE(4);
  const fieldsBytes = isLittle ? header.readUInt32LE(12) : header.readUInt32BE(12);
  const restBytes = padTo8(fieldsBytes) + bodyBytes;
  if (restBytes > MAX_MESSAGE_BYTES) throw new Error(`a message of ${restBytes} bytes is not D-Bus`);
  return { fieldsBytes, restBytes };
}

function parseMessage(header: Buffer, rest: Buffer, fieldsBytes: number): WireMessage {
  const endian = header[0] ?? LITTLE_ENDIAN;
  const fields = new Map<number, unknown>();
  const raw = new DBusBuffer(rest, 0, endian, null, {}).readArray(HEADER_FIELD, fieldsBytes);
  for (const [code, [, [value]]] of raw as [number, [unknown, [unknown]]][]) fields.set(code, value);
  const text = (code: number): string => {
    const value = fields.get(code);
    return typeof value === 'string' ? value : '';
  };
  const replySerial = fields.get(5);
  const signature = text(8);
  const body = rest.subarray(padTo8(fieldsBytes));
  return {
    type: header[1] ?? 0,
    flags: header[2] ?? 0,
    serial: endian === LITTLE_ENDIAN ? header.readUInt32LE(8) : header.readUInt32BE(8),
    path: text(1),
    interface: text(2),
    member: text(3),
    errorName: text(4),
    replySerial: typeof replySerial === 'number' ? replySerial : 0,
    destination: text(6),
    sender: text(7),
    signature,
    bodyBytes: body.length,
    body: () => {
      if (signature === '') return [];
      return decodeBody(signature, new DBusBuffer(body, 0, endian, null, {}).read(signature));
    },
  };
}

/** The bus disconnects a sender of malformed names; a mistake of ours must not cost the connection. */
function checkNames(message: OutgoingMessage): void {
  const checks: readonly [what: string, value: string | undefined, isValid: (name: string) => boolean][] = [
    ['path', message.path, validators.isObjectPathValid],
    ['interface', message.interface, validators.isInterfaceNameValid],
    ['member', message.member, validators.isMemberNameValid],
    ['error name', message.errorName, validators.isInterfaceNameValid],
    ['destination', message.destination, isBusName],
  ];
  for (const [what, value, isValid] of checks) {
    if (value !== undefined && !isValid(value)) {
      throw new UpdateError('internal', `cannot send a message with ${what} "${value.slice(0, 300)}"`);
    }
  }
}

/** dbus-next takes everything that begins with a colon for a unique name; the bus does not. */
function isBusName(name: string): boolean {
  if (name.startsWith(':')) return name.length <= 255 && /^:[\w-]+(\.[\w-]+)+$/.test(name);
  return validators.isBusNameValid(name);
}

/** Connects and proves who we are, by the socket's credentials only (EXTERNAL). */
function authenticate(path: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ path });
    const settle = (error: unknown): void => {
      clearTimeout(timer);
      socket.off('error', settle);
      socket.off('close', onClose);
      if (error === null) return resolve(socket);
      socket.destroy();
      const shown = path.replace('\0', '@');
      const reason = error instanceof Error ? error.message : 'authentication was refused';
      reject(
        new UpdateError('bus', `cannot connect to the message bus at ${shown}: ${reason}`, { cause: error }),
      );
    };
    const onClose = (): void => settle(new Error('the bus closed the connection'));
    const timer = setTimeout(() => settle(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    // Stays: an error between here and the reader taking over must not go unheard, it would end the process.
    socket.on('error', () => {});
    socket.on('error', settle);
    socket.on('close', onClose);
    socket.once('connect', () => {
      handshake(socket, { authMethods: ['EXTERNAL'] }, (error) => settle(error ?? null));
    });
  });
}

function padTo8(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

function disconnected(cause: Error | null): UpdateError {
  const detail = cause === null ? '' : `: ${cause.message}`;
  return new UpdateError('bus', `the connection to the message bus is lost${detail}`, {
    cause: cause ?? undefined,
    details: { reason: 'disconnected' },
  });
}

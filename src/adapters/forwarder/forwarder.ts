/**
 * The local forwarder: open while there is a token, at one port for the life of the service, so that programs need not
 * look for it after each authentication. Source: spec/dbus-mender.md section 4.
 */
import type { Clock } from '../../ports/clock.ts';
import type { Credentials } from '../../ports/authentication.ts';
import type { Log } from '../../ports/log.ts';
import type { TokenForwarder } from '../../ports/token-forwarder.ts';
import { Connections, type ConnectionOptions } from '../http/connections.ts';
import { FrontDoor, type DoorLimits } from './front-door.ts';

export interface ForwarderLimits extends DoorLimits {
  readonly connectMs: number;
}

export const DEFAULT_FORWARDER_LIMITS: ForwarderLimits = {
  maxConnections: 128,
  maxWebSockets: 16,
  maxHeaderBytes: 32 * 1024,
  clientHeaderMs: 30_000,
  // Longer than connecting and waiting for the server together.
  clientIdleMs: 150_000,
  connectMs: 30_000,
  headersMs: 60_000,
  idleMs: 60_000,
  graceMs: 5_000,
  lingerMs: 10_000,
};

export interface ForwarderOptions extends ConnectionOptions {
  readonly limits?: Partial<ForwarderLimits>;
}

export class Forwarder implements TokenForwarder {
  readonly #limits: ForwarderLimits;
  readonly #log: Log;
  readonly #connections: Connections;
  readonly #closing = new Set<Promise<void>>();
  #credentials: Credentials | null = null;
  #door: FrontDoor | null = null;
  /** Of the last door; 0 = there was none. */
  #port = 0;
  /** Doors open and close one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: ForwarderOptions, clock: Clock, log: Log) {
    this.#limits = { ...DEFAULT_FORWARDER_LIMITS, ...options.limits };
    this.#log = log;
    this.#connections = new Connections(options, this.#limits, clock, log);
  }

  serve(credentials: Credentials | null): Promise<string> {
    // At once, whatever is under way: an old token opens nothing any more.
    this.#credentials = this.#isClosed ? null : credentials;
    const turn = this.#turn.then(() => this.#move());
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.serve(null);
    await Promise.all(this.#closing);
    await this.#connections.close();
  }

  async #move(): Promise<string> {
    if (this.#credentials === null) {
      this.#shut();
      return '';
    }
    this.#door ??= await this.#open();
    return `http://127.0.0.1:${this.#port}`;
  }

  async #open(): Promise<FrontDoor> {
    const make = (): FrontDoor =>
      new FrontDoor({
        credentials: () => this.#credentials,
        connect: (target) => this.#connections.to(target),
        limits: this.#limits,
        log: this.#log,
      });
    let door = make();
    try {
      this.#port = await door.open(this.#port);
    } catch (error) {
      if (this.#port === 0) throw error;
      // Somebody else has taken the port while there was no token.
      door = make();
      this.#port = await door.open(0);
    }
    this.#log.debug('Other programs reach the server through the forwarder', { port: this.#port });
    return door;
  }

  /** Waits for nobody: who is inside leaves in the background. */
  #shut(): void {
    const door = this.#door;
    if (door === null) return;
    this.#door = null;
    const closed = door.close().finally(() => this.#closing.delete(closed));
    this.#closing.add(closed);
  }
}

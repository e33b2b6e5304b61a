import { Observable } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import { BUS_NAME, BUS_PATH, busCall, DEFAULT_CALL_TIMEOUT_MS, type Link } from './link.ts';
import type { WireMessage } from './transport.ts';

/**
 * Match rules, counted, so that each is at the bus once however many want it and gone when nobody does (the
 * bus allows 512 per connection and ends who exceeds them); and the owners of watched names, so that a
 * signal is believed only if it comes from the owner of the name asked for. Any client may send a signal
 * straight to us, without a rule.
 */
export interface SignalMatch {
  /** Well-known or unique name of who must have sent it. */
  readonly sender: string;
  readonly path?: string;
  readonly interface: string;
  readonly member?: string;
  /** First argument, a string. */
  readonly arg0?: string;
}

export interface Signal {
  /** Unique name, or `org.freedesktop.DBus`. */
  readonly sender: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature: string;
  readonly args: readonly unknown[];
}

interface Rule {
  count: number;
}

interface Listener {
  readonly match: SignalMatch;
  readonly next: (signal: Signal) => void;
  readonly fail: (error: UpdateError) => void;
}

interface Watcher {
  readonly next: (owner: string) => void;
  readonly fail: (error: UpdateError) => void;
}

interface WatchedName {
  /** '' = nobody, or not known yet. */
  owner: string;
  isKnown: boolean;
  readonly watchers: Set<Watcher>;
}

export class Subscriptions {
  readonly #rules = new Map<string, Rule>();
  readonly #listeners = new Set<Listener>();
  readonly #names = new Map<string, WatchedName>();
  #link: Link | null = null;

  /** Rules held at the bus for us. */
  get ruleCount(): number {
    return this.#rules.size;
  }

  /** After a connect: puts every rule and watch in place again, without waiting for the answers. */
  attach(link: Link): void {
    this.#link = link;
    for (const rule of this.#rules.keys()) this.#sendRule('AddMatch', rule);
    for (const name of this.#names.keys()) this.#askOwner(name);
  }

  /** After a loss: nobody owns anything any more. */
  detach(): void {
    this.#link = null;
    for (const watched of this.#names.values()) this.#setOwner(watched, '');
  }

  /**
   * Signals from now on, over reconnects, until unsubscribed. The rule is on its way to the bus before
   * `subscribe` returns, so a call made afterwards is answered with the rule in place. Errors (kind `bus`) only
   * when the bus refuses the rule, at once or after a reconnect.
   */
  signals$(match: SignalMatch): Observable<Signal> {
    return new Observable((subscriber) => {
      const isNameWatched = !match.sender.startsWith(':') && match.sender !== BUS_NAME;
      // First the owner, then the rule: the bus answers in this order, so no signal arrives before the owner is known.
      const fail = (error: UpdateError): void => subscriber.error(error);
      const watcher: Watcher = { next: () => {}, fail };
      if (isNameWatched) this.#watch(match.sender, watcher);
      const listener: Listener = { match, next: (signal) => subscriber.next(signal), fail };
      this.#listeners.add(listener);
      const rule = ruleOf(match);
      this.#addRule(rule);
      return () => {
        this.#listeners.delete(listener);
        this.#removeRule(rule);
        if (isNameWatched) this.#unwatch(match.sender, watcher);
      };
    });
  }

  /**
   * The unique name of the owner, '' = nobody (or the bus is lost); first the present one as soon as it is known,
   * then each change.
   */
  nameOwner$(name: string): Observable<string> {
    return new Observable((subscriber) => {
      let isFirst = true;
      const watcher: Watcher = {
        next: (owner) => {
          isFirst = false;
          subscriber.next(owner);
        },
        fail: (error) => subscriber.error(error),
      };
      const watched = this.#watch(name, watcher);
      if (isFirst && watched.isKnown) subscriber.next(watched.owner);
      return () => this.#unwatch(name, watcher);
    });
  }

  /** Must be called for every signal, in order of arrival. */
  receive(message: WireMessage): void {
    this.#noteOwner(message);
    let signal: Signal | null = null;
    for (const listener of this.#listeners) {
      if (!this.#isMeant(listener.match, message)) continue;
      signal ??= toSignal(message);
      const { arg0 } = listener.match;
      if (arg0 === undefined || signal.args[0] === arg0) listener.next(signal);
    }
  }

  #isMeant(match: SignalMatch, message: WireMessage): boolean {
    if (match.interface !== message.interface) return false;
    if (match.member !== undefined && match.member !== message.member) return false;
    if (match.path !== undefined && match.path !== message.path) return false;
    if (match.sender === message.sender) return true;
    const owner = this.#names.get(match.sender)?.owner ?? '';
    return owner !== '' && owner === message.sender;
  }

  #watch(name: string, watcher: Watcher): WatchedName {
    const known = this.#names.get(name);
    if (known !== undefined) {
      known.watchers.add(watcher);
      return known;
    }
    const watched: WatchedName = { owner: '', isKnown: false, watchers: new Set([watcher]) };
    this.#names.set(name, watched);
    this.#addRule(ownerRule(name));
    this.#askOwner(name);
    return watched;
  }

  #unwatch(name: string, watcher: Watcher): void {
    const watched = this.#names.get(name);
    if (watched === undefined || !watched.watchers.delete(watcher) || watched.watchers.size > 0) return;
    this.#names.delete(name);
    this.#removeRule(ownerRule(name));
  }

  #askOwner(name: string): void {
    const watched = this.#names.get(name);
    if (watched === undefined) return;
    if (this.#link === null) return this.#setOwner(watched, '');
    this.#link.request(busCall('GetNameOwner', 's', [name]), DEFAULT_CALL_TIMEOUT_MS, (error, reply) => {
      if (this.#names.get(name) !== watched) return;
      // An error means NameHasNoOwner, or a lost bus, which says so itself.
      this.#setOwner(watched, error === null ? String(reply?.body()[0] ?? '') : '');
    });
  }

  #noteOwner(message: WireMessage): void {
    if (message.sender !== BUS_NAME || message.member !== 'NameOwnerChanged') return;
    const [name, , owner] = message.body();
    const watched = this.#names.get(String(name));
    if (watched !== undefined) this.#setOwner(watched, String(owner));
  }

  #setOwner(watched: WatchedName, owner: string): void {
    if (watched.isKnown && watched.owner === owner) return;
    watched.isKnown = true;
    watched.owner = owner;
    for (const watcher of watched.watchers) watcher.next(owner);
  }

  #addRule(rule: string): void {
    const known = this.#rules.get(rule);
    if (known !== undefined) {
      known.count += 1;
      return;
    }
    this.#rules.set(rule, { count: 1 });
    this.#sendRule('AddMatch', rule);
  }

  #removeRule(rule: string): void {
    const known = this.#rules.get(rule);
    if (known === undefined) return;
    known.count -= 1;
    if (known.count > 0) return;
    this.#rules.delete(rule);
    this.#sendRule('RemoveMatch', rule);
  }

  /** The bus handles requests in order, so add, remove, add again needs no waiting in between. */
  #sendRule(member: 'AddMatch' | 'RemoveMatch', rule: string): void {
    this.#link?.request(busCall(member, 's', [rule]), DEFAULT_CALL_TIMEOUT_MS, (error) => {
      if (error === null || member === 'RemoveMatch' || error.details['reason'] === 'disconnected') return;
      const refused = new UpdateError('bus', `the bus refused the match rule ${rule}: ${error.message}`, {
        cause: error,
      });
      for (const listener of this.#listeners) {
        if (ruleOf(listener.match) === rule) listener.fail(refused);
      }
      for (const [name, { watchers }] of this.#names) {
        if (ownerRule(name) === rule) for (const watcher of watchers) watcher.fail(refused);
      }
    });
  }
}

function ruleOf(match: SignalMatch): string {
  const parts: readonly [string, string | undefined][] = [
    ['sender', match.sender],
    ['path', match.path],
    ['interface', match.interface],
    ['member', match.member],
    ['arg0', match.arg0],
  ];
  const given = parts.flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${quote(value)}`]));
  return ["type='signal'", ...given].join(',');
}

function ownerRule(name: string): string {
  return ruleOf({
    sender: BUS_NAME,
    path: BUS_PATH,
    interface: BUS_NAME,
    member: 'NameOwnerChanged',
    arg0: name,
  });
}

/** D-Bus specification, "Match Rules": an apostrophe is written outside the quotes. */
function quote(value: string): string {
  return `'${value.replaceAll("'", "'\\''")}'`;
}

function toSignal(message: WireMessage): Signal {
  const { sender, path, signature, member } = message;
  return { sender, path, interface: message.interface, member, signature, args: message.body() };
}

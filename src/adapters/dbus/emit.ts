import type { Subscription } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import type { Log } from '../../ports/log.ts';
import type { Bus } from './connection.ts';
import { propertyValue, type PropertyTables, type ServedObject } from './served-object.ts';
import { PROPERTIES } from './standard-interfaces.ts';
import { encodeBody, OversizeBody, type Variant } from './values.ts';
import type { InterfaceEntry } from './xml-table.ts';

/**
 * Says what has changed: one PropertiesChanged per interface and step with what differs from the last one, and
 * the typed signals. Whoever publishes calls `publish` first and `signal` after, so that nobody hears of a
 * state the properties do not show yet.
 */
export class Emitter {
  readonly #bus: Bus;
  readonly #object: ServedObject;
  readonly #log: Log;
  /** Interface → property → what was last said, in comparable form. Empty = nobody has been told anything. */
  readonly #said = new Map<string, ReadonlyMap<string, string>>();
  readonly #subscription: Subscription;

  /** Publishes everything at each connect, because whoever listened before has missed what happened since. */
  constructor(bus: Bus, object: ServedObject, log: Log) {
    this.#bus = bus;
    this.#object = object;
    this.#log = log;
    this.#subscription = bus.state$.subscribe((state) => {
      this.#said.clear();
      if (state === 'connected') this.publish();
    });
  }

  /**
   * Compares the object's properties with what was last said and says the difference; nothing while the bus is
   * lost. Never throws: a value that does not fit its type is logged and the rest is said.
   */
  publish(): void {
    if (this.#bus.state !== 'connected') return;
    try {
      const tables = this.#object.properties();
      for (const owner of this.#object.table.interfaces.values()) this.#publishInterface(owner, tables);
    } catch (error) {
      this.#logFailure('The properties could not be published', error);
    }
  }

  /** Args must fit the XML. Never throws: a mistake of ours is logged. Dropped while the bus is lost. */
  signal(interfaceName: string, member: string, args: readonly unknown[]): void {
    try {
      const entry = this.#object.table.interfaces.get(interfaceName)?.signals.get(member);
      if (entry === undefined) {
        throw new UpdateError('internal', `the signal ${interfaceName}.${member} is not in the XML`);
      }
      this.#send(interfaceName, member, entry.signature, args);
    } catch (error) {
      this.#logFailure('A signal could not be sent', error);
    }
  }

  close(): void {
    this.#subscription.unsubscribe();
  }

  #publishInterface(owner: InterfaceEntry, tables: PropertyTables): void {
    const before = this.#said.get(owner.name) ?? new Map<string, string>();
    const now = new Map<string, string>();
    const changed = new Map<string, Variant>();
    const invalidated: string[] = [];
    for (const property of owner.properties.values()) {
      const { name, emits } = property;
      const isNotBuilt = this.#object.notBuilt.has(`${owner.name}.${name}`);
      if (isNotBuilt || emits === 'const' || emits === 'false') continue;
      try {
        const value = propertyValue(this.#object, tables, owner, property);
        const text = comparable(value);
        now.set(name, text);
        if (before.get(name) === text) continue;
        if (emits === 'invalidates') invalidated.push(name);
        else changed.set(name, value);
      } catch (error) {
        this.#logFailure('A property could not be published', error);
      }
    }
    if (changed.size > 0 || invalidated.length > 0) this.#sendChanged(owner.name, changed, invalidated);
    this.#said.set(owner.name, now);
  }

  #sendChanged(interfaceName: string, changed: ReadonlyMap<string, Variant>, invalidated: string[]): void {
    try {
      this.#send(PROPERTIES, 'PropertiesChanged', 'sa{sv}as', [interfaceName, changed, invalidated]);
    } catch (error) {
      if (!(error instanceof OversizeBody)) throw error;
      // Too much at once: the names alone make clients ask again.
      const names = [...changed.keys(), ...invalidated];
      this.#send(PROPERTIES, 'PropertiesChanged', 'sa{sv}as', [interfaceName, new Map(), names]);
    }
  }

  #send(interfaceName: string, member: string, signature: string, body: readonly unknown[]): void {
    const { path } = this.#object;
    this.#bus.emit({ path, interface: interfaceName, member, signature, body });
  }

  #logFailure(sentence: string, error: unknown): void {
    this.#log.error(sentence, { errorMessage: error instanceof Error ? error.message : String(error) });
  }
}

/** The encoded form as text: plain arrays, strings, numbers and bigints. Throws for a value that does not fit. */
function comparable(value: Variant): string {
  const { body } = encodeBody('v', [value]);
  return JSON.stringify(body, (_key, item: unknown) => (typeof item === 'bigint' ? `${item}n` : item));
}

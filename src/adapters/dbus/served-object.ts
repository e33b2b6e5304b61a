import { UpdateError } from '../../core/errors.ts';
import { refuse, RefusedCall } from '../../core/refusal.ts';
import type { AccessAction } from '../../core/access.ts';
import type { AuthorisationRequest, Authorise } from './authorise.ts';
import type { ErrorReply } from './errors.ts';
import type { Variant } from './values.ts';
import type { InterfaceEntry, InterfaceTable, PropertyEntry } from './xml-table.ts';

/** One object on the bus: what its XML promises, and who keeps the promise. */
export interface ServedObject {
  readonly path: string;
  readonly table: InterfaceTable;
  /** Key: interface, dot, method; for example `io.holdpoint.Update1.Continue`. */
  readonly handlers: Readonly<Record<string, Handler>>;
  /**
   * The present values: interface → property → value with the signature of the XML. Called once per Get or
   * GetAll, so that an answer is one snapshot; must be quick.
   */
  readonly properties: () => PropertyTables;
  /** Methods and properties, keyed as handlers are, which the XML has and this version answers NotSupported. */
  readonly notBuilt: ReadonlySet<string>;
  readonly authorise: Authorise;
  /**
   * Throws a RefusedCall for what is pointless to ask anybody about, such as a ticket that is stale: called before the
   * authorisation, so that nobody types a password for it, and again afterwards, when a minute may have passed. Must be
   * quick and without effect; the handler checks once more, with the effect.
   */
  readonly precheck?: (request: AuthorisationRequest) => void;
  /** For an interface with error names of its own; null = the usual reply. */
  readonly errorReply?: (error: unknown) => ErrorReply | null;
}

/** What was authorised is what is carried out. Args: shapes as in values.ts, a{sv} is a Map, 64 bit is bigint. */
export interface HandlerCall extends AuthorisationRequest {
  /**
   * The action that was needed when it was asked, and granted; null = none. A handler for which it matters whose a thing
   * is (a hold of another user) must compare: the thing may have become somebody else's since.
   */
  readonly action: AccessAction | null;
}

/**
 * Resolves with the values of the out arguments, rejects with a RefusedCall, an UpdateError or a defect. The call
 * has been authorised.
 */
export type Handler = (call: HandlerCall) => Promise<readonly unknown[]>;

export type PropertyTables = Readonly<Record<string, Readonly<Record<string, Variant>>>>;

/** Throws kind `internal` when handlers, XML and the list of what is not built do not fit together. */
export function checkServedObject(object: ServedObject): void {
  const promised = new Set<string>();
  for (const { name, methods, properties } of object.table.interfaces.values()) {
    for (const method of methods.keys()) promised.add(`${name}.${method}`);
    for (const property of properties.values()) {
      promised.add(`${name}.${property.name}`);
      if (property.access !== 'read') throw misfit(object, `${property.name} is writable, nothing may be`);
    }
    for (const method of methods.keys()) {
      const key = `${name}.${method}`;
      const isHandled = Object.hasOwn(object.handlers, key);
      if (isHandled === object.notBuilt.has(key)) {
        throw misfit(object, `${key} must be either handled or listed as not built`);
      }
    }
  }
  for (const key of [...Object.keys(object.handlers), ...object.notBuilt]) {
    if (!promised.has(key)) throw misfit(object, `${key} is not in the XML`);
  }
}

/** One property out of a snapshot. Throws NotSupported, or kind `internal` for a value that is absent or mistyped. */
export function propertyValue(
  object: ServedObject,
  tables: PropertyTables,
  owner: InterfaceEntry,
  property: PropertyEntry,
): Variant {
  const key = `${owner.name}.${property.name}`;
  const table = Object.hasOwn(tables, owner.name) ? tables[owner.name] : undefined;
  const value = table !== undefined && Object.hasOwn(table, property.name) ? table[property.name] : undefined;
  if (value === undefined) {
    if (object.notBuilt.has(key)) throw new RefusedCall(refuse('NotSupported', notBuiltText(key)));
    throw new UpdateError('internal', `the property ${key} has no value`);
  }
  if (value.signature !== property.type) {
    throw new UpdateError('internal', `${key}: found type ${value.signature}, expected ${property.type}`);
  }
  return value;
}

/** What GetAll answers: everything but what is not built. */
export function allProperties(
  object: ServedObject,
  tables: PropertyTables,
  owner: InterfaceEntry,
): ReadonlyMap<string, Variant> {
  const values = new Map<string, Variant>();
  for (const property of owner.properties.values()) {
    if (object.notBuilt.has(`${owner.name}.${property.name}`)) continue;
    values.set(property.name, propertyValue(object, tables, owner, property));
  }
  return values;
}

export function notBuiltText(member: string): string {
  return `${member} is not supported by this version of the service`;
}

function misfit(object: ServedObject, found: string): UpdateError {
  return new UpdateError('internal', `the object ${object.path}: ${found}`);
}

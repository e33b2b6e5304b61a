import { UpdateError } from '../../core/errors.ts';
import { parseSignature, parseSingleType } from './signature.ts';
import { parseXml, type XmlElement } from './xml.ts';

/**
 * Introspection XML as a table. The XML is written by hand and is the truth: what the dispatcher accepts, answers
 * and announces follows from this table, so the manual cannot drift from the service.
 * Source: D-Bus specification, "Introspection Data Format".
 */
export interface ArgEntry {
  /** '' = not named. */
  readonly name: string;
  readonly type: string;
}

export interface MethodEntry {
  readonly name: string;
  readonly in: readonly ArgEntry[];
  readonly out: readonly ArgEntry[];
  /** The types of `in` and `out` joined. */
  readonly inSignature: string;
  readonly outSignature: string;
}

export interface SignalEntry {
  readonly name: string;
  readonly args: readonly ArgEntry[];
  readonly signature: string;
}

/** Whether PropertiesChanged carries the new value, only the name, never comes, or the value never changes. */
export type EmitsChanged = 'true' | 'invalidates' | 'const' | 'false';

export interface PropertyEntry {
  readonly name: string;
  readonly type: string;
  readonly access: 'read' | 'write' | 'readwrite';
  readonly emits: EmitsChanged;
}

export interface InterfaceEntry {
  readonly name: string;
  readonly methods: ReadonlyMap<string, MethodEntry>;
  readonly properties: ReadonlyMap<string, PropertyEntry>;
  readonly signals: ReadonlyMap<string, SignalEntry>;
}

export interface InterfaceTable {
  /** As given, for Introspect. */
  readonly xml: string;
  /** In the order of the XML: a call without interface goes to the first that has the member. */
  readonly interfaces: ReadonlyMap<string, InterfaceEntry>;
}

const EMITS_ANNOTATION = 'org.freedesktop.DBus.Property.EmitsChangedSignal';

/** Throws kind `config` naming the element for anything but a well-formed table: a wrong file must not start. */
export function parseInterfaceXml(xml: string): InterfaceTable {
  const root = parseXml(xml);
  if (root.name !== 'node') throw wrong(`<${root.name}>`, 'the root element', '<node>');
  return { xml, interfaces: byName(root, 'interface', toInterface) };
}

function toInterface(element: XmlElement): InterfaceEntry {
  const name = attribute(element, 'name');
  return {
    name,
    methods: byName(element, 'method', toMethod),
    properties: byName(element, 'property', toProperty),
    signals: byName(element, 'signal', toSignal),
  };
}

function toMethod(element: XmlElement): MethodEntry {
  const name = attribute(element, 'name');
  const args = childrenOf(element, 'arg').map((arg) => ({ ...toArg(arg), direction: directionOf(arg) }));
  const inArgs = args.filter(({ direction }) => direction === 'in');
  const outArgs = args.filter(({ direction }) => direction === 'out');
  return {
    name,
    in: inArgs.map(({ name: argName, type }) => ({ name: argName, type })),
    out: outArgs.map(({ name: argName, type }) => ({ name: argName, type })),
    inSignature: joined(inArgs),
    outSignature: joined(outArgs),
  };
}

function toSignal(element: XmlElement): SignalEntry {
  const args = childrenOf(element, 'arg').map(toArg);
  return { name: attribute(element, 'name'), args, signature: joined(args) };
}

function toProperty(element: XmlElement): PropertyEntry {
  const name = attribute(element, 'name');
  const type = attribute(element, 'type');
  checkType(type, `property ${name}`);
  const access = attribute(element, 'access');
  if (access !== 'read' && access !== 'write' && access !== 'readwrite') {
    throw wrong(`access "${access}"`, `property ${name}`, 'read, write or readwrite');
  }
  const annotation = childrenOf(element, 'annotation').find(
    (candidate) => candidate.attributes.get('name') === EMITS_ANNOTATION,
  );
  const emits = annotation === undefined ? 'true' : attribute(annotation, 'value');
  if (emits !== 'true' && emits !== 'invalidates' && emits !== 'const' && emits !== 'false') {
    throw wrong(`${EMITS_ANNOTATION} "${emits}"`, `property ${name}`, 'true, invalidates, const or false');
  }
  return { name, type, access, emits };
}

function toArg(element: XmlElement): ArgEntry {
  const type = attribute(element, 'type');
  const name = element.attributes.get('name') ?? '';
  checkType(type, `argument ${name}`);
  return { name, type };
}

function directionOf(element: XmlElement): 'in' | 'out' {
  const direction = element.attributes.get('direction') ?? 'in';
  if (direction === 'in' || direction === 'out') return direction;
  throw wrong(`direction "${direction}"`, 'a method argument', 'in or out');
}

function checkType(type: string, where: string): void {
  try {
    parseSingleType(type);
  } catch (cause) {
    throw new UpdateError('config', `introspection XML: ${where} has no single complete type`, { cause });
  }
  if (type.includes('h')) throw wrong(`type "${type}"`, where, 'no file descriptors');
}

function joined(args: readonly ArgEntry[]): string {
  const signature = args.map(({ type }) => type).join('');
  parseSignature(signature);
  return signature;
}

function byName<T extends { readonly name: string }>(
  parent: XmlElement,
  kind: string,
  convert: (element: XmlElement) => T,
): ReadonlyMap<string, T> {
  const entries = new Map<string, T>();
  for (const element of childrenOf(parent, kind)) {
    const entry = convert(element);
    if (entries.has(entry.name)) throw wrong(`${kind} ${entry.name} twice`, `<${parent.name}>`, 'it once');
    entries.set(entry.name, entry);
  }
  return entries;
}

function childrenOf(parent: XmlElement, name: string): readonly XmlElement[] {
  return parent.children.filter((child) => child.name === name);
}

function attribute(element: XmlElement, name: string): string {
  const value = element.attributes.get(name);
  if (value === undefined || value === '') throw wrong(`no ${name}`, `<${element.name}>`, 'one');
  return value;
}

function wrong(found: string, where: string, expected: string): UpdateError {
  return new UpdateError('config', `introspection XML: ${where}: found ${found}, expected ${expected}`);
}

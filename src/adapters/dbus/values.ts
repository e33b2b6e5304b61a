import validators from 'dbus-next/lib/validators.js';
import { UpdateError } from '../../core/errors.ts';
import { parseSignature, parseSingleType, type TypeNode } from './signature.ts';

/**
 * Values between our code and dbus-next's wire format, checked in both directions. What the bus would punish by
 * disconnecting us, or dbus-next by writing garbage, is refused here with a sentence that names the place.
 *
 * Shapes: y n q i u d = number; x t = bigint when received, bigint or safe integer when sent; b = boolean;
 * s o g = string; v = {@link Variant}; a{..} = Map when received, Map or plain object when sent; ay = Uint8Array;
 * other arrays and structures = arrays. `h` (file descriptors) does not exist here.
 */
export interface Variant {
  readonly signature: string;
  readonly value: unknown;
}

/** The received form of a{sv}. A Map, so that a key such as `__proto__` is only a key. */
export type VariantMap = ReadonlyMap<string, Variant>;

export function variant(signature: string, value: unknown): Variant {
  return { signature, value };
}

/** A message body as dbus-next's marshaller wants it, and about how long it will be on the wire. */
export interface EncodedBody {
  readonly body: readonly unknown[];
  readonly sizeBytes: number;
}

/**
 * Nothing longer is sent: the service must stay responsive while it marshals, and the bus ends a connection
 * that exceeds its own limit (32 MiB). Lists are paged instead.
 */
export const MAX_SENT_BODY_BYTES = 1024 * 1024;

/** Thrown for a body above {@link MAX_SENT_BODY_BYTES}; everything else wrong is kind `internal`. */
export class OversizeBody extends UpdateError {}

const MAX_DEPTH = 64;
const INTEGER_RANGES: Readonly<Record<string, readonly [min: number, max: number, bytes: number]>> = {
  y: [0, 0xff, 1],
  n: [-0x8000, 0x7fff, 2],
  q: [0, 0xffff, 2],
  i: [-0x80000000, 0x7fffffff, 4],
  u: [0, 0xffffffff, 4],
};
const MAX_UINT64 = 2n ** 64n - 1n;
const MAX_INT64 = 2n ** 63n - 1n;

/** Checks `values` against `signature`. Throws kind `internal` (our mistake), or {@link OversizeBody}. */
export function encodeBody(
  signature: string,
  values: readonly unknown[],
  maxBytes: number = MAX_SENT_BODY_BYTES,
): EncodedBody {
  const types = ownTypes(signature, 'body');
  if (values.length !== types.length) {
    throw wrongValue('body', `${values.length} values`, `${types.length} for signature "${signature}"`);
  }
  const size = { bytes: 0, maxBytes };
  const body = types.map((type, index) => encode(type, values[index], `argument ${index}`, 0, size));
  return { body, sizeBytes: size.bytes };
}

interface Size {
  bytes: number;
  readonly maxBytes: number;
}

function encode(type: TypeNode, value: unknown, where: string, depth: number, size: Size): unknown {
  if (depth > MAX_DEPTH) throw wrongValue(where, `nesting deeper than ${MAX_DEPTH}`, 'less');
  switch (type.kind) {
    case 'basic':
      return encodeBasic(type.code, value, where, size);
    case 'variant': {
      if (!isVariant(value)) throw wrongValue(where, describe(value), '{ signature, value }');
      grow(size, value.signature.length + 3);
      const inner = ownType(value.signature, where);
      return [value.signature, encode(inner, value.value, `${where} (variant)`, depth + 1, size)];
    }
    case 'array': {
      grow(size, 8);
      if (type.element.code === 'y' && value instanceof Uint8Array) {
        grow(size, value.length);
        return value;
      }
      if (!Array.isArray(value)) throw wrongValue(where, describe(value), `an array (${type.code})`);
      return value.map((item, index) => encode(type.element, item, `${where}[${index}]`, depth + 1, size));
    }
    case 'struct': {
      grow(size, 8);
      if (!Array.isArray(value) || value.length !== type.fields.length) {
        throw wrongValue(where, describe(value), `${type.fields.length} fields (${type.code})`);
      }
      return type.fields.map((field, index) =>
        encode(field, value[index], `${where}.${index}`, depth + 1, size),
      );
    }
    case 'dict': {
      grow(size, 8);
      return entriesOf(value, where).map(([key, item]) => {
        grow(size, 8);
        const place = `${where}[${String(key)}]`;
        return [
          encode(type.key, key, `${place} (key)`, depth + 1, size),
          encode(type.value, item, place, depth + 1, size),
        ];
      });
    }
  }
}

function encodeBasic(code: string, value: unknown, where: string, size: Size): unknown {
  const range = INTEGER_RANGES[code];
  if (range !== undefined) {
    const [min, max, bytes] = range;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      throw wrongValue(where, describe(value), `an integer from ${min} to ${max} (${code})`);
    }
    grow(size, bytes);
    return value;
  }
  switch (code) {
    case 's':
    case 'o':
    case 'g': {
      if (typeof value !== 'string') throw wrongValue(where, describe(value), `a string (${code})`);
      if (value.includes('\0')) throw wrongValue(where, 'a string with a NUL character', 'none');
      grow(size, Buffer.byteLength(value) + 5);
      if (code === 'o' && !validators.isObjectPathValid(value)) {
        throw wrongValue(where, describe(value), 'an object path');
      }
      if (code === 'g') ownTypes(value, where);
      return value;
    }
    case 'b':
      if (typeof value !== 'boolean') throw wrongValue(where, describe(value), 'a boolean');
      grow(size, 4);
      return value;
    case 'd':
      if (typeof value !== 'number' || !Number.isFinite(value)) {
        throw wrongValue(where, describe(value), 'a finite number (d)');
      }
      grow(size, 8);
      return value;
    case 'x':
    case 't': {
      // The library cannot write the smallest int64, so the range is symmetric.
      const [min, max] = code === 'x' ? [-MAX_INT64, MAX_INT64] : [0n, MAX_UINT64];
      const number = typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : value;
      if (typeof number !== 'bigint' || number < min || number > max) {
        throw wrongValue(where, describe(value), `an integer from ${min} to ${max} (${code})`);
      }
      grow(size, 8);
      return number;
    }
    default:
      throw wrongValue(where, `type code '${code}'`, 'no file descriptors');
  }
}

/** A malformed signature is the caller's mistake when received and ours when sent. */
function ownTypes(signature: string, where: string): readonly TypeNode[] {
  try {
    return parseSignature(signature);
  } catch (cause) {
    throw new UpdateError('internal', `${where}: ${cause instanceof Error ? cause.message : ''}`, { cause });
  }
}

function ownType(signature: string, where: string): TypeNode {
  const types = ownTypes(signature, where);
  const [type] = types;
  if (type === undefined || types.length !== 1) {
    throw wrongValue(where, `${types.length} complete types in "${signature}"`, 'one');
  }
  return type;
}

function entriesOf(value: unknown, where: string): [unknown, unknown][] {
  if (value instanceof Map) return [...value.entries()];
  const isPlain =
    typeof value === 'object' &&
    value !== null &&
    (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null);
  if (!isPlain) throw wrongValue(where, describe(value), 'a Map or a plain object');
  return Object.entries(value);
}

function isVariant(value: unknown): value is Variant {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.hasOwn(value, 'signature') &&
    Object.hasOwn(value, 'value') &&
    typeof (value as Variant).signature === 'string'
  );
}

function grow(size: Size, bytes: number): void {
  size.bytes += bytes;
  if (size.bytes > size.maxBytes) {
    throw new OversizeBody('internal', `the message would exceed ${size.maxBytes} bytes`, {
      details: { 'max-bytes': size.maxBytes },
    });
  }
}

/**
 * What dbus-next read, in the shapes above. Throws kind `invalidArgument` for file descriptors and for a
 * dictionary that gives one key twice (two readers of it could see two different values).
 */
export function decodeBody(signature: string, body: readonly unknown[]): unknown[] {
  return parseSignature(signature).map((type, index) => decode(type, body[index], `argument ${index}`));
}

function decode(type: TypeNode, raw: unknown, where: string): unknown {
  switch (type.kind) {
    case 'basic':
      if (type.code === 'h') {
        throw new UpdateError('invalidArgument', `${where}: file descriptors are not accepted`);
      }
      return raw;
    case 'variant': {
      // dbus-next: [list of signature trees, list of values], one each.
      const [trees, values] = raw as [LibraryTree[], unknown[]];
      const signature = trees.map(signatureOf).join('');
      return variant(signature, decode(parseSingleType(signature), values[0], `${where} (variant)`));
    }
    case 'array':
      // A copy, so that a few kept bytes do not keep the whole message.
      if (type.element.code === 'y') return Uint8Array.from(raw as Uint8Array);
      return (raw as unknown[]).map((item, index) => decode(type.element, item, `${where}[${index}]`));
    case 'struct':
      return type.fields.map((field, index) => decode(field, (raw as unknown[])[index], `${where}.${index}`));
    case 'dict': {
      const map = new Map<unknown, unknown>();
      for (const [rawKey, rawValue] of raw as [unknown, unknown][]) {
        const key = decode(type.key, rawKey, `${where} (key)`);
        if (map.has(key)) {
          throw new UpdateError('invalidArgument', `${where}: the key "${String(key)}" is given twice`);
        }
        map.set(key, decode(type.value, rawValue, `${where}[${String(key)}]`));
      }
      return map;
    }
  }
}

interface LibraryTree {
  readonly type: string;
  readonly child: readonly LibraryTree[];
}

function signatureOf(tree: LibraryTree): string {
  const inner = tree.child.map(signatureOf).join('');
  if (tree.type === '(') return `(${inner})`;
  if (tree.type === '{') return `{${inner}}`;
  return tree.type + inner;
}

function wrongValue(where: string, found: string, expected: string): UpdateError {
  return new UpdateError('internal', `${where}: found ${found}, expected ${expected}`);
}

function describe(value: unknown): string {
  if (typeof value === 'string') return `"${value.length > 60 ? `${value.slice(0, 60)}…` : value}"`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  return `${String(value)} (${typeof value})`;
}

/**
 * JSON out of an artifact, taken apart with the caution foreign JSON needs: bounded depth, real UTF-8, own keys only,
 * every value described when it is not what was expected.
 */
import { ArtifactError, type ArtifactErrorCode } from '../../core/artifact-error.ts';
import { isOneLine, quoted } from '../../core/printable.ts';
import { LIMITS } from './limits.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** Makes the errors about one document. */
export type Complain = (found: string, expected: string, path?: string) => ArtifactError;

export function complaints(code: ArtifactErrorCode, document: string): Complain {
  return (found, expected, path = '') =>
    new ArtifactError(code, { where: path === '' ? document : `${document}, ${path}`, found, expected });
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The text and the object in it. Anything but exactly one JSON object is complained about. */
export function parseJsonObject(
  bytes: Uint8Array,
  complain: Complain,
): { readonly text: string; readonly value: JsonObject } {
  const text = decode(bytes, complain);
  if (depthOf(text) > LIMITS.jsonDepth) {
    throw complain(`more than ${LIMITS.jsonDepth} levels of nesting`, `at most ${LIMITS.jsonDepth}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw complain(`text that is not JSON: ${quoted(text, 60)}`, 'one JSON object');
  }
  if (!isObject(value)) throw complain(describe(value), 'a JSON object');
  return { text, value };
}

function decode(bytes: Uint8Array, complain: Complain): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw complain('bytes that are not UTF-8', 'JSON in UTF-8');
  }
}

/** Deepest nesting of brackets outside strings; right for any text that is JSON. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let isString = false;
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at);
    if (isString) {
      if (character === 0x5c) at++;
      else if (character === 0x22) isString = false;
    } else if (character === 0x22) {
      isString = true;
    } else if (character === 0x7b || character === 0x5b) {
      deepest = Math.max(deepest, ++depth);
    } else if (character === 0x7d || character === 0x5d) {
      depth--;
    }
  }
  return deepest;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object's own value under a key; undefined = absent. */
export function field(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** The object under a key, null = absent. */
export function objectField(object: JsonObject, key: string, complain: Complain): JsonObject | null {
  const value = field(object, key);
  if (value === undefined) return null;
  if (!isObject(value)) throw complain(describe(value), 'an object', key);
  return value;
}

export function requireKnownKeys(
  object: JsonObject,
  known: readonly string[],
  complain: Complain,
  path = '',
): void {
  for (const key of Object.keys(object)) {
    if (!known.includes(key)) throw complain(`the key ${quoted(key)}`, `only ${known.join(', ')}`, path);
  }
}

/** A string of one line and bounded length. */
export function requireText(value: unknown, complain: Complain, path: string): string {
  if (typeof value !== 'string') throw complain(describe(value), 'a string', path);
  if (Buffer.byteLength(value) > LIMITS.textBytes) {
    throw complain(`a string of ${Buffer.byteLength(value)} bytes`, `at most ${LIMITS.textBytes}`, path);
  }
  if (!isOneLine(value)) throw complain(quoted(value), 'text without control characters', path);
  return value;
}

export function requireTexts(value: unknown, complain: Complain, path: string): readonly string[] {
  if (!Array.isArray(value)) throw complain(describe(value), 'a list of strings', path);
  return value.map((item: unknown, index) => requireText(item, complain, `${path}[${index}]`));
}

export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (typeof value === 'string') return quoted(value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object') return 'an object';
  return `the ${typeof value} ${String(value)}`;
}

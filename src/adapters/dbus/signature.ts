import { UpdateError } from '../../core/errors.ts';

/**
 * D-Bus type signatures as trees. Strict, because a wrong one in our XML or in a variant of ours would cost the
 * connection: the bus disconnects whoever sends it.
 * Source: D-Bus specification, "Type system" (array and struct nesting 32 each, 255 bytes).
 */
export type TypeNode =
  | { readonly kind: 'basic'; readonly code: string }
  | { readonly kind: 'variant'; readonly code: 'v' }
  | { readonly kind: 'array'; readonly code: string; readonly element: TypeNode }
  | {
      readonly kind: 'dict';
      readonly code: string;
      readonly key: TypeNode;
      readonly value: TypeNode;
    }
  | { readonly kind: 'struct'; readonly code: string; readonly fields: readonly TypeNode[] };

const BASIC_CODES = 'ybnqiuxtdsogh';
const MAX_LENGTH = 255;
const MAX_NESTING = 32;

const cache = new Map<string, readonly TypeNode[]>();
const MAX_CACHED = 256;

/** The complete types of a signature, none for ''. Throws kind `invalidArgument` for anything malformed. */
export function parseSignature(signature: string): readonly TypeNode[] {
  const known = cache.get(signature);
  if (known !== undefined) return known;
  if (signature.length > MAX_LENGTH) throw malformed(signature, `longer than ${MAX_LENGTH} characters`);
  const nodes: TypeNode[] = [];
  let position = 0;
  while (position < signature.length) {
    const [node, next] = parseOne(signature, position, 0, 0);
    nodes.push(node);
    position = next;
  }
  // Variants of clients bring signatures of their own, so the cache must not grow with them.
  if (cache.size < MAX_CACHED) cache.set(signature, nodes);
  return nodes;
}

/** The one complete type a variant or property has. */
export function parseSingleType(signature: string): TypeNode {
  const nodes = parseSignature(signature);
  const [node] = nodes;
  if (node === undefined || nodes.length !== 1) {
    throw malformed(signature, `${nodes.length} complete types where one is expected`);
  }
  return node;
}

function parseOne(text: string, start: number, arrays: number, structs: number): [TypeNode, number] {
  const code = text[start];
  if (code === undefined) throw malformed(text, 'it ends inside a container');
  if (BASIC_CODES.includes(code)) return [{ kind: 'basic', code }, start + 1];
  if (code === 'v') return [{ kind: 'variant', code }, start + 1];
  if (code === 'a') {
    if (arrays >= MAX_NESTING) throw malformed(text, `arrays nested deeper than ${MAX_NESTING}`);
    if (text[start + 1] === '{') return parseDict(text, start, arrays + 1, structs + 1);
    const [element, next] = parseOne(text, start + 1, arrays + 1, structs);
    return [{ kind: 'array', code: text.slice(start, next), element }, next];
  }
  if (code === '(') {
    if (structs >= MAX_NESTING) throw malformed(text, `structures nested deeper than ${MAX_NESTING}`);
    const fields: TypeNode[] = [];
    let position = start + 1;
    while (text[position] !== ')') {
      const [field, next] = parseOne(text, position, arrays, structs + 1);
      fields.push(field);
      position = next;
    }
    if (fields.length === 0) throw malformed(text, 'an empty structure');
    return [{ kind: 'struct', code: text.slice(start, position + 1), fields }, position + 1];
  }
  throw malformed(text, `unknown type code '${code}'`);
}

function parseDict(text: string, start: number, arrays: number, structs: number): [TypeNode, number] {
  if (structs > MAX_NESTING) throw malformed(text, `structures nested deeper than ${MAX_NESTING}`);
  const [key, afterKey] = parseOne(text, start + 2, arrays, structs);
  if (key.kind !== 'basic') throw malformed(text, 'a dictionary key that is not a basic type');
  const [value, afterValue] = parseOne(text, afterKey, arrays, structs);
  if (text[afterValue] !== '}') throw malformed(text, 'a dictionary entry without end');
  return [{ kind: 'dict', code: text.slice(start, afterValue + 1), key, value }, afterValue + 1];
}

function malformed(signature: string, found: string): UpdateError {
  const shown = signature.length > 80 ? `${signature.slice(0, 80)}…` : signature;
  return new UpdateError('invalidArgument', `type signature "${shown}": found ${found}`);
}

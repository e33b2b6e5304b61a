/**
 * JSON with positions. The built-in parser says neither the line of an error nor that a key occurs twice, and both
 * are what a person who edits a configuration file needs to hear. Strict RFC 8259; a byte order mark is accepted.
 */
import { UpdateError } from '../core/errors.ts';

export interface JsonPosition {
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
}

export interface JsonMember extends JsonPosition {
  readonly key: string;
  readonly value: JsonNode;
}

export type JsonNode = JsonPosition &
  (
    | { readonly kind: 'object'; readonly members: readonly JsonMember[] }
    | { readonly kind: 'array'; readonly items: readonly JsonNode[] }
    | { readonly kind: 'scalar'; readonly value: string | number | boolean | null }
  );

const MAX_DEPTH = 64;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
// eslint-disable-next-line no-control-regex -- JSON forbids exactly these in strings
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const BLANKS = /[ \t\r\n]*/y;
const WORD = /[A-Za-z_]\w*/y;

/** Throws an UpdateError of kind `config`: `FILE:LINE:COLUMN: found …, expected …`. */
export function parseJson(text: string, file: string): JsonNode {
  const parser = new Parser(text.startsWith('\ufeff') ? text.slice(1) : text, file);
  return parser.whole();
}

/** The plain value; of a key that occurs twice the last. Objects have no prototype, so `__proto__` is a mere key. */
export function plainValue(node: JsonNode): unknown {
  switch (node.kind) {
    case 'scalar':
      return node.value;
    case 'array':
      return node.items.map(plainValue);
    case 'object': {
      const value = Object.create(null) as Record<string, unknown>;
      for (const member of node.members) value[member.key] = plainValue(member.value);
      return value;
    }
  }
}

class Parser {
  readonly #text: string;
  readonly #file: string;
  #at = 0;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  whole(): JsonNode {
    this.#blanks();
    const node = this.#value(0);
    this.#blanks();
    if (this.#at < this.#text.length) throw this.#error('the end of the file');
    return node;
  }

  #value(depth: number): JsonNode {
    const position = this.#position(this.#at);
    if (depth > MAX_DEPTH) throw this.#error(`at most ${MAX_DEPTH} levels`);
    switch (this.#text[this.#at]) {
      case '{':
        return { kind: 'object', members: this.#members(depth), ...position };
      case '[':
        return { kind: 'array', items: this.#items(depth), ...position };
      case '"':
        return { kind: 'scalar', value: this.#string('a string'), ...position };
      default:
        return { kind: 'scalar', value: this.#wordOrNumber(), ...position };
    }
  }

  #members(depth: number): readonly JsonMember[] {
    const members: JsonMember[] = [];
    this.#at++;
    this.#blanks();
    if (this.#take('}')) return members;
    for (;;) {
      const position = this.#position(this.#at);
      const key = this.#string('a key in double quotes');
      this.#blanks();
      if (!this.#take(':')) throw this.#error('":"');
      this.#blanks();
      members.push({ key, value: this.#value(depth + 1), ...position });
      this.#blanks();
      if (this.#take('}')) return members;
      if (!this.#take(',')) throw this.#error('"," or "}"');
      this.#blanks();
    }
  }

  #items(depth: number): readonly JsonNode[] {
    const items: JsonNode[] = [];
    this.#at++;
    this.#blanks();
    if (this.#take(']')) return items;
    for (;;) {
      items.push(this.#value(depth + 1));
      this.#blanks();
      if (this.#take(']')) return items;
      if (!this.#take(',')) throw this.#error('"," or "]"');
      this.#blanks();
    }
  }

  #string(expected: string): string {
    if (this.#text[this.#at] !== '"') throw this.#error(expected);
    const text = this.#match(STRING);
    if (text === null)
      throw this.#error('a string that ends on its line, without bad escapes', 'a broken string');
    return JSON.parse(text) as string;
  }

  #wordOrNumber(): number | boolean | null {
    const number = this.#match(NUMBER);
    if (number !== null) return Number(number);
    const start = this.#at;
    const word = this.#match(WORD);
    if (word === 'true') return true;
    if (word === 'false') return false;
    if (word === 'null') return null;
    this.#at = start;
    throw this.#error('a value');
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (!match) return null;
    this.#at = pattern.lastIndex;
    return match[0];
  }

  #blanks(): void {
    this.#match(BLANKS);
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #position(at: number): JsonPosition {
    const before = this.#text.slice(0, at);
    const lineStart = before.lastIndexOf('\n') + 1;
    return { line: before.split('\n').length, column: at - lineStart + 1 };
  }

  #error(expected: string, found?: string): UpdateError {
    const rest = this.#text.slice(this.#at);
    const what =
      found ??
      (rest === '' ? 'the end of the file' : JSON.stringify(/^\w+|^./su.exec(rest)?.[0].slice(0, 30)));
    const { line, column } = this.#position(this.#at);
    return new UpdateError('config', `${this.#file}:${line}:${column}: found ${what}, expected ${expected}`, {
      details: { path: this.#file, line, column },
    });
  }
}

import { printable, quoted } from '../printable.ts';

/**
 * JSON as its writer wrote it: numbers as text, members in order and as often as they occur, and where the first value
 * ends. The built-in parser tells none of these, and Mender's rules need them all. Bounded in depth, linear in time;
 * RFC 8259 without extensions, as Go's encoding/json reads it.
 */
export type JsonValue =
  | { readonly kind: 'object'; readonly members: readonly JsonMember[] }
  | { readonly kind: 'array' }
  | { readonly kind: 'string'; readonly text: string }
  | { readonly kind: 'number'; readonly literal: string }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'null' };

export interface JsonMember {
  readonly key: string;
  readonly value: JsonValue;
}

export type JsonScan =
  | {
      readonly kind: 'value';
      readonly value: JsonValue;
      /** What follows the value. */ readonly rest: string;
    }
  | { readonly kind: 'broken'; /** `found …, expected …` */ readonly message: string };

/** Far more than anything read with this has; Go's decoder gives up at 10 000. */
const MAX_DEPTH = 32;
const BLANKS = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORDS = { true: { kind: 'boolean' }, false: { kind: 'boolean' }, null: { kind: 'null' } } as const;
const SHOWN_CHARACTERS = 20;

/** Reads the first value of the text. Never throws. */
export function scanJson(text: string): JsonScan {
  const scanner = new Scanner(text);
  try {
    const value = scanner.value(0);
    return { kind: 'value', value, rest: text.slice(scanner.at) };
  } catch (error) {
    if (error instanceof Broken) return { kind: 'broken', message: error.message };
    throw error;
  }
}

export function isBlank(text: string): boolean {
  return /^[ \t\r\n]*$/.test(text);
}

class Broken extends Error {}

class Scanner {
  readonly #text: string;
  at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): JsonValue {
    if (depth > MAX_DEPTH) throw new Broken(`found more than ${MAX_DEPTH} levels, expected fewer`);
    this.#blanks();
    switch (this.#text[this.at]) {
      case '{':
        return { kind: 'object', members: this.#members(depth) };
      case '[':
        this.#items(depth);
        return { kind: 'array' };
      case '"':
        return { kind: 'string', text: this.#string() };
      default:
        return this.#numberOrWord();
    }
  }

  #members(depth: number): readonly JsonMember[] {
    const members: JsonMember[] = [];
    this.at++;
    if (this.#take('}')) return members;
    for (;;) {
      this.#blanks();
      if (this.#text[this.at] !== '"') throw this.#broken('a key in double quotes');
      const key = this.#string();
      if (!this.#take(':')) throw this.#broken('":"');
      members.push({ key, value: this.value(depth + 1) });
      if (this.#take('}')) return members;
      if (!this.#take(',')) throw this.#broken('"," or "}"');
    }
  }

  /** Nobody asks what is in an array: checked, not kept. */
  #items(depth: number): void {
    this.at++;
    if (this.#take(']')) return;
    for (;;) {
      this.value(depth + 1);
      if (this.#take(']')) return;
      if (!this.#take(',')) throw this.#broken('"," or "]"');
    }
  }

  #string(): string {
    const start = this.at;
    let end = start + 1;
    while (end < this.#text.length && this.#text[end] !== '"') end += this.#text[end] === '\\' ? 2 : 1;
    const literal = this.#text.slice(start, end + 1);
    try {
      const text: unknown = JSON.parse(literal);
      if (typeof text === 'string') {
        this.at = end + 1;
        return text;
      }
    } catch {
      // Said below.
    }
    throw new Broken(
      `found ${quoted(literal, SHOWN_CHARACTERS)}, expected a string that ends, without raw control characters or bad escapes`,
    );
  }

  #numberOrWord(): JsonValue {
    NUMBER.lastIndex = this.at;
    const literal = NUMBER.exec(this.#text)?.[0];
    if (literal !== undefined) {
      this.at += literal.length;
      return { kind: 'number', literal };
    }
    for (const [word, value] of Object.entries(WORDS)) {
      if (!this.#text.startsWith(word, this.at)) continue;
      this.at += word.length;
      return value;
    }
    throw this.#broken('a JSON value');
  }

  #blanks(): void {
    BLANKS.lastIndex = this.at;
    BLANKS.exec(this.#text);
    this.at = BLANKS.lastIndex;
  }

  /** Past blanks. */
  #take(character: string): boolean {
    this.#blanks();
    if (this.#text[this.at] !== character) return false;
    this.at++;
    return true;
  }

  #broken(expected: string): Broken {
    const rest = this.#text.slice(this.at, this.at + SHOWN_CHARACTERS);
    const found = rest === '' ? 'the end of the text' : `"${printable(rest)}"`;
    return new Broken(`found ${found} at character ${this.at + 1}, expected ${expected}`);
  }
}

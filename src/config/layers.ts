/**
 * Configuration files as layers of single values: each file is checked key by key against the rules, and a later
 * layer replaces the values of an earlier one, key by key. Source: spec/configuration.md section 1.1.
 */
import * as v from 'valibot';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { UpdateError } from '../core/errors.ts';
import { parseJson, plainValue, type JsonMember, type JsonNode } from './json.ts';
import { nearest } from './nearest.ts';
import type { KeyRules, ValueOf } from './schema.ts';

/** Where a value came from. */
export type Origin =
  | { readonly kind: 'default' }
  | { readonly kind: 'file'; readonly path: string; readonly line: number }
  | { readonly kind: 'option'; readonly name: string }
  | { readonly kind: 'environment'; readonly name: string };

interface Found {
  readonly value: unknown;
  readonly origin: Origin;
}

const MAX_FILE_BYTES = 1024 * 1024;

/** What to do about a value of the wrong type, and about an unknown key. Throw to make it fatal. */
export interface Complaints {
  mistyped(key: string, sentence: string): void;
  unknown(key: string, sentence: string): void;
  repeated(key: string, sentence: string): void;
}

export class Layers<R extends KeyRules> {
  readonly #rules: R;
  readonly #byLowerCase: ReadonlyMap<string, string>;
  readonly #found = new Map<string, Found>();

  constructor(rules: R) {
    this.#rules = rules;
    const names = Object.keys(rules).flatMap((key) => {
      const parts = key.split('.');
      return parts.map((_, index) => parts.slice(0, index + 1).join('.'));
    });
    this.#byLowerCase = new Map(names.map((key) => [key.toLowerCase(), key]));
  }

  get<K extends keyof R & string>(key: K): ValueOf<R, K> | undefined {
    return this.#found.get(key)?.value as ValueOf<R, K> | undefined;
  }

  origin(key: keyof R & string): Origin {
    return this.#found.get(key)?.origin ?? { kind: 'default' };
  }

  /** An option or environment variable: it replaces whatever files say. */
  override<K extends keyof R & string>(key: K, value: ValueOf<R, K>, origin: Origin): void {
    this.#found.set(key, { value, origin });
  }

  /** Puts the values of one file over those before it. */
  add(node: JsonNode, path: string, complaints: Complaints): void {
    if (node.kind !== 'object') {
      throw new UpdateError(
        'config',
        `${path}:${node.line}:${node.column}: found ${describe(node)}, expected an object`,
        {
          details: { path, line: node.line, column: node.column },
        },
      );
    }
    this.#addMembers(node.members, '', path, complaints);
  }

  #addMembers(members: readonly JsonMember[], prefix: string, path: string, complaints: Complaints): void {
    const seen = new Set<string>();
    for (const member of members) {
      const where = `${path}:${member.line}`;
      const typed = prefix + member.key;
      const lower = typed.toLowerCase();
      if (seen.has(lower)) {
        complaints.repeated(typed, `${where}: ${typed} occurs more than once, the last one counts`);
      }
      seen.add(lower);
      // A dot inside a name is no nesting.
      const key = member.key.includes('.') ? undefined : this.#byLowerCase.get(lower);
      if (key === undefined) {
        const siblings = [...this.#byLowerCase.values()].filter(
          (name) => name.startsWith(prefix) && !name.slice(prefix.length).includes('.'),
        );
        // A key put at the wrong level is meant as often as one that is misspelt.
        const meant = nearest(typed, siblings) ?? nearest(typed, [...this.#byLowerCase.values()]);
        complaints.unknown(
          typed,
          `${where}: unknown key ${typed}${meant === null ? '' : ` (did you mean ${meant}?)`}`,
        );
        continue;
      }
      const { value } = member;
      if (value.kind === 'scalar' && value.value === null) continue;
      if (this.#rules[key] !== undefined) this.#addValue(key, member, path, complaints);
      else if (value.kind === 'object') this.#addMembers(value.members, `${key}.`, path, complaints);
      else complaints.mistyped(key, `${where}: ${key}: found ${describe(value)}, expected an object`);
    }
  }

  #addValue(key: string, member: JsonMember, path: string, complaints: Complaints): void {
    const rule = this.#rules[key];
    if (rule === undefined) return;
    const result = v.safeParse(rule.schema, plainValue(member.value));
    if (result.success) {
      this.#found.set(key, { value: result.output, origin: { kind: 'file', path, line: member.line } });
      return;
    }
    const found = rule.isSecret ? `a value of type ${member.value.kind}` : describe(member.value);
    complaints.mistyped(key, `${path}:${member.line}: ${key}: found ${found}, expected ${rule.expected}`);
  }
}

function describe(node: JsonNode): string {
  if (node.kind === 'object') return 'an object';
  const text = JSON.stringify(plainValue(node));
  return `${node.kind === 'array' ? 'the array ' : ''}${text.length > 80 ? `${text.slice(0, 77)}...` : text}`;
}

/** The parsed file; null = there is none. Rejects (kind `config`) when it cannot be read or is not JSON. */
export async function readJsonFile(path: string): Promise<JsonNode | null> {
  let text: string;
  try {
    // O_NONBLOCK: a named pipe in the way must not hang the start.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const facts = await handle.stat();
      if (!facts.isFile()) throw new Error('it is not a regular file');
      if (facts.size > MAX_FILE_BYTES) throw new Error(`it is longer than ${MAX_FILE_BYTES} bytes`);
      text = await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UpdateError('config', `${path} cannot be read: ${why}`, { cause, details: { path } });
  }
  return parseJson(text, path);
}

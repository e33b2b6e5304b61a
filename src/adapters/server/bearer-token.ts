/** The token a server issues. Opaque to us: nothing looks inside it (spec/server-api.md section 2.3). */
import type { Secret } from '../../ports/authentication.ts';

/** What may stand in an `Authorization: Bearer` header (RFC 6750); longer ones no server could have read back. */
const TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;
const MAX_TOKEN_CHARACTERS = 12 * 1024;

/** Printed, serialized or inspected it shows nothing: the text sits in a private field. */
export class BearerToken implements Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return '(token)';
  }

  toJSON(): string {
    return '(token)';
  }
}

/** The body of an answer as a token; null = it is none, for example the page of a log-in portal. */
export function parseToken(body: string): BearerToken | null {
  const text = body.trim();
  return text.length <= MAX_TOKEN_CHARACTERS && TOKEN.test(text) ? new BearerToken(text) : null;
}

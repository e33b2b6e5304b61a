/**
 * The tokens accepted devices carry: JSON Web Tokens (RFC 7519) signed with the server's Ed25519 key. Opaque to
 * clients. Source: spec/server-api.md section 2.3.
 */
import { randomBytes, sign, verify } from 'node:crypto';
import * as v from 'valibot';
import type { Secrets } from './secrets.ts';

export interface TokenFacts {
  readonly deviceId: string;
  readonly authSetId: string;
}

const ISSUER = 'holdpoint-server';
const HEADER = Buffer.from(JSON.stringify({ alg: 'EdDSA', typ: 'JWT' })).toString('base64url');
const MAX_TOKEN_CHARACTERS = 4096;

const Claims = v.object({
  iss: v.literal(ISSUER),
  sub: v.string(),
  jti: v.string(),
  exp: v.number(),
});

export function issueToken(secrets: Secrets, facts: TokenFacts, nowMs: number, lifetimeMs: number): string {
  const claims = {
    jti: facts.authSetId,
    sub: facts.deviceId,
    iss: ISSUER,
    iat: Math.floor(nowMs / 1000),
    exp: Math.floor((nowMs + lifetimeMs) / 1000),
    // Two tokens of one second are still two.
    nonce: randomBytes(8).toString('hex'),
    'mender.device': true,
  };
  const text = `${HEADER}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
  return `${text}.${sign(null, Buffer.from(text), secrets.privateKey).toString('base64url')}`;
}

/** null = not one of ours, changed, or expired. */
export function readToken(secrets: Secrets, token: string, nowMs: number): TokenFacts | null {
  if (token.length > MAX_TOKEN_CHARACTERS) return null;
  const [header, claims, signature, ...more] = token.split('.');
  // One header only: the algorithm is ours to choose, not the token's.
  if (header !== HEADER || claims === undefined || signature === undefined || more.length > 0) return null;
  try {
    const signed = Buffer.from(`${header}.${claims}`);
    if (!verify(null, signed, secrets.publicKey, Buffer.from(signature, 'base64url'))) return null;
    const facts = v.parse(Claims, JSON.parse(Buffer.from(claims, 'base64url').toString()));
    return facts.exp * 1000 > nowMs ? { deviceId: facts.sub, authSetId: facts.jti } : null;
  } catch {
    return null;
  }
}

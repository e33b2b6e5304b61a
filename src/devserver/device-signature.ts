/**
 * What a device asks to be let in with: its identity, its public key, and a signature over the exact bytes of the
 * request. Source: spec/server-api.md sections 2.1 and 2.2.
 */
import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import * as v from 'valibot';
import { HttpError } from './http-error.ts';
import { parseJson } from './http.ts';

const MAX_IDENTITY_CHARACTERS = 8 * 1024;
const MAX_PEM_CHARACTERS = 8 * 1024;
const RSA_BITS = [2048, 8192] as const;

const AuthRequest = v.object({
  id_data: v.pipe(
    v.string('expected a JSON object as text'),
    v.minLength(1, 'found an empty text, expected a JSON object as text'),
    v.maxLength(MAX_IDENTITY_CHARACTERS, `found more than ${MAX_IDENTITY_CHARACTERS} characters`),
  ),
  pubkey: v.pipe(v.string(), v.minLength(1, 'found an empty text, expected a PEM public key')),
  tenant_token: v.optional(v.string()),
});

export interface AskingDevice {
  readonly identity: Readonly<Record<string, unknown>>;
  /** The same for every order of keys and every escaping: 64 hex digits. */
  readonly identityHash: string;
  /** Normalised PEM. */
  readonly publicKey: string;
}

/** Throws HttpError: 400 for what cannot be understood, 401 for a signature that does not fit. */
export function readAuthRequest(bytes: Buffer, signatureHeader: string | undefined): AskingDevice {
  const { id_data: idData, pubkey } = parseJson(bytes, AuthRequest);
  const identity = identityOf(idData);
  const key = publicKeyOf(pubkey);
  if (!signatureHeader) throw new HttpError(400, 'the header X-MEN-Signature is missing');
  const signature = base64(signatureHeader.trim());
  if (signature === null) throw new HttpError(400, 'the header X-MEN-Signature is not standard base64');
  if (!isSignedBy(key, bytes, signature)) throw new HttpError(401, 'signature verification failed');
  return {
    identity,
    identityHash: createHash('sha256').update(sortedJson(identity)).digest('hex'),
    publicKey: key.export({ type: 'spki', format: 'pem' }) as string,
  };
}

function identityOf(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new HttpError(400, 'id_data: found no JSON, expected a JSON object as text');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new HttpError(400, 'id_data: found JSON of another kind, expected an object');
  }
  return value as Readonly<Record<string, unknown>>;
}

function publicKeyOf(pem: string): KeyObject {
  const wanted = 'pubkey: expected one PEM block BEGIN PUBLIC KEY';
  if (
    pem.length > MAX_PEM_CHARACTERS ||
    !/^\s*-----BEGIN PUBLIC KEY-----[\sA-Za-z0-9+/=]+-----END PUBLIC KEY-----\s*$/.test(pem)
  ) {
    throw new HttpError(400, wanted);
  }
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    throw new HttpError(400, `${wanted}, found one that holds no key`);
  }
  const type = key.asymmetricKeyType ?? 'none';
  if (!['rsa', 'ec', 'ed25519'].includes(type)) {
    throw new HttpError(400, `pubkey: found a key of type ${type}, expected RSA, ECDSA or Ed25519`);
  }
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (type === 'rsa' && (bits === undefined || bits < RSA_BITS[0] || bits > RSA_BITS[1])) {
    throw new HttpError(400, `pubkey: found an RSA key of ${bits} bits, expected ${RSA_BITS.join(' to ')}`);
  }
  return key;
}

function isSignedBy(key: KeyObject, bytes: Buffer, signature: Buffer): boolean {
  // RSA: PKCS#1 v1.5; ECDSA: DER; both over SHA-256. Ed25519 is pure.
  const hash = key.asymmetricKeyType === 'ed25519' ? null : 'sha256';
  try {
    return verify(hash, bytes, key, signature);
  } catch {
    return false;
  }
}

/** Strict: Buffer.from passes over what it does not know. */
function base64(text: string): Buffer | null {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return null;
  return Buffer.from(text, 'base64');
}

export function sortedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sortedJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, inner]) => `${JSON.stringify(key)}:${sortedJson(inner)}`);
  return `{${members.join(',')}}`;
}

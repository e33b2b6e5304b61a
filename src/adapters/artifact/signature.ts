/**
 * The configured keys and the signature over the raw manifest. One key that cannot be used refuses every artifact:
 * a device whose trust is half configured must not guess which half was meant.
 * Source: spec/artifact.md section 4, design/compatibility.md.
 */
import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { ArtifactError } from '../../core/artifact-error.ts';
import { quoted } from '../../core/printable.ts';
import { LIMITS } from './limits.ts';

export interface VerifyKey {
  readonly path: string;
  readonly key: KeyObject;
}

/** Reads all keys. Rejects with `verify-key-unreadable`, naming the path, for the first one that is no usable key. */
export async function loadVerifyKeys(paths: readonly string[]): Promise<readonly VerifyKey[]> {
  const keys: VerifyKey[] = [];
  for (const path of paths) keys.push({ path, key: await loadKey(path) });
  return keys;
}

const EXPECTED_KEY = 'a PEM file with a public key, RSA or ECDSA P-256';

async function loadKey(path: string): Promise<KeyObject> {
  const unreadable = (found: string, cause?: unknown): ArtifactError =>
    new ArtifactError(
      'verify-key-unreadable',
      { where: `verification key ${quoted(path, 200)}`, found, expected: EXPECTED_KEY },
      cause,
    );
  let pem: string;
  try {
    pem = await readSmallFile(path);
  } catch (error) {
    throw unreadable(error instanceof Error ? error.message : String(error), error);
  }
  if (!pem.includes('-----BEGIN PUBLIC KEY-----')) throw unreadable('a file without a PUBLIC KEY block');
  let key: KeyObject;
  try {
    key = createPublicKey({ key: pem, format: 'pem' });
  } catch (error) {
    throw unreadable('a damaged PUBLIC KEY block', error);
  }
  const type = key.asymmetricKeyType;
  if (type === 'rsa') return key;
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (type === 'ec' && curve === 'prime256v1') return key;
  throw unreadable(`a key of type ${type ?? 'unknown'}${curve === undefined ? '' : `, curve ${curve}`}`);
}

async function readSmallFile(path: string): Promise<string> {
  // Not blocking: a path that leads to a named pipe must not hang the device.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const { size } = await file.stat().then((stat) => {
      if (!stat.isFile()) throw new Error('something that is not a regular file');
      return stat;
    });
    if (size > LIMITS.verifyKeyBytes) throw new Error(`a file of ${size} bytes`);
    return await file.readFile('latin1');
  } finally {
    await file.close();
  }
}

/** The path of the first key the signature fits. Throws `signature-invalid` when it fits none. */
export function verifySignature(
  manifest: Uint8Array,
  member: Uint8Array,
  keys: readonly VerifyKey[],
): string {
  const signature = decodeBase64(member);
  for (const { path, key } of keys) if (isSignature(manifest, signature, key)) return path;
  const count = keys.length === 1 ? 'the configured key' : `any of the ${keys.length} configured keys`;
  throw new ArtifactError('signature-invalid', {
    where: 'manifest.sig',
    found: `a signature of ${signature.byteLength} bytes that does not verify`,
    expected: `a signature over the manifest by ${count}`,
  });
}

function isSignature(manifest: Uint8Array, signature: Buffer, key: KeyObject): boolean {
  if (key.asymmetricKeyType === 'rsa') return isVerified(() => verify('sha256', manifest, key, signature));
  // r and s as they are, or DER as hardware modules write it; DER may by chance be 64 bytes long as well.
  const isRaw =
    signature.byteLength === 64 &&
    isVerified(() => verify('sha256', manifest, { key, dsaEncoding: 'ieee-p1363' }, signature));
  return isRaw || isVerified(() => verify('sha256', manifest, { key, dsaEncoding: 'der' }, signature));
}

/** A signature the library cannot even take apart is a signature that does not fit. */
function isVerified(attempt: () => boolean): boolean {
  try {
    return attempt();
  } catch {
    return false;
  }
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function decodeBase64(member: Uint8Array): Buffer {
  const text = Buffer.from(member.buffer, member.byteOffset, member.byteLength).toString('latin1');
  const joined = text.replace(/\r?\n/g, '');
  if (joined !== '' && BASE64.test(joined)) return Buffer.from(joined, 'base64');
  throw new ArtifactError('signature-invalid', {
    where: 'manifest.sig',
    found: joined === '' ? 'nothing' : `${member.byteLength} bytes that are not base64`,
    expected: 'a signature in base64',
  });
}

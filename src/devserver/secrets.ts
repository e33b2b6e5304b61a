/**
 * The server's own secrets: the key device tokens are signed with, the key of download links, the token of whoever
 * manages it. Made at the first start, kept in files of mode 0600.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  timingSafeEqual,
  type KeyObject,
} from 'node:crypto';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UpdateError } from '../core/errors.ts';
import { syncDirectory } from './journal.ts';

export interface Secrets {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly linkSecret: Buffer;
}

const LINK_SECRET_BYTES = 32;
const MIN_TOKEN_CHARACTERS = 16;

/** Rejects (kind `store`) when one is there and cannot be used: making another would lock every device out. */
export async function loadSecrets(folder: string): Promise<Secrets> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const keyFile = join(folder, 'server-key.pem');
  const pem = await readOrMake(
    keyFile,
    () => generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  );
  const linkFile = join(folder, 'link-secret');
  const linkText = await readOrMake(linkFile, () => `${randomBytes(LINK_SECRET_BYTES).toString('hex')}\n`);
  const linkSecret = Buffer.from(linkText.trim(), 'hex');
  if (linkSecret.length !== LINK_SECRET_BYTES) {
    throw new UpdateError('store', `reading ${linkFile}: expected ${LINK_SECRET_BYTES * 2} hex digits`);
  }
  try {
    const privateKey = createPrivateKey(pem);
    if (privateKey.asymmetricKeyType !== 'ed25519') throw new Error(`found ${privateKey.asymmetricKeyType}`);
    return { privateKey, publicKey: createPublicKey(privateKey), linkSecret };
  } catch (cause) {
    throw new UpdateError('store', `reading ${keyFile}: expected an Ed25519 private key`, { cause });
  }
}

export function randomToken(): string {
  return randomBytes(24).toString('base64url');
}

/** The management token in a file, which is made when missing. Rejects (kind `config`) for a weak one. */
export async function tokenFromFile(path: string): Promise<string> {
  const token = (await readOrMake(path, () => `${randomToken()}\n`)).trim();
  if (token.length < MIN_TOKEN_CHARACTERS || !/^[\x21-\x7e]+$/.test(token)) {
    throw new UpdateError(
      'config',
      `reading ${path}: expected one line of at least ${MIN_TOKEN_CHARACTERS} printable ASCII characters without spaces`,
    );
  }
  return token;
}

/** Whether the texts are the same; how far they are is not told by the time this takes. */
export function isSameSecret(given: string, wanted: string): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(wanted)];
  return one.length === other.length && timingSafeEqual(one, other);
}

async function readOrMake(path: string, make: () => string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
  const text = make();
  const temporary = `${path}.new-${randomBytes(4).toString('hex')}`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    // Not rename: what somebody else made meanwhile stays.
    await link(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  await syncDirectory(dirname(path));
  return text;
}

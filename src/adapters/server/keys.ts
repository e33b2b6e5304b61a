/**
 * The key the device proves itself with. An existing key of any supported type is kept, whatever client made it: to
 * the server the key IS the device. Source: spec/configuration.md section 2.4, spec/server-api.md section 2.2.
 */
import { createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { UpdateError } from '../../core/errors.ts';
import type { Log } from '../../ports/log.ts';
import { refusePkcs11 } from '../http/pkcs11.ts';
import { generateKeyFile, setAside } from './key-file.ts';

export interface KeyOptions {
  /** Our own key file; generated (Ed25519) when it is missing. */
  readonly ownKeyPath: string;
  /** `Security.AuthPrivateKey`: used as given, never generated or replaced. null = our own. */
  readonly staticKey: string | null;
  /** File whose first line opens an encrypted key, `-` = standard input, read once; null = keys are not encrypted. */
  readonly passphraseFile?: string | null;
}

export interface DeviceKey {
  readonly path: string;
  /** `rsa`, `ed25519`, or `ec` with the curve's name. */
  readonly type: string;
  /** SubjectPublicKeyInfo, PEM, 64 columns, with the final newline. */
  readonly publicPem: string;
  /** Standard base64 of the signature over exactly these bytes. */
  sign(body: Uint8Array): string;
}

const MAX_KEY_FILE_BYTES = 64 * 1024;
/** The curves servers can verify. Source: spec/server-api.md section 2.2. */
const CURVES = new Set(['prime256v1', 'secp384r1', 'secp521r1']);
const PRIVATE_BLOCK = /-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----\r?\n[\s\S]*?-----END \1-----/;

export class DeviceKeys {
  readonly #options: KeyOptions;
  readonly #log: Log;
  readonly #warnedOf = new Set<string>();
  /** Standard input can be read once only, the key many times. */
  #typed: Promise<string> | null = null;

  constructor(options: KeyOptions, log: Log) {
    this.#options = options;
    this.#log = log;
  }

  /**
   * The key as its file holds it now. Rejects (kind `config`, details `key`, `path`) when a configured key cannot be
   * used, or our own cannot be read or is of a kind we cannot use; (kind `store`, `noSpace`) when none can be made.
   */
  async load(): Promise<DeviceKey> {
    const { staticKey, ownKeyPath } = this.#options;
    if (staticKey !== null) {
      refusePkcs11(staticKey, 'Security.AuthPrivateKey');
      const pem = await readKeyFile(staticKey);
      if (pem === null) throw unusable(staticKey, 'there is no such file');
      await this.#warnIfReadable(staticKey);
      return this.#parse(pem, staticKey);
    }
    const pem = await readKeyFile(ownKeyPath);
    if (pem !== null && PRIVATE_BLOCK.test(pem)) {
      await this.#warnIfReadable(ownKeyPath);
      return this.#parse(pem, ownKeyPath);
    }
    if (pem !== null) {
      // A file that a power cut left empty or in pieces holds no key any more. Without a new one the device would be
      // out of reach for ever; with one it asks to be accepted again, which a person can do from afar.
      const kept = await setAside(ownKeyPath, '.broken');
      this.#log.error('the device key file holds no private key; a new key is made', {
        path: ownKeyPath,
        keptAs: kept,
      });
    }
    await generateKeyFile(ownKeyPath);
    const made = await readKeyFile(ownKeyPath);
    if (made === null) throw unusable(ownKeyPath, 'it vanished after it was made');
    this.#log.info('a device key was made; the server has to accept this device', { path: ownKeyPath });
    return this.#parse(made, ownKeyPath);
  }

  /**
   * Makes a new key in place of our own (`--forcebootstrap`); the old one is kept beside it. Rejects (kind `config`)
   * for a key that was configured.
   */
  async replace(): Promise<DeviceKey> {
    if (this.#options.staticKey !== null) {
      throw unusable(this.#options.staticKey, 'it is set in the configuration and is not replaced');
    }
    if ((await readKeyFile(this.#options.ownKeyPath)) !== null)
      await setAside(this.#options.ownKeyPath, '.old');
    return this.load();
  }

  async #parse(pem: string, path: string): Promise<DeviceKey> {
    const block = PRIVATE_BLOCK.exec(pem)?.[0];
    if (block === undefined) throw unusable(path, 'found no PEM private key');
    const isEncrypted = /BEGIN ENCRYPTED PRIVATE KEY|Proc-Type: 4,ENCRYPTED/.test(block);
    const passphraseFile = this.#options.passphraseFile ?? null;
    if (isEncrypted && passphraseFile === null) {
      throw unusable(path, 'it is encrypted, and no passphrase file is given');
    }
    let key: KeyObject;
    try {
      key = createPrivateKey({
        key: block,
        format: 'pem',
        ...(isEncrypted && passphraseFile !== null
          ? { passphrase: await this.#passphrase(passphraseFile) }
          : {}),
      });
    } catch (error) {
      if (error instanceof UpdateError) throw error;
      // The cause is left out: it says nothing more, and errors of a key parser do not belong into logs.
      throw unusable(path, isEncrypted ? 'its passphrase does not open it' : 'its content is damaged');
    }
    return deviceKey(key, path);
  }

  #passphrase(path: string): Promise<string> {
    if (path !== '-') return passphrase(path);
    this.#typed ??= firstLineOfInput();
    return this.#typed;
  }

  async #warnIfReadable(path: string): Promise<void> {
    if (this.#warnedOf.has(path)) return;
    const found = await stat(path).catch(() => null);
    if (found === null || (found.mode & 0o077) === 0) return;
    this.#warnedOf.add(path);
    this.#log.warn('the device key can be read by others; expected mode 0600', {
      path,
      mode: (found.mode & 0o777).toString(8).padStart(4, '0'),
    });
  }
}

function deviceKey(key: KeyObject, path: string): DeviceKey {
  const publicPem = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return { path, type: 'ed25519', publicPem, sign: (body) => sign(null, body, key).toString('base64') };
    // For RSA this is PKCS#1 v1.5, for EC the DER sequence of r and s.
    case 'rsa':
      return { path, type: 'rsa', publicPem, sign: (body) => sign('sha256', body, key).toString('base64') };
    case 'ec': {
      const curve = key.asymmetricKeyDetails?.namedCurve ?? 'unknown';
      if (!CURVES.has(curve))
        throw unusable(path, `found curve ${curve}, expected one of ${[...CURVES].join(', ')}`);
      return {
        path,
        type: `ec ${curve}`,
        publicPem,
        sign: (body) => sign('sha256', body, key).toString('base64'),
      };
    }
    default:
      throw unusable(
        path,
        `found a key of type ${key.asymmetricKeyType ?? 'unknown'}, expected RSA, EC or Ed25519`,
      );
  }
}

/** null = there is no such file. */
async function readKeyFile(path: string): Promise<string | null> {
  try {
    const handle = await open(path, 'r');
    try {
      const buffer = Buffer.alloc(MAX_KEY_FILE_BYTES + 1);
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
      if (bytesRead > MAX_KEY_FILE_BYTES)
        throw unusable(path, `it is longer than ${MAX_KEY_FILE_BYTES} bytes`);
      return buffer.toString('latin1', 0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof UpdateError) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw unusable(path, error instanceof Error ? error.message : String(error), error);
  }
}

async function passphrase(path: string): Promise<string> {
  const text = await readKeyFile(path);
  if (text === null) throw unusable(path, 'there is no such passphrase file');
  return firstLine(text);
}

async function firstLineOfInput(): Promise<string> {
  let text = '';
  // latin1, as files are read: a passphrase is bytes.
  for await (const chunk of createReadStream('', { fd: 0, autoClose: false, encoding: 'latin1' })) {
    text += String(chunk);
    if (text.includes('\n')) break;
    if (text.length > MAX_KEY_FILE_BYTES) throw unusable('-', 'the passphrase on standard input has no end');
  }
  return firstLine(text);
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]!.replace(/\r$/, '');
}

function unusable(path: string, why: string, cause?: unknown): UpdateError {
  return new UpdateError('config', `the device key ${path} cannot be used: ${why}`, {
    cause,
    details: { path, reason: 'key' },
  });
}

import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { generateKeyFile } from '../../../src/adapters/server/key-file.ts';
import { DeviceKeys, type KeyOptions } from '../../../src/adapters/server/keys.ts';
import { failureOf, Lab } from './lab.ts';

let lab: Lab;
beforeEach(() => {
  lab = new Lab();
});
afterEach(() => lab.dispose());

const BODY = Buffer.from('{"id_data":"{}"}');

function keys(options: Partial<KeyOptions> = {}): DeviceKeys {
  return new DeviceKeys({ ownKeyPath: lab.at('mender-agent.pem'), staticKey: null, ...options }, lab.log);
}

/** What OpenSSL's own command says about the signature. */
function opensslVerifies(publicPem: string, signature: string, isEd25519: boolean): boolean {
  writeFileSync(lab.at('public.pem'), publicPem);
  writeFileSync(lab.at('body'), BODY);
  writeFileSync(lab.at('signature'), Buffer.from(signature, 'base64'));
  const verify = ['pkeyutl', '-verify', '-pubin', '-inkey', 'public.pem', '-sigfile', 'signature'];
  const how = isEd25519 ? ['-rawin', '-in', 'body'] : ['-rawin', '-digest', 'sha256', '-in', 'body'];
  return lab.openssl(...verify, ...how).includes('Verified Successfully');
}

describe('an existing device key', () => {
  const made: Readonly<Record<string, () => void>> = {
    'RSA as the Go client makes it (PKCS#1)': () =>
      void lab.openssl('genrsa', '-traditional', '-out', 'mender-agent.pem', '3072'),
    'RSA in PKCS#8': () =>
      void lab.openssl(
        'genpkey',
        '-algorithm',
        'RSA',
        '-pkeyopt',
        'rsa_keygen_bits:2048',
        '-out',
        'mender-agent.pem',
      ),
    'P-256 in SEC1 with its parameters before it': () =>
      void lab.openssl('ecparam', '-name', 'prime256v1', '-genkey', '-out', 'mender-agent.pem'),
    'P-384 in SEC1': () =>
      void lab.openssl('ecparam', '-name', 'secp384r1', '-genkey', '-noout', '-out', 'mender-agent.pem'),
    'P-256 in PKCS#8': () =>
      void lab.opensslLine('genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out mender-agent.pem'),
    'Ed25519 as the C++ client makes it (PKCS#8)': () =>
      void lab.openssl('genpkey', '-algorithm', 'ED25519', '-out', 'mender-agent.pem'),
  };
  for (const [name, make] of Object.entries(made)) {
    it(`is kept byte for byte, and OpenSSL verifies what it signs: ${name}`, async () => {
      make();
      chmodSync(lab.at('mender-agent.pem'), 0o600);
      const before = readFileSync(lab.at('mender-agent.pem'));
      const key = await keys().load();
      expect(readFileSync(lab.at('mender-agent.pem'))).toEqual(before);
      expect(key.publicPem).toBe(lab.openssl('pkey', '-in', 'mender-agent.pem', '-pubout'));
      expect(opensslVerifies(key.publicPem, key.sign(BODY), key.type === 'ed25519')).toBe(true);
      expect(lab.log.records).toEqual([]);
    });
  }

  it('may be encrypted when the first line of a passphrase file opens it', async () => {
    lab.openssl('genrsa', '-aes256', '-passout', 'pass:open sesame', '-out', 'mender-agent.pem', '2048');
    for (const text of ['open sesame\nignored\n', 'open sesame\r\n', 'open sesame']) {
      writeFileSync(lab.at('passphrase'), text);
      const key = await keys({ passphraseFile: lab.at('passphrase') }).load();
      expect(opensslVerifies(key.publicPem, key.sign(BODY), false)).toBe(true);
    }
    const before = readFileSync(lab.at('mender-agent.pem'));
    for (const options of [{}, { passphraseFile: lab.at('identity') }]) {
      const error = await failureOf(keys(options).load());
      expect(error.kind).toBe('config');
      expect(error.message).toMatch(/encrypted, and no passphrase|passphrase does not open it/);
    }
    expect(readFileSync(lab.at('mender-agent.pem'))).toEqual(before);
  });

  it('of a kind no server verifies is refused and never replaced', async () => {
    lab.openssl('ecparam', '-name', 'secp256k1', '-genkey', '-noout', '-out', 'mender-agent.pem');
    const before = readFileSync(lab.at('mender-agent.pem'));
    expect((await failureOf(keys().load())).message).toContain('found curve secp256k1');
    lab.openssl('genpkey', '-algorithm', 'X25519', '-out', 'x.pem');
    writeFileSync(lab.at('mender-agent.pem'), readFileSync(lab.at('x.pem')));
    expect((await failureOf(keys().load())).message).toContain('found a key of type x25519');
    expect(readFileSync(lab.at('mender-agent.pem'))).not.toEqual(before);
    expect(readdirSync(lab.folder).filter((name) => name.startsWith('mender-agent'))).toEqual([
      'mender-agent.pem',
    ]);
  });

  it('that others may read is warned of, once', async () => {
    lab.openssl('genpkey', '-algorithm', 'ED25519', '-out', 'mender-agent.pem');
    chmodSync(lab.at('mender-agent.pem'), 0o640);
    const one = keys();
    await one.load();
    await one.load();
    expect(lab.log.records).toHaveLength(1);
    expect(lab.log.records[0]).toMatchObject({ level: 'warn', fields: { mode: '0640' } });
  });

  it('that is far too long for one is refused and never replaced', async () => {
    lab.openssl('genpkey', '-algorithm', 'ED25519', '-out', 'mender-agent.pem');
    appendFileSync(lab.at('mender-agent.pem'), '\n'.repeat(65_536));
    expect((await failureOf(keys().load())).message).toContain('it is longer than 65536 bytes');
    expect(existsSync(lab.at('mender-agent.pem.broken'))).toBe(false);
    truncateSync(lab.at('mender-agent.pem'), 65_536);
    await keys().load();
  });

  it('behind a folder that cannot be read is an error, not a reason to make another', async () => {
    mkdirSync(lab.at('mender-agent.pem'));
    const error = await failureOf(keys().load());
    expect(error.kind).toBe('config');
    expect(error.message).toContain('EISDIR');
    expect(statSync(lab.at('mender-agent.pem')).isDirectory()).toBe(true);
  });
});

describe('a missing device key', () => {
  it('is made: Ed25519, mode 0600 whatever the umask, and the same at every load', async () => {
    const umask = process.umask(0);
    try {
      const one = await keys({ ownKeyPath: lab.at('data/mender/mender-agent.pem') }).load();
      expect(statSync(one.path).mode & 0o777).toBe(0o600);
      expect(statSync(lab.at('data/mender')).mode & 0o777).toBe(0o700);
      const type = execFileSync('openssl', ['pkey', '-in', one.path, '-noout', '-text']).toString();
      expect(type).toMatch(/ED25519 Private-Key/i);
      const other = await keys({ ownKeyPath: one.path }).load();
      expect(other.publicPem).toBe(one.publicPem);
      expect(readdirSync(lab.at('data/mender'))).toEqual(['mender-agent.pem']);
    } finally {
      process.umask(umask);
    }
  });

  it('is made once when several ask at the same time', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => keys().load()));
    expect(new Set(all.map(({ publicPem }) => publicPem)).size).toBe(1);
  });

  it('is not made when somebody else was faster', async () => {
    const path = lab.at('mender-agent.pem');
    writeFileSync(path, 'the key of somebody else');
    await generateKeyFile(path);
    expect(readFileSync(path, 'utf8')).toBe('the key of somebody else');
    expect(readdirSync(lab.folder).filter((name) => name.startsWith('mender-agent'))).toEqual([
      'mender-agent.pem',
    ]);
  });

  for (const [what, content] of [
    ['empty', ''],
    ['zeros', '\0'.repeat(119)],
    ['half a key', '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ'],
  ] as const) {
    it(`is made when a power cut has left ${what}, and the rest is kept as evidence`, async () => {
      writeFileSync(lab.at('mender-agent.pem'), content);
      await keys().load();
      expect(readFileSync(lab.at('mender-agent.pem'), 'utf8')).toContain('BEGIN PRIVATE KEY');
      expect(readFileSync(lab.at('mender-agent.pem.broken'), 'utf8')).toBe(content);
      expect(lab.log.records.map(({ level }) => level)).toEqual(['error', 'info']);
    });
  }

  it('that cannot be made is an error that names the file', async () => {
    writeFileSync(lab.at('file'), '');
    const error = await failureOf(keys({ ownKeyPath: lab.at('file/mender-agent.pem') }).load());
    expect(['config', 'store']).toContain(error.kind);
    expect(error.message).toContain('mender-agent.pem');
  });

  it('can be made anew on demand, and the old one is kept', async () => {
    const before = await keys().load();
    const after = await keys().replace();
    expect(after.publicPem).not.toBe(before.publicPem);
    expect(lab.openssl('pkey', '-in', 'mender-agent.pem.old', '-pubout')).toBe(before.publicPem);
  });
});

describe('a configured device key', () => {
  it('is used as given, and neither made nor replaced', async () => {
    lab.openssl('genpkey', '-algorithm', 'ED25519', '-out', 'mine.pem');
    const one = keys({ staticKey: lab.at('mine.pem') });
    expect((await one.load()).publicPem).toBe(lab.openssl('pkey', '-in', 'mine.pem', '-pubout'));
    expect((await failureOf(one.replace())).kind).toBe('config');
    expect((await failureOf(keys({ staticKey: lab.at('none.pem') }).load())).message).toContain(
      'no such file',
    );
    writeFileSync(lab.at('mine.pem'), 'nothing');
    expect((await failureOf(one.load())).message).toContain('found no PEM private key');
    expect(existsSync(lab.at('mender-agent.pem'))).toBe(false);
  });

  it('in a hardware store is not supported, and its PIN is not repeated', async () => {
    const error = await failureOf(keys({ staticKey: 'pkcs11:token=t;object=k?pin-value=1234' }).load());
    expect(error.kind).toBe('config');
    expect(error.message).toContain('Security.AuthPrivateKey: keys behind pkcs11: are not supported');
    expect(error.message).not.toContain('1234');
  });
});

/**
 * Signatures and time (design/faults.md R10): a device whose clock is wrong, or whose keys are old, can still be updated. The
 * keys of artifacts are bare public keys without dates; a certificate, which has some, is not taken for one.
 */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadVerifyKeys, verifySignature } from '../../../src/adapters/artifact/signature.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'holdpoint-dates-'))));
afterEach(async () => {
  vi.useRealTimers();
  await rm(folder, { recursive: true, force: true });
});

const MANIFEST = Buffer.from(`${'0'.repeat(64)}  version\n`);

describe('the signature of an artifact', () => {
  it.each(['1970-01-01', '2026-06-01', '2099-12-31'])(
    'is as good on %s as on any other day (R10)',
    async (day) => {
      const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
      const path = join(folder, 'key.pem');
      await writeFile(path, publicKey.export({ type: 'spki', format: 'pem' }));
      vi.useFakeTimers({ toFake: ['Date'], now: Date.parse(day) });
      const signature = sign('sha256', MANIFEST, { key: privateKey, dsaEncoding: 'ieee-p1363' });
      const keys = await loadVerifyKeys([path]);
      expect(verifySignature(MANIFEST, Buffer.from(signature.toString('base64')), keys)).toBe(path);
      const forged = Buffer.from(Buffer.alloc(64, 1).toString('base64'));
      expect(() => verifySignature(MANIFEST, forged, keys)).toThrow(/does not verify/);
    },
  );

  it('is not checked with a certificate in place of a key, expired or not: that is a typed error of its own (R10)', async () => {
    const [key, path] = [join(folder, 'private.pem'), join(folder, 'certificate.pem')];
    const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const names = ['-subj', '/CN=signer', '-days', '1', '-keyout', key, '-out', path];
    execFileSync('openssl', [...request, ...names], { stdio: 'ignore' });
    expect(new X509Certificate(await readFile(path)).subject).toBe('CN=signer');
    await expect(loadVerifyKeys([path])).rejects.toMatchObject({
      code: 'verify-key-unreadable',
      message: expect.stringContaining('PUBLIC KEY'),
    });
  });
});

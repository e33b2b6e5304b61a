/** Every numbered case of spec/artifact.md section 12, as bytes, through the real reader. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ARTIFACT_ERROR_CODES, ArtifactError } from '../../../src/core/artifact-error.ts';
import { DEFAULT_FILES, buildArtifact, sha256 } from '../../support/artifact-builder.ts';
import { codeOf, judge, type VerdictOptions } from '../../support/artifact-verdict.ts';
import type { Variant } from '../../support/malformed-case.ts';
import { INNER_CASES, dialects } from '../../support/malformed-inner.ts';
import { OUTER_CASES, trustCases } from '../../support/malformed-outer.ts';
import { randomFrom, seedFromEnvironment } from '../../support/random.ts';

const folder = mkdtempSync(join(tmpdir(), 'holdpoint-malformed-'));
const pairs = {
  ec: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  other: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
};
for (const [name, pair] of Object.entries(pairs)) {
  writeFileSync(join(folder, `${name}.pem`), pair.publicKey.export({ type: 'spki', format: 'pem' }));
}
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const CASES = [
  ...OUTER_CASES,
  ...INNER_CASES,
  ...trustCases({ ec: pairs.ec.privateKey, rsa: pairs.rsa.privateKey, other: pairs.other.privateKey }),
].toSorted((a, b) => a.number - b.number);

function optionsOf(variant: Variant): VerdictOptions {
  return {
    verifyKeyPaths: (variant.keys ?? []).map((name) => join(folder, `${name}.pem`)),
    ...(variant.deviceType === undefined ? {} : { deviceType: variant.deviceType }),
    ...(variant.installed === undefined ? {} : { installed: variant.installed }),
  };
}

/** A sentence a person can act on: three parts, one line, short, nothing of this process in it. */
function expectGoodSentence(error: unknown, as: string): void {
  expect(error, as).toBeInstanceOf(ArtifactError);
  const refusal = error as ArtifactError;
  for (const part of [refusal.where, refusal.found, refusal.expected]) {
    expect(part.length, `${as}: ${refusal.message}`).toBeGreaterThan(2);
    expect(part.length, `${as}: ${refusal.message}`).toBeLessThan(400);
    expect(part, as).not.toMatch(/[\p{Cc}\p{Cs}]|undefined|\[object|NaN|node:/u);
  }
  expect(refusal.found, as).not.toBe(refusal.expected);
  expect(refusal.failureName).toBe(ARTIFACT_ERROR_CODES[refusal.code]);
  expect(refusal.details).toMatchObject({ code: refusal.code, where: refusal.where });
}

async function expectVerdict(variant: Variant, chunkBytes?: number): Promise<void> {
  const size = chunkBytes === undefined ? {} : { chunkBytes };
  const verdict = await judge(variant.bytes(), { ...optionsOf(variant), ...size });
  const as = `${variant.as}${chunkBytes === undefined ? '' : ` in chunks of ${chunkBytes}`}`;
  const code = codeOf(verdict);
  const isAlternative = variant.mayAlsoBe?.some((other) => other === code) === true;
  expect({ as, code: isAlternative ? variant.code : code, phase: verdict.phase }).toEqual({
    as,
    code: variant.code,
    phase: variant.phase,
  });
  if (variant.phase === 'header') expect(verdict.info, as).toBeNull();
  if (variant.phase === 'header' || variant.phase === 'policy') expect(verdict.payloadBytes, as).toBe(0);
  if (variant.code !== 'valid') expectGoodSentence(verdict.error, as);
}

it('has all 92 cases, each once', () => {
  expect(CASES.map(({ number }) => number)).toEqual(Array.from({ length: 92 }, (_, at) => at + 1));
});

describe('case', () => {
  for (const { number, defect, variants } of CASES) {
    it(`${number}: ${defect}`, async () => {
      for (const variant of variants) await expectVerdict(variant);
    });
  }
});

describe('the size of the chunks', () => {
  const seed = seedFromEnvironment();
  const random = randomFrom(seed);
  const small = CASES.flatMap(({ number, variants }) => variants.map((variant) => ({ number, variant })));

  for (const chunkBytes of [1, 7, 511, 4096]) {
    it(`of ${chunkBytes} bytes changes no verdict (seed ${seed})`, async () => {
      const picked = small.filter(() => random() < 0.2);
      for (const { number, variant } of picked) {
        if (variant.bytes().byteLength > 200_000) continue;
        await expectVerdict({ ...variant, as: `${number}: ${variant.as}` }, chunkBytes);
      }
    });
  }
});

describe('what has to be accepted', () => {
  const sums = Object.fromEntries(DEFAULT_FILES.map(({ name, content }) => [name, sha256(content)]));

  for (const suffix of ['', '.gz', '.xz', '.zst'] as const) {
    it(`reads an artifact with the suffix "${suffix}" in chunks of any size`, async () => {
      const artifact = buildArtifact({ suffix, metaData: { a: [1, { b: 'ü' }] } });
      for (const chunkBytes of [1, 7, 512, 4096, 2 ** 20]) {
        const verdict = await judge(artifact, { chunkBytes });
        expect(codeOf(verdict)).toBe('valid');
        expect(verdict.files).toEqual(sums);
        expect(verdict.info?.metaDataJson).toBe('{"a":[1,{"b":"ü"}]}');
        expect(verdict.consumedBytes).toBe(artifact.byteLength);
      }
    });
  }

  for (const [dialect, artifact] of Object.entries(dialects())) {
    it(`reads the tar dialect: ${dialect}`, async () => {
      expect(codeOf(await judge(artifact))).toBe('valid');
    });
  }

  it('reads zero bytes behind the end, however many', async () => {
    const artifact = buildArtifact({ whole: (bytes) => Buffer.concat([bytes, Buffer.alloc(3_000_001)]) });
    const verdict = await judge(artifact);
    expect(codeOf(verdict)).toBe('valid');
    expect(verdict.consumedBytes).toBe(artifact.byteLength);
  });

  it('does not depend on the order of the manifest lines', async () => {
    const artifact = buildArtifact({ manifestLines: (lines) => lines.toReversed() });
    expect(codeOf(await judge(artifact))).toBe('valid');
  });

  it('refuses a root file system with two files, or none, before the payload', async () => {
    const headerInfo = {
      payloads: [{ type: 'rootfs-image' }],
      artifact_provides: { artifact_name: 'a' },
      artifact_depends: { device_type: ['test-device'] },
    };
    for (const files of [DEFAULT_FILES, []]) {
      const verdict = await judge(buildArtifact({ headerInfo, typeInfo: { type: 'rootfs-image' }, files }));
      expect([codeOf(verdict), verdict.phase]).toEqual(['bad-manifest', 'header']);
    }
  });
});

describe('signatures and keys', () => {
  const path = (name: string): string => join(folder, `${name}.pem`);
  const signed = (name: 'ec' | 'rsa'): Buffer => buildArtifact({ signKey: pairs[name].privateKey });

  for (const name of ['ec', 'rsa'] as const) {
    it(`accepts a ${name} signature and names the key that fits, whichever of several it is`, async () => {
      for (const names of [[name], ['other', name], [name, 'other']]) {
        const verdict = await judge(signed(name), { verifyKeyPaths: names.map(path) });
        expect(codeOf(verdict)).toBe('valid');
        expect(verdict.info).toMatchObject({ isSigned: true, verifiedBy: path(name) });
      }
    });
  }

  it('accepts a signature without a configured key, and says that none verified it', async () => {
    const verdict = await judge(signed('ec'));
    expect(codeOf(verdict)).toBe('valid');
    expect(verdict.info).toMatchObject({ isSigned: true, verifiedBy: '' });
  });

  it('does not look at signature or keys for a bootstrap artifact', async () => {
    const unreadable = { verifyKeyPaths: [path('nowhere')], isSignatureIgnored: true };
    expect(codeOf(await judge(buildArtifact(), unreadable))).toBe('valid');
    const wrong = { verifyKeyPaths: [path('other')], isSignatureIgnored: true };
    expect(codeOf(await judge(signed('ec'), wrong))).toBe('valid');
  });

  it('accepts base64 in lines and with a line end', async () => {
    const artifact = buildArtifact({
      signKey: pairs.rsa.privateKey,
      signature: (base64) => `${base64.replace(/.{76}/g, '$&\n')}\n`,
    });
    expect(codeOf(await judge(artifact, { verifyKeyPaths: [path('rsa')] }))).toBe('valid');
  });

  const unusable: Readonly<Record<string, string | null>> = {
    'is not there': null,
    'is empty': '',
    'is no PEM': 'hello',
    'is damaged': '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n',
    'is of another kind': generateKeyPairSync('ed25519').publicKey.export({
      type: 'spki',
      format: 'pem',
    }) as string,
    'is on another curve': generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({
      type: 'spki',
      format: 'pem',
    }) as string,
    'is a private key': pairs.ec.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    'is far too large': `${'#'.repeat(100_000)}\n`,
  };
  for (const [how, pem] of Object.entries(unusable)) {
    it(`refuses every artifact, also a well signed one, while one key ${how}`, async () => {
      const bad = path('unusable');
      rmSync(bad, { force: true });
      if (pem !== null) writeFileSync(bad, pem);
      for (const verifyKeyPaths of [[bad], [path('ec'), bad], [bad, path('ec')]]) {
        const verdict = await judge(signed('ec'), { verifyKeyPaths });
        expect([codeOf(verdict), verdict.phase]).toEqual(['verify-key-unreadable', 'header']);
        expect((verdict.error as ArtifactError).message).toContain(bad);
        expectGoodSentence(verdict.error, how);
      }
    });
  }

  it('refuses a key that is a folder', async () => {
    const verdict = await judge(signed('ec'), { verifyKeyPaths: [folder] });
    expect(codeOf(verdict)).toBe('verify-key-unreadable');
  });
});

/**
 * Real artifacts, made by `mender-artifact` with the shared script, and the verdict its index gives for each.
 * HOLDPOINT_SHARED names the folder that holds `tools/make-artifacts.sh`; by default `../shared` beside the repository.
 * The two artifacts of 64 MiB take most of the time: they are left out unless CI or HOLDPOINT_LARGE is set.
 */
import { execFile } from 'node:child_process';
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ArtifactError } from '../../../src/core/artifact-error.ts';
import { codeOf, judgeChunks, type Verdict } from '../../support/artifact-verdict.ts';

interface IndexEntry {
  readonly file: string;
  readonly expect: 'install' | 'refuse';
  readonly key: string | null;
  readonly size: number;
  readonly headerInfo: {
    readonly artifact_provides?: { readonly artifact_name: string; readonly artifact_group?: string };
  };
  readonly typeInfo: {
    readonly artifact_provides?: Record<string, string>;
    readonly clears_artifact_provides?: string[];
  };
  readonly metaData: unknown;
  readonly scripts: readonly string[];
  readonly payloadFiles: readonly { readonly name: string; readonly size: number; readonly sha256: string }[];
}

const repository = resolve(import.meta.dirname, '../../..');
const shared = process.env['HOLDPOINT_SHARED'] ?? join(repository, '../shared');
const script = join(shared, 'tools/make-artifacts.sh');
const isLarge = process.env['CI'] === 'true' || process.env['HOLDPOINT_LARGE'] === '1';
const isHere = existsSync(script);
const ABSENT = `${script} is not there: put the shared folder beside the repository or set HOLDPOINT_SHARED`;

/** What refuses those that are well formed as an archive; the look-up of a module is not the reader's. */
const REFUSALS: Readonly<Record<string, string>> = {
  'wrong-device.mender': 'wrong-device-type',
  'depends-name.mender': 'unmet-dependency',
  'depends-group.mender': 'unmet-dependency',
  'depends-key.mender': 'unmet-dependency',
  'augmented.mender': 'augmented-artifact',
  'v2-rootfs.mender': 'unsupported-version',
  'signed-v2.mender': 'unsupported-version',
  'signed-other-key.mender': 'signature-invalid',
  'unsigned-but-key.mender': 'signature-missing',
};
const REFUSED_BY_MODULE_LOOKUP = 'unknown-type.mender';

if (!isHere && process.env['CI'] === 'true') {
  it('has the shared script that makes the corpus', () => {
    throw new Error(ABSENT);
  });
} else if (!isHere) {
  it.skip(`reads the corpus of real artifacts (skipped: ${ABSENT})`);
} else {
  describe('the corpus of real artifacts', corpusTests);
}

function corpusTests(): void {
  const folder = mkdtempSync(join(tmpdir(), 'holdpoint-corpus-'));
  const out = join(folder, 'out');
  let index: readonly IndexEntry[] = [];

  beforeAll(async () => {
    const env = isLarge ? process.env : { ...process.env, SKIP_LARGE: '1' };
    await promisify(execFile)('bash', [script, out], { maxBuffer: 2 ** 24, env });
    const text = readFileSync(join(out, 'index.json'), 'utf8');
    index = (JSON.parse(text) as { readonly artifacts: readonly IndexEntry[] }).artifacts;
  }, 240_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const read = (entry: IndexEntry, isKeyUsed = true): Promise<Verdict> =>
    judgeChunks(createReadStream(join(out, entry.file)), {
      verifyKeyPaths: entry.key === null || !isKeyUsed ? [] : [join(out, entry.key)],
    });

  it(`has at least the ${isLarge ? 40 : 38} artifacts known today`, () => {
    expect(index.length).toBeGreaterThanOrEqual(isLarge ? 40 : 38);
    const files = index.map(({ file }) => file);
    expect(files).toEqual(expect.arrayContaining([...Object.keys(REFUSALS), REFUSED_BY_MODULE_LOOKUP]));
  });

  it('gets the verdict of the index for every one', async () => {
    const found: Record<string, string> = {};
    const expected: Record<string, string> = {};
    for (const entry of index) {
      const isLookup = entry.file === REFUSED_BY_MODULE_LOOKUP;
      expected[entry.file] =
        entry.expect === 'install' || isLookup ? 'valid' : (REFUSALS[entry.file] ?? 'refused');
      found[entry.file] = codeOf(await read(entry));
    }
    expect(found).toEqual(expected);
  });

  it('hands out exactly the files of the index, whole, and reads each artifact to its end', async () => {
    for (const entry of index.filter((one) => one.expect === 'install')) {
      const verdict = await read(entry);
      const files = Object.fromEntries(entry.payloadFiles.map(({ name, sha256 }) => [name, sha256]));
      expect(verdict.files, entry.file).toEqual(files);
      expect(verdict.payloadBytes, entry.file).toBe(
        entry.payloadFiles.reduce((sum, file) => sum + file.size, 0),
      );
      expect(verdict.consumedBytes, entry.file).toBe(entry.size);
    }
  });

  it('says of each what the index says', async () => {
    for (const entry of index.filter((one) => one.expect === 'install')) {
      const { info } = await read(entry);
      expect(info?.artifactName, entry.file).toBe(entry.headerInfo.artifact_provides?.artifact_name);
      expect(info?.artifactGroup, entry.file).toBe(entry.headerInfo.artifact_provides?.artifact_group ?? '');
      expect(info?.provides, entry.file).toEqual(entry.typeInfo.artifact_provides ?? null);
      expect(info?.clearsProvides, entry.file).toEqual(entry.typeInfo.clears_artifact_provides ?? null);
      expect(info?.scripts, entry.file).toEqual(entry.scripts.toSorted());
      expect(info?.isSigned, entry.file).toBe(entry.key !== null);
      expect(JSON.parse(info?.headerInfoJson ?? ''), entry.file).toEqual(entry.headerInfo);
      expect(JSON.parse(info?.typeInfoJson ?? ''), entry.file).toEqual(entry.typeInfo);
      if (entry.metaData !== null && info?.metaDataJson !== null) {
        expect(JSON.parse(info?.metaDataJson ?? ''), entry.file).toEqual(entry.metaData);
      }
    }
  });

  it('opens signed ones without a key, unverified', async () => {
    for (const entry of index.filter((one) => one.file.startsWith('signed-') && one.expect === 'install')) {
      const verdict = await read(entry, false);
      expect(codeOf(verdict), entry.file).toBe('valid');
      expect(verdict.info?.verifiedBy).toBe('');
    }
  });

  it('refuses a signed one by any single flipped bit of its manifest or signature', async () => {
    const entry = index.find((one) => one.file === 'signed-ec.mender') as IndexEntry;
    const artifact = readFileSync(join(out, entry.file));
    // version 512 + 512, then manifest: a header, its content in one block; then manifest.sig.
    for (let at = 1536; at < 1536 + 200; at += 13) {
      const copy = Buffer.from(artifact);
      copy[at] = (copy[at] as number) ^ 1;
      const verdict = await judgeChunks(one(copy), { verifyKeyPaths: [join(out, entry.key as string)] });
      expect(verdict.error, `byte ${at}`).toBeInstanceOf(ArtifactError);
      expect(verdict.phase, `byte ${at}`).toBe('header');
    }
  });
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

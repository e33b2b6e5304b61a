/** What `holdpoint inspect` shows of an artifact, or says of one that is refused. */
import { describe, expect, it } from 'vitest';
import { createArtifactReader } from '../../../src/adapters/artifact/reader.ts';
import {
  inspectArtifact,
  inspectionAsJson,
  inspectionAsText,
  refusalAsJson,
  refusalAsText,
  type Inspection,
} from '../../../src/cli/inspect-view.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { printable } from '../../../src/core/printable.ts';
import {
  DEFAULT_FILES,
  buildArtifact,
  headerInfo,
  sha256,
  typeInfo,
  type ArtifactPlan,
} from '../../support/artifact-builder.ts';
import { inChunks } from '../../support/artifact-verdict.ts';

function inspect(plan: ArtifactPlan = {}): Promise<Inspection> {
  const chunks = inChunks(buildArtifact(plan), 4096);
  return inspectArtifact(
    createArtifactReader(),
    chunks,
    { verifyKeyPaths: [] },
    new AbortController().signal,
  );
}

const FULL: ArtifactPlan = {
  headerInfo: headerInfo({
    artifact_provides: { artifact_name: 'release-1', artifact_group: 'beta' },
    artifact_depends: { device_type: ['test-device', 'other'], artifact_group: ['alpha', 'beta'] },
  }),
  typeInfo: typeInfo({ artifact_depends: { 'app.base': '7' } }),
  metaData: { reboot: true },
  scripts: [{ name: 'ArtifactInstall_Enter_00', content: '#!/bin/sh\n' }],
};

describe('an artifact as text', () => {
  it('tells a person everything there is to decide on', async () => {
    const inspection = await inspect(FULL);
    expect(inspectionAsText(inspection)).toBe(
      [
        'Artifact name:      release-1',
        'Artifact group:     beta',
        'Compatible devices: test-device, other',
        'Payload type:       test-module',
        'Signature:          not signed',
        `Digest:             ${inspection.info.digest}`,
        `Artifact size:      ${(inspection.artifactBytes / 1024).toFixed(1)} KiB (${inspection.artifactBytes} bytes)`,
        'Payload files:',
        '  hello.txt  6 bytes',
        `    sha256 ${sha256('hello\n')}`,
        '  blob.bin  2.9 KiB (3000 bytes)',
        `    sha256 ${sha256(DEFAULT_FILES[1]?.content ?? '')}`,
        '  together 2.9 KiB (3006 bytes)',
        'Depends on:',
        '  artifact_group = alpha or beta',
        '  app.base = 7',
        'Provides:',
        '  rootfs-image.test-module.version = release-1',
        'Clears:',
        '  rootfs-image.test-module.*',
        'State scripts:',
        '  ArtifactInstall_Enter_00  10 bytes',
        'Meta-data:',
        '  {',
        '    "reboot": true',
        '  }',
        '',
      ].join('\n'),
    );
  });

  it('says what an empty payload is, and that silence about clearing clears everything', async () => {
    const text = inspectionAsText(
      await inspect({
        headerInfo: headerInfo({ payloads: [{ type: null }] }),
        typeInfo: { type: null },
        files: [],
      }),
    );
    expect(text).toContain('Payload type:       none (changes only what the device says it provides)\n');
    expect(text).toContain('Payload files:      nothing\n');
    expect(text).toContain('Clears:\n  * (everything, because the artifact does not say)\n');
  });

  it('warns of a signature that nobody verified, and names the key of one that was', async () => {
    const { info, ...rest } = await inspect();
    const signed = { ...rest, info: { ...info, isSigned: true } };
    expect(inspectionAsText(signed)).toContain('signed, NOT verified (no key was given)');
    const verified = {
      ...rest,
      info: { ...info, isSigned: true, verifiedBy: '/etc/keys/\u001b[31mred.pem' },
    };
    expect(inspectionAsText(verified)).toContain('signed, verified with /etc/keys/\\x1b[31mred.pem');
  });

  it('lets no control character of the artifact reach the terminal', async () => {
    const nasty = 'a\u202Eb\u00ADc';
    const inspection = await inspect({
      headerInfo: headerInfo({ artifact_provides: { artifact_name: nasty } }),
      typeInfo: typeInfo({ artifact_provides: { [nasty]: nasty } }),
      metaData: { escaped: '\u001b]0;title\u0007', direct: '\u202E\u009b', [nasty]: 1 },
    });
    const text = inspectionAsText(inspection);
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    expect(text).toContain('Artifact name:      a\\u{202e}b\\xadc\n');
  });
});

describe('an artifact as JSON', () => {
  it('holds the same facts under stable names', async () => {
    const inspection = await inspect(FULL);
    const json: unknown = JSON.parse(JSON.stringify(inspectionAsJson(inspection)));
    expect(json).toEqual({
      artifactName: 'release-1',
      artifactGroup: 'beta',
      payloadType: 'test-module',
      compatibleDevices: ['test-device', 'other'],
      depends: { artifact_group: ['alpha', 'beta'], 'app.base': ['7'] },
      provides: { 'rootfs-image.test-module.version': 'release-1' },
      clearsProvides: ['rootfs-image.test-module.*'],
      scripts: ['ArtifactInstall_Enter_00'],
      isSigned: false,
      verifiedBy: '',
      digest: inspection.info.digest,
      metaData: { reboot: true },
      files: [
        { name: 'hello.txt', sizeBytes: 6, sha256: sha256('hello\n') },
        { name: 'blob.bin', sizeBytes: 3000, sha256: sha256(DEFAULT_FILES[1]?.content ?? '') },
      ],
      payloadBytes: 3006,
      artifactBytes: inspection.artifactBytes,
    });
  });
});

describe('an artifact that is refused', () => {
  it('is told by its code and a sentence', async () => {
    const error = await inspect({ version: '{"format":"mender","version":2}' }).catch(
      (thrown: unknown) => thrown,
    );
    expect(refusalAsText(error)).toBe(
      'unsupported-version: version: found format version 2, expected format version 3',
    );
    expect(refusalAsJson(error)).toMatchObject({
      error: {
        code: 'unsupported-version',
        failure: 'Format',
        message: 'version: found format version 2, expected format version 3',
        details: { where: 'version', found: 'format version 2', expected: 'format version 3' },
      },
    });
  });

  it('is refused as a whole for what comes last', async () => {
    const plan = { whole: (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('x')]) };
    await expect(inspect(plan)).rejects.toMatchObject({ code: 'trailing-data' });
  });

  it('is told apart from one that could not be read, which has no code', () => {
    const error = new UpdateError('source', 'cannot read \u001b[2J');
    expect(refusalAsText(error)).toBe('cannot read \\x1b[2J');
    expect(refusalAsJson(error)).toMatchObject({ error: { code: null, failure: 'Download' } });
  });
});

describe('printable text', () => {
  it('leaves what people write alone', () => {
    expect(printable('Release 1.0 (RC) / é 日本 😀')).toBe('Release 1.0 (RC) / é 日本 😀');
  });

  it('can be read back: an escape that was there already is told from one that was made', () => {
    expect(printable('\u001b')).toBe('\\x1b');
    expect(printable('\\x1b')).toBe('\\\\x1b');
    expect(printable('\n\r\t\u2028\ud800')).toBe('\\n\\r\\t\\u{2028}\\u{d800}');
  });
});

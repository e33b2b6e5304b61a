import { describe, expect, it } from 'vitest';
import { createArtifactReader } from '../../../src/adapters/artifact/reader.ts';
import { downloadArtifact, type DownloadWatcher } from '../../../src/app/download.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { buildArtifact, DEVICE_TYPE, headerInfo, typeInfo } from '../../support/artifact-builder.ts';

const BYTES = buildArtifact({ suffix: '', headerInfo: headerInfo({}), typeInfo: typeInfo() });
const ORDER = {
  location: { kind: 'file', path: '/media/usb/release-2.mender' },
  requiredDigest: '',
  announcedName: '',
  installed: { artifactName: 'release-1', artifactGroup: '', provides: {} },
} as const;

/** Downloads with a module that only notes its calls; `onVerified` decides when it may be called. */
function download(calls: string[], onVerified: DownloadWatcher['onVerified']): Promise<number> {
  return downloadArtifact(
    {
      source: {
        open: async () => ({
          sizeBytes: BYTES.length,
          chunks: (async function* () {
            yield BYTES;
          })(),
        }),
      },
      reader: createArtifactReader(),
      modules: {
        requireModule: async () => {},
        prepareTree: async () => {},
        removeTree: async () => {},
        run: async () => {},
        needsReboot: async () => 'No',
        supportsRollback: async () => false,
        download: async (_type, files) => {
          calls.push('Download');
          for await (const file of files) for await (const _bytes of file.content);
        },
      },
      scripts: {
        run: async () => {},
        installArtifactScripts: async () => {},
        clearArtifactScripts: async () => {},
        checkRootfsScriptVersion: async () => {},
      },
      system: {
        bootId: () => 'boot-1',
        deviceType: async () => DEVICE_TYPE,
        reboot: async () => {
          throw new Error('no reboot in a download');
        },
      },
      verifyKeyPaths: [],
    },
    ORDER,
    { onVerified, onBytes: () => {}, mayContinue: () => null },
    new AbortController().signal,
  );
}

describe('a download', () => {
  it('calls the module only when whoever watches has taken in what the artifact is', async () => {
    const calls: string[] = [];
    const size = await download(calls, async ({ payloadType }) => {
      calls.push(`verified ${payloadType}`);
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      calls.push('stored');
    });
    expect(calls).toEqual(['verified test-module', 'stored', 'Download']);
    expect(size).toBe(BYTES.length);
  });

  it('that is stopped in front of the payload calls no module', async () => {
    const calls: string[] = [];
    const stopped = download(calls, async () => {
      throw new UpdateError('cancelled', 'the download was stopped');
    });
    await expect(stopped).rejects.toMatchObject({ kind: 'cancelled' });
    expect(calls).toEqual([]);
  });
});

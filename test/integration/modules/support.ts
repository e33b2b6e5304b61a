/** A data store, a modules folder and payloads for tests of update modules. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ArtifactInfo } from '../../../src/core/artifact.ts';
import type { PayloadFile } from '../../../src/ports/artifact-reader.ts';
import type { DeviceFacts } from '../../../src/ports/update-module.ts';
import { ModuleRunner, type ModuleSettings } from '../../../src/adapters/modules/runner.ts';
import { realClock } from '../../support/clocks.ts';
import { RecordingDeploymentLog, RecordingLog } from '../../support/recording-log.ts';

export const never = new AbortController().signal;

export const device: DeviceFacts = {
  deviceType: 'pump-mk2',
  installed: { artifactName: 'release-1', artifactGroup: '', provides: {} },
};

export function artifact(more: Partial<ArtifactInfo> = {}): ArtifactInfo {
  return {
    artifactName: 'release-2',
    artifactGroup: 'stable',
    payloadType: 'probe',
    compatibleDevices: ['pump-mk2'],
    depends: {},
    provides: null,
    clearsProvides: null,
    scripts: [],
    digest: `sha256:${'0'.repeat(64)}`,
    isSigned: false,
    verifiedBy: '',
    headerInfoJson:
      '{"payloads":[{"type":"probe"}],"artifact_provides":{"artifact_name":"release-2"},"artifact_depends":{}}',
    typeInfoJson: '{"type":"probe"}',
    metaDataJson: null,
    payloadFileNames: [],
    ...more,
  };
}

/** A payload file of these chunks; `error` is thrown instead of the end. */
export function file(
  name: string,
  chunks: readonly (string | Uint8Array)[] | AsyncIterable<Uint8Array>,
  more: { readonly sizeBytes?: number; readonly error?: Error } = {},
): PayloadFile {
  if (Symbol.asyncIterator in chunks) return { name, sizeBytes: more.sizeBytes ?? 0, content: chunks };
  const buffers = chunks.map((chunk) => (typeof chunk === 'string' ? Buffer.from(chunk) : chunk));
  return {
    name,
    sizeBytes: more.sizeBytes ?? buffers.reduce((sum, buffer) => sum + buffer.length, 0),
    content: (async function* () {
      yield* buffers;
      if (more.error) throw more.error;
    })(),
  };
}

/** Payload files, with a note of how the iteration went. */
export function payload(files: readonly PayloadFile[], error?: Error) {
  const seen = { taken: [] as string[], isFinished: false, isLetGo: false };
  const iterable = (async function* () {
    try {
      for (const one of files) {
        seen.taken.push(one.name);
        yield one;
      }
      if (error) throw error;
      seen.isFinished = true;
    } finally {
      seen.isLetGo = true;
    }
  })();
  return Object.assign(iterable, { seen });
}

/** Folders of all benches of the running test. */
const roots: string[] = [];

export async function removeBenches(): Promise<void> {
  for (const root of roots.splice(0)) await rm(root, { recursive: true, force: true });
}

export async function makeBench(settings: Partial<ModuleSettings> = {}) {
  const root = await mkdtemp(join(tmpdir(), 'holdpoint-modules-'));
  roots.push(root);
  const modulesDir = join(root, 'share/modules/v3');
  const treeDir = join(root, 'store/modules/v3/payloads/0000/tree');
  const control = join(root, 'control');
  await mkdir(modulesDir, { recursive: true });
  await mkdir(control);
  const log = new RecordingLog();
  const deploymentLog = new RecordingDeploymentLog();
  const modules = new ModuleRunner(
    { modulesDir, treeDir, timeoutSeconds: 20, graceMs: 300, ...settings },
    realClock,
    deploymentLog,
    log,
  );
  return {
    root,
    modulesDir,
    treeDir,
    control,
    log,
    deploymentLog,
    modules,
    /** A module of this shell text; `$CONTROL` is the control folder. */
    async module(name: string, text: string): Promise<void> {
      const path = join(modulesDir, name);
      await writeFile(path, `#!/bin/sh\nCONTROL='${control}'\n${text}\n`);
      await chmod(path, 0o755);
    },
  };
}
export type Bench = Awaited<ReturnType<typeof makeBench>>;

/**
 * Speed of handing a payload to an update module: 1 GiB into `cat stream > /dev/null`, and 1 GiB into `files/`.
 * Run: npx tsx bench/module-stream.ts [MiB]
 */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { artifact, device } from '../test/integration/modules/support.ts';
import { ModuleRunner } from '../src/adapters/modules/runner.ts';
import { realClock } from '../test/support/clocks.ts';
import { RecordingDeploymentLog, RecordingLog } from '../test/support/recording-log.ts';

const totalBytes = Number(process.argv[2] ?? 1024) * 1024 * 1024;
const root = await mkdtemp(join(tmpdir(), 'holdpoint-bench-'));
const modulesDir = join(root, 'modules');
await mkdir(modulesDir);
const STREAM = 'while l=$(cat stream-next); [ -n "$l" ]; do cat "$l" >/dev/null; done';
await writeFile(join(modulesDir, 'stream'), `#!/bin/sh\ncase "$1" in Download) ${STREAM};; esac\n`);
await writeFile(join(modulesDir, 'store'), '#!/bin/sh\n');
for (const name of ['stream', 'store']) await chmod(join(modulesDir, name), 0o755);

async function* content(chunkBytes: number): AsyncGenerator<Uint8Array> {
  const chunk = Buffer.alloc(chunkBytes, 7);
  for (let sent = 0; sent < totalBytes; sent += chunkBytes) yield chunk;
}

for (const [module, chunkBytes] of [
  ['stream', 65_536],
  ['stream', 262_144],
  ['stream', 1_048_576],
  ['store', 65_536],
  ['store', 1_048_576],
] as const) {
  const runner = new ModuleRunner(
    { modulesDir, treeDir: join(root, 'tree'), timeoutSeconds: 600 },
    realClock,
    new RecordingDeploymentLog(),
    new RecordingLog(),
  );
  await runner.prepareTree(artifact({ payloadType: module }), device);
  const files = (async function* () {
    yield { name: 'payload', sizeBytes: totalBytes, content: content(chunkBytes) };
  })();
  let worstLagMs = 0;
  let lastMs = performance.now();
  const ticker = setInterval(() => {
    worstLagMs = Math.max(worstLagMs, performance.now() - lastMs - 5);
    lastMs = performance.now();
  }, 5);
  const startMs = performance.now();
  await runner.download(module, files, new AbortController().signal);
  const seconds = (performance.now() - startMs) / 1000;
  clearInterval(ticker);
  const rate = (totalBytes / seconds / 1e9).toFixed(2);
  console.log(
    `${module} in chunks of ${chunkBytes / 1024} KiB: ${rate} GB/s, loop lag ${worstLagMs.toFixed(0)} ms, RSS ${(process.memoryUsage().rss / 1048576).toFixed(0)} MiB`,
  );
}
await rm(root, { recursive: true });

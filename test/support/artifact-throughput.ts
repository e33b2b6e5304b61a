/**
 * How fast an artifact is read and verified, by hand: `npx tsx test/support/artifact-throughput.ts FILE…`. Prints
 * payload bytes per second beside plain SHA-256 over the same file; a figure to look at, not a test.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createArtifactReader } from '../../src/adapters/artifact/reader.ts';
import { inspectArtifact } from '../../src/cli/inspect-view.ts';

const CHUNK_BYTES = 1024 * 1024;

async function main(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const plain = await timed(async () => {
      const hash = createHash('sha256');
      let bytes = 0;
      for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES })) {
        hash.update(chunk as Buffer);
        bytes += (chunk as Buffer).byteLength;
      }
      hash.digest();
      return bytes;
    });
    const verified = await timed(async () => {
      const chunks = createReadStream(path, { highWaterMark: CHUNK_BYTES });
      const { signal } = new AbortController();
      const { files } = await inspectArtifact(createArtifactReader(), chunks, { verifyKeyPaths: [] }, signal);
      return files.reduce((total, file) => total + file.sizeBytes, 0);
    });
    const rssMib = Math.round(process.resourceUsage().maxRSS / 1024);
    process.stdout.write(
      `${path}: SHA-256 alone ${plain}, artifact ${verified} (largest RSS ${rssMib} MiB)\n`,
    );
  }
}

async function timed(work: () => Promise<number>): Promise<string> {
  const start = process.hrtime.bigint();
  const bytes = await work();
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  return `${(bytes / seconds / 1e9).toFixed(2)} GB/s`;
}

await main(process.argv.slice(2));

/**
 * The bundled service, as `npm run build` makes it. It is built again when a source is newer; several test files do
 * this one at a time, and run a copy, so that a later build does not change what they are testing.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const BUNDLE = resolve('dist/holdpointd.js');
/** One folder for each build that was tested lately. */
const COPIES = resolve('node_modules/.holdpoint-built');
const LOCK = resolve('node_modules/.holdpoint-build-lock');
/** A build takes a second; a lock this old was left by somebody who was killed. */
const STALE_LOCK_MS = 60_000;

let copy: Promise<string> | undefined;

/** Path of a program for `node`. Built once for each test process. */
export function builtService(): Promise<string> {
  copy ??= prepare();
  return copy;
}

function prepare(): Promise<string> {
  return locked(async () => {
    if (await isStale()) await build();
    const bytes = await readFile(BUNDLE);
    const folder = join(COPIES, createHash('sha256').update(bytes).digest('hex').slice(0, 16));
    const program = join(folder, 'holdpointd.js');
    const isThere = await stat(program).catch(() => null);
    if (isThere?.size === bytes.length) return program;
    await removeOldCopies();
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'package.json'), '{ "type": "commonjs" }\n');
    await writeFile(program, bytes);
    return program;
  });
}

/** Nobody tests what was built an hour ago. */
async function removeOldCopies(): Promise<void> {
  for (const name of await readdir(COPIES).catch(() => [])) {
    const folder = join(COPIES, name);
    const facts = await stat(folder);
    if (Date.now() - facts.mtimeMs > 3_600_000) await rm(folder, { recursive: true, force: true });
  }
}

async function build(): Promise<void> {
  const startedMs = Date.now();
  const failure = await run(process.execPath, ['scripts/build.mjs']).then(
    () => null,
    (error: unknown) => error,
  );
  const facts = await stat(BUNDLE).catch(() => null);
  // The command may be what cannot be built; these tests need the service only.
  if (facts === null || facts.mtimeMs < startedMs - 1000) {
    throw new Error('the service could not be built', { cause: failure });
  }
}

async function isStale(): Promise<boolean> {
  const facts = await stat(BUNDLE).catch(() => null);
  if (facts === null) return true;
  const newest = await Promise.all(['src', 'scripts/build.mjs', 'package.json'].map(newestMs));
  return Math.max(...newest) >= facts.mtimeMs;
}

async function newestMs(path: string): Promise<number> {
  const facts = await stat(path);
  if (!facts.isDirectory()) return facts.mtimeMs;
  const names = await readdir(path);
  return Math.max(facts.mtimeMs, ...(await Promise.all(names.map((name) => newestMs(join(path, name))))));
}

async function locked<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      await mkdir(LOCK);
      break;
    } catch {
      const held = await stat(LOCK).catch(() => null);
      if (held !== null && Date.now() - held.mtimeMs > STALE_LOCK_MS)
        await rm(LOCK, { recursive: true, force: true });
      await sleep(20);
    }
  }
  try {
    return await work();
  } finally {
    await rm(LOCK, { recursive: true, force: true });
  }
}

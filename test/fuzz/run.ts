/** Builds a target with counters in the sources (and a planted bug, where one is wanted) and runs it in a thread. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { build, transform } from 'esbuild';
import { createInstrumenter } from 'istanbul-lib-instrument';
import type { Order, Report } from './worker.ts';
import type { PlantedBug } from './target.ts';

const SOURCES = fileURLToPath(new URL('../../src/', import.meta.url));
const HERE = fileURLToPath(new URL('.', import.meta.url));
/** No single input takes so much of a processor, or so long: a thread that waits for nothing uses none. */
const HANG_CPU_MS = 10_000;
const HANG_MS = 120_000;
const LOOK_MS = 1_000;
const INPUT_BYTES = 1024 * 1024;

export interface FuzzRun {
  readonly target: string;
  readonly seed: number;
  readonly maxExecutions: number;
  readonly maxMs: number;
  readonly corpus?: readonly Uint8Array[];
  readonly planted?: PlantedBug;
}

export interface FuzzOutcome {
  readonly executions: number;
  readonly branches: number;
  readonly kept: readonly Uint8Array[];
  readonly finding: { readonly input: Uint8Array; readonly error: string } | null;
}

export async function fuzz(run: FuzzRun): Promise<FuzzOutcome> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-fuzz-'));
  try {
    const program = join(folder, 'worker.cjs');
    await bundle(run, program);
    return await inThread(run, program);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function bundle({ target, planted }: FuzzRun, outfile: string): Promise<void> {
  const instrumenter = createInstrumenter({ esModules: true, compact: true });
  let isPlanted = planted === undefined;
  await build({
    stdin: {
      contents: `import { work } from './worker.ts'; import { target } from './targets/${target}.ts'; void work(target);`,
      resolveDir: HERE,
      loader: 'ts',
    },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    outfile,
    logLevel: 'warning',
    external: ['usocket', 'event-stream', 'x11'],
    plugins: [
      {
        name: 'counters',
        setup(builder) {
          builder.onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
            if (!path.startsWith(SOURCES)) return undefined;
            let text = await readFile(path, 'utf8');
            if (planted && path === join(SOURCES, planted.file)) {
              if (text.split(planted.find).length !== 2) {
                throw new Error(`${planted.file}: "${planted.find}" is not there exactly once`);
              }
              text = text.replace(planted.find, planted.replace);
              isPlanted = true;
            }
            const { code } = await transform(text, { loader: 'ts', target: 'node20', sourcefile: path });
            return { contents: instrumenter.instrumentSync(code, path), loader: 'js' };
          });
        },
      },
    ],
  });
  if (!isPlanted) throw new Error(`${planted?.file} is no part of the target ${target}`);
}

function inThread(run: FuzzRun, program: string): Promise<FuzzOutcome> {
  const { seed, maxExecutions, maxMs, corpus = [] } = run;
  const shared = new SharedArrayBuffer(INPUT_BYTES + 8);
  const header = new Int32Array(shared, 0, 2);
  const order: Order = { seed, maxExecutions, maxMs, corpus, shared };
  const worker = new Worker(program, { workerData: order, resourceLimits: { maxOldGenerationSizeMb: 512 } });
  return new Promise((resolve) => {
    let finding: FuzzOutcome['finding'] = null;
    let lastExecutions = -1;
    const presentInput = (): Uint8Array => Uint8Array.from(new Uint8Array(shared, 8, header[1]));
    const end = (outcome: Partial<FuzzOutcome>): void => {
      clearInterval(watch);
      void worker.terminate();
      resolve({ executions: Atomics.load(header, 0), branches: 0, kept: [], finding, ...outcome });
    };
    let since = { ms: performance.now(), cpuMs: cpuMs() };
    const watch = setInterval(() => {
      const executions = Atomics.load(header, 0);
      if (executions !== lastExecutions || executions === 0) {
        lastExecutions = executions;
        since = { ms: performance.now(), cpuMs: cpuMs() };
        return;
      }
      const usedMs = Math.round(cpuMs() - since.cpuMs);
      const tookMs = Math.round(performance.now() - since.ms);
      if (usedMs < HANG_CPU_MS && tookMs < HANG_MS) return;
      const error = `no end within ${tookMs} ms, ${usedMs} ms of them on a processor`;
      end({ finding: { input: presentInput(), error } });
    }, LOOK_MS);
    worker.on('message', (report: Report) => {
      if (report.kind === 'finding') finding ??= { input: report.input, error: report.error };
      else end({ executions: report.executions, branches: report.branches, kept: report.kept });
    });
    // Out of memory too.
    worker.on('error', (error) =>
      end({ finding: { input: presentInput(), error: `the thread died: ${error.message}` } }),
    );
  });
}

/** Of all threads of this process. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

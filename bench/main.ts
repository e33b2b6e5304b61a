/**
 * `npm run bench`: measures Holdpoint, beside Debian's `mender` where there is something to compare, and holds the
 * figures against the targets. The exit status says whether everything could be measured, not whether it was fast.
 */
import { rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { VERSION } from '../src/version.ts';
import { benchBus } from './bus-latency.ts';
import { debianMender, holdpoint, type Client } from './clients.ts';
import { benchControlMap } from './control-map.ts';
import { benchInstall } from './install-speed.ts';
import { readOptions, USAGE, type BenchOptions, type Section } from './options.ts';
import { isMet, printTable, writeResult, type Row } from './report.ts';
import { createScratch, type Scratch } from './scratch.ts';
import { benchScripts } from './script-overhead.ts';
import { benchServer } from './server.ts';
import { benchStart } from './start-and-idle.ts';
import { benchStore } from './store-speed.ts';
import type { Contest } from './turns.ts';

const startedMs = Date.now();

function say(text: string): void {
  const seconds = Math.round((Date.now() - startedMs) / 1000);
  process.stderr.write(`[${String(seconds).padStart(4)} s] ${text}\n`);
}

async function bench(options: BenchOptions, scratch: Scratch): Promise<void> {
  const cache = join(tmpdir(), 'holdpoint-bench-cache');
  if (!options.keepsArtifacts) scratch.onEnd(() => rm(cache, { recursive: true, force: true }));
  const loadBefore = loadavg();
  const peer = await peerOrNull(scratch);
  const contest: Contest = { ours: holdpoint(scratch, VERSION), peer, rounds: options.rounds, say };
  const sections: { readonly [S in Section]: () => Promise<readonly Row[]> } = {
    install: () => benchInstall(contest, options, scratch, cache),
    scripts: () => benchScripts(contest, scratch),
    bus: () => benchBus(options, scratch, cache, say),
    control: () => benchControlMap(options, scratch, cache, say),
    start: () => benchStart(options, scratch, say),
    store: () => benchStore(options, scratch, say),
    server: () => benchServer(contest, options, scratch, cache),
  };
  const rows: Row[] = [];
  for (const section of options.sections) rows.push(...(await sections[section]()));
  process.stdout.write(`\n${printTable(rows)}\n\n`);
  const judged = rows.map(isMet).filter((verdict) => verdict !== null);
  const facts = {
    startedAt: new Date(startedMs).toISOString(),
    holdpoint: VERSION,
    mender: peer?.version ?? 'not measured',
    node: process.version,
    cpu: cpus()[0]?.model ?? 'unknown',
    cpuCount: cpus().length,
    loadBefore,
    loadAfter: loadavg(),
    isQuick: options.isQuick,
    rounds: options.rounds,
  };
  const path = await writeResult(resolve('bench/results'), facts, rows);
  process.stdout.write(
    `${judged.filter(Boolean).length} of ${judged.length} targets met; load before ${loadBefore[0]!.toFixed(2)}` +
      `${options.isQuick ? '; --quick measures little' : ''}; written to ${path}\n`,
  );
}

async function peerOrNull(scratch: Scratch): Promise<Client | null> {
  const found = await debianMender(scratch);
  if (!('unavailable' in found)) return found;
  say(`mender is not measured, ratios are "-": ${found.unavailable}`);
  return null;
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (options === 'help') return void process.stdout.write(USAGE);
  const scratch = await createScratch();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void scratch.end().then(() => process.exit(130)));
  }
  try {
    await bench(options, scratch);
  } finally {
    await scratch.end();
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`holdpoint bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});

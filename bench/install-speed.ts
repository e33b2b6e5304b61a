/** Standalone install into a module that reads the stream: wall time and memory. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Usage } from './clients.ts';
import { createDevice, MODULE } from './device.ts';
import type { BenchOptions } from './options.ts';
import { artifactOf, type ArtifactPlan } from './payloads.ts';
import type { Row } from './report.ts';
import type { Scratch } from './scratch.ts';
import { median } from './statistics.ts';
import { takeTurns, timed, type Contest, type Results } from './turns.ts';

const run = promisify(execFile);
const MEMORY_MIB = 120;
/** Growth that is noise of the garbage collector and not a dependence on the size. */
const MEMORY_NOISE_MIB = 16;

export async function benchInstall(
  contest: Contest,
  options: BenchOptions,
  scratch: Scratch,
  cache: string,
): Promise<readonly Row[]> {
  const device = await createDevice(join(scratch.folder, 'device'));
  const { large, small, xz } = options.sizesMib;
  const rows: Row[] = [];
  const memory: number[] = [];
  let smallMemory = 0;
  for (const [compression, sizeMib] of [
    ['none', small],
    ['none', large],
    ['gzip', large],
    ['xz', xz],
  ] as const) {
    const plan: ArtifactPlan = { payloadType: MODULE.stream, compression, sizeMib };
    const name = `install, ${sizeMib} MiB ${compression === 'none' ? 'uncompressed' : compression}`;
    contest.say(`${name}: making the artifact`);
    const artifact = await artifactOf(plan, cache, scratch.signal);
    const results = await takeTurns(contest, { name, artifact, device, expectedMarks: ['commit'] });
    const isSmall = sizeMib === small;
    rows.push(wallRow(name, results, isSmall), memoryRow(name, results));
    if (!isSmall) rows.push(cpuRow(name, results));
    const peak = Math.max(...results.ours.map((usage) => usage.maxRssMib));
    if (isSmall) smallMemory = peak;
    else memory.push(peak);
    if (compression === 'none' && !isSmall) rows.push(await floorRow(artifact, sizeMib, options.rounds));
  }
  rows.push({
    name: `peak RSS, ${large} MiB or compressed, over ${small} MiB`,
    unit: 'MiB',
    ours: Math.max(...memory) - smallMemory,
    peer: null,
    target: { of: 'ours', atMost: MEMORY_NOISE_MIB },
    note: 'largest of all rounds',
  });
  return rows;
}

function wallRow(name: string, results: Results, isSmall: boolean): Row {
  const target = isSmall ? null : ({ of: 'ratio', atMost: 1, stretch: 0.8 } as const);
  return { name, ...comparison(results, (usage) => usage.wallMs), unit: 'ms', target };
}

function cpuRow(name: string, results: Results): Row {
  return {
    name: `${name}: CPU, all processes`,
    ...comparison(results, (usage) => usage.cpuMs),
    unit: 'ms',
    target: null,
  };
}

function memoryRow(name: string, results: Results): Row {
  const figures = comparison(results, (usage) => usage.maxRssMib);
  return {
    name: `${name}: peak RSS`,
    ...figures,
    unit: 'MiB',
    target: { of: 'ours', atMost: MEMORY_MIB },
    note: 'largest single process',
  };
}

export function comparison(
  results: Results,
  figure: (usage: Usage) => number,
): Pick<Row, 'ours' | 'peer' | 'samples'> {
  const ours = results.ours.map(figure);
  const peer = results.peer.map(figure);
  return { ours: median(ours), peer: peer.length === 0 ? null : median(peer), samples: { ours, peer } };
}

/** What no client can do without, one after the other: one SHA-256 pass, and all bytes once through a pipe. */
async function floorRow(artifact: string, sizeMib: number, rounds: number): Promise<Row> {
  const samples: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const hashMs = await timed(() => run('openssl', ['dgst', '-sha256', artifact]));
    const pipeMs = await timed(() => run('sh', ['-c', 'cat "$1" | cat > /dev/null', 'sh', artifact]));
    samples.push(hashMs + pipeMs);
  }
  return {
    name: `floor for ${sizeMib} MiB: openssl SHA-256, then cat | cat`,
    unit: 'ms',
    ours: median(samples),
    peer: null,
    target: null,
    note: 'neither client; for scale',
  };
}

/**
 * `npm run fuzz -- [--minutes N | --executions N] [--target NAME]… [--seed N]`: looks for inputs that break a reader. Kept
 * inputs go to `fuzz-corpus/` beside the sources, so that the next run goes on from there. Exit 1: something was found.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { seedFromEnvironment } from '../support/random.ts';
import { fuzzBus } from './bus.ts';
import { TARGETS } from './registry.ts';
import { fuzz, type FuzzOutcome } from './run.ts';

const CORPUS = new URL('../../fuzz-corpus/', import.meta.url).pathname;
const BUS = 'bus';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    executions: { type: 'string' },
    target: { type: 'string', multiple: true },
    seed: { type: 'string' },
  },
});
const names = values.target ?? [...Object.keys(TARGETS), BUS];
const seed = values.seed === undefined ? seedFromEnvironment() : positive('--seed', values.seed);
const maxMs = values.minutes === undefined ? Infinity : positive('--minutes', values.minutes) * 60_000;
const maxExecutions =
  values.executions === undefined
    ? maxMs === Infinity
      ? 20_000
      : Infinity
    : positive('--executions', values.executions);
for (const name of names) {
  if (name !== BUS && !Object.hasOwn(TARGETS, name))
    fail(`unknown target ${name}: ${[...Object.keys(TARGETS), BUS].join(', ')}`);
}

let hasFound = false;
console.log(
  `seed ${seed}, each target ${maxMs === Infinity ? `${maxExecutions} executions` : `${maxMs / 60_000} min`}`,
);
for (const name of names) {
  const fromMs = performance.now();
  const folder = join(CORPUS, name);
  const limits = { seed, maxExecutions, maxMs };
  const outcome: FuzzOutcome =
    name === BUS
      ? await fuzzBus(limits)
      : await fuzz({ ...limits, target: name, corpus: await readAll(folder) });
  const seconds = (performance.now() - fromMs) / 1000;
  const rate = Math.round(outcome.executions / seconds);
  const branches =
    name === BUS ? '' : `, ${outcome.branches} branch counts, ${outcome.kept.length} inputs kept`;
  console.log(`${name}: ${outcome.executions} executions in ${seconds.toFixed(0)} s (${rate}/s)${branches}`);
  await keep(folder, outcome.kept);
  if (outcome.finding === null) continue;
  hasFound = true;
  const path = join(CORPUS, `finding-${name}-${digest(outcome.finding.input)}`);
  await mkdir(CORPUS, { recursive: true });
  await writeFile(path, outcome.finding.input);
  console.log(`FOUND in ${name} (TEST_SEED=${seed}), input kept as ${path}:\n${outcome.finding.error}`);
}
process.exit(hasFound ? 1 : 0);

async function readAll(folder: string): Promise<readonly Uint8Array[]> {
  const files = await readdir(folder).catch(() => []);
  return Promise.all(files.map((file) => readFile(join(folder, file))));
}

async function keep(folder: string, inputs: readonly Uint8Array[]): Promise<void> {
  if (inputs.length === 0) return;
  await mkdir(folder, { recursive: true });
  await Promise.all(inputs.map((input) => writeFile(join(folder, digest(input)), input)));
}

function digest(input: Uint8Array): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 16);
}

function positive(option: string, text: string): number {
  const value = Number(text);
  return value > 0 ? value : fail(`${option}: found ${text}, expected a number above 0`);
}

function fail(message: string): never {
  console.error(`fuzz: ${message}`);
  process.exit(2);
}

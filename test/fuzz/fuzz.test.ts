/**
 * A short run of every fuzz target, and the proof that each can find something: a mistake put into the source on purpose.
 * Long runs: `npm run fuzz -- --minutes N`.
 */
import { describe, expect, it } from 'vitest';
import { seedFromEnvironment } from '../support/random.ts';
import { fuzzBus } from './bus.ts';
import { BUS_BUG, TARGETS } from './registry.ts';
import { fuzz } from './run.ts';

/** With which each planted bug is found soon; what is looked for beside it has a seed of its own. */
const FIXED_SEED = 7;
const seed = seedFromEnvironment();

describe.concurrent('fuzzing', { timeout: 120_000 }, () => {
  it.each(Object.entries(TARGETS))('of %s finds a bug that was planted for it', async (target, planted) => {
    const found = await fuzz({ target, planted, seed: FIXED_SEED, maxExecutions: 200_000, maxMs: 100_000 });
    expect(found.finding, `${found.executions} executions`).not.toBeNull();
  });

  it.each(Object.keys(TARGETS))('of %s finds nothing in a short run', async (target) => {
    const { finding, executions, branches } = await fuzz({
      target,
      seed,
      maxExecutions: 4_000,
      maxMs: 20_000,
    });
    console.info(`TEST_SEED=${seed} ${target}: ${executions} executions, ${branches} branch counts`);
    expect(
      finding && { error: finding.error, input: Buffer.from(finding.input).toString('base64') },
    ).toBeNull();
    expect(executions).toBeGreaterThan(100);
    expect(branches).toBeGreaterThan(50);
  });

  it('of the running service finds a bug that was planted for it', async () => {
    const { finding } = await fuzzBus({
      seed: FIXED_SEED,
      maxExecutions: 20_000,
      maxMs: 100_000,
      planted: BUS_BUG,
    });
    expect(finding).not.toBeNull();
  });

  it('of the running service finds nothing in a short run', async () => {
    const { finding, executions } = await fuzzBus({ seed, maxExecutions: 1_000, maxMs: 20_000 });
    console.info(`TEST_SEED=${seed} bus: ${executions} calls`);
    expect(finding && { error: finding.error, input: Buffer.from(finding.input).toString() }).toBeNull();
  });
});

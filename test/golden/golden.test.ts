/**
 * The whole service replayed against the traces of the real clients. Every difference must be allowed by a rule of
 * allowed-differences.json, and every rule must be needed. GOLDEN_TRACES=FOLDER keeps the traces of ours.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compareTraces, judge, mistakesOf, type Rule } from './compare.ts';
import { replay } from './replay.ts';
import { NOT_COMPARED, SCENARIOS } from './scenarios.ts';
import { readTrace, TRACES, type Trace } from './trace.ts';

const rules = JSON.parse(
  readFileSync(resolve('test/golden/allowed-differences.json'), 'utf8'),
) as readonly Rule[];
const compared = [...new Set(SCENARIOS.flatMap(({ references }) => references.map(({ trace }) => trace)))];

describe('the service beside the traces of the real clients', () => {
  it('compares every trace there is, or says why not', () => {
    const names = readdirSync(TRACES)
      .filter((name) => name.endsWith('.jsonl'))
      .map((name) => name.replace(/\.jsonl$/, ''));
    expect([...compared, ...Object.keys(NOT_COMPARED)].sort()).toEqual(names.sort());
  });

  it('allows differences one by one, each with a reason', () => {
    expect(mistakesOf(rules, compared)).toEqual([]);
  });

  for (const { name, driving, references, options, isTimed } of SCENARIOS) {
    const test = isTimed ? it : it.concurrent;
    test(`does as they did: ${name}`, { timeout: 150_000 }, async ({ expect: expectHere }) => {
      const ours = await replay(readTrace(driving), options);
      keep(ours);
      for (const { trace, lanes } of references) {
        const judgement = judge(trace, compareTraces(readTrace(trace), ours, lanes), rules);
        expectHere(judgement).toEqual({ unexpected: [], unused: [] });
      }
    });
  }
});

function keep({ name, head, lines }: Trace): void {
  const folder = process.env['GOLDEN_TRACES'];
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, `${name}.jsonl`),
    [head, ...lines].map((line) => `${JSON.stringify(line)}\n`).join(''),
  );
}

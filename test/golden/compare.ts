/**
 * Lays two traces beside each other and says in words where they differ; then takes away what the list of allowed
 * differences allows. A rule allows one difference exactly; one that allows nothing, or too much, is a mistake itself.
 */
import { entriesOf, type Entry, type Lane } from './canon.ts';
import type { Trace } from './trace.ts';

export interface Difference {
  /** Name of the trace of the real client. */
  readonly scenario: string;
  /**
   * `flow: PUT v1/<id>/status success: body.x` for a field of lines both have (`found` and `expected` are its values);
   * `gates: after script A (2)` for a place where one has lines that the other does not have (they are the lines).
   */
  readonly field: string;
  /** What the real client did; null = nothing like it. */
  readonly expected: string | readonly string[] | null;
  /** What ours did. */
  readonly found: string | readonly string[] | null;
}

/** One difference, in all the traces named. */
export interface Rule {
  readonly scenarios: readonly string[];
  readonly field: string;
  readonly expected: Difference['expected'];
  readonly found: Difference['found'];
  readonly reason: string;
}

export function compareTraces(theirs: Trace, ours: Trace, lanes: readonly Lane[]): readonly Difference[] {
  const isGo = theirs.head.client.startsWith('mender-go');
  return lanes.flatMap((lane) =>
    compareEntries(entriesOf(theirs, lane, isGo), entriesOf(ours, lane, isGo)).map((difference) => ({
      ...difference,
      scenario: theirs.name,
      field: `${lane}: ${difference.field}`,
    })),
  );
}

type Raw = Omit<Difference, 'scenario'>;

function compareEntries(theirs: readonly Entry[], ours: readonly Entry[]): readonly Raw[] {
  const differences: Raw[] = [];
  const seen = new Map<string, number>();
  let missing: string[] = [];
  let extra: string[] = [];
  let after = 'the start';
  const closeGap = (): void => {
    if (missing.length + extra.length > 0) {
      differences.push({ field: `after ${after}`, expected: missing, found: extra });
    }
    missing = [];
    extra = [];
  };
  for (const [a, b] of aligned(theirs, ours)) {
    if (a === null || b === null) {
      if (a !== null) missing.push(a.name);
      if (b !== null) extra.push(b.name);
      continue;
    }
    closeGap();
    const count = (seen.get(a.name) ?? 0) + 1;
    seen.set(a.name, count);
    after = count === 1 ? a.name : `${a.name} (${count})`;
    for (const name of new Set([...Object.keys(a.fields), ...Object.keys(b.fields)])) {
      const [expected, found] = [a.fields[name] ?? null, b.fields[name] ?? null];
      const field = `${a.name}: ${name}`;
      const isKnown = differences.some(
        (one) => one.field === field && one.expected === expected && one.found === found,
      );
      if (expected !== found && !isKnown) differences.push({ field, expected, found });
    }
  }
  closeGap();
  return differences;
}

/** Pairs by the longest common run of names; null = the other has nothing there. */
function aligned(
  a: readonly Entry[],
  b: readonly Entry[],
): readonly (readonly [Entry | null, Entry | null])[] {
  const length = Array.from({ length: a.length + 1 }, () => Array.from({ length: b.length + 1 }, () => 0));
  const at = (i: number, j: number): number => length[i]?.[j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      length[i]![j] = a[i]!.name === b[j]!.name ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const pairs: [Entry | null, Entry | null][] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const isSame = i < a.length && j < b.length && a[i]!.name === b[j]!.name;
    if (isSame) pairs.push([a[i++]!, b[j++]!]);
    else if (j === b.length || (i < a.length && at(i + 1, j) >= at(i, j + 1))) pairs.push([a[i++]!, null]);
    else pairs.push([null, b[j++]!]);
  }
  return pairs;
}

/** What is wrong with the list itself. `scenarios`: those there are. */
export function mistakesOf(rules: readonly Rule[], scenarios: readonly string[]): readonly string[] {
  const mistakes: string[] = [];
  const keys = new Set<string>();
  for (const rule of rules) {
    const name = `the rule for ${JSON.stringify(rule.field)}`;
    const texts = [...rule.scenarios, rule.field];
    if (rule.scenarios.length === 0) mistakes.push(`${name} names no scenario`);
    if (rule.field.trim() === '') mistakes.push('a rule names no field');
    if (rule.expected === undefined || rule.found === undefined)
      mistakes.push(`${name} does not say what it allows`);
    if (texts.some((text) => text.includes('*')))
      mistakes.push(`${name} is a wildcard: name each difference`);
    if (rule.reason.trim().length < 10) mistakes.push(`${name} gives no reason`);
    for (const scenario of rule.scenarios) {
      if (!scenarios.includes(scenario)) mistakes.push(`${name} names ${scenario}, which is not compared`);
      const key = keyOf({ ...rule, scenario });
      if (keys.has(key)) mistakes.push(`${name} is there twice for ${scenario}`);
      keys.add(key);
    }
  }
  return mistakes;
}

export interface Judgement {
  /** New differences, in words. */
  readonly unexpected: readonly string[];
  /** Rules that allowed nothing in this scenario, in words. */
  readonly unused: readonly string[];
}

export function judge(
  scenario: string,
  differences: readonly Difference[],
  rules: readonly Rule[],
): Judgement {
  const here = rules.filter((rule) => rule.scenarios.includes(scenario));
  const allowed = new Set(here.map((rule) => keyOf({ ...rule, scenario })));
  const found = new Set(differences.map(keyOf));
  return {
    unexpected: differences.filter((one) => !allowed.has(keyOf(one))).map(inWords),
    unused: here
      .filter((rule) => !found.has(keyOf({ ...rule, scenario })))
      .map(
        (rule) =>
          `${scenario}: no such difference any more, take the rule away: ${inWords({ ...rule, scenario })}`,
      ),
  };
}

function keyOf({ scenario, field, expected, found }: Difference): string {
  return JSON.stringify([scenario, field, expected, found]);
}

export function inWords({ scenario, field, expected, found }: Difference): string {
  const text = (value: Difference['expected']): string => {
    if (value === null) return 'does not have it';
    if (typeof value === 'string') return `has ${JSON.stringify(value)}`;
    return value.length === 0 ? 'does nothing' : `does ${value.join(', then ')}`;
  };
  return `${scenario}: ${field}: the real client ${text(expected)}, ours ${text(found)}`;
}

/**
 * Changed copies of the decision at a gate: each condition of control/gate.ts and control/blockers.ts is taken for true
 * and for false in turn, and each source of blockers is left out, by the syntax tree of the real files.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { parseAst } from 'vitest/node';
import type { Core } from './core.ts';

const CORE = fileURLToPath(new URL('../../../src/core/', import.meta.url));
const FILES = ['control/gate.ts', 'control/blockers.ts'] as const;

export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly source: string;
}

/** As much of a syntax tree as is looked at. */
interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly name?: string;
  readonly operator?: string;
  readonly id?: Node;
  readonly init?: Node;
  readonly elements?: readonly Node[];
  readonly test?: Node;
  readonly left?: Node;
  readonly right?: Node;
}

/** A piece of text put in place of another. */
interface Change {
  readonly node: Node;
  readonly text: string;
  readonly what: string;
}

export function mutantsOfGate(): readonly Mutant[] {
  return FILES.flatMap((file) => mutantsOf(file));
}

function mutantsOf(file: string): readonly Mutant[] {
  const text = readFileSync(join(CORE, file), 'utf8');
  const changes: Change[] = [];
  walk(parseAst(text, { lang: 'ts' }) as unknown as Node, (node) => changes.push(...changesOf(node)));
  return changes.map(({ node, text: replacement, what }) => {
    const line = text.slice(0, node.start).split('\n').length;
    const shown = text.slice(node.start, node.end).replace(/\s+/g, ' ').slice(0, 70);
    return {
      name: `${basename(file)}:${line} ${shown} → ${what}`,
      file,
      source: text.slice(0, node.start) + replacement + text.slice(node.end),
    };
  });
}

function walk(node: Node, visit: (node: Node) => void): void {
  visit(node);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? (value as unknown[]) : [value]) {
      if (typeof child === 'object' && child !== null && 'type' in child) walk(child as Node, visit);
    }
  }
}

function changesOf(node: Node): readonly Change[] {
  const { type, test, left, right, operator } = node;
  if ((type === 'IfStatement' || type === 'ConditionalExpression') && test) {
    return [true, false].map((value) => ({
      node: test,
      text: `(${value} as boolean)`,
      what: String(value),
    }));
  }
  // One half of a condition; the whole is taken above.
  if (type === 'LogicalExpression' && left && right && operator !== '??') {
    const text = String(operator === '&&');
    return [left, right].map((half) => ({ node: half, text, what: text }));
  }
  if (type === 'VariableDeclarator' && node.id?.name === 'blocking' && node.init?.elements) {
    const spreads = node.init.elements.filter((element) => element.type === 'SpreadElement');
    return spreads.map((spread) => ({ node: spread, text: '...[]', what: 'left out' }));
  }
  return [];
}

/** The whole core around a mutant, loaded. */
export async function loadMutant({ file, source }: Mutant): Promise<Core> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-mutant-'));
  try {
    const outfile = join(folder, 'core.mjs');
    await build({
      stdin: {
        contents: [
          "export { decide } from './command.ts';",
          "export { decideGate } from './control/gate.ts';",
          "export { needsSaving, transition } from './transition.ts';",
        ].join('\n'),
        resolveDir: CORE,
        loader: 'ts',
      },
      bundle: true,
      format: 'esm',
      platform: 'node',
      outfile,
      logLevel: 'silent',
      plugins: [
        {
          name: 'mutant',
          setup(builder) {
            builder.onLoad({ filter: /\.ts$/ }, ({ path }) =>
              path === join(CORE, file) ? { contents: source, loader: 'ts' } : undefined,
            );
          },
        },
      ],
    });
    return (await import(/* @vite-ignore */ pathToFileURL(outfile).href)) as Core;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

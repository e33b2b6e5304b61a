/** The rows of the result: how they are judged, printed and written. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export type Target =
  | { readonly of: 'ratio'; readonly atMost: number; readonly stretch?: number }
  | { readonly of: 'ours'; readonly atMost: number };

export interface Row {
  readonly name: string;
  readonly unit: 'ms' | 'MiB' | 'wake-ups/s';
  readonly ours: number;
  /** null = nothing to compare with. */
  readonly peer: number | null;
  /** null = printed for information. */
  readonly target: Target | null;
  readonly note?: string;
  readonly samples?: { readonly ours: readonly number[]; readonly peer: readonly number[] };
}

export interface Facts {
  readonly startedAt: string;
  readonly [name: string]: string | number | boolean | readonly number[];
}

export function ratioOf(row: Row): number | null {
  return row.peer === null || row.peer === 0 ? null : row.ours / row.peer;
}

/** null = no target, or nothing to hold it against. */
export function isMet(row: Row): boolean | null {
  if (row.target === null) return null;
  const found = row.target.of === 'ratio' ? ratioOf(row) : row.ours;
  return found === null ? null : found <= row.target.atMost;
}

export function printTable(rows: readonly Row[]): string {
  const lines = rows.map((row) => [
    row.name,
    `${figure(row.ours)} ${row.unit}`,
    row.peer === null ? '-' : `${figure(row.peer)} ${row.unit}`,
    ratioOf(row)?.toFixed(2) ?? '-',
    describeTarget(row),
    { true: 'met', false: 'MISSED', null: '' }[`${isMet(row)}`]!,
    row.note ?? '',
  ]);
  const table = [['', 'Holdpoint', 'mender', 'ratio', 'target', '', ''], ...lines];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((line) => line[column]!.length)));
  return table
    .map((line) =>
      line
        .map((cell, column) =>
          column > 0 && column < 4 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** @returns the path of the file */
export async function writeResult(folder: string, facts: Facts, rows: readonly Row[]): Promise<string> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${facts.startedAt.replaceAll(/[-:]/g, '').replace(/\.\d+/, '')}.json`);
  const judged = rows.map((row) => ({ ...row, ratio: ratioOf(row), isMet: isMet(row) }));
  await writeFile(path, `${JSON.stringify({ ...facts, rows: judged }, null, 2)}\n`);
  return path;
}

function describeTarget({ target, unit }: Row): string {
  if (target === null) return '';
  if (target.of === 'ours') return `≤ ${figure(target.atMost)} ${unit}`;
  return `≤ ${target.atMost.toFixed(2)}${target.stretch === undefined ? '' : ` (${target.stretch.toFixed(2)})`}`;
}

function figure(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 1 ? value.toFixed(1) : value.toFixed(2);
}

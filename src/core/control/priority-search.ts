/**
 * The one search over everything that has an opinion about a point: control maps and holds of clients. From the
 * highest priority down; `fail` beats `pause` beats `force_continue`; who says only `continue` has no opinion.
 * Source: spec/update-control.md section 4.
 */
export interface Opinion<T> {
  readonly priority: number;
  readonly value: 'continue' | 'force_continue' | 'pause' | 'fail';
  readonly from: T;
}

export interface SearchResult<T> {
  readonly verdict: 'continue' | 'force_continue' | 'pause' | 'fail';
  /** Who decided: those with the verdict's value at the deciding priority; empty when nobody did. */
  readonly deciding: readonly T[];
  /** Everybody who was asked, that is all at the deciding priority and above. */
  readonly asked: readonly T[];
}

export function searchByPriority<T>(opinions: readonly Opinion<T>[]): SearchResult<T> {
  const asked: T[] = [];
  const priorities = [...new Set(opinions.map(({ priority }) => priority))].sort((a, b) => b - a);
  for (const priority of priorities) {
    const level = opinions.filter((opinion) => opinion.priority === priority);
    asked.push(...level.map(({ from }) => from));
    for (const value of ['fail', 'pause', 'force_continue'] as const) {
      const deciding = level.filter((opinion) => opinion.value === value).map(({ from }) => from);
      if (deciding.length > 0) return { verdict: value, deciding, asked };
    }
  }
  return { verdict: 'continue', deciding: [], asked };
}

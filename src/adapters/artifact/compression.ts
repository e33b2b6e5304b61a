/**
 * Which compression a member's name stands for. The suffix decides, the content has to agree.
 * Source: spec/artifact.md section 1.2.
 */
export type Compression = 'none' | 'gzip' | 'xz' | 'zstd';

const SUFFIXES: readonly (readonly [string, Compression])[] = [
  ['', 'none'],
  ['.gz', 'gzip'],
  ['.xz', 'xz'],
  ['.zst', 'zstd'],
];

export const SUFFIX_LIST = 'no suffix, .gz, .xz or .zst';

/** The compression of `BASE` or `BASE.SUFFIX`; null = the name has another base; `unknown` = another suffix. */
export function compressionOf(name: string, base: string): Compression | 'unknown' | null {
  if (!name.startsWith(base)) return null;
  const suffix = name.slice(base.length);
  for (const [known, compression] of SUFFIXES) if (suffix === known) return compression;
  return suffix.startsWith('.') ? 'unknown' : null;
}

/** Which names a payload file may have. Source: spec/artifact.md section 6. */
import { LIMITS } from './limits.ts';

/** null = a usable name; otherwise what was expected instead. Such a name is its own size in bytes. */
export function fileNameFault(name: string): string | null {
  if (!/^[A-Za-z0-9_.,-]+$/.test(name)) return 'only letters, digits and _ . , - in a payload file name';
  if (name === '.' || name === '..') return 'a payload file name, not a folder';
  if (name.length > LIMITS.fileNameBytes) return `at most ${LIMITS.fileNameBytes} bytes`;
  return null;
}

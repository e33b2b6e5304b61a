/** Between which dates the clock of a device that works can stand. Source: design/faults.md R7. */
import { statSync } from 'node:fs';
import type { PlausibleDates } from './link-error.ts';

const YEAR_MS = 365.25 * 86_400_000;
const LIFETIME_YEARS = 30;

export interface ClockTrust {
  /** When this program was built: nobody can run it before. */
  readonly builtWallMs: number;
  /** Files and folders whose time of change tells more, see {@link plausibleDates}. */
  readonly files: readonly string[];
}

/**
 * Files that were written on or for this device (the program, the system's trust anchors) say that it was not earlier
 * when they were. Missing ones say nothing. A file from a far future was written under a wrong clock itself, and says
 * nothing either.
 */
export function plausibleDates({ builtWallMs, files }: ClockTrust): PlausibleDates {
  const limitMs = builtWallMs + LIFETIME_YEARS * YEAR_MS;
  const times = files.flatMap((path) => {
    const modifiedMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    return modifiedMs < limitMs ? [modifiedMs] : [];
  });
  return { earliestMs: Math.max(builtWallMs, ...times), latestMs: limitMs };
}

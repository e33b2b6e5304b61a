/**
 * Why a module failed, in its own words. The protocol knows an exit status only; a module of ours, and any other that
 * cares, writes a line on standard error, of which the last one counts (docs/ab-updates.md):
 *
 *     holdpoint-reason: CODE: one sentence
 */
import { printable } from '../../core/printable.ts';

const LINE = /^holdpoint-reason: ([a-z][a-z0-9-]{0,39}): (\S.*)$/;
const MAX_TEXT_LENGTH = 400;

export class ToldReason {
  #told: { readonly code: string; readonly text: string } | null = null;

  /** A line of its standard error. */
  hear(line: string): void {
    const found = LINE.exec(line);
    if (found)
      this.#told = { code: found[1] ?? '', text: printable((found[2] ?? '').slice(0, MAX_TEXT_LENGTH)) };
  }

  /** null = it said nothing. */
  get told(): { readonly code: string; readonly text: string } | null {
    return this.#told;
  }
}

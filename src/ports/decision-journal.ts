import type { DecisionEntry } from '../core/control/journal.ts';

/** Proof of consent outside the state: append-only, bounded, one JSON object a line. */
export interface DecisionJournal {
  /**
   * Appends what the journal does not have yet (by `seq`); durable when it resolves. Rejects with kind `store` or
   * `noSpace`; nothing is half written then.
   * @returns the last number the journal has
   */
  append(entries: readonly DecisionEntry[]): Promise<number>;
  /** From `fromSeq` on, oldest first, at most `maxLines`; as the lines of the file, without their ends. */
  read(
    fromSeq: number,
    maxLines: number,
  ): Promise<{ readonly lines: readonly string[]; readonly nextSeq: number }>;
}

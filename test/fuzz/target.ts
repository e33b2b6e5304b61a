/**
 * One thing that reads what strangers send. `run` returns when the input was taken or refused the way it should be, and
 * throws when something is wrong: a crash, a refusal of the wrong kind, an answer that is not true.
 */
export interface FuzzTarget {
  /** Inputs to begin with; generated, never files. */
  readonly seeds: () => readonly Uint8Array[];
  /** Words that mean something to the reader. */
  readonly dictionary?: readonly string[];
  /** The input is JSON text: it is changed as a tree too. */
  readonly isJson?: boolean;
  /** Makes an input whole again that was changed at random (check sums, lengths), so that it gets further. */
  readonly repair?: (input: Uint8Array) => Uint8Array;
  readonly maxBytes: number;
  readonly run: (input: Uint8Array) => void | Promise<void>;
}

/** A mistake put into the source on purpose: a target counts only if it finds it. */
export interface PlantedBug {
  /** Below `src/`. */
  readonly file: string;
  /** Occurs exactly once. */
  readonly find: string;
  readonly replace: string;
}

export class Wrong extends Error {}

/** Throws unless it holds. */
export function demand(isTrue: boolean, complaint: () => string): void {
  if (!isTrue) throw new Wrong(complaint());
}

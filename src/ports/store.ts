/**
 * Durable storage of one JSON document. A save has happened when the promise resolves: after a power cut the
 * device finds this document or, if the save had not resolved, this one or the one before it.
 */
export interface Store<T> {
  /** What was found. Never throws for damaged files: those are set aside as evidence. */
  load(): Promise<LoadResult<T>>;
  /** Rejects with an UpdateError of kind `store` or `noSpace`; the previous document is then still there. */
  save(document: T): Promise<void>;
}

export interface LoadResult<T> {
  /** null = nothing stored yet, or nothing readable. */
  readonly document: T | null;
  readonly generation: number;
  /** What had to be set aside or passed over, in words for the log; empty = nothing. */
  readonly complaints: readonly string[];
}

/** A store without files, for tests and for the simulator. Documents go through JSON, as in the real one. */
import { UpdateError } from '../../core/errors.ts';
import type { LoadResult, Store } from '../../ports/store.ts';

export class MemoryStore<T> implements Store<T> {
  #texts: string[] = [];
  /** Set to make the next saves reject with it; null = they work. */
  failure: UpdateError | null = null;

  constructor(document?: T) {
    if (document !== undefined) this.#texts.push(JSON.stringify(document));
  }

  /** Every document saved so far, oldest first. */
  get history(): readonly T[] {
    return this.#texts.map((text) => JSON.parse(text) as T);
  }

  load(): Promise<LoadResult<T>> {
    const last = this.#texts.at(-1);
    return Promise.resolve({
      document: last === undefined ? null : (JSON.parse(last) as T),
      generation: this.#texts.length,
      complaints: [],
    });
  }

  save(document: T): Promise<void> {
    if (this.failure) return Promise.reject(this.failure);
    this.#texts.push(JSON.stringify(document));
    return Promise.resolve();
  }
}

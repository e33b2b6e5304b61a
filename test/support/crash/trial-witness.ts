/** Watches what a service does and says, and objects to what its store does not bear out. */
import type { Notice } from '../../../src/core/effect.ts';
import { snapshotOf } from '../../../src/core/snapshot.ts';
import type { UpdateState } from '../../../src/core/state.ts';

export class TrialWitness {
  readonly #complaints = new Set<string>();
  /** The newest state that is surely stored; null = none yet. */
  #stored: UpdateState | null = null;

  get complaints(): readonly string[] {
    return [...this.#complaints];
  }

  stored(state: UpdateState): void {
    this.#stored = state;
  }

  committing(): void {
    if (this.#stored?.step !== 'commit') this.#object('committed');
  }

  /** What the properties on the bus say. */
  shown(state: UpdateState): void {
    const { lastResult } = snapshotOf(state, { wallMs: 0, bootMs: 0 });
    if (lastResult === 'success' && !this.#isSuccessStored) this.#object('shown as a success');
  }

  announced(notice: Notice): void {
    if (notice.kind === 'DeploymentFinished' && notice.result === 'success' && !this.#isSuccessStored)
      this.#object('announced as a success');
  }

  /** Whether the next start would come to a success as well. */
  get #isSuccessStored(): boolean {
    return this.#stored?.deployment?.isCommitted ?? this.#stored?.history[0]?.result === 'success';
  }

  #object(what: string): void {
    this.#complaints.add(`${what}, while the store says ${this.#stored?.step ?? 'nothing'}`);
  }
}

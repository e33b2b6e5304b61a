/**
 * What must be true of the tickets of any run: each is minted once, and of every announced beginning of a wait there is
 * exactly one announced end, unless the process died first. Source: design/dbus-api.md section 4 "Life of a wait".
 */
import type { SimulatedTick } from './flow-simulator.ts';

export class WaitLedger {
  readonly #minted = new Set<string>();
  #open = '';
  #started = 0;
  #ended = 0;

  get counts(): { readonly started: number; readonly ended: number } {
    return { started: this.#started, ended: this.#ended };
  }

  /** Takes in the next tick; answers with what is wrong about it, '' = nothing. */
  take({ event, after, effects }: Pick<SimulatedTick, 'event' | 'after' | 'effects'>): string {
    if (event.kind === 'ServiceStarted') this.#open = '';
    for (const effect of effects) {
      if (effect.kind !== 'announce') continue;
      const { notice } = effect;
      if (notice.kind === 'WaitStarted') {
        if (this.#open !== '') return `a wait begins while ${this.#open} is open`;
        if (this.#minted.has(notice.ticket)) return `ticket ${notice.ticket} is minted twice`;
        if (!/^[0-9a-f]{32}$/.test(notice.ticket)) return `${notice.ticket} is no ticket`;
        if (notice.blockers.length === 0) return 'a wait begins without a blocker';
        this.#minted.add(notice.ticket);
        this.#open = notice.ticket;
        this.#started += 1;
      }
      if (notice.kind === 'WaitEnded') {
        if (notice.ticket !== this.#open) return `the end of ${notice.ticket}, open is ${this.#open}`;
        this.#open = '';
        this.#ended += 1;
      }
    }
    const shown = after.wait?.ticket ?? '';
    return shown === this.#open ? '' : `the state has ticket "${shown}", announced is "${this.#open}"`;
  }
}

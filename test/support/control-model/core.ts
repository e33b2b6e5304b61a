/** The part of the core that the model drives, so that a changed copy of it can be driven in its place. */
import { decide } from '../../../src/core/command.ts';
import { decideGate } from '../../../src/core/control/gate.ts';
import { needsSaving, transition } from '../../../src/core/transition.ts';

export interface Core {
  readonly decide: typeof decide;
  readonly decideGate: typeof decideGate;
  readonly needsSaving: typeof needsSaving;
  readonly transition: typeof transition;
}

export const REAL_CORE: Core = { decide, decideGate, needsSaving, transition };

/** What the model has found to be wrong. */
export class Violation extends Error {}

export function demand(isTrue: boolean, what: () => string): void {
  if (!isTrue) throw new Violation(what());
}

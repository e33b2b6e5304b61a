/** What surrounds a running command: who looks at it, what interrupts it, what it may read. */
import type { Interrupts } from '../compose-standalone.ts';
import type { Clock } from '../ports/clock.ts';
import type { Keyboard } from './monitor-keys.ts';
import type { Terminal } from './terminal.ts';

export interface Surroundings {
  readonly terminal: Terminal;
  readonly clock: Clock;
  readonly interrupts: Interrupts;
  /** 128 + the signal that came. */
  readonly interruptedExitCode: () => number;
  /** Calls the listener for each signal that would end the command; returns how to stop that. */
  readonly onSignal: (listener: (name: NodeJS.Signals) => void) => () => void;
  /** Half an output is of no use to anybody: the end of the process does not wait for somebody to read it. */
  readonly abandonOutput: () => void;
  /** Standard input. */
  readonly input: () => NodeJS.ReadStream;
  /** Standard input, key by key, when a person sits there and sees the output; else null. */
  readonly keyboard: () => Keyboard | null;
  /** Somebody who may be asked for a password. */
  readonly isPersonThere: boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

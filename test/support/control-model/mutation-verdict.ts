/** Whether the model, or the list of decided situations, finds a changed copy of the decision. */
import { complaintOfCases } from '../gate-cases.ts';
import { randomFrom } from '../random.ts';
import { ALL_ACTIONS } from './actions.ts';
import { Violation, type Core } from './core.ts';
import { explore, wander } from './explore.ts';
import { MODEL_GATES } from './gates.ts';
import { loadMutant, type Mutant } from './mutants.ts';

/** The same fixed walk for each, so that a mutant that is found is found every time. */
const SEED = 20_310_203;
const RUNS = 60;

/** Changes after which nothing anybody can see is different, with the reason; anything else must be found. */
export const EQUIVALENT: readonly (readonly [name: RegExp, why: string])[] = [
  [
    /^gate\.ts:\d+ isMapPoint\(point\) → true$/,
    'no map says anything about another point: the parser refuses it, and the type rules it out',
  ],
  [
    /^gate\.ts:\d+ (first\?\.kind === 'hold'|hold) → true$/,
    'somebody has decided, and it was no map, so it was a hold: both tests are there for the type only',
  ],
];

export interface MutantVerdict {
  readonly mutant: Mutant;
  readonly by: 'model' | 'cases' | 'equivalent' | 'nobody';
  /** What was found, or why nothing can be. */
  readonly what: string;
}

/** What the model has against this core; '' = nothing. */
export function complaintOfModel(core: Core): string {
  try {
    for (const { gate } of MODEL_GATES) explore(core, { gate, actions: ALL_ACTIONS, depth: 2 });
    const random = randomFrom(SEED);
    for (const { gate } of MODEL_GATES) wander(core, { gate, actions: ALL_ACTIONS, runs: RUNS, random });
    return '';
  } catch (error) {
    // A core that throws is found as well.
    const { name, message } = error as Error;
    return error instanceof Violation ? message : `${name}: ${message}`;
  }
}

export async function judgeMutant(mutant: Mutant): Promise<MutantVerdict> {
  const why = EQUIVALENT.find(([name]) => name.test(mutant.name))?.[1];
  if (why !== undefined) return { mutant, by: 'equivalent', what: why };
  const core = await loadMutant(mutant);
  const inModel = complaintOfModel(core);
  if (inModel !== '') return { mutant, by: 'model', what: inModel };
  const inCases = complaintOfCases(core.decideGate);
  return { mutant, by: inCases === '' ? 'nobody' : 'cases', what: inCases };
}

/** One after the other, each printed. */
export async function judgeMutants(mutants: readonly Mutant[]): Promise<readonly MutantVerdict[]> {
  const verdicts: MutantVerdict[] = [];
  for (const mutant of mutants) {
    const verdict = await judgeMutant(mutant);
    verdicts.push(verdict);
    console.info(`${verdict.by.padEnd(10)}  ${mutant.name}`);
  }
  return verdicts;
}

/** Cases of the matrix that are run with a real process too, spread over scenarios, saves and faults. */
import { FAULTS, SCENARIOS, type FaultKind, type Scenario, type Strike } from './plan.ts';
import { Trial } from './trial.ts';

/** Those that end the process by SIGKILL; the others leave it running. */
export const KILLING: readonly FaultKind[] = FAULTS.filter((fault) => /^(kill|cut|torn)/.test(fault));
const LIVING: readonly FaultKind[] = ['fsync', 'no-space', 'read-only'];

const ORDERED_BY_SERVER = SCENARIOS.filter(({ source }) => source === 'server');

export interface SampledCase {
  readonly scenario: Scenario;
  readonly strike: Strike;
}

/**
 * Every `stride`-th save of every scenario, from `offset` on, each with another fault; local installs, which need no server.
 * Saves of an idle device are left out: there is nothing to lose yet.
 */
export async function sampleCases(stride: number, offset: number): Promise<readonly SampledCase[]> {
  const sampled: SampledCase[] = [];
  let position = offset;
  let turn = offset;
  for (const one of ORDERED_BY_SERVER) {
    const scenario: Scenario = { ...one, source: 'local' };
    const { saves } = await Trial.run(scenario);
    for (const save of saves.filter((name) => !name.startsWith('idle'))) {
      position += 1;
      if (position % stride !== 0) continue;
      turn += 1;
      const isLiving = turn % 8 === 0;
      const faults = isLiving ? LIVING : KILLING;
      // A wait at a gate ends by nothing but its ceiling of days where no yes can be stored: played alone.
      const isEndless = isLiving && scenario.gate !== null;
      const fault = isEndless ? 'fsync' : faults[(isLiving ? turn / 8 : turn) % faults.length];
      if (fault) sampled.push({ scenario, strike: { save, fault } });
    }
  }
  return sampled;
}

/** A commit that cannot be stored, which no sample may leave out. */
export function unstoredCommits(): readonly SampledCase[] {
  return SCENARIOS.filter(({ way, source }) => way === 'good' && source === 'local').flatMap((scenario) =>
    (['no-space', 'read-only'] as const).map((fault) => ({
      scenario,
      strike: { save: 'commit-leave#1' as const, fault },
    })),
  );
}

/** So many killed cases, any scenario and any save of it; `random`: numbers from 0 to below 1. */
export async function drawCases(count: number, random: () => number): Promise<readonly SampledCase[]> {
  const pick = <T>(from: readonly T[]): T => {
    const picked = from[Math.floor(random() * from.length)];
    if (picked === undefined) throw new Error('nothing to pick from');
    return picked;
  };
  const drawn: SampledCase[] = [];
  while (drawn.length < count) {
    const scenario: Scenario = { ...pick(ORDERED_BY_SERVER), source: 'local' };
    const { saves } = await Trial.run(scenario);
    const save = pick(saves.filter((name) => !name.startsWith('idle')));
    drawn.push({ scenario, strike: { save, fault: pick(KILLING) } });
  }
  return drawn;
}

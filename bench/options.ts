/** What a run of the benchmarks is asked to do, and how much of it. */
import { parseArgs } from 'node:util';

export const SECTIONS = ['install', 'scripts', 'bus', 'control', 'start', 'store', 'server'] as const;
export type Section = (typeof SECTIONS)[number];

export interface BenchOptions {
  readonly isQuick: boolean;
  /** Whether the artifacts made stay in the cache folder for the next run. */
  readonly keepsArtifacts: boolean;
  readonly sections: readonly Section[];
  /** Each client has this many turns; at least 1. */
  readonly rounds: number;
  readonly sizesMib: { readonly large: number; readonly small: number; readonly xz: number };
  readonly idleSeconds: number;
  /** How long the bus is called while updates run. */
  readonly busSeconds: number;
  readonly saves: number;
  /** Control maps each of the two is given. */
  readonly mapCalls: number;
  readonly floodSeconds: number;
  /** Of 500 simulated devices, and of two clients that poll every second. */
  readonly pollSeconds: number;
}

export const USAGE = `npm run bench -- [options]
  --quick          small sizes and 3 rounds: checks that the benchmarks work, measures little
  --keep           keeps the artifacts for the next run
  --rounds N       turns of each client (7)
  --only A,B       of ${SECTIONS.join(', ')}
`;

/** Throws with one line for the user. */
export function readOptions(args: readonly string[]): BenchOptions | 'help' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      only: { type: 'string' },
    },
  });
  if (values.help) return 'help';
  const isQuick = values.quick;
  const rounds = Number(values.rounds ?? (isQuick ? 3 : 7));
  if (!Number.isInteger(rounds) || rounds < 1) {
    throw new Error(`--rounds: found ${values.rounds}, expected a whole number above 0`);
  }
  return {
    isQuick,
    keepsArtifacts: values.keep,
    sections: values.only === undefined ? SECTIONS : values.only.split(',').map(sectionOf),
    rounds,
    sizesMib: isQuick ? { large: 128, small: 16, xz: 32 } : { large: 1024, small: 64, xz: 256 },
    idleSeconds: isQuick ? 5 : 20,
    busSeconds: isQuick ? 4 : 20,
    saves: isQuick ? 100 : 500,
    mapCalls: isQuick ? 100 : 500,
    floodSeconds: isQuick ? 5 : 20,
    pollSeconds: isQuick ? 10 : 30,
  };
}

function sectionOf(name: string): Section {
  const section = SECTIONS.find((known) => known === name);
  if (section === undefined)
    throw new Error(`--only: found ${name}, expected some of ${SECTIONS.join(', ')}`);
  return section;
}

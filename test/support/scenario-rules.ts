/**
 * The scenarios of the update flow as data, and the rules by which our chain of calls comes out of Mender's.
 * Sources: spec/update-flow.md sections 3.3 and 10, design/compatibility.md.
 */
import { readFileSync } from 'node:fs';
import type { DeviceScript, Fault } from './simulated-device.ts';

export interface Scenario {
  readonly number: number | string;
  readonly name: string;
  readonly device: Partial<DeviceScript>;
  readonly faults: readonly Fault[];
  /** What Mender 3.5 calls; rows about 5.1 alone have cChain instead, without the questions to the module. */
  readonly goChain?: string;
  readonly cChain?: string;
  readonly goReports?: string;
  readonly goOutcome?: string;
  readonly rules: readonly string[];
  readonly ourChain: string;
  readonly reports: string;
  readonly outcome: 'ok' | 'back' | 'bad';
  readonly withIdle?: boolean;
  /** How often the server is asked; 1 when absent. */
  readonly checks?: number;
}

export interface GoldenScenario {
  readonly name: string;
  readonly trace: string;
  readonly device: Partial<DeviceScript>;
  readonly faults: readonly Fault[];
  readonly observed: string;
}

export interface DaemonScenarios {
  readonly rows: readonly Scenario[];
  readonly cRows: readonly Scenario[];
  readonly golden: readonly GoldenScenario[];
}

export function readScenarios<T>(file: string): T {
  return JSON.parse(readFileSync(new URL(`../scenarios/${file}`, import.meta.url), 'utf8')) as T;
}

type Chain = readonly string[];
interface Struck {
  /** Calls that fail or hang. */
  readonly failing: ReadonlySet<string>;
  /** Calls that fail, hang or are killed. */
  readonly unfinished: ReadonlySet<string>;
}

/** Each gives the changed chain, or the same when it has nothing to say about it. In the order of application. */
export const CHAIN_RULES: Readonly<Record<string, (chain: Chain, struck: Struck) => Chain>> = {
  'no-early-rollback-question': (chain) =>
    chain.filter((call, at) => !(call === 'SR?' && chain[at - 1] === 'D')),
  'file-sizes-before-download': (chain) => chain.flatMap((call) => (call === 'D' ? ['PS?', 'D'] : [call])),
  'reboot-question-after-install-leave': (chain, { unfinished }) =>
    askAfter(chain, 'I-', !unfinished.has('I-')),
  'reboot-question-after-rollback-leave': (chain, { failing }) => askAfter(chain, 'RB-', !failing.has('RB')),
  'rollback-question-before-decision': (chain) => {
    const decision = chain.includes('RB+') ? chain.indexOf('RB+') : chain.indexOf('F+');
    return decision < 0 ? chain : chain.toSpliced(decision, 0, 'SR?');
  },
  'rollback-reboot-repeated-without-scripts': (chain, { failing }) =>
    failing.has('VRR') ? chain.toSpliced(chain.indexOf('RR-'), 2) : chain,
  'rollback-reboot-leave-failure-runs-error-scripts': (chain, { failing }) =>
    failing.has('RR-') ? chain.toSpliced(chain.indexOf('RR-') + 1, 0, 'RR!') : chain,
};

/** `NR?` in front of a Leave is not asked there; behind the last one it is, if what it leaves went well. */
function askAfter(chain: Chain, leave: string, isReached: boolean): Chain {
  const without = chain.filter((call, at) => !(call === 'NR?' && chain[at + 1] === leave));
  const last = without.lastIndexOf(leave);
  return isReached && last >= 0 ? without.toSpliced(last + 1, 0, 'NR?') : without;
}

/** Scripts and calls whose failure Mender 3.5 ignores, and 5.1 takes for a failed rollback. */
const NO_LONGER_IGNORED = ['RB+', 'RB-', 'RR+', 'RR-', 'F', 'F+', 'F-'];

export interface Derived {
  readonly chain: string;
  readonly reports: string;
  readonly outcome: string;
  /** The rules that had something to say. */
  readonly rules: readonly string[];
}

/** Derives what we do from what Mender does, by the rules alone. */
export function deriveOurs(scenario: Scenario): Derived {
  const rules: string[] = [];
  const struck: Struck = {
    failing: callsOf(scenario, ['error', 'hang']),
    unfinished: callsOf(scenario, ['error', 'hang', 'kill']),
  };
  let chain: Chain = (scenario.goChain ?? scenario.cChain ?? '').split(' ').filter((call) => call !== '');
  for (const [name, rule] of Object.entries(CHAIN_RULES)) {
    const changed = rule(chain, struck);
    if (changed.join(' ') !== chain.join(' ')) rules.push(name);
    chain = changed;
  }

  let outcome = scenario.goOutcome ?? scenario.outcome;
  const isSpoilt = NO_LONGER_IGNORED.some((call) => struck.failing.has(call));
  if (outcome === 'back' && isSpoilt) {
    outcome = 'bad';
    rules.push('ignored-failure-makes-name-inconsistent');
  }

  const final = outcome === 'ok' && !struck.failing.has('CL') ? 's' : 'f';
  const reports = reportsOf(chain, final, scenario.faults);
  if (scenario.goReports !== undefined && reports !== scenario.goReports) {
    rules.push(scenario.goReports === '' ? 'interrupted-download-enter-fails' : 'status-before-enter');
  }
  return { chain: chain.join(' '), reports, outcome, rules };
}

/** Every family's status comes before its Enter scripts, and a lost or refused one does not count. */
function reportsOf(chain: Chain, final: string, faults: readonly Fault[]): string {
  const statuses: Readonly<Record<string, string>> = { 'D+': 'd', 'I+': 'i', 'R+': 'r', 'C+': 'i' };
  const isFirstLost = faults.some(({ where }) => where === 'status:installing:1');
  const reports = chain
    .filter((call, at) => statuses[call] && chain.indexOf(call) === at && !(call === 'I+' && isFirstLost))
    .map((call) => statuses[call] as string);
  return merged([...reports, final]);
}

export function merged(reports: readonly string[]): string {
  return reports.filter((report, at) => report !== reports[at - 1]).join(' ');
}

function callsOf({ faults }: Scenario, kinds: readonly string[]): ReadonlySet<string> {
  return new Set(faults.filter(({ kind }) => kinds.includes(kind)).map(({ where }) => where));
}

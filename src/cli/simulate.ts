/** `holdpoint simulate`: an update service for people who write frontends. Runs by itself, on a bus of theirs. */
import { SCENARIOS } from '../adapters/simulated/scenarios.ts';
import type { Scenario } from '../adapters/simulated/scenario.ts';
import { simulate } from '../compose-simulator.ts';
import { nearest } from '../config/nearest.ts';
import { UpdateError } from '../core/errors.ts';
import type { Snapshot } from '../core/snapshot.ts';
import type { HistoryEntry } from '../core/state.ts';
import type { Log } from '../ports/log.ts';
import { complain, line, type Terminal } from './terminal.ts';

export interface SimulateOptions {
  readonly speed: number;
  /** null = another one each time. */
  readonly seed: number | null;
  readonly isOnce: boolean;
}

export function listScenarios(terminal: Terminal): number {
  const width = Math.max(...[...SCENARIOS.keys()].map((name) => name.length));
  for (const [name, { about }] of SCENARIOS) line(terminal.out, `${name.padEnd(width)}  ${about}`);
  return 0;
}

/** Throws kind `invalidArgument` naming what was probably meant. */
export function scenarioOf(name: string): Scenario {
  const scenario = SCENARIOS.get(name);
  if (scenario) return scenario;
  const meant = nearest(name, [...SCENARIOS.keys()]);
  const hint = meant === null ? '--list shows what there is' : `did you mean ${meant}?`;
  throw new UpdateError('invalidArgument', `there is no scenario "${name}" (${hint})`);
}

/** The bus of the session; one for the system is not for simulations, whoever has set its address. */
export function simulationAddress(environment: Readonly<Record<string, string | undefined>>): string {
  const address = environment['DBUS_SESSION_BUS_ADDRESS'] ?? '';
  if (address !== '') return address;
  throw new UpdateError(
    'bus',
    'there is no session bus (DBUS_SESSION_BUS_ADDRESS is not set): start one with dbus-run-session, and the command inside it',
  );
}

export async function runSimulation(
  terminal: Terminal,
  scenario: Scenario,
  options: SimulateOptions & { readonly address: string; readonly log: Log; readonly doing: string },
  signal: AbortSignal,
): Promise<number> {
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 31);
  const say = (text: string): void => line(terminal.out, text);
  let isTold = false;
  let step = '';
  const history = await simulate(
    {
      ...options,
      scenario,
      seed,
      onReady: () => {
        if (isTold) return say('The service is on the bus again');
        isTold = true;
        say(`On the bus, seed ${seed}. Programs that look for the system bus find it with`);
        say(`DBUS_SYSTEM_BUS_ADDRESS='${options.address}'`);
      },
      onRestart: (isReboot) => say(isReboot ? 'The device reboots' : 'The service is restarted'),
      onSnapshot: (snapshot) => {
        const now = stepText(snapshot);
        if (now !== step) say(now);
        step = now;
      },
    },
    signal,
  );
  return options.isOnce && !signal.aborted ? judge(terminal, scenario, options.doing, history[0]) : 0;
}

function stepText({ step, waitPoint, waitTicket, blockers, lastResult, deploymentId }: Snapshot): string {
  if (waitPoint !== '') {
    const kinds = blockers.map(({ kind }) => kind).join(', ');
    return `${step}: waiting for ${kinds}${waitTicket === '' ? '' : `; ticket ${waitTicket}`}`;
  }
  return deploymentId === '' && lastResult !== 'none' ? `${step}; last result: ${lastResult}` : step;
}

/** Whether it ended as the scenario says; whoever interfered has changed that. */
function judge(
  terminal: Terminal,
  { result, failure }: Scenario,
  doing: string,
  entry: HistoryEntry | undefined,
): number {
  const expected = `${result}${failure === undefined ? '' : ` (${failure})`}`;
  const found = `${entry?.result ?? 'nothing'}${entry?.failure ? ` (${entry.failure.name})` : ''}`;
  if (found === expected) return 0;
  complain(terminal, doing, `it ended with ${found}, expected ${expected}`);
  return 1;
}

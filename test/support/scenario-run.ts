/** One scenario from its beginning to its end, with a client that says yes to everything, unless the scenario is of one where nobody does. */
import { SCENARIOS } from '../../src/adapters/simulated/scenarios.ts';
import { startSimulation, startYesSayer, type SessionBus } from './simulation.ts';

export interface ScenarioRun {
  /** 0 = it ended as the scenario says. */
  readonly status: number | null;
  readonly stderr: string;
  readonly lines: readonly string[];
  /** What gdbus saw and busctl answered. */
  readonly client: string;
}

export async function runScenario(
  bus: SessionBus,
  name: string,
  args: readonly string[],
): Promise<ScenarioRun> {
  const client = await startYesSayer(bus, { isMute: SCENARIOS.get(name)?.isSilent === true });
  try {
    const simulation = startSimulation(bus, [name, '--once', ...args]);
    const { status, stderr } = await simulation.ended;
    return { status, stderr, lines: simulation.lines, client: client.output() };
  } finally {
    await client.stop();
  }
}

/** Rounds in which the clients take turns, the first to go changing from round to round. */
import { performance } from 'node:perf_hooks';
import type { Client, Usage } from './clients.ts';
import type { Device } from './device.ts';

export interface Contest {
  readonly ours: Client;
  /** null = not to be had here. */
  readonly peer: Client | null;
  readonly rounds: number;
  readonly say: (text: string) => void;
}

export interface Results {
  readonly ours: readonly Usage[];
  /** Empty without a peer. */
  readonly peer: readonly Usage[];
}

export interface Work {
  readonly name: string;
  readonly artifact: string;
  readonly device: Device;
  /** What has to be found on the device afterwards: that the client did what it was timed for. */
  readonly expectedMarks: readonly string[];
  /** Turns before those that count. */
  readonly warmUps?: number;
}

export async function takeTurns(contest: Contest, work: Work): Promise<Results> {
  const { ours, peer, rounds, say } = contest;
  const results = { ours: [] as Usage[], peer: [] as Usage[] };
  const warmUps = work.warmUps ?? 1;
  for (let round = -warmUps; round < rounds; round++) {
    const order = peer === null ? [ours] : round % 2 === 0 ? [ours, peer] : [peer, ours];
    const told: string[] = [];
    for (const client of order) {
      const usage = await oneTurn(client, work);
      if (round >= 0) results[client === ours ? 'ours' : 'peer'].push(usage);
      told.push(`${client.name} ${usage.wallMs.toFixed(0)} ms`);
    }
    say(`${work.name}: ${round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`}: ${told.join(', ')}`);
  }
  return results;
}

async function oneTurn(client: Client, work: Work): Promise<Usage> {
  await work.device.reset();
  const usage = await client.install(work.artifact, work.device);
  const found = (await work.device.marks()).toSorted().join(' ');
  const expected = work.expectedMarks.toSorted().join(' ');
  if (found !== expected)
    throw new Error(`${client.name}: found the marks "${found}", expected "${expected}"`);
  return usage;
}

/** Milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

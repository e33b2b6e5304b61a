/** What clients of a simulation are told, in real time: the counterpart of clock.ts. */
import type { Snapshot } from '../../core/snapshot.ts';
import type { Blocker, HistoryEntry } from '../../core/state.ts';
import type { SimulatedClock } from './clock.ts';

/** Details that are moments, microseconds of the wall clock. */
const MOMENTS = ['since-usec', 'expected-end-usec', 'started-usec', 'next-window-usec'] as const;

export function snapshotInRealTime(snapshot: Snapshot, clock: SimulatedClock): Snapshot {
  if (clock.speed === 1) return snapshot;
  const wall = (usec: number): number => clock.realWallMs(usec / 1000) * 1000;
  const rate = snapshot.bytesPerSecond;
  const left = snapshot.remainingSeconds;
  return {
    ...snapshot,
    deployment: withMoments(snapshot.deployment, wall),
    bytesPerSecond: rate < 0 ? rate : Math.round(rate * clock.speed),
    remainingSeconds: left < 0 ? left : Math.ceil(left / clock.speed),
    blockers: snapshot.blockers.map((blocker) => blockerInRealTime(blocker, clock, wall)),
    waitSinceUsec: wall(snapshot.waitSinceUsec),
    waitDeadlineUsec: wall(snapshot.waitDeadlineUsec),
    waitDeadlineBootUsec: clock.realBootMs(snapshot.waitDeadlineBootUsec / 1000) * 1000,
    lastCheckUsec: wall(snapshot.lastCheckUsec),
    nextCheckUsec: wall(snapshot.nextCheckUsec),
    holds: snapshot.holds.map((hold) => ({
      ...hold,
      expiresWallMs: clock.realWallMs(hold.expiresWallMs),
      details: withMoments(hold.details, wall),
    })),
  };
}

function blockerInRealTime(blocker: Blocker, clock: SimulatedClock, wall: (usec: number) => number): Blocker {
  return {
    ...blocker,
    sinceWallMs: clock.realWallMs(blocker.sinceWallMs),
    endsWallMs: clock.realWallMs(blocker.endsWallMs),
    endsBootMs: clock.realBootMs(blocker.endsBootMs),
    details: withMoments(blocker.details, wall),
  };
}

export function historyInRealTime(
  history: readonly HistoryEntry[],
  clock: SimulatedClock,
): readonly HistoryEntry[] {
  if (clock.speed === 1) return history;
  const at = <T extends { readonly atWallMs: number }>(entry: T): T => ({
    ...entry,
    atWallMs: clock.realWallMs(entry.atWallMs),
  });
  return history.map((entry) => ({
    ...entry,
    startedWallMs: clock.realWallMs(entry.startedWallMs),
    finishedWallMs: clock.realWallMs(entry.finishedWallMs),
    consents: entry.consents.map(at),
    passages: entry.passages.map(at),
    decisions: entry.decisions.map(at),
  }));
}

function withMoments<T extends Readonly<Record<string, unknown>>>(
  details: T,
  wall: (usec: number) => number,
): T {
  const changed: Record<string, unknown> = { ...details };
  for (const name of MOMENTS) {
    const value = details[name];
    if (typeof value === 'number') changed[name] = wall(value);
  }
  return changed as T;
}

import { describe, expect, it } from 'vitest';
import { wallClock$ } from '../../../../src/adapters/conditions/wall-clock.ts';
import type { ClockProblem } from '../../../../src/adapters/conditions/clock-trust.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const LOOK_MS = 10_000;

async function watch() {
  const clock = new VirtualClock();
  let problem: ClockProblem | null = null;
  let looks = 0;
  const told: string[] = [];
  const subscription = wallClock$({
    clock,
    checkClock: async () => {
      looks += 1;
      return { problem, floorWallMs: 0 };
    },
  }).subscribe((one) => told.push(one));
  const settle = () => new Promise((done) => setImmediate(done));
  await settle();
  return {
    clock,
    told,
    stop: () => subscription.unsubscribe(),
    looks: () => looks,
    async look(change: () => void = () => {}) {
      change();
      clock.advance(LOOK_MS);
      await settle();
    },
    turn(to: ClockProblem | null) {
      problem = to;
    },
  };
}

describe('the wall clock, watched', () => {
  it('is told at once, and then only when something has changed', async () => {
    const watched = await watch();
    expect(watched.told).toEqual(['']);
    for (let i = 0; i < 5; i++) await watched.look();
    expect([watched.told, watched.looks()]).toEqual([[''], 6]);
    await watched.look(() => watched.turn('before-build'));
    await watched.look();
    await watched.look(() => watched.turn(null));
    expect(watched.told).toEqual(['', 'before-build', '']);
    watched.stop();
    await watched.look();
    expect(watched.looks()).toBe(9);
  });

  it('is told again when it has been set, by a second or by a year, and not when it is only adjusted', async () => {
    const watched = await watch();
    await watched.look(() => watched.clock.stepWall(100));
    expect(watched.told).toEqual(['']);
    await watched.look(() => watched.clock.stepWall(-1_000));
    expect(watched.told).toEqual(['', '']);
    await watched.look(() => watched.clock.stepWall(365 * 86_400_000));
    expect(watched.told).toEqual(['', '', '']);
  });
});

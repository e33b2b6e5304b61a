import { afterAll, beforeAll, expect, it } from 'vitest';
import { heldBytes, LongLife } from '../support/long-life.ts';

/** Ten parts of a week each; the first two fill what is kept for good (history, journal, logs). */
const PARTS = 10;
const PART = { polls: 1000, updates: 30, waits: 7, busRestarts: 5 };
const MIB = 1024 * 1024;

let life: LongLife;

beforeAll(async () => {
  life = await LongLife.begin();
});

afterAll(() => life.dispose());

it(
  'a week of polls, updates, waits, holds and restarts of the bus leaves nothing behind',
  {
    timeout: 3_600_000,
  },
  async () => {
    const held: number[] = [];
    let before = await life.belongings();
    for (let part = 1; part <= PARTS; part += 1) {
      const wanted = part * PART.polls;
      for (let update = 0; update < PART.updates; update += 1) {
        await life.update(PART.waits);
        if (update % (PART.updates / PART.busRestarts) === 0) await life.restartBus();
      }
      await life.poll(Math.max(0, wanted - life.tally.polls));
      const now = await life.belongings();
      if (part > 2) expect(now, `after part ${part}`).toEqual(before);
      before = now;
      held.push(await heldBytes());
    }
    console.info(
      `${JSON.stringify(life.tally)}, held MiB: ${held.map((b) => (b / MIB).toFixed(1)).join(' ')}`,
    );
    expect(before.holds).toBe(0);
    expect(life.errors).toEqual([]);
    expect(life.tally).toMatchObject({ deployments: 300, busRestarts: 50, holds: 300 });
    expect(life.tally.polls).toBeGreaterThanOrEqual(10_000);
    expect(life.tally.waits).toBeGreaterThanOrEqual(2_000);
    // The least of the later parts beside that of the earlier ones: what is flat does not climb, garbage comes and goes.
    const least = (from: number, to: number): number => Math.min(...held.slice(from, to));
    expect(least(6, PARTS) - least(2, 6)).toBeLessThan(2 * MIB);
  },
);

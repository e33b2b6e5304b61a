import { afterAll, beforeAll, expect, it } from 'vitest';
import { LongLife } from '../support/long-life.ts';

/** An hour or two of the week in test/matrix/life.test.ts. */
let life: LongLife;

beforeAll(async () => {
  life = await LongLife.begin();
});

afterAll(() => life.dispose());

it(
  'an hour of polls, updates, waits, holds and restarts of the bus leaves nothing behind',
  { timeout: 300_000 },
  async () => {
    const live = async (updates: number): Promise<void> => {
      for (let left = updates; left > 0; left -= 1) {
        await life.poll(5);
        await life.update(5);
      }
      await life.restartBus();
    };
    await live(6);
    const before = await life.belongings();
    await live(4);
    expect(await life.belongings()).toEqual(before);
    expect(before.holds).toBe(0);
    expect(life.errors).toEqual([]);
    expect(life.tally).toMatchObject({ deployments: 10, busRestarts: 2, holds: 10 });
    expect(life.tally.waits).toBeGreaterThanOrEqual(50);
  },
);

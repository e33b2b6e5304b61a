import { describe, expect, it } from 'vitest';
import { Turns } from '../../../../src/adapters/dbus/turns.ts';

interface Piece {
  readonly name: string;
  readonly end: () => void;
  readonly fail: () => void;
}

function stage(atOnce: number) {
  const turns = new Turns(atOnce);
  const begun: Piece[] = [];
  const run = (client: string, name: string): Promise<string> =>
    turns.run(
      client,
      () =>
        new Promise<string>((resolve, reject) =>
          begun.push({ name, end: () => resolve(name), fail: () => reject(new Error(name)) }),
        ),
    );
  const end = async (name: string, how: 'end' | 'fail' = 'end'): Promise<void> => {
    begun.find((piece) => piece.name === name)?.[how]();
    await new Promise<void>((resolve) => setImmediate(resolve));
  };
  return { turns, run, end, begun: () => begun.map(({ name }) => name) };
}

describe('turns of clients', () => {
  it('let one client have a few pieces of work at a time, in order', async () => {
    const { run, end, begun } = stage(2);
    const all = Promise.all(['a', 'b', 'c', 'd'].map((name) => run('one', name)));
    expect(begun()).toEqual(['a', 'b']);
    await end('b');
    expect(begun()).toEqual(['a', 'b', 'c']);
    await end('a');
    await end('c');
    await end('d');
    expect(await all).toEqual(['a', 'b', 'c', 'd']);
  });

  it('do not let one client wait for another', () => {
    const { run, begun } = stage(1);
    for (const name of ['a', 'b', 'c']) void run('greedy', name);
    void run('modest', 'd');
    expect(begun()).toEqual(['a', 'd']);
  });

  it('go on after work that fails, or throws at once', async () => {
    const { turns, run, end, begun } = stage(1);
    const failing = run('one', 'a').catch((error: Error) => error.message);
    const thrown = turns
      .run('one', () => {
        throw new Error('thrown');
      })
      .catch((error: Error) => error.message);
    const next = run('one', 'b');
    await end('a', 'fail');
    expect(await failing).toBe('a');
    expect(await thrown).toBe('thrown');
    expect(begun()).toEqual(['a', 'b']);
    await end('b');
    expect(await next).toBe('b');
  });

  it('remember nobody who has nothing under way', async () => {
    const { turns, run, end } = stage(1);
    for (let count = 0; count < 1000; count++) {
      const done = run(`client ${count}`, `work ${count}`);
      await end(`work ${count}`);
      await done;
    }
    expect(turns.size).toBe(0);
  });
});

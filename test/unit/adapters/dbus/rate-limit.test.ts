import { expect, test } from 'vitest';
import { RateLimiter } from '../../../../src/adapters/dbus/rate-limit.ts';

function limiterAt(): { limiter: RateLimiter; advance: (ms: number) => void } {
  let nowMs = 1000;
  const limiter = new RateLimiter({ burst: 5, perSecond: 10, nowMs: () => nowMs });
  return { limiter, advance: (ms) => (nowMs += ms) };
}

const takeAll = (limiter: RateLimiter, sender: string): number => {
  let taken = 0;
  while (limiter.take(sender) && taken < 1000) taken += 1;
  return taken;
};

test('a sender may make its burst of calls, and then as many as time gives back', () => {
  const { limiter, advance } = limiterAt();
  expect(takeAll(limiter, ':1.1')).toBe(5);
  advance(99);
  expect(limiter.take(':1.1')).toBe(false);
  advance(101);
  expect(takeAll(limiter, ':1.1')).toBe(2);
  advance(3_600_000);
  expect(takeAll(limiter, ':1.1')).toBe(5);
});

test('one sender does not use up the calls of another', () => {
  const { limiter } = limiterAt();
  takeAll(limiter, ':1.1');
  expect(takeAll(limiter, ':1.2')).toBe(5);
});

test('a clock that goes back gives nothing and takes nothing', () => {
  const { limiter, advance } = limiterAt();
  takeAll(limiter, ':1.1');
  advance(-500);
  expect(limiter.take(':1.1')).toBe(false);
  advance(100);
  expect(limiter.take(':1.1')).toBe(true);
});

test('senders without end are forgotten, the one in use is not', () => {
  const { limiter } = limiterAt();
  takeAll(limiter, ':1.1');
  for (let index = 0; index < 10_000; index += 1) {
    limiter.take(`:2.${index}`);
    expect(limiter.take(':1.1')).toBe(false);
  }
  expect(limiter.size).toBeLessThanOrEqual(256);
});

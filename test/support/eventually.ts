import { setTimeout as sleep } from 'node:timers/promises';

/** Polls until the claim holds; fails with its description after `withinMs`. */
export async function eventually(
  description: string,
  claim: () => boolean | Promise<boolean>,
  withinMs = 10_000,
): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!(await claim())) {
    if (performance.now() > endMs) throw new Error(`not so after ${withinMs} ms: ${description}`);
    await sleep(5);
  }
}

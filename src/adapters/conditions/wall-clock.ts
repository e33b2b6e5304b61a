/**
 * Watches the wall clock for whoever waits for a moment of it: whether it is believed, and whether it has been set. The
 * kernel tells nobody of the latter through Node, so it is looked at every now and then.
 */
import { defer, distinctUntilChanged, map, repeat, type Observable } from 'rxjs';
import type { Clock } from '../../ports/clock.ts';
import type { ClockVerdict } from './clock-trust.ts';

const LOOK_MS = 10_000;
/** Less is an adjustment by the time service, which every later look takes in anyhow. */
const STEP_MS = 500;

/**
 * Why it is not believed, '' = it is: at once, at each change, and again when the clock has been set. Never completes,
 * never fails.
 */
export function wallClock$(deps: {
  readonly clock: Clock;
  /** Never rejects. */
  readonly checkClock: () => Promise<ClockVerdict>;
}): Observable<string> {
  return defer(() => deps.checkClock()).pipe(
    map(({ problem }) => {
      const { wallMs, bootMs } = deps.clock.now();
      return { problem: problem ?? '', offsetMs: wallMs - bootMs };
    }),
    repeat({ delay: () => deps.clock.timer(LOOK_MS) }),
    distinctUntilChanged(
      (told, found) => told.problem === found.problem && Math.abs(told.offsetMs - found.offsetMs) < STEP_MS,
    ),
    map(({ problem }) => problem),
  );
}

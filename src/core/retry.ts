/**
 * Back-off. Source: spec/update-flow.md section 5 and 3.3 "Poll retry".
 */
const MINUTE_MS = 60_000;
const TRIES_PER_INTERVAL = 3;

export interface RetryPolicy {
  /** Ceiling of the interval; below one minute it becomes a fixed interval. */
  readonly maxIntervalSeconds: number;
  /** Tries in all; 0 = automatic: three at each interval up to and at the ceiling. */
  readonly maxTries: number;
}

/**
 * How long to wait before try number `attempt` + 1 after `attempt` have failed (1-based); null = give up.
 * With a ceiling of five minutes: 1, 1, 1, 2, 2, 2, 4, 4, 4, 5, 5, 5 minutes, then give up.
 */
export function retryDelayMs(attempt: number, policy: RetryPolicy): number | null {
  const maxMs = policy.maxIntervalSeconds * 1000;
  const isFixed = maxMs > 0 && maxMs < MINUTE_MS;
  const capMs = Math.max(maxMs, isFixed ? maxMs : MINUTE_MS);
  if (policy.maxTries > 0 && attempt > policy.maxTries) return null;
  let intervalMs = isFixed ? capMs : MINUTE_MS;
  let left = attempt;
  while (left > TRIES_PER_INTERVAL && intervalMs < capMs) {
    intervalMs = Math.min(intervalMs * 2, capMs);
    left -= TRIES_PER_INTERVAL;
  }
  if (policy.maxTries === 0 && left > TRIES_PER_INTERVAL) return null;
  return intervalMs;
}

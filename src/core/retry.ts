/**
 * Back-off. Source: spec/update-flow.md section 5 and 3.3 "Poll retry".
 */
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const TRIES_PER_INTERVAL = 3;

export interface RetryPolicy {
  /** Ceiling of the interval; below one minute it becomes a fixed interval. */
  readonly maxIntervalSeconds: number;
  /** Tries after the first; 0 = automatic: three at each interval up to and at the ceiling. */
  readonly maxRetries: number;
}

/**
 * How long to wait before try number `attempt` + 1 after `attempt` have failed (1-based); null = give up.
 * With a ceiling of five minutes: 1, 1, 1, 2, 2, 2, 4, 4, 4, 5, 5, 5 minutes, then give up. What the server asked
 * to wait is honoured up to a day; 0 = it said nothing.
 */
export function retryDelayMs(attempt: number, policy: RetryPolicy, retryAfterSeconds = 0): number | null {
  const intervalMs = intervalMsOf(attempt, policy);
  if (intervalMs === null) return null;
  const askedMs = retryAfterSeconds > 0 ? retryAfterSeconds * 1000 : 0;
  return Math.max(intervalMs, Math.min(askedMs, DAY_MS));
}

function intervalMsOf(attempt: number, policy: RetryPolicy): number | null {
  const maxMs = policy.maxIntervalSeconds * 1000;
  const isFixed = maxMs > 0 && maxMs < MINUTE_MS;
  const capMs = Math.max(maxMs, isFixed ? maxMs : MINUTE_MS);
  if (policy.maxRetries > 0 && attempt > policy.maxRetries) return null;
  let intervalMs = isFixed ? capMs : MINUTE_MS;
  let left = attempt;
  while (left > TRIES_PER_INTERVAL && intervalMs < capMs) {
    intervalMs = Math.min(intervalMs * 2, capMs);
    left -= TRIES_PER_INTERVAL;
  }
  if (policy.maxRetries === 0 && left > TRIES_PER_INTERVAL) return null;
  return intervalMs;
}

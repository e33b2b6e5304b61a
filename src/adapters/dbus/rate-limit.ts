import { LruMap } from './lru.ts';

/**
 * A token bucket for each sender, so that one client that floods the bus is refused cheaply and the others are
 * served (design/faults.md R38). A sender not heard of has a full bucket, so forgetting an idle one is harmless.
 */
export interface RateLimitOptions {
  /** Calls a sender may make at once. */
  readonly burst: number;
  /** Calls per second it may go on making. */
  readonly perSecond: number;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
}

/** A UI reads at most a few times a second; a script that loops over busctl opens a connection each time. */
export const DEFAULT_RATE = { burst: 200, perSecond: 100 } as const;

const MAX_SENDERS = 256;

interface Bucket {
  tokens: number;
  filledAtMs: number;
}

export class RateLimiter {
  readonly #options: RateLimitOptions;
  readonly #buckets = new LruMap<string, Bucket>(MAX_SENDERS);

  constructor(options: RateLimitOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Whether this sender may make one more call now. */
  take(sender: string): boolean {
    const { burst, perSecond, nowMs } = this.#options;
    const now = nowMs();
    const bucket = this.#buckets.get(sender) ?? { tokens: burst, filledAtMs: now };
    const gained = (Math.max(0, now - bucket.filledAtMs) / 1000) * perSecond;
    bucket.tokens = Math.min(burst, bucket.tokens + gained);
    bucket.filledAtMs = now;
    this.#buckets.set(sender, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }
}

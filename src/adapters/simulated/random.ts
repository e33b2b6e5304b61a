/** Numbers that look random and are the same for the same seed, so that a simulation can be repeated. */
export interface Random {
  /** 0 ≤ x < 1. */
  readonly next: () => number;
  readonly hex: (digits: number) => string;
  /** A version 4 UUID. */
  readonly uuid: () => string;
}

/** `seed`: a whole number, of which 32 bits count. Algorithm: mulberry32, of the public domain. No secrets from it. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const hex = (digits: number): string => {
    let text = '';
    while (text.length < digits) text += Math.floor(next() * 16).toString(16);
    return text;
  };
  const uuid = (): string => `${hex(8)}-${hex(4)}-4${hex(3)}-8${hex(3)}-${hex(12)}`;
  return { next, hex, uuid };
}

export interface Nonces {
  /** 32 hex digits. */
  readonly next: () => string;
  /** The flow has come to another step. */
  readonly advance: () => void;
}

/**
 * Nonces of events, counted from each step of the flow anew: how many events a download leads to depends on how fast the
 * machine is, and the ticket of the wait behind it must not.
 */
export function createNonces(seed: number): Nonces {
  let steps = 0;
  let random = createRandom(seed);
  return {
    next: () => random.hex(32),
    advance: () => {
      steps += 1;
      random = createRandom(Math.imul(seed | 1, 0x9e3779b1) + steps);
    },
  };
}

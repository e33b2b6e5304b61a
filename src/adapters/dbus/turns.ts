/**
 * Handlers of one client run a few at a time; what it asks for beyond that waits in a line of its own. Without it a
 * client with a hundred orders under way would put everybody else behind all of them (design/faults.md R38). Bounded by
 * how many calls the dispatcher works on at all.
 */
export class Turns {
  readonly #atOnce: number;
  readonly #lines = new Map<string, { running: number; readonly waiting: (() => void)[] }>();

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
  }

  /** Clients with something under way. */
  get size(): number {
    return this.#lines.size;
  }

  /** Settles as the work does; the work begins when it is its turn. */
  async run<T>(client: string, work: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(client) ?? { running: 0, waiting: [] };
    this.#lines.set(client, line);
    if (line.running < this.#atOnce) line.running += 1;
    // Whoever ends hands its place over.
    else await new Promise<void>((resolve) => line.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = line.waiting.shift();
      if (next) next();
      else {
        line.running -= 1;
        if (line.running === 0) this.#lines.delete(client);
      }
    }
  }
}

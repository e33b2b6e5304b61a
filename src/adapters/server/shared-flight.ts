/** One piece of work at a time, shared by all who ask for it while it is under way. Knows nothing of what it does. */
import { UpdateError } from '../../core/errors.ts';

interface Flight<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  passengers: number;
}

export class SharedFlight<T> {
  readonly #work: (signal: AbortSignal) => Promise<T>;
  #flight: Flight<T> | null = null;

  constructor(work: (signal: AbortSignal) => Promise<T>) {
    this.#work = work;
  }

  /**
   * The result of the work under way, else of new work. The abort of one caller (kind `cancelled`) ends the work only
   * when no other is waiting for it.
   */
  async join(signal: AbortSignal): Promise<T> {
    if (signal.aborted) throw cancelled();
    const flight = (this.#flight ??= this.#start());
    flight.passengers += 1;
    let leave: () => void = () => {};
    const left = new Promise<never>((_resolve, reject) => {
      leave = () => reject(cancelled());
      signal.addEventListener('abort', leave, { once: true });
    });
    try {
      return await Promise.race([flight.result, left]);
    } finally {
      signal.removeEventListener('abort', leave);
      flight.passengers -= 1;
      if (flight.passengers === 0) {
        // Nobody waits: who comes next begins anew instead of getting what was stopped.
        if (this.#flight === flight) this.#flight = null;
        flight.controller.abort();
      }
    }
  }

  #start(): Flight<T> {
    const controller = new AbortController();
    const flight: Flight<T> = { controller, passengers: 0, result: this.#work(controller.signal) };
    const over = (): void => {
      if (this.#flight === flight) this.#flight = null;
    };
    flight.result.then(over, over);
    return flight;
  }
}

function cancelled(): UpdateError {
  return new UpdateError('cancelled', 'the authentication was no longer waited for');
}

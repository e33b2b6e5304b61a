/**
 * A bound hold that is kept for as long as somebody wants it: over restarts of the service and of the bus. Whoever ends
 * it with a right to do so (an override, a release) ends it for good.
 */
import type { Subscription } from 'rxjs';
import type { RemoteHold, RemoteHoldWish, UpdateClient } from '../adapters/dbus/update-client.ts';
import { helpfulMessage } from './refusal-text.ts';

export interface KeptHold {
  /** As it was taken first; the id may change when the service has been away. */
  readonly id: string;
  /** Gives it back, and closes the connection. Never rejects. */
  end(): Promise<void>;
}

const FIRST_RETRY_MS = 200;
const MAX_RETRY_MS = 5_000;
/** The end of the connection ends the hold as well: a service that does not answer is not waited for. */
const RELEASE_LIMIT_MS = 2_000;

/**
 * Resolves when the hold is taken. Rejects as `open` and UpdateClient.addHold, and leaves nothing open then.
 * @param open a new connection to the bus
 * @param say tells a person what has become of the hold
 */
export async function keepHold(
  open: () => Promise<UpdateClient>,
  wish: RemoteHoldWish,
  say: (text: string) => void,
): Promise<KeptHold> {
  const first = await open();
  try {
    const { id } = await first.addHold(wish);
    const keeper = new Keeper(open, wish, say, first, id);
    return { id, end: () => keeper.end() };
  } catch (error) {
    first.close();
    throw error;
  }
}

class Keeper {
  readonly #open: () => Promise<UpdateClient>;
  readonly #wish: RemoteHoldWish;
  readonly #say: (text: string) => void;
  #client: UpdateClient;
  #id: string;
  #following: Subscription | null = null;
  #retry: NodeJS.Timeout | null = null;
  #retryMs = FIRST_RETRY_MS;
  /** The service or the bus has been away: an absent hold was lost, not ended. */
  #wasAway = false;
  /** Somebody has ended it. */
  #isEnded = false;
  #isClosed = false;
  #isTaking = false;
  #lastTold = '';

  constructor(
    open: () => Promise<UpdateClient>,
    wish: RemoteHoldWish,
    say: (text: string) => void,
    client: UpdateClient,
    id: string,
  ) {
    this.#open = open;
    this.#wish = wish;
    this.#say = say;
    this.#client = client;
    this.#id = id;
    this.#follow();
  }

  async end(): Promise<void> {
    this.#isClosed = true;
    this.#following?.unsubscribe();
    if (this.#retry !== null) clearTimeout(this.#retry);
    if (!this.#isEnded) {
      let timer: NodeJS.Timeout | undefined;
      const limit = new Promise<void>((resolve) => (timer = setTimeout(resolve, RELEASE_LIMIT_MS)));
      // Refused: it is gone already.
      await Promise.race([this.#client.releaseHold(this.#id).catch(() => {}), limit]);
      clearTimeout(timer);
    }
    this.#client.close();
  }

  #follow(): void {
    const client = this.#client;
    this.#following?.unsubscribe();
    this.#following = client.change$.subscribe({
      next: (change) => {
        if (change.kind !== 'gone' || this.#isEnded || this.#wasAway) return;
        this.#wasAway = true;
        this.#tell(`the service is gone; hold ${this.#id} is taken again when it is back`);
      },
      error: (error: unknown) => this.#onLostBus(client, error),
    });
    this.#following.add(
      client.holds$.subscribe({
        next: (holds) => this.#look(client, holds),
        // Told by the other one too.
        error: () => {},
      }),
    );
  }

  /** The list comes after each start of the service, and whenever it has changed. */
  #look(client: UpdateClient, holds: readonly RemoteHold[]): void {
    if (this.#isClosed || this.#isEnded || client !== this.#client) return;
    // A list from before the answer says nothing.
    if (this.#isTaking || this.#retry !== null) return;
    const isThere = holds.some(({ id, details }) => id === this.#id && details['countdown'] === undefined);
    if (isThere) {
      if (this.#wasAway) this.#tell(`the service is back, and hold ${this.#id} is in place`);
      this.#wasAway = false;
    } else if (this.#wasAway) void this.#takeAgain(client);
    else {
      this.#isEnded = true;
      this.#tell(`hold ${this.#id} has been ended by somebody else, or is used up`);
    }
  }

  async #takeAgain(client: UpdateClient): Promise<void> {
    this.#isTaking = true;
    try {
      const { id } = await client.addHold(this.#wish);
      this.#retryMs = FIRST_RETRY_MS;
      this.#wasAway = false;
      this.#id = id;
      this.#tell(`the service is back; held again as ${id}`);
    } catch (error) {
      if (this.#isClosed || client !== this.#client) return;
      this.#tell(`the hold cannot be taken again at present: ${helpfulMessage(error)}`);
      this.#later(() => void this.#takeAgain(client));
    } finally {
      this.#isTaking = false;
    }
  }

  #onLostBus(client: UpdateClient, error: unknown): void {
    if (this.#isClosed || this.#isEnded || client !== this.#client) return;
    client.close();
    if (!this.#wasAway) {
      this.#tell(`${helpfulMessage(error)}; the hold is lost, and is taken again when the bus is back`);
    }
    this.#wasAway = true;
    this.#later(() => void this.#openAgain());
  }

  async #openAgain(): Promise<void> {
    try {
      const client = await this.#open();
      if (this.#isClosed) return client.close();
      this.#client = client;
      this.#follow();
    } catch {
      this.#later(() => void this.#openAgain());
    }
  }

  /** Never keeps the process alive: the command that is held for does. */
  #later(run: () => void): void {
    if (this.#isClosed) return;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#retry = null;
      if (!this.#isClosed && !this.#isEnded) run();
    }, this.#retryMs).unref();
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }

  /** Each piece of news once. */
  #tell(text: string): void {
    if (text === this.#lastTold) return;
    this.#lastTold = text;
    this.#say(text);
  }
}

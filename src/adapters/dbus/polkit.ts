import { randomBytes } from 'node:crypto';
import { Subscription } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import { refuse, RefusedCall } from '../../core/refusal.ts';
import type { CallerConnection } from './caller.ts';
import type { Bus } from './connection.ts';
import { busCall, RemoteError, type OutgoingCall } from './link.ts';
import { variant } from './values.ts';

/**
 * Asks polkit, and is never satisfied with less than its clear yes: an error, silence or a lost bus is for the caller of
 * this to deny. Nothing is remembered from one question to the next; what may be kept, polkit keeps itself.
 * Source: polkit(8) and the interface org.freedesktop.PolicyKit1.Authority.
 */
const POLKIT_NAME = 'org.freedesktop.PolicyKit1';
const AUTHORITY_PATH = '/org/freedesktop/PolicyKit1/Authority';
const AUTHORITY = 'org.freedesktop.PolicyKit1.Authority';
const ACTION_PREFIX = 'io.holdpoint.update1.';
const ALLOW_USER_INTERACTION = 1;

const STANDARD_ERROR = 'org.freedesktop.DBus.Error.';

/** Finding polkit, having it started and its answer without a person may take this long together. */
const ANSWER_TIMEOUT_MS = 5_000;
/** Of a person who types; whoever has left the dialogue open for longer is not there. */
const DIALOGUE_TIMEOUT_MS = 10 * 60_000;

/** Dialogues that may be open at a time: one client's must neither pile up nor take the place of others. */
export const DIALOGUE_LIMITS = { perSender: 4, perUid: 8, inAll: 32 } as const;
/** Questions under way, whether a person is asked or not: a polkit that hangs must not fill the dispatcher. */
export const QUESTION_LIMITS = { perSender: 32, perUid: 64, inAll: 256 } as const;

export interface PolkitQuestion {
  /** The question goes by the connection the call came by, or not at all. */
  readonly connection: CallerConnection;
  readonly sender: string;
  readonly uid: number;
  /** Without the prefix. */
  readonly action: string;
  /** For rules and dialogues. */
  readonly details: Readonly<Record<string, string>>;
  readonly isInteractive: boolean;
}

/** `challenge`: a person would have to authenticate, and none was or could be asked. `absent`: there is no polkit. */
export type PolkitAnswer = 'yes' | 'no' | 'challenge' | 'absent';

export function polkitActionId(action: string): string {
  return ACTION_PREFIX + action;
}

export interface PolkitOptions {
  readonly bus: Pick<Bus, 'nameOwner$'>;
  readonly answerTimeoutMs?: number;
}

export class Polkit {
  readonly #options: PolkitOptions;
  readonly #questions = new Quota(QUESTION_LIMITS);
  readonly #dialogues = new Quota(DIALOGUE_LIMITS);
  readonly #endings = new Set<() => void>();
  #isClosed = false;

  constructor(options: PolkitOptions) {
    this.#options = options;
  }

  get pendingDialogues(): number {
    return this.#dialogues.count;
  }

  /**
   * Without a person first, within 5 s; only when that gives `challenge` and the question is interactive is polkit
   * asked again with a dialogue. Rejects: RefusedCall (LimitsExceeded, ShuttingDown), kind `timeout`, kind `bus`
   * (a RemoteError for polkit's own errors).
   */
  check(question: PolkitQuestion): Promise<PolkitAnswer> {
    return this.#questions.take(question, async () => {
      this.#checkOpen();
      const leftMs = this.#countdown();
      const owner = await this.#owner(question.connection, leftMs);
      if (owner === null) return 'absent';
      const reply = question.connection.call(checkCall(question, owner, 0, ''), leftMs());
      const answer = answerOf(await reply);
      if (answer !== 'challenge' || !question.isInteractive) return answer;
      this.#checkOpen();
      return this.#dialogues.take(question, () => this.#askPerson(question, owner));
    });
  }

  /** Whether polkit is there, or would be started. Rejects as `check`. */
  isPresent(question: Pick<PolkitQuestion, 'connection' | 'sender' | 'uid'>): Promise<boolean> {
    return this.#questions.take(question, async () => {
      this.#checkOpen();
      return (await this.#owner(question.connection, this.#countdown())) !== null;
    });
  }

  /** Takes back every open dialogue; their checks, and later ones, reject with ShuttingDown. */
  close(): void {
    this.#isClosed = true;
    for (const end of this.#endings) end();
  }

  #countdown(): () => number {
    const endMs = performance.now() + (this.#options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS);
    return () => Math.max(1, endMs - performance.now());
  }

  #checkOpen(): void {
    if (this.#isClosed) throw shuttingDown();
  }

  /**
   * The unique name of polkit, started if need be; null = nobody offers it. Only the bus's word for "no such service"
   * counts as that. Calls go to the unique name, so that nobody else can answer in polkit's place.
   */
  async #owner(connection: CallerConnection, leftMs: () => number): Promise<string | null> {
    const find = async (): Promise<string> => {
      const [owner] = await connection.call(busCall('GetNameOwner', 's', [POLKIT_NAME]), leftMs());
      return String(owner);
    };
    try {
      return await find();
    } catch (error) {
      if (!isError(error, 'NameHasNoOwner')) throw error;
    }
    try {
      await connection.call(busCall('StartServiceByName', 'su', [POLKIT_NAME, 0]), leftMs());
    } catch (error) {
      if (isError(error, 'ServiceUnknown')) return null;
      throw error;
    }
    return find();
  }

  /** Until the person has answered, the caller is gone, the service ends or the time is over. */
  #askPerson(question: PolkitQuestion, owner: string): Promise<PolkitAnswer> {
    const { connection, sender } = question;
    const cancellationId = randomBytes(16).toString('hex');
    return new Promise<PolkitAnswer>((resolve, reject) => {
      const watch = new Subscription();
      const settle = (act: () => void): void => {
        watch.unsubscribe();
        this.#endings.delete(end);
        act();
      };
      const takeBack = (): void => {
        connection.call(cancelCall(owner, cancellationId)).catch(() => {
          // Answered in this moment, or polkit is gone: the dialogue is closed either way.
        });
      };
      const end = (): void => {
        takeBack();
        settle(() => reject(shuttingDown()));
      };
      connection
        .call(checkCall(question, owner, ALLOW_USER_INTERACTION, cancellationId), DIALOGUE_TIMEOUT_MS)
        .then(
          (reply) => settle(() => resolve(answerOf(reply))),
          (error: unknown) => {
            if (error instanceof UpdateError && error.kind === 'timeout') takeBack();
            settle(() => reject(error as Error));
          },
        );
      this.#endings.add(end);
      const leave = (): void => {
        takeBack();
        settle(() => resolve('no'));
      };
      watch.add(
        this.#options.bus.nameOwner$(sender).subscribe({
          next: (present) => {
            if (present === '') leave();
          },
          error: leave,
        }),
      );
    });
  }
}

function checkCall(
  question: PolkitQuestion,
  owner: string,
  flags: number,
  cancellationId: string,
): OutgoingCall {
  // A bus name, never a process id: the id may be another program's by the time polkit looks at it.
  const subject = ['system-bus-name', new Map([['name', variant('s', question.sender)]])];
  const details = new Map(
    // No text on the bus may have this character; a server may put it into an id.
    Object.entries(question.details).map(([key, value]) => [key, value.replaceAll('\0', '')]),
  );
  return {
    destination: owner,
    path: AUTHORITY_PATH,
    interface: AUTHORITY,
    member: 'CheckAuthorization',
    signature: '(sa{sv})sa{ss}us',
    body: [subject, polkitActionId(question.action), details, flags, cancellationId],
  };
}

function cancelCall(owner: string, cancellationId: string): OutgoingCall {
  return {
    destination: owner,
    path: AUTHORITY_PATH,
    interface: AUTHORITY,
    member: 'CancelCheckAuthorization',
    signature: 's',
    body: [cancellationId],
  };
}

/** Reply `(bba{ss})`: authorised, challenge, details. */
function answerOf(reply: readonly unknown[]): PolkitAnswer {
  const [result] = reply;
  const [isAuthorized, isChallenge] = Array.isArray(result) ? (result as unknown[]) : [];
  if (isAuthorized === true) return 'yes';
  return isChallenge === true ? 'challenge' : 'no';
}

function isError(error: unknown, name: string): boolean {
  return error instanceof RemoteError && error.errorName === STANDARD_ERROR + name;
}

function shuttingDown(): RefusedCall {
  return new RefusedCall(refuse('ShuttingDown', 'The service is ending'));
}

interface Limits {
  readonly perSender: number;
  readonly perUid: number;
  readonly inAll: number;
}

/** Counts what is under way for whom. */
class Quota {
  readonly #limits: Limits;
  readonly #held = new Map<string | number, number>();
  #count = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#count;
  }

  async take<T>(who: { readonly sender: string; readonly uid: number }, work: () => Promise<T>): Promise<T> {
    const { perSender, perUid, inAll } = this.#limits;
    const isFull = this.#of(who.sender) >= perSender || this.#of(who.uid) >= perUid || this.#count >= inAll;
    if (isFull) {
      const text = 'Too many questions whether something is allowed are waiting for their answer';
      throw new RefusedCall(refuse('LimitsExceeded', text));
    }
    this.#add(who, 1);
    try {
      return await work();
    } finally {
      this.#add(who, -1);
    }
  }

  #of(key: string | number): number {
    return this.#held.get(key) ?? 0;
  }

  #add({ sender, uid }: { readonly sender: string; readonly uid: number }, change: 1 | -1): void {
    this.#count += change;
    for (const key of [sender, uid]) {
      const count = this.#of(key) + change;
      if (count === 0) this.#held.delete(key);
      else this.#held.set(key, count);
    }
  }
}

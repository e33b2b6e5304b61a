import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { eventually } from './eventually.ts';

/** A client of another library, another user and another process than the service, on which calls can be left open. */
export interface CallerOptions {
  readonly uid: number;
  /** The first is the primary one. */
  readonly gids: readonly number[];
}

export interface Outcome {
  /** Dotted name; '' = none. `lost`: the bus or the client has gone. */
  readonly error: string;
  readonly message: string;
  /** GVariant text; absent after an error. */
  readonly reply?: string;
}

export interface Dialogue {
  readonly dialogue: 'begin' | 'cancel';
  readonly cookie: string;
  /** With `begin`. */
  readonly action: string;
  readonly message: string;
  readonly details: Readonly<Record<string, string>>;
  /** Uids of those who may authenticate. */
  readonly identities: readonly number[];
}

export interface CallText {
  readonly interface: string;
  readonly member: string;
  /** A GVariant tuple as text; '' = no arguments. */
  readonly args: string;
}

interface Line extends Partial<Outcome>, Partial<Omit<Dialogue, 'message'>> {
  readonly id?: number;
  readonly ready?: true;
  readonly name?: string;
  readonly registered?: true;
  readonly renamed?: true;
}

export class BusCaller {
  readonly dialogues: Dialogue[] = [];
  uniqueName = '';
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #waiting = new Map<number, (outcome: Outcome) => void>();
  readonly #ended: Promise<unknown>;
  #isRegistered = false;
  #isRenamed = false;
  #lastId = 0;
  #complaints = '';

  static async start(address: string, options: CallerOptions): Promise<BusCaller> {
    // Handed over as text: the folder of the project may be closed to others.
    const script = await readFile('test/support/bus-caller.py', 'utf8');
    const caller = new BusCaller(address, options, script);
    await caller.#until('the client is on the bus', () => caller.uniqueName !== '');
    return caller;
  }

  private constructor(address: string, { uid, gids }: CallerOptions, script: string) {
    const identity = [`--reuid=${uid}`, `--regid=${gids[0]}`, `--groups=${gids.join(',')}`];
    const command = ['--inh-caps=-all', '--pdeathsig', 'KILL', '/usr/bin/python3', '-c', script];
    this.#process = spawn('setpriv', [...identity, ...command], {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8', DBUS_SYSTEM_BUS_ADDRESS: address },
    });
    this.#ended = once(this.#process, 'close').then(() => this.#end());
    this.#process.stderr.on('data', (chunk: Buffer) => (this.#complaints += chunk.toString()));
    this.#process.stdin.on('error', () => {});
    createInterface({ input: this.#process.stdout }).on('line', (line) =>
      this.#hear(JSON.parse(line) as Line),
    );
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** Resolves with the reply or error, `lost` when the client has ended or vanished; never rejects. */
  call(call: CallText, isInteractive = false): Promise<Outcome> {
    const id = ++this.#lastId;
    this.#say({ do: 'call', id, ...call, isInteractive });
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  /** Becomes the desktop that shows polkit's dialogues for this process, or for that of another client of the user. */
  async offerDialogues({ locale = 'en_US.UTF-8', pid = this.pid } = {}): Promise<void> {
    this.#say({ do: 'register', locale, pid });
    await this.#until('polkit has taken the agent', () => this.#isRegistered);
  }

  /** The next dialogue that polkit wants shown, or wants closed. */
  async dialogue(kind: Dialogue['dialogue'], count = 1): Promise<Dialogue> {
    const seen = (): readonly Dialogue[] => this.dialogues.filter(({ dialogue }) => dialogue === kind);
    await this.#until(`dialogue ${kind} number ${count}`, () => seen().length >= count);
    return seen()[count - 1] as Dialogue;
  }

  /** The person has typed or given up; says so to polkit as an agent does. */
  closeDialogue(cookie: string): void {
    this.#say({ do: 'close', cookie });
  }

  /** Gives its program another name, at most 15 bytes. */
  async rename(name: string): Promise<void> {
    this.#say({ do: 'rename', name });
    await this.#until('the client has its new name', () => this.#isRenamed);
  }

  /** Gone at once, without a word to anybody. */
  async vanish(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      process.kill(this.pid, 'SIGKILL');
      await this.#ended;
    }
  }

  #end(): void {
    const outcome = { error: 'lost', message: `the client has ended: ${this.#complaints}` };
    for (const settle of this.#waiting.values()) settle(outcome);
    this.#waiting.clear();
  }

  #say(command: object): void {
    this.#process.stdin.write(`${JSON.stringify(command)}\n`);
  }

  #hear(line: Line): void {
    if (line.ready === true) this.uniqueName = line.name ?? '';
    else if (line.registered === true) this.#isRegistered = true;
    else if (line.renamed === true) this.#isRenamed = true;
    else if (line.dialogue !== undefined) this.dialogues.push(line as Dialogue);
    else if (line.id !== undefined) {
      this.#waiting.get(line.id)?.(line as Outcome);
      this.#waiting.delete(line.id);
    }
  }

  async #until(what: string, claim: () => boolean): Promise<void> {
    await eventually(what, () => {
      if (this.#process.exitCode !== null) throw new Error(`the client ended: ${this.#complaints}`);
      return claim();
    }).catch((error: unknown) => {
      throw new Error(`${what}: ${this.#complaints}`, { cause: error });
    });
  }
}

/**
 * Everything that came of one run of a program: its session, its descendants, and whatever left both. Each run has a
 * number of its own in the environment of its first process, which every process started from there inherits; whoever
 * becomes a daemon (setsid, two forks) still has it. Only a process that did that and wiped its environment as well
 * is not found here; the control group of the unit has it (packaging/systemd/holdpointd.service).
 *
 * Knows nothing of when a run has to end.
 */
import { readdir, readFile } from 'node:fs/promises';

export const RUN_VARIABLE = 'HOLDPOINT_RUN';

/** In which process ids cannot have gone round: that takes more forks than any machine makes in it. */
const TOO_SHORT_TO_GO_ROUND_MS = 1000;

interface Facts {
  readonly pid: number;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
}

export class Run {
  /** 32 hex digits, never used twice. */
  readonly id: string;
  /** Sessions that belong to it whole. Kept: the tie to one that wiped its environment is lost when its parent ends. */
  readonly #sessions = new Set<number>();
  readonly #leader: number | null;
  readonly #begunMs = performance.now();

  /** `leader`: process id of its first process, which leads a session; null = only the number is known. */
  constructor(id: string, leader: number | null) {
    this.id = id;
    this.#leader = leader;
    if (leader !== null) this.#sessions.add(leader);
  }

  /** Sends the signal to all that is left, whole groups at a time. Resolves with how many groups there were. */
  async signal(signal: NodeJS.Signals): Promise<number> {
    const groups = new Set((await this.#processes()).map(({ group }) => group));
    for (const group of groups) {
      try {
        process.kill(-group, signal);
      } catch {
        // ESRCH: it ended in this moment.
      }
    }
    return groups.size;
  }

  /** Whether anything alive (not merely waiting to be reaped) is left. */
  async isAlive(): Promise<boolean> {
    return (await this.#processes()).length > 0;
  }

  async #processes(): Promise<readonly Facts[]> {
    const all = await this.#candidates();
    // Our own session is never part of it: this service may itself have been started from within a run that is over.
    const own = all.length === 0 ? undefined : (await factsOf(String(process.pid)))?.session;
    const others = all.filter(({ session }) => session !== own && session !== 0);
    const marker = `${RUN_VARIABLE}=${this.id}`;
    const found = new Set<Facts>();
    await Promise.all(
      others.map(async (facts) => {
        if (this.#sessions.has(facts.session) || (await isMarked(facts.pid, marker))) found.add(facts);
      }),
    );
    // Whole sessions, and the children of their members, until nothing is added.
    for (let before = -1; before !== found.size;) {
      before = found.size;
      for (const { session } of found) this.#sessions.add(session);
      const pids = new Set([...found].map(({ pid }) => pid));
      for (const facts of others) {
        if (this.#sessions.has(facts.session) || pids.has(facts.parent)) found.add(facts);
      }
    }
    return [...found];
  }

  /**
   * Every process, or those whose ids were given since the run began. Ids are given in turn, so that after a short run, as
   * most scripts are, there are few; all of /proc costs milliseconds, at every script.
   */
  async #candidates(): Promise<readonly Facts[]> {
    const leader = this.#leader;
    const isShort = performance.now() - this.#begunMs < TOO_SHORT_TO_GO_ROUND_MS;
    const newest = leader !== null && isShort ? await newestPid() : null;
    const isOfRun = (pid: number): boolean => {
      if (leader === null || newest === null) return true;
      // Below the leader: they have begun again from the lowest.
      return newest >= leader ? pid >= leader && pid <= newest : pid >= leader || pid <= newest;
    };
    const entries = (await readdir('/proc').catch(() => [])).filter(
      (name) => /^[0-9]+$/.test(name) && isOfRun(Number(name)),
    );
    const all = await Promise.all(entries.map(factsOf));
    return all.filter((facts) => facts !== null);
  }
}

/** The process id given last, in our own namespace; null = not told. */
async function newestPid(): Promise<number | null> {
  const load = await readFile('/proc/loadavg', 'latin1').catch(() => '');
  const pid = Number(load.trim().split(' ').at(-1));
  return Number.isSafeInteger(pid) && pid > 0 ? pid : null;
}

/** null = gone, or a zombie. */
async function factsOf(entry: string): Promise<Facts | null> {
  const stat = await readFile(`/proc/${entry}/stat`, 'latin1').catch(() => '');
  // The name in parentheses may hold anything; the fields after it are: state, parent, group, session.
  const [state, parent, group, session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (stat === '' || state === 'Z' || state === 'X') return null;
  return { pid: Number(entry), parent: Number(parent), group: Number(group), session: Number(session) };
}

async function isMarked(pid: number, marker: string): Promise<boolean> {
  const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
  return environment.includes(marker) && environment.split('\0').includes(marker);
}

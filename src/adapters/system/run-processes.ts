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

  /** `leader`: process id of its first process, which leads a session; null = only the number is known. */
  constructor(id: string, leader: number | null) {
    this.id = id;
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
    const all = await allProcesses();
    // Our own session is never part of it: this service may itself have been started from within a run that is over.
    const own = all.find(({ pid }) => pid === process.pid)?.session;
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
}

async function allProcesses(): Promise<readonly Facts[]> {
  const entries = (await readdir('/proc').catch(() => [])).filter((name) => /^[0-9]+$/.test(name));
  const all = await Promise.all(entries.map(factsOf));
  return all.filter((facts) => facts !== null);
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

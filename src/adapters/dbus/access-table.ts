import { readFile, stat } from 'node:fs/promises';
import type { AccessAction, AccessRule } from '../../core/access.ts';
import type { Log } from '../../ports/log.ts';
import type { Credentials } from './caller.ts';

/**
 * The access table of the configuration: it can only allow. Its names mean what /etc/passwd and /etc/group say at the
 * moment of the call, so that a user added to a group counts without a restart of the service (and, as everywhere, after
 * a new login). Users who are in neither file, for example of a directory service, are named by number.
 */
export interface AccessTableOptions {
  readonly log: Log;
  readonly passwdPath?: string;
  readonly groupPath?: string;
}

const MAX_FILE_BYTES = 4 * 1024 * 1024;

export class AccessTable {
  readonly #rules: readonly AccessRule[];
  readonly #users: NameFile;
  readonly #groups: NameFile;

  constructor(rules: readonly AccessRule[], options: AccessTableOptions) {
    this.#rules = rules;
    this.#users = new NameFile(options.passwdPath ?? '/etc/passwd', options.log);
    this.#groups = new NameFile(options.groupPath ?? '/etc/group', options.log);
  }

  /** `points`: all that it is about; a rule limited to points covers neither other ones nor none. Never rejects. */
  async allows(
    caller: Pick<Credentials, 'uid' | 'gids'>,
    action: AccessAction,
    points: readonly string[],
  ): Promise<boolean> {
    for (const rule of this.#rules) {
      if (!rule.actions.includes(action) || !covers(rule, points)) continue;
      if (await this.#isMeant(rule, caller)) return true;
    }
    return false;
  }

  async #isMeant(rule: AccessRule, { uid, gids }: Pick<Credentials, 'uid' | 'gids'>): Promise<boolean> {
    if (await this.#isNamed(rule.users, [uid], this.#users)) return true;
    if (rule.groups.length === 0) return false;
    return this.#isNamed(rule.groups, gids ?? (await this.#groupsOf(uid)), this.#groups);
  }

  async #isNamed(
    named: readonly (string | number)[],
    ids: readonly number[],
    file: NameFile,
  ): Promise<boolean> {
    for (const one of named) {
      const id = typeof one === 'number' ? one : (await file.rows()).get(one)?.id;
      if (id !== undefined && ids.includes(id)) return true;
    }
    return false;
  }

  /** For a bus that does not tell: what the files say, as the bus itself would find out for its own policy. */
  async #groupsOf(uid: number): Promise<readonly number[]> {
    const users = [...(await this.#users.rows())].filter(([, user]) => user.id === uid);
    const names = users.map(([name]) => name);
    const primary = users.map(([, user]) => Number(user.rest[0] ?? Number.NaN));
    const others = [...(await this.#groups.rows()).values()]
      .filter(({ rest }) => (rest[0] ?? '').split(',').some((member) => names.includes(member)))
      .map(({ id }) => id);
    return [...primary, ...others];
  }
}

function covers(rule: AccessRule, points: readonly string[]): boolean {
  const { points: allowed } = rule;
  if (allowed === null) return true;
  return points.length > 0 && points.every((point) => allowed.some((one) => one === point));
}

interface Row {
  readonly id: number;
  /** The fields behind the number. */
  readonly rest: readonly string[];
}

const UNREADABLE = 'unreadable';

/** `/etc/passwd` or `/etc/group`: `name:password:number:…`, read again when the file is another one or has changed. */
class NameFile {
  readonly #path: string;
  readonly #log: Log;
  #version = '';
  #rows: ReadonlyMap<string, Row> = new Map();

  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  /** Nobody while the file cannot be read. */
  async rows(): Promise<ReadonlyMap<string, Row>> {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = await stat(this.#path, { bigint: true });
      const version = [dev, ino, size, mtimeNs, ctimeNs].join(' ');
      if (version === this.#version) return this.#rows;
      if (size > MAX_FILE_BYTES) throw new Error(`it is longer than ${MAX_FILE_BYTES} bytes`);
      this.#rows = parseRows(await readFile(this.#path, 'utf8'));
      this.#version = version;
    } catch (error) {
      this.#rows = new Map();
      if (this.#version !== UNREADABLE) {
        const errorMessage = error instanceof Error ? error.message : String(error);
        this.#log.warn('Names of the access table cannot be resolved', { path: this.#path, errorMessage });
      }
      this.#version = UNREADABLE;
    }
    return this.#rows;
  }
}

/** Of a name that occurs twice the first counts, as for everybody else who reads these files. */
function parseRows(text: string): ReadonlyMap<string, Row> {
  const rows = new Map<string, Row>();
  for (const line of text.split('\n')) {
    const [name = '', , number = '', ...rest] = line.split(':');
    if (name === '' || !/^\d{1,10}$/.test(number) || rows.has(name)) continue;
    rows.set(name, { id: Number(number), rest });
  }
  return rows;
}

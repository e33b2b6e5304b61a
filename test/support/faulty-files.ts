/**
 * Two ways to make the store's files misbehave: `FaultyFiles` fails operations of the real file system (an error
 * code, a torn write, or the death of the process), `SimulatedDisk` is a file system in memory that loses what
 * was not synced when its power is cut.
 */
import type { StoreFile, StoreFiles } from '../../src/adapters/store/store-files.ts';

export const OPERATIONS = [
  'makeDirectory',
  'create',
  'overwrite',
  'write',
  'sync',
  'close',
  'read',
  'rename',
  'remove',
  'list',
  'syncFile',
  'syncDirectory',
  'freeBytes',
] as const;
export type Operation = (typeof OPERATIONS)[number];

export interface Fault {
  /** Which operations: some by name, or the n-th of all since the fault was set, from 0. */
  readonly at: Operation | readonly Operation[] | number;
  /** System error code; `CRASH` = from then on nothing happens any more, as after the death of the process. */
  readonly code: string;
  /** For a write: the share of the bytes that still gets through, 0..1. Default 0. */
  readonly tear?: number;
  /** The operation takes effect, and only its answer is lost. */
  readonly isDone?: boolean;
  /** How often it strikes; absent = until another fault is set. */
  readonly times?: number;
}

export function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: injected`), { code });
}

function isMeant({ at }: Fault, operation: Operation, index: number): boolean {
  if (typeof at === 'number') return at === index;
  return typeof at === 'string' ? at === operation : at.includes(operation);
}

export class FaultyFiles implements StoreFiles {
  readonly #real: StoreFiles;
  #fault: Fault | null = null;
  #isDead = false;
  #count = 0;
  #strikes = 0;
  readonly operations: Operation[] = [];
  readonly #onDeath: () => void;

  /** `onDeath` is called in the very moment of a `CRASH`, before the operation has failed. */
  constructor(real: StoreFiles, onDeath: () => void = () => {}) {
    this.#real = real;
    this.#onDeath = onDeath;
  }

  /** How often the present fault has struck. */
  get strikes(): number {
    return this.#strikes;
  }

  /** null = behave. Operations are counted from here. */
  setFault(fault: Fault | null): void {
    this.#fault = fault;
    this.#isDead = false;
    this.#count = 0;
    this.#strikes = 0;
    this.operations.length = 0;
  }

  async #run<R>(
    operation: Operation,
    real: () => Promise<R>,
    torn?: (share: number) => Promise<void>,
  ): Promise<R> {
    if (this.#isDead) throw systemError('CRASH');
    const index = this.#count++;
    this.operations.push(operation);
    const fault = this.#fault;
    if (!fault || !isMeant(fault, operation, index) || this.#strikes >= (fault.times ?? Infinity)) {
      return real();
    }
    this.#strikes += 1;
    if (fault.code === 'CRASH') this.#isDead = true;
    if (fault.isDone) await real();
    else if (torn) await torn(fault.tear ?? 0);
    if (fault.code === 'CRASH') this.#onDeath();
    throw systemError(fault.code);
  }

  makeDirectory(path: string): Promise<void> {
    return this.#run('makeDirectory', () => this.#real.makeDirectory(path));
  }

  async create(path: string): Promise<StoreFile> {
    return this.#guarded(await this.#opening('create', () => this.#real.create(path)));
  }

  async overwrite(path: string, bytes: number): Promise<StoreFile | null> {
    const file = await this.#opening('overwrite', () => this.#real.overwrite(path, bytes));
    return file && this.#guarded(file);
  }

  async #opening<F extends StoreFile | null>(operation: Operation, open: () => Promise<F>): Promise<F> {
    let file: F | undefined;
    try {
      return await this.#run(operation, async () => (file = await open()));
    } catch (error) {
      await file?.close();
      throw error;
    }
  }

  #guarded(real: StoreFile): StoreFile {
    let isClosed = false;
    const close = async (): Promise<void> => {
      if (isClosed) return;
      isClosed = true;
      await real.close();
    };
    // A dead process has no open files: the descriptor is closed whatever the fault says.
    const closing = async <R>(work: Promise<R>): Promise<R> => {
      try {
        return await work;
      } catch (error) {
        if (this.#isDead) await close();
        throw error;
      }
    };
    return {
      write: (bytes) =>
        closing(
          this.#run(
            'write',
            () => real.write(bytes),
            (share) => real.write(bytes.subarray(0, Math.floor(bytes.length * share))),
          ),
        ),
      sync: () => closing(this.#run('sync', () => real.sync())),
      close: async () => {
        await close();
        await this.#run('close', () => Promise.resolve());
      },
    };
  }

  read(path: string, maxBytes: number): Promise<Uint8Array> {
    return this.#run('read', () => this.#real.read(path, maxBytes));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run('rename', () => this.#real.rename(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#run('remove', () => this.#real.remove(path));
  }

  list(directory: string): Promise<readonly string[]> {
    return this.#run('list', () => this.#real.list(directory));
  }

  syncFile(path: string): Promise<void> {
    return this.#run('syncFile', () => this.#real.syncFile(path));
  }

  syncDirectory(path: string): Promise<void> {
    return this.#run('syncDirectory', () => this.#real.syncDirectory(path));
  }

  freeBytes(directory: string): Promise<number> {
    return this.#run('freeBytes', () => this.#real.freeBytes(directory));
  }
}

interface Inode {
  content: Uint8Array;
  /** What is surely on the medium; null = nothing was ever synced. */
  synced: Uint8Array | null;
  /** What it was since, oldest first: of each, some may have got through. */
  unsynced: Uint8Array[];
}

const SECTOR_BYTES = 512;

type DirectoryChange = (entries: Map<string, Inode>) => void;

/**
 * One directory in memory. After `cutPower` an unsynced new file is empty, cut short, filled with zeros or complete; of
 * one that was written over, every sector is as it was at any time since the last sync, or torn; and of the unsynced
 * changes to the directory any subset has happened, in order: more hostile than a journaling file system, about as
 * hostile as one without a journal.
 */
export class SimulatedDisk implements StoreFiles {
  #durable = new Map<string, Inode>();
  #pending: DirectoryChange[] = [];
  /** Operations left until everything throws; null = never. */
  #operationsLeft: number | null = null;
  readonly #directory: string;
  operationCount = 0;
  /** Whether the power has gone, or the process been killed, while somebody was at work. */
  get isDown(): boolean {
    return this.#operationsLeft === 0;
  }

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The power goes before the n-th operation from now, from 0. */
  cutPowerBefore(operation: number): void {
    this.#operationsLeft = operation;
  }

  /** The process is dead, but the power stays on: all that was written is there, on the medium or not. */
  kill(): void {
    this.#operationsLeft = null;
  }

  /** Puts this content there, on the medium. */
  put(name: string, content: Uint8Array): void {
    this.#durable.set(`${this.#directory}/${name}`, { content, synced: content, unsynced: [] });
  }

  /** Settles what survives, by `random` (0..1, exclusive), and switches the power on again. */
  cutPower(random: () => number): void {
    for (const change of this.#pending) if (random() < 0.5) change(this.#durable);
    this.#pending = [];
    this.#operationsLeft = null;
    for (const inode of new Set(this.#durable.values())) {
      inode.content = survivor(inode, random);
      inode.synced = inode.content;
      inode.unsynced = [];
    }
  }

  #now(): Map<string, Inode> {
    const entries = new Map(this.#durable);
    for (const change of this.#pending) change(entries);
    return entries;
  }

  #step(): void {
    this.operationCount++;
    if (this.#operationsLeft === null) return;
    if (this.#operationsLeft === 0) throw systemError('POWERCUT');
    this.#operationsLeft--;
  }

  #inode(path: string): Inode {
    const inode = this.#now().get(path);
    if (!inode) throw systemError('ENOENT');
    return inode;
  }

  async makeDirectory(): Promise<void> {
    this.#step();
  }

  async create(path: string): Promise<StoreFile> {
    this.#step();
    let inode = this.#now().get(path);
    if (inode) {
      inode.content = new Uint8Array();
    } else {
      const made: Inode = { content: new Uint8Array(), synced: null, unsynced: [] };
      inode = made;
      this.#pending.push((entries) => entries.set(path, made));
    }
    return this.#opened(inode);
  }

  async overwrite(path: string, bytes: number): Promise<StoreFile | null> {
    this.#step();
    const inode = this.#now().get(path);
    return inode && inode.content.length >= bytes ? this.#opened(inode) : null;
  }

  #opened(inode: Inode): StoreFile {
    let at = 0;
    return {
      write: async (bytes) => {
        this.#step();
        const content = new Uint8Array(Math.max(inode.content.length, at + bytes.length));
        content.set(inode.content);
        content.set(bytes, at);
        at += bytes.length;
        inode.content = content;
        inode.unsynced.push(content);
      },
      sync: async () => {
        this.#step();
        persist(inode);
      },
      close: async () => this.#step(),
    };
  }

  async syncFile(path: string): Promise<void> {
    this.#step();
    persist(this.#inode(path));
  }

  async read(path: string): Promise<Uint8Array> {
    this.#step();
    return this.#inode(path).content;
  }

  async rename(from: string, to: string): Promise<void> {
    this.#step();
    const inode = this.#inode(from);
    this.#pending.push((entries) => {
      entries.set(to, inode);
      if (entries.get(from) === inode) entries.delete(from);
    });
  }

  async remove(path: string): Promise<void> {
    this.#step();
    if (this.#now().has(path)) this.#pending.push((entries) => entries.delete(path));
  }

  async list(directory: string): Promise<readonly string[]> {
    this.#step();
    return [...this.#now().keys()]
      .filter((path) => path.startsWith(`${directory}/`))
      .map((path) => path.slice(directory.length + 1));
  }

  async syncDirectory(path: string): Promise<void> {
    this.#step();
    if (path !== this.#directory) return;
    for (const change of this.#pending) change(this.#durable);
    this.#pending = [];
  }

  async freeBytes(): Promise<number> {
    this.#step();
    return 0;
  }
}

function persist(inode: Inode): void {
  inode.synced = inode.content;
  inode.unsynced = [];
}

function survivor({ content, synced, unsynced }: Inode, random: () => number): Uint8Array {
  const pick = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T;
  if (synced === content) return content;
  if (synced === null || synced.length !== content.length) {
    const cut = Math.floor(random() * (content.length + 1));
    return pick([synced ?? new Uint8Array(), content.slice(0, cut), new Uint8Array(content.length), content]);
  }
  const versions = [synced, ...unsynced.filter(({ length }) => length === content.length)];
  const mixed = content.slice();
  // Some medium writes nearly all of it, some nearly nothing.
  const share = pick([0.05, 0.5, 0.95]);
  for (let at = 0; at < mixed.length; at += SECTOR_BYTES) {
    if (random() < share) continue;
    const end = Math.min(at + SECTOR_BYTES, mixed.length);
    const from = random() < 0.1 ? at + Math.floor(random() * (end - at)) : at;
    mixed.set(pick(versions).subarray(from, end), from);
  }
  return mixed;
}

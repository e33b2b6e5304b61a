/**
 * The loop of one target, in a thread of its own so that a hang can be ended from outside. Guided by coverage: an input
 * that reaches a branch as often as none before is kept and changed further.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { randomFrom } from '../support/random.ts';
import { mutate, type Mutator } from './mutate.ts';
import type { FuzzTarget } from './target.ts';

export interface Order {
  readonly seed: number;
  readonly maxExecutions: number;
  readonly maxMs: number;
  /** Kept inputs of earlier runs. */
  readonly corpus: readonly Uint8Array[];
  /** Bytes 0..3: executions; 4..7: length of the present input; then the input. */
  readonly shared: SharedArrayBuffer;
}

export type Report =
  | {
      readonly kind: 'finding';
      readonly input: Uint8Array;
      readonly error: string;
      readonly executions: number;
    }
  | {
      readonly kind: 'done';
      readonly executions: number;
      readonly branches: number;
      readonly kept: readonly Uint8Array[];
    };

type Counters = Record<string, number | number[]>;

/** Every counter of the instrumented sources, read and set back after each execution. */
class Coverage {
  readonly #tables: readonly Counters[];
  readonly #best = new Map<Counters, Map<string, number>>();

  constructor() {
    const files = (globalThis as { __coverage__?: Record<string, { s: Counters; b: Counters }> })
      .__coverage__;
    this.#tables = Object.values(files ?? {}).flatMap(({ s, b }) => [s, b]);
    for (const table of this.#tables) this.#best.set(table, new Map());
  }

  get size(): number {
    return [...this.#best.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** Whether the execution did something new; sets the counters back. */
  takeIn(): boolean {
    let isNew = false;
    for (const table of this.#tables) {
      const best = this.#best.get(table) as Map<string, number>;
      for (const key in table) {
        const value = table[key] as number | number[];
        if (typeof value === 'number') {
          if (value === 0) continue;
          table[key] = 0;
          isNew = raise(best, key, value) || isNew;
        } else {
          for (let at = 0; at < value.length; at += 1) {
            if (value[at] === 0) continue;
            isNew = raise(best, `${key}.${at}`, value[at] as number) || isNew;
            value[at] = 0;
          }
        }
      }
    }
    return isNew;
  }
}

/** Once, twice, up to 4, up to 8 … times are different things; a few more of the same are not. */
function raise(best: Map<string, number>, key: string, times: number): boolean {
  const level = 32 - Math.clz32(Math.min(times, 255));
  if ((best.get(key) ?? 0) >= level) return false;
  best.set(key, level);
  return true;
}

export async function work(target: FuzzTarget): Promise<void> {
  if (isMainThread || parentPort === null) throw new Error('to be run as a worker');
  const port = parentPort;
  const { seed, maxExecutions, maxMs, corpus, shared } = workerData as Order;
  const header = new Int32Array(shared, 0, 2);
  const shown = new Uint8Array(shared, 8);
  const random = randomFrom(seed);
  const mutator: Mutator = {
    random,
    dictionary: (target.dictionary ?? []).map((word) => Buffer.from(word)),
    isJson: target.isJson ?? false,
    maxBytes: target.maxBytes,
  };
  const coverage = new Coverage();
  const kept: Uint8Array[] = [];
  const fromMs = performance.now();
  let executions = 0;

  async function execute(input: Uint8Array): Promise<boolean> {
    shown.set(input.subarray(0, shown.length));
    header[1] = input.length;
    Atomics.add(header, 0, 1);
    executions += 1;
    try {
      const running = target.run(input);
      if (running !== undefined) await running;
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      port.postMessage({ kind: 'finding', input, error: text, executions } satisfies Report);
      return false;
    }
    if (!coverage.takeIn()) return true;
    kept.push(Uint8Array.from(input));
    return true;
  }

  const isOver = (): boolean => executions >= maxExecutions || performance.now() - fromMs >= maxMs;
  let isSound = true;
  for (const input of [...target.seeds(), ...corpus]) isSound = isSound && (await execute(input));
  while (isSound && !isOver()) {
    const base = kept[Math.floor(random() * kept.length)] as Uint8Array;
    const other = kept[Math.floor(random() * kept.length)] as Uint8Array;
    const changed = mutate(base, other, mutator);
    isSound = await execute(target.repair && random() < 0.8 ? target.repair(changed) : changed);
    // The parent looks whether anything still moves; messages need the event loop.
    if (executions % 4_096 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  port.postMessage({ kind: 'done', executions, branches: coverage.size, kept } satisfies Report);
}

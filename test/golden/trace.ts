/** The lines of a trace (traces/README.md has the format): of a real client, or of our service in the same situation. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

export const TRACES = resolve('test/golden/traces');

/** The first line. */
export interface TraceHead {
  readonly trace: string;
  readonly client: string;
  readonly about: string;
  /** Into mender.conf. */
  readonly conf: Readonly<Record<string, unknown>>;
  /** Faults of the server. */
  readonly serverFlags?: readonly string[];
  /** What the update module is told, `FAIL=ArtifactInstall ROLLBACK=Yes`. */
  readonly probe?: string;
}

export interface HttpLine {
  readonly t: number;
  readonly src: 'http';
  readonly method: string;
  readonly path: string;
  /** With `?`. */
  readonly query?: string;
  readonly req: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly status: number;
  readonly reply?: unknown;
  readonly contentLength?: number;
  readonly contentRange?: string;
  readonly bodyBytes?: number;
  readonly fault?: string;
}

/** A call of the update module or of a state script. */
export interface ProgramLine {
  readonly t: number;
  readonly src: 'module' | 'script';
  readonly what: string;
}

/** A call on the bus that the test made, and the answer. */
export interface DriverLine {
  readonly t: number;
  readonly src: 'driver';
  /** Interface and member. */
  readonly call: string;
  readonly args: readonly unknown[];
  readonly reply?: unknown;
  readonly error?: string;
}

/** Something that changed at the server. */
export interface ServerLine {
  readonly t: number;
  readonly src: 'server';
  readonly ev: string;
  readonly map?: Readonly<Record<string, unknown>>;
}

export interface BusLine {
  readonly t: number;
  readonly src: 'dbus';
  readonly type: string;
  readonly sender?: string;
  readonly destination?: string;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly error_name?: string;
  readonly signature?: string;
  readonly args?: readonly unknown[];
}

export type Line = HttpLine | ProgramLine | DriverLine | ServerLine | BusLine;

export interface Trace {
  /** `mender-cpp-5.1-success`; rules name traces by it. */
  readonly name: string;
  readonly head: TraceHead;
  readonly lines: readonly Line[];
}

export function readTrace(name: string): Trace {
  const [head, ...lines] = readFileSync(`${TRACES}/${name}.jsonl`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
  return { name, head: head as TraceHead, lines: lines as readonly Line[] };
}

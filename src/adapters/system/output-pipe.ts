/**
 * Pipes for the output of a child. Node connects children by socket pairs, and a program that opens
 * `/dev/stderr` then fails with ENXIO; state scripts and update modules written for real pipes do that. A named
 * pipe opened at both ends and unlinked at once behaves exactly like pipe(2).
 */
import { spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Makes FIFOs, mode 0600. Node has no mkfifo(3); one child process (about 2 ms) makes all of them. */
export async function makeFifos(paths: readonly string[]): Promise<void> {
  const child = spawn('mkfifo', ['-m', '600', '--', ...paths], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    if (complaint.length < 1000) complaint += chunk.toString('utf8');
  });
  const status = await new Promise<number | string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'));
  });
  if (status !== 0) throw new Error(`mkfifo ended with ${status}: ${complaint.trim()}`);
}

export interface OutputPipe {
  /** Our end. */
  readonly reader: Socket;
  /** The child's end: to be passed as one of its descriptors, then closed by us. */
  readonly writeFd: number;
}

/** Both ends of a pipe nobody has used yet. */
interface PipeEnds {
  readonly readFd: number;
  readonly writeFd: number;
}

/**
 * Pipes made in advance: making them takes a child process, which costs as much as a short state script itself, and
 * thirty-two cost hardly more than one. Each is used once: whoever inherits a pipe may hold it for ever.
 */
const SPARE_PIPES = 32;
const spare: PipeEnds[] = [];
let making: Promise<void> | null = null;

/** How many pipes are held for later; their descriptors are open, and closed in every child. */
export function sparePipeCount(): number {
  return spare.length;
}

/** `count` new pipes, at most 32. Rejects when none can be made; nothing stays open then. */
export async function openOutputPipes(count: number): Promise<readonly OutputPipe[]> {
  while (spare.length < count) {
    making ??= makeSparePipes().finally(() => (making = null));
    await making;
  }
  return spare.splice(0, count).map(({ readFd, writeFd }) => ({
    reader: new Socket({ fd: readFd, readable: true, writable: false }),
    writeFd,
  }));
}

/** In a temporary folder that is gone again when this resolves. */
async function makeSparePipes(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-pipe-'));
  try {
    const paths = Array.from({ length: SPARE_PIPES }, (_, index) => join(folder, String(index)));
    await makeFifos(paths);
    for (const path of paths) spare.push(openBothEnds(path));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function openBothEnds(path: string): PipeEnds {
  const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    // Never blocks: the reading end is open already.
    return { readFd, writeFd: openSync(path, constants.O_WRONLY) };
  } catch (error) {
    closeSync(readFd);
    throw error;
  }
}

/** Lets go of pipes no child was started with. */
export function closeOutputPipes(pipes: readonly OutputPipe[]): void {
  for (const pipe of pipes) {
    pipe.reader.on('error', () => {});
    pipe.reader.destroy();
    closeSync(pipe.writeFd);
  }
}

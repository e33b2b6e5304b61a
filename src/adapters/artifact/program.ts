/**
 * The engines that are programs: `xz` and `zstd`, in a process group of their own, with a memory limit, judged by
 * their exit status.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import { ArtifactError } from '../../core/artifact-error.ts';
import { UpdateError } from '../../core/errors.ts';
import { printable } from '../../core/printable.ts';
import { damaged, type Engine, type UnpackContext } from './engine.ts';
import { LIMITS } from './limits.ts';

const MIB = 1024 * 1024;
const WINDOW_MIB = LIMITS.windowBytes / MIB;

const PROGRAMS = {
  xz: {
    debianPackage: 'xz-utils',
    // xz counts its own needs as well: a dictionary of 128 MiB takes a little more than 128 MiB.
    args: ['-dc', '--format=xz', '--threads=1', '--no-sparse', `--memlimit-decompress=${WINDOW_MIB + 4}MiB`],
  },
  zstd: {
    debianPackage: 'zstd',
    args: ['-dc', '--quiet', '--no-sparse', '--no-progress', `--memory=${WINDOW_MIB}MiB`],
  },
} as const;

const MAX_COMPLAINT_BYTES = 2048;

export function startProgram(program: keyof typeof PROGRAMS, context: UnpackContext): Engine {
  const { args, debianPackage } = PROGRAMS[program];
  const child = spawn(program, args, {
    // A group of its own, so that it can be ended with whatever it may start.
    detached: true,
    cwd: '/',
    // Nothing else: XZ_OPT and its like would change what the program does.
    env: { PATH: context.searchPath, LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const exited = new Promise<Exit>((resolve) => {
    child.once('error', (error) => resolve({ code: null, signal: null, error }));
    child.once('close', (code, signal) => resolve({ code, signal, error: null }));
  });
  if (!hasPipes(child)) {
    const message = `unpacking ${context.member}: ${program} could not be started: no file descriptors left`;
    throw new UpdateError('internal', message, { details: { program, member: context.member } });
  }
  const complaint = collectComplaint(child.stderr);
  const judge = (exit: Exit): UpdateError | null =>
    verdict(program, debianPackage, exit, complaint(), context.member);
  return {
    sink: child.stdin,
    output: child.stdout,
    failed: exited.then((exit) => {
      const error = judge(exit);
      return error === null ? new Promise<never>(() => undefined) : Promise.reject(error);
    }),
    settle: async (input) => {
      const error = judge(await exited);
      if (error !== null) throw error;
      if (input.isEnded && child.stdin.writableFinished) return;
      throw damaged(context.member, `data behind the end of the ${program} stream`, 'its end');
    },
    stop: async () => {
      killGroup(child);
      child.stdin.destroy();
      child.stdout.destroy();
      child.stderr.destroy();
      await exited;
    },
  };
}

/** Without descriptors for its pipes a child has none, whatever its type says; its `error` event comes later. */
function hasPipes(child: ChildProcess): boolean {
  return Boolean(child.stdin && child.stdout && child.stderr);
}

interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
  /** The program could not be started. */
  readonly error: Error | null;
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}

function collectComplaint(stderr: Readable): () => string {
  let text = '';
  stderr.on('error', () => undefined);
  stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(0, MAX_COMPLAINT_BYTES);
  });
  return () => printable(text.trim().replace(/\s+/g, ' ')).slice(0, 200);
}

/** null = all was well. */
function verdict(
  program: string,
  debianPackage: string,
  exit: Exit,
  complaint: string,
  member: string,
): UpdateError | null {
  if (exit.code === 0) return null;
  const details = { program, member };
  if (exit.error !== null && (exit.error as NodeJS.ErrnoException).code === 'ENOENT') {
    return new UpdateError(
      'incompatible',
      `unpacking ${member} needs the program ${program}, which is not on this device: install the Debian package ${debianPackage}`,
      { cause: exit.error, details: { ...details, package: debianPackage } },
    );
  }
  if (exit.error !== null) {
    return new UpdateError(
      'internal',
      `unpacking ${member}: ${program} could not be started: ${exit.error.message}`,
      {
        cause: exit.error,
        details,
      },
    );
  }
  if (exit.signal !== null) {
    return new UpdateError('internal', `unpacking ${member}: ${program} was ended by ${exit.signal}`, {
      details,
    });
  }
  if (/memory|window size/i.test(complaint)) {
    return new ArtifactError('too-large', {
      where: member,
      found: `${program} data that needs too much memory ("${complaint}")`,
      expected: `a window of at most ${WINDOW_MIB} MiB`,
    });
  }
  return damaged(member, `${program} data refused with "${complaint}"`, `a complete ${program} stream`);
}

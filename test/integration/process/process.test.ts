import { chmod, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sparePipeCount } from '../../../src/adapters/system/output-pipe.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import {
  headSink,
  lineSink,
  startProcess,
  tailSink,
  type OutputSink,
  type ProcessRequest,
} from '../../../src/adapters/system/process.ts';
import { HandClock, realClock } from '../../support/clocks.ts';
import { eventually } from '../../support/eventually.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-process-'));
});
afterEach(async () => {
  for (const name of (await readdir(folder)).filter((entry) => entry.endsWith('.pid'))) {
    const pid = Number(await readFile(join(folder, name), 'utf8'));
    if (pid > 1) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone already.
      }
    }
  }
  await rm(folder, { recursive: true, force: true });
});

function shell(script: string, more: Partial<ProcessRequest> = {}): ProcessRequest {
  return {
    command: '/bin/sh',
    args: ['-c', script],
    cwd: folder,
    timeoutMs: 20_000,
    graceMs: 300,
    clock: realClock,
    errorKind: 'script',
    ...more,
  };
}

function collect(): OutputSink & { readonly lines: string[]; isEnded: boolean } {
  const lines: string[] = [];
  const inner = lineSink({ onLine: (line, isCut) => lines.push(isCut ? `${line}[cut]` : line) });
  const sink = {
    lines,
    isEnded: false,
    write: (chunk: Buffer) => inner.write(chunk),
    end: () => {
      inner.end();
      sink.isEnded = true;
    },
  };
  return sink;
}

async function pidFrom(name: string): Promise<number> {
  let pid = 0;
  await eventually(`${name} holds a process id`, async () => {
    pid = Number(await readFile(join(folder, name), 'utf8').catch(() => ''));
    return pid > 0;
  });
  return pid;
}

async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  return stat !== '' && stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z';
}

/** Pipes only: other descriptors of the test runner come and go. Those held for later are not counted. */
async function openPipes(): Promise<number> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  const open = links.filter((link) => link.includes('holdpoint-pipe') || link.startsWith('pipe:')).length;
  return open - 2 * sparePipeCount();
}

describe('a child process', () => {
  it('reports the exit status and delivers both outputs by lines', async () => {
    const stdout = collect();
    const stderr = collect();
    const running = await startProcess(
      shell('echo one; echo two >&2; printf "last without end"; exit 7', { stdout, stderr }),
    );
    expect(await running.ended).toEqual({ reason: 'itself', exitCode: 7, signal: null });
    expect(stdout.lines).toEqual(['one', 'last without end']);
    expect(stderr.lines).toEqual(['two']);
    expect(stdout.isEnded && stderr.isEnded).toBe(true);
  });

  it('reports the signal it died of', async () => {
    const running = await startProcess(shell('kill -SEGV $$'));
    expect(await running.ended).toEqual({ reason: 'itself', exitCode: null, signal: 'SIGSEGV' });
  });

  it('may open /dev/stderr and /dev/stdout by name, as with the pipes of a shell', async () => {
    const stdout = collect();
    const stderr = collect();
    const running = await startProcess(
      shell('echo to-err > /dev/stderr && echo to-out > /dev/stdout', { stdout, stderr }),
    );
    expect((await running.ended).exitCode).toBe(0);
    expect([stdout.lines, stderr.lines]).toEqual([['to-out'], ['to-err']]);
  });

  it('has an empty standard input, our environment, and a process group of its own', async () => {
    const stdout = collect();
    process.env['HOLDPOINT_TEST_VALUE'] = 'inherited';
    const running = await startProcess(
      shell('wc -c; echo $HOLDPOINT_TEST_VALUE; cut -d" " -f5 /proc/$$/stat; pwd', { stdout }),
    );
    await running.ended;
    delete process.env['HOLDPOINT_TEST_VALUE'];
    expect(stdout.lines).toEqual(['0', 'inherited', String(running.pid), folder]);
  });

  it('loses no output of a child that writes a lot and exits at once', async () => {
    for (let round = 0; round < 10; round++) {
      let bytes = 0;
      const running = await startProcess(
        shell('head -c 3000000 /dev/zero', { stdout: { write: (c) => (bytes += c.length), end() {} } }),
      );
      await running.ended;
      expect(bytes).toBe(3_000_000);
    }
  });

  it('leaves no pipe descriptor, temporary folder or zombie behind', async () => {
    await (
      await startProcess(shell('true', { stdout: collect(), stderr: collect() }))
    ).ended;
    const before = await openPipes();
    const foldersBefore = (await readdir(tmpdir())).filter((n) => n.startsWith('holdpoint-pipe-')).length;
    for (let round = 0; round < 20; round++) {
      const script = round % 3 === 0 ? 'sleep 60' : 'echo x';
      const running = await startProcess(
        shell(script, { stdout: collect(), stderr: collect(), timeoutMs: round % 3 === 0 ? 30 : 5000 }),
      );
      await running.ended;
      expect(await readFile(`/proc/${running.pid}/stat`, 'latin1').catch(() => 'gone')).toBe('gone');
    }
    await eventually('descriptors closed', async () => (await openPipes()) <= before, 2000);
    const foldersAfter = (await readdir(tmpdir())).filter((n) => n.startsWith('holdpoint-pipe-')).length;
    expect(foldersAfter).toBeLessThanOrEqual(foldersBefore + 2);
  });
});

describe('a time limit', () => {
  it('ends the child by SIGTERM and says so', async () => {
    const running = await startProcess(shell('exec sleep 60', { timeoutMs: 100 }));
    expect(await running.ended).toEqual({ reason: 'timeout', exitCode: null, signal: 'SIGTERM' });
  });

  it('ends a child that ignores SIGTERM, and its children, by SIGKILL after the grace period', async () => {
    const running = await startProcess(
      shell(
        `trap '' TERM; (trap '' TERM; echo $$ >/dev/null; while :; do sleep 1; done) & echo $! > g.pid; while :; do sleep 1; done`,
        { timeoutMs: 300, stdout: collect() },
      ),
    );
    const grandchild = await pidFrom('g.pid');
    const startMs = performance.now();
    expect(await running.ended).toEqual({ reason: 'timeout', exitCode: null, signal: 'SIGKILL' });
    expect(performance.now() - startMs).toBeGreaterThan(250);
    expect(await isAlive(grandchild)).toBe(false);
  });

  it('kills a grandchild that ignores SIGTERM although the child itself obeyed', async () => {
    const running = await startProcess(
      shell(`sh -c 'trap "" TERM; echo $$ > g.pid; while :; do sleep 1; done' & wait`, { timeoutMs: 400 }),
    );
    const grandchild = await pidFrom('g.pid');
    const end = await running.ended;
    expect(end).toMatchObject({ reason: 'timeout', signal: 'SIGTERM' });
    expect(await isAlive(grandchild)).toBe(false);
  });

  it('lets a child use the grace period to end in its own way', async () => {
    const running = await startProcess(
      shell(`trap 'echo cleaned > trace; exit 3' TERM; while :; do sleep 0.02; done`, {
        timeoutMs: 200,
        graceMs: 5000,
      }),
    );
    expect(await running.ended).toEqual({ reason: 'timeout', exitCode: 3, signal: null });
    expect(await readFile(join(folder, 'trace'), 'utf8')).toBe('cleaned\n');
  });

  it('is measured by the clock it was given', async () => {
    const clock = new HandClock();
    const running = await startProcess(shell('exec sleep 60', { clock, timeoutMs: 14_400_000 }));
    clock.advance(14_399_999);
    expect(await Promise.race([running.exited, new Promise((r) => setTimeout(() => r('alive'), 50))])).toBe(
      'alive',
    );
    clock.advance(1);
    expect((await running.ended).reason).toBe('timeout');
    expect(clock.waitingMs).toEqual([]);
  });
});

describe('an abort', () => {
  it('ends the whole group', async () => {
    const abort = new AbortController();
    const running = await startProcess(
      shell('sleep 60 & echo $! > g.pid; wait', { signal: abort.signal, stdout: collect() }),
    );
    const grandchild = await pidFrom('g.pid');
    abort.abort();
    expect((await running.ended).reason).toBe('abort');
    expect(await isAlive(grandchild)).toBe(false);
  });

  it('that has happened before means the program is never started', async () => {
    const error = await startProcess(shell('touch started', { signal: AbortSignal.abort() })).catch((e) => e);
    expect(error).toBeInstanceOf(UpdateError);
    expect(error.kind).toBe('cancelled');
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('processes that outlive the child', () => {
  it('may go on after a normal end, and do not delay it by holding the pipes', async () => {
    const stdout = collect();
    const startMs = performance.now();
    const running = await startProcess(shell('sleep 60 & echo $! > g.pid; echo done', { stdout }));
    expect((await running.ended).exitCode).toBe(0);
    expect(performance.now() - startMs).toBeLessThan(5000);
    expect(stdout.lines).toEqual(['done']);
    expect(await isAlive(await pidFrom('g.pid'))).toBe(true);
  });

  it('are ended by a timeout although they left the group with setsid and a double fork, and ignore SIGTERM', async () => {
    const running = await startProcess(
      shell(
        `trap '' TERM; setsid sh -c 'trap "" TERM; sh -c "echo \\$\\$ > esc.pid; exec sleep 60" & exit' ; sleep 60`,
        { timeoutMs: 600, graceMs: 100, stdout: collect(), stderr: collect() },
      ),
    );
    const escaped = await pidFrom('esc.pid');
    expect((await running.ended).reason).toBe('timeout');
    expect(await isAlive(escaped)).toBe(false);
  });

  it('are ended also when they wiped their environment, as long as their parent is one of ours', async () => {
    const running = await startProcess(
      shell(
        `trap '' TERM; setsid env -i /bin/sh -c 'trap "" TERM; echo $$ > esc.pid; while :; do sleep 1; done'`,
        {
          timeoutMs: 600,
          graceMs: 100,
        },
      ),
    );
    const escaped = await pidFrom('esc.pid');
    expect((await running.ended).reason).toBe('timeout');
    expect(await isAlive(escaped)).toBe(false);
  });

  it('are ended while they go on forking', async () => {
    const forks = `while :; do setsid sh -c 'echo $$ >> forks; sleep 60' & sleep 0.01; done`;
    const running = await startProcess(shell(forks, { timeoutMs: 500, graceMs: 100 }));
    expect((await running.ended).reason).toBe('timeout');
    const pids = (await readFile(join(folder, 'forks'), 'utf8')).trim().split('\n').map(Number);
    expect(pids.length).toBeGreaterThan(2);
    expect(await Promise.all(pids.map(isAlive))).toEqual(pids.map(() => false));
  });

  it('cannot keep the end away by flooding the pipe', async () => {
    const running = await startProcess(
      shell('yes & echo $! > g.pid; exit 0', { stdout: { write() {}, end() {} } }),
    );
    const startMs = performance.now();
    expect((await running.ended).exitCode).toBe(0);
    expect(performance.now() - startMs).toBeLessThan(6000);
    // Its pipe is closed, so it dies of SIGPIPE.
    const flooder = await pidFrom('g.pid');
    await eventually('the flooder is gone', async () => !(await isAlive(flooder)));
  });
});

describe('a program that cannot be started', () => {
  it.each([
    ['missing', '/nonexistent/program', 'ENOENT', 'no such program'],
    ['a folder', '/tmp', 'EACCES', 'no permission'],
  ])('is refused with its reason: %s', async (_name, command, code, words) => {
    const error = await startProcess(shell('', { command, stdout: collect() })).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UpdateError);
    expect(error).toMatchObject({ kind: 'script', details: { program: command, 'error-code': code } });
    expect((error as Error).message).toContain(words);
  });

  it('is refused when not executable', async () => {
    const path = join(folder, 'plain');
    await writeFile(path, '#!/bin/sh\n', { mode: 0o644 });
    await expect(startProcess(shell('', { command: path }))).rejects.toMatchObject({
      details: { 'error-code': 'EACCES' },
    });
  });

  it('is refused when it is for another machine, or no program at all, and not run as shell commands', async () => {
    const foreign = await readFile('/bin/true');
    foreign.writeUInt16LE(process.arch === 's390x' ? 62 : 22, 18);
    for (const [name, bytes] of [
      ['foreign', foreign],
      ['text', Buffer.from('touch ran\n')],
      ['noise', Buffer.from([0, 1, 2, 3])],
      ['empty', Buffer.alloc(0)],
    ] as const) {
      await writeFile(join(folder, name), bytes);
      await chmod(join(folder, name), 0o755);
      await expect(startProcess(shell('', { command: join(folder, name) }))).rejects.toMatchObject({
        kind: 'script',
        details: { 'error-code': 'ENOEXEC' },
      });
    }
    expect(await readdir(folder)).not.toContain('ran');
  });

  it('names a missing interpreter and a missing working folder', async () => {
    const path = join(folder, 'odd');
    await writeFile(path, '#!/nonexistent/interpreter\n');
    await chmod(path, 0o755);
    await expect(startProcess(shell('', { command: path }))).rejects.toThrow('interpreter');
    await expect(startProcess(shell('true', { cwd: join(folder, 'none') }))).rejects.toThrow(
      'working folder',
    );
  });

  it('does not leak the pipes made for it', async () => {
    const before = await openPipes();
    for (let round = 0; round < 10; round++) {
      await startProcess(shell('', { command: '/none', stdout: collect(), stderr: collect() })).catch(
        () => {},
      );
    }
    await eventually('descriptors closed', async () => (await openPipes()) <= before, 2000);
  });
});

describe('output', () => {
  it('in one endless line is cut and marked', async () => {
    const stdout = collect();
    await (
      await startProcess(shell('head -c 1000000 /dev/zero | tr "\\0" x; echo; echo next', { stdout }))
    ).ended;
    expect(stdout.lines.map((line) => line.length)).toEqual([65536 + '[cut]'.length, 4]);
    expect(stdout.lines[0]!.endsWith('x[cut]')).toBe(true);
  });

  it('of 10 MiB on stderr neither blocks the child nor grows the memory of a bounded sink', async () => {
    const tail = tailSink(10_240);
    const running = await startProcess(
      shell('yes "some line of errors" | head -c 10485760 >&2; echo end >&2', { stderr: tail }),
    );
    expect((await running.ended).exitCode).toBe(0);
    expect(Buffer.byteLength(tail.text())).toBeLessThanOrEqual(10_240);
    expect(tail.text().endsWith('end\n')).toBe(true);
    expect(tail.cutBytes + Buffer.byteLength(tail.text())).toBe(10_485_764);
  });

  it('over a line budget is counted, not kept', () => {
    const lines: string[] = [];
    let dropped = 0;
    const sink = lineSink({
      onLine: (line) => lines.push(line),
      maxTotalBytes: 10,
      onDropped: (bytes) => (dropped = bytes),
    });
    sink.write(Buffer.from('abc\ndef\nghijkl\nmno\n'));
    sink.write(Buffer.from('more\n'));
    sink.end();
    expect(lines).toEqual(['abc', 'def', 'gh']);
    expect(dropped).toBe(14);
  });

  it('split in the middle of a character or line end comes out whole', () => {
    const lines: string[] = [];
    const sink = lineSink({ onLine: (line) => lines.push(line) });
    const bytes = Buffer.from('größe\r\n\n€\n');
    for (const byte of bytes) sink.write(Buffer.from([byte]));
    sink.end();
    expect(lines).toEqual(['größe', '', '€']);
  });

  it('over the limit of a head is refused once', () => {
    let overflows = 0;
    const sink = headSink(4, () => overflows++);
    for (const piece of ['ab', 'cd', 'ef', 'gh']) sink.write(Buffer.from(piece));
    expect([sink.text(), overflows]).toEqual(['abcd', 1]);
  });
});

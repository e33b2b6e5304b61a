import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockDatastore } from '../../../src/adapters/system/lock.ts';
import { UpdateError } from '../../../src/core/errors.ts';

const LOCKER = fileURLToPath(new URL('locker.ts', import.meta.url));

class Locker {
  readonly process: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor(directory: string, prefix: readonly string[] = []) {
    const argv = [...prefix, process.execPath, '--import', 'tsx', LOCKER, directory];
    this.process = spawn(argv[0] ?? '', argv.slice(1), { stdio: ['pipe', 'pipe', 'pipe'] });
    this.process.stderr.pipe(process.stderr);
    this.#lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
  }

  async say(word: string): Promise<string> {
    this.process.stdin.write(`${word}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the locker ended before it answered ${word}`);
    return value;
  }

  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exited = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await exited;
  }
}

let root: string;
let directory: string;
let lockers: Locker[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-lock-'));
  directory = join(root, 'holdpoint');
  lockers = [];
});

afterEach(async () => {
  for (const locker of lockers) await locker.kill();
  await rm(root, { recursive: true, force: true });
});

function locker(where = directory, prefix: readonly string[] = []): Locker {
  const one = new Locker(where, prefix);
  lockers.push(one);
  return one;
}

async function rejection(promise: Promise<unknown>): Promise<UpdateError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UpdateError);
  return error as UpdateError;
}

describe('the datastore lock', () => {
  it('names the holder to whoever comes second', async () => {
    const holder = locker();
    expect(await holder.say('lock')).toBe('won');
    const error = await rejection(lockDatastore({ directory, command: 'holdpoint install' }));
    expect(error.kind).toBe('wrongState');
    expect(error.details).toMatchObject({
      reason: 'datastore-in-use',
      'holder-pid': holder.process.pid,
      'holder-command': 'locker',
    });
    expect(Math.abs(Date.now() - Date.parse(String(error.details['holder-since'])))).toBeLessThan(60_000);
    expect(error.message).toContain(`locker (process ${holder.process.pid})`);
  });

  it('creates a private directory and removes the name when released', async () => {
    const lock = await lockDatastore({ directory, command: 'test' });
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect(JSON.parse(await readFile(join(directory, 'lock-holder.json'), 'utf8'))).toMatchObject({
      pid: process.pid,
      command: 'test',
    });
    await lock.release();
    await lock.release();
    await expect(stat(join(directory, 'lock-holder.json'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('excludes a second lock in the same process too', async () => {
    const lock = await lockDatastore({ directory, command: 'first' });
    expect((await rejection(lockDatastore({ directory, command: 'second' }))).details['holder-command']).toBe(
      'first',
    );
    await lock.release();
    await (await lockDatastore({ directory, command: 'second' })).release();
  });

  it('is free at once when its holder is killed, even if a process the holder started lives on', async () => {
    for (let round = 0; round < 5; round++) {
      const holder = locker();
      expect(await holder.say('lock')).toBe('won');
      const left = Number((await holder.say('spawn')).split(' ')[1]);
      try {
        await holder.kill();
        const lock = await lockDatastore({ directory, command: 'next' });
        await lock.release();
      } finally {
        process.kill(left, 'SIGKILL');
      }
    }
  });

  it('has exactly one winner each time two processes race for it', async () => {
    const both = [locker(), locker()] as const;
    const wins = [0, 0];
    for (let round = 0; round < 100; round++) {
      const answers = await Promise.all(both.map((one) => one.say('lock')));
      const winner = answers.indexOf('won');
      const loser = 1 - winner;
      expect(answers.filter((answer) => answer === 'won')).toHaveLength(1);
      expect(JSON.parse(answers[loser]?.slice(5) ?? '')).toMatchObject({
        kind: 'wrongState',
        'holder-pid': both[winner]?.process.pid,
      });
      wins[winner] = (wins[winner] ?? 0) + 1;
      expect(await both[winner]?.say('release')).toBe('released');
    }
    expect((wins[0] ?? 0) + (wins[1] ?? 0)).toBe(100);
  }, 60_000);

  it('ignores leftovers: a stale name, a name of a living process, and nonsense', async () => {
    await mkdir(directory);
    for (const text of [
      JSON.stringify({ pid: 999_999_9, command: 'gone', since: '2020-01-01T00:00:00Z' }),
      JSON.stringify({ pid: 1, command: 'reused', since: '2020-01-01T00:00:00Z' }),
      '{"pid":',
    ]) {
      await writeFile(join(directory, 'lock-holder.json'), text);
      await (await lockDatastore({ directory, command: 'test' })).release();
    }
  });

  it('still excludes, without a name, when the name cannot be read', async () => {
    const holder = locker();
    expect(await holder.say('lock')).toBe('won');
    await writeFile(join(directory, 'lock-holder.json'), 'nonsense');
    const error = await rejection(lockDatastore({ directory, command: 'second' }));
    expect(error.kind).toBe('wrongState');
    expect(error.message).toContain('has not left its name');
  });

  it('follows the directory, not its path', async () => {
    const lock = await lockDatastore({ directory, command: 'test' });
    await rename(directory, join(root, 'moved'));
    expect((await rejection(lockDatastore({ directory: join(root, 'moved'), command: 'x' }))).kind).toBe(
      'wrongState',
    );
    await lock.release();
  });

  it.skipIf(process.getuid?.() !== 0)(
    'excludes across other mount, pid and network namespaces that see the same directory elsewhere',
    async () => {
      const other = join(root, 'other-path');
      await mkdir(other);
      await mkdir(directory);
      const script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"';
      const inside = locker(other, [
        'unshare',
        '--mount',
        '--net',
        '--pid',
        '--fork',
        '--mount-proc',
        '--kill-child',
        'sh',
        '-c',
        script,
        'sh',
        directory,
        other,
      ]);
      expect(await inside.say('lock')).toBe('won');
      expect(
        (await rejection(lockDatastore({ directory, command: 'outside' }))).details['holder-command'],
      ).toBe('locker');
      expect(await inside.say('release')).toBe('released');
      const lock = await lockDatastore({ directory, command: 'outside' });
      expect(await inside.say('lock')).toMatch(/^lost .*"holder-command":"outside"/);
      await lock.release();
    },
  );

  it('says which program is missing', async () => {
    const error = await rejection(
      lockDatastore({ directory, command: 'x', flockProgram: '/nonexistent/flock' }),
    );
    expect(error.kind).toBe('store');
    expect(error.message).toContain('/nonexistent/flock is missing (package util-linux)');
  });

  it('does not take a helper that fails in its own way for a lock or for a holder', async () => {
    const program = join(root, 'flock');
    for (const body of ['echo "bad file descriptor" >&2; exit 1', 'exit 64', 'kill -9 $$']) {
      await writeFile(program, `#!/bin/sh\n${body}\n`);
      await chmod(program, 0o755);
      expect((await rejection(lockDatastore({ directory, command: 'x', flockProgram: program }))).kind).toBe(
        'store',
      );
    }
  });

  it('says what is in the way when the datastore is not a directory', async () => {
    await writeFile(directory, '');
    const error = await rejection(lockDatastore({ directory, command: 'x' }));
    expect(error.kind).toBe('store');
    expect(error.message).toContain(directory);
  });

  it.skipIf(spawnSync('busybox', ['flock', '--help']).status !== 0)(
    'works with the flock of busybox',
    async () => {
      const program = join(root, 'flock');
      await writeFile(program, '#!/bin/sh\nexec busybox flock "$@"\n');
      await chmod(program, 0o755);
      const lock = await lockDatastore({ directory, command: 'first', flockProgram: program });
      expect((await rejection(lockDatastore({ directory, command: 'x', flockProgram: program }))).kind).toBe(
        'wrongState',
      );
      await lock.release();
    },
  );
});

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ArtifactError } from '../../../src/core/artifact-error.ts';
import { eventually } from '../../support/eventually.ts';
import { artifact, device, file, makeBench, never, payload, removeBenches, type Bench } from './support.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await makeBench();
  await bench.modules.prepareTree(artifact(), device);
});
afterEach(async () => {
  for (const name of await readdir(bench.control)) {
    if (!name.endsWith('.pid')) continue;
    const pid = Number(await readFile(join(bench.control, name), 'utf8'));
    try {
      if (pid > 1) process.kill(pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
  await removeBenches();
});

const inControl = (name: string): Promise<string> => readFile(join(bench.control, name), 'utf8');
const inTree = (name: string): Promise<string> => readFile(join(bench.treeDir, name), 'utf8');
const failure = (work: Promise<unknown>): Promise<any> =>
  work.then(
    () => expect.fail('it should have been rejected'),
    (error: unknown) => error,
  );

/** Reads as the protocol says and keeps what it got. */
const STREAMER = `
case "$1" in
  Download*)
    while :; do
      line=$(cat stream-next)
      [ -n "$line" ] || break
      echo "$line" >> "$CONTROL/announced"
      name=\${line#streams/}
      [ "$1" = DownloadWithFileSizes ] && name=\${name% *}
      cat "streams/$name" > "$CONTROL/got.$name" || exit 1
    done ;;
esac`;

describe('Download with a module that streams', () => {
  it('hands over every file by name, then the read of length zero', async () => {
    await bench.module('probe', STREAMER);
    const files = payload([file('a.img', ['hello ', 'world']), file('b', ['x'])]);
    await bench.modules.download('probe', files, never);
    expect(await inControl('announced')).toBe('streams/a.img\nstreams/b\n');
    expect(await inControl('got.a.img')).toBe('hello world');
    expect(await inControl('got.b')).toBe('x');
    expect(files.seen).toMatchObject({ taken: ['a.img', 'b'], isFinished: true });
  });

  it('announces sizes to a module that asked for them', async () => {
    await bench.module('probe', `[ "$1" = ProvidePayloadFileSizes ] && echo Yes\n${STREAMER}`);
    await bench.modules.download('probe', payload([file('a b', ['12345']), file('e', [])]), never);
    expect(await inControl('announced')).toBe('streams/a b 5\nstreams/e 0\n');
    expect(await inControl('got.a b')).toBe('12345');
    expect(await inControl('got.e')).toBe('');
  });

  it('removes the named pipes afterwards and makes no files folder', async () => {
    await bench.module('probe', STREAMER);
    await bench.modules.download('probe', payload([file('a', ['1'])]), never);
    const left = await readdir(bench.treeDir);
    expect(left.filter((name) => ['stream-next', 'streams', 'files'].includes(name))).toEqual([]);
  });

  it('makes the pipes with mode 0600 inside the tree', async () => {
    await bench.module(
      'probe',
      `case "$1" in Download) stat -c '%F %a' stream-next > $CONTROL/modes; l=$(cat stream-next); stat -c '%F %a' "$l" >> $CONTROL/modes; cat "$l" >/dev/null; cat stream-next;; esac`,
    );
    await bench.modules.download('probe', payload([file('a', ['1'])]), never);
    expect(await inControl('modes')).toBe('fifo 600\nfifo 600\n');
  });

  it('takes names that begin with a dash, zero-length files, and no files at all', async () => {
    await bench.module('probe', STREAMER);
    await bench.modules.download('probe', payload([file('-rf', ['dash']), file('empty', [])]), never);
    expect(await inControl('got.-rf')).toBe('dash');
    expect(await inControl('got.empty')).toBe('');
    await bench.modules.prepareTree(artifact(), device);
    await bench.modules.download('probe', payload([]), never);
    expect(await inControl('announced')).toBe('streams/-rf\nstreams/empty\n');
  });

  it('carries 20 MiB of random bytes in odd chunks unchanged, even when the buffer is used again', async () => {
    await bench.module('probe', STREAMER);
    const hash = createHash('sha256');
    let sizeBytes = 0;
    const sizes = [1, 65_535, 65_536, 65_537, 1_048_576, 3, 200_001];
    const total = Array.from({ length: 120 }, (_, i) => sizes[i % sizes.length]!).reduce((a, b) => a + b, 0);
    const shared = Buffer.alloc(1_048_576);
    const content = (async function* () {
      for (let index = 0; index < 120; index++) {
        const chunk = shared.subarray(0, sizes[index % sizes.length]!);
        for (let at = 0; at < chunk.length; at += 4096) chunk[at] = (index * 7 + at) & 0xff;
        hash.update(chunk);
        sizeBytes += chunk.length;
        yield chunk;
      }
    })();
    await bench.modules.download('probe', payload([file('r', content, { sizeBytes: total })]), never);
    const got = await readFile(join(bench.control, 'got.r'));
    expect(got.length).toBe(sizeBytes);
    expect(createHash('sha256').update(got).digest('hex')).toBe(hash.digest('hex'));
  });

  it('waits for a module that reads slowly, holding little in memory', async () => {
    await bench.module(
      'probe',
      `case "$1" in Download) l=$(cat stream-next); while dd bs=65536 count=4 iflag=fullblock 2>/dev/null | [ $(wc -c) -gt 0 ]; do sleep 0.02; done < "$l"; cat stream-next;; esac`,
    );
    let produced = 0;
    let most = 0;
    const content = (async function* () {
      const chunk = Buffer.alloc(65_536);
      for (let index = 0; index < 256; index++) {
        produced += chunk.length;
        most = Math.max(most, process.memoryUsage().arrayBuffers);
        yield chunk;
      }
    })();
    const startMs = performance.now();
    const before = process.memoryUsage().arrayBuffers;
    await bench.modules.download('probe', payload([file('r', content, { sizeBytes: 16_777_216 })]), never);
    expect(produced).toBe(16_777_216);
    expect(performance.now() - startMs).toBeGreaterThan(600);
    expect(most - before).toBeLessThan(8 * 1024 * 1024);
  });

  it('lets the module read the first line late', async () => {
    await bench.module('probe', `[ "$1" = Download ] && sleep 0.4\n${STREAMER}`);
    await bench.modules.download('probe', payload([file('a', ['late'])]), never);
    expect(await inControl('got.a')).toBe('late');
  });
});

describe('Download with a module that does not stream', () => {
  it('stores the files with mode 0600 and takes the pipes away', async () => {
    await bench.module('probe', 'exit 0');
    const files = payload([file('-a', ['one ', 'two']), file('zero', [])]);
    await bench.modules.download('probe', files, never);
    expect(await inTree('files/-a')).toBe('one two');
    expect(await inTree('files/zero')).toBe('');
    expect((await stat(join(bench.treeDir, 'files/-a'))).mode & 0o777).toBe(0o600);
    expect((await stat(join(bench.treeDir, 'files'))).mode & 0o777).toBe(0o700);
    expect((await readdir(bench.treeDir)).sort()).toEqual([
      'current_artifact_group',
      'current_artifact_name',
      'current_device_type',
      'files',
      'header',
      'tmp',
      'version',
    ]);
    expect(files.seen.isFinished).toBe(true);
  });

  it('makes the folder even for no files', async () => {
    await bench.module('probe', 'exit 0');
    await bench.modules.download('probe', payload([]), never);
    expect(await readdir(join(bench.treeDir, 'files'))).toEqual([]);
  });

  it('stores chunks of any size in order', async () => {
    await bench.module('probe', 'exit 0');
    const chunks = [3, 1_048_576, 1_048_577, 500_000, 700_000, 2_500_000, 1].map((size, index) =>
      Buffer.alloc(size, index + 1),
    );
    await bench.modules.download('probe', payload([file('big', chunks)]), never);
    expect(Buffer.concat(chunks).equals(await readFile(join(bench.treeDir, 'files/big')))).toBe(true);
  });

  it('reports the error of the source as it is', async () => {
    await bench.module('probe', 'exit 0');
    const error = new ArtifactError('checksum-mismatch', { where: 'a', found: '1', expected: '2' });
    expect(
      await failure(bench.modules.download('probe', payload([file('a', ['x'], { error })]), never)),
    ).toBe(error);
  });

  it('refuses a name that would leave the folder', async () => {
    await bench.module('probe', 'exit 0');
    for (const name of ['../evil', '..', '', 'a/b']) {
      await bench.modules.prepareTree(artifact(), device);
      const error = await failure(bench.modules.download('probe', payload([file(name, ['x'])]), never));
      expect(error).toMatchObject({ kind: 'module' });
    }
  });

  it('is cancelled by an abort while the source hangs', async () => {
    await bench.module('probe', 'exit 0');
    const abort = new AbortController();
    const content: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }),
    };
    const work = failure(bench.modules.download('probe', payload([file('a', content)]), abort.signal));
    await eventually('file begun', async () =>
      (await readdir(join(bench.treeDir, 'files')).catch((): string[] => [])).includes('a'),
    );
    abort.abort();
    expect(await work).toMatchObject({ kind: 'cancelled' });
  });

  it('says how many bytes are missing when the disk is full', async () => {
    const small = join(bench.root, 'small');
    await mkdir(small);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small], { stdio: 'ignore' });
    } catch {
      return expect.fail('this test needs the right to mount a small tmpfs');
    }
    try {
      const tight = await makeBench({ treeDir: join(small, 'tree'), modulesDir: bench.modulesDir });
      await bench.module('probe', 'exit 0');
      await tight.modules.prepareTree(artifact(), device);
      const chunks = Array.from({ length: 8 }, () => Buffer.alloc(524_288));
      const error = await failure(tight.modules.download('probe', payload([file('a', chunks)]), never));
      expect(error).toMatchObject({ kind: 'noSpace', failureName: 'NoSpace', details: { file: 'a' } });
      expect(error.details['bytes-needed']).toBeGreaterThan(2_000_000);
      expect(error.details['bytes-needed']).toBeLessThan(4_194_304);
      await tight.modules.removeTree();
      expect(await readdir(small)).toEqual([]);
    } finally {
      execFileSync('umount', [small]);
    }
  });
});

describe('Download with a module that breaks the hand-shake', () => {
  const twoFiles = () => payload([file('a', [Buffer.alloc(300_000, 1)]), file('b', ['2'])]);

  it.each([
    ['reads names only', 'while l=$(cat stream-next); [ -n "$l" ]; do :; done', /exit|ended|closed/],
    ['reads the first name and exits 0', 'cat stream-next >/dev/null; exit 0', /did not finish/],
    ['reads one of two files', 'cat "$(cat stream-next)" >/dev/null; exit 0', /did not finish/],
    [
      'reads all files but not the final zero length',
      'for i in 1 2; do cat "$(cat stream-next)" >/dev/null; done; exit 0',
      /did not finish/,
    ],
    [
      'closes a file early',
      'head -c 10 "$(cat stream-next)" >/dev/null; exit 0',
      /closed streams\/a|did not finish/,
    ],
    [
      'closes a file early and fails',
      'head -c 10 "$(cat stream-next)" >/dev/null; sleep 0.2; exit 9',
      /exit status 9/,
    ],
    ['opens stream-next and exits', 'exec 3<stream-next; exit 0', /did not finish|closed stream-next/],
  ])('fails it when it %s', async (_name, text, words) => {
    // The first one would wait for ever on the name that is announced once: it has a limit.
    bench.modules = (await quick(1)).modules;
    await bench.module('probe', `case "$1" in Download) ${text};; esac`);
    const files = twoFiles();
    const error = await failure(bench.modules.download('probe', files, never));
    expect(['module', 'timeout']).toContain(error.kind);
    expect(error.message).toMatch(error.kind === 'timeout' ? /ran longer/ : words);
    expect(error.details).toMatchObject({ module: 'probe', action: 'Download' });
    expect(files.seen.isFinished && !_name.includes('zero length')).toBe(false);
    expect(await readdir(bench.treeDir)).not.toContain('files');
  });

  async function quick(timeoutSeconds: number): Promise<Bench> {
    return await makeBench({
      modulesDir: bench.modulesDir,
      treeDir: bench.treeDir,
      timeoutSeconds,
      graceMs: 200,
    });
  }

  it('fails it when it removes its tree in the middle', async () => {
    await bench.module(
      'probe',
      `case "$1" in Download) cat "$(cat stream-next)" >/dev/null; rm -rf "$2"; sleep 20;; esac`,
    );
    const error = await failure(bench.modules.download('probe', twoFiles(), never));
    expect(error.kind === 'module' || error.kind === 'store').toBe(true);
  });

  it('fails it when it puts something else in the place of stream-next', async () => {
    await symlink('/dev/null', join(bench.root, 'link'));
    await bench.module(
      'probe',
      `case "$1" in Download) rm stream-next; ln -s ${bench.control}/victim stream-next; sleep 20;; esac`,
    );
    await writeFile(join(bench.control, 'victim'), 'untouched');
    expect(await failure(bench.modules.download('probe', twoFiles(), never))).toMatchObject({
      kind: 'module',
    });
    expect(await inControl('victim')).toBe('untouched');
  });

  it('reports its exit status when it fails without reading', async () => {
    await bench.module('probe', `case "$1" in Download) echo no >&2; exit 5;; esac`);
    const files = twoFiles();
    const error = await failure(bench.modules.download('probe', files, never));
    expect(error).toMatchObject({
      kind: 'module',
      failureName: 'UpdateModule',
      details: { module: 'probe', action: 'Download', 'exit-status': 5 },
    });
    expect(files.seen.taken).toEqual([]);
    expect(bench.deploymentLog.messages).toContain('Update Module output (stderr): no');
  });

  it('ends a module that hangs before, and in the middle of, a stream', async () => {
    for (const text of [
      'sleep 60',
      'cat stream-next; sleep 60',
      `trap '' TERM; exec 3<"$(cat stream-next)"; while :; do sleep 1; done`,
    ]) {
      const hurried = await quick(1);
      await hurried.modules.prepareTree(artifact(), device);
      await bench.module('probe', `case "$1" in Download) ${text};; esac`);
      const files = twoFiles();
      const error = await failure(hurried.modules.download('probe', files, never));
      expect(error).toMatchObject({ kind: 'timeout', details: { action: 'Download', 'limit-seconds': 1 } });
    }
  });

  it('is not held up by an escaped grandchild that keeps the pipe open and reads nothing', async () => {
    const hurried = await quick(1);
    await bench.module(
      'probe',
      `case "$1" in Download) l=$(cat stream-next); setsid sh -c 'echo $$ > '$CONTROL'/esc.pid; exec sleep 60 3<"'"$l"'"' & sleep 60;; esac`,
    );
    const startMs = performance.now();
    const error = await failure(hurried.modules.download('probe', twoFiles(), never));
    expect(error.kind).toBe('timeout');
    expect(performance.now() - startMs).toBeLessThan(8000);
    expect(Number(await inControl('esc.pid'))).toBeGreaterThan(1);
  });

  it('fails it when it ends well but left the reading to a grandchild', async () => {
    await bench.module(
      'probe',
      `case "$1" in Download) l=$(cat stream-next); (exec sleep 60 3<"$l") & echo $! > $CONTROL/g.pid; sleep 0.3; exit 0;; esac`,
    );
    expect((await failure(bench.modules.download('probe', twoFiles(), never))).message).toContain(
      'did not finish',
    );
  });

  it('kills it, and reports the error of the source, when the last byte shows a wrong checksum', async () => {
    await bench.module('probe', `echo $$ > $CONTROL/m.pid\n${STREAMER}`);
    const error = new ArtifactError('checksum-mismatch', { where: 'a', found: '1', expected: '2' });
    const files = payload([file('a', [Buffer.alloc(200_000)], { error }), file('b', ['never'])]);
    expect(await failure(bench.modules.download('probe', files, never))).toBe(error);
    const pid = Number(await inControl('m.pid'));
    expect(() => process.kill(pid, 0)).toThrow();
    expect(files.seen).toMatchObject({ taken: ['a'], isLetGo: true });
    expect(bench.deploymentLog.messages.join()).not.toContain('ArtifactInstall');
  });

  it('kills it when the artifact turns out bad after its last file', async () => {
    await bench.module('probe', STREAMER);
    const error = new ArtifactError('trailing-data', { where: 'end', found: 'more', expected: 'end' });
    expect(await failure(bench.modules.download('probe', payload([file('a', ['1'])], error), never))).toBe(
      error,
    );
  });

  it('refuses a file of another size than announced', async () => {
    await bench.module('probe', STREAMER);
    const error = await failure(
      bench.modules.download('probe', payload([file('a', ['123'], { sizeBytes: 4 })]), never),
    );
    expect(error).toMatchObject({ kind: 'internal' });
  });

  it('is cancelled by an abort in the middle of a stream whose source hangs', async () => {
    await bench.module('probe', `echo $$ > $CONTROL/m.pid\n${STREAMER}`);
    const abort = new AbortController();
    const content = (async function* () {
      yield Buffer.alloc(10);
      await new Promise(() => {});
    })();
    const work = failure(
      bench.modules.download('probe', payload([file('a', content, { sizeBytes: 99 })]), abort.signal),
    );
    await eventually('announced', async () => (await inControl('announced').catch(() => '')) !== '');
    abort.abort();
    expect(await work).toMatchObject({ kind: 'cancelled', details: { module: 'probe' } });
    const pid = Number(await inControl('m.pid'));
    expect(() => process.kill(pid, 0)).toThrow();
  });

  it('takes a module killed by the shutdown of the service for cancelled, not failed', async () => {
    await bench.module('probe', `case "$1" in Download) echo $$ > $CONTROL/m.pid; exec sleep 60;; esac`);
    const abort = new AbortController();
    const work = failure(bench.modules.download('probe', twoFiles(), abort.signal));
    await eventually('started', async () => (await inControl('m.pid').catch(() => '')) !== '');
    process.kill(Number(await inControl('m.pid')), 'SIGTERM');
    await sleep(50);
    abort.abort();
    expect(await work).toMatchObject({ kind: 'cancelled' });
  });
});

describe('the probe module of the scenario tests', () => {
  const here = fileURLToPath(new URL('../../support/', import.meta.url));
  async function probe(orders: Readonly<Record<string, string>>): Promise<void> {
    await symlink(join(here, 'probe-module.sh'), join(bench.modulesDir, 'probe'));
    const control = join(bench.modulesDir, 'probe.control');
    await mkdir(control);
    for (const [name, text] of Object.entries(orders)) await writeFile(join(control, name), text);
    bench.control = control;
  }

  it('streams, answers and records its calls', async () => {
    await probe({
      stream: '',
      'ProvidePayloadFileSizes.answer': 'Yes\n',
      'SupportsRollback.answer': 'Yes\n',
      'NeedsArtifactReboot.answer': 'Automatic\n',
      'ArtifactVerifyReboot.fail': '4',
    });
    await bench.modules.requireModule('probe');
    await bench.modules.download('probe', payload([file('a', ['content'])]), never);
    expect(await inControl('announced')).toBe('streams/a 7\n');
    expect(await inControl('received/a')).toBe('content');
    await bench.modules.run('probe', 'ArtifactInstall', never);
    expect(await bench.modules.needsReboot('probe', never)).toBe('Automatic');
    expect(await bench.modules.supportsRollback('probe', never)).toBe(true);
    await expect(bench.modules.run('probe', 'ArtifactVerifyReboot', never)).rejects.toMatchObject({
      details: { 'exit-status': 4 },
    });
    expect((await inControl('calls')).trim().split('\n')).toEqual([
      'ProvidePayloadFileSizes',
      'DownloadWithFileSizes',
      'ArtifactInstall',
      'NeedsArtifactReboot',
      'SupportsRollback',
      'ArtifactVerifyReboot',
    ]);
  });

  it('kills the process it is told to and then waits until that is gone', async () => {
    const { spawn } = await import('node:child_process');
    const victim = spawn('sleep', ['60'], { stdio: 'ignore' });
    const gone = new Promise((resolve) => victim.once('exit', (_code, signal) => resolve(signal)));
    const pidFile = join(bench.root, 'service.pid');
    await writeFile(pidFile, String(victim.pid));
    await probe({ 'ArtifactInstall.kill-service': pidFile });
    await bench.modules.run('probe', 'ArtifactInstall', never);
    expect(await gone).toBe('SIGKILL');
    await bench.modules.run('probe', 'ArtifactInstall', never);
    expect(await readdir(bench.control)).not.toContain('ArtifactInstall.kill-service');
    await chmod(bench.control, 0o755);
  });
});

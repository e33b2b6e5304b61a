import { execFileSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ArtifactError } from '../../../src/core/artifact-error.ts';
import { indentJson } from '../../../src/adapters/modules/json-text.ts';
import type { ModuleAction } from '../../../src/ports/update-module.ts';
import { eventually } from '../../support/eventually.ts';
import { artifact, device, file, makeBench, never, payload, removeBenches, type Bench } from './support.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await makeBench();
});
afterEach(removeBenches);

const inTree = (name: string): Promise<string> => readFile(join(bench.treeDir, name), 'utf8');
const inControl = (name: string): Promise<string> => readFile(join(bench.control, name), 'utf8');
const failure = (work: Promise<unknown>): Promise<any> =>
  work.then(
    () => expect.fail('it should have been rejected'),
    (error: unknown) => error,
  );
const prepare = (): Promise<void> => bench.modules.prepareTree(artifact(), device);

describe('discovery', () => {
  it('accepts an executable file, also through a link', async () => {
    await bench.module('single-file', 'exit 0');
    await symlink(join(bench.modulesDir, 'single-file'), join(bench.modulesDir, 'linked'));
    await bench.modules.requireModule('single-file');
    await bench.modules.requireModule('linked');
  });

  it('names what it found instead of a module', async () => {
    await mkdir(join(bench.modulesDir, 'folder'));
    await writeFile(join(bench.modulesDir, 'plain'), '#!/bin/sh\n', { mode: 0o644 });
    await symlink('/nonexistent', join(bench.modulesDir, 'dangling'));
    for (const [type, found] of [
      ['folder', 'a folder'],
      ['plain', 'a file that is not executable'],
      ['dangling', 'nothing'],
      ['none', 'nothing'],
      ['.', 'the payload type "."'],
      ['..', 'the payload type ".."'],
      ['', 'the payload type ""'],
      ['../v3/plain', 'the payload type "../v3/plain"'],
      ['a\0b', 'the payload type "a\\u0000b"'],
    ] as const) {
      const error = await failure(bench.modules.requireModule(type));
      expect(error).toBeInstanceOf(ArtifactError);
      expect(error).toMatchObject({ code: 'no-update-module', found, failureName: 'Incompatible' });
    }
  });

  it('says the same when there is no modules folder at all', async () => {
    await rm(bench.modulesDir, { recursive: true });
    expect(await failure(bench.modules.requireModule('x'))).toMatchObject({ code: 'no-update-module' });
  });
});

describe('the file tree', () => {
  it('holds everything the protocol lists, newlines included', async () => {
    await bench.modules.prepareTree(
      artifact({
        metaDataJson: '{"dest_dir":"/opt/x","n":9007199254740993,"e":{},"l":[1,"a,b:{}"]}',
        artifactGroup: '',
      }),
      { deviceType: 'pump', installed: { artifactName: 'r1', artifactGroup: 'g', provides: {} } },
    );
    expect((await readdir(bench.treeDir)).sort()).toEqual([
      'current_artifact_group',
      'current_artifact_name',
      'current_device_type',
      'header',
      'tmp',
      'version',
    ]);
    expect(await inTree('version')).toBe('3\n');
    expect(await inTree('current_artifact_name')).toBe('r1\n');
    expect(await inTree('current_artifact_group')).toBe('g\n');
    expect(await inTree('current_device_type')).toBe('pump\n');
    expect(await inTree('header/artifact_name')).toBe('release-2');
    expect(await inTree('header/artifact_group')).toBe('');
    expect(await inTree('header/payload_type')).toBe('probe');
    expect(await inTree('header/type-info')).toBe('{\n  "type": "probe"\n}');
    expect(await inTree('header/meta-data')).toBe(
      '{\n  "dest_dir": "/opt/x",\n  "n": 9007199254740993,\n  "e": {},\n  "l": [\n    1,\n    "a,b:{}"\n  ]\n}',
    );
    expect(JSON.parse(await inTree('header/header-info'))).toMatchObject({ payloads: [{ type: 'probe' }] });
  });

  it('has empty files for unknown values and null for missing meta-data', async () => {
    await bench.modules.prepareTree(artifact(), {
      deviceType: 'pump',
      installed: { artifactName: '', artifactGroup: '', provides: {} },
    });
    expect(await inTree('current_artifact_name')).toBe('');
    expect(await inTree('current_artifact_group')).toBe('');
    expect(await inTree('header/meta-data')).toBe('null');
    expect((await stat(join(bench.treeDir, 'tmp'))).isDirectory()).toBe(true);
  });

  it('is rebuilt from nothing, whatever was left of an older one', async () => {
    await prepare();
    await mkdir(join(bench.treeDir, 'tmp/old'));
    await writeFile(join(bench.treeDir, 'tmp/old/file'), 'x');
    await prepare();
    expect(await readdir(join(bench.treeDir, 'tmp'))).toEqual([]);
  });

  it('is on the disk, with its folders, before it counts as made', async () => {
    const trace = join(bench.root, 'trace');
    const script = `
      const { buildTree } = await import(${JSON.stringify(new URL('../../../src/adapters/modules/file-tree.ts', import.meta.url).pathname)});
      await buildTree(${JSON.stringify(bench.treeDir)}, ${JSON.stringify(artifact())}, ${JSON.stringify(device)});`;
    execFileSync(
      'strace',
      [
        '-f',
        '-y',
        '-qq',
        '-e',
        'trace=fsync',
        '-o',
        trace,
        process.execPath,
        '--import',
        'tsx',
        '--input-type=module',
        '-e',
        script,
      ],
      { stdio: 'pipe' },
    );
    const synced = new Set(
      [
        ...(await readFile(trace, 'utf8')).matchAll(
          /fsync\(\d+<([^>]+)>\) *= 0|fsync\(\d+<([^>]+)> <unfinished/g,
        ),
      ].map((match) => match[1] ?? match[2]),
    );
    const files = [
      'version',
      'current_artifact_name',
      'header/meta-data',
      'header',
      'tmp',
      '.',
      '..',
      '../..',
      '../../..',
      '../../../..',
      '../../../../..',
    ];
    for (const name of files) expect(synced).toContain(join(bench.treeDir, name));
  });

  it('is gone after removeTree, which may be called again', async () => {
    await prepare();
    await bench.modules.removeTree();
    await bench.modules.removeTree();
    expect(await readdir(join(bench.treeDir, '..'))).toEqual([]);
  });

  it('that cannot be made is a storage error', async () => {
    await writeFile(join(bench.root, 'store'), 'a file in the way');
    expect(await failure(prepare())).toMatchObject({ kind: 'store', failureName: 'Storage' });
  });

  it('lays out JSON as JSON.stringify does', () => {
    const samples: unknown[] = [
      { long: 'x\\"'.repeat(1_000_000) },
      { a: [1, 2, { b: null }], c: 'x"\\y\n{', d: [], e: {}, f: [[]], g: true },
      [],
      {},
      'x',
      1.5,
    ];
    for (const sample of samples) {
      expect(indentJson(JSON.stringify(sample))).toBe(JSON.stringify(sample, null, 2));
      expect(indentJson(JSON.stringify(sample, null, 7))).toBe(JSON.stringify(sample, null, 2));
    }
  });
});

describe('a call', () => {
  beforeEach(prepare);

  it('gives the action and the tree, in the tree, with an empty standard input', async () => {
    process.env['HOLDPOINT_TEST_VALUE'] = 'inherited';
    await bench.module('probe', 'echo "$#:$1:$2:$(pwd):$HOLDPOINT_TEST_VALUE:$(wc -c)" > $CONTROL/seen');
    await bench.modules.run('probe', 'ArtifactInstall', never);
    delete process.env['HOLDPOINT_TEST_VALUE'];
    expect(await inControl('seen')).toBe(`2:ArtifactInstall:${bench.treeDir}:${bench.treeDir}:inherited:0\n`);
  });

  const ACTIONS: readonly ModuleAction[] = [
    'ArtifactInstall',
    'ArtifactReboot',
    'ArtifactVerifyReboot',
    'ArtifactCommit',
    'ArtifactRollback',
    'ArtifactRollbackReboot',
    'ArtifactVerifyRollbackReboot',
    'ArtifactFailure',
    'Cleanup',
  ];
  it.each(ACTIONS)('that exits 1 fails %s with action and status', async (action) => {
    await bench.module('probe', `[ "$1" = ${action} ] && exit 1; exit 0`);
    expect(await failure(bench.modules.run('probe', action, never))).toMatchObject({
      kind: 'module',
      failureName: 'UpdateModule',
      details: { module: 'probe', action, 'exit-status': 1 },
    });
  });

  it('that gives a reason on standard error is quoted, the last one, and only in that form', async () => {
    await bench.module(
      'probe',
      [
        'echo "holdpoint-reason: first: not this" >&2',
        'echo "holdpoint-reason: slot-gone: /dev/sdz3 is\\tnot there" >&2',
        'echo "holdpoint-reason: Not A Code: x" >&2',
        'echo "holdpoint-reason: stdout: neither"; exit 3',
      ].join('\n'),
    );
    expect(await failure(bench.modules.run('probe', 'ArtifactInstall', never))).toMatchObject({
      message: expect.stringMatching(/ArtifactInstall: exit status 3: \/dev\/sdz3 is.*not there$/),
      details: { action: 'ArtifactInstall', 'exit-status': 3, code: 'slot-gone' },
    });
  });

  it('that dies of a signal names it', async () => {
    await bench.module('probe', 'kill -SEGV $$');
    expect(await failure(bench.modules.run('probe', 'ArtifactCommit', never))).toMatchObject({
      kind: 'module',
      details: { signal: 'SIGSEGV' },
    });
  });

  it('writes its output to the deployment log line by line', async () => {
    await bench.module('probe', 'echo to out; echo to err >&2; echo by name > /dev/stderr');
    await bench.modules.run('probe', 'ArtifactInstall', never);
    expect(bench.deploymentLog.messages).toEqual([
      'Calling Update Module probe: ArtifactInstall',
      expect.stringMatching(/\((stdout|stderr)\)/),
      expect.stringMatching(/\((stdout|stderr)\)/),
      expect.stringMatching(/\((stdout|stderr)\)/),
    ]);
    expect([...bench.deploymentLog.messages].sort().slice(1)).toEqual([
      'Update Module output (stderr): by name',
      'Update Module output (stderr): to err',
      'Update Module output (stdout): to out',
    ]);
    expect(bench.log.records).toContainEqual({
      level: 'debug',
      sentence: 'update module output',
      fields: { module: 'probe', action: 'ArtifactInstall', stream: 'stdout', line: 'to out' },
    });
  });

  it('that writes 10 MiB to stderr is logged up to 1 MiB and ends well', async () => {
    await bench.module('probe', 'yes 0123456789abcde | head -c 10485760 >&2');
    await bench.modules.run('probe', 'ArtifactInstall', never);
    const bytes = bench.deploymentLog.messages.reduce((sum, line) => sum + line.length, 0);
    expect(bytes).toBeLessThan(5 * 1024 * 1024);
    expect(bench.deploymentLog.messages.at(-1)).toBe(
      `Update Module output (stderr): (${10485760 - 1048576} bytes more are not logged)`,
    );
  });

  it('that hangs is ended with its children at the time limit', async () => {
    const hurried = await makeBench({
      modulesDir: bench.modulesDir,
      treeDir: bench.treeDir,
      timeoutSeconds: 0.5,
      graceMs: 200,
    });
    await bench.module(
      'probe',
      `trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $! > $CONTROL/child; while :; do sleep 1; done`,
    );
    expect(await failure(hurried.modules.run('probe', 'ArtifactInstall', never))).toMatchObject({
      kind: 'timeout',
      failureName: 'Timeout',
      details: { module: 'probe', action: 'ArtifactInstall', 'limit-seconds': 0.5 },
    });
    const child = Number(await inControl('child'));
    const state = await readFile(`/proc/${child}/stat`, 'latin1').catch(() => 'gone');
    expect(state === 'gone' || / Z /.test(state)).toBe(true);
  });

  it('that leaves a child holding its output does not wait for it', async () => {
    await bench.module('probe', 'sleep 60 & echo $! > $CONTROL/child; exit 0');
    const startMs = performance.now();
    await bench.modules.run('probe', 'ArtifactInstall', never);
    expect(performance.now() - startMs).toBeLessThan(5000);
    process.kill(Number(await inControl('child')));
  });

  it('is cancelled by an abort', async () => {
    await bench.module('probe', 'echo $$ > $CONTROL/pid; exec sleep 60');
    const abort = new AbortController();
    const work = failure(bench.modules.run('probe', 'ArtifactInstall', abort.signal));
    await eventually('it runs', async () => (await inControl('pid').catch(() => '')) !== '');
    abort.abort();
    expect(await work).toMatchObject({ kind: 'cancelled', details: { action: 'ArtifactInstall' } });
    const pid = Number(await inControl('pid'));
    expect(() => process.kill(pid, 0)).toThrow();
  });

  it('fails when the module was removed between two states', async () => {
    await bench.module('probe', 'exit 0');
    await bench.modules.run('probe', 'ArtifactInstall', never);
    await rm(join(bench.modulesDir, 'probe'));
    const error = await failure(bench.modules.run('probe', 'ArtifactCommit', never));
    expect(error).toMatchObject({ kind: 'module', details: { action: 'ArtifactCommit' } });
    expect(error.message).toContain('found nothing');
  });

  it('fails with its reason when the interpreter is missing', async () => {
    await writeFile(join(bench.modulesDir, 'odd'), '#!/nonexistent/sh\n');
    await chmod(join(bench.modulesDir, 'odd'), 0o755);
    expect(await failure(bench.modules.run('odd', 'ArtifactInstall', never))).toMatchObject({
      kind: 'module',
      details: { module: 'odd', 'error-code': 'ENOENT' },
    });
  });
});

describe('a missing tree', () => {
  it('makes Cleanup a success without a call, and fails everything else', async () => {
    await bench.module('probe', 'touch $CONTROL/called');
    await bench.modules.run('probe', 'Cleanup', never);
    for (const action of ['ArtifactInstall', 'ArtifactRollback', 'ArtifactFailure'] as const) {
      expect(await failure(bench.modules.run('probe', action, never))).toMatchObject({ kind: 'module' });
    }
    expect(await failure(bench.modules.needsReboot('probe', never))).toMatchObject({ kind: 'module' });
    const files = payload([file('a', ['x'])]);
    expect(await failure(bench.modules.download('probe', files, never))).toMatchObject({ kind: 'module' });
    expect(await readdir(bench.control)).toEqual([]);
  });

  it('is noticed when the module deleted it itself', async () => {
    await prepare();
    await bench.module('probe', 'rm -rf "$2"');
    await bench.modules.run('probe', 'ArtifactInstall', never);
    expect((await failure(bench.modules.run('probe', 'ArtifactCommit', never))).message).toContain('missing');
    await bench.modules.run('probe', 'Cleanup', never);
    await bench.modules.removeTree();
  });
});

describe('a query', () => {
  beforeEach(prepare);

  it.each([
    ['prints nothing', 'true', 'No'],
    ['prints No', 'echo No', 'No'],
    ['prints Yes', 'echo Yes', 'Yes'],
    ['prints Automatic without a newline', 'printf Automatic', 'Automatic'],
  ])('that %s is understood', async (_name, text, answer) => {
    await bench.module('probe', text);
    expect(await bench.modules.needsReboot('probe', never)).toBe(answer);
  });

  it('has No as default for rollback and sizes', async () => {
    await bench.module('probe', 'exit 0');
    expect(await bench.modules.supportsRollback('probe', never)).toBe(false);
    await bench.modules.download('probe', payload([]), never);
    expect(bench.deploymentLog.messages).toContain('Calling Update Module probe: Download');
  });

  it.each([
    ['in lower case', 'echo yes', /answered "yes"/],
    ['of two lines', 'echo Yes; echo Yes', /more than one line/],
    ['with blanks', 'echo " Yes"', /answered " Yes"/],
    ['of another question', 'echo Automatic', /answered "Automatic"/],
    ['with a failing exit status', 'echo Yes; exit 3', /exit status 3/],
    ['without end', 'yes', /more than 65536 bytes/],
    [
      'without end and deaf to SIGTERM',
      `trap '' TERM; while :; do echo Yes Yes Yes Yes Yes Yes; done`,
      /more than/,
    ],
  ])('answer %s is an error', async (_name, text, words) => {
    await bench.module('probe', text);
    const startMs = performance.now();
    const error = await failure(bench.modules.supportsRollback('probe', never));
    expect(error).toMatchObject({ kind: 'module', details: { action: 'SupportsRollback' } });
    expect(error.message).toMatch(words);
    expect(performance.now() - startMs).toBeLessThan(10_000);
  });

  it('about sizes that goes wrong fails the download before it begins', async () => {
    await bench.module('probe', '[ "$1" = ProvidePayloadFileSizes ] && echo yes; touch $CONTROL/$1');
    expect(await failure(bench.modules.download('probe', payload([]), never))).toMatchObject({
      kind: 'module',
      details: { action: 'ProvidePayloadFileSizes', answer: 'yes' },
    });
    expect(await readdir(bench.control)).toEqual(['ProvidePayloadFileSizes']);
  });
});

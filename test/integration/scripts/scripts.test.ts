import { execFileSync } from 'node:child_process';
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ScriptAction, ScriptFamily } from '../../../src/core/state-script.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import { StateScripts, type ScriptSettings } from '../../../src/adapters/scripts/runner.ts';
import { HandClock, realClock } from '../../support/clocks.ts';
import { eventually } from '../../support/eventually.ts';
import { RecordingDeploymentLog, RecordingLog } from '../../support/recording-log.ts';

const never = new AbortController().signal;
let root: string;
let rootfsScriptsDir: string;
let artifactScriptsDir: string;
let deploymentLog: RecordingDeploymentLog;
let log: RecordingLog;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-scripts-'));
  rootfsScriptsDir = join(root, 'etc/scripts');
  artifactScriptsDir = join(root, 'var/scripts');
  await mkdir(rootfsScriptsDir, { recursive: true });
  await mkdir(join(root, 'var'));
  deploymentLog = new RecordingDeploymentLog();
  log = new RecordingLog();
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

function runner(more: Partial<ScriptSettings> = {}, clock: Clock = realClock): StateScripts {
  return new StateScripts(
    {
      rootfsScriptsDir,
      artifactScriptsDir,
      timeoutSeconds: 20,
      retryIntervalSeconds: 60,
      retryTimeoutSeconds: 1800,
      graceMs: 300,
      ...more,
    },
    clock,
    deploymentLog,
    log,
  );
}

/** Adds a line with its own name to `trace` in `root`, then does `body`. */
async function script(name: string, body = '', mode = 0o755): Promise<void> {
  const path = join(rootfsScriptsDir, name);
  await writeFile(path, `#!/bin/sh\necho "$(basename "$0")" >> '${root}/trace'\nR='${root}'\n${body}\n`);
  await chmod(path, mode);
}
const trace = async (): Promise<string[]> =>
  (await readFile(join(root, 'trace'), 'utf8').catch(() => '')).split('\n').filter((line) => line !== '');
const run = (
  scripts: StateScripts,
  family: ScriptFamily,
  action: ScriptAction,
  runsAll = false,
  signal = never,
): Promise<void> => scripts.run({ family, action, runsAll }, signal);
const failure = (work: Promise<unknown>): Promise<any> =>
  work.then(
    () => expect.fail('it should have been rejected'),
    (error: unknown) => error,
  );

describe('which scripts run', () => {
  it('takes full matches only, in byte order', async () => {
    for (const name of [
      'Sync_Enter_10_b',
      'Sync_Enter_02',
      'Sync_Enter_10_B',
      'Sync_Enter_10_é',
      'Sync_Enter_10',
      'Sync_Enter_100',
      'Sync_Enter_1',
      'Sync_Enter_00_with blank',
      'Sync_Enter_00.bak',
      'sync_Enter_00',
      'Sync_Leave_00',
      'Download_Enter_00',
      'XSync_Enter_00',
    ]) {
      await script(name);
    }
    await run(runner(), 'Sync', 'Enter');
    expect(await trace()).toEqual([
      'Sync_Enter_02',
      'Sync_Enter_10',
      'Sync_Enter_10_B',
      'Sync_Enter_10_b',
      'Sync_Enter_10_é',
    ]);
  });

  it('takes Idle, Sync and Download from the system, the others from the artifact', async () => {
    await script('Sync_Enter_00_rootfs');
    await script('ArtifactInstall_Enter_00_rootfs');
    await mkdir(artifactScriptsDir);
    for (const name of ['Sync_Enter_00_artifact', 'ArtifactInstall_Enter_00_artifact']) {
      await copyFile(join(rootfsScriptsDir, 'Sync_Enter_00_rootfs'), join(artifactScriptsDir, name));
    }
    await run(runner(), 'Sync', 'Enter');
    await run(runner(), 'ArtifactInstall', 'Enter');
    expect(await trace()).toEqual(['Sync_Enter_00_rootfs', 'ArtifactInstall_Enter_00_artifact']);
  });

  it('none when there is no folder', async () => {
    await run(runner({ rootfsScriptsDir: join(root, 'none') }), 'Sync', 'Enter');
    await run(runner(), 'ArtifactInstall', 'Enter');
  });

  it('passes over what is not executable or no file, with a warning in both logs', async () => {
    await script('Sync_Enter_00', '', 0o644);
    await mkdir(join(rootfsScriptsDir, 'Sync_Enter_01'));
    await symlink('/nonexistent', join(rootfsScriptsDir, 'Sync_Enter_02'));
    await script('Sync_Enter_03');
    await run(runner(), 'Sync', 'Enter');
    expect(await trace()).toEqual(['Sync_Enter_03']);
    const warnings = deploymentLog.entries.filter((entry) => entry.level === 'warning');
    expect(warnings.map((entry) => entry.message.split(' is skipped')[0])).toEqual([
      'state script Sync_Enter_00',
      'state script Sync_Enter_01',
      'state script Sync_Enter_02',
    ]);
    expect(log.records.filter((record) => record.level === 'warn')).toHaveLength(3);
  });

  it('never runs a name that is not UTF-8', async () => {
    await script('Sync_Enter_00');
    execFileSync('sh', ['-c', `cp Sync_Enter_00 "$(printf 'Sync_Enter_01_\\377')"`], {
      cwd: rootfsScriptsDir,
    });
    await run(runner(), 'Sync', 'Enter');
    expect(await trace()).toEqual(['Sync_Enter_00']);
    expect(deploymentLog.entries.at(-1)).toMatchObject({ level: 'warning' });
  });
});

describe('the version file', () => {
  it.each(['2', '3', '3\n', ' 2 \n'])('may hold %j', async (text) => {
    await script('Sync_Enter_00');
    await writeFile(join(rootfsScriptsDir, 'version'), text);
    await run(runner(), 'Sync', 'Enter');
    await runner().checkRootfsScriptVersion();
    expect(await trace()).toHaveLength(1);
  });

  it.each(['1', '4', '', '33', 'three'])('with %j keeps every script from running', async (text) => {
    await script('Sync_Enter_00');
    await writeFile(join(rootfsScriptsDir, 'version'), text);
    expect(await failure(run(runner(), 'Sync', 'Enter'))).toMatchObject({
      kind: 'script',
      failureName: 'StateScript',
      details: { version: text },
    });
    await run(runner(), 'Sync', 'Enter', true);
    expect(await trace()).toEqual([]);
    expect(await failure(runner().checkRootfsScriptVersion())).toMatchObject({ kind: 'script' });
    await run(runner(), 'Sync', 'Leave');
  });

  it('may be missing', async () => {
    await script('Sync_Enter_00');
    await run(runner(), 'Sync', 'Enter');
    await runner().checkRootfsScriptVersion();
    await runner({ rootfsScriptsDir: join(root, 'none') }).checkRootfsScriptVersion();
  });
});

describe('a failing script', () => {
  it('stops the ones after it, and is named with its exit status', async () => {
    await script('Sync_Enter_00');
    await script('Sync_Enter_01', 'exit 1');
    await script('Sync_Enter_02');
    expect(await failure(run(runner(), 'Sync', 'Enter'))).toMatchObject({
      kind: 'script',
      details: { script: 'Sync_Enter_01', action: 'Sync_Enter', 'exit-status': 1 },
    });
    expect(await trace()).toEqual(['Sync_Enter_00', 'Sync_Enter_01']);
  });

  it('does not stop the others where errors are ignored; the first failure is reported at the end', async () => {
    await script('Sync_Error_00', 'exit 5');
    await script('Sync_Error_01', 'kill -KILL $$');
    await script('Sync_Error_02');
    expect((await failure(run(runner(), 'Sync', 'Error', true))).details).toMatchObject({
      script: 'Sync_Error_00',
      'exit-status': 5,
    });
    expect(await trace()).toHaveLength(3);
    const errors = deploymentLog.entries.filter((entry) => entry.level === 'error');
    expect(errors.map((entry) => entry.message)).toEqual([
      'state script Sync_Error_00 exited with status 5',
      'state script Sync_Error_01 was ended by SIGKILL',
    ]);
  });

  it.each([2, 20, 22, 255])('may exit with %i, which is a failure like 1', async (status) => {
    await script('Sync_Enter_00', `exit ${status}`);
    expect((await failure(run(runner(), 'Sync', 'Enter'))).details['exit-status']).toBe(status);
  });

  it('without an interpreter is a script error that says so', async () => {
    await writeFile(join(rootfsScriptsDir, 'Sync_Enter_00'), '#!/nonexistent/sh\n');
    await chmod(join(rootfsScriptsDir, 'Sync_Enter_00'), 0o755);
    expect(await failure(run(runner(), 'Sync', 'Enter'))).toMatchObject({
      kind: 'script',
      details: { script: 'Sync_Enter_00', 'error-code': 'ENOENT' },
    });
  });
});

describe('how a script is run', () => {
  it('gets no arguments, our environment and folder, and an empty input', async () => {
    await script('Sync_Enter_00', 'echo "$#:$(pwd):$HOLDPOINT_TEST_VALUE:$(wc -c)" > "$R/seen"');
    process.env['HOLDPOINT_TEST_VALUE'] = 'inherited';
    await run(runner(), 'Sync', 'Enter');
    delete process.env['HOLDPOINT_TEST_VALUE'];
    expect(await readFile(join(root, 'seen'), 'utf8')).toBe(`0:${process.cwd()}:inherited:0\n`);
  });

  it('is ended with its children at the time limit, even when it is deaf to SIGTERM and forks twice', async () => {
    await script(
      'Sync_Enter_00',
      `trap '' TERM; ( ( trap '' TERM; sh -c 'echo $PPID' > "$R/g.pid"; while :; do sleep 1; done ) & ) ; echo busy; while :; do sleep 1; done`,
    );
    expect(await failure(run(runner({ timeoutSeconds: 0.6 }), 'Sync', 'Enter'))).toMatchObject({
      kind: 'timeout',
      failureName: 'Timeout',
      details: { script: 'Sync_Enter_00', action: 'Sync_Enter', 'limit-seconds': 0.6 },
    });
    const pid = Number(await readFile(join(root, 'g.pid'), 'utf8'));
    const state = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => 'gone');
    expect(state === 'gone' || / Z /.test(state)).toBe(true);
    expect(deploymentLog.messages).toContain('Output (stdout) from state script "Sync_Enter_00": busy');
  });

  it('is cancelled by an abort, and no other script is run, also where errors are ignored', async () => {
    await script('Sync_Error_00', 'exec sleep 60');
    await script('Sync_Error_01');
    const abort = new AbortController();
    const work = failure(run(runner(), 'Sync', 'Error', true, abort.signal));
    await eventually('it runs', async () => (await trace()).length === 1);
    abort.abort();
    expect(await work).toMatchObject({ kind: 'cancelled' });
    expect(await trace()).toHaveLength(1);
    expect(await failure(run(runner(), 'Sync', 'Error', true, abort.signal))).toMatchObject({
      kind: 'cancelled',
    });
  });

  it('killed together with the service is cancelled, not failed', async () => {
    await script('Sync_Enter_00', 'echo $$ > "$R/pid"; exec sleep 60');
    const abort = new AbortController();
    const work = failure(run(runner(), 'Sync', 'Enter', false, abort.signal));
    let pid = 0;
    await eventually('it runs', async () => {
      pid = Number(await readFile(join(root, 'pid'), 'utf8').catch(() => '0'));
      return pid > 0;
    });
    process.kill(pid, 'SIGTERM');
    setTimeout(() => abort.abort(), 60);
    expect(await work).toMatchObject({ kind: 'cancelled' });
  });
});

describe('exit status 21', () => {
  it('runs the same script again after the interval, then goes on with the next', async () => {
    await script('Sync_Enter_00', '[ $(grep -c 00 "$R/trace") -ge 3 ] || exit 21');
    await script('Sync_Enter_01');
    const clock = new HandClock();
    const work = run(runner({}, clock), 'Sync', 'Enter');
    for (const round of [1, 2]) {
      await eventually('the pause', async () => clock.waitingMs.includes(60_000));
      expect(await trace()).toHaveLength(round);
      clock.advance(59_999);
      expect(clock.waitingMs).toContain(60_000);
      clock.advance(1);
    }
    await work;
    expect(await trace()).toEqual(['Sync_Enter_00', 'Sync_Enter_00', 'Sync_Enter_00', 'Sync_Enter_01']);
    expect(clock.waitingMs).toEqual([]);
  });

  it('for longer than the window fails; the window opens at the first one', async () => {
    await script('Sync_Enter_00', 'exit 21');
    const clock = new HandClock();
    const work = failure(
      run(runner({ retryTimeoutSeconds: 150, timeoutSeconds: 3600 }, clock), 'Sync', 'Enter'),
    );
    for (const round of [1, 2]) {
      await eventually('the pause', async () => clock.waitingMs.includes(60_000));
      expect(await trace()).toHaveLength(round);
      clock.advance(60_000);
    }
    await eventually('the third pause', async () => clock.waitingMs.includes(60_000));
    clock.advance(30_000);
    expect(await work).toMatchObject({
      kind: 'timeout',
      details: { script: 'Sync_Enter_00', action: 'Sync_Enter', 'exit-status': 21, 'limit-seconds': 150 },
    });
    expect(await trace()).toHaveLength(3);
    expect(clock.waitingMs).toEqual([]);
  });

  it('and then a run that is still going when the window closes: it is killed', async () => {
    await script('Sync_Enter_00', '[ $(grep -c 00 "$R/trace") -ge 2 ] && exec sleep 60; exit 21');
    const clock = new HandClock();
    const work = failure(
      run(runner({ retryTimeoutSeconds: 90, timeoutSeconds: 3600 }, clock), 'Sync', 'Enter'),
    );
    await eventually('the pause', async () => clock.waitingMs.includes(60_000));
    clock.advance(60_000);
    await eventually('the second run', async () => (await trace()).length === 2);
    clock.advance(30_000);
    expect(await work).toMatchObject({ kind: 'timeout', details: { 'exit-status': 21 } });
  });

  it('and an abort in the pause is cancelled', async () => {
    await script('Sync_Enter_00', 'exit 21');
    const clock = new HandClock();
    const abort = new AbortController();
    const work = failure(run(runner({}, clock), 'Sync', 'Enter', false, abort.signal));
    await eventually('the pause', async () => clock.waitingMs.includes(60_000));
    abort.abort();
    expect(await work).toMatchObject({ kind: 'cancelled' });
    expect(clock.waitingMs).toEqual([]);
  });
});

describe('the output of scripts', () => {
  it('reaches the deployment log with the name of the script', async () => {
    await script('Sync_Enter_00_x', 'echo one; echo two; echo bad >&2; echo by name >/dev/stderr');
    await run(runner(), 'Sync', 'Enter');
    expect(deploymentLog.messages).toEqual([
      'Running state script Sync_Enter_00_x',
      'Output (stdout) from state script "Sync_Enter_00_x": one',
      'Output (stdout) from state script "Sync_Enter_00_x": two',
      'Output (stderr) from state script "Sync_Enter_00_x": bad',
      'Output (stderr) from state script "Sync_Enter_00_x": by name',
    ]);
  });

  it('is kept to the last 10 KiB of each stream, and the cut is marked', async () => {
    await script(
      'Sync_Enter_00',
      'i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i+1)); done; yes error | head -c 10485762 >&2; echo last >&2',
    );
    await run(runner(), 'Sync', 'Enter');
    const prefix = 'Output (stdout) from state script "Sync_Enter_00": ';
    const out = deploymentLog.messages.filter((line) => line.startsWith(prefix));
    const err = deploymentLog.messages.filter((line) => line.startsWith(prefix.replace('stdout', 'stderr')));
    expect(out[0]).toMatch(/\(the first \d+ bytes are cut\)$/);
    expect(out[1]).toMatch(/: line \d+$/);
    expect(out.at(-1)).toBe(`${prefix}line 19999`);
    for (const lines of [out, err]) {
      const bytes = lines.slice(1).reduce((sum, line) => sum + line.length - prefix.length + 1, 0);
      expect(bytes).toBeLessThanOrEqual(10_240);
      expect(bytes).toBeGreaterThan(10_000);
    }
    expect(err.at(-1)).toMatch(/: last$/);
  });
});

describe('installing the scripts of an artifact', () => {
  const content = Buffer.from('#!/bin/sh\nexit 0\n');

  it('replaces all older ones, executable for us only, with the version file', async () => {
    await mkdir(artifactScriptsDir);
    await writeFile(join(artifactScriptsDir, 'ArtifactInstall_Enter_99_old'), 'x');
    const scripts = runner();
    await scripts.installArtifactScripts([
      { name: 'ArtifactInstall_Enter_00', content },
      { name: 'ArtifactRollbackReboot_Leave_01_x', content },
    ]);
    expect((await readdir(artifactScriptsDir)).sort()).toEqual([
      'ArtifactInstall_Enter_00',
      'ArtifactRollbackReboot_Leave_01_x',
      'version',
    ]);
    expect(await readFile(join(artifactScriptsDir, 'version'), 'utf8')).toBe('3');
    expect((await stat(join(artifactScriptsDir, 'ArtifactInstall_Enter_00'))).mode & 0o777).toBe(0o700);
    expect(await readdir(join(root, 'var'))).toEqual(['scripts']);
    await run(scripts, 'ArtifactInstall', 'Enter');
    expect(deploymentLog.messages).toEqual(['Running state script ArtifactInstall_Enter_00']);
  });

  it('of none leaves no folder, and clearing may be repeated', async () => {
    const scripts = runner();
    await scripts.installArtifactScripts([{ name: 'ArtifactInstall_Enter_00', content }]);
    await scripts.installArtifactScripts([]);
    expect(await readdir(join(root, 'var'))).toEqual([]);
    await scripts.installArtifactScripts([{ name: 'ArtifactInstall_Enter_00', content }]);
    await scripts.clearArtifactScripts();
    await scripts.clearArtifactScripts();
    expect(await readdir(join(root, 'var'))).toEqual([]);
  });

  it('cleans up what a power cut left half done', async () => {
    await mkdir(`${artifactScriptsDir}.new`);
    await writeFile(join(`${artifactScriptsDir}.new`, 'ArtifactInstall_Enter_00'), '#!/bi');
    await mkdir(`${artifactScriptsDir}.old`);
    await runner().installArtifactScripts([{ name: 'ArtifactCommit_Enter_00', content }]);
    expect(await readdir(join(root, 'var'))).toEqual(['scripts']);
    expect((await readdir(artifactScriptsDir)).sort()).toEqual(['ArtifactCommit_Enter_00', 'version']);
  });

  it.each(['Download_Enter_00', 'Idle_Enter_00', '../evil', 'ArtifactInstall_Enter_00_a/b', 'version', ''])(
    'refuses the name %j, and writes nothing',
    async (name) => {
      expect(
        await failure(
          runner().installArtifactScripts([
            { name: 'ArtifactInstall_Enter_00', content },
            { name, content },
          ]),
        ),
      ).toMatchObject({ kind: 'script', failureName: 'Format', details: { script: name } });
      expect(await readdir(join(root, 'var'))).toEqual([]);
    },
  );

  it('reports a full disk as such', async () => {
    const small = join(root, 'small');
    await mkdir(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small]);
    try {
      const scripts = runner({ artifactScriptsDir: join(small, 'scripts') });
      const big = { name: 'ArtifactInstall_Enter_00', content: Buffer.alloc(200_000) };
      expect(await failure(scripts.installArtifactScripts([big]))).toMatchObject({
        kind: 'noSpace',
        details: { 'error-code': 'ENOSPC' },
      });
      await run(scripts, 'ArtifactInstall', 'Enter');
      await scripts.clearArtifactScripts();
      expect(await readdir(small)).toEqual([]);
    } finally {
      execFileSync('umount', [small]);
    }
  });
});

describe('the probe script of the scenario tests', () => {
  it('records its calls and obeys', async () => {
    const here = fileURLToPath(new URL('../../support/', import.meta.url));
    const control = `${rootfsScriptsDir}.control`;
    await mkdir(control);
    await symlink(join(here, 'probe-script.sh'), join(rootfsScriptsDir, 'Sync_Enter_00'));
    await symlink(join(here, 'probe-script.sh'), join(rootfsScriptsDir, 'Sync_Leave_00'));
    await writeFile(join(control, 'Sync_Enter.retry'), '1');
    await writeFile(join(control, 'Sync_Leave_00.fail'), '4');
    const scripts = runner({ retryIntervalSeconds: 0.01 });
    await run(scripts, 'Sync', 'Enter');
    expect((await failure(run(scripts, 'Sync', 'Leave'))).details['exit-status']).toBe(4);
    expect(await readFile(join(control, 'calls'), 'utf8')).toBe(
      'Sync_Enter_00\nSync_Enter_00\nSync_Leave_00\n',
    );
  });
});

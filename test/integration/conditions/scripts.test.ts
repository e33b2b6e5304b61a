import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { firstValueFrom } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createConditions } from '../../../src/adapters/conditions/conditions.ts';
import { findScripts, MAX_SCRIPTS } from '../../../src/adapters/conditions/find-scripts.ts';
import { scripts$ } from '../../../src/adapters/conditions/scripts.ts';
import { Bus } from '../../../src/adapters/dbus/connection.ts';
import type { ScriptRule } from '../../../src/core/control/condition-settings.ts';
import type { HoldPoint } from '../../../src/core/hold-point.ts';
import { realClock } from '../../support/clocks.ts';
import { eventually } from '../../support/eventually.ts';
import { RecordingLog } from '../../support/recording-log.ts';
import { NO_BUS, NO_CONDITIONS, POINT, watch, type Watched } from './support.ts';

let root: string;
let folder: string;
let watched: Watched | null = null;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-condition-scripts-'));
  folder = join(root, 'conditions.d');
  await mkdir(folder, { mode: 0o755 });
});

afterEach(async () => {
  watched?.stop();
  watched = null;
  await rm(root, { recursive: true, force: true });
});

const RULE: ScriptRule = { points: [POINT], timeoutSeconds: 5, intervalSeconds: 1, isSkippable: false };

async function put(name: string, body: string, mode = 0o755): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, mode);
  return path;
}

function start(rule: Partial<ScriptRule> = {}, point: HoldPoint = POINT): Watched {
  const scripts = { ...RULE, points: [point], ...rule };
  watched = watch({ scripts }, { scriptsFolder: folder, point });
  return watched;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function pidIn(file: string): Promise<number> {
  await eventually(`${file} is written`, async () =>
    (await readFile(file, 'utf8').catch(() => '')).endsWith('\n'),
  );
  return Number(await readFile(file, 'utf8'));
}

describe('condition scripts', () => {
  it('are met when there are none, and when there is no folder', async () => {
    await start().becomes([]);
    watched?.stop();
    await rm(folder, { recursive: true });
    await start().becomes([]);
  });

  it('are run with the point as argument, in a clean environment, and say why in the first line', async () => {
    process.env['HOLDPOINT_TEST_SECRET'] = 'secret';
    await put('10-env', `env | cut -d= -f1 | sort | tr '\\n' ' '; echo; exit 1`);
    await put('20-point', `echo "$1 $HOLDPOINT_POINT $# $(pwd) $PATH"; echo more; exit 1`);
    await put('30-met', 'echo not shown; exit 0');
    await put('40-silent', 'exit 1');
    const conditions = start({}, 'Download_Enter');
    await conditions.becomes(Array(3).fill('script/condition-not-met') as string[]);
    delete process.env['HOLDPOINT_TEST_SECRET'];
    const [environment, point, silent] = conditions.latest();
    // sh itself adds PWD, and with it OLDPWD and _ in some shells.
    expect(
      String(environment!.details['reason'])
        .split(' ')
        .filter((name) => !['PWD', 'OLDPWD', '_', 'SHLVL'].includes(name)),
    ).toEqual(['HOLDPOINT_POINT', 'HOLDPOINT_RUN', 'PATH']);
    expect(point).toMatchObject({
      id: 'script:20-point',
      kind: 'script',
      owner: '20-point',
      reasonCode: 'condition-not-met',
      endsWallMs: 0,
      isSkippable: false,
      details: {
        reason:
          'Download_Enter Download_Enter 1 / /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      },
    });
    expect(silent).toMatchObject({ owner: '40-silent', details: {} });
  });

  it('are one list from the first on, in the order of their names, however long each takes', async () => {
    await put('10-slow', 'sleep 0.5; exit 1');
    await put('20-quick', 'exit 1');
    const conditions = start();
    await conditions.becomes(['script/condition-not-met', 'script/condition-not-met']);
    expect(conditions.emissions).toHaveLength(1);
    expect(conditions.latest().map(({ owner }) => owner)).toEqual(['10-slow', '20-quick']);
  });

  it('are asked again, so that a change is seen in either direction', async () => {
    const flag = join(root, 'flag');
    await put('10-flag', `test -e ${flag} && exit 0; echo waiting for the flag; exit 1`);
    const conditions = start();
    await conditions.becomes(['script/condition-not-met']);
    const { sinceWallMs } = conditions.latest()[0]!;
    await writeFile(flag, '');
    await conditions.becomes([]);
    await rm(flag);
    await conditions.becomes(['script/condition-not-met']);
    expect(conditions.latest()[0]!.sinceWallMs).toBeGreaterThan(sinceWallMs);
    expect(conditions.emissions).toHaveLength(3);
  });

  it('that are added or removed later are seen', async () => {
    const conditions = start();
    await conditions.becomes([]);
    const path = await put('10-late', 'exit 1');
    await conditions.becomes(['script/condition-not-met']);
    await rm(path);
    await conditions.becomes([]);
  });

  it('that fail, die or cannot be started are not met, and say how', async () => {
    await put('10-two', 'echo out; echo the disk is broken >&2; exit 2');
    await put('20-killed', 'kill -KILL $$');
    await writeFile(join(folder, '30-garbage'), Buffer.from([0x7f, 0x45, 0x4c, 0x46, 1, 2, 3]), {
      mode: 0o755,
    });
    await writeFile(join(folder, '40-interpreter'), '#!/nonexistent/interpreter\n', { mode: 0o755 });
    const conditions = start();
    await conditions.becomes(Array(4).fill('script/script-failed') as string[]);
    const details = conditions.latest().map((one) => one.details);
    expect(details[0]).toEqual({ 'exit-status': 2, message: 'the disk is broken' });
    expect(details[1]).toEqual({ 'exit-status': 'SIGKILL' });
    expect(details[2]).toMatchObject({ 'error-code': 'ENOEXEC' });
    expect(details[3]).toMatchObject({ 'error-code': 'ENOENT' });
    const told = conditions.log.records.filter(({ sentence }) => sentence.includes('does not work'));
    // Side by side, so in any order.
    expect(told.map(({ level, fields }) => `${level} ${String(fields['script'])}`).sort()).toEqual([
      'warn 10-two',
      'warn 20-killed',
      'warn 30-garbage',
      'warn 40-interpreter',
    ]);
  });

  it('that hang are not met and are killed with all they started, even when they ignore the signal', async () => {
    const pidFile = join(root, 'pid');
    await put(
      '10-hang',
      `trap '' TERM; sh -c 'trap "" TERM; echo $$ > ${pidFile}; sleep 600; sleep 600' & wait; sleep 600`,
    );
    const conditions = start({ timeoutSeconds: 1, intervalSeconds: 60 });
    await conditions.becomes(['script/script-timeout']);
    expect(conditions.latest()[0]).toMatchObject({ owner: '10-hang', details: { 'timeout-seconds': 1 } });
    const pid = await pidIn(pidFile);
    await eventually('the child is gone', () => !isAlive(pid));
  });

  it('do not leave processes behind when they end by themselves', async () => {
    const pidFile = join(root, 'pid');
    await put(
      '10-fork',
      `sh -c 'echo $$ > ${pidFile}; exec sleep 600' & while [ ! -s ${pidFile} ]; do :; done; exit 1`,
    );
    const conditions = start({ intervalSeconds: 60 });
    await conditions.becomes(['script/condition-not-met']);
    const pid = await pidIn(pidFile);
    await eventually('the child is gone', () => !isAlive(pid));
    expect(conditions.log.records.some(({ sentence }) => sentence.includes('left processes behind'))).toBe(
      true,
    );
  });

  it('are ended with all they started when nobody watches any more', async () => {
    const pidFile = join(root, 'pid');
    await put('10-long', `sh -c 'trap "" TERM; echo $$ > ${pidFile}; sleep 600; sleep 600' & wait`);
    const conditions = start({ timeoutSeconds: 600 });
    const pid = await pidIn(pidFile);
    expect(isAlive(pid)).toBe(true);
    conditions.stop();
    watched = null;
    await eventually('the child is gone', () => !isAlive(pid));
    expect(conditions.emissions).toEqual([]);
  });

  it('that flood their output cost little memory and time', async () => {
    await put('10-flood', `head -c 200000000 /dev/zero | tr '\\0' x; exit 1`);
    await put('20-stderr', `yes nonsense | head -c 50000000 >&2; exit 3`);
    await put('30-control', `printf 'a\\033[2J\\001b\\000c\\342\\200\\256d\\r\\nsecond line'; exit 1`);
    const before = process.memoryUsage().rss;
    const conditions = start({ timeoutSeconds: 30, intervalSeconds: 60 });
    await conditions.becomes([
      'script/condition-not-met',
      'script/script-failed',
      'script/condition-not-met',
    ]);
    expect(conditions.latest()[0]!.details['reason']).toBe('x'.repeat(200));
    expect(conditions.latest()[1]!.details['message']).toBe('nonsense');
    expect(conditions.latest()[2]!.details['reason']).toBe('a\\x1b[2J\\x01b\\x00c\\u{202e}d');
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
  }, 40_000);

  it('run at most four at a time', async () => {
    const trace = join(root, 'trace');
    for (let index = 0; index < 10; index++) {
      await put(`${index}-busy`, `echo + >> ${trace}; sleep 0.2; echo - >> ${trace}; exit 0`);
    }
    await start({ intervalSeconds: 60 }).becomes([]);
    let running = 0;
    let most = 0;
    for (const sign of (await readFile(trace, 'utf8')).trim().split('\n')) {
      running += sign === '+' ? 1 : -1;
      most = Math.max(most, running);
    }
    expect(running).toBe(0);
    expect(most).toBeLessThanOrEqual(4);
    expect(most).toBeGreaterThan(1);
  });

  it('that others could have written are not run', async () => {
    const proof = join(root, 'proof');
    await put('10-group', `touch ${proof}`, 0o775);
    await put('20-world', `touch ${proof}`, 0o757);
    const target = join(root, 'elsewhere');
    await writeFile(target, `#!/bin/sh\ntouch ${proof}\n`);
    await chmod(target, 0o777);
    await symlink(target, join(folder, '40-link'));
    const conditions = start();
    await conditions.becomes(Array(3).fill('script/unsafe-permissions') as string[]);
    expect(conditions.latest()[0]!.details['message']).toBe('it can be written to by others (mode 0775)');
    expect(execFileSync('ls', [root]).toString()).not.toContain('proof');
    await chmod(folder, 0o777);
    await conditions.becomes(['script/unsafe-permissions']);
    expect(conditions.latest()[0]!.owner).toBe('conditions.d');
  });

  // Only root can give a file away.
  it.skipIf(process.getuid?.() !== 0)('that belong to somebody else are not run', async () => {
    const proof = join(root, 'proof');
    await chown(await put('10-foreign', `touch ${proof}`), 12_345, 12_345);
    const conditions = start();
    await conditions.becomes(['script/unsafe-permissions']);
    expect(conditions.latest()[0]!.details['message']).toBe('it is owned by user 12345');
    expect(execFileSync('ls', [root]).toString()).not.toContain('proof');
  });

  it('may be links to good files; leftovers, folders and files that are not executable are ignored', async () => {
    const target = join(root, 'good');
    await writeFile(target, '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    await symlink(target, join(folder, '10-link'));
    await put('.hidden', 'exit 1');
    await put('20-old~', 'exit 1');
    await put('20-old.dpkg-old', 'exit 1');
    await put('30-forgotten', 'exit 1', 0o644);
    await mkdir(join(folder, '40-folder'));
    const conditions = start();
    await conditions.becomes(['script/condition-not-met']);
    expect(conditions.latest()[0]!.owner).toBe('10-link');
    const warnings = conditions.log.records.filter(({ level }) => level === 'warn');
    expect(warnings.filter(({ fields }) => fields['name'] === '30-forgotten')).toHaveLength(1);
  });

  it('that are links to nothing are not met', async () => {
    await symlink('/nonexistent/script', join(folder, '10-dangling'));
    await start().becomes(['script/script-failed']);
  });

  it('are not run at points that are not theirs', async () => {
    await put('10-no', 'exit 1');
    watched = watch(
      { scripts: { ...RULE, points: ['Download_Enter'] } },
      { scriptsFolder: folder, point: POINT },
    );
    await watched.becomes([]);
  });

  it('are run once for two who look, and anew for one who comes later', async () => {
    const trace = join(root, 'trace');
    await put('10-count', `echo run >> ${trace}; exit 1`);
    const log = new RecordingLog();
    const conditions = createConditions(
      { ...NO_CONDITIONS, scripts: { ...RULE, intervalSeconds: 60 } },
      {
        clock: realClock,
        log,
        bus: new Bus({ address: NO_BUS, names: [], log }),
        scriptsFolder: folder,
        clockTrust: { builtWallMs: 0, files: [] },
      },
    );
    const counts = [0, 0];
    const one = conditions.unmet$(POINT).subscribe(() => counts[0]!++);
    const two = conditions.unmet$(POINT).subscribe(() => counts[1]!++);
    await eventually('both were told', () => counts[0] === 1 && counts[1] === 1);
    expect(await readFile(trace, 'utf8')).toBe('run\n');
    one.unsubscribe();
    two.unsubscribe();
    const three = conditions.unmet$(POINT).subscribe(() => counts[0]!++);
    await eventually('told again', () => counts[0] === 2);
    expect(await readFile(trace, 'utf8')).toBe('run\nrun\n');
    three.unsubscribe();
    expect(conditions.points).toEqual([POINT]);
  });
});

describe('the folder of condition scripts', () => {
  it('with more scripts than anybody would wait for is one that does not work', async () => {
    for (let index = 0; index <= MAX_SCRIPTS; index++) await put(`s${index}`, 'exit 0');
    expect((await findScripts(folder)).scripts).toEqual([
      { kind: 'unusable', name: 'conditions.d', problem: 'it holds more than 64 scripts' },
    ]);
  });

  it('that is a file is not met', async () => {
    const file = join(root, 'file');
    await writeFile(file, '', { mode: 0o644 });
    expect((await findScripts(file)).scripts).toEqual([
      { kind: 'unusable', name: 'conditions.d', problem: 'the folder cannot be read (ENOTDIR)' },
    ]);
  });

  it('is listed in byte order', async () => {
    for (const name of ['b', 'B', '10', '9', 'ä']) await put(name, 'exit 0');
    const names = (await findScripts(folder)).scripts.map((script) => script.name);
    expect(names).toEqual(['10', '9', 'B', 'b', 'ä']);
  });

  it('whose reader is gone before the answer starts nothing', async () => {
    const trace = join(root, 'trace');
    await put('10-count', `echo run >> ${trace}; exit 0`);
    const options = { clock: realClock, log: new RecordingLog(), folder };
    scripts$(POINT, RULE, options).subscribe().unsubscribe();
    await firstValueFrom(scripts$(POINT, RULE, options));
    expect(await readFile(trace, 'utf8')).toBe('run\n');
  });
});

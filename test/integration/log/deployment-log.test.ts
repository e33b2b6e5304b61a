import { execFileSync } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileDeploymentLog, type DeploymentLogSettings } from '../../../src/adapters/log/deployment-log.ts';
import { HandClock } from '../../support/clocks.ts';
import { RecordingLog } from '../../support/recording-log.ts';

let folder: string;
let log: RecordingLog;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-log-'));
  log = new RecordingLog();
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const make = (more: Partial<DeploymentLogSettings> = {}): FileDeploymentLog =>
  new FileDeploymentLog({ folder, ...more }, new HandClock(), log);
const text = (name: string): Promise<string> => readFile(join(folder, name), 'utf8');
const names = async (): Promise<string[]> => (await readdir(folder)).sort();
const messages = (lines: readonly string[]): string[] => lines.map((line) => JSON.parse(line).message);

async function writeOne(id: string, message: string): Promise<void> {
  const one = make();
  await one.open(id);
  one.write('info', message);
  await one.close();
}

describe('the deployment log', () => {
  it('writes JSON lines as the C++ client does', async () => {
    const one = make();
    await one.open('dep-1');
    one.write('info', 'hello "you"\nthere');
    one.write('warning', 'w');
    await one.flush();
    expect(await text('deployments.0000.dep-1.log')).toBe(
      '{"timestamp":"2026-01-02T03:04:05.678000Z","level":"info","message":"hello \\"you\\"\\nthere"}\n' +
        '{"timestamp":"2026-01-02T03:04:05.678000Z","level":"warning","message":"w"}\n',
    );
    expect((await stat(join(folder, 'deployments.0000.dep-1.log'))).mode & 0o777).toBe(0o600);
    await one.close();
  });

  it('goes on in the same file after a restart', async () => {
    await writeOne('dep-1', 'before');
    await writeOne('dep-1', 'after');
    expect(await names()).toEqual(['deployments.0000.dep-1.log']);
    expect(messages((await text('deployments.0000.dep-1.log')).trim().split('\n'))).toEqual([
      'before',
      'after',
    ]);
  });

  it('does not glue its first line to one a power cut left unfinished', async () => {
    await writeOne('dep-1', 'before');
    await appendFile(join(folder, 'deployments.0000.dep-1.log'), '{"timesta');
    const one = make();
    await one.open('dep-1');
    one.write('info', 'after');
    const page = await one.read('dep-1', 0, 10);
    expect(messages(page!.lines)).toEqual([
      '(THE ORIGINAL LOGS CONTAINED INVALID ENTRIES)',
      'before',
      '(CORRUPTED LOG DATA)',
      'after',
    ]);
    await one.close();
  });

  it('keeps five logs, the newest numbered 0000', async () => {
    for (let index = 1; index <= 7; index++) await writeOne(`d${index}`, `m${index}`);
    expect(await names()).toEqual([
      'deployments.0000.d7.log',
      'deployments.0001.d6.log',
      'deployments.0002.d5.log',
      'deployments.0003.d4.log',
      'deployments.0004.d3.log',
    ]);
    expect(messages((await text('deployments.0004.d3.log')).trim().split('\n'))).toEqual(['m3']);
  });

  it('takes up an older log again, and closes gaps in the numbers', async () => {
    await writeFile(join(folder, 'deployments.0001.a.log'), '');
    await writeFile(join(folder, 'deployments.0004.b.log'), '');
    await writeFile(join(folder, 'unrelated.log'), '');
    await writeOne('b', 'again');
    expect(await names()).toEqual(['deployments.0000.b.log', 'deployments.0001.a.log', 'unrelated.log']);
  });

  it('refuses ids that are no file names, without failing', async () => {
    for (const id of ['../evil', '..', '', 'a/b', 'a\nb', 'x'.repeat(300)]) {
      const one = make({ folder: join(folder, 'in') });
      await one.open(id);
      one.write('info', 'lost');
      await one.flush();
      await one.close();
      expect(await one.read(id, 0, 10)).toBeNull();
    }
    expect(await names()).toEqual([]);
    expect(log.records.length).toBe(6);
  });

  it('ignores what is written while no deployment is open', async () => {
    const one = make();
    one.write('info', 'early');
    await one.open('a');
    await one.close();
    one.write('info', 'late');
    await one.flush();
    expect(await text('deployments.0000.a.log')).toBe('');
  });

  it('does not fail when its folder cannot be made, and says so once', async () => {
    await writeFile(join(folder, 'file'), '');
    const one = make({ folder: join(folder, 'file/logs') });
    await one.open('a');
    for (let index = 0; index < 100; index++) one.write('info', 'x');
    await one.close();
    expect(log.records.map((record) => record.sentence)).toEqual(['deployment log failed']);
  });
});

describe('reading a deployment log', () => {
  it('pages through it while it grows', async () => {
    const one = make();
    await one.open('a');
    for (let index = 0; index < 10; index++) one.write('info', `m${index}`);
    const first = (await one.read('a', 0, 4))!;
    expect([messages(first.lines), first.nextLine]).toEqual([['m0', 'm1', 'm2', 'm3'], 4]);
    one.write('info', 'm10');
    const second = (await one.read('a', first.nextLine, 100))!;
    expect(messages(second.lines)).toEqual(['m4', 'm5', 'm6', 'm7', 'm8', 'm9', 'm10']);
    expect(await one.read('a', second.nextLine, 100)).toEqual({ lines: [], nextLine: 11 });
    one.write('info', 'm11');
    expect(messages((await one.read('a', 11, 100))!.lines)).toEqual(['m11']);
    expect(messages((await one.read('a', 2, 2))!.lines)).toEqual(['m2', 'm3']);
    expect(await one.read('a', 500, 2)).toEqual({ lines: [], nextLine: 500 });
    await one.close();
  });

  it('answers null for a deployment it has no log of', async () => {
    expect(await make().read('none', 0, 10)).toBeNull();
  });

  it('reads finished logs of other deployments', async () => {
    await writeOne('old', 'o');
    await writeOne('new', 'n');
    const one = make();
    expect(messages((await one.read('old', 0, 10))!.lines)).toEqual(['o']);
    expect(messages((await one.read('new', 0, 10))!.lines)).toEqual(['n']);
  });

  it('replaces damaged lines, with the last good time, and marks the whole', async () => {
    const good = (stamp: string): string => `{"timestamp":"${stamp}","level":"info","message":"ok"}\n`;
    await writeFile(
      join(folder, 'deployments.0000.a.log'),
      Buffer.concat([
        Buffer.from('garbage\n'),
        Buffer.from(good('T1')),
        Buffer.from('{"timestamp":1,"level":"info","message":"x"}\n[]\nnull\n\n'),
        Buffer.from(good('T2')),
        Buffer.alloc(600_000),
        Buffer.from('\n{"unfinished'),
      ]),
    );
    const one = make();
    const all = (await one.read('a', 0, 100))!;
    const stamps = all.lines.map((line) => [JSON.parse(line).timestamp, JSON.parse(line).message]);
    const epoch = '1970-01-01T00:00:00.000000Z';
    const corrupted = '(CORRUPTED LOG DATA)';
    expect(stamps).toEqual([
      [epoch, '(THE ORIGINAL LOGS CONTAINED INVALID ENTRIES)'],
      [epoch, corrupted],
      ['T1', 'ok'],
      ['T1', corrupted],
      ['T1', corrupted],
      ['T1', corrupted],
      ['T1', corrupted],
      ['T2', 'ok'],
      ['T2', corrupted],
      ['T2', corrupted],
    ]);
    expect(all.nextLine).toBe(10);
    // Page by page it is the same text.
    const paged: string[] = [];
    for (let line = 0; ;) {
      const page = (await one.read('a', line, 3))!;
      if (page.lines.length === 0) break;
      paged.push(...page.lines);
      line = page.nextLine;
    }
    expect(paged).toEqual(all.lines);
    // And from the middle, with a reader that has read nothing before.
    expect((await make().read('a', 7, 2))!.lines).toEqual(all.lines.slice(7, 9));
  });

  it('never gives more than 512 KiB at once, and everything in the end', async () => {
    const one = make();
    await one.open('a');
    for (let index = 0; index < 100; index++) {
      one.write('info', `${index} ${'x'.repeat(15_000)}`);
      if (index % 20 === 0) await one.flush();
    }
    const seen: string[] = [];
    let pages = 0;
    for (let line = 0; ; pages++) {
      const page = (await one.read('a', line, 1000))!;
      if (page.lines.length === 0) break;
      expect(page.lines.reduce((sum, entry) => sum + entry.length, 0)).toBeLessThanOrEqual(512 * 1024);
      seen.push(...messages(page.lines));
      line = page.nextLine;
    }
    expect(pages).toBeGreaterThan(2);
    expect(seen.map((entry) => Number(entry.split(' ')[0]))).toEqual(
      Array.from({ length: 100 }, (_, i) => i),
    );
    await one.close();
  });
});

describe('limits of the deployment log', () => {
  it('cuts an endless message and bounds what waits for the disk', async () => {
    const one = make();
    await one.open('a');
    for (let index = 0; index < 1000; index++) one.write('info', 'y'.repeat(100_000));
    await one.flush();
    const { size } = await stat(join(folder, 'deployments.0000.a.log'));
    expect(size).toBeLessThan(1_100_000);
    expect(await text('deployments.0000.a.log')).toMatch(/\(83616 characters cut\)[^]*lines are lost here\)/);
    await one.close();
  });

  it('stops at its size for information, but still takes warnings and errors', async () => {
    const one = make({ maxLogBytes: 10_000 });
    await one.open('a');
    for (let index = 0; index < 200; index++) {
      one.write('info', 'z'.repeat(200));
      await one.flush();
    }
    one.write('error', 'the end');
    await one.flush();
    const all = await text('deployments.0000.a.log');
    expect(all.length).toBeLessThan(11_100);
    expect(all.match(/the log is full/g)).toHaveLength(1);
    expect(all).toContain('the end');
    await one.close();
  });

  it('deletes the oldest logs when less than 100 KiB are free, then goes on without room', async () => {
    const small = join(folder, 'small');
    await mkdir(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', small]);
    try {
      await writeFile(join(small, 'deployments.0000.new.log'), Buffer.alloc(120_000));
      await writeFile(join(small, 'deployments.0001.older.log'), Buffer.alloc(120_000));
      await writeFile(join(small, 'deployments.0002.oldest.log'), Buffer.alloc(120_000));
      const one = make({ folder: small });
      await one.open('now');
      expect((await readdir(small)).sort()).toEqual([
        'deployments.0000.now.log',
        'deployments.0001.new.log',
        'deployments.0002.older.log',
      ]);
      // The disk fills up completely: other logs go first, then lines are lost, and the lines kept are whole.
      await writeFile(join(small, 'filler'), Buffer.alloc(400_000)).catch(() => {});
      for (let index = 0; index < 400; index++) {
        one.write('info', `${index} ${'x'.repeat(1000)}`);
        await one.flush();
      }
      expect(await readdir(small)).not.toContain('deployments.0002.older.log');
      await rm(join(small, 'filler'));
      one.write('info', 'room again');
      await one.flush();
      const lines = (await readFile(join(small, 'deployments.0000.now.log'), 'utf8')).trim().split('\n');
      const all = messages(lines);
      expect(all.at(-2)! + all.at(-1)!).toContain('room again');
      expect(all.join()).toContain('lines are lost here');
      await one.close();
    } finally {
      execFileSync('umount', [small]);
    }
  });
});

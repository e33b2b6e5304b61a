/** The units as systemd reads them, and what they may by its own measure. */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const UNITS = resolve('packaging/systemd');
const RECORD = resolve('docs/decisions/0045-one-unit-what-it-may.md');
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-units-'));
  for (const name of await readdir(UNITS)) {
    if (!/\.(service|timer)$/.test(name)) continue;
    // The programs are installed by the package only; whether they are where the units say is that one's test.
    const text = await readFile(join(UNITS, name), 'utf8');
    await writeFile(
      join(folder, name),
      text.replaceAll(/\/usr\/(bin|lib\/holdpoint)\/(holdpointd?|trial-boot)\b/g, '/bin/true'),
    );
  }
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Said {
  readonly status: number;
  readonly text: string;
}

function analyze(args: readonly string[]): Promise<Said> {
  return new Promise((done) => {
    execFile(
      'systemd-analyze',
      [...args, '--no-pager'],
      { env: { PATH: process.env['PATH'] } },
      (error, out, err) => {
        done({ status: error === null ? 0 : 1, text: out + err });
      },
    );
  });
}

async function exposureOf(unit: string): Promise<number> {
  const { text } = await analyze(['security', '--offline=true', unit]);
  const [, level] = /Overall exposure level for \S+: ([\d.]+)/.exec(text) ?? [];
  if (level === undefined) throw new Error(`systemd-analyze security said:\n${text}`);
  return Number(level);
}

/** As published: `Unit` of the table to its exposure. */
async function published(unit: string): Promise<number> {
  const line = (await readFile(RECORD, 'utf8')).split('\n').find((row) => row.startsWith(`| ${unit} `));
  return Number(line?.split('|')[2]);
}

describe('the units', () => {
  it('are units without a complaint of systemd', async () => {
    const names = (await readdir(folder)).map((name) => join(folder, name));
    expect(names.length).toBeGreaterThan(2);
    expect(await analyze(['verify', '--man=no', ...names])).toEqual({ status: 0, text: '' });
  });

  it('would be complained of, were a line wrong', async () => {
    const wrong = join(folder, 'wrong', 'holdpointd.service');
    await mkdir(join(folder, 'wrong'));
    const text = await readFile(join(folder, 'holdpointd.service'), 'utf8');
    await writeFile(wrong, text.replace('KillMode=mixed', 'KillMode=mixt'));
    expect((await analyze(['verify', '--man=no', wrong])).text).toContain('mixt');
  });

  it('need no bus: a rollback runs without one', async () => {
    const text = await readFile(join(UNITS, 'holdpointd.service'), 'utf8');
    expect(text).toMatch(/^Type=exec$/m);
    expect(text).toMatch(/^Wants=dbus\.socket$/m);
    expect(text).not.toMatch(/^(Requires|Requisite|BindsTo|PartOf|BusName|JoinsNamespaceOf)=/m);
  });
});

describe('what the units may, as systemd-analyze measures it', () => {
  it('is published for the service', async () => {
    expect(await exposureOf(join(folder, 'holdpointd.service'))).toBe(
      await published('`holdpointd.service`'),
    );
  });

  it('is at most 4.0 where a device is updated by whole images', async () => {
    const hardened = join(folder, 'hardened', 'holdpointd.service');
    await mkdir(`${hardened}.d`, { recursive: true });
    await cp(join(folder, 'holdpointd.service'), hardened);
    await cp(join(UNITS, 'images-only.conf'), join(`${hardened}.d`, 'images-only.conf'));
    const exposure = await exposureOf(hardened);
    expect(exposure).toBe(await published('`holdpointd.service`, `images-only.conf`'));
    expect(exposure).toBeLessThanOrEqual(4);
    expect(await analyze(['verify', '--man=no', hardened])).toEqual({ status: 0, text: '' });
  });

  it('is next to nothing for the client of the timer', async () => {
    expect(await exposureOf(join(folder, 'holdpoint-check.service'))).toBe(
      await published('`holdpoint-check.service`'),
    );
  });
});

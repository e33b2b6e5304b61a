import { mkdtemp, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AccessTable } from '../../../../src/adapters/dbus/access-table.ts';
import type { AccessRule } from '../../../../src/core/access.ts';
import { RecordingLog } from '../../../support/recording-log.ts';

let folder: string;
let passwdPath: string;
let groupPath: string;
let log: RecordingLog;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-table-'));
  passwdPath = join(folder, 'passwd');
  groupPath = join(folder, 'group');
  log = new RecordingLog();
  await writeFile(passwdPath, 'root:x:0:0::/:/bin/sh\nkiosk:x:1000:100:Kiosk,,:/home/kiosk:/bin/sh\n');
  await writeFile(groupPath, 'root:x:0:\nholdpoint:x:500:kiosk,other\nusers:x:100:\n');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const RULE: AccessRule = { users: [], groups: [], actions: ['continue'], points: null };

function tableOf(...rules: readonly Partial<AccessRule>[]): AccessTable {
  const complete = rules.map((rule) => ({ ...RULE, ...rule }));
  return new AccessTable(complete, { log, passwdPath, groupPath });
}

describe('a rule', () => {
  test('is for its actions, users and groups, by name and by number', async () => {
    const table = tableOf({ users: ['kiosk', 7] }, { groups: ['holdpoint', 8], actions: ['hold'] });
    const may = (uid: number, gids: readonly number[], action: 'continue' | 'hold'): Promise<boolean> =>
      table.allows({ uid, gids }, action, []);
    expect(await may(1000, [], 'continue')).toBe(true);
    expect(await may(7, [], 'continue')).toBe(true);
    expect(await may(1000, [], 'hold')).toBe(false);
    expect(await may(1, [500], 'hold')).toBe(true);
    expect(await may(1, [100, 8], 'hold')).toBe(true);
    expect(await may(1, [100], 'hold')).toBe(false);
    // A group's number is no user's, nor the other way round.
    expect(await may(500, [1000, 7], 'continue')).toBe(false);
    expect(await may(8, [], 'hold')).toBe(false);
  });

  test('limited to points covers these and no others, and neither none', async () => {
    const table = tableOf({ users: [1], points: ['ArtifactReboot_Enter', 'ArtifactCommit_Enter'] });
    const may = (...points: readonly string[]): Promise<boolean> =>
      table.allows({ uid: 1, gids: [] }, 'continue', points);
    expect(await may('ArtifactReboot_Enter')).toBe(true);
    expect(await may('ArtifactReboot_Enter', 'ArtifactCommit_Enter')).toBe(true);
    expect(await may('ArtifactReboot_Enter', 'Download_Enter')).toBe(false);
    expect(await may('unknown')).toBe(false);
    expect(await may()).toBe(false);
  });

  test('with a name that nobody has is for nobody', async () => {
    const table = tableOf({ users: ['ghost', '__proto__'], groups: ['ghosts', 'constructor'] });
    expect(await table.allows({ uid: 0, gids: [0] }, 'continue', [])).toBe(false);
    expect(log.records).toEqual([]);
  });
});

describe('names', () => {
  test('mean what the files say at the time of the call, rewritten or replaced', async () => {
    const table = tableOf({ users: ['operator'] });
    const may = (uid: number): Promise<boolean> => table.allows({ uid, gids: [] }, 'continue', []);
    expect(await may(1001)).toBe(false);
    await writeFile(passwdPath, 'operator:x:1001:100::/:/bin/sh\n');
    expect(await may(1001)).toBe(true);
    const next = join(folder, 'next');
    await writeFile(next, 'operator:x:1002:100::/:/bin/sh\n');
    // Same length and time: only the file is another one.
    await utimes(next, 1, 1);
    await utimes(passwdPath, 1, 1);
    expect(await may(1001)).toBe(true);
    await rename(next, passwdPath);
    expect([await may(1001), await may(1002)]).toEqual([false, true]);
  });

  test('are the first of their kind, and lines that are no entry name nobody', async () => {
    await writeFile(
      passwdPath,
      [
        '# kiosk:x:3:',
        'kiosk',
        'kiosk:x:-1:',
        'kiosk:x:0x10:',
        '+kiosk::1:',
        'kiosk:x:5:',
        'kiosk:x:6:',
      ].join('\n'),
    );
    const table = tableOf({ users: ['kiosk'] });
    for (const uid of [-1, 0, 1, 3, 6, 16]) {
      expect(await table.allows({ uid, gids: [] }, 'continue', []), String(uid)).toBe(false);
    }
    expect(await table.allows({ uid: 5, gids: [] }, 'continue', [])).toBe(true);
  });

  test('name nobody while their file cannot be read, which is told once, and count again afterwards', async () => {
    const table = tableOf({ users: ['kiosk'] });
    await rename(passwdPath, join(folder, 'away'));
    expect(await table.allows({ uid: 1000, gids: [] }, 'continue', [])).toBe(false);
    expect(await table.allows({ uid: 1000, gids: [] }, 'continue', [])).toBe(false);
    expect(log.records).toHaveLength(1);
    expect(log.records[0]).toMatchObject({ level: 'warn', fields: { path: passwdPath } });
    await rename(join(folder, 'away'), passwdPath);
    expect(await table.allows({ uid: 1000, gids: [] }, 'continue', [])).toBe(true);
  });
});

describe('groups of a caller', () => {
  test('are those the bus tells and no others', async () => {
    const table = tableOf({ groups: ['holdpoint'] });
    // A member by the file who connected before he became one.
    expect(await table.allows({ uid: 1000, gids: [100] }, 'continue', [])).toBe(false);
  });

  test('are looked up, the primary one too, on a bus that does not tell', async () => {
    const unknown = { gids: null };
    expect(await tableOf({ groups: ['holdpoint'] }).allows({ uid: 1000, ...unknown }, 'continue', [])).toBe(
      true,
    );
    expect(await tableOf({ groups: ['users'] }).allows({ uid: 1000, ...unknown }, 'continue', [])).toBe(true);
    expect(await tableOf({ groups: ['root'] }).allows({ uid: 1000, ...unknown }, 'continue', [])).toBe(false);
    expect(await tableOf({ groups: ['users'] }).allows({ uid: 4711, ...unknown }, 'continue', [])).toBe(
      false,
    );
  });
});

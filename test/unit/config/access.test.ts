import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadSettings } from '../../../src/config/load.ts';
import { DEFAULT_ACCESS, type AccessSettings } from '../../../src/core/access.ts';
import { UpdateError } from '../../../src/core/errors.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-access-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function put(name: string, content: unknown): Promise<void> {
  await mkdir(join(root, 'conf.d'), { recursive: true });
  await writeFile(join(root, name), JSON.stringify(content, null, 1));
}

const places = (): Record<string, string> => ({
  MENDER_CONF_DIR: join(root, 'mender'),
  MENDER_DATASTORE_DIR: join(root, 'data'),
  HOLDPOINT_CONF_DIR: root,
});

async function accessOf(access: unknown): Promise<AccessSettings> {
  await put('holdpoint.json', { Access: access });
  return (await loadSettings({}, places())).settings.access;
}

async function complaintOf(access: unknown): Promise<string> {
  const error: unknown = await accessOf(access).then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UpdateError);
  expect((error as UpdateError).kind).toBe('config');
  return (error as UpdateError).message;
}

describe('the access table', () => {
  test('gives the group holdpoint the everyday rights as long as nothing is configured', async () => {
    expect((await loadSettings({}, places())).settings.access).toEqual(DEFAULT_ACCESS);
    expect(await accessOf({})).toEqual(DEFAULT_ACCESS);
    expect(await accessOf({ polkit: 'off' })).toEqual({ ...DEFAULT_ACCESS, polkit: 'off' });
  });

  test('is what the file says, in place of the default', async () => {
    const rule = { users: ['kiosk', 1000], actions: ['continue'], points: ['ArtifactReboot_Enter'] };
    expect(
      await accessOf({ polkit: 'required', rules: [rule, { groups: ['wheel', 10], actions: ['enable'] }] }),
    ).toEqual({
      polkit: 'required',
      rules: [
        { users: ['kiosk', 1000], groups: [], actions: ['continue'], points: ['ArtifactReboot_Enter'] },
        { users: [], groups: ['wheel', 10], actions: ['enable'], points: null },
      ],
    });
    expect((await accessOf({ rules: [] })).rules).toEqual([]);
  });

  test('of a later file replaces that of an earlier one, and check-config shows where it is from', async () => {
    await put('holdpoint.json', { Access: { polkit: 'off', rules: [{ users: ['a'], actions: ['hold'] }] } });
    await put('conf.d/50-site.json', { Access: { rules: [{ users: ['b'], actions: ['abort'] }] } });
    const { settings, origins } = await loadSettings({}, places());
    expect(settings.access.polkit).toBe('off');
    expect(settings.access.rules.map(({ users }) => users)).toEqual([['b']]);
    const line = origins.find(({ key }) => key === 'Access.rules');
    expect(line).toMatchObject({ origin: { kind: 'file', path: join(root, 'conf.d/50-site.json') } });
  });

  test.each([
    ['a misspelt member', { polkt: 'off' }, /unknown key Access\.polkt \(did you mean Access\.polkit\?\)/],
    ['an unknown mode', { polkit: 'on' }, /Access\.polkit: found "on", expected one of auto, required, off/],
    ['rules that are no list', { rules: {} }, /Access\.rules: found an object, expected an array of objects/],
    ['a rule that is no object', { rules: ['x'] }, /Access\.rules/],
    ['nobody', { rules: [{ actions: ['hold'] }] }, /rules\[0\]: found nobody, expected users or groups/],
    ['no actions', { rules: [{ users: ['a'] }] }, /rules\[0\]: found no actions, expected some of check/],
    [
      'a misspelt action',
      { rules: [{ users: ['a'], actions: ['hold', 'contine'] }] },
      /rules\[0\]\.actions\[1\]: found "contine", expected one of .* \(did you mean continue\?\)/,
    ],
    [
      'a misspelt member of a rule',
      { rules: [{ user: ['a'], actions: ['hold'] }] },
      /rules\[0\]: found the member "user", expected users, groups, actions, points \(did you mean users\?\)/,
    ],
    [
      'an unknown point',
      { rules: [{ users: ['a'], actions: ['hold'], points: ['Reboot'] }] },
      /points\[0\]: found "Reboot"/,
    ],
    [
      'an empty list of points',
      { rules: [{ users: ['a'], actions: ['hold'], points: [] }] },
      /points: found an empty list/,
    ],
    [
      'null for points',
      { rules: [{ users: ['a'], actions: ['hold'], points: null }] },
      /points: found null, expected a list/,
    ],
    [
      'points beside an action that happens at none',
      { rules: [{ users: ['a'], actions: ['install'], points: ['Download_Enter'] }] },
      /points: found the action install, which happens at no point/,
    ],
    [
      'a number in quotes',
      { rules: [{ users: ['1000'], actions: ['hold'] }] },
      /users\[0\]: found "1000", expected a name/,
    ],
    ['a negative number', { rules: [{ users: [-1], actions: ['hold'] }] }, /users\[0\]: found -1/],
    [
      'the number of nobody at all',
      { rules: [{ groups: [4_294_967_295], actions: ['hold'] }] },
      /groups\[0\]/,
    ],
    [
      'a name no file can hold',
      { rules: [{ users: ['a:b'], actions: ['hold'] }] },
      /users\[0\]: found "a:b"/,
    ],
  ])('is refused with %s', async (_what, access, message) => {
    const complaint = await complaintOf(access);
    expect(complaint).toMatch(message);
    expect(complaint).toContain(join(root, 'holdpoint.json'));
  });
});

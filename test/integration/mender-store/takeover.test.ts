import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { Subject } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openBy } from '../../../src/adapters/mender-store/open-by.ts';
import { exportMenderStore, renewMenderStore, takeOverFromMender } from '../../../src/app/takeover.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { initialState, NOTHING_INSTALLED, type UpdateState } from '../../../src/core/state.ts';
import { eventually } from '../../support/eventually.ts';
import { entriesOf, makeStore, picture, place, storeOf, toolsOf, type Place } from './support.ts';

const ID = '5f0e7c1e-0000-4000-8000-000000000001';
const INSTALLED = {
  artifactName: 'shop-4.3',
  artifactGroup: 'tills',
  provides: { 'a.version': '1', b: 'ü\n"&' },
};

/** As spec/configuration.md section 3.3 gives it for 5.x. */
const state5 = (name: string, more: Readonly<Record<string, unknown>> = {}): string =>
  JSON.stringify({
    Version: 2,
    Name: name,
    UpdateInfo: {
      Artifact: {
        Source: { URI: 'https://server/x?a=1&b=2', Expire: '2031-02-03T04:05:06Z' },
        device_types_compatible: ['kiosk-a'],
        PayloadTypes: ['rootfs-image'],
        artifact_name: 'shop-4.3',
        artifact_group: '',
        artifact_provides: { 'rootfs-image.version': '4.3' },
        clears_artifact_provides: ['rootfs-image.*'],
      },
      ID,
      RebootRequested: ['reboot-type-custom'],
      SupportsRollback: 'rollback-supported',
      StateDataStoreCount: 7,
      HasDBSchemaUpdate: false,
      AllRollbacksSuccessful: false,
      ...more,
    },
  });
const GOOD = {
  'artifact-name': 'shop-4.2',
  'artifact-group': 'tills',
  'artifact-provides': '{"rootfs-image.version":"4.2"}',
  state: state5('reboot'),
};

let where: Place;
beforeEach(async () => {
  where = await place();
});
afterEach(async () => {
  await where.remove();
});

async function firstStart(tools = toolsOf(where)) {
  return takeOverFromMender(tools, await tools.states.load());
}

function refusalOf(work: Promise<unknown>): Promise<UpdateError> {
  return work.then(
    () => expect.fail('it was not refused'),
    (error: unknown) => {
      expect(error).toBeInstanceOf(UpdateError);
      return error as UpdateError;
    },
  );
}

describe('a first start beside a Mender store', () => {
  it('takes over what a 5.x client left, stores it, and changes nothing of the client', async () => {
    await makeStore(where.storeFile, GOOD);
    await writeFile(join(where.datastore, 'mender-agent.pem'), 'a key\n', { mode: 0o600 });
    const before = await picture(where.datastore);
    const tools = toolsOf(where);
    const result = await firstStart(tools);
    expect(result?.seed).toMatchObject({
      step: 'reboot',
      installed: {
        artifactName: 'shop-4.2',
        artifactGroup: 'tills',
        provides: { 'rootfs-image.version': '4.2' },
      },
      deployment: { id: ID, rebootNeed: 'Yes', location: { kind: 'url', url: 'https://server/x?a=1&b=2' } },
    });
    expect((await tools.states.load()).document).toEqual(result?.seed);
    const { 'holdpoint/state-a.json': _a, ...after } = await picture(where.datastore);
    expect(after).toEqual(before);
    expect((await stat(join(where.datastore, 'mender-agent.pem'))).mode & 0o777).toBe(0o600);
  });

  it('does not look at the store a second time', async () => {
    await makeStore(where.storeFile, GOOD);
    await firstStart();
    await makeStore(where.storeFile, { 'artifact-name': 'another' });
    const tools = toolsOf(where);
    expect(await firstStart(tools)).toBeNull();
    expect((await tools.states.load()).document?.installed.artifactName).toBe('shop-4.2');
  });

  it('begins anew after a cut between its two records', async () => {
    const record = { Version: 1, ArtifactName: 'shop-4.3', PayloadTypes: ['probe'] };
    await makeStore(where.storeFile, { ...GOOD, 'standalone-state': JSON.stringify(record) });
    const tools = toolsOf(where);
    const full = new UpdateError('noSpace', 'no space left');
    const states = { load: () => tools.states.load(), save: () => Promise.reject(full) };
    await expect(firstStart({ ...tools, states })).rejects.toBe(full);
    expect((await tools.records.load()).document?.artifactName).toBe('shop-4.3');
    expect((await firstStart())?.seed.deployment?.id).toBe(ID);
  });

  it('does not take a damaged state of its own for a first start', async () => {
    await makeStore(where.storeFile, GOOD);
    await writeFile(join(where.stateDirectory, 'state-a.json'), 'nothing of ours');
    expect(await firstStart()).toBeNull();
  });

  it('goes on without a store, with one never written to, and with an empty file', async () => {
    expect(await firstStart()).toBeNull();
    await makeStore(where.storeFile, {});
    expect(await firstStart()).toBeNull();
    await truncate(where.storeFile, 0);
    expect(await firstStart()).toBeNull();
    expect(await readdir(where.stateDirectory)).toEqual([]);
  });

  it('has the name from artifact_info where the store of an old client has none', async () => {
    const datastore = join(where.datastore, 'data');
    await mkdir(join(where.datastore, 'conf'));
    await writeFile(
      join(where.datastore, 'conf/artifact_info'),
      '# c\nartifact_name = first \nartifact_group=g\n',
    );
    const other = await place(datastore);
    await makeStore(other.storeFile, {});
    expect((await firstStart(toolsOf(other)))?.installed).toEqual({
      artifactName: 'first',
      artifactGroup: 'g',
      provides: {},
    });
  });

  it.each([
    [1, { Version: 1, ArtifactTypeInfoProvides: null }, 'Before_ArtifactCommit_Enter'],
    [
      2,
      { Version: 2, InState: 'ArtifactCommit_Leave', Failed: false, RolledBack: false },
      'ArtifactCommit_Leave',
    ],
  ])('takes over an update of the command line, version %i', async (_version, members, inState) => {
    const record = { ArtifactName: 'shop-4.3', ArtifactGroup: '', PayloadTypes: ['probe'], ...members };
    await makeStore(where.storeFile, {
      'artifact-name': 'shop-4.2',
      'standalone-state': JSON.stringify(record),
    });
    const tools = toolsOf(where);
    await firstStart(tools);
    expect((await tools.records.load()).document).toMatchObject({ artifactName: 'shop-4.3', inState });
  });

  it('reads version 1 of the record, and the newer form of it that is not committed', async () => {
    const version1 = {
      Version: 1,
      Name: 'reboot',
      UpdateInfo: {
        ID,
        Artifact: { Source: { URI: 'u' }, device_types_compatible: ['k'], artifact_name: 'old' },
      },
    };
    await makeStore(where.storeFile, { ...GOOD, state: JSON.stringify(version1) });
    expect((await storeOf(where).read())?.update).toMatchObject({
      name: 'reboot',
      payloadTypes: ['rootfs-image'],
      rebootRequested: ['reboot-type-custom'],
      supportsRollback: 'rollback-supported',
      areAllRollbacksSuccessful: null,
    });
    const both = { ...GOOD, state: JSON.stringify(version1), 'state-uncommitted': state5('after-reboot') };
    await makeStore(where.storeFile, both);
    expect((await storeOf(where).read())?.update?.name).toBe('after-reboot');
    const other = { ...both, 'state-uncommitted': state5('after-reboot', { ID: 'another' }) };
    await makeStore(where.storeFile, other);
    expect((await storeOf(where).read())?.update?.name).toBe('reboot');
  });
});

describe('values that make no sense', () => {
  it.each([
    ['artifact-name', Buffer.from([0xff, 0xfe]), /no UTF-8/],
    ['artifact-name', 'two\nlines', /expected one line/],
    ['artifact-provides', '{"a":1}', /found a 1|found .*1, expected string/],
    ['artifact-provides', '{"a":', /no JSON/],
    ['artifact-provides', '["a"]', /found a list, expected an object/],
    ['state', 'garbage', /found 7 bytes that are no JSON, expected an object/],
    ['state', '{"Version":3}', /found Version 3/],
    ['state', state5('reboot', { ID: '' }), /UpdateInfo.ID/],
    ['state', state5('reboot', { RebootRequested: ['perhaps'] }), /RebootRequested/],
    ['state', state5('reboot', { StateDataStoreCount: -1 }), /StateDataStoreCount/],
    ['standalone-state', '{"Version":2}', /PayloadTypes/],
    ['standalone-state', '{"Version":9,"PayloadTypes":["a"]}', /standalone/],
    ['standalone-state', '{"Version":1,"PayloadTypes":["a","b"]}', /found 2 payloads, expected one/],
    ['update-control-maps', '[]', /found/],
    ['update-control-maps', '{"active":[{"id":1}],"expired":null}', /active map 0/],
  ] as const)('in %s (%s) are a complaint, and the others are taken', async (key, value, message) => {
    await makeStore(where.storeFile, { ...GOOD, [key]: value });
    const tools = toolsOf(where);
    const result = await firstStart(tools);
    expect(result?.complaints).toEqual([{ key, message: expect.stringMatching(message) }]);
    expect(tools.log.records.filter(({ level }) => level === 'error')).toMatchObject([{ fields: { key } }]);
    const { installed, deployment } = result!.seed;
    expect(installed.artifactGroup).toBe('tills');
    if (key !== 'artifact-name') expect(installed.artifactName).toBe('shop-4.2');
    if (key !== 'state') expect(deployment?.id).toBe(ID);
  });

  it('are none where 3.x wrote null', async () => {
    const nulls = {
      'artifact-name': 'a',
      'artifact-provides': 'null',
      'update-control-maps': '{"active":null,"expired":null}',
    };
    await makeStore(where.storeFile, nulls);
    expect(await firstStart()).toMatchObject({ complaints: [], installed: { provides: {} } });
  });
});

describe('a store that cannot be read', () => {
  const nothingChanged = async (work: () => Promise<UpdateError>): Promise<UpdateError> => {
    const before = await picture(where.datastore);
    const error = await work();
    expect(await picture(where.datastore)).toEqual(before);
    expect(error.message).toContain(where.storeFile);
    expect(error.message).toContain('nothing was changed');
    return error;
  };

  it('is a refusal to start that names the package when mdb_dump is missing', async () => {
    await makeStore(where.storeFile, GOOD);
    const tools = toolsOf(where, { dumpProgram: 'mdb_dump-is-not-here' });
    const error = await nothingChanged(() => refusalOf(firstStart(tools)));
    expect(error).toMatchObject({ kind: 'store', details: { package: 'lmdb-utils' } });
    expect(error.message).toContain('install the Debian package lmdb-utils');
  });

  it.each([
    ['text', async (path: string) => writeFile(path, 'this is no database\n'.repeat(1000))],
    ['its head only', async (path: string) => truncate(path, 100)],
    ['the file format of LMDB 1.0', (path: string) => overwrite(path, 20, Buffer.from([2]))],
    ['the half of it', async (path: string) => truncate(path, 8192)],
  ])('is a refusal when it is %s', async (_what, damage) => {
    await makeStore(where.storeFile, {
      ...GOOD,
      'artifact-provides': JSON.stringify({ a: 'x'.repeat(20_000) }),
    });
    await damage(where.storeFile);
    const error = await nothingChanged(() => refusalOf(firstStart()));
    expect(error.kind).toBe('store');
    expect(error.message).toMatch(/Start the Mender client once .*, or move the file away/);
  });

  it('is a refusal when a folder has its name, and when a link leads nowhere', async () => {
    await mkdir(where.storeFile);
    expect((await refusalOf(firstStart())).message).toContain('something else than a file');
    await rename(where.storeFile, `${where.storeFile}.x`);
    await symlink('nowhere', where.storeFile);
    expect((await refusalOf(firstStart())).message).toContain('ENOENT');
  });

  it('is a refusal while a client has it open, and none afterwards', async () => {
    await makeStore(where.storeFile, GOOD);
    // What a client does: it has the environment open and writes now and then.
    const client = spawn('mdb_load', ['-n', where.storeFile], { stdio: ['pipe', 'ignore', 'ignore'] });
    client.stdin.write('VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n');
    try {
      await eventually(
        'the store is open',
        async () => (await openBy(`${where.storeFile}-lock`)) === client.pid,
      );
      const before = await picture(where.datastore);
      const error = await refusalOf(firstStart());
      expect(error.message).toContain(`process ${client.pid} has it open: stop the Mender client first`);
      expect((await refusalOf(storeOf(where).write(INSTALLED))).details).toMatchObject({
        reason: 'mender-is-running',
      });
      expect(await picture(where.datastore)).toEqual(before);
    } finally {
      const ended = once(client, 'exit');
      client.kill('SIGKILL');
      await ended;
    }
    expect((await firstStart())?.seed.deployment?.id).toBe(ID);
  });

  it('does not crash or hang on flipped bits', async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    console.info(`flipped bits: seed ${seed}`);
    let random = seed;
    const next = (below: number): number => {
      random = (Math.imul(random, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      return random % below;
    };
    await makeStore(where.storeFile, GOOD);
    const whole = await readFile(where.storeFile);
    let refused = 0;
    for (let round = 0; round < 25; round++) {
      const bytes = Buffer.from(whole);
      for (let flips = 0; flips < 4; flips++) bytes[next(bytes.length)]! ^= 1 << next(8);
      await writeFile(where.storeFile, bytes);
      await storeOf(where)
        .read()
        .catch((error: unknown) => {
          expect(error).toBeInstanceOf(UpdateError);
          refused++;
        });
    }
    expect(refused).toBeLessThan(25);
    expect(await readdir(where.stateDirectory)).toEqual([]);
  });
});

describe('a fresh store', () => {
  it('holds what is installed and no more, whole and private, and keeps the old one', async () => {
    await makeStore(where.storeFile, GOOD);
    const old = await readFile(where.storeFile);
    const result = await storeOf(where).write(INSTALLED);
    expect(result).toEqual({ path: where.storeFile, keptAs: `${where.storeFile}.before-holdpoint` });
    expect(await readFile(result.keptAs!)).toEqual(old);
    expect(await entriesOf(where.storeFile)).toEqual({
      'artifact-name': 'shop-4.3',
      'artifact-group': 'tills',
      'artifact-provides': JSON.stringify(INSTALLED.provides),
    });
    expect((await stat(where.storeFile)).mode & 0o777).toBe(0o600);
    expect((await readdir(where.datastore)).filter((name) => name.includes('new'))).toEqual([]);
  });

  it('never takes the name of one that was kept before', async () => {
    await makeStore(where.storeFile, GOOD);
    const first = await readFile(where.storeFile);
    await storeOf(where).write(INSTALLED);
    // Only what the new one holds as well: nothing to keep.
    expect((await storeOf(where).write(INSTALLED)).keptAs).toBeNull();
    await makeStore(where.storeFile, { ...GOOD, state: state5('cleanup') });
    expect((await storeOf(where).write(INSTALLED)).keptAs).toBe(`${where.storeFile}.before-holdpoint.2`);
    expect(await readFile(`${where.storeFile}.before-holdpoint`)).toEqual(first);
  });

  it('keeps an unreadable store too', async () => {
    await writeFile(where.storeFile, 'garbage');
    expect((await storeOf(where).write(INSTALLED)).keptAs).toBe(`${where.storeFile}.before-holdpoint`);
  });

  it('is put where a link leads, and the link stays', async () => {
    const target = join(where.stateDirectory, 'elsewhere');
    await makeStore(target, GOOD);
    await symlink(target, where.storeFile);
    expect((await storeOf(where).write(INSTALLED)).keptAs).toBe(`${target}.before-holdpoint`);
    expect((await lstat(where.storeFile)).isSymbolicLink()).toBe(true);
    expect((await storeOf(where).read())?.artifactName).toBe('shop-4.3');
  });

  it('is made where there was none', async () => {
    expect(await storeOf(where).write({ ...INSTALLED, artifactGroup: '', provides: {} })).toMatchObject({
      keptAs: null,
    });
    expect(await entriesOf(where.storeFile)).toEqual({
      'artifact-name': 'shop-4.3',
      'artifact-provides': '{}',
    });
  });

  it('can hold more than the usual size', async () => {
    const provides = Object.fromEntries(
      Array.from({ length: 500 }, (_, key) => [`key-${key}`, 'v'.repeat(4000)]),
    );
    await storeOf(where).write({ ...INSTALLED, provides });
    expect((await storeOf(where).read())?.provides).toEqual(provides);
  });

  it('leaves the old one in place when mdb_load is missing or fails', async () => {
    await makeStore(where.storeFile, GOOD);
    const old = await readFile(where.storeFile);
    const missing = storeOf(where, { loadProgram: 'mdb_load-is-not-here' });
    expect((await refusalOf(missing.write(INSTALLED))).message).toContain('lmdb-utils');
    const program = join(where.datastore, 'failing');
    await writeFile(program, '#!/bin/sh\necho no room >&2; exit 3\n');
    await chmod(program, 0o755);
    const failing = storeOf(where, { loadProgram: program });
    expect((await refusalOf(failing.write(INSTALLED))).message).toMatch(/exit status 3: no room/);
    expect(await readFile(where.storeFile)).toEqual(old);
    expect((await readdir(where.datastore)).filter((name) => name.includes('holdpoint-new'))).toEqual([]);
    // An attempt that was cut off after the second name was given.
    await link(where.storeFile, `${where.storeFile}.before-holdpoint`);
    expect((await storeOf(where).write(INSTALLED)).keptAs).toBe(`${where.storeFile}.before-holdpoint`);
  });
});

describe('the store after a commit', () => {
  const committed = (seed: UpdateState, installed = INSTALLED): UpdateState => ({
    ...seed,
    installed,
    deployment: { ...seed.deployment!, isCommitted: true },
  });

  async function renewals(states: readonly UpdateState[]) {
    const tick$ = new Subject<{ after: UpdateState }>();
    const writings: Promise<void>[] = [];
    const tools = toolsOf(where);
    const done = new Promise<void>((resolve) => {
      renewMenderStore(tick$, tools.menderStore, tools.log, (one) => writings.push(one)).subscribe({
        complete: resolve,
      });
    });
    for (const after of states) tick$.next({ after });
    tick$.complete();
    await done;
    await Promise.all(writings);
    return { writings: writings.length, log: tools.log.records };
  }

  it('is written once Mender’s own update is committed, not before, and again when its name turns out otherwise', async () => {
    await makeStore(where.storeFile, GOOD);
    const { seed } = (await firstStart())!;
    expect((await renewals([seed, seed])).writings).toBe(0);
    expect(await entriesOf(where.storeFile)).toHaveProperty('state');
    expect((await renewals([seed, committed(seed), committed(seed)])).writings).toBe(1);
    expect(await entriesOf(where.storeFile)).not.toHaveProperty('state');
    const spoilt = { ...INSTALLED, artifactName: 'shop-4.3_INCONSISTENT' };
    expect((await renewals([committed(seed), committed(seed, spoilt)])).writings).toBe(2);
    expect((await entriesOf(where.storeFile))['artifact-name']).toBe('shop-4.3_INCONSISTENT');
  });

  it('is not touched by an update of ours', async () => {
    await makeStore(where.storeFile, GOOD);
    const { seed } = (await firstStart())!;
    const ours = { ...seed, deployment: { ...seed.deployment!, passages: [] } };
    expect((await renewals([committed(ours)])).writings).toBe(0);
  });

  it('is an error in the log, and no more, when it cannot be written', async () => {
    await makeStore(where.storeFile, GOOD);
    const { seed } = (await firstStart())!;
    await rename(where.storeFile, `${where.storeFile}.x`);
    await mkdir(where.storeFile);
    expect((await renewals([committed(seed)])).log).toMatchObject([{ level: 'error' }]);
  });
});

describe('export-mender-store', () => {
  it('writes what is installed', async () => {
    const tools = toolsOf(where);
    await tools.states.save(initialState(INSTALLED));
    expect(await exportMenderStore(tools)).toEqual({
      path: where.storeFile,
      keptAs: null,
      installed: INSTALLED,
    });
    expect(await entriesOf(where.storeFile)).toMatchObject({ 'artifact-name': 'shop-4.3' });
  });

  it('refuses without a state, in an update, and before a commit', async () => {
    const tools = toolsOf(where);
    expect(await refusalOf(exportMenderStore(tools))).toMatchObject({ details: { reason: 'no-state' } });
    await makeStore(where.storeFile, GOOD);
    const { seed } = (await firstStart(tools))!;
    expect(await refusalOf(exportMenderStore(tools))).toMatchObject({
      details: { reason: 'update-in-progress' },
    });
    await tools.states.save({ ...seed, deployment: null, installed: NOTHING_INSTALLED });
    await tools.records.save({
      artifactName: 'a',
      artifactGroup: '',
      provides: null,
      clearsProvides: null,
      payloadType: 'probe',
      inState: 'Before_ArtifactCommit_Enter',
      hasFailed: false,
      isRolledBack: false,
      verdict: null,
      rebootAskedIn: '',
    });
    expect(await refusalOf(exportMenderStore(tools))).toMatchObject({
      details: { reason: 'standalone-pending' },
    });
    expect(await entriesOf(where.storeFile)).toHaveProperty('state');
  });
});

async function overwrite(path: string, at: number, bytes: Buffer): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    // Both copies of the meta page hold the version.
    for (const page of [0, 4096]) await handle.write(bytes, 0, bytes.length, page + at);
  } finally {
    await handle.close();
  }
}

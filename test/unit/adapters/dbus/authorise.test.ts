import { readFile } from 'node:fs/promises';
import { NEVER } from 'rxjs';
import { describe, expect, test } from 'vitest';
import { DECIDED_METHODS, needOf, type AccessContext } from '../../../../src/adapters/dbus/actions.ts';
import {
  createAuthoriser,
  rootOrReading,
  type AuthorisationRequest,
  type Verdict,
} from '../../../../src/adapters/dbus/authorise.ts';
import { frozen } from '../../../../src/adapters/dbus/frozen.ts';
import { loadHoldpointTable } from '../../../../src/adapters/dbus/interface-xml.ts';
import { BUS_NAME, RemoteError, type OutgoingCall } from '../../../../src/adapters/dbus/link.ts';
import { STANDARD_TABLE } from '../../../../src/adapters/dbus/standard-interfaces.ts';
import { variant, type Variant } from '../../../../src/adapters/dbus/values.ts';
import { ACCESS_ACTIONS, DEFAULT_ACCESS, isAccessAction } from '../../../../src/core/access.ts';
import { UpdateError } from '../../../../src/core/errors.ts';
import { RecordingLog } from '../../../support/recording-log.ts';

const MAIN = 'io.holdpoint.Update1';

const CONTEXT: AccessContext = {
  point: 'ArtifactCommit_Enter',
  deploymentId: 'deployment-1',
  artifactName: 'release-2',
  hold: (id) => (id === 'mine' ? { uid: 1000, points: ['Download_Enter'] } : null),
  isSignatureRequired: true,
  passedPoint: (ticket) => (ticket === 'used' ? 'ArtifactInstall_Enter' : null),
};

type Answer = (call: OutgoingCall) => unknown[];

/** A caller without rights, on a bus that answers as told. */
function requestOf(
  member: string,
  args: readonly unknown[],
  answer: Answer = () => [],
): AuthorisationRequest {
  const dot = member.lastIndexOf('.');
  return {
    sender: ':1.7',
    uid: 1000,
    gids: [1000],
    connection: { isOpen: true, call: async (call: OutgoingCall) => answer(call) },
    path: '/io/holdpoint/Update1',
    interface: member.slice(0, dot),
    member: member.slice(dot + 1),
    args,
    isInteractive: false,
  };
}

describe('the table of methods', () => {
  const methods = [
    ...loadHoldpointTable().interfaces.values(),
    ...STANDARD_TABLE.interfaces.values(),
  ].flatMap((owner) =>
    [...owner.methods.values()].map((method) => ({ key: `${owner.name}.${method.name}`, method })),
  );

  test('has a verdict for each method of the XML, and for nothing else', () => {
    expect([...DECIDED_METHODS].sort()).toEqual(methods.map(({ key }) => key).sort());
  });

  test('needs what the documentation in the XML says', () => {
    const { xml } = loadHoldpointTable();
    const documented = new Map<string, string>();
    for (const [, text = '', name = ''] of xml.matchAll(/<!--((?:(?!-->)[^])*)-->\s*<method name="(\w+)"/g)) {
      const [, words = ''] = /(?<!@)action:\s+([^.]*)\./i.exec(text) ?? [];
      const [, other] = /^as (\w+)/.exec(words) ?? [];
      documented.set(name, other === undefined ? words : (documented.get(other) ?? ''));
      if (words === '') expect(text, name).toMatch(/by everyone/);
    }
    const own = methods.filter(({ key }) => key.startsWith(MAIN));
    expect(own.length).toBeGreaterThan(20);
    for (const { key, method } of own) {
      const sample: Readonly<Record<string, unknown>> = { 'a{sv}': new Map(), as: ['Download_Enter'] };
      const args = method.in.map(({ type }) => sample[type] ?? 'text');
      const need = needOf(requestOf(key, args), CONTEXT);
      const words = documented.get(method.name)?.match(/[a-z-]+/g) ?? [];
      const actions = words.filter(isAccessAction);
      if (need.kind === 'action') expect(actions, key).toContain(need.action);
      else expect([key, need.kind, actions]).toEqual([key, 'everyone', []]);
    }
  });

  test('leaves to root what it does not know', () => {
    for (const name of [`${MAIN}.Reboot`, 'org.example.Other.Continue', `${MAIN}.toString`, 'a.__proto__']) {
      expect(needOf(requestOf(name, []), CONTEXT)).toEqual({ kind: 'root' });
    }
  });

  test('takes every override that is not plainly false for one', () => {
    const actionOf = (override: Variant | undefined): string => {
      const options = new Map(override === undefined ? [] : [['override', override]]);
      const need = needOf(requestOf(`${MAIN}.ContinueFull`, ['t', options]), CONTEXT);
      return need.kind === 'action' ? need.action : need.kind;
    };
    expect(actionOf(undefined)).toBe('continue');
    expect(actionOf(variant('b', false))).toBe('continue');
    for (const [signature, value] of [
      ['b', true],
      ['s', 'false'],
      ['u', 0],
      ['v', variant('b', false)],
      ['as', []],
    ] as const) {
      expect(actionOf(variant(signature, value)), signature).toBe('override');
    }
  });

  test('takes a ticket that has passed a point for that point, and any other for the present wait', () => {
    const need = (member: string, args: readonly unknown[]): unknown =>
      needOf(requestOf(`${MAIN}.${member}`, args), CONTEXT);
    const passed = { kind: 'action', action: 'continue', points: ['ArtifactInstall_Enter'], holdId: '' };
    const present = { ...passed, points: ['ArtifactCommit_Enter'] };
    expect(need('Continue', ['used'])).toEqual(passed);
    expect(need('ContinueFull', ['used', new Map()])).toEqual(passed);
    expect(need('ContinueFull', ['used', new Map([['override', variant('b', true)]])])).toEqual({
      ...passed,
      action: 'override',
    });
    expect(need('Continue', ['never seen'])).toEqual(present);
    // A ticket is no word to anything else.
    expect(need('Snooze', ['used', 60])).toEqual(present);
    expect(need('Abort', ['used', ''])).toEqual({ ...present, action: 'abort' });
  });

  test('names the points of a hold, and of a hold of others what its release needs', () => {
    const release = (id: string, uid: number): unknown => {
      const request = { ...requestOf(`${MAIN}.Holds.ReleaseHold`, [id]), uid };
      return needOf(request, CONTEXT);
    };
    const own = { kind: 'action', action: 'hold', points: ['Download_Enter'], holdId: 'mine' };
    expect(release('mine', 1000)).toEqual(own);
    expect(release('mine', 1001)).toEqual({ ...own, action: 'override' });
    expect(release('x'.repeat(100_000), 1000)).toEqual({ ...own, points: [], holdId: 'x'.repeat(64) });
    const many = Array.from({ length: 1000 }, (_, index) => `point ${index}`);
    const args = [['Download_Enter', 'Download_Enter', ...many], 'why', 1, 'fail', new Map()];
    expect(needOf(requestOf(`${MAIN}.Holds.AddHold`, args), CONTEXT)).toMatchObject({
      points: ['Download_Enter', 'unknown'],
    });
  });
});

describe('polkit’s word', () => {
  async function ask(answer: Answer): Promise<{ verdict: Verdict; warnings: number }> {
    const log = new RecordingLog();
    const authoriser = createAuthoriser({
      access: { ...DEFAULT_ACCESS, rules: [] },
      context: () => CONTEXT,
      bus: { nameOwner$: () => NEVER },
      log,
      ownUid: undefined,
    });
    const verdict = await authoriser.authorise(requestOf(`${MAIN}.Continue`, ['ticket'], answer));
    return { verdict, warnings: log.records.filter(({ level }) => level === 'warn').length };
  }

  const fails = (name: string): never => {
    throw new RemoteError(name, 'no');
  };
  const onBus =
    (check: () => unknown[]): Answer =>
    (call) => {
      if (call.member === 'GetNameOwner') return [':1.2'];
      expect(call.destination).toBe(':1.2');
      return check();
    };

  test('is believed when it is a yes, a no or a challenge', async () => {
    expect((await ask(onBus(() => [[true, false, new Map()]]))).verdict).toEqual({
      isAllowed: true,
      action: 'continue',
    });
    expect((await ask(onBus(() => [[false, true, new Map()]]))).verdict).toMatchObject({
      refusal: 'InteractiveAuthorizationRequired',
      details: { action: 'io.holdpoint.update1.continue' },
    });
    expect(await ask(onBus(() => [[false, false, new Map()]]))).toMatchObject({
      verdict: { refusal: 'AccessDenied' },
      warnings: 0,
    });
  });

  test.each([[[]], [['yes']], [[[]]], [[['true', false]]], [[[1, 0]]], [[null]], [[new Map([[0, true]])]]])(
    'is a no when it is malformed: %j',
    async (reply: unknown[]) => {
      expect((await ask(onBus(() => reply))).verdict).toMatchObject({ refusal: 'AccessDenied' });
    },
  );

  test.each([
    'org.freedesktop.DBus.Error.ServiceUnknown',
    'org.freedesktop.DBus.Error.NameHasNoOwner',
    'org.freedesktop.DBus.Error.NoReply',
    'org.freedesktop.DBus.Error.AccessDenied',
    'org.freedesktop.PolicyKit1.Error.Failed',
    'org.freedesktop.PolicyKit1.Error.NotAuthorized',
  ])('is a failure, and denied, when it is the error %s', async (name) => {
    const outcome = await ask(onBus(() => fails(name)));
    expect(outcome).toMatchObject({ verdict: { isAllowed: false, refusal: 'AccessDenied' }, warnings: 1 });
  });

  test.each([
    ['org.freedesktop.DBus.Error.ServiceUnknown', 0],
    ['org.freedesktop.DBus.Error.NameHasNoOwner', 1],
    ['org.freedesktop.DBus.Error.Spawn.ChildExited', 1],
    ['org.freedesktop.DBus.Error.TimedOut', 1],
    ['org.freedesktop.systemd1.NoSuchUnit', 1],
  ])('is absent only when nobody offers its name: starting it answered %s', async (name, warnings) => {
    const outcome = await ask((call) => {
      expect(call.destination).toBe(BUS_NAME);
      return fails(call.member === 'GetNameOwner' ? 'org.freedesktop.DBus.Error.NameHasNoOwner' : name);
    });
    expect(outcome).toMatchObject({ verdict: { isAllowed: false, refusal: 'AccessDenied' }, warnings });
  });

  test('is not waited for on a lost bus', async () => {
    const outcome = await ask(() => {
      throw new UpdateError('bus', 'not connected');
    });
    expect(outcome).toMatchObject({ verdict: { isAllowed: false }, warnings: 1 });
  });
});

test('without configuration root may do everything and others read', async () => {
  const proceed = requestOf(`${MAIN}.Continue`, ['t']);
  expect(await rootOrReading({ ...proceed, uid: 0 })).toEqual({ isAllowed: true });
  expect(await rootOrReading(proceed)).toMatchObject({ isAllowed: false, refusal: 'AccessDenied' });
  expect(await rootOrReading(requestOf(`${MAIN}.History.List`, [1]))).toEqual({ isAllowed: true });
});

test('the words for actions are the same in the XML, the code and the actions of polkit', async () => {
  const policy = await readFile('packaging/polkit/io.holdpoint.update1.policy', 'utf8');
  const ids = [...policy.matchAll(/<action id="io\.holdpoint\.update1\.([a-z-]+)">/g)].map(([, id]) => id);
  expect(ids.sort()).toEqual([...ACCESS_ACTIONS].sort());
});

test('every action says what it is in English, German and Spanish, and about which update in all or none', async () => {
  const policy = await readFile('packaging/polkit/io.holdpoint.update1.policy', 'utf8');
  const actions = [...policy.matchAll(/<action id="([^"]+)">(.*?)<\/action>/gs)];
  expect(actions).toHaveLength(ACCESS_ACTIONS.length);
  for (const [, id, body = ''] of actions) {
    for (const tag of ['description', 'message']) {
      const said = [...body.matchAll(new RegExp(`<${tag}(?: xml:lang="(\\w+)")?>([^<]+)</${tag}>`, 'g'))];
      expect(said.map(([, language]) => language ?? 'en').sort(), `${id} ${tag}`).toEqual(['de', 'en', 'es']);
      const texts = said.map(([, , text = '']) => text);
      expect(new Set(texts).size, `${id} ${tag}`).toBe(3);
      expect(new Set(texts.map((text) => text.includes('$(update)'))).size, `${id} ${tag}`).toBe(1);
    }
  }
});

test('arguments cannot be changed once they have been read', () => {
  const options = new Map([['override', variant('b', false)]]);
  const args = frozen(['ticket', options, ['a', ['b']], new Uint8Array([1]), 2n]);
  expect(args).toEqual(['ticket', options, ['a', ['b']], new Uint8Array([1]), 2n]);
  expect(() => options.set('override', variant('b', true))).toThrow(/cannot be changed/);
  expect(() => options.delete('override')).toThrow(/cannot be changed/);
  expect(() => options.clear()).toThrow(/cannot be changed/);
  expect(() => ((args as unknown[])[0] = 'other')).toThrow(TypeError);
  expect(() => (args[2] as string[]).push('c')).toThrow(TypeError);
  expect(() => ((options.get('override') as { value: unknown }).value = true)).toThrow(TypeError);
  expect(options.get('override')).toEqual(variant('b', false));
});

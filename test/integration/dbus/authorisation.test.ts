import { describe, expect, test } from 'vitest';
import { loadHoldpointTable } from '../../../src/adapters/dbus/interface-xml.ts';
import { INTROSPECTABLE, PEER, PROPERTIES } from '../../../src/adapters/dbus/standard-interfaces.ts';
import { DEFAULT_ACCESS } from '../../../src/core/access.ts';
import { MAIN } from '../../support/bus-client.ts';
import { type BusCaller, type CallText, type Outcome } from '../../support/bus-caller.ts';
import { eventually } from '../../support/eventually.ts';
import {
  ANY_IS_CHALLENGE,
  CHALLENGE,
  DENIED,
  GROUP_ACTIONS,
  HOLD_ID,
  MEMBER,
  OTHER,
  ownHold,
  ROOT,
  useGuardedBench,
} from '../../support/guarded-bench.ts';
import { CALM_CONTEXT, type GuardedService } from '../../support/guarded-service.ts';
import { ALLOW_ALL } from '../../support/polkit.ts';

/**
 * Every method of every interface, as the XML has them, called by real clients over a real bus with our policy, with the
 * real polkit there, absent, frozen, refusing and restarted: the verdict, and that a refused call has had no effect.
 */
const bench = useGuardedBench();

/** Source: design/dbus-api.md section 6, and null for what everyone may; the text of the XML is checked in a unit test. */
const NEEDED: Readonly<Record<string, string | null>> = {
  [`${MAIN}.Continue`]: 'continue',
  [`${MAIN}.ContinueFull`]: 'continue',
  [`${MAIN}.Snooze`]: 'continue',
  [`${MAIN}.EndSnooze`]: 'continue',
  [`${MAIN}.Abort`]: 'abort',
  [`${MAIN}.Pause`]: 'hold',
  [`${MAIN}.Resume`]: 'hold',
  [`${MAIN}.Rollback`]: 'rollback',
  [`${MAIN}.SetUpdatesEnabled`]: 'enable',
  [`${MAIN}.CheckForUpdate`]: 'check',
  [`${MAIN}.SendInventory`]: 'check',
  [`${MAIN}.RetryUpdate`]: 'check',
  [`${MAIN}.CanDo`]: null,
  [`${MAIN}.Holds.Hold`]: 'hold',
  [`${MAIN}.Holds.AddHold`]: 'hold',
  [`${MAIN}.Holds.RefreshHold`]: 'hold',
  [`${MAIN}.Holds.ReleaseHold`]: 'hold',
  [`${MAIN}.Holds.SetControlMap`]: 'control-map',
  [`${MAIN}.Holds.ReportHealth`]: 'health',
  [`${MAIN}.Install.InstallPath`]: 'install',
  [`${MAIN}.Install.InstallUrl`]: 'install',
  [`${MAIN}.Install.InspectPath`]: 'inspect',
  [`${MAIN}.History.List`]: null,
  [`${MAIN}.History.Get`]: null,
  [`${MAIN}.History.GetLog`]: 'read-log',
  [`${MAIN}.History.ExportDecisions`]: 'read-log',
  [`${PROPERTIES}.Get`]: null,
  [`${PROPERTIES}.GetAll`]: null,
  [`${INTROSPECTABLE}.Introspect`]: null,
  [`${PEER}.Ping`]: null,
  [`${PEER}.GetMachineId`]: null,
};

const VALUES_BY_NAME: Readonly<Record<string, string>> = {
  point: "'ArtifactReboot_Enter'",
  points: "['ArtifactReboot_Enter']",
  hold_id: `'${HOLD_ID}'`,
  action: "'continue'",
};
const VALUES_BY_TYPE: Readonly<Record<string, string>> = {
  s: "'text'",
  u: '@u 1',
  t: '@t 1',
  b: 'true',
  as: '@as []',
  'a{sv}': '@a{sv} {}',
};

const STANDARD_CALLS: readonly CallText[] = [
  { interface: PROPERTIES, member: 'Get', args: `('${MAIN}', 'State')` },
  { interface: PROPERTIES, member: 'GetAll', args: `('${MAIN}',)` },
  { interface: INTROSPECTABLE, member: 'Introspect', args: '' },
  { interface: PEER, member: 'Ping', args: '' },
  { interface: PEER, member: 'GetMachineId', args: '' },
];

function everyMethod(): readonly CallText[] {
  const calls = [...STANDARD_CALLS];
  for (const { name, methods } of loadHoldpointTable().interfaces.values()) {
    for (const { name: member, in: args } of methods.values()) {
      const values = args.map((arg) => VALUES_BY_NAME[arg.name] ?? VALUES_BY_TYPE[arg.type] ?? '?');
      const text = values.length === 1 ? `(${values[0]},)` : `(${values.join(', ')})`;
      calls.push({ interface: name, member, args: values.length === 0 ? '' : text });
    }
  }
  return calls;
}

const keyOf = (call: CallText): string => `${call.interface}.${call.member}`;

/** The outcome of each method, all asked for at once. */
async function outcomesFor(caller: BusCaller): Promise<Readonly<Record<string, Outcome>>> {
  const calls = everyMethod();
  const outcomes = await Promise.all(calls.map((call) => caller.call(call)));
  return Object.fromEntries(calls.map((call, index) => [keyOf(call), outcomes[index] as Outcome]));
}

/** Compares each outcome, and what has had an effect, with what `expected` says of the action the method needs. */
function expectVerdicts(
  service: GuardedService,
  outcomes: Readonly<Record<string, Outcome>>,
  expected: (action: string | null) => 'ok' | string,
): void {
  const allowed: string[] = [];
  for (const [key, { error, message }] of Object.entries(outcomes)) {
    const action = NEEDED[key];
    expect(action, `${key} has a verdict here`).not.toBeUndefined();
    const verdict = expected(action ?? null);
    expect(`${key}: ${error === '' ? 'ok' : error}`).toBe(`${key}: ${verdict}`);
    if (verdict !== 'ok') expect(message).toContain(`[action=io.holdpoint.update1.${action}]`);
    else if (key.startsWith(MAIN) && key !== `${MAIN}.CanDo`) allowed.push(key);
  }
  const effects = service.effects.map(({ interface: owner, member }) => `${owner}.${member}`);
  expect(effects.sort()).toEqual(allowed.sort());
}

describe('every method, without polkit', () => {
  test('may be called by root', async () => {
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, hold: ownHold(ROOT.uid) };
    const outcomes = await outcomesFor(await bench().client(ROOT));
    expect(Object.keys(outcomes).length).toBeGreaterThanOrEqual(28);
    expectVerdicts(service, outcomes, () => 'ok');
    for (const { interface: owner, member, action } of service.effects) {
      expect(action, member).toBe(NEEDED[`${owner}.${member}`]);
    }
  });

  test('may be called by a member of the group holdpoint as the built-in table says', async () => {
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, hold: ownHold(MEMBER.uid) };
    const outcomes = await outcomesFor(await bench().client(MEMBER));
    expectVerdicts(service, outcomes, (action) =>
      action === null || GROUP_ACTIONS.includes(action) ? 'ok' : DENIED,
    );
    expect(service.log.records.filter(({ level }) => level === 'error')).toEqual([]);
  });

  test('is refused to another user, unless it reads what is for everyone', async () => {
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, hold: ownHold(OTHER.uid) };
    const outcomes = await outcomesFor(await bench().client(OTHER));
    expectVerdicts(service, outcomes, (action) => (action === null ? 'ok' : DENIED));
  });

  test('is refused to a member when polkit is required', async () => {
    const service = await bench().serve({ access: { ...DEFAULT_ACCESS, polkit: 'required' } });
    service.context = { ...CALM_CONTEXT, hold: ownHold(MEMBER.uid) };
    const outcomes = await outcomesFor(await bench().client(MEMBER));
    expectVerdicts(service, outcomes, (action) => (action === null ? 'ok' : DENIED));
  });
});

describe('every method, with polkit', () => {
  test('may be called by whom a rule allows it', async () => {
    await bench().polkit.run(ALLOW_ALL);
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, hold: ownHold(OTHER.uid) };
    expectVerdicts(service, await outcomesFor(await bench().client(OTHER)), () => 'ok');
  });

  test('is refused to somebody without a session as the shipped actions say', async () => {
    await bench().polkit.run();
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, hold: ownHold(OTHER.uid) };
    expectVerdicts(service, await outcomesFor(await bench().client(OTHER)), (action) => {
      if (action === null) return 'ok';
      return ANY_IS_CHALLENGE.includes(action) ? CHALLENGE : DENIED;
    });
  });

  test('is refused where a rule says no; the table of the configuration goes first', async () => {
    await bench().polkit.run('polkit.addRule(function () { return polkit.Result.NO; });');
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, hold: ownHold(OTHER.uid) };
    expectVerdicts(service, await outcomesFor(await bench().client(OTHER)), (action) =>
      action === null ? 'ok' : DENIED,
    );
    service.effects.length = 0;
    service.context = { ...CALM_CONTEXT, hold: ownHold(MEMBER.uid) };
    expectVerdicts(service, await outcomesFor(await bench().client(MEMBER)), (action) =>
      action === null || GROUP_ACTIONS.includes(action) ? 'ok' : DENIED,
    );
  });

  test('is refused after 5 s when polkit does not answer, and meanwhile allowed to whom the table names', async () => {
    await bench().polkit.run(ALLOW_ALL);
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, hold: ownHold(OTHER.uid) };
    bench().polkit.freeze();
    const [other, member] = [await bench().client(OTHER), await bench().client(MEMBER)];
    const started = performance.now();
    let isOver = false;
    const refused = outcomesFor(other).finally(() => (isOver = true));
    const granted = await member.call({ interface: MAIN, member: 'Continue', args: "('ticket',)" });
    expect(granted.error).toBe('');
    expect(isOver).toBe(false);
    expect(service.effects.splice(0).map(({ uid }) => uid)).toContain(MEMBER.uid);
    const outcomes = await refused;
    expect(performance.now() - started).toBeGreaterThan(4_500);
    for (const [key, { error }] of Object.entries(outcomes)) {
      expect(`${key} ${error}`).toBe(`${key} ${NEEDED[key] === null ? '' : DENIED}`);
    }
    expect(service.effects.filter(({ action }) => action !== null)).toEqual([]);
    const warnings = service.log.records.filter(({ level }) => level === 'warn');
    expect(warnings.map(({ sentence }) => sentence)).toEqual([
      'Polkit could not be asked; what it would have to allow is denied',
    ]);
    bench().polkit.thaw();
    await eventually('polkit answers again', async () => {
      const again = await outcomesFor(await bench().client(OTHER));
      return Object.values(again).every(({ error }) => error === '');
    });
  });

  test('has no effect when the client is gone before polkit says yes', async () => {
    await bench().polkit.run(ALLOW_ALL);
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, hold: ownHold(OTHER.uid) };
    const caller = await bench().client(OTHER);
    const asked = everyMethod().filter((call) => NEEDED[keyOf(call)] !== null);
    bench().polkit.freeze();
    for (const call of asked) void caller.call(call);
    await eventually('every call waits for polkit', () => service.dispatcher.runningCalls === asked.length);
    await caller.vanish();
    bench().polkit.thaw();
    await eventually('every call is over', () => service.dispatcher.runningCalls === 0);
    expect(service.effects).toEqual([]);
    expect(service.log.records.filter(({ level }) => level === 'error')).toEqual([]);
  });

  test('is refused when polkit ends with the question open, and allowed by the next polkit', async () => {
    await bench().polkit.run(ALLOW_ALL);
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, hold: ownHold(OTHER.uid) };
    const caller = await bench().client(OTHER);
    bench().polkit.freeze();
    const started = outcomesFor(caller);
    // CanDo is for everyone, and asks.
    const asked = everyMethod().filter((call) => NEEDED[keyOf(call)] !== null).length + 1;
    await eventually('every call waits for polkit', () => service.dispatcher.runningCalls === asked);
    const endedMs = performance.now();
    await bench().polkit.stop();
    const outcomes = await started;
    expect(performance.now() - endedMs).toBeLessThan(4_000);
    for (const [key, { error }] of Object.entries(outcomes)) {
      expect(`${key} ${error}`).toBe(`${key} ${NEEDED[key] === null ? '' : DENIED}`);
    }
    expect(service.effects.filter(({ action }) => action !== null)).toEqual([]);
    service.effects.length = 0;
    await bench().polkit.run(ALLOW_ALL);
    expectVerdicts(service, await outcomesFor(caller), () => 'ok');
  });
});

/** Everything that can happen at a gate, each to the real core and to the facts. null = it cannot happen now. */
import { MAP_POINTS } from '../../../src/core/control/control-map.ts';
import type { EventBody } from '../../../src/core/event.ts';
import { holdAdded, LOCAL_MAP_ID, unmetCondition } from '../flow-events.ts';
import { demand } from './core.ts';
import { afterStart, elapse, judgeNaively, LIMITS, type FactHold, type Facts } from './facts.ts';
import {
  ask,
  drive,
  fire,
  idOf,
  later,
  offer,
  ring,
  serverMap,
  settle,
  startOf,
  take,
  type World,
} from './world.ts';

export type Action = (world: World) => World | null;

const CLIENTS = {
  A: { uid: 1000, app: 'kiosk', connection: 'bus/:1.7' },
  B: { uid: 1001, app: 'panel', connection: 'bus/:1.8' },
  C: { uid: 7, app: 'operator', connection: 'bus/:1.9' },
} as const;

function withFacts(world: World, changes: Partial<Facts>): World {
  return { ...world, facts: { ...world.facts, ...changes } };
}

function isAtGate({ state, step }: World): boolean {
  return state.step === step;
}

function continues(client: keyof typeof CLIENTS, waiver: 'now' | 'override' | null, byHand = false): Action {
  return (world) => {
    const ticket = world.openTicket;
    if (ticket === '' || !isAtGate(world)) return null;
    if (byHand && world.gate.point !== 'ArtifactReboot_Enter') return null;
    const { uid } = CLIENTS[client];
    const { decision, next, reply } = ask(world, {
      ...CLIENTS[client],
      kind: 'Continue',
      ticket,
      comment: '',
      waiver,
      ...(byHand && { rebootMode: 'none' as const }),
    });
    demand(decision.kind === 'accepted' && next !== null, () => `a live ticket is answered with ${reply}`);
    if (next === null) return null;
    const { holds, waivers } = world.facts;
    const said = waiver === null ? [] : [`${waiver}-uid-${uid}`];
    const result = withFacts(next, {
      consentUid: uid,
      waivers: [...waivers.filter((one) => !one.startsWith(`${waiver}-`)), ...said],
      holds:
        waiver === 'override'
          ? holds.filter(({ says }) => says === 'fail')
          : holds.filter(({ connection }) => connection !== CLIENTS[client].connection),
      // The last word counts, also when it is a plain yes.
      byHand,
    });
    const expected = isAtGate(next)
      ? 'recorded'
      : /gate|rollback|cleanup/.test(next.state.step)
        ? reply
        : 'proceeding';
    demand(reply === expected, () => `Continue is answered with ${reply}, expected ${expected}`);
    if (reply === 'proceeding') {
      const again = ask(next, { ...CLIENTS[client], kind: 'Continue', ticket, comment: '' });
      demand(
        again.decision.kind === 'answered' && again.reply === reply,
        () => `a retry gets ${again.reply}`,
      );
    }
    return result;
  };
}

const snooze: Action = (world) => {
  const { facts, gate, openTicket: ticket } = world;
  if (ticket === '') return null;
  const seconds = LIMITS.snoozeMs / 1000;
  const { ceilingSeconds } = gate.settings;
  const isAllowed =
    facts.snoozeCount < LIMITS.snoozeCount &&
    facts.snoozeTotalMs + LIMITS.snoozeMs <= LIMITS.snoozeTotalMs &&
    (ceilingSeconds === 0 || facts.waitedMs + LIMITS.snoozeMs <= ceilingSeconds * 1000);
  const { decision, next, reply } = ask(world, { ...CLIENTS.A, kind: 'Snooze', ticket, seconds });
  demand((decision.kind === 'accepted') === isAllowed, () => `Snooze is answered with ${reply}`);
  if (next === null) {
    demand(reply === 'DeferralLimit', () => `a snooze too many is answered with ${reply}`);
    return null;
  }
  demand(reply === String(world.wallMs + LIMITS.snoozeMs), () => `snoozed until ${reply}`);
  const again = ask(next, { ...CLIENTS.A, kind: 'Snooze', ticket, seconds });
  demand(again.decision.kind !== 'accepted', () => 'the same ticket is snoozed twice');
  return withFacts(next, {
    snoozeLeftMs: LIMITS.snoozeMs,
    snoozeCount: facts.snoozeCount + 1,
    snoozeTotalMs: facts.snoozeTotalMs + LIMITS.snoozeMs,
  });
};

const unsnooze: Action = (world) => {
  const { snoozeLeftMs, snoozeTotalMs } = world.facts;
  if (snoozeLeftMs === null || world.state.wait === null) return null;
  const { next } = ask(world, { ...CLIENTS.B, kind: 'EndSnooze', deploymentId: idOf(world.deployments - 1) });
  demand(next !== null, () => 'a snooze cannot be ended');
  return next && withFacts(next, { snoozeLeftMs: null, snoozeTotalMs: snoozeTotalMs - snoozeLeftMs });
};

const abort: Action = (world) => {
  const deploymentId = idOf(world.deployments - 1);
  const { next } = ask(world, { ...CLIENTS.C, kind: 'Abort', deploymentId, reason: 'no' });
  return next && withFacts(next, { endedBy: 'person' });
};

function holds(client: 'A' | 'B', wish: Partial<FactHold>, id: string, isForThis = false): Action {
  return (world) => {
    const { facts, gate } = world;
    const isTimed = (wish.timeoutMs ?? 0) > 0;
    const lost = facts.holds.find((one) => one.kind === 'bound' && one.connection === '' && one.appId !== '');
    const adopted = !isTimed && wish.appId !== undefined && lost?.appId === wish.appId ? lost : undefined;
    if (adopted === undefined && facts.holds.some((one) => one.id === id)) return null;
    const { kind: _, ...event } = holdAdded({
      ...CLIENTS[client],
      holdId: id,
      points: [gate.point],
      timeoutSeconds: (wish.timeoutMs ?? 0) / 1000,
      onExpire: wish.onExpire ?? 'continue',
      appId: wish.appId ?? '',
      action: wish.says ?? 'pause',
      priority: wish.priority ?? 0,
      deploymentId: isForThis ? idOf(world.deployments - 1) : '',
    });
    const { next, reply } = ask(world, { ...event, kind: 'AddHold' });
    demand(reply === (adopted?.id ?? id), () => `the hold is called ${reply}`);
    if (next === null) return null;
    const hold: FactHold = {
      id: reply,
      kind: isTimed ? 'timed' : 'bound',
      appId: wish.appId ?? '',
      connection: isTimed ? '' : CLIENTS[client].connection,
      priority: wish.priority ?? 0,
      says: wish.says ?? 'pause',
      onExpire: wish.onExpire ?? 'continue',
      timeoutMs: wish.timeoutMs ?? 0,
      leftMs: isTimed ? (wish.timeoutMs ?? 0) : null,
      runs: 'while-waiting',
      isExpired: false,
      isForThis,
    };
    return withFacts(next, { holds: [...facts.holds.filter((one) => one.id !== reply), hold] });
  };
}

const release: Action = (world) => {
  const timed = world.facts.holds.find(({ kind }) => kind === 'timed');
  if (!timed) return null;
  const { next } = ask(world, { ...CLIENTS.B, kind: 'ReleaseHold', holdId: timed.id, isOverride: false });
  return next && withFacts(next, { holds: world.facts.holds.filter((one) => one !== timed) });
};

const refresh: Action = (world) => {
  const timed = world.facts.holds.find(({ kind }) => kind === 'timed');
  if (!timed) return null;
  const { next } = ask(world, { ...CLIENTS.B, kind: 'RefreshHold', holdId: timed.id });
  const renew = (one: FactHold): FactHold =>
    one === timed ? { ...one, leftMs: one.timeoutMs, isExpired: false } : one;
  return next && withFacts(next, { holds: world.facts.holds.map(renew) });
};

const holderGone: Action = (world) => {
  const { connection } = CLIENTS.A;
  if (!world.holders.includes(connection)) return null;
  const next = take(world, { kind: 'HolderVanished', connection });
  return withFacts(next, {
    holds: world.facts.holds.flatMap((one): readonly FactHold[] => {
      if (one.connection !== connection) return [one];
      if (one.appId === '') return [];
      return [{ ...one, connection: '', leftMs: LIMITS.lingerMs, runs: 'always' }];
    }),
  });
};

function mapSet(action: string, onMapExpire: string, priority: number, afterwards = action): Action {
  return (world) => {
    const { gate, facts } = world;
    const rule = action === '' ? {} : { action, on_map_expire: onMapExpire, on_action_executed: afterwards };
    const isKnown = (MAP_POINTS as readonly string[]).includes(gate.point);
    const states = { [isKnown ? gate.point : 'ArtifactInstall_Enter']: rule };
    const text = JSON.stringify({ id: LOCAL_MAP_ID, priority, states });
    const { next } = ask(world, { ...CLIENTS.B, kind: 'SetControlMap', text });
    if (next === null) return null;
    const key = `${LOCAL_MAP_ID}/${priority}`;
    const map = { key, priority, says: action, afterwards, saysExpired: onMapExpire, leftMs: LIMITS.mapMs };
    const others = facts.maps.filter((one) => one.key !== key);
    if (action === '') return withFacts(next, { maps: others });
    return withFacts(next, { maps: [...others, { ...map, isExpired: false, isServers: false }] });
  };
}

/** Until something is due; `isAlarmFirst` when two things are. */
function time(isAlarmFirst: boolean): Action {
  return (world) => {
    const due = Math.min(world.timer?.dueMs ?? Infinity, world.alarmMs ?? Infinity);
    if (due === Infinity) return null;
    const now = wait(world, Math.max(0, due - world.bootMs));
    const next = isAlarmFirst ? (ring(now) ?? fire(now)) : (fire(now) ?? ring(now));
    return next && settle(silenceWhenDue(next));
  };
}

/** Time passes and nothing rings: the event that comes next finds out what has run out. */
function wait(world: World, ms: number): World {
  return { ...later(world, ms), facts: elapse(world.facts, ms, isWaiting(world)) };
}

/**
 * By the facts. While it is being found out what the decision needs, at most a minute for the conditions, nobody is
 * asked and nothing is waited for, so that it counts for nobody: design/dbus-api.md section 2 "Expiry is counted while
 * waiting".
 */
function isWaiting(world: World): boolean {
  return isAtGate(world) && judgeNaively(world.facts, world.gate).kind === 'wait';
}

/** Half of the time until something is due, in which nothing happens. */
const someTime: Action = (world) => {
  const due = Math.min(world.timer?.dueMs ?? Infinity, world.alarmMs ?? Infinity);
  const ms = Math.floor((due - world.bootMs) / 2);
  return due === Infinity || ms < 1 ? null : { ...wait(world, ms), effects: [] };
};

function silenceWhenDue(world: World): World {
  const { window, silentInMs } = world.facts;
  return window === 'unknown' && silentInMs <= 0 ? withFacts(world, { window: 'silent' }) : world;
}

const cancel: Action = (world) => {
  const { step, state } = world;
  if (!isAtGate(world) || step === 'download-gate' || step === 'rollback-reboot-gate') return null;
  const next = take(world, {
    kind: 'StatusReported',
    workId: state.workId,
    outcome: 'aborted',
    retryAfterSeconds: 0,
  });
  return withFacts(next, { endedBy: 'server' });
};

/** The server ends the deployment and offers another one at once. */
const replace: Action = (world) => {
  const ended = cancel(world);
  // A pause holds the way back at its own gate, and an offer is not fetched while updates are off.
  if (ended === null || world.facts.isOff || world.facts.isPaused) return null;
  const idle = drive(ended, ({ state }) => state.step === 'idle');
  demand(idle.state.step === 'idle', () => `the deployment does not end but stays in ${idle.state.step}`);
  demand(idle.openTicket === '', () => 'a wait outlives its deployment');
  return offer(
    idle,
    world.facts.maps.some(({ isServers }) => isServers),
  );
};

function conditions(window: 'open' | 'closed' | 'frozen'): Action {
  return (world) => {
    const { watching, state, facts } = world;
    if (watching === null || facts.window === window) return null;
    demand(watching === state.workId, () => 'conditions are watched for other work');
    const unmet = {
      open: [],
      closed: [unmetCondition({})],
      frozen: [unmetCondition({ id: 'freeze', kind: 'freeze', isSkippable: false })],
    }[window];
    // Somebody else's conditions say nothing here.
    const stray = take(world, { kind: 'ConditionsReported', workId: watching - 1, unmet: [] });
    demand(stray.state === state && stray.effects.length === 0, () => 'a stray report of conditions counts');
    return withFacts(take(world, { kind: 'ConditionsReported', workId: watching, unmet }), { window });
  };
}

/** Many moments go on from the same stored one. */
const READ = new WeakMap<World['state'], World['state']>();

/** As it comes back from a file. */
function fromFile(stored: World['state']): World['state'] {
  const known = READ.get(stored);
  if (known) return known;
  const read = JSON.parse(JSON.stringify(stored)) as World['state'];
  READ.set(stored, read);
  return read;
}

function starts(reboots: boolean): Action {
  return (world) => {
    const { stored, gate, settings } = world;
    const boots = world.boots + (reboots ? 1 : 0);
    const elapsed = reboots ? world.facts : elapse(world.facts, LIMITS.downMs, isWaiting(world));
    // No map runs out while nobody is there to see it: each gets its time anew (spec/update-control.md 3.1).
    const before = { ...elapsed, maps: world.facts.maps };
    const lostMs = reboots && stored.wait ? world.facts.waitedMs - stored.wait.waitedMs : 0;
    demand(lostMs >= 0 && lostMs <= 600_000, () => `${lostMs} ms of waiting are not stored`);
    const down: World = {
      ...world,
      boots,
      bootMs: reboots ? 1_000 : world.bootMs + LIMITS.downMs,
      wallMs: world.wallMs + LIMITS.downMs,
      state: fromFile(stored),
      facts: afterStart(before, gate, { reboots, lostMs }),
    };
    const started = take(down, startOf({ boots, settings }));
    const isReverified = started.state.step === 'commit-reverify';
    const up = isReverified ? drive(started, isAtGate) : started;
    return settle(up);
  };
}

function fetched(answer: 'pause' | 'force_continue' | 'failed' | 'gone'): Action {
  return (world) => {
    const { fetching, facts, state } = world;
    if (fetching === null || !isAtGate(world)) return null;
    if (fetching !== state.workId) return null;
    const failure = { name: 'Download', message: 'no route', details: {} } as const;
    const event: EventBody = {
      kind: 'ControlMapFetched',
      workId: fetching,
      answer:
        answer === 'gone'
          ? { kind: 'deployment-gone' }
          : answer === 'failed'
            ? { kind: 'failed', failure, retryAfterSeconds: 0 }
            : { kind: 'map', text: serverMap(world, answer) },
    };
    const next = take({ ...world, fetching: null }, event);
    if (answer === 'gone') return withFacts(next, { endedBy: 'server' });
    if (answer === 'failed') {
      const failures = facts.failures + 1;
      if (failures > LIMITS.refreshTries) return withFacts(next, { endedBy: 'server' });
      return withFacts(next, { failures, refresh: 'failing' });
    }
    const map = {
      key: `${idOf(world.deployments - 1)}/0`,
      priority: 0,
      says: answer,
      afterwards: answer,
      saysExpired: answer === 'pause' ? 'fail' : answer,
      leftMs: LIMITS.mapMs,
      isExpired: false,
      isServers: true,
    };
    const others = facts.maps.filter(({ isServers }) => !isServers);
    return withFacts(next, { failures: 0, refresh: 'none', maps: [...others, map] });
  };
}

function paused(isPaused: boolean): Action {
  return (world) => {
    if (world.facts.isPaused === isPaused || !isAtGate(world)) return null;
    const deploymentId = idOf(world.deployments - 1);
    const { next } = ask(world, { ...CLIENTS.C, kind: isPaused ? 'Pause' : 'Resume', deploymentId });
    return next && withFacts(next, { isPaused });
  };
}

function switched(isOff: boolean): Action {
  return (world) => {
    if (world.facts.isOff === isOff) return null;
    const { next } = ask(world, { ...CLIENTS.C, kind: 'SetUpdatesEnabled', isEnabled: !isOff });
    return next && withFacts(next, { isOff });
  };
}

function health(verdict: 'ok' | 'failed'): Action {
  return (world) => {
    if (!world.gate.hasHealth || world.facts.health === verdict || !isAtGate(world)) return null;
    const deploymentId = idOf(world.deployments - 1);
    const report = { kind: 'ReportHealth', deploymentId, checker: 'app', verdict, message: '' } as const;
    const { next } = ask(world, { ...CLIENTS.C, ...report });
    return next && withFacts(next, { health: verdict });
  };
}

/** What the exploration is about: issue "Synchronized control", "Must hold". */
export const MAIN_ACTIONS: Readonly<Record<string, Action>> = {
  'A continues': continues('A', null),
  'B continues': continues('B', null),
  snooze,
  abort,
  'A holds': holds('A', { appId: 'org.example.kiosk', onExpire: 'fail' }, 'aaaaaaaaaaaa'),
  'A is gone': holderGone,
  'B sets a map': mapSet('pause', 'continue', 0, 'continue'),
  'time passes': time(false),
  'the server cancels': cancel,
  'the server replaces it': replace,
  'the window opens': conditions('open'),
  'the window closes': conditions('closed'),
  'crash and restart': starts(false),
  reboot: starts(true),
};

export const MORE_ACTIONS: Readonly<Record<string, Action>> = {
  'time passes, alarm first': time(true),
  'some time passes': someTime,
  unsnooze,
  'A holds without app id': holds('A', {}, 'bbbbbbbbbbbb'),
  'B holds for a time, then goes on': holds(
    'B',
    { timeoutMs: 900_000, onExpire: 'continue' },
    'cccccccccccc',
  ),
  'B holds for a time, then fails': holds(
    'B',
    { timeoutMs: 900_000, onExpire: 'fail', priority: -1 },
    'dddddddddddd',
  ),
  'B holds for a time and longer': holds(
    'B',
    { timeoutMs: 900_000, onExpire: 'keep-waiting' },
    'eeeeeeeeeeee',
    true,
  ),
  'B wants it to fail': holds('B', { timeoutMs: 900_000, says: 'fail', priority: -2 }, 'ffffffffffff'),
  'B releases': release,
  'B refreshes': refresh,
  'B sets a map that fails': mapSet('pause', 'fail', 1),
  'B sets a map that forces': mapSet('force_continue', 'continue', 2, 'pause'),
  'B sets a map that fails at once': mapSet('fail', 'fail', -3, 'continue'),
  'B takes the map back': mapSet('', '', 0),
  'B takes the forcing map back': mapSet('', '', 2),
  'C continues now': continues('C', 'now'),
  'C overrides': continues('C', 'override'),
  'C reboots by hand': continues('C', null, true),
  'C pauses': paused(true),
  'C resumes': paused(false),
  'C switches off': switched(true),
  'C switches on': switched(false),
  'the device is frozen': conditions('frozen'),
  'the checker says ok': health('ok'),
  'the checker says failed': health('failed'),
  'the server sends a pause': fetched('pause'),
  'the server sends a go': fetched('force_continue'),
  'the server cannot be reached': fetched('failed'),
  'the server has forgotten it': fetched('gone'),
};
export const ALL_ACTIONS = { ...MAIN_ACTIONS, ...MORE_ACTIONS };

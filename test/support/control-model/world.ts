/**
 * One moment of an update at a gate: the real state, what is stored of it, its timers and watches, and beside it the
 * facts as the model knows them. Immutable, so that an exploration can go on from it in every direction.
 */
import type { Command, Decision } from '../../../src/core/command.ts';
import type { Effect } from '../../../src/core/effect.ts';
import type { EventBody, UpdateEvent } from '../../../src/core/event.ts';
import { DEFAULT_HOLD_POINT_POLICY, type HoldPoint } from '../../../src/core/hold-point.ts';
import { DEFAULT_FLOW_SETTINGS, type FlowSettings } from '../../../src/core/settings.ts';
import { initialState, type FlowStep, type UpdateState } from '../../../src/core/state.ts';
import { goodAnswer } from '../answering.ts';
import { OLD } from '../flow-simulator.ts';
import { demand, Violation, type Core } from './core.ts';
import { LIMITS, NO_FACTS, type Facts, type Gate } from './facts.ts';

export interface World {
  readonly core: Core;
  readonly gate: Gate;
  readonly step: FlowStep;
  readonly state: UpdateState;
  readonly stored: UpdateState;
  readonly effects: readonly Effect[];
  readonly settings: FlowSettings;
  readonly bootMs: number;
  readonly wallMs: number;
  readonly boots: number;
  readonly timer: { readonly workId: number; readonly dueMs: number } | null;
  readonly alarmMs: number | null;
  readonly holders: readonly string[];
  readonly watching: number | null;
  readonly fetching: number | null;
  readonly nonce: number;
  /** Announced and not ended. */
  readonly openTicket: string;
  /** Newest first. */
  readonly deadTickets: readonly string[];
  readonly facts: Facts;
  /** Number of deployments so far. */
  readonly deployments: number;
}

const GATE_STEPS: Readonly<Record<HoldPoint, FlowStep>> = {
  Download_Enter: 'download-gate',
  ArtifactInstall_Enter: 'install-gate',
  ArtifactReboot_Enter: 'reboot-gate',
  ArtifactCommit_Enter: 'commit-gate',
  ArtifactRollbackReboot_Enter: 'rollback-reboot-gate',
};
export interface GateOptions {
  readonly point: HoldPoint;
  readonly settings?: Partial<Gate['settings']>;
  readonly hasConditions?: boolean;
  readonly hasHealth?: boolean;
  /** The deployment comes with a map of the server that pauses at the point. */
  readonly hasServerMap?: boolean;
}

/** At the gate for the first time, conditions not known yet. */
export function arrive(core: Core, options: GateOptions): World {
  const { point, hasConditions = true, hasHealth = false, hasServerMap = false } = options;
  const settings = { ...DEFAULT_HOLD_POINT_POLICY[point], ceilingSeconds: 7200, ...options.settings };
  const gate: Gate = { point, settings, hasConditions, hasHealth };
  const flow: FlowSettings = {
    ...DEFAULT_FLOW_SETTINGS,
    isServerConfigured: true,
    holdPoints: { ...DEFAULT_HOLD_POINT_POLICY, [point]: settings },
    conditionPoints: hasConditions ? [point] : [],
    health: { checkers: hasHealth ? ['app'] : [], deadlineSeconds: LIMITS.healthMs / 1000 },
    snooze: { maxCount: LIMITS.snoozeCount, maxTotalSeconds: LIMITS.snoozeTotalMs / 1000 },
    holdLingerSeconds: LIMITS.lingerMs / 1000,
    controlMapExpirationSeconds: LIMITS.mapMs / 1000,
    controlMapBootExpirationSeconds: LIMITS.bootMs / 1000,
    retryPollIntervalSeconds: 300,
    retryPollCount: LIMITS.refreshTries,
  };
  const state = initialState(OLD);
  const empty: World = {
    core,
    gate,
    step: GATE_STEPS[point],
    state,
    stored: state,
    effects: [],
    settings: flow,
    bootMs: 60_000,
    wallMs: Date.UTC(2031, 1, 3),
    boots: 1,
    timer: null,
    alarmMs: null,
    holders: [],
    watching: null,
    fetching: null,
    nonce: 0,
    openTicket: '',
    deadTickets: [],
    facts: NO_FACTS,
    deployments: 0,
  };
  const idle = drive(take(empty, startOf(empty)), (world) => world.state.step === 'idle');
  return offer(idle, hasServerMap);
}

export function startOf({ boots, settings }: Pick<World, 'boots' | 'settings'>): EventBody {
  return { kind: 'ServiceStarted', bootId: `boot-${boots}`, settings, bootstrap: null };
}

/** A new deployment, up to the gate. */
export function offer(idle: World, hasServerMap: boolean): World {
  const { gate } = idle;
  const maps = hasServerMap
    ? [
        {
          key: `${idOf(idle.deployments)}/0`,
          priority: 0,
          says: 'pause',
          afterwards: 'pause',
          saysExpired: 'fail',
          leftMs: LIMITS.mapMs,
          isExpired: false,
          isServers: true,
        },
      ]
    : [];
  const facts: Facts = {
    ...NO_FACTS,
    isOff: idle.facts.isOff,
    holds: idle.facts.holds.filter(({ isExpired, isForThis }) => !isExpired && !isForThis),
    maps: [...idle.facts.maps.filter(({ isExpired, isServers }) => !isExpired && !isServers), ...maps],
    window: gate.hasConditions ? 'unknown' : 'open',
    refresh: hasServerMap ? 'first' : 'none',
  };
  const begun = { ...idle, facts, deployments: idle.deployments + 1 };
  const asked = take(begun, { kind: 'CheckRequested' });
  const arrived = drive(
    asked,
    (world) => world.state.step === world.step,
    hasServerMap ? serverMap(begun, 'pause') : null,
  );
  demand(
    arrived.state.step === arrived.step,
    () => `did not get to ${arrived.step} but ${arrived.state.step}`,
  );
  return settle(arrived);
}

/** Each another one: what has ended badly under an id is not taken again. */
export function idOf(deployments: number): string {
  return `b6f9a3d2-0000-4000-8000-${(deployments + 1).toString(16).padStart(12, '0')}`;
}

export function serverMap({ deployments, gate }: World, action: string): string {
  const id = idOf(deployments - 1);
  return JSON.stringify({ id, states: { [gate.point]: { action } } });
}

/** Answers everything that is ordered as if all went well, but the way to the rollback. */
export function drive(world: World, until: (world: World) => boolean, map: string | null = null): World {
  let now = world;
  const jobs = [...world.effects];
  for (let turns = 0; turns < 400; turns += 1) {
    if (until(now)) return now;
    const job = jobs.shift();
    if (!job) return now;
    for (const body of answers(now, job, map)) {
      now = take(now, body);
      jobs.push(...now.effects);
      if (until(now)) return now;
    }
  }
  return now;
}

function answers(world: World, effect: Effect, map: string | null): readonly EventBody[] {
  if (effect.kind === 'checkForDeployment') {
    return goodAnswer(effect).map((body) =>
      body.kind === 'DeploymentCheckFinished' && body.offer
        ? {
            ...body,
            offer: { ...body.offer, deploymentId: idOf(world.deployments - 1), controlMapText: map },
          }
        : body,
    );
  }
  const isWayBack = world.gate.point === 'ArtifactRollbackReboot_Enter';
  if (effect.kind === 'runModule' && effect.action === 'ArtifactVerifyReboot' && isWayBack) {
    const failure = { name: 'Reboot', message: 'the old version runs', details: {} } as const;
    return [{ kind: 'ModuleFinished', workId: effect.workId, failure }];
  }
  // Who else is at a gate on the way there: nothing but what the test put there.
  return effect.kind === 'fetchControlMap'
    ? [{ kind: 'ControlMapFetched', workId: effect.workId, answer: { kind: 'map', text: map ?? '{}' } }]
    : goodAnswer(effect);
}

/** Together 32 digits. */
const NONCE_BEGINS = '0'.repeat(24);
const FIRST_NONCE = 0x1000_0001;

function stamp(world: World, body: EventBody): UpdateEvent {
  const nonce = NONCE_BEGINS + (FIRST_NONCE + world.nonce).toString(16);
  return { ...body, at: { wallMs: world.wallMs, bootMs: world.bootMs }, nonce };
}

/** One event through the real transition, with all that must hold of its effects. */
export function take(world: World, body: EventBody): World {
  const { core, state: before } = world;
  const event = stamp(world, body);
  const { state, effects } = core.transition(before, event);
  let next: World = {
    ...world,
    nonce: world.nonce + 1,
    state,
    effects,
    stored: core.needsSaving(before, state) ? state : world.stored,
  };
  if (body.kind === 'ServiceStarted') {
    next = { ...next, timer: null, alarmMs: null, holders: [], watching: null, fetching: null };
    next = bury(next);
  }
  for (const effect of effects) next = carryOut(next, effect, event.nonce);
  return next;
}

function bury(world: World): World {
  if (world.openTicket === '') return world;
  return { ...world, openTicket: '', deadTickets: [world.openTicket, ...world.deadTickets].slice(0, 3) };
}

function carryOut(world: World, effect: Effect, nonce: string): World {
  const { bootMs, holders } = world;
  switch (effect.kind) {
    case 'armTimer':
      demand(effect.delayMs >= 0, () => `a timer of ${effect.delayMs} ms`);
      return { ...world, timer: { workId: effect.workId, dueMs: bootMs + effect.delayMs } };
    case 'disarmTimer':
      return { ...world, timer: null };
    case 'setAlarm':
      return { ...world, alarmMs: effect.delayMs === null ? null : bootMs + effect.delayMs };
    case 'watchHolder':
      demand(!holders.includes(effect.connection), () => `${effect.connection} is watched twice`);
      return { ...world, holders: [...holders, effect.connection] };
    case 'unwatchHolder':
      demand(holders.includes(effect.connection), () => `${effect.connection} was not watched`);
      return { ...world, holders: holders.filter((one) => one !== effect.connection) };
    case 'watchConditions':
      return { ...world, watching: effect.workId };
    case 'unwatchConditions':
      demand(world.watching !== null, () => 'conditions were not watched');
      return { ...world, watching: null };
    case 'fetchControlMap':
      return { ...world, fetching: effect.workId };
    case 'announce': {
      const { notice } = effect;
      if (notice.kind === 'WaitStarted') {
        demand(world.openTicket === '', () => 'a wait begins while one is open');
        demand(notice.ticket === nonce, () => 'a ticket that was not minted by this event');
        return { ...world, openTicket: notice.ticket };
      }
      if (notice.kind === 'WaitEnded') {
        demand(notice.ticket === world.openTicket, () => 'a wait ends that was not open');
        return bury(world);
      }
      return world;
    }
    default:
      return world;
  }
}

/** The clocks go on. */
export function later(world: World, ms: number): World {
  return { ...world, bootMs: world.bootMs + ms, wallMs: world.wallMs + ms };
}

/** Whatever is due by now happens. */
export function settle(world: World): World {
  let now = world;
  for (let turns = 0; turns < 20; turns += 1) {
    const next = ring(now) ?? fire(now);
    if (next === null) return now;
    now = next;
  }
  throw new Violation('time stands still');
}

export function ring(world: World): World | null {
  if (world.alarmMs === null || world.alarmMs > world.bootMs) return null;
  return take({ ...world, alarmMs: null }, { kind: 'AlarmRang' });
}

export function fire(world: World): World | null {
  const { timer, bootMs } = world;
  if (timer === null || timer.dueMs > bootMs) return null;
  return take({ ...world, timer: null }, { kind: 'TimerFired', workId: timer.workId });
}

/** What a client asks for; null = refused, or answered without an event. */
export function ask(
  world: World,
  command: Command,
): { readonly decision: Decision; readonly next: World | null; readonly reply: string } {
  const decision = world.core.decide(world.state, command, world.bootMs);
  if (decision.kind === 'refused') return { decision, next: null, reply: decision.refusal.name };
  if (decision.kind === 'answered') return { decision, next: null, reply: decision.reply };
  const next = take(world, decision.event);
  const reply = decision.reply(next.state);
  return { decision, next, reply: typeof reply === 'string' ? reply : reply.name };
}

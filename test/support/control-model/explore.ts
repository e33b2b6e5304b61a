/** Walks through everything that can happen: in breadth to a depth, or at random for long. */
import type { UpdateState } from '../../../src/core/state.ts';
import type { Action } from './actions.ts';
import { Violation, type Core } from './core.ts';
import { afterPassage, asking } from './facts.ts';
import { checkMoment, checkStep, isAtGate } from './invariants.ts';
import { arrive, type GateOptions, type World } from './world.ts';

export interface Explored {
  readonly states: number;
  readonly transitions: number;
  /** Whether there was nothing new any more before the depth was reached. */
  readonly isExhausted: boolean;
}

export interface ExploreOptions {
  readonly gate: GateOptions;
  readonly actions: Readonly<Record<string, Action>>;
  readonly depth: number;
  /** Ends sooner, as not exhausted; default: never. */
  readonly maxTransitions?: number;
}

interface Node {
  readonly world: World;
  readonly path: string;
}

/** Every interleaving of the actions up to the depth; moments that look alike are gone on from once. */
export function explore(core: Core, options: ExploreOptions): Explored {
  const { gate, actions, depth, maxTransitions = Infinity } = options;
  const first = asked(arrive(core, gate)) as World;
  check('', () => checkStep(first, first));
  check('', () => checkMoment(first));
  const seen = new Set([keyOf(first)]);
  let frontier: readonly Node[] = [{ world: first, path: '' }];
  let transitions = 0;
  for (let level = 0; level < depth && frontier.length > 0; level += 1) {
    const next: Node[] = [];
    for (const { world, path } of frontier) {
      for (const [name, action] of Object.entries(actions)) {
        const here = `${path} → ${name}`;
        const reached = check(here, () => asked(action(world)));
        if (reached === null) continue;
        transitions += 1;
        check(here, () => checkStep(world, reached));
        const after = behind(world, reached);
        if (transitions >= maxTransitions) return { states: seen.size, transitions, isExhausted: false };
        const key = keyOf(after);
        if (seen.has(key)) continue;
        seen.add(key);
        check(here, () => checkMoment(after));
        if (isWorthGoingOn(after)) next.push({ world: after, path: here });
      }
    }
    frontier = next;
  }
  return { states: seen.size, transitions, isExhausted: frontier.length === 0 };
}

/** Runs of 20 to 60 events; answers with the number of events that did something. */
export function wander(
  core: Core,
  options: Omit<ExploreOptions, 'depth'> & { readonly runs: number; readonly random: () => number },
): number {
  const { gate, runs, random } = options;
  const actions = Object.entries(options.actions);
  const first = asked(arrive(core, gate)) as World;
  let events = 0;
  for (let run = 0; run < runs; run += 1) {
    let world = first;
    let path = '';
    const length = 20 + Math.floor(random() * 41);
    for (let left = length, tries = 0; left > 0 && tries < 400; tries += 1) {
      const [name, action] = actions[Math.floor(random() * actions.length)] as [string, Action];
      // The more final it is, the rarer; else no run would be long.
      if (/abort|cancels|forgotten|fails at once|wants it to fail|says failed/.test(name) && random() < 0.8)
        continue;
      const here = `${path} → ${name}`;
      const before = world;
      const reached = check(here, () => asked(action(before)));
      if (reached === null) continue;
      left -= 1;
      events += 1;
      path = here;
      check(path, () => checkStep(before, reached));
      const after = behind(before, reached);
      if (random() < 0.05) check(path, () => checkMoment(after));
      world = isWorthGoingOn(after) ? after : first;
      if (world === first) path = `${path} → (another deployment)`;
    }
  }
  return events;
}

function asked(world: World | null): World | null {
  return world && { ...world, facts: asking(world.facts, world.gate) };
}

/** A gate that was passed all the same ends a snooze, also for those who come back to it by a crash. */
function behind(before: World, world: World): World {
  const { facts } = world;
  return !isAtGate(before) || isAtGate(world) || facts.endedBy !== ''
    ? world
    : { ...world, facts: afterPassage(facts) };
}

/** Behind a gate only what leads back to it is of interest here. */
function isWorthGoingOn(world: World): boolean {
  return isAtGate(world) || /^(download|install|reboot)-status$|^commit-authorize$/.test(world.state.step);
}

function check<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof Violation) throw new Violation(`${error.message}; after${path || ' nothing'}`);
    throw error;
  }
}

/** Equal for moments from which the same things follow: times count from now, and names of tickets do not matter. */
export function keyOf(world: World): string {
  const { state, stored, timer, alarmMs, bootMs, facts } = world;
  const inMs = (dueMs: number | null): number | null => (dueMs === null ? null : dueMs - bootMs);
  return JSON.stringify([
    partOf(state, bootMs),
    stored === state ? 0 : partOf(stored, bootMs),
    timer && [timer.dueMs - bootMs, timer.workId - state.workId],
    inMs(alarmMs),
    world.holders,
    world.watching !== null,
    world.fetching === state.workId,
    facts,
  ]);
}

function partOf(state: UpdateState, bootMs: number): unknown {
  const { deployment, wait, visit } = state;
  return [
    state.step,
    deployment && [
      deployment.consents.map(({ uid }) => uid),
      deployment.waivers.map(({ kind, uid }) => `${kind}${uid}`),
      deployment.passages.map(({ point, reasons }) => [point, reasons]),
      deployment.failure?.name,
      deployment.endRequest?.kind,
      deployment.pause !== null,
      deployment.snoozes.count,
      deployment.snoozes.totalMs,
      deployment.snoozes.active && [
        deployment.snoozes.active.sinceWaitedMs,
        deployment.snoozes.active.untilWaitedMs,
      ],
      deployment.healthReports.map(({ verdict }) => verdict),
      deployment.rebootMode,
      deployment.carriedWait && [deployment.carriedWait.spentMs, deployment.carriedWait.snoozedMs],
    ],
    wait && [
      wait.ticket !== '',
      wait.isContinued === true,
      wait.waitedMs + bootMs - wait.asOfBootMs,
      wait.snoozedMs,
      wait.deadlineBootMs - bootMs,
      wait.onExpire,
      wait.notice,
    ],
    visit && [
      visit.unmet?.map(({ id }) => id) ?? null,
      visit.refresh,
      visit.failedRefreshes,
      visit.askedMaps,
    ],
    visit?.refreshAtBootMs == null ? null : visit.refreshAtBootMs - bootMs,
    state.holds.map((hold) => [hold.id, hold.countdown, hold.isExpired, hold.remainingMs, hold.connection]),
    state.holds.map(({ countdown, asOfBootMs }) => (countdown === 'none' ? 0 : asOfBootMs - bootMs)),
    state.controlMaps.map((map) => [
      map.id,
      map.priority,
      map.isExpired,
      map.expiresBootMs - bootMs,
      map.states,
    ]),
    state.updatesSwitch,
  ];
}

/** What must be true of every moment, and of every step from one to the next. */
import type { Details } from '../../../src/core/errors.ts';
import { snapshotOf } from '../../../src/core/snapshot.ts';
import { FLOW } from '../../../src/core/transition-table.ts';
import { demand } from './core.ts';
import { judgeNaively, type Judgement } from './facts.ts';
import { fire, later, ring, settle, take, type World } from './world.ts';

/** Whether the update stands at the gate; else it has passed it, or was ended. */
export function isAtGate({ state, step }: World): boolean {
  return state.step === step;
}

const WORK = ['runScripts', 'runModule', 'rebootHost', 'download', 'authorize', 'checkScriptVersion'];

/** After each action. */
export function checkStep(before: World, after: World): void {
  const judgement = judgeNaively(after.facts, after.gate);
  if (isAtGate(after)) {
    checkGate(after, judgement);
    if (isAtGate(before)) {
      const work = after.effects.find(({ kind }) => WORK.includes(kind));
      demand(work === undefined, () => `at the gate ${work?.kind} is ordered`);
    }
  } else if (isAtGate(before)) checkLeaving(before, after, judgement);
  const connections = [...new Set(after.state.holds.map(({ connection }) => connection))].filter(
    (one) => one !== '',
  );
  demand(
    connections.toSorted().join() === after.holders.toSorted().join(),
    () => `watched are ${after.holders.join()}, holding are ${connections.join()}`,
  );
  if (after.state.serial === before.state.serial) {
    const shown = JSON.stringify(snapshotOf(after.state, at(after)));
    demand(shown === JSON.stringify(snapshotOf(before.state, at(after))), () => 'a change without a serial');
  }
}

function at({ wallMs, bootMs }: World) {
  return { wallMs, bootMs };
}

function checkGate(world: World, judgement: Judgement): void {
  const { state, facts, timer, openTicket, bootMs } = world;
  const { wait: present, visit } = state;
  if (judgement.kind === 'undecided') {
    demand(present === null, () => 'it waits before the conditions are known');
    demand(visit?.unmet === null || visit?.refresh === 'first', () => 'nothing is being found out');
    demand(
      timer?.workId === state.workId || world.fetching === state.workId,
      () => 'nothing ends the finding out',
    );
    return;
  }
  const who = judgement.kind === 'wait' ? judgement.who.join() : `nobody (${judgement.kind})`;
  const shown = present?.blockers.map(({ id }) => id).toSorted() ?? [];
  demand(
    present !== null && shown.join() === who,
    () =>
      `blockers are ${shown.join()}, should be ${who}: ${JSON.stringify([facts.holds.map(({ id, leftMs, isExpired, runs }) => [id.slice(0, 1), leftMs, isExpired, runs]), state.holds.map(({ id, remainingMs, isExpired, countdown }) => [id.slice(0, 1), remainingMs, isExpired, countdown])])}`,
  );
  if (present === null) return;
  // That all of them are is seen by what they say afterwards.
  const stray = visit?.askedMaps.map(String).find((key) => !facts.asked.includes(key));
  demand(stray === undefined, () => `${stray} counts as asked`);
  demand(timer?.workId === state.workId, () => 'a wait without its timer');
  demand(openTicket === present.ticket, () => 'the ticket shown is not the one announced');
  demand(
    (present.ticket === '') === (facts.snoozeLeftMs !== null),
    () =>
      `ticket "${present.ticket}", snoozed for ${facts.snoozeLeftMs} ms: ${JSON.stringify([state.deployment?.snoozes, present.waitedMs, present.snoozedMs])}`,
  );
  const waitedMs = present.waitedMs + bootMs - present.asOfBootMs;
  demand(waitedMs === facts.waitedMs, () => `waited ${waitedMs} ms, should be ${facts.waitedMs}`);
  const ends = [
    ...facts.holds.flatMap(({ leftMs, isExpired }) => (leftMs === null || isExpired ? [] : [leftMs])),
    ...facts.maps.flatMap(({ leftMs, isExpired }) => (isExpired ? [] : [leftMs])),
  ];
  const nextMs = ends.length === 0 ? Infinity : bootMs + Math.min(...ends);
  // Too early costs one look, after which it is set anew; too late would let somebody outlive his time.
  demand((world.alarmMs ?? Infinity) <= nextMs, () => `the alarm is at ${world.alarmMs}, due is ${nextMs}`);
}

function checkLeaving(before: World, world: World, judgement: Judgement): void {
  const { state, facts, gate, step } = world;
  demand(state.wait === null && world.openTicket === '', () => 'a wait outlives its gate');
  const passage = passageOf(world);
  // What goes on behind a gate that cannot be refused has passed it too.
  const isBehind = state.step === nextStep(world);
  if (facts.endedBy !== '' || (judgement.kind === 'fail' && gate.point !== 'ArtifactRollbackReboot_Enter')) {
    demand(!isBehind, () => `it should have ended, but goes on in ${state.step}`);
    // It may have been passed before a crash that led back to it.
    const earlier = passageOf(before);
    demand(passage === earlier, () => 'a gate that was refused counts as passed');
    const failure = state.deployment?.failure;
    demand(failure != null, () => 'it has ended without a reason');
    if (judgement.kind === 'fail' && facts.endedBy === '') {
      const { reason, checker } = judgement;
      const details: Details = failure?.details ?? {};
      demand(details['reason'] === reason, () => `refused for ${details['reason']}, should be for ${reason}`);
      demand(
        details['checker'] === (checker === '' ? undefined : checker),
        () => `refused by ${details['checker']}`,
      );
      demand(reason !== 'map-fail' || details['map-id'] !== undefined, () => 'refused by no map');
      demand(!reason.startsWith('hold') || details['hold-id'] !== undefined, () => 'refused by no hold');
      checkAdvance(world);
    }
    return;
  }
  if (world.effects.length > 0 && passage?.reasons[0] === 'rebooted-by-hand') {
    demand(step.endsWith('reboot-gate'), () => 'a reboot by hand passes another gate');
    return;
  }
  demand(isBehind, () => `it should have passed, but is in ${state.step}`);
  demand(passage !== undefined, () => 'passed without a record');
  if (passage === undefined || judgement.kind === 'fail') return;
  demand(judgement.kind === 'pass', () => `passed although it should ${JSON.stringify(judgement)}`);
  if (judgement.kind !== 'pass') return;
  const end = world.effects.find(
    (effect) => effect.kind === 'announce' && effect.notice.kind === 'WaitEnded',
  );
  if (end?.kind === 'announce' && end.notice.kind === 'WaitEnded') {
    const { outcome } = end.notice;
    const isForced = judgement.isForced && !judgement.hasExpired;
    demand((outcome === 'forced') === isForced, () => `the outcome is ${outcome}`);
    demand(!judgement.hasExpired || outcome === 'expired-continue', () => `the outcome is ${outcome}`);
  }
  checkAdvance(world);
  demand(
    passage.reasons.toSorted().join() === judgement.reasons.toSorted().join(),
    () => `passed for ${passage.reasons.join()}, should be for ${judgement.reasons.join()}`,
  );
}

/** `on_action_executed`, once for each passage, of the maps that were asked and of no other. */
function checkAdvance({ state, facts, gate }: World): void {
  for (const { key, says, afterwards } of facts.maps) {
    const map = state.controlMaps.find((one) => `${one.id}/${one.priority}` === key);
    const rule = Object.entries(map?.states ?? {}).find(([point]) => point === gate.point)?.[1];
    const expected = facts.asked.includes(key) ? afterwards : says;
    if (rule)
      demand(rule.action === expected, () => `map ${key} says ${rule.action}, should say ${expected}`);
  }
}

function passageOf({ state, gate }: World) {
  return state.deployment?.passages.find(({ point }) => point === gate.point);
}

function nextStep({ step }: World): string {
  const { done } = FLOW[step].next;
  return typeof done === 'string' ? done : '';
}

/** Once for each distinct moment. */
export function checkMoment(world: World): void {
  checkDeadTickets(world);
  if (!isAtGate(world)) return;
  checkClock(world);
  checkEnd(world);
}

function checkDeadTickets(world: World): void {
  for (const ticket of world.deadTickets) {
    for (const command of [
      { kind: 'Continue', ticket, uid: 1000, comment: '', waiver: 'override' },
      { kind: 'Snooze', ticket, uid: 1000, seconds: 60 },
    ] as const) {
      const { kind } = world.core.decide(world.state, command, world.bootMs);
      demand(kind !== 'accepted', () => `${command.kind} takes a dead ticket`);
    }
    for (const body of [
      { kind: 'ContinueGiven', ticket, uid: 1000, comment: '', waiver: 'override', rebootMode: null },
      { kind: 'SnoozeGiven', ticket, uid: 1000, seconds: 60 },
    ] as const) {
      const next = take(world, body);
      demand(next.state === world.state && next.effects.length === 0, () => `${body.kind} changes something`);
    }
  }
}

/** The wall clock decides nothing here. */
function checkClock(world: World): void {
  if (world.alarmMs === null && world.timer === null) return;
  const dueMs = Math.min(world.timer?.dueMs ?? Infinity, world.alarmMs ?? Infinity);
  const due = later(world, Math.max(0, dueMs - world.bootMs));
  const [plain, ...stepped] = [0, 31_536_000_000, -31_536_000_000].map((stepMs) => {
    const next = settle(
      ring({ ...due, wallMs: due.wallMs + stepMs }) ?? fire({ ...due, wallMs: due.wallMs + stepMs }) ?? due,
    );
    return `${next.state.step} ${next.timer?.dueMs} ${next.alarmMs} ${next.state.wait?.deadlineBootMs}`;
  });
  for (const other of stepped)
    demand(other === plain, () => `the wall clock counts: ${plain} became ${other}`);
}

/** If nobody does anything, the wait ends when and how it says, and no sooner. */
function checkEnd(world: World): void {
  const { wait: present } = world.state;
  if (present === null || world.fetching !== null || world.facts.refresh !== 'none') return;
  if (world.state.visit?.refreshAtBootMs !== null) return;
  const { deadlineBootMs, onExpire } = present;
  if (deadlineBootMs === 0) {
    demand(world.gate.settings.ceilingSeconds === 0, () => 'no end, although there is a ceiling');
    return;
  }
  let now = world;
  for (let turns = 0; turns < 100 && isAtGate(now); turns += 1) {
    const due = Math.min(now.timer?.dueMs ?? Infinity, now.alarmMs ?? Infinity);
    demand(
      due <= deadlineBootMs,
      () => `nothing happens at the end of the wait, ${deadlineBootMs}, but at ${due}`,
    );
    const then = later(now, Math.max(0, due - now.bootMs));
    now = settle(ring(then) ?? fire(then) ?? then);
  }
  demand(!isAtGate(now), () => 'the wait outlives its end');
  demand(now.bootMs === deadlineBootMs, () => `it ended at ${now.bootMs}, said was ${deadlineBootMs}`);
  const hasPassed = now.state.step === nextStep(now);
  const isFinal = now.gate.point === 'ArtifactRollbackReboot_Enter';
  demand(
    isFinal || hasPassed === (onExpire === 'continue'),
    () => `it said ${onExpire}, and went to ${now.state.step}`,
  );
}

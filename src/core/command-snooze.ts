import {
  callerOf,
  isTicket,
  refused,
  staleTicket,
  wrongTicket,
  type Command,
  type Decision,
} from './command-answers.ts';
import { snoozeLeftSeconds, type ActiveSnooze } from './control/snooze.ts';
import { refuse } from './refusal.ts';
import type { UpdateState } from './state.ts';
import { waitedMs } from './wait-time.ts';

/** Putting a question off, within limits. The reply is the wall clock of the end, milliseconds. Source: design/dbus-api.md "Snooze". */
export function decideSnooze(
  state: UpdateState,
  command: Extract<Command, { kind: 'Snooze' }>,
  nowBootMs: number,
): Decision {
  const { ticket, seconds } = command;
  if (!isTicket(ticket)) return refused(wrongTicket());
  if (seconds < 1) return refused(refuse('InvalidArgs', 'seconds: found 0, expected at least 1'));
  const active = state.deployment?.snoozes.active;
  if (active && active.ticket === ticket) {
    // A repeated call, because the first reply was lost.
    return { kind: 'answered', reply: String(snoozeEndWallMs(active)) };
  }
  if (state.wait?.ticket !== ticket) return refused(staleTicket());
  const left = snoozeLeft(state, nowBootMs);
  if (seconds > left) {
    const message =
      left === 0 ? 'it cannot be put off any longer' : `it can be put off by ${left} seconds at most`;
    return refused(refuse('DeferralLimit', message, { 'remaining-seconds': left }));
  }
  return {
    kind: 'accepted',
    event: { ...callerOf(command), kind: 'SnoozeGiven', ticket, seconds },
    reply: (after) => {
      const snooze = after.deployment?.snoozes.active;
      return snooze?.ticket === ticket ? String(snoozeEndWallMs(snooze)) : staleTicket();
    },
  };
}

function snoozeEndWallMs(snooze: ActiveSnooze): number {
  return Math.round(snooze.sinceWallMs + snooze.untilWaitedMs - snooze.sinceWaitedMs);
}

export function isSnoozed({ wait, deployment }: UpdateState): boolean {
  // One that was left behind at another point is no matter any more.
  return wait !== null && deployment?.snoozes.active?.point === wait.point;
}

export function snoozeLeft({ wait, deployment, settings }: UpdateState, nowBootMs: number): number {
  if (wait === null || deployment === null) return 0;
  return snoozeLeftSeconds(deployment.snoozes, settings.snooze, {
    waitedMs: waitedMs(wait, nowBootMs),
    ceilingSeconds: settings.holdPoints[wait.point].ceilingSeconds,
  });
}

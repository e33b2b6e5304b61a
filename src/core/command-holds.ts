import {
  accepted,
  callerOf,
  refused,
  wrongDeployment,
  wrongState,
  wrongText,
  type Command,
  type Decision,
} from './command-answers.ts';
import { parseControlMap } from './control/control-map.ts';
import { HEALTH_VERDICTS, type HealthVerdict } from './control/health.ts';
import { adoptable, HOLD_LIMITS } from './control/hold.ts';
import { mapKey, MAX_MAPS } from './control/map-pool.ts';
import type { Caller, HoldWish } from './event.ts';
import { HOLD_POINTS, isHoldPoint } from './hold-point.ts';
import { quoted } from './printable.ts';
import { refuse, type Refusal } from './refusal.ts';
import type { FlowStep, UpdateState } from './state.ts';

/** Holds, control maps and health verdicts: what may be said, and by whom. Source: design/dbus-api.md section 4. */
const APP_ID = /^[A-Za-z0-9._-]{1,128}$/;
const HEALTH_STEPS: readonly FlowStep[] = [
  'install-leave',
  'needs-reboot',
  'verify-reboot',
  'reboot-leave',
  'commit-reverify',
  'commit-gate',
];

/** The reply is the id of the hold. */
export function decideAddHold(state: UpdateState, command: Extract<Command, { kind: 'AddHold' }>): Decision {
  const wrong = wrongHold(state, command);
  if (wrong) return refused(wrong);
  const adopted = command.timeoutSeconds === 0 ? adoptable(state.holds, command) : undefined;
  if (!adopted) {
    const own = state.holds.filter(({ uid }) => uid === command.uid).length;
    if (own >= HOLD_LIMITS.perUid) {
      return refused(
        refuse('LimitsExceeded', `a user may have ${HOLD_LIMITS.perUid} holds`, {
          limit: HOLD_LIMITS.perUid,
        }),
      );
    }
    if (state.holds.length >= HOLD_LIMITS.inAll) {
      return refused(
        refuse('LimitsExceeded', `there may be ${HOLD_LIMITS.inAll} holds in all`, {
          limit: HOLD_LIMITS.inAll,
        }),
      );
    }
  }
  const { kind: _, ...facts } = command;
  const id = adopted?.id ?? command.holdId;
  return { kind: 'accepted', event: { ...facts, kind: 'HoldAdded' }, reply: () => id };
}

function wrongHold(state: UpdateState, wish: HoldWish & Caller): Refusal | null {
  const [strange] = wish.points.filter((point) => !isHoldPoint(point));
  if (strange !== undefined) {
    return refuse('UnknownPoint', `found ${quoted(strange)}, expected one of ${HOLD_POINTS.join(', ')}`);
  }
  if (wish.points.length === 0) return refuse('InvalidArgs', 'points: found none, expected at least one');
  if (new Set(wish.points).size !== wish.points.length) {
    return refuse('InvalidArgs', 'points: found the same one twice');
  }
  if (wish.why.trim() === '') return refuse('InvalidArgs', 'why: found an empty text, expected a reason');
  const wrong = wrongText(wish.why, 'why');
  if (wrong) return wrong;
  if (!(['continue', 'fail', 'keep-waiting'] as readonly string[]).includes(wish.onExpire)) {
    return refuse(
      'InvalidArgs',
      `on_expire: found ${quoted(wish.onExpire)}, expected continue, fail or keep-waiting`,
    );
  }
  if (!(['pause', 'fail'] as readonly string[]).includes(wish.action)) {
    return refuse('InvalidArgs', `action: found ${quoted(wish.action)}, expected pause or fail`);
  }
  if (wish.priority < -10 || wish.priority > 10) {
    return refuse('InvalidArgs', `priority: found ${wish.priority}, expected -10 to 10`);
  }
  if (wish.appId !== '' && !APP_ID.test(wish.appId)) {
    return refuse('InvalidArgs', 'app-id: expected at most 128 of the characters A-Z a-z 0-9 . _ -');
  }
  const ceilings = wish.points.map((point) => state.settings.holdPoints[point].ceilingSeconds);
  const maxSeconds = ceilings.includes(0) ? Infinity : Math.max(...ceilings);
  if (wish.timeoutSeconds > maxSeconds) {
    const message = `timeout_seconds: found ${wish.timeoutSeconds}, no update is made to wait there longer than ${maxSeconds}`;
    return refuse('InvalidArgs', message, { 'max-seconds': maxSeconds });
  }
  return wish.deploymentId === '' ? null : wrongDeployment(state, wish.deploymentId);
}

/** The reply is when to refresh again, seconds. */
export function decideRefreshHold(
  state: UpdateState,
  command: Extract<Command, { kind: 'RefreshHold' }>,
): Decision {
  const hold = state.holds.find(({ id }) => id === command.holdId);
  if (!hold) return refused(unknownHold());
  if (hold.uid !== command.uid) return refused(notHoldOwner());
  // A bound hold needs none; asking for it is harmless.
  if (hold.lifetime === 'bound') return { kind: 'answered', reply: '0' };
  return {
    kind: 'accepted',
    event: { ...callerOf(command), kind: 'HoldRefreshed', holdId: hold.id },
    reply: (after) =>
      after.holds.some(({ id }) => id === hold.id) ? String(refreshSeconds(hold.timeoutMs)) : unknownHold(),
  };
}

export function refreshSeconds(timeoutMs: number): number {
  return timeoutMs === 0 ? 0 : Math.max(1, Math.floor(timeoutMs / 2000));
}

export function decideReleaseHold(
  state: UpdateState,
  command: Extract<Command, { kind: 'ReleaseHold' }>,
): Decision {
  const hold = state.holds.find(({ id }) => id === command.holdId);
  if (!hold) return refused(unknownHold());
  if (hold.uid !== command.uid && !command.isOverride) return refused(notHoldOwner());
  return accepted({ ...callerOf(command), kind: 'HoldReleased', holdId: hold.id });
}

function unknownHold(): Refusal {
  return refuse('UnknownHold', 'there is no hold with this id, or not any more');
}

function notHoldOwner(): Refusal {
  return refuse('NotHoldOwner', 'the hold belongs to another user');
}

/** The reply is half the lifetime, seconds, also for a deletion. Source: spec/update-control.md section 7. */
export function decideControlMap(
  state: UpdateState,
  command: Extract<Command, { kind: 'SetControlMap' }>,
): Decision {
  const parsed = parseControlMap(command.text);
  if (parsed.kind === 'invalid') {
    return refused(refuse('InvalidMap', `${parsed.path}: ${parsed.message}`, { path: parsed.path }));
  }
  const reply = String(Math.floor(state.settings.controlMapExpirationSeconds / 2));
  if (parsed.kind === 'null') return { kind: 'answered', reply };
  const { map } = parsed;
  const isNew = !state.controlMaps.some((known) => mapKey(known) === mapKey(map));
  if (isNew && Object.keys(map.states).length > 0 && state.controlMaps.length >= MAX_MAPS) {
    return refused(refuse('LimitsExceeded', `there may be ${MAX_MAPS} control maps`, { limit: MAX_MAPS }));
  }
  return {
    kind: 'accepted',
    event: { ...callerOf(command), kind: 'ControlMapGiven', map },
    reply: () => reply,
  };
}

export function decideHealth(
  state: UpdateState,
  command: Extract<Command, { kind: 'ReportHealth' }>,
): Decision {
  const { deploymentId, checker, verdict, message } = command;
  const { checkers } = state.settings.health;
  if (!checkers.includes(checker)) {
    const known = checkers.length === 0 ? 'none is configured' : `expected one of ${checkers.join(', ')}`;
    return refused(refuse('InvalidArgs', `checker: found ${quoted(checker)}, ${known}`));
  }
  if (!isHealthVerdict(verdict)) {
    return refused(
      refuse('InvalidArgs', `verdict: found ${quoted(verdict)}, expected ${HEALTH_VERDICTS.join(' or ')}`),
    );
  }
  const wrong = wrongText(message, 'message') ?? wrongDeployment(state, deploymentId);
  if (wrong) return refused(wrong);
  if (!HEALTH_STEPS.includes(state.step)) return refused(wrongState(state, command.kind));
  return accepted({ ...callerOf(command), kind: 'HealthReported', checker, verdict, message });
}

function isHealthVerdict(text: string): text is HealthVerdict {
  return (HEALTH_VERDICTS as readonly string[]).includes(text);
}

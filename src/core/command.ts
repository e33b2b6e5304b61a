import { parseControlMap } from './control/control-map.ts';
import { HEALTH_VERDICTS, type HealthVerdict } from './control/health.ts';
import { adoptable, HOLD_LIMITS } from './control/hold.ts';
import { mapKey, MAX_MAPS } from './control/map-pool.ts';
import { snoozeLeftSeconds, type ActiveSnooze } from './control/snooze.ts';
import type { Caller, EventBody, HoldWish } from './event.ts';
import { HOLD_POINTS, isHoldPoint } from './hold-point.ts';
import { quoted } from './printable.ts';
import { refuse, type Refusal } from './refusal.ts';
import type { FlowStep, RebootMode, UpdateState, Waiver } from './state.ts';
import { FLOW, isFinalReport } from './transition-table.ts';
import { waitedMs } from './waiting.ts';

/**
 * What clients may ask for, and whether the present state allows it: an event, an answer, or a refusal.
 * Source: design/dbus-api.md section 4.
 */
export type Command =
  | ({
      readonly kind: 'Continue';
      readonly ticket: string;
      readonly comment: string;
      readonly waiver?: Waiver['kind'] | null;
      readonly rebootMode?: RebootMode | null;
    } & Caller)
  | ({ readonly kind: 'Snooze'; readonly ticket: string; readonly seconds: number } & Caller)
  | ({ readonly kind: 'EndSnooze'; readonly deploymentId: string } & Caller)
  | ({
      readonly kind: 'Abort' | 'Rollback';
      readonly deploymentId: string;
      readonly reason: string;
    } & Caller)
  | ({ readonly kind: 'Pause' | 'Resume'; readonly deploymentId: string } & Caller)
  | ({ readonly kind: 'SetUpdatesEnabled'; readonly isEnabled: boolean } & Caller)
  | { readonly kind: 'CheckForUpdate' | 'SendInventory' }
  | ({ readonly kind: 'AddHold'; readonly holdId: string } & HoldWish & Caller)
  | ({ readonly kind: 'RefreshHold'; readonly holdId: string } & Caller)
  /** `isOverride`: the caller may release what belongs to others. */
  | ({ readonly kind: 'ReleaseHold'; readonly holdId: string; readonly isOverride: boolean } & Caller)
  | ({ readonly kind: 'SetControlMap'; readonly text: string } & Caller)
  | ({
      readonly kind: 'ReportHealth';
      readonly deploymentId: string;
      readonly checker: string;
      readonly verdict: string;
      readonly message: string;
    } & Caller)
  | ({ readonly kind: 'Install' } & Omit<Extract<EventBody, { kind: 'InstallRequested' }>, 'kind'>);

export type Decision =
  | {
      readonly kind: 'accepted';
      readonly event: EventBody;
      /** The reply, from the state that the event led to; a refusal where time has overtaken the request. */
      readonly reply: (after: UpdateState) => string | Refusal;
    }
  | { readonly kind: 'answered'; readonly reply: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const MAX_TEXT = 200;
const APP_ID = /^[A-Za-z0-9._-]{1,128}$/;
/** Where an install may begin: the Idle scripts need not have ended. */
const IDLE_STEPS: readonly FlowStep[] = ['idle', 'idle-enter'];
const noReply = (): string => '';

/** `nowBootMs`: boot time now, for what depends on how long a wait has taken. */
export function decide(state: UpdateState, command: Command, nowBootMs: number): Decision {
  switch (command.kind) {
    case 'Continue':
      return decideContinue(state, command);
    case 'Snooze':
      return decideSnooze(state, command, nowBootMs);
    case 'EndSnooze': {
      const wrong = wrongDeployment(state, command.deploymentId);
      if (wrong) return refused(wrong);
      // Asking for what is already so is no mistake: the snooze may have ended a moment ago.
      if (!isSnoozed(state)) return { kind: 'answered', reply: '' };
      return accepted({ ...callerOf(command), kind: 'SnoozeEndRequested' });
    }
    case 'Abort':
    case 'Rollback': {
      const wrong = wrongText(command.reason, 'reason') ?? wrongDeployment(state, command.deploymentId);
      if (wrong) return refused(wrong);
      const action = command.kind === 'Abort' ? 'abort' : 'rollback';
      if (!allowedActions(state).includes(action)) return refused(wrongState(state, command.kind));
      return accepted({
        ...callerOf(command),
        kind: command.kind === 'Abort' ? 'AbortRequested' : 'RollbackRequested',
        reason: command.reason,
      });
    }
    case 'Pause':
    case 'Resume': {
      const wrong = wrongDeployment(state, command.deploymentId);
      if (wrong) return refused(wrong);
      const isPaused = state.deployment?.pause !== null;
      // Asking for what is already so is no mistake: two buttons may be pressed at once.
      if (isPaused === (command.kind === 'Pause')) return { kind: 'answered', reply: '' };
      if (isFinalReport(state.step)) return refused(wrongState(state, command.kind));
      return accepted({
        ...callerOf(command),
        kind: command.kind === 'Pause' ? 'PauseRequested' : 'ResumeRequested',
      });
    }
    case 'SetUpdatesEnabled':
      if (state.updatesSwitch === command.isEnabled) return { kind: 'answered', reply: '' };
      return accepted({ ...callerOf(command), kind: 'UpdatesSwitched', isEnabled: command.isEnabled });
    case 'SendInventory':
      return state.settings.isServerConfigured
        ? accepted({ kind: 'InventoryRequested' })
        : refused(refuse('NotSupported', 'no server is configured'));
    case 'CheckForUpdate':
      if (!state.settings.isServerConfigured) {
        return refused(refuse('NotSupported', 'no server is configured'));
      }
      if (!allowedActions(state).includes('check')) return refused(wrongState(state, command.kind));
      return accepted({ kind: 'CheckRequested' });
    case 'AddHold':
      return decideAddHold(state, command);
    case 'RefreshHold':
      return decideRefreshHold(state, command);
    case 'ReleaseHold':
      return decideReleaseHold(state, command);
    case 'SetControlMap':
      return decideControlMap(state, command);
    case 'ReportHealth':
      return decideHealth(state, command);
    case 'Install': {
      if (state.settings.isStandalonePending) {
        const message =
          'an update of the command line is not committed yet: stop the service, then holdpoint commit or rollback';
        return refused(refuse('Busy', message));
      }
      if (!allowedActions(state).includes('install')) {
        return refused(
          refuse('Busy', `an update is under way: ${FLOW[state.step].step}`, {
            state: FLOW[state.step].state,
            'deployment-id': state.deployment?.id ?? '',
          }),
        );
      }
      const { kind: _, ...facts } = command;
      return accepted({ kind: 'InstallRequested', ...facts });
    }
  }
}

export const ACTIONS = [
  'continue',
  'snooze',
  'end-snooze',
  'pause',
  'resume',
  'abort',
  'rollback',
  'check',
  'install',
] as const;
export type Action = (typeof ACTIONS)[number];

/** What can be asked for now, as far as the state goes; rights are another matter. `AllowedActions` on the bus. */
export function allowedActions(state: UpdateState): readonly Action[] {
  const row = FLOW[state.step];
  const { deployment } = state;
  if (deployment === null) {
    if (!IDLE_STEPS.includes(state.step) || state.settings.isStandalonePending) return [];
    return state.settings.isServerConfigured && state.step === 'idle' ? ['check', 'install'] : ['install'];
  }
  const actions: Action[] = [];
  if (state.wait !== null && state.wait.ticket !== '') {
    actions.push('continue');
    if (snoozeLeft(state, state.wait.asOfBootMs) > 0) actions.push('snooze');
  }
  if (isSnoozed(state)) actions.push('end-snooze');
  if (!isFinalReport(state.step)) actions.push(deployment.pause === null ? 'pause' : 'resume');
  if (deployment.endRequest === null) {
    if (row.abort !== undefined) actions.push('abort');
    if (row.rollback !== undefined) actions.push('rollback');
  }
  return actions;
}

function decideContinue(state: UpdateState, command: Extract<Command, { kind: 'Continue' }>): Decision {
  const { ticket, comment, waiver = null, rebootMode = null } = command;
  if (!isTicket(ticket)) return refused(wrongTicket());
  const wrong = wrongText(comment, 'comment');
  if (wrong) return refused(wrong);
  if (state.wait?.ticket === ticket) {
    const wrongMode = wrongRebootMode(state, rebootMode);
    if (wrongMode) return refused(wrongMode);
    return {
      kind: 'accepted',
      event: { ...callerOf(command), kind: 'ContinueGiven', ticket, comment, waiver, rebootMode },
      reply: (after) => {
        if (after.passedTickets.includes(ticket)) return 'proceeding';
        return after.wait?.ticket === ticket ? 'recorded' : staleTicket();
      },
    };
  }
  // The reply to the first call may have been lost: the same question gets the same answer.
  if (state.passedTickets.includes(ticket)) return { kind: 'answered', reply: 'proceeding' };
  return refused(staleTicket());
}

function wrongRebootMode(state: UpdateState, mode: RebootMode | null): Refusal | null {
  if (mode === null) return null;
  if (state.wait?.point !== 'ArtifactReboot_Enter') {
    return refuse('InvalidArgs', 'reboot-mode: only at ArtifactReboot_Enter is there a choice');
  }
  if (mode === 'poweroff' && state.deployment?.rebootNeed !== 'Automatic') {
    return refuse('NotSupported', 'reboot-mode: the update module of this artifact reboots by itself');
  }
  return null;
}

/** The reply is the wall clock of the end, milliseconds. */
function decideSnooze(
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

function isSnoozed({ wait, deployment }: UpdateState): boolean {
  // One that was left behind at another point is no matter any more.
  return wait !== null && deployment?.snoozes.active?.point === wait.point;
}

function snoozeLeft({ wait, deployment, settings }: UpdateState, nowBootMs: number): number {
  if (wait === null || deployment === null) return 0;
  return snoozeLeftSeconds(deployment.snoozes, settings.snooze, {
    waitedMs: waitedMs(wait, nowBootMs),
    ceilingSeconds: settings.holdPoints[wait.point].ceilingSeconds,
  });
}

/** The reply is the id of the hold. */
function decideAddHold(state: UpdateState, command: Extract<Command, { kind: 'AddHold' }>): Decision {
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
function decideRefreshHold(state: UpdateState, command: Extract<Command, { kind: 'RefreshHold' }>): Decision {
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

function decideReleaseHold(state: UpdateState, command: Extract<Command, { kind: 'ReleaseHold' }>): Decision {
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
function decideControlMap(
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

const HEALTH_STEPS: readonly FlowStep[] = [
  'install-leave',
  'needs-reboot',
  'verify-reboot',
  'reboot-leave',
  'commit-reverify',
  'commit-gate',
];

function decideHealth(state: UpdateState, command: Extract<Command, { kind: 'ReportHealth' }>): Decision {
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

/** Only who called goes into the event, whatever else the command says. */
function callerOf({ uid, app, connection }: Caller): Caller {
  return { uid, ...(app !== undefined && { app }), ...(connection !== undefined && { connection }) };
}

function isTicket(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}

function wrongTicket(): Refusal {
  return refuse('InvalidArgs', 'a ticket is 32 hexadecimal digits, as WaitTicket and WaitStarted give it');
}

function staleTicket(): Refusal {
  return refuse('StaleTicket', 'this ticket is not, or no longer, the one that is waited for');
}

function wrongDeployment(state: UpdateState, deploymentId: string): Refusal | null {
  if (state.deployment === null) return refuse('NoDeployment', 'no update is under way');
  if (state.deployment.id !== deploymentId) {
    return refuse('UnknownDeployment', 'that is not the deployment under way', {
      'deployment-id': state.deployment.id,
    });
  }
  return null;
}

function wrongState(state: UpdateState, command: string): Refusal {
  const { state: name, step } = FLOW[state.step];
  return refuse('WrongState', `${command} is not possible in ${name} (${step})`, { state: name, step });
}

/** Free text goes into logs and histories: bounded and printable. */
function wrongText(text: string, name: string): Refusal | null {
  if ([...text].length > MAX_TEXT) {
    return refuse('InvalidArgs', `${name} is longer than ${MAX_TEXT} characters`);
  }
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(text)) {
    return refuse('InvalidArgs', `${name} has control characters in it`);
  }
  return null;
}

function accepted(event: EventBody): Decision {
  return { kind: 'accepted', event, reply: noReply };
}

function refused(refusal: Refusal): Decision {
  return { kind: 'refused', refusal };
}

import type { EventBody } from './event.ts';
import { refuse, type Refusal } from './refusal.ts';
import { FLOW, isFinalReport } from './transition-table.ts';
import type { FlowStep, UpdateState } from './state.ts';

/**
 * What clients may ask for, and whether the present state allows it: an event, an answer, or a refusal.
 * Source: design/dbus-api.md section 4.
 */
export type Command =
  | { readonly kind: 'Continue'; readonly ticket: string; readonly uid: number; readonly comment: string }
  | {
      readonly kind: 'Abort' | 'Rollback';
      readonly deploymentId: string;
      readonly uid: number;
      readonly reason: string;
    }
  | { readonly kind: 'Pause' | 'Resume'; readonly deploymentId: string; readonly uid: number }
  | { readonly kind: 'SetUpdatesEnabled'; readonly isEnabled: boolean; readonly uid: number }
  | { readonly kind: 'CheckForUpdate' }
  | ({ readonly kind: 'Install' } & Omit<Extract<EventBody, { kind: 'InstallRequested' }>, 'kind'>);

export type Decision =
  | {
      readonly kind: 'accepted';
      readonly event: EventBody;
      /** The reply, from the state that the event led to. */
      readonly reply: (after: UpdateState) => string;
    }
  | { readonly kind: 'answered'; readonly reply: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const MAX_TEXT = 200;
const TICKET = /^[0-9a-f]{32}$/;
/** Where an install may begin: the Idle scripts need not have ended. */
const IDLE_STEPS: readonly FlowStep[] = ['idle', 'idle-enter'];
const noReply = (): string => '';

export function decide(state: UpdateState, command: Command): Decision {
  switch (command.kind) {
    case 'Continue':
      return decideContinue(state, command);
    case 'Abort':
    case 'Rollback': {
      const wrong = wrongText(command.reason, 'reason') ?? wrongDeployment(state, command.deploymentId);
      if (wrong) return refused(wrong);
      const action = command.kind === 'Abort' ? 'abort' : 'rollback';
      if (!allowedActions(state).includes(action)) return refused(wrongState(state, command.kind));
      const { uid, reason } = command;
      return accepted({
        kind: command.kind === 'Abort' ? 'AbortRequested' : 'RollbackRequested',
        uid,
        reason,
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
        kind: command.kind === 'Pause' ? 'PauseRequested' : 'ResumeRequested',
        uid: command.uid,
      });
    }
    case 'SetUpdatesEnabled':
      if (state.updatesSwitch === command.isEnabled) return { kind: 'answered', reply: '' };
      return accepted({ kind: 'UpdatesSwitched', isEnabled: command.isEnabled, uid: command.uid });
    case 'CheckForUpdate':
      if (!state.settings.isServerConfigured) {
        return refused(refuse('NotSupported', 'no server is configured'));
      }
      if (!allowedActions(state).includes('check')) return refused(wrongState(state, command.kind));
      return accepted({ kind: 'CheckRequested' });
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
  if (state.wait !== null) actions.push('continue');
  if (!isFinalReport(state.step)) actions.push(deployment.pause === null ? 'pause' : 'resume');
  if (deployment.endRequest === null) {
    if (row.abort !== undefined) actions.push('abort');
    if (row.rollback !== undefined) actions.push('rollback');
  }
  return actions;
}

function decideContinue(state: UpdateState, command: Extract<Command, { kind: 'Continue' }>): Decision {
  const { ticket, uid, comment } = command;
  if (!TICKET.test(ticket)) {
    return refused(
      refuse('InvalidArgs', 'a ticket is 32 hexadecimal digits, as WaitTicket and WaitStarted give it'),
    );
  }
  const wrong = wrongText(comment, 'comment');
  if (wrong) return refused(wrong);
  if (state.wait?.ticket === ticket) {
    return {
      kind: 'accepted',
      event: { kind: 'ContinueGiven', ticket, uid, comment },
      reply: (after) => (after.passedTickets.includes(ticket) ? 'proceeding' : 'recorded'),
    };
  }
  // The reply to the first call may have been lost: the same question gets the same answer.
  if (state.passedTickets.includes(ticket)) return { kind: 'answered', reply: 'proceeding' };
  return refused(refuse('StaleTicket', 'this ticket is not, or no longer, the one that is waited for'));
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

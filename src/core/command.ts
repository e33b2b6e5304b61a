import {
  accepted,
  callerOf,
  isTicket,
  refused,
  staleTicket,
  wrongDeployment,
  wrongState,
  wrongText,
  wrongTicket,
  type Command,
  type Decision,
} from './command-answers.ts';
import {
  decideAddHold,
  decideControlMap,
  decideHealth,
  decideRefreshHold,
  decideReleaseHold,
} from './command-holds.ts';
import { decideSnooze, isSnoozed, snoozeLeft } from './command-snooze.ts';
import type { HoldPoint } from './hold-point.ts';
import { refuse, type Refusal } from './refusal.ts';
import type { FlowStep, RebootMode, UpdateState } from './state.ts';
import { FLOW, isFinalReport } from './transition-table.ts';

export type { Command, Decision } from './command-answers.ts';
export { refreshSeconds } from './command-holds.ts';

/**
 * What clients may ask for, and whether the present state allows it: an event, an answer, or a refusal.
 * Source: design/dbus-api.md section 4.
 */

/** Where an install may begin: the Idle scripts need not have ended. */
const IDLE_STEPS: readonly FlowStep[] = ['idle', 'idle-enter'];

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
    case 'RetryUpdate': {
      const { deploymentId } = command;
      if (!state.setAside.some((entry) => entry.deploymentId === deploymentId)) {
        return refused(refuse('UnknownDeployment', 'no deployment of that id is set aside'));
      }
      return accepted({ ...callerOf(command), kind: 'RetryRequested', deploymentId });
    }
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
        if (passedPointOf(after, ticket) !== null) return 'proceeding';
        return after.wait?.ticket === ticket ? 'recorded' : staleTicket();
      },
    };
  }
  // The reply to the first call may have been lost: the same question gets the same answer.
  if (passedPointOf(state, ticket) !== null) return { kind: 'answered', reply: 'proceeding' };
  return refused(staleTicket());
}

/** The point that was passed by this ticket since the service started; null = it was by none, or long ago. */
export function passedPointOf({ passedTickets }: UpdateState, ticket: string): HoldPoint | null {
  return passedTickets.find((passed) => passed.ticket === ticket)?.point ?? null;
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

import type { RebootMode, UpdateState, Waiver } from './state.ts';
import type { Caller, EventBody, HoldWish } from './event.ts';
import { refuse, type Refusal } from './refusal.ts';
import { FLOW } from './transition-table.ts';

/** What can be asked for, how it is answered, and the checks that several requests share. */
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
  | ({ readonly kind: 'RetryUpdate'; readonly deploymentId: string } & Caller)
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
const noReply = (): string => '';

export function accepted(event: EventBody): Decision {
  return { kind: 'accepted', event, reply: noReply };
}

export function refused(refusal: Refusal): Decision {
  return { kind: 'refused', refusal };
}
/** Only who called goes into the event, whatever else the command says. */
export function callerOf({ uid, app, connection }: Caller): Caller {
  return { uid, ...(app !== undefined && { app }), ...(connection !== undefined && { connection }) };
}

export function isTicket(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}

export function wrongTicket(): Refusal {
  return refuse('InvalidArgs', 'a ticket is 32 hexadecimal digits, as WaitTicket and WaitStarted give it');
}

export function staleTicket(): Refusal {
  return refuse('StaleTicket', 'this ticket is not, or no longer, the one that is waited for');
}

export function wrongDeployment(state: UpdateState, deploymentId: string): Refusal | null {
  if (state.deployment === null) return refuse('NoDeployment', 'no update is under way');
  if (state.deployment.id !== deploymentId) {
    return refuse('UnknownDeployment', 'that is not the deployment under way', {
      'deployment-id': state.deployment.id,
    });
  }
  return null;
}

export function wrongState(state: UpdateState, command: string): Refusal {
  const { state: name, step } = FLOW[state.step];
  return refuse('WrongState', `${command} is not possible in ${name} (${step})`, { state: name, step });
}

/** Free text goes into logs and histories: bounded and printable. */
export function wrongText(text: string, name: string): Refusal | null {
  if ([...text].length > MAX_TEXT) {
    return refuse('InvalidArgs', `${name} is longer than ${MAX_TEXT} characters`);
  }
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(text)) {
    return refuse('InvalidArgs', `${name} has control characters in it`);
  }
  return null;
}

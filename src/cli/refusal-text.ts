/** Refusals of the service in words that say what to do about them. Source of the names: design/dbus-api.md section 5. */
import { RemoteError } from '../adapters/dbus/link.ts';
import { isNoService, refusalOf, type Refused } from '../adapters/dbus/update-client.ts';
import { UpdateError } from '../core/errors.ts';
import { durationWords } from './duration.ts';
import { NO_SERVICE } from './follow.ts';

const ACTION_PREFIX = 'io.holdpoint.update1.';

type Words = (refused: Refused) => string;

const WORDS: Readonly<Record<string, Words>> = {
  StaleTicket: () =>
    "the wait of this ticket is over, or it is another one by now: 'holdpoint status' shows what is waited for",
  NoDeployment: () => 'no update is under way',
  UnknownDeployment: () =>
    "the update that was meant is over, and another one may be under way: see 'holdpoint status'",
  WrongState: ({ sentence }) => `${sentence}; 'holdpoint status' shows what is possible now`,
  UnknownHold: () => "there is no such hold, or not any more: 'holdpoint holds' lists them",
  NotHoldOwner: () =>
    `the hold belongs to another user; to release it needs the action ${ACTION_PREFIX}override`,
  DeferralLimit: ({ details }) => {
    const left = Number(details['remaining-seconds'] ?? 0);
    return left > 0
      ? `it can be put off by ${durationWords(left)} at most from now (${left} seconds left)`
      : 'it has been put off as often and as long as is allowed (0 seconds left)';
  },
  InvalidMap: ({ sentence }) => `the control map is not valid: ${sentence}`,
  AccessDenied: ({ sentence, details }) => {
    const action = details['action'];
    if (action === undefined) return `not allowed: ${sentence}`;
    const short = action.startsWith(ACTION_PREFIX) ? action.slice(ACTION_PREFIX.length) : action;
    return `not allowed: it needs the action ${action} ('holdpoint can ${short}' tells; an administrator gives it with Access in holdpoint.json or a polkit rule)`;
  },
  InteractiveAuthorizationRequired: ({ details }) =>
    `not allowed without a password: the action ${details['action'] ?? 'that is needed'} asks for one; run it in a terminal or session with an authentication agent, or as root`,
  NotSupported: ({ sentence }) => `this service cannot do that: ${sentence}`,
  UnknownMethod: () => 'the service is older than this command and cannot do that',
  UnknownInterface: () => 'the service is older than this command and cannot do that',
  ShuttingDown: () => 'the service is ending; try again when it is back',
};

function isUnanswered(error: unknown): boolean {
  return error instanceof RemoteError && error.errorName === 'org.freedesktop.DBus.Error.NoReply';
}
const UNANSWERED =
  "the update service went away before it answered: see 'holdpoint status' whether it had begun with what it was asked";

/** What the line on standard error is made of: the same error when there is nothing better to say. */
export function inHelpfulWords(error: unknown): unknown {
  if (isUnanswered(error)) return new UpdateError('bus', UNANSWERED, { cause: error });
  if (isNoService(error)) return new UpdateError('bus', NO_SERVICE, { cause: error });
  const refused = refusalOf(error);
  const words = refused !== null && Object.hasOwn(WORDS, refused.name) ? WORDS[refused.name] : undefined;
  if (refused === null || words === undefined) return error;
  return new UpdateError('bus', words(refused), { details: { refusal: refused.name }, cause: error });
}

export function helpfulMessage(error: unknown): string {
  const told = inHelpfulWords(error);
  return told instanceof Error ? told.message : String(told);
}

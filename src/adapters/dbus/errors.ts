import { randomBytes } from 'node:crypto';
import { UpdateError, type Details, type ErrorKind } from '../../core/errors.ts';
import { RefusedCall, type RefusalName } from '../../core/refusal.ts';
import type { Log } from '../../ports/log.ts';
import { RemoteError } from './link.ts';

/**
 * What errors are called on the bus, and what of them may be told. Complete by type: a new refusal or error kind
 * without a line here does not compile.
 */
const OWN = 'io.holdpoint.Update1.Error.';
const STANDARD = 'org.freedesktop.DBus.Error.';

/** Source: design/dbus-api.md section 5. */
export const REFUSAL_ERROR_NAMES: Readonly<Record<RefusalName, string>> = {
  StaleTicket: `${OWN}StaleTicket`,
  NoDeployment: `${OWN}NoDeployment`,
  UnknownDeployment: `${OWN}UnknownDeployment`,
  WrongState: `${OWN}WrongState`,
  Busy: `${OWN}Busy`,
  UnknownPoint: `${OWN}UnknownPoint`,
  UnknownHold: `${OWN}UnknownHold`,
  NotHoldOwner: `${OWN}NotHoldOwner`,
  InvalidMap: `${OWN}InvalidMap`,
  DeferralLimit: `${OWN}DeferralLimit`,
  PathNotAllowed: `${OWN}PathNotAllowed`,
  ArtifactInvalid: `${OWN}ArtifactInvalid`,
  ArtifactUntrusted: `${OWN}ArtifactUntrusted`,
  ArtifactIncompatible: `${OWN}ArtifactIncompatible`,
  DigestMismatch: `${OWN}DigestMismatch`,
  NoSpace: `${OWN}NoSpace`,
  ServerUnreachable: `${OWN}ServerUnreachable`,
  ServerRejected: `${OWN}ServerRejected`,
  ShuttingDown: `${OWN}ShuttingDown`,
  InvalidArgs: `${STANDARD}InvalidArgs`,
  AccessDenied: `${STANDARD}AccessDenied`,
  InteractiveAuthorizationRequired: `${STANDARD}InteractiveAuthorizationRequired`,
  NotSupported: `${STANDARD}NotSupported`,
  LimitsExceeded: `${STANDARD}LimitsExceeded`,
  FileNotFound: `${STANDARD}FileNotFound`,
};

/** Errors of the protocol itself, given by the dispatcher only. */
export const PROTOCOL_ERROR_NAMES = {
  failed: `${STANDARD}Failed`,
  unknownObject: `${STANDARD}UnknownObject`,
  unknownInterface: `${STANDARD}UnknownInterface`,
  unknownMethod: `${STANDARD}UnknownMethod`,
  unknownProperty: `${STANDARD}UnknownProperty`,
  propertyReadOnly: `${STANDARD}PropertyReadOnly`,
} as const;

export interface ErrorReply {
  readonly name: string;
  /** `sentence`, or `sentence [key=value, key=value]` where parameters help a client. */
  readonly message: string;
}

/**
 * What is told of an UpdateError that is not a refusal. `own`: its own message, which speaks of what the caller
 * sent. A sentence: the message may name files of the device. null: a defect or a fault of the device, logged
 * under a short id.
 */
const KIND_REPLIES: Readonly<
  Record<ErrorKind, { readonly refusal: RefusalName; readonly text: 'own' | string } | null>
> = {
  artifact: { refusal: 'ArtifactInvalid', text: 'own' },
  incompatible: { refusal: 'ArtifactIncompatible', text: 'own' },
  invalidArgument: { refusal: 'InvalidArgs', text: 'own' },
  wrongState: { refusal: 'WrongState', text: 'own' },
  source: { refusal: 'ServerUnreachable', text: 'The artifact could not be read from its source' },
  server: { refusal: 'ServerUnreachable', text: 'The update server could not be reached' },
  noSpace: { refusal: 'NoSpace', text: 'Not enough space on the device' },
  cancelled: { refusal: 'ShuttingDown', text: 'The call was cancelled' },
  module: null,
  script: null,
  store: null,
  timeout: null,
  reboot: null,
  config: null,
  bus: null,
  internal: null,
};

/** The reply for whatever a handler was rejected with. Writes to the log what the caller is not told. */
export function errorReplyOf(error: unknown, log: Log, member: string): ErrorReply {
  if (error instanceof RefusedCall) return refusalReply(error.refusal.name, error.message, error.details);
  // An error reply of another service is no answer of ours.
  if (error instanceof UpdateError && !(error instanceof RemoteError)) {
    const reply = KIND_REPLIES[error.kind];
    if (reply !== null) {
      const name = refusalNameOf(error, reply.refusal);
      return refusalReply(name, reply.text === 'own' ? error.message : reply.text, tellable(error.details));
    }
  }
  const id = randomBytes(4).toString('hex');
  log.error('A call failed', {
    errorId: id,
    member,
    errorKind: error instanceof UpdateError ? error.kind : 'unexpected',
    errorMessage: error instanceof Error ? error.message : String(error),
    errorStack: error instanceof Error ? error.stack : '',
  });
  return { name: PROTOCOL_ERROR_NAMES.failed, message: `The call failed; see the service's log for ${id}` };
}

/** Details of errors from inside may name files; these may be told. A refusal was written for the caller. */
const TELLABLE_DETAILS = ['code', 'state', 'bytes-needed', 'bytes-free'];

function tellable(details: Details): Details {
  return Object.fromEntries(Object.entries(details).filter(([key]) => TELLABLE_DETAILS.includes(key)));
}

export function refusalReply(name: RefusalName, message: string, details: Details = {}): ErrorReply {
  const parameters = Object.entries(details).map(([key, value]) => `${key}=${value}`);
  const suffix = parameters.length === 0 ? '' : ` [${parameters.join(', ')}]`;
  return { name: REFUSAL_ERROR_NAMES[name], message: firstLine(message) + suffix };
}

/** An artifact is refused for reasons a client tells apart. */
function refusalNameOf(error: UpdateError, fallback: RefusalName): RefusalName {
  if (error.details['code'] === 'digest-mismatch') return 'DigestMismatch';
  if (error.failureName === 'Signature') return 'ArtifactUntrusted';
  if (error.failureName === 'Incompatible' || error.failureName === 'Dependency') {
    return 'ArtifactIncompatible';
  }
  return fallback;
}

/** Some libraries put a stack behind the first line. */
function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}

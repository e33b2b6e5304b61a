import { UpdateError, type Details, type ErrorKind } from './errors.ts';

/**
 * Why a call of a client is refused. The names are public: design/dbus-api.md section 5 gives the domain ones,
 * the D-Bus specification the standard ones; how they are dotted is the D-Bus adapter's business.
 */
const REFUSAL_KINDS = {
  StaleTicket: 'wrongState',
  NoDeployment: 'wrongState',
  UnknownDeployment: 'invalidArgument',
  WrongState: 'wrongState',
  Busy: 'wrongState',
  UnknownPoint: 'invalidArgument',
  UnknownHold: 'invalidArgument',
  NotHoldOwner: 'invalidArgument',
  InvalidMap: 'invalidArgument',
  DeferralLimit: 'wrongState',
  PathNotAllowed: 'invalidArgument',
  ArtifactInvalid: 'artifact',
  ArtifactUntrusted: 'artifact',
  ArtifactIncompatible: 'incompatible',
  DigestMismatch: 'artifact',
  NoSpace: 'noSpace',
  ServerUnreachable: 'server',
  ServerRejected: 'server',
  ShuttingDown: 'wrongState',
  InvalidArgs: 'invalidArgument',
  AccessDenied: 'invalidArgument',
  InteractiveAuthorizationRequired: 'invalidArgument',
  NotSupported: 'invalidArgument',
  LimitsExceeded: 'wrongState',
  FileNotFound: 'invalidArgument',
} as const satisfies Record<string, ErrorKind>;

export type RefusalName = keyof typeof REFUSAL_KINDS;
export const REFUSAL_NAMES = Object.keys(REFUSAL_KINDS) as readonly RefusalName[];

/** A refusal as a value: what `decide()` answers instead of an event. */
export interface Refusal {
  readonly name: RefusalName;
  /** English, one line, fit for the caller's eyes: no path or secret the caller did not send. */
  readonly message: string;
  /** Parameters for a client's own sentence, for example `state` or `remaining-seconds`. */
  readonly details: Details;
}

export function refuse(name: RefusalName, message: string, details: Details = {}): Refusal {
  return { name, message, details };
}

/** A refusal on its way through code that throws. */
export class RefusedCall extends UpdateError {
  readonly refusal: Refusal;

  constructor(refusal: Refusal, cause?: unknown) {
    super(REFUSAL_KINDS[refusal.name], refusal.message, { cause, details: refusal.details });
    this.refusal = refusal;
  }
}

/**
 * What can go wrong, as data. One base error with a closed set of kinds; each kind answers whose fault it
 * was and whether trying again can help, so that adapters, logs and the bus all speak of it alike.
 */

/**
 * Why a deployment failed: the part behind `io.holdpoint.Update1.Failure.` on the bus.
 * Source: design/dbus-api.md section 5.
 */
export const FAILURE_NAMES = [
  'Download',
  'Signature',
  'Checksum',
  'Format',
  'Incompatible',
  'Dependency',
  'NoSpace',
  'StateScript',
  'UpdateModule',
  'Timeout',
  'Reboot',
  'HealthCheck',
  'Commit',
  'RollbackFailed',
  'AbortedByUser',
  'AbortedByServer',
  'HoldExpired',
  'ControlMap',
  'PowerLoss',
  'Storage',
  'Internal',
] as const;
export type FailureName = (typeof FAILURE_NAMES)[number];

/** Plain values a client can translate a message from; also what is stored and put on the bus. */
export type Details = Readonly<Record<string, string | number | boolean>>;

/** Why something failed, in the form that is stored, published and reported. */
export interface Failure {
  readonly name: FailureName;
  /** English, one line, for logs. */
  readonly message: string;
  readonly details: Details;
}

export type Fault = 'caller' | 'server' | 'artifact' | 'device' | 'us';

interface KindFacts {
  readonly fault: Fault;
  /** Whether the same attempt may succeed later without anything being changed. */
  readonly isTransient: boolean;
  /** The failure a deployment ends with when nothing more exact is known. */
  readonly failureName: FailureName;
}

/** Every kind of error there is. */
export const ERROR_KINDS = {
  /** The artifact breaks the format. */
  artifact: { fault: 'artifact', isTransient: false, failureName: 'Format' },
  /** Bytes could not be fetched or read from the source. */
  source: { fault: 'server', isTransient: true, failureName: 'Download' },
  server: { fault: 'server', isTransient: true, failureName: 'Download' },
  /** The artifact does not fit this device or what is installed on it. */
  incompatible: { fault: 'artifact', isTransient: false, failureName: 'Incompatible' },
  module: { fault: 'device', isTransient: false, failureName: 'UpdateModule' },
  script: { fault: 'device', isTransient: false, failureName: 'StateScript' },
  store: { fault: 'device', isTransient: true, failureName: 'Storage' },
  noSpace: { fault: 'device', isTransient: true, failureName: 'NoSpace' },
  timeout: { fault: 'device', isTransient: true, failureName: 'Timeout' },
  reboot: { fault: 'device', isTransient: false, failureName: 'Reboot' },
  config: { fault: 'caller', isTransient: false, failureName: 'Internal' },
  /** A call that cannot be obeyed in the present state. */
  wrongState: { fault: 'caller', isTransient: true, failureName: 'Internal' },
  invalidArgument: { fault: 'caller', isTransient: false, failureName: 'Internal' },
  /** The work was stopped on request; not a verdict on anything. */
  cancelled: { fault: 'caller', isTransient: true, failureName: 'AbortedByUser' },
  bus: { fault: 'device', isTransient: true, failureName: 'Internal' },
  internal: { fault: 'us', isTransient: false, failureName: 'Internal' },
} as const satisfies Record<string, KindFacts>;
export type ErrorKind = keyof typeof ERROR_KINDS;

export class UpdateError extends Error {
  readonly kind: ErrorKind;
  readonly details: Details;
  /** Set where the kind alone does not say which failure a deployment ends with. */
  readonly failureName: FailureName;

  constructor(
    kind: ErrorKind,
    message: string,
    options: {
      readonly cause?: unknown;
      readonly details?: Details;
      readonly failureName?: FailureName;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.kind = kind;
    this.details = options.details ?? {};
    this.failureName = options.failureName ?? ERROR_KINDS[kind].failureName;
  }

  get fault(): Fault {
    return ERROR_KINDS[this.kind].fault;
  }

  get isTransient(): boolean {
    return ERROR_KINDS[this.kind].isTransient;
  }
}

/** The failure an error amounts to; anything that is not ours is a defect of ours: `Internal`. */
export function failureOf(error: unknown): Failure {
  if (error instanceof UpdateError) {
    return { name: error.failureName, message: error.message, details: error.details };
  }
  return {
    name: 'Internal',
    message: error instanceof Error ? error.message : String(error),
    details: {},
  };
}

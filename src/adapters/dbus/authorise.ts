/**
 * Who may do what. One function is asked before every method, the standard ones too; this file has the built-in
 * answer: root may do everything, and so may the user the service runs as (root, but for demo and simulator), who
 * could take it over anyhow; everyone may read.
 */
export interface AuthorisationRequest {
  readonly sender: string;
  /** Given by the bus, never by the caller. */
  readonly uid: number;
  readonly path: string;
  /** Never '': the dispatcher has found out. */
  readonly interface: string;
  readonly member: string;
  /** Decoded when first read; reading throws kind `invalidArgument` for what nobody accepts. Let that pass. */
  readonly args: readonly unknown[];
  /** Whether a person may be asked for a password on behalf of this call. */
  readonly isInteractive: boolean;
}

export type Verdict =
  | { readonly isAllowed: true }
  | {
      readonly isAllowed: false;
      readonly refusal: 'AccessDenied' | 'InteractiveAuthorizationRequired';
      readonly message: string;
    };

/** A rejection counts as a denial and is logged. */
export type Authorise = (request: AuthorisationRequest) => Promise<Verdict>;

/** Source: design/dbus-api.md section 6: reading is for everyone, `read-log` is not reading. */
const READING: ReadonlySet<string> = new Set([
  'org.freedesktop.DBus.Properties.Get',
  'org.freedesktop.DBus.Properties.GetAll',
  'org.freedesktop.DBus.Introspectable.Introspect',
  'org.freedesktop.DBus.Peer.Ping',
  'org.freedesktop.DBus.Peer.GetMachineId',
  'io.holdpoint.Update1.History.List',
  'io.holdpoint.Update1.History.Get',
]);

export function rootOrReading(request: AuthorisationRequest): Promise<Verdict> {
  const method = `${request.interface}.${request.member}`;
  const isMaster = request.uid === 0 || request.uid === process.getuid?.();
  if (isMaster || READING.has(method)) return Promise.resolve({ isAllowed: true });
  return Promise.resolve({
    isAllowed: false,
    refusal: 'AccessDenied',
    message: `The user with id ${request.uid} may not call ${method}`,
  });
}

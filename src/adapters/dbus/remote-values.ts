/**
 * What comes from the service, in plain types: variants unwrapped, 64-bit numbers as numbers, open sets as strings.
 * Where a value is missing, as with an older service, stands what is unknown.
 */
import { UpdateError, type Details } from '../../core/errors.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import type { Blocker } from '../../core/state.ts';
import type { Variant } from './values.ts';

/** A blocker as it goes over the bus; times are in the details. */
export type RemoteBlocker = Pick<Blocker, 'id' | 'kind' | 'owner' | 'reasonCode' | 'details'>;

/** One line of `Holds`. Open sets are plain strings. */
export interface RemoteHold {
  readonly id: string;
  /** bound, timed, map */
  readonly lifetime: string;
  readonly points: readonly string[];
  readonly owner: string;
  readonly why: string;
  readonly uid: number;
  readonly action: string;
  readonly onExpire: string;
  /** Wall clock; 0 = bound, or its time does not run at present. */
  readonly expiresUsec: number;
  readonly details: Details;
}

/** Open sets are plain strings here: a newer service may know more words. */
export interface RemoteSnapshot extends Omit<
  Snapshot,
  | 'state'
  | 'activity'
  | 'deployment'
  | 'rebootRequired'
  | 'blockers'
  | 'allowedActions'
  | 'lastResult'
  | 'holds'
  | 'setAside'
> {
  readonly version: string;
  readonly state: string;
  readonly activity: string;
  readonly deployment: PlainMap;
  readonly rebootRequired: string;
  readonly blockers: readonly RemoteBlocker[];
  readonly allowedActions: readonly string[];
  readonly lastResult: string;
  readonly serverStatus: string;
  readonly nextCheckUsec: number;
  /** As the entries of the property SetAside. */
  readonly setAside: readonly PlainMap[];
}

export type PlainValue = string | number | boolean | readonly PlainValue[] | PlainMap;
export type PlainMap = { readonly [key: string]: PlainValue };

/** Variants unwrapped, 64-bit numbers as numbers, dictionaries as objects without a prototype. */
export function plain(value: unknown): PlainValue {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  if (value instanceof Map) {
    const object: Record<string, PlainValue> = Object.create(null) as Record<string, PlainValue>;
    for (const [key, entry] of value as ReadonlyMap<unknown, unknown>) object[String(key)] = plain(entry);
    return object;
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Uint8Array) return [...value];
  if (typeof value === 'object' && value !== null && 'signature' in value && 'value' in value) {
    return plain((value as Variant).value);
  }
  throw new UpdateError('bus', `the service sent a value that is not understood: ${typeof value}`);
}

export function snapshotFrom(all: PlainMap): RemoteSnapshot {
  const string = (name: string): string => text(all[name]);
  const count = (name: string, unknown = -1): number => number(all[name], unknown);
  return {
    version: string('Version'),
    serial: count('Serial', 0),
    state: string('State'),
    activity: string('Activity'),
    step: string('Step'),
    deploymentId: string('DeploymentId'),
    artifactName: string('ArtifactName'),
    currentArtifactName: string('CurrentArtifactName'),
    deployment: object(all['Deployment']),
    rebootRequired: string('RebootRequired'),
    progress: count('Progress'),
    stepProgress: count('StepProgress'),
    downloadedBytes: count('DownloadedBytes', 0),
    downloadSizeBytes: count('DownloadSizeBytes'),
    bytesPerSecond: count('BytesPerSecond'),
    remainingSeconds: count('RemainingSeconds'),
    waitTicket: string('WaitTicket'),
    waitPoint: string('WaitPoint'),
    blockers: list(all['Blockers']).map(blocker),
    waitSinceUsec: count('WaitSinceUSec', 0),
    waitDeadlineUsec: count('WaitDeadlineUSec', 0),
    waitDeadlineBootUsec: count('WaitDeadlineBootUSec', 0),
    waitOnExpire: string('WaitOnExpire'),
    isPaused: all['Paused'] === true,
    areUpdatesEnabled: all['UpdatesEnabled'] === true,
    allowedActions: list(all['AllowedActions']).map(text),
    lastResult: string('LastResult'),
    lastErrorName: string('LastErrorName'),
    lastErrorMessage: string('LastErrorMessage'),
    lastErrorDetails: object(all['LastErrorDetails']) as Details,
    serverStatus: string('ServerStatus'),
    setAside: list(all['SetAside']).map(object),
    lastCheckUsec: count('LastCheckUSec', 0),
    nextCheckUsec: count('NextCheckUSec', 0),
  };
}

function blocker(value: PlainValue): RemoteBlocker {
  const [id, kind, owner, reasonCode, details] = list(value);
  return {
    id: text(id),
    kind: text(kind),
    owner: text(owner),
    reasonCode: text(reasonCode),
    details: object(details) as Details,
  };
}

export function holdFrom(value: PlainValue): RemoteHold {
  const [id, lifetime, points, owner, why, uid, action, onExpire, expiresUsec, details] = list(value);
  return {
    id: text(id),
    lifetime: text(lifetime),
    points: list(points).map(text),
    owner: text(owner),
    why: text(why),
    uid: number(uid, 0),
    action: text(action),
    onExpire: text(onExpire),
    expiresUsec: number(expiresUsec, 0),
    details: object(details) as Details,
  };
}

export function isMap(value: PlainValue | undefined): value is PlainMap {
  return typeof value === 'object' && !Array.isArray(value);
}
function object(value: PlainValue | undefined): PlainMap {
  return isMap(value) ? value : {};
}
export function list(value: PlainValue | undefined): readonly PlainValue[] {
  return Array.isArray(value) ? (value as readonly PlainValue[]) : [];
}
export function text(value: PlainValue | undefined): string {
  return typeof value === 'string' ? value : '';
}
export function number(value: PlainValue | undefined, unknown: number): number {
  return typeof value === 'number' ? value : unknown;
}

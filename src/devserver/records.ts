/**
 * What the server remembers, as plain data, and typed access to it. Values are replaced as a whole. Times are
 * milliseconds of the wall clock.
 */
import type { MapPoint } from '../core/control/control-map.ts';
import type { Change, Journal } from './journal.ts';

export type AuthStatus = 'pending' | 'accepted' | 'rejected';

/** One key a device has asked with. Source: spec/server-api.md section 13, item 1. */
export interface AuthSet {
  readonly id: string;
  /** PEM as node:crypto writes it. */
  readonly publicKey: string;
  readonly status: AuthStatus;
  readonly requestedMs: number;
}

export interface Attribute {
  readonly name: string;
  readonly value: string | number | readonly string[] | readonly number[];
  readonly description?: string;
}

export interface DeviceRecord {
  readonly id: string;
  /** Identity with sorted keys; devices are told apart by it. */
  readonly identity: Readonly<Record<string, unknown>>;
  readonly authSets: readonly AuthSet[];
  readonly createdMs: number;
  /** By name; null = none sent yet. */
  readonly inventory: readonly Attribute[] | null;
  readonly inventoryMs: number | null;
}

export interface ArtifactRecord {
  readonly id: string;
  readonly name: string;
  readonly group: string;
  readonly deviceTypes: readonly string[];
  /** null = no payload. */
  readonly payloadType: string | null;
  readonly sizeBytes: number;
  /** Of the whole file, hex. */
  readonly sha256: string;
  readonly isSigned: boolean;
  readonly provides: Readonly<Record<string, string>>;
  readonly depends: Readonly<Record<string, readonly string[]>>;
  readonly payloadFiles: readonly string[];
  readonly uploadedMs: number;
}

/** A point everybody is let go from, at `atMs` or before. */
export interface Release {
  readonly atMs: number;
  /** Whether maps and pauses of lower priority are overruled. */
  readonly isForced: boolean;
}

export interface DeploymentRecord {
  readonly id: string;
  readonly name: string;
  readonly artifactId: string;
  readonly artifactName: string;
  /** JSON text as clients want it; null = none. */
  readonly controlMap: string | null;
  readonly releases: Readonly<Partial<Record<MapPoint, Release>>>;
  /** Install although the device says it has this artifact. */
  readonly isForced: boolean;
  readonly createdMs: number;
  readonly abortedMs: number | null;
}

export const REPORTED_STATUSES = [
  'downloading',
  'installing',
  'rebooting',
  'pause_before_installing',
  'pause_before_rebooting',
  'pause_before_committing',
  'success',
  'failure',
  'already-installed',
] as const;
export type ReportedStatus = (typeof REPORTED_STATUSES)[number];
export const FINISHED_STATUSES = [
  'success',
  'failure',
  'already-installed',
  'noartifact',
  'aborted',
  'decommissioned',
] as const;
export type RunStatus = 'pending' | ReportedStatus | (typeof FINISHED_STATUSES)[number];

export interface StatusChange {
  readonly atMs: number;
  readonly status: RunStatus;
  readonly substate: string;
}

/** One device's part in a deployment. */
export interface RunRecord {
  readonly deploymentId: string;
  readonly deviceId: string;
  readonly status: RunStatus;
  /** Of the last report; '' = none. */
  readonly substate: string;
  /** Since when the status is this one. */
  readonly sinceMs: number;
  /** What the device said it was when it was given the deployment; null = not yet given. */
  readonly offered: {
    readonly artifactName: string;
    readonly deviceType: string;
    readonly atMs: number;
  } | null;
  /** Whether the device asked for control maps; null = not known yet. */
  readonly followsMaps: boolean | null;
  readonly finishedMs: number | null;
  readonly hasLog: boolean;
  /** Newest last, bounded. */
  readonly history: readonly StatusChange[];
}

export function isFinished(status: RunStatus): boolean {
  return FINISHED_STATUSES.some((one) => one === status);
}

export class Collection<T extends object> {
  readonly #name: string;
  readonly #journal: Journal;

  constructor(name: string, journal: Journal) {
    this.#name = name;
    this.#journal = journal;
  }
  get #records(): ReadonlyMap<string, T> | undefined {
    return this.#journal.records.get(this.#name) as ReadonlyMap<string, T> | undefined;
  }
  get size(): number {
    return this.#records?.size ?? 0;
  }
  get(key: string): T | undefined {
    return this.#records?.get(key);
  }
  /** In the order in which they came. */
  values(): readonly T[] {
    return [...(this.#records?.values() ?? [])];
  }
  put(key: string, value: T): Change {
    return [this.#name, key, value];
  }
  remove(key: string): Change {
    return [this.#name, key, null];
  }
}

export interface Records {
  readonly devices: Collection<DeviceRecord>;
  readonly artifacts: Collection<ArtifactRecord>;
  readonly deployments: Collection<DeploymentRecord>;
  /** By {@link runKey}. */
  readonly runs: Collection<RunRecord>;
  commit(changes: readonly Change[]): Promise<void>;
}

export function runKey(deploymentId: string, deviceId: string): string {
  return `${deploymentId}/${deviceId}`;
}

export function recordsOf(journal: Journal): Records {
  return {
    devices: new Collection('devices', journal),
    artifacts: new Collection('artifacts', journal),
    deployments: new Collection('deployments', journal),
    runs: new Collection('runs', journal),
    commit: (changes) => journal.commit(changes),
  };
}

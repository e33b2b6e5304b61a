import type { Provides } from './artifact.ts';
import type { StandaloneRecord } from './standalone.ts';

/** What the store of a Mender client holds, typed. Source: spec/configuration.md section 3. */

/** A value of the store that makes no sense; the others are taken all the same. */
export interface MenderStoreComplaint {
  /** Key in the store, for example `artifact-provides`. */
  readonly key: string;
  /** `found …, expected …`; English, one line, printable. */
  readonly message: string;
}

/** The `state` record, every version brought to the shape of version 2. Source: spec/configuration.md section 3.3. */
export interface MenderUpdate {
  readonly name: string;
  readonly deploymentId: string;
  /** Link to the artifact; '' = none recorded. May have expired. */
  readonly uri: string;
  /** '' = the artifact's header had not been read. */
  readonly artifactName: string;
  readonly artifactGroup: string;
  readonly compatibleDevices: readonly string[];
  readonly payloadTypes: readonly string[];
  readonly provides: Provides | null;
  readonly clearsProvides: readonly string[] | null;
  /** One for each payload: '' none, `reboot-type-custom`, `reboot-type-automatic`; null or empty = not asked yet. */
  readonly rebootRequested: readonly string[] | null;
  readonly supportsRollback: '' | 'rollback-supported' | 'rollback-not-supported';
  readonly storeCount: number;
  /** null = a record of 3.x, which has no such member. */
  readonly areAllRollbacksSuccessful: boolean | null;
}

export interface MenderStoreContent {
  /** null = none stored. */
  readonly artifactName: string | null;
  /** null = none. */
  readonly artifactGroup: string | null;
  /** As stored: may hold `artifact_name` and `artifact_group` too. null = none stored. */
  readonly provides: Provides | null;
  readonly update: MenderUpdate | null;
  readonly standalone: StandaloneRecord | null;
  /** Maps as they are in the store, not checked. Source: spec/configuration.md section 3.5. */
  readonly controlMaps: { readonly active: readonly unknown[]; readonly expired: readonly unknown[] };
  readonly complaints: readonly MenderStoreComplaint[];
  /** When the store was written last. */
  readonly writtenWallMs: number;
  /** The last state that the client logged to have entered in the deployment of `update`; null = no such log. */
  readonly lastLoggedState: string | null;
}

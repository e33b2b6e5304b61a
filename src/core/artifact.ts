/**
 * What an artifact says about itself, and whether it fits this device.
 * Source: spec/artifact.md sections 5 and 9.
 */

/** Provides stored on the device: `artifact_name` and `artifact_group` are kept apart, see {@link Installed}. */
export type Provides = Readonly<Record<string, string>>;

/** What is installed now. */
export interface Installed {
  readonly artifactName: string;
  /** Empty = none. */
  readonly artifactGroup: string;
  /** Everything else that is provided. */
  readonly provides: Provides;
}

/** The verified header of an artifact (format 3, one payload). */
export interface ArtifactInfo {
  readonly artifactName: string;
  /** Empty = none. */
  readonly artifactGroup: string;
  /** Payload type = name of the update module; null = empty payload (nothing to install, only provides). */
  readonly payloadType: string | null;
  readonly compatibleDevices: readonly string[];
  /** Header and type-info depends merged, `device_type` left out: key → the values that satisfy it. */
  readonly depends: Readonly<Record<string, readonly string[]>>;
  /** type-info provides; null = none given (matters for what is erased, spec/artifact.md section 9). */
  readonly provides: Provides | null;
  /** type-info clears_artifact_provides; null = none given. */
  readonly clearsProvides: readonly string[] | null;
  /** Names of the state scripts it carries, sorted bytewise. */
  readonly scripts: readonly string[];
  /** `sha256:` + 64 hex digits over the raw manifest, which itself fixes every other byte that matters. */
  readonly digest: string;
  /** Whether the manifest is signed; and by which configured key it was verified ('' = no key configured). */
  readonly isSigned: boolean;
  readonly verifiedBy: string;
  /** Raw JSON texts as the header holds them; metaData null = none. */
  readonly headerInfoJson: string;
  readonly typeInfoJson: string;
  readonly metaDataJson: string | null;
  /** Payload file names from the manifest, in its order. */
  readonly payloadFileNames: readonly string[];
}

/** Where an artifact is fetched from. */
export type ArtifactLocation =
  | {
      readonly kind: 'file';
      readonly path: string;
      /** Identity of the file that was looked at, so that another one is not installed in its place. */
      readonly device?: string;
      readonly inode?: string;
    }
  | { readonly kind: 'url'; readonly url: string };

/** The configuration as the rest of the program sees it: one value, complete, checked, units in the names. */
import type { AccessSettings } from '../core/access.ts';
import type { ConditionSettings } from '../core/control/condition-settings.ts';
import type { FlowSettings } from '../core/settings.ts';
import type { DEVICE_TIERS, TOKEN_SOURCES } from './schema.ts';
import type { Origin } from './layers.ts';

/** Absolute or as configured. Source: spec/configuration.md section 2; design/entry-points.md. */
export interface Paths {
  readonly mainConfigFile: string;
  readonly fallbackConfigFile: string;
  readonly holdpointConfigFile: string;
  /** null = not read (a file was named by option). */
  readonly holdpointConfigDirectory: string | null;
  /** Executables that say whether an update may go on: `conditions.d/`. */
  readonly conditionsDirectory: string;
  readonly rootfsScriptsDirectory: string;
  readonly modulesDirectory: string;
  readonly identityProgram: string;
  readonly inventoryDirectory: string;
  readonly datastoreDirectory: string;
  /** Our own state: `holdpoint/` in the datastore. */
  readonly stateDirectory: string;
  readonly artifactScriptsDirectory: string;
  readonly moduleWorkDirectory: string;
  readonly deviceTypeFile: string;
  readonly deploymentLogDirectory: string;
  readonly bootstrapArtifactFile: string;
  /** `artifact_name=…`, of devices that no update has been installed on. */
  readonly artifactInfoFile: string;
  readonly menderStoreFile: string;
  readonly menderPrivateKeyFile: string;
}

export interface Settings {
  readonly paths: Paths;
  readonly flow: FlowSettings;

  readonly updatePollIntervalSeconds: number;
  readonly inventoryPollIntervalSeconds: number;
  readonly retryDownloadCount: number;
  /** Bytes a second; null = no limit. */
  readonly downloadRateLimit: number | null;
  readonly stateScriptTimeoutSeconds: number;
  readonly stateScriptRetryTimeoutSeconds: number;
  readonly stateScriptRetryIntervalSeconds: number;
  readonly moduleTimeoutSeconds: number;
  readonly controlMapExpirationSeconds: number;
  readonly controlMapBootExpirationSeconds: number;

  /**
   * PEM files; empty = signatures are not checked, because nobody asked for it. Where it cannot be known whether
   * somebody did (a configuration file that is there and cannot be used, a mistyped key), this holds the path of
   * that file, so that artifacts are refused (`verify-key-unreadable`) and not accepted unverified.
   */
  readonly verifyKeyPaths: readonly string[];

  /** Base URLs without trailing slash; empty = no server. */
  readonly servers: readonly string[];
  /** Empty = none. Never to be logged. */
  readonly tenantToken: string;
  /** PEM file with additional trust anchors; null = none. */
  readonly serverCertificatePath: string | null;
  readonly isTlsVerificationSkipped: boolean;
  /** null = no client certificate. */
  readonly httpsClient: {
    readonly certificatePath: string;
    readonly key: string;
    readonly sslEngine: string;
  } | null;
  /** A key given from outside, never regenerated: PEM path or `pkcs11:` URI. null = our own file. */
  readonly authPrivateKey: { readonly key: string; readonly sslEngine: string } | null;
  /** File whose first line opens an encrypted device key, `-` = standard input; null = none was given. */
  readonly passphraseFile: string | null;
  readonly isKeepAliveDisabled: boolean;
  /** 0 = unlimited. */
  readonly idleConnectionTimeoutSeconds: number;
  readonly deviceTier: (typeof DEVICE_TIERS)[number];

  readonly logLevel: 'error' | 'warn' | 'info' | 'debug';
  readonly isDbusEnabled: boolean;
  /** Whether programs written for Mender 2.7 to 3.x find its bus names here (`MenderNames`). */
  readonly areMenderNamesOffered: boolean;
  /** Who obtains the device's token; `mender-auth`: another service on the bus. */
  readonly tokenSource: (typeof TOKEN_SOURCES)[number];
  readonly access: AccessSettings;
  readonly conditions: ConditionSettings;
  /** Program and arguments; null = the init system, else `reboot`. */
  readonly rebootCommand: readonly string[] | null;
}

/** One line of `check-config`. */
export interface EffectiveKey {
  /** As spelt in the documentation, with dots for nesting. */
  readonly key: string;
  /** What counts, as JSON; secrets are replaced by `"(set)"`. */
  readonly valueJson: string;
  readonly origin: Origin;
}

export interface LoadedSettings {
  readonly settings: Settings;
  /** Sentences for the log and for check-config. */
  readonly warnings: readonly string[];
  readonly origins: readonly EffectiveKey[];
}

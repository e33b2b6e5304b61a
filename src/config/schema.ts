/**
 * The keys of both configuration files, with dots for nesting, and what each may hold. Letter case of keys does
 * not matter. Source: spec/configuration.md section 1.3; for holdpoint.json this file is the source:
 *
 * - `UpdatesEnabled`: boolean, default true. Whether updates are on before anybody has switched them.
 * - `RebootCommand`: absolute path of a program, or an array of that path and arguments. Run without a shell.
 *   Default: the init system, else `reboot`.
 * - `Points`: an object from hold point (`Download_Enter`, `ArtifactInstall_Enter`, `ArtifactReboot_Enter`,
 *   `ArtifactCommit_Enter`, `ArtifactRollbackReboot_Enter`) to an object of
 *   - `consent`: `"none"` (default) or `"required"`;
 *   - `timeout`: seconds a required consent may take; 0 (default) = until the ceiling;
 *   - `on-expire`: `"continue"`, `"fail"` or `"keep-waiting"`; must be given when consent is required;
 *   - `ceiling`: seconds any wait at the point may last at most; 0 = no limit. Default 604800 (7 days), at
 *     `ArtifactCommit_Enter` 86400;
 *   - `on-ceiling`: `"continue"` or `"fail"` (default).
 * - `Windows`, `Freeze`, `Power`, `Metered`, `Inhibitors`, `ConditionScripts`, `RequireSynchronizedClock`: what an update
 *   waits for, see conditions.ts.
 * - `DownloadRateLimit`: bytes a second an artifact is downloaded with at most; 0 (default) = no limit.
 * - `OfflineCommit`: whether an update may be committed although the server could not be reached in all attempts before;
 *   default false: it is rolled back, as Mender does.
 * - `DownloadReportInterval`: seconds after which the server is told again that the device downloads, which is how it
 *   learns of an abort in the middle; default 8, 0 = never, and of a wait not again either.
 * - `TokenSource`: who obtains the device's token: `"own"` (default), or `"mender-auth"` of a Mender client on the bus.
 * - `Access`: who may what on the bus, an object of
 *   - `polkit`: `"auto"` (default), `"required"` or `"off"`, see core/access.ts;
 *   - `rules`: an array of objects of `users`, `groups` (names or numbers), `actions` and `points` (optional), see
 *     access.ts. Replaces the default, which gives the group `holdpoint` check, continue, hold, abort and inspect.
 */
import * as v from 'valibot';
import { POLKIT_MODES } from '../core/access.ts';
import { HOLD_POINTS, type HoldPoint } from '../core/hold-point.ts';

export interface KeyRule<T = unknown> {
  readonly schema: v.GenericSchema<unknown, T>;
  /** What a message says was expected. */
  readonly expected: string;
  /** Must not be printed. */
  readonly isSecret?: boolean;
}
export type KeyRules = Readonly<Record<string, KeyRule>>;

function rule<T>(schema: v.GenericSchema<unknown, T>, expected: string): KeyRule<T> {
  return { schema, expected };
}

const text = rule(v.string(), 'a string');
const flag = rule(v.boolean(), 'true or false');
const integer = v.pipe(v.number(), v.safeInteger());
const seconds = rule(integer, 'a whole number of seconds');
const count = rule(integer, 'a whole number');
const name = v.pipe(v.string(), v.nonEmpty());

export const DEVICE_TIERS = ['standard', 'system', 'micro'] as const;
export const TOKEN_SOURCES = ['own', 'mender-auth'] as const;
export const MAX_RETRY_DOWNLOAD_COUNT = 10_000;

export const MENDER_RULES = {
  ServerURL: text,
  /** Every member name in any letter case. */
  Servers: rule(v.array(v.record(v.string(), v.string())), 'an array of objects with a ServerURL'),
  TenantToken: { ...text, isSecret: true },
  ServerCertificate: text,
  SkipVerify: flag,
  'HttpsClient.Certificate': text,
  'HttpsClient.Key': text,
  'HttpsClient.SSLEngine': text,
  'Security.AuthPrivateKey': text,
  'Security.SSLEngine': text,
  'Connectivity.DisableKeepAlive': flag,
  'Connectivity.IdleConnTimeoutSeconds': seconds,
  DeviceTypeFile: text,
  UpdatePollIntervalSeconds: seconds,
  InventoryPollIntervalSeconds: seconds,
  RetryPollIntervalSeconds: seconds,
  RetryPollCount: count,
  RetryDownloadCount: rule(
    v.pipe(integer, v.minValue(1), v.maxValue(MAX_RETRY_DOWNLOAD_COUNT)),
    `a whole number from 1 to ${MAX_RETRY_DOWNLOAD_COUNT}`,
  ),
  StateScriptTimeoutSeconds: seconds,
  StateScriptRetryTimeoutSeconds: seconds,
  StateScriptRetryIntervalSeconds: seconds,
  ModuleTimeoutSeconds: seconds,
  ArtifactVerifyKey: text,
  ArtifactVerifyKeys: rule(v.array(name), 'an array of paths'),
  UpdateLogPath: text,
  DaemonLogLevel: text,
  'DBus.Enabled': flag,
  UpdateControlMapExpirationTimeSeconds: seconds,
  UpdateControlMapBootExpirationTimeSeconds: seconds,
  RootfsPartA: text,
  RootfsPartB: text,
  BootUtilitiesSetActivePart: text,
  BootUtilitiesGetNextActivePart: text,
  DeviceTier: rule(v.picklist(DEVICE_TIERS), `one of ${DEVICE_TIERS.join(', ')}`),
  /** Documented for the real client, and never implemented there: known, and without effect. */
  UpdateControlMapPollIntervalSeconds: seconds,
} as const satisfies KeyRules;

const duration = rule(v.pipe(integer, v.minValue(0)), 'a whole number of seconds, at least 0');

const POINT_RULES = {
  consent: rule(v.picklist(['none', 'required']), '"none" or "required"'),
  timeout: duration,
  'on-expire': rule(v.picklist(['continue', 'fail', 'keep-waiting']), '"continue", "fail" or "keep-waiting"'),
  ceiling: duration,
  'on-ceiling': rule(v.picklist(['continue', 'fail']), '"continue" or "fail"'),
} as const satisfies KeyRules;
type PointMember = keyof typeof POINT_RULES;

type PointRules = {
  readonly [
    K in `Points.${HoldPoint}.${PointMember}`
  ]: K extends `Points.${HoldPoint}.${infer M extends PointMember}` ? (typeof POINT_RULES)[M] : never;
};

const isAbsolute = (path: string): boolean => path.startsWith('/');

/** Looked into by conditions.ts, which can say which member of which entry is wrong. */
const CONDITION_RULES = {
  Windows: rule(v.array(v.unknown()), 'an array of objects'),
  Freeze: rule(v.array(v.unknown()), 'an array of objects'),
  Power: rule(v.record(v.string(), v.unknown()), 'an object'),
  Metered: rule(v.record(v.string(), v.unknown()), 'an object'),
  Inhibitors: rule(v.record(v.string(), v.unknown()), 'an object'),
  ConditionScripts: rule(v.record(v.string(), v.unknown()), 'an object'),
  RequireSynchronizedClock: flag,
} as const satisfies KeyRules;

export const HOLDPOINT_RULES = {
  UpdatesEnabled: flag,
  MenderNames: flag,
  TokenSource: rule(v.picklist(TOKEN_SOURCES), '"own" or "mender-auth"'),
  'Snooze.max-total': duration,
  'Snooze.max-count': rule(v.pipe(integer, v.minValue(0)), 'a whole number, at least 0'),
  'Health.checkers': rule(
    v.pipe(
      v.array(v.pipe(v.string(), v.regex(/^[A-Za-z0-9._-]{1,64}$/))),
      v.check((names) => new Set(names).size === names.length && names.length <= 32),
    ),
    'an array of at most 32 different names of the characters A-Z a-z 0-9 . _ -',
  ),
  'Health.deadline': rule(v.pipe(integer, v.minValue(1)), 'a whole number of seconds, at least 1'),
  OfflineCommit: flag,
  DownloadReportInterval: duration,
  HoldLinger: rule(
    v.pipe(integer, v.minValue(0), v.maxValue(600)),
    'a whole number of seconds from 0 to 600',
  ),
  RebootCommand: rule(
    v.union([
      v.pipe(
        v.string(),
        v.check(isAbsolute),
        v.transform((path): readonly string[] => [path]),
      ),
      v.pipe(
        v.array(v.string()),
        v.check((argv) => argv[0] !== undefined && isAbsolute(argv[0])),
      ),
    ]),
    'the absolute path of a program, or an array of that path and its arguments',
  ),
  DownloadRateLimit: rule(v.pipe(integer, v.minValue(0)), 'a whole number of bytes a second, at least 0'),
  ...CONDITION_RULES,
  'Access.polkit': rule(v.picklist(POLKIT_MODES), `one of ${POLKIT_MODES.join(', ')}`),
  'Access.rules': rule(v.array(v.record(v.string(), v.unknown())), 'an array of objects'),
  ...(Object.fromEntries(
    HOLD_POINTS.flatMap((point) =>
      Object.entries(POINT_RULES).map(([member, one]) => [`Points.${point}.${member}`, one]),
    ),
  ) as unknown as PointRules),
} as const satisfies KeyRules;

export type ValueOf<R extends KeyRules, K extends keyof R> = R[K] extends KeyRule<infer T> ? T : never;

/**
 * Reads the configuration: mender.conf (fallback, then main), holdpoint.json and its conf.d, environment and
 * options. Source: spec/configuration.md sections 1, 2 and 4.1; design/entry-points.md.
 *
 * A broken mender.conf at its default path is a warning, as in the real client (5.x): a device that still starts
 * can be repaired from afar. It never loosens the checking of signatures (see `Settings.verifyKeyPaths`). A broken
 * holdpoint.json is fatal: it says when people must be asked, and going on without it would not ask them.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UpdateError } from '../core/errors.ts';
import { DEFAULT_FLOW_SETTINGS, type FlowSettings } from '../core/settings.ts';
import {
  DEFAULT_CONF_DIRECTORY,
  DEFAULT_DATA_DIRECTORY,
  DEFAULT_DATASTORE_DIRECTORY,
  DEFAULT_HOLDPOINT_CONF_DIRECTORY,
  DEFAULT_LOG_LEVEL,
  LOG_LEVELS,
  type LogLevelName,
} from './defaults.ts';
import { accessSettings } from './access.ts';
import { conditionSettings } from './conditions.ts';
import { holdPointPolicy } from './hold-points.ts';
import { Layers, readJsonFile, type Origin } from './layers.ts';
import { menderSettings } from './mender-settings.ts';
import { effectiveKeys } from './effective.ts';
import { HOLDPOINT_RULES, MENDER_RULES } from './schema.ts';
import type { LoadedSettings, Paths, Settings } from './settings.ts';

/** Command-line options; each undefined = not given. */
export interface ConfigOptions {
  /** --config */
  readonly config?: string | undefined;
  /** --fallback-config */
  readonly fallbackConfig?: string | undefined;
  /** --data, --datastore */
  readonly data?: string | undefined;
  /** --holdpoint-config: this file alone, no conf.d. */
  readonly holdpointConfig?: string | undefined;
  /** --trusted-certs */
  readonly trustedCerts?: string | undefined;
  /** --skipverify */
  readonly skipVerify?: boolean | undefined;
  /** --log-level */
  readonly logLevel?: string | undefined;
}

export type Environment = Readonly<Record<string, string | undefined>>;

interface Place {
  readonly value: string;
  readonly origin: Origin;
}

/** Rejects with kind `config` and one sentence naming file, line or key. */
export async function loadSettings(
  options: ConfigOptions = {},
  environment: Environment = process.env,
): Promise<LoadedSettings> {
  const warnings: string[] = [];
  const places = findPlaces(options, environment);

  const mender = new Layers(MENDER_RULES);
  const doubtful: string[] = [];
  await readMenderFile(mender, places.fallbackConfig, warnings, doubtful);
  await readMenderFile(mender, places.mainConfig, warnings, doubtful);
  if (options.trustedCerts !== undefined) {
    mender.override('ServerCertificate', options.trustedCerts, { kind: 'option', name: '--trusted-certs' });
  }
  if (options.skipVerify === true) {
    mender.override('SkipVerify', true, { kind: 'option', name: '--skipverify' });
  }
  if (options.logLevel !== undefined) {
    if (!isLogLevel(options.logLevel)) {
      const known = Object.keys(LOG_LEVELS).join(', ');
      throw new UpdateError(
        'config',
        `--log-level: found ${JSON.stringify(options.logLevel)}, expected one of ${known}`,
      );
    }
    mender.override('DaemonLogLevel', options.logLevel, { kind: 'option', name: '--log-level' });
  }

  const holdpoint = new Layers(HOLDPOINT_RULES);
  await readHoldpointFiles(holdpoint, places, warnings);

  const fromMender = menderSettings(mender, doubtful, warnings);
  const paths = pathsOf(places, mender.get('DeviceTypeFile') ?? '', mender.get('UpdateLogPath') ?? '');
  const settings: Settings = {
    ...fromMender.settings,
    paths,
    flow: {
      holdPoints: holdPointPolicy(holdpoint, warnings),
      updatesEnabledByDefault:
        holdpoint.get('UpdatesEnabled') ?? DEFAULT_FLOW_SETTINGS.updatesEnabledByDefault,
      isServerConfigured: fromMender.settings.servers.length > 0,
      isStandalonePending: DEFAULT_FLOW_SETTINGS.isStandalonePending,
      conditionPoints: DEFAULT_FLOW_SETTINGS.conditionPoints,
      isOfflineCommitAllowed: holdpoint.get('OfflineCommit') ?? DEFAULT_FLOW_SETTINGS.isOfflineCommitAllowed,
      ...controlSettings(holdpoint),
      controlMapExpirationSeconds: fromMender.settings.controlMapExpirationSeconds,
      controlMapBootExpirationSeconds: fromMender.settings.controlMapBootExpirationSeconds,
      updatePollIntervalSeconds: fromMender.settings.updatePollIntervalSeconds,
      ...fromMender.flow,
    },
    logLevel: logLevel(mender, warnings),
    areMenderNamesOffered: holdpoint.get('MenderNames') ?? true,
    tokenSource: holdpoint.get('TokenSource') ?? 'own',
    access: accessSettings(holdpoint),
    conditions: conditionSettings(holdpoint).settings,
    // 0 stands for none.
    downloadRateLimit: holdpoint.get('DownloadRateLimit') || null,
    rebootCommand: holdpoint.get('RebootCommand') ?? null,
  };
  return { settings, warnings, origins: effectiveKeys(settings, mender, holdpoint, places) };
}

export interface Places {
  readonly confDirectory: Place;
  readonly dataDirectory: Place;
  readonly datastoreDirectory: Place;
  readonly holdpointConfDirectory: Place;
  readonly mainConfig: Place;
  readonly fallbackConfig: Place;
  readonly holdpointConfig: Place;
}

function findPlaces(options: ConfigOptions, environment: Environment): Places {
  // An empty variable is an unset one, as in 3.x: the empty path would mean the current directory.
  const pick = (
    option: string | undefined,
    optionName: string,
    variable: string,
    fallback: string,
  ): Place => {
    if (option !== undefined) {
      if (option === '') throw new UpdateError('config', `${optionName}: found an empty path`);
      return { value: option, origin: { kind: 'option', name: optionName } };
    }
    const value = environment[variable];
    if (value) return { value, origin: { kind: 'environment', name: variable } };
    return { value: fallback, origin: { kind: 'default' } };
  };
  const directory = (variable: string, fallback: string): Place => pick(undefined, '', variable, fallback);
  const file = (option: string | undefined, optionName: string, inside: Place, name: string): Place =>
    option === undefined
      ? { value: join(inside.value, name), origin: inside.origin }
      : pick(option, optionName, '', '');

  const confDirectory = directory('MENDER_CONF_DIR', DEFAULT_CONF_DIRECTORY);
  const datastoreDirectory = pick(
    options.data,
    '--data',
    'MENDER_DATASTORE_DIR',
    DEFAULT_DATASTORE_DIRECTORY,
  );
  const holdpointConfDirectory = directory('HOLDPOINT_CONF_DIR', DEFAULT_HOLDPOINT_CONF_DIRECTORY);
  return {
    confDirectory,
    dataDirectory: directory('MENDER_DATA_DIR', DEFAULT_DATA_DIRECTORY),
    datastoreDirectory,
    holdpointConfDirectory,
    mainConfig: file(options.config, '--config', confDirectory, 'mender.conf'),
    fallbackConfig: file(options.fallbackConfig, '--fallback-config', datastoreDirectory, 'mender.conf'),
    holdpointConfig: file(
      options.holdpointConfig,
      '--holdpoint-config',
      holdpointConfDirectory,
      'holdpoint.json',
    ),
  };
}

/** A file named by a file option must be there and be right; --data only moves the default path of the fallback. */
function isNamed(place: Place): boolean {
  return place.origin.kind === 'option' && place.origin.name !== '--data';
}

async function readMenderFile(
  layers: Layers<typeof MENDER_RULES>,
  place: Place,
  warnings: string[],
  doubtful: string[],
): Promise<void> {
  const path = place.value;
  const warn = (_key: string, sentence: string): void => void warnings.push(sentence);
  try {
    const node = await readJsonFile(path);
    if (node === null) {
      if (isNamed(place)) throw new UpdateError('config', `${path} does not exist`, { details: { path } });
      return;
    }
    layers.add(node, path, {
      unknown: warn,
      repeated: warn,
      mistyped(key, sentence) {
        // Out of range rejects the whole file in the real client; where the file was named, so it does here.
        if (isNamed(place) && (key === 'DeviceTier' || key === 'RetryDownloadCount')) {
          throw new UpdateError('config', sentence, { details: { path, key } });
        }
        if (key === 'ArtifactVerifyKey' || key === 'ArtifactVerifyKeys') doubtful.push(path);
        warnings.push(`${sentence}; the key is ignored`);
      },
    });
  } catch (error) {
    if (isNamed(place) || !(error instanceof UpdateError)) throw error;
    doubtful.push(path);
    warnings.push(`${error.message}; the file is ignored`);
  }
}

async function readHoldpointFiles(
  layers: Layers<typeof HOLDPOINT_RULES>,
  places: Places,
  warnings: string[],
): Promise<void> {
  const place = places.holdpointConfig;
  const files = [place.value];
  if (!isNamed(place)) files.push(...(await confDFiles(confD(places))));
  for (const path of files) {
    const node = await readJsonFile(path);
    if (node === null) {
      if (isNamed(place)) throw new UpdateError('config', `${path} does not exist`, { details: { path } });
      continue;
    }
    const fatal = (key: string, sentence: string): never => {
      throw new UpdateError('config', sentence, { details: { path, key } });
    };
    layers.add(node, path, {
      mistyped: fatal,
      repeated: (_key, sentence) => void warnings.push(sentence),
      // A misspelt member would be a consent nobody is asked for, a right nobody meant, or a checker nobody waits for.
      unknown: (key, sentence) =>
        /^(points|access|health)\./i.test(key) ? fatal(key, sentence) : void warnings.push(sentence),
    });
  }
}

function confD(places: Places): string {
  return join(places.holdpointConfDirectory.value, 'conf.d');
}

async function confDFiles(directory: string): Promise<readonly string[]> {
  let names: readonly string[];
  try {
    names = await readdir(directory);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return [];
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UpdateError('config', `${directory} cannot be read: ${why}`, {
      cause,
      details: { path: directory },
    });
  }
  return names
    .filter((name) => name.endsWith('.json') && !name.startsWith('.'))
    .sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
    .map((name) => join(directory, name));
}

function controlSettings(
  layers: Layers<typeof HOLDPOINT_RULES>,
): Pick<FlowSettings, 'snooze' | 'health' | 'holdLingerSeconds'> {
  const { snooze, health, holdLingerSeconds } = DEFAULT_FLOW_SETTINGS;
  return {
    snooze: {
      maxTotalSeconds: layers.get('Snooze.max-total') ?? snooze.maxTotalSeconds,
      maxCount: layers.get('Snooze.max-count') ?? snooze.maxCount,
    },
    health: {
      checkers: layers.get('Health.checkers') ?? health.checkers,
      deadlineSeconds: layers.get('Health.deadline') ?? health.deadlineSeconds,
    },
    holdLingerSeconds: layers.get('HoldLinger') ?? holdLingerSeconds,
  };
}

function isLogLevel(text: string): text is LogLevelName {
  return Object.hasOwn(LOG_LEVELS, text);
}

function logLevel(layers: Layers<typeof MENDER_RULES>, warnings: string[]): Settings['logLevel'] {
  const text = layers.get('DaemonLogLevel') ?? '';
  if (text === '') return DEFAULT_LOG_LEVEL;
  const lower = text.toLowerCase();
  if (isLogLevel(lower)) return LOG_LEVELS[lower];
  warnings.push(
    `DaemonLogLevel: found ${JSON.stringify(text)}, expected one of ${Object.keys(LOG_LEVELS).join(', ')}; ${DEFAULT_LOG_LEVEL} is used`,
  );
  return DEFAULT_LOG_LEVEL;
}

function pathsOf(places: Places, deviceTypeFile: string, logDirectory: string): Paths {
  const conf = places.confDirectory.value;
  const data = places.dataDirectory.value;
  const datastore = places.datastoreDirectory.value;
  return {
    mainConfigFile: places.mainConfig.value,
    fallbackConfigFile: places.fallbackConfig.value,
    holdpointConfigFile: places.holdpointConfig.value,
    holdpointConfigDirectory: isNamed(places.holdpointConfig) ? null : confD(places),
    conditionsDirectory: join(places.holdpointConfDirectory.value, 'conditions.d'),
    rootfsScriptsDirectory: join(conf, 'scripts'),
    modulesDirectory: join(data, 'modules', 'v3'),
    identityProgram: join(data, 'identity', 'mender-device-identity'),
    inventoryDirectory: join(data, 'inventory'),
    datastoreDirectory: datastore,
    stateDirectory: join(datastore, 'holdpoint'),
    artifactScriptsDirectory: join(datastore, 'scripts'),
    moduleWorkDirectory: join(datastore, 'modules', 'v3', 'payloads'),
    deviceTypeFile: deviceTypeFile === '' ? join(datastore, 'device_type') : deviceTypeFile,
    deploymentLogDirectory: logDirectory === '' ? datastore : logDirectory,
    artifactInfoFile: join(conf, 'artifact_info'),
    bootstrapArtifactFile: join(datastore, 'bootstrap.mender'),
    menderStoreFile: join(datastore, 'mender-store'),
    menderPrivateKeyFile: join(datastore, 'mender-agent.pem'),
  };
}

/** `/etc/mender/mender.conf:12`, `--data`, `default`: an origin in words. */
export function originText(origin: Origin): string {
  switch (origin.kind) {
    case 'default':
      return 'default';
    case 'file':
      return `${origin.path}:${origin.line}`;
    case 'option':
      return `option ${origin.name}`;
    case 'environment':
      return `environment ${origin.name}`;
  }
}

/** Values where nothing is configured. Source: spec/configuration.md sections 1.3 and 2; design/compatibility.md. */

export const DEFAULT_CONF_DIRECTORY = '/etc/mender';
export const DEFAULT_DATA_DIRECTORY = '/usr/share/mender';
export const DEFAULT_DATASTORE_DIRECTORY = '/var/lib/mender';
export const DEFAULT_HOLDPOINT_CONF_DIRECTORY = '/etc/holdpoint';

/** Seconds; in the files 0 stands for these. */
export const DEFAULT_SECONDS = {
  UpdatePollIntervalSeconds: 1800,
  InventoryPollIntervalSeconds: 28_800,
  RetryPollIntervalSeconds: 300,
  StateScriptTimeoutSeconds: 3600,
  StateScriptRetryTimeoutSeconds: 1800,
  StateScriptRetryIntervalSeconds: 60,
  ModuleTimeoutSeconds: 14_400,
  UpdateControlMapBootExpirationTimeSeconds: 600,
} as const;

export const DEFAULT_RETRY_DOWNLOAD_COUNT = 10;
export const DEFAULT_LOG_LEVEL = 'info';

/** Every level the real clients know, in our words. */
export const LOG_LEVELS = {
  trace: 'debug',
  debug: 'debug',
  info: 'info',
  warning: 'warn',
  warn: 'warn',
  error: 'error',
  fatal: 'error',
  panic: 'error',
} as const;
export type LogLevelName = keyof typeof LOG_LEVELS;

/** What counts for each key, and where it came from: the table `check-config` prints. */
import type { Layers, Origin } from './layers.ts';
import type { Places } from './load.ts';
import { CONDITION_KEYS, conditionSettings } from './conditions.ts';
import { HOLD_POINTS } from '../core/hold-point.ts';
import { HOLDPOINT_RULES, MENDER_RULES } from './schema.ts';
import type { EffectiveKey, Settings } from './settings.ts';

type MenderKey = keyof typeof MENDER_RULES;

/** Keys whose effective value differs from the plain value in the files, or that have a default of their own. */
function resolved(settings: Settings): Partial<Record<MenderKey, unknown>> {
  return {
    SkipVerify: settings.isTlsVerificationSkipped,
    'Connectivity.DisableKeepAlive': settings.isKeepAliveDisabled,
    'Connectivity.IdleConnTimeoutSeconds': settings.idleConnectionTimeoutSeconds,
    DeviceTypeFile: settings.paths.deviceTypeFile,
    UpdatePollIntervalSeconds: settings.updatePollIntervalSeconds,
    InventoryPollIntervalSeconds: settings.inventoryPollIntervalSeconds,
    RetryPollIntervalSeconds: settings.flow.retryPollIntervalSeconds,
    RetryPollCount: settings.flow.retryPollCount,
    RetryDownloadCount: settings.retryDownloadCount,
    StateScriptTimeoutSeconds: settings.stateScriptTimeoutSeconds,
    StateScriptRetryTimeoutSeconds: settings.stateScriptRetryTimeoutSeconds,
    StateScriptRetryIntervalSeconds: settings.stateScriptRetryIntervalSeconds,
    ModuleTimeoutSeconds: settings.moduleTimeoutSeconds,
    UpdateLogPath: settings.paths.deploymentLogDirectory,
    DaemonLogLevel: settings.logLevel,
    'DBus.Enabled': settings.isDbusEnabled,
    UpdateControlMapExpirationTimeSeconds: settings.controlMapExpirationSeconds,
    UpdateControlMapBootExpirationTimeSeconds: settings.controlMapBootExpirationSeconds,
    DeviceTier: settings.deviceTier,
  };
}

export function effectiveKeys(
  settings: Settings,
  mender: Layers<typeof MENDER_RULES>,
  holdpoint: Layers<typeof HOLDPOINT_RULES>,
  places: Places,
): readonly EffectiveKey[] {
  const line = (key: string, value: unknown, origin: Origin): EffectiveKey => ({
    key,
    valueJson: JSON.stringify(value ?? ''),
    origin,
  });
  const special = resolved(settings);
  const conditions = conditionSettings(holdpoint).effective;
  const menderLines = (Object.keys(MENDER_RULES) as MenderKey[]).map((key): EffectiveKey => {
    if (key === 'TenantToken')
      return line(key, settings.tenantToken === '' ? '' : '(set)', mender.origin(key));
    const given = mender.get(key);
    const value = special[key] ?? given ?? (key === 'Servers' || key === 'ArtifactVerifyKeys' ? [] : '');
    // 0 and values below it stand for the default, so that is where the number came from.
    const isDefault = typeof given === 'number' && given !== value;
    return line(key, value, isDefault ? { kind: 'default' } : mender.origin(key));
  });
  const pointLines = HOLD_POINTS.flatMap((point) => {
    const { consent, consentTimeoutSeconds, onExpire, ceilingSeconds, onCeiling } =
      settings.flow.holdPoints[point];
    return [
      line(`Points.${point}.consent`, consent, holdpoint.origin(`Points.${point}.consent`)),
      line(`Points.${point}.timeout`, consentTimeoutSeconds, holdpoint.origin(`Points.${point}.timeout`)),
      line(`Points.${point}.on-expire`, onExpire, holdpoint.origin(`Points.${point}.on-expire`)),
      line(`Points.${point}.ceiling`, ceilingSeconds, holdpoint.origin(`Points.${point}.ceiling`)),
      line(`Points.${point}.on-ceiling`, onCeiling, holdpoint.origin(`Points.${point}.on-ceiling`)),
    ];
  });
  return [
    line('MENDER_CONF_DIR', places.confDirectory.value, places.confDirectory.origin),
    line('MENDER_DATA_DIR', places.dataDirectory.value, places.dataDirectory.origin),
    line('MENDER_DATASTORE_DIR', places.datastoreDirectory.value, places.datastoreDirectory.origin),
    line('HOLDPOINT_CONF_DIR', places.holdpointConfDirectory.value, places.holdpointConfDirectory.origin),
    line('--config', places.mainConfig.value, places.mainConfig.origin),
    line('--fallback-config', places.fallbackConfig.value, places.fallbackConfig.origin),
    line('--holdpoint-config', places.holdpointConfig.value, places.holdpointConfig.origin),
    ...menderLines,
    line('UpdatesEnabled', settings.flow.updatesEnabledByDefault, holdpoint.origin('UpdatesEnabled')),
    line('MenderNames', settings.areMenderNamesOffered, holdpoint.origin('MenderNames')),
    line('TokenSource', settings.tokenSource, holdpoint.origin('TokenSource')),
    line('Snooze.max-total', settings.flow.snooze.maxTotalSeconds, holdpoint.origin('Snooze.max-total')),
    line('Snooze.max-count', settings.flow.snooze.maxCount, holdpoint.origin('Snooze.max-count')),
    line('Health.checkers', settings.flow.health.checkers, holdpoint.origin('Health.checkers')),
    line('Health.deadline', settings.flow.health.deadlineSeconds, holdpoint.origin('Health.deadline')),
    line('OfflineCommit', settings.flow.isOfflineCommitAllowed, holdpoint.origin('OfflineCommit')),
    line('HoldLinger', settings.flow.holdLingerSeconds, holdpoint.origin('HoldLinger')),
    line('RebootCommand', settings.rebootCommand, holdpoint.origin('RebootCommand')),
    line('DownloadRateLimit', settings.downloadRateLimit ?? 0, holdpoint.origin('DownloadRateLimit')),
    line('Access.polkit', settings.access.polkit, holdpoint.origin('Access.polkit')),
    line('Access.rules', settings.access.rules, holdpoint.origin('Access.rules')),
    ...pointLines,
    ...CONDITION_KEYS.map((key) => line(key, conditions[key], holdpoint.origin(key))),
    line(
      'RequireSynchronizedClock',
      settings.conditions.isSynchronizedClockRequired,
      holdpoint.origin('RequireSynchronizedClock'),
    ),
  ];
}

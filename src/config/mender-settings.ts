/** The merged mender.conf → settings. Source: spec/configuration.md sections 1.2 and 1.3. */
import { UpdateError } from '../core/errors.ts';
import type { FlowSettings } from '../core/settings.ts';
import { DEFAULT_RETRY_DOWNLOAD_COUNT, DEFAULT_SECONDS } from './defaults.ts';
import type { Layers } from './layers.ts';
import type { MENDER_RULES } from './schema.ts';
import type { Settings } from './settings.ts';

type MenderLayers = Layers<typeof MENDER_RULES>;

export interface MenderSettings {
  readonly settings: Omit<
    Settings,
    | 'paths'
    | 'flow'
    | 'logLevel'
    | 'rebootCommand'
    | 'access'
    | 'areMenderNamesOffered'
    | 'conditions'
    | 'downloadRateLimit'
    | 'tokenSource'
    | 'passphraseFile'
  >;
  readonly flow: Pick<FlowSettings, 'retryPollIntervalSeconds' | 'retryPollCount'>;
}

/** `doubtful`: files that may have named a verification key and could not be understood. */
export function menderSettings(
  layers: MenderLayers,
  doubtful: readonly string[],
  warnings: string[],
): MenderSettings {
  const text = (key: TextKey): string => layers.get(key) ?? '';
  const pathOrNull = (key: TextKey): string | null => layers.get(key) || null;
  const seconds = (key: keyof typeof DEFAULT_SECONDS): number =>
    positive(layers, key, warnings) ?? DEFAULT_SECONDS[key];

  const updatePollIntervalSeconds = seconds('UpdatePollIntervalSeconds');
  const authKey = text('Security.AuthPrivateKey');
  return {
    flow: {
      retryPollIntervalSeconds: seconds('RetryPollIntervalSeconds'),
      retryPollCount: positive(layers, 'RetryPollCount', warnings) ?? 0,
    },
    settings: {
      updatePollIntervalSeconds,
      inventoryPollIntervalSeconds: seconds('InventoryPollIntervalSeconds'),
      retryDownloadCount: layers.get('RetryDownloadCount') ?? DEFAULT_RETRY_DOWNLOAD_COUNT,
      stateScriptTimeoutSeconds: seconds('StateScriptTimeoutSeconds'),
      stateScriptRetryTimeoutSeconds: seconds('StateScriptRetryTimeoutSeconds'),
      stateScriptRetryIntervalSeconds: seconds('StateScriptRetryIntervalSeconds'),
      moduleTimeoutSeconds: seconds('ModuleTimeoutSeconds'),
      // From the effective poll interval, unlike 3.5 (design/compatibility.md "Map expiry").
      controlMapExpirationSeconds:
        positive(layers, 'UpdateControlMapExpirationTimeSeconds', warnings) ?? 2 * updatePollIntervalSeconds,
      controlMapBootExpirationSeconds: seconds('UpdateControlMapBootExpirationTimeSeconds'),
      verifyKeyPaths: verifyKeyPaths(layers, doubtful, warnings),
      servers: servers(layers, warnings),
      tenantToken: text('TenantToken'),
      serverCertificatePath: pathOrNull('ServerCertificate'),
      isTlsVerificationSkipped: layers.get('SkipVerify') ?? false,
      httpsClient: httpsClient(layers, warnings),
      authPrivateKey: authKey === '' ? null : { key: authKey, sslEngine: text('Security.SSLEngine') },
      isKeepAliveDisabled: layers.get('Connectivity.DisableKeepAlive') ?? false,
      idleConnectionTimeoutSeconds: positive(layers, 'Connectivity.IdleConnTimeoutSeconds', warnings) ?? 0,
      deviceTier: layers.get('DeviceTier') ?? 'standard',
      isDbusEnabled: layers.get('DBus.Enabled') ?? true,
    },
  };
}

type RuleKey = keyof typeof MENDER_RULES;
type TextKey = Extract<
  RuleKey,
  'TenantToken' | 'ServerCertificate' | 'Security.AuthPrivateKey' | 'Security.SSLEngine'
>;
type NumberKey = Extract<RuleKey, `${string}Seconds` | 'RetryPollCount'>;

/** undefined = unset: 0 stands for the default, and below 0 nothing has a meaning. */
function positive(layers: MenderLayers, key: NumberKey, warnings: string[]): number | undefined {
  const value = layers.get(key);
  if (value === undefined || value === 0) return undefined;
  if (value > 0) return value;
  warnings.push(`${key}: found ${value}, expected at least 0; the default is used`);
  return undefined;
}

function servers(layers: MenderLayers, warnings: string[]): readonly string[] {
  const single = layers.get('ServerURL') ?? '';
  const several = (layers.get('Servers') ?? []).map(
    (server) => Object.entries(server).find(([key]) => key.toLowerCase() === 'serverurl')?.[1] ?? '',
  );
  if (single !== '' && several.length > 0) {
    throw new UpdateError('config', 'both ServerURL and Servers are given, expected one of them', {
      details: { key: 'Servers' },
    });
  }
  const urls = single === '' ? several : [single];
  return [...new Set(urls.map((url) => url.replace(/\/+$/, '')))].filter((url) => {
    if (/^https?:\/\/[^/\s]+/i.test(url) && URL.canParse(url)) return true;
    // No text of the URL: it may hold a password.
    warnings.push(
      url === ''
        ? 'Servers: an entry without ServerURL is ignored'
        : 'a server URL that does not begin with http:// or https:// and a host name is ignored',
    );
    return false;
  });
}

function verifyKeyPaths(
  layers: MenderLayers,
  doubtful: readonly string[],
  warnings: string[],
): readonly string[] {
  const single = layers.get('ArtifactVerifyKey') ?? '';
  const several = layers.get('ArtifactVerifyKeys') ?? [];
  if (single !== '' && several.length > 0) {
    throw new UpdateError(
      'config',
      'both ArtifactVerifyKey and ArtifactVerifyKeys are given, expected one of them',
      {
        details: { key: 'ArtifactVerifyKeys' },
      },
    );
  }
  const paths = [...new Set(single === '' ? several : [single])];
  if (paths.length > 0 || doubtful.length === 0) return paths;
  warnings.push(
    `whether artifacts must be signed cannot be known from ${doubtful.join(', ')}: every artifact will be refused until that is corrected`,
  );
  return [...new Set(doubtful)];
}

function httpsClient(layers: MenderLayers, warnings: string[]): Settings['httpsClient'] {
  const certificatePath = layers.get('HttpsClient.Certificate') ?? '';
  const key = layers.get('HttpsClient.Key') ?? '';
  if (certificatePath !== '' && key !== '') {
    return { certificatePath, key, sslEngine: layers.get('HttpsClient.SSLEngine') ?? '' };
  }
  if (certificatePath !== key) {
    const missing = key === '' ? 'HttpsClient.Key' : 'HttpsClient.Certificate';
    warnings.push(`${missing} is missing: no client certificate is used`);
  }
  return null;
}

import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadSettings, originText, type ConfigOptions, type Environment } from '../../../src/config/load.ts';
import { MENDER_RULES } from '../../../src/config/schema.ts';
import type { LoadedSettings } from '../../../src/config/settings.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { DEFAULT_FLOW_SETTINGS } from '../../../src/core/settings.ts';

let root: string;
let environment: Environment;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-config-'));
  environment = {
    MENDER_CONF_DIR: join(root, 'etc/mender'),
    MENDER_DATA_DIR: join(root, 'usr/share/mender'),
    MENDER_DATASTORE_DIR: join(root, 'var/lib/mender'),
    HOLDPOINT_CONF_DIR: join(root, 'etc/holdpoint'),
  };
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const MAIN = 'etc/mender/mender.conf';
const FALLBACK = 'var/lib/mender/mender.conf';
const HOLDPOINT = 'etc/holdpoint/holdpoint.json';

/** Text as it is, anything else as JSON. Returns the path. */
async function put(name: string, content: unknown): Promise<string> {
  const path = join(root, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

function load(options: ConfigOptions = {}, changes: Environment = {}): Promise<LoadedSettings> {
  return loadSettings(options, { ...environment, ...changes });
}

async function failure(options: ConfigOptions = {}): Promise<UpdateError> {
  const error: unknown = await load(options).then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UpdateError);
  expect((error as UpdateError).kind).toBe('config');
  expect((error as UpdateError).message).not.toContain('\n');
  return error as UpdateError;
}

function originOf(loaded: LoadedSettings, key: string): string {
  const line = loaded.origins.find((one) => one.key === key);
  if (!line) throw new Error(`no line for ${key}`);
  return originText(line.origin);
}

describe('defaults', () => {
  it('need no file at all', async () => {
    const { settings, warnings } = await load();
    expect(warnings).toEqual([]);
    expect(settings).toMatchObject({
      flow: DEFAULT_FLOW_SETTINGS,
      updatePollIntervalSeconds: 1800,
      inventoryPollIntervalSeconds: 28_800,
      retryDownloadCount: 10,
      stateScriptTimeoutSeconds: 3600,
      stateScriptRetryTimeoutSeconds: 1800,
      stateScriptRetryIntervalSeconds: 60,
      moduleTimeoutSeconds: 14_400,
      controlMapExpirationSeconds: 3600,
      controlMapBootExpirationSeconds: 600,
      verifyKeyPaths: [],
      servers: [],
      isTlsVerificationSkipped: false,
      httpsClient: null,
      authPrivateKey: null,
      deviceTier: 'standard',
      logLevel: 'info',
      isDbusEnabled: true,
      rebootCommand: null,
    });
  });

  it('place everything where the real client has it', async () => {
    const { settings } = await loadSettings({}, {});
    expect(settings.paths).toEqual({
      mainConfigFile: '/etc/mender/mender.conf',
      fallbackConfigFile: '/var/lib/mender/mender.conf',
      holdpointConfigFile: '/etc/holdpoint/holdpoint.json',
      holdpointConfigDirectory: '/etc/holdpoint/conf.d',
      conditionsDirectory: '/etc/holdpoint/conditions.d',
      rootfsScriptsDirectory: '/etc/mender/scripts',
      modulesDirectory: '/usr/share/mender/modules/v3',
      identityProgram: '/usr/share/mender/identity/mender-device-identity',
      inventoryDirectory: '/usr/share/mender/inventory',
      datastoreDirectory: '/var/lib/mender',
      stateDirectory: '/var/lib/mender/holdpoint',
      artifactScriptsDirectory: '/var/lib/mender/scripts',
      moduleWorkDirectory: '/var/lib/mender/modules/v3/payloads',
      deviceTypeFile: '/var/lib/mender/device_type',
      deploymentLogDirectory: '/var/lib/mender',
      artifactInfoFile: '/etc/mender/artifact_info',
      bootstrapArtifactFile: '/var/lib/mender/bootstrap.mender',
      menderStoreFile: '/var/lib/mender/mender-store',
      menderPrivateKeyFile: '/var/lib/mender/mender-agent.pem',
    });
  });

  it('take an empty environment variable for an unset one', async () => {
    const { settings } = await loadSettings({}, { MENDER_CONF_DIR: '', MENDER_DATASTORE_DIR: '' });
    expect(settings.paths.mainConfigFile).toBe('/etc/mender/mender.conf');
    expect(settings.paths.datastoreDirectory).toBe('/var/lib/mender');
  });
});

describe('mender.conf', () => {
  it('is read with every documented key', async () => {
    await put(MAIN, {
      Servers: [{ ServerURL: 'https://one.example/' }, { serverurl: 'https://two.example//' }],
      TenantToken: 'tt-demo',
      ServerCertificate: '/etc/mender/server.crt',
      SkipVerify: true,
      HttpsClient: { Certificate: '/c.pem', Key: 'pkcs11:k', SSLEngine: 'pkcs11' },
      Security: { AuthPrivateKey: '/a.pem', SSLEngine: 'e' },
      Connectivity: { DisableKeepAlive: true, IdleConnTimeoutSeconds: 5 },
      DeviceTypeFile: '/etc/device_type',
      UpdatePollIntervalSeconds: 60,
      InventoryPollIntervalSeconds: 600,
      RetryPollIntervalSeconds: 61,
      RetryPollCount: 3,
      RetryDownloadCount: 10_000,
      StateScriptTimeoutSeconds: 1,
      StateScriptRetryTimeoutSeconds: 2,
      StateScriptRetryIntervalSeconds: 3,
      ModuleTimeoutSeconds: 4,
      ArtifactVerifyKeys: ['/k/a.pub', '/k/b.pub', '/k/a.pub'],
      UpdateLogPath: '/var/log/mender',
      DaemonLogLevel: 'Warning',
      DBus: { Enabled: false },
      UpdateControlMapExpirationTimeSeconds: 90,
      UpdateControlMapBootExpirationTimeSeconds: 45,
      RootfsPartA: '/dev/mmcblk0p2',
      RootfsPartB: '/dev/mmcblk0p3',
      BootUtilitiesSetActivePart: 'set',
      BootUtilitiesGetNextActivePart: 'get',
      DeviceTier: 'micro',
      UpdateControlMapPollIntervalSeconds: 5,
    });
    const loaded = await load();
    expect(loaded.warnings).toEqual([]);
    expect(loaded.settings).toMatchObject({
      servers: ['https://one.example', 'https://two.example'],
      tenantToken: 'tt-demo',
      serverCertificatePath: '/etc/mender/server.crt',
      isTlsVerificationSkipped: true,
      httpsClient: { certificatePath: '/c.pem', key: 'pkcs11:k', sslEngine: 'pkcs11' },
      authPrivateKey: { key: '/a.pem', sslEngine: 'e' },
      isKeepAliveDisabled: true,
      idleConnectionTimeoutSeconds: 5,
      updatePollIntervalSeconds: 60,
      inventoryPollIntervalSeconds: 600,
      flow: { retryPollIntervalSeconds: 61, retryPollCount: 3 },
      retryDownloadCount: 10_000,
      stateScriptTimeoutSeconds: 1,
      stateScriptRetryTimeoutSeconds: 2,
      stateScriptRetryIntervalSeconds: 3,
      moduleTimeoutSeconds: 4,
      verifyKeyPaths: ['/k/a.pub', '/k/b.pub'],
      logLevel: 'warn',
      isDbusEnabled: false,
      controlMapExpirationSeconds: 90,
      controlMapBootExpirationSeconds: 45,
      deviceTier: 'micro',
      paths: { deviceTypeFile: '/etc/device_type', deploymentLogDirectory: '/var/log/mender' },
    });
    const keys = loaded.origins.map(({ key }) => key);
    for (const key of Object.keys(MENDER_RULES)) expect(keys).toContain(key);
    expect(JSON.stringify(loaded.origins)).not.toContain('tt-demo');
  });

  it('lets main win over fallback key by key, merges sections, and replaces arrays', async () => {
    const fallback = await put(FALLBACK, {
      TenantToken: 'old',
      UpdatePollIntervalSeconds: 5,
      HttpsClient: { Certificate: '/old.pem', Key: '/old.key' },
      ArtifactVerifyKeys: ['/old.pub'],
    });
    const main = await put(
      MAIN,
      '{\n "TenantToken": "new",\n "HttpsClient": { "Certificate": "/new.pem" },\n "ArtifactVerifyKeys": ["/new.pub"]\n}',
    );
    const loaded = await load();
    expect(loaded.settings).toMatchObject({
      tenantToken: 'new',
      updatePollIntervalSeconds: 5,
      httpsClient: { certificatePath: '/new.pem', key: '/old.key' },
      verifyKeyPaths: ['/new.pub'],
    });
    expect(originOf(loaded, 'TenantToken')).toBe(`${main}:2`);
    expect(originOf(loaded, 'HttpsClient.Certificate')).toBe(`${main}:3`);
    expect(originOf(loaded, 'HttpsClient.Key')).toBe(`${fallback}:1`);
    expect(originOf(loaded, 'ModuleTimeoutSeconds')).toBe('default');
  });

  it('matches keys in any letter case', async () => {
    await put(MAIN, {
      SERVERURL: 'https://a.example',
      updatepollintervalseconds: 7,
      httpsCLIENT: { KEY: 'k', certificate: 'c' },
    });
    const { settings, warnings } = await load();
    expect(warnings).toEqual([]);
    expect(settings).toMatchObject({
      servers: ['https://a.example'],
      updatePollIntervalSeconds: 7,
      httpsClient: { key: 'k' },
    });
  });

  it('ignores a value of the wrong type, says so, and keeps the rest', async () => {
    const main = await put(
      MAIN,
      '{\n"UpdatePollIntervalSeconds": "60",\n"SkipVerify": 1,\n"HttpsClient": [],\n"ModuleTimeoutSeconds": 1.5,\n"TenantToken": 1234567,\n"RetryPollCount": 4}',
    );
    const { settings, warnings } = await load();
    expect(warnings).toEqual([
      `${main}:2: UpdatePollIntervalSeconds: found "60", expected a whole number of seconds; the key is ignored`,
      `${main}:3: SkipVerify: found 1, expected true or false; the key is ignored`,
      `${main}:4: HttpsClient: found the array [], expected an object; the key is ignored`,
      `${main}:5: ModuleTimeoutSeconds: found 1.5, expected a whole number of seconds; the key is ignored`,
      `${main}:6: TenantToken: found a value of type scalar, expected a string; the key is ignored`,
    ]);
    expect(settings).toMatchObject({
      updatePollIntervalSeconds: 1800,
      isTlsVerificationSkipped: false,
      moduleTimeoutSeconds: 14_400,
      flow: { retryPollCount: 4 },
    });
  });

  it('names the nearest key for an unknown one, and warns of a repeated one', async () => {
    const main = await put(
      MAIN,
      '{"SeverURL": "https://a.example",\n"HttpsClient": {"Certficate": "c"},\n"Colour": 1,\n"AuthPrivateKey": "k",\n"RetryPollCount": 1, "retrypollcount": 2}',
    );
    const { settings, warnings } = await load();
    expect(warnings).toEqual([
      `${main}:1: unknown key SeverURL (did you mean ServerURL?)`,
      `${main}:2: unknown key HttpsClient.Certficate (did you mean HttpsClient.Certificate?)`,
      `${main}:3: unknown key Colour`,
      expect.stringMatching(/:4: unknown key AuthPrivateKey/),
      `${main}:5: retrypollcount occurs more than once, the last one counts`,
    ]);
    expect(settings.flow.retryPollCount).toBe(2);
  });

  it('takes 0 for the default, and a negative number too, with a warning', async () => {
    await put(MAIN, {
      UpdatePollIntervalSeconds: 0,
      ModuleTimeoutSeconds: -1,
      UpdateControlMapExpirationTimeSeconds: 0,
    });
    const loaded = await load();
    expect(loaded.settings).toMatchObject({
      updatePollIntervalSeconds: 1800,
      moduleTimeoutSeconds: 14_400,
      controlMapExpirationSeconds: 3600,
    });
    expect(loaded.warnings).toEqual([
      'ModuleTimeoutSeconds: found -1, expected at least 0; the default is used',
    ]);
    expect(originOf(loaded, 'ModuleTimeoutSeconds')).toBe('default');
  });

  it('derives the life of control maps from the effective poll interval', async () => {
    await put(MAIN, { UpdatePollIntervalSeconds: 100 });
    expect((await load()).settings.controlMapExpirationSeconds).toBe(200);
  });

  it('takes null for an unset key', async () => {
    await put(MAIN, { ServerURL: null, HttpsClient: null, ArtifactVerifyKeys: null });
    expect((await load()).warnings).toEqual([]);
    expect((await load()).settings.verifyKeyPaths).toEqual([]);
  });

  it('warns of a bad log level, of half a client certificate and of useless servers, without their text', async () => {
    await put(MAIN, {
      DaemonLogLevel: 'loud',
      HttpsClient: { Key: 'k' },
      Servers: [{}, { ServerURL: 'user:secret@host' }, { ServerURL: 'https://ok.example' }],
    });
    const { settings, warnings } = await load();
    expect(settings).toMatchObject({ logLevel: 'info', httpsClient: null, servers: ['https://ok.example'] });
    expect(warnings).toHaveLength(4);
    expect(warnings.join()).not.toContain('secret');
  });

  it('refuses both ServerURL and Servers, also from different files, but not an empty one', async () => {
    await put(FALLBACK, { ServerURL: 'https://a.example' });
    await put(MAIN, { Servers: [{ ServerURL: 'https://b.example' }] });
    expect((await failure()).message).toBe('both ServerURL and Servers are given, expected one of them');
    await put(FALLBACK, { ServerURL: '' });
    expect((await load()).settings.servers).toEqual(['https://b.example']);
  });

  it('refuses both ArtifactVerifyKey and ArtifactVerifyKeys', async () => {
    await put(MAIN, { ArtifactVerifyKey: '/a', ArtifactVerifyKeys: ['/b'] });
    expect((await failure()).message).toContain('both ArtifactVerifyKey and ArtifactVerifyKeys');
  });

  it('ignores a bad DeviceTier or RetryDownloadCount at the default path, and refuses it in a named file', async () => {
    for (const content of [
      { DeviceTier: 'gold' },
      { RetryDownloadCount: 0 },
      { RetryDownloadCount: 10_001 },
    ]) {
      const main = await put(MAIN, content);
      const { settings, warnings } = await load();
      expect(settings).toMatchObject({ deviceTier: 'standard', retryDownloadCount: 10 });
      expect(warnings).toHaveLength(1);
      expect((await failure({ config: main })).message).toContain(`${main}:1: `);
    }
  });
});

describe('verification keys', () => {
  const broken: Readonly<Record<string, string>> = {
    'is not JSON': '{"ArtifactVerifyKeys": ["/k.pub"],',
    'is not an object': '[]',
    'is empty': '',
    'names its keys by the wrong type': '{"ArtifactVerifyKeys": "/k.pub"}',
    'names an empty path': '{"ArtifactVerifyKeys": [""]}',
  };
  for (const [name, text] of Object.entries(broken)) {
    it(`are never given up because a file ${name}: artifacts are refused`, async () => {
      const main = await put(MAIN, text);
      const { settings, warnings } = await load();
      expect(settings.verifyKeyPaths).toEqual([main]);
      expect(warnings.at(-1)).toContain('every artifact will be refused');
    });
  }

  it('are taken from the other file when one is broken', async () => {
    await put(FALLBACK, { ArtifactVerifyKey: '/k.pub' });
    await put(MAIN, '{');
    expect((await load()).settings.verifyKeyPaths).toEqual(['/k.pub']);
  });

  it('keep paths that do not exist: whoever reads them refuses', async () => {
    await put(MAIN, { ArtifactVerifyKeys: ['/nonexistent/k.pub'] });
    expect((await load()).settings.verifyKeyPaths).toEqual(['/nonexistent/k.pub']);
  });
});

describe('a file that cannot be used', () => {
  it('is a warning at the default path and fatal when it was named', async () => {
    const main = await put(MAIN, '{\n  "ServerURL": nope\n}');
    await put(FALLBACK, { TenantToken: 'kept' });
    const { settings, warnings } = await load();
    expect(settings.tenantToken).toBe('kept');
    expect(warnings[0]).toBe(`${main}:2:16: found "nope", expected a value; the file is ignored`);
    expect((await failure({ config: main })).message).toBe(`${main}:2:16: found "nope", expected a value`);
    expect((await failure({ fallbackConfig: main })).message).toContain(':2:16:');
    expect((await failure({ config: join(root, 'none') })).message).toBe(
      `${join(root, 'none')} does not exist`,
    );
  });

  it('does not hang when it is a named pipe, nor fill the memory when it is huge', async () => {
    const main = await put(MAIN, '');
    await rm(main);
    execFileSync('mkfifo', [main]);
    expect((await load()).warnings[0]).toContain('not a regular file');
    await rm(main);
    execFileSync('truncate', ['-s', '10G', main]);
    expect((await load()).warnings[0]).toContain('longer than');
  });
});

describe('options and environment', () => {
  it('win over files, and the origins say so', async () => {
    await put(MAIN, { ServerCertificate: '/file.crt', SkipVerify: false, DaemonLogLevel: 'error' });
    const loaded = await load({ trustedCerts: '/option.crt', skipVerify: true, logLevel: 'debug' });
    expect(loaded.settings).toMatchObject({
      serverCertificatePath: '/option.crt',
      isTlsVerificationSkipped: true,
      logLevel: 'debug',
    });
    expect(originOf(loaded, 'ServerCertificate')).toBe('option --trusted-certs');
    expect(originOf(loaded, 'MENDER_CONF_DIR')).toBe('environment MENDER_CONF_DIR');
  });

  it('move the datastore and the fallback file in it with --data, which need not exist', async () => {
    const data = join(root, 'elsewhere');
    const loaded = await load({ data });
    expect(loaded.settings.paths).toMatchObject({
      datastoreDirectory: data,
      fallbackConfigFile: join(data, 'mender.conf'),
      stateDirectory: join(data, 'holdpoint'),
    });
    expect(originOf(loaded, 'MENDER_DATASTORE_DIR')).toBe('option --data');
  });

  it('are refused when they make no sense', async () => {
    expect((await failure({ logLevel: 'loud' })).message).toContain('--log-level: found "loud"');
    expect((await failure({ data: '' })).message).toBe('--data: found an empty path');
    expect((await failure({ logLevel: 'constructor' })).message).toContain('--log-level');
  });
});

describe('holdpoint.json', () => {
  it('sets the policy of each point, the rest keeps its default', async () => {
    await put(HOLDPOINT, {
      UpdatesEnabled: false,
      RebootCommand: '/sbin/my reboot',
      Points: {
        ArtifactReboot_Enter: {
          consent: 'required',
          timeout: 3600,
          'on-expire': 'keep-waiting',
          ceiling: 0,
          'on-ceiling': 'continue',
        },
        Download_Enter: { ceiling: 10 },
      },
    });
    const { settings, warnings } = await load();
    expect(warnings).toEqual([]);
    expect(settings.rebootCommand).toEqual(['/sbin/my reboot']);
    expect(settings.flow.updatesEnabledByDefault).toBe(false);
    expect(settings.flow.holdPoints).toEqual({
      ...DEFAULT_FLOW_SETTINGS.holdPoints,
      ArtifactReboot_Enter: {
        consent: 'required',
        consentTimeoutSeconds: 3600,
        onExpire: 'keep-waiting',
        ceilingSeconds: 0,
        onCeiling: 'continue',
      },
      Download_Enter: { ...DEFAULT_FLOW_SETTINGS.holdPoints.Download_Enter, ceilingSeconds: 10 },
    });
  });

  it('is continued by conf.d in byte order of names, member by member', async () => {
    await put(HOLDPOINT, {
      Points: { Download_Enter: { consent: 'required', 'on-expire': 'fail', timeout: 1 } },
    });
    await put('etc/holdpoint/conf.d/20-b.json', {
      Points: { download_enter: { timeout: 20 } },
      RebootCommand: ['/bin/b', '-x'],
    });
    const last = await put('etc/holdpoint/conf.d/3-c.json', { Points: { Download_Enter: { timeout: 30 } } });
    await put('etc/holdpoint/conf.d/10-a.json', { RebootCommand: '/bin/a' });
    await put('etc/holdpoint/conf.d/.hidden.json', '{');
    await put('etc/holdpoint/conf.d/note.txt', '{');
    const loaded = await load();
    expect(loaded.warnings).toEqual([]);
    expect(loaded.settings.flow.holdPoints.Download_Enter).toMatchObject({
      consent: 'required',
      onExpire: 'fail',
      consentTimeoutSeconds: 30,
    });
    expect(loaded.settings.rebootCommand).toEqual(['/bin/b', '-x']);
    expect(originOf(loaded, 'Points.Download_Enter.timeout')).toBe(`${last}:1`);
    expect(originOf(loaded, 'Points.Download_Enter.ceiling')).toBe('default');
  });

  it('is replaced, conf.d included, by a file named by option', async () => {
    await put(HOLDPOINT, '{');
    await put('etc/holdpoint/conf.d/a.json', '{');
    const own = await put('own.json', { UpdatesEnabled: false });
    expect((await load({ holdpointConfig: own })).settings.flow.updatesEnabledByDefault).toBe(false);
    expect((await failure({ holdpointConfig: join(root, 'none') })).message).toContain('does not exist');
  });

  it('must say what silence means where a consent is required', async () => {
    await put(HOLDPOINT, { Points: { ArtifactInstall_Enter: { consent: 'required', timeout: 5 } } });
    const { message } = await failure();
    expect(message).toContain('Points.ArtifactInstall_Enter: consent is required but on-expire is not given');
  });

  const fatal: Readonly<Record<string, readonly [unknown, RegExp]>> = {
    'broken JSON': ['{"Points": {', /holdpoint\.json:1:13: found the end of the file/],
    'a misspelt hold point': [
      { Points: { ArtifactInstal_Enter: { consent: 'required', 'on-expire': 'fail' } } },
      /unknown key Points\.ArtifactInstal_Enter \(did you mean Points\.ArtifactInstall_Enter\?\)/,
    ],
    'a misspelt member of a point': [
      { Points: { Download_Enter: { consnt: 'required' } } },
      /unknown key Points\.Download_Enter\.consnt \(did you mean Points\.Download_Enter\.consent\?\)/,
    ],
    'an unknown word for consent': [
      { Points: { Download_Enter: { consent: 'yes' } } },
      /Points\.Download_Enter\.consent: found "yes", expected "none" or "required"/,
    ],
    'a negative ceiling': [{ Points: { Download_Enter: { ceiling: -1 } } }, /ceiling: found -1/],
    'points that are no object': [{ Points: [] }, /Points: found the array \[\], expected an object/],
    'a reboot command for a shell': [
      { RebootCommand: 'reboot -f' },
      /RebootCommand: found "reboot -f", expected the absolute path/,
    ],
    'an empty reboot command': [{ RebootCommand: [] }, /RebootCommand/],
    'a switch that is a word': [{ UpdatesEnabled: 'no' }, /UpdatesEnabled: found "no"/],
  };
  for (const [name, [content, expected]] of Object.entries(fatal)) {
    it(`is fatal with ${name}`, async () => {
      await put(HOLDPOINT, content);
      expect((await failure()).message).toMatch(expected);
    });
  }

  it('may have unknown keys beside the known ones, with a warning', async () => {
    const path = await put(HOLDPOINT, { UpdateEnabled: false });
    expect((await load()).warnings).toEqual([
      `${path}:1: unknown key UpdateEnabled (did you mean UpdatesEnabled?)`,
    ]);
  });

  it('warns of timeouts that have no effect', async () => {
    await put(HOLDPOINT, {
      Points: {
        Download_Enter: { timeout: 5 },
        ArtifactCommit_Enter: { consent: 'required', 'on-expire': 'fail', timeout: 90_000 },
      },
    });
    const { warnings } = await load();
    expect(warnings).toHaveLength(2);
    expect(warnings[1]).toContain('is never reached');
  });
});

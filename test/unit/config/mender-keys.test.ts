import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadSettings, originText, type ConfigOptions } from '../../../src/config/load.ts';
import { MENDER_RULES } from '../../../src/config/schema.ts';
import type { LoadedSettings } from '../../../src/config/settings.ts';

/** Every key of mender.conf, one by one. Source: spec/configuration.md sections 1.1 to 1.3. */
interface Row {
  readonly key: string;
  /** In effect when nothing is configured. */
  readonly unset: unknown;
  readonly given: unknown;
  /** In effect with `given`; default: the same. */
  readonly effective?: unknown;
  readonly wrong: unknown;
  /** In effect where the file says 0 or less; numbers only. */
  readonly zero?: number;
}

const ROWS: readonly Row[] = [
  { key: 'ServerURL', unset: '', given: 'https://a.example/', effective: 'https://a.example', wrong: 5 },
  {
    key: 'Servers',
    unset: [],
    given: [
      { serverurl: 'https://a.example//' },
      { ServerURL: 'https://b.example' },
      { ServerURL: 'https://a.example' },
    ],
    effective: [{ ServerURL: 'https://a.example' }, { ServerURL: 'https://b.example' }],
    wrong: 'https://a.example',
  },
  { key: 'TenantToken', unset: '', given: 'tt-1', effective: '(set)', wrong: ['tt-1'] },
  { key: 'ServerCertificate', unset: '', given: '/ca.crt', wrong: true },
  { key: 'SkipVerify', unset: false, given: true, wrong: 'yes' },
  { key: 'HttpsClient.Certificate', unset: '', given: '/c.crt', wrong: 1 },
  { key: 'HttpsClient.Key', unset: '', given: '/c.key', wrong: 1 },
  { key: 'HttpsClient.SSLEngine', unset: '', given: 'engine', wrong: 1 },
  { key: 'Security.AuthPrivateKey', unset: '', given: '/a.key', wrong: 1 },
  { key: 'Security.SSLEngine', unset: '', given: 'engine', wrong: 1 },
  { key: 'Connectivity.DisableKeepAlive', unset: false, given: true, wrong: 1 },
  { key: 'Connectivity.IdleConnTimeoutSeconds', unset: 0, given: 9, wrong: '9', zero: 0 },
  { key: 'DeviceTypeFile', unset: '%R/data/device_type', given: '/device_type', wrong: 1 },
  { key: 'UpdatePollIntervalSeconds', unset: 1800, given: 9, wrong: '9', zero: 1800 },
  { key: 'InventoryPollIntervalSeconds', unset: 28_800, given: 9, wrong: 1.5, zero: 28_800 },
  { key: 'RetryPollIntervalSeconds', unset: 300, given: 9, wrong: '9', zero: 300 },
  { key: 'RetryPollCount', unset: 0, given: 9, wrong: '9', zero: 0 },
  { key: 'RetryDownloadCount', unset: 10, given: 9, wrong: 10_001 },
  { key: 'StateScriptTimeoutSeconds', unset: 3600, given: 9, wrong: '9', zero: 3600 },
  { key: 'StateScriptRetryTimeoutSeconds', unset: 1800, given: 9, wrong: '9', zero: 1800 },
  { key: 'StateScriptRetryIntervalSeconds', unset: 60, given: 9, wrong: '9', zero: 60 },
  { key: 'ModuleTimeoutSeconds', unset: 14_400, given: 9, wrong: '9', zero: 14_400 },
  { key: 'ArtifactVerifyKey', unset: '', given: '/v.pub', wrong: ['/v.pub'] },
  {
    key: 'ArtifactVerifyKeys',
    unset: [],
    given: ['/v.pub', '/w.pub', '/v.pub'],
    effective: ['/v.pub', '/w.pub'],
    wrong: '/v.pub',
  },
  { key: 'UpdateLogPath', unset: '%R/data', given: '/log', wrong: 1 },
  { key: 'DaemonLogLevel', unset: 'info', given: 'Warning', effective: 'warn', wrong: 1 },
  { key: 'DBus.Enabled', unset: true, given: false, wrong: 'no' },
  { key: 'UpdateControlMapExpirationTimeSeconds', unset: 3600, given: 9, wrong: '9', zero: 3600 },
  { key: 'UpdateControlMapBootExpirationTimeSeconds', unset: 600, given: 9, wrong: '9', zero: 600 },
  { key: 'RootfsPartA', unset: '', given: '/dev/a', wrong: 1 },
  { key: 'RootfsPartB', unset: '', given: '/dev/b', wrong: 1 },
  { key: 'BootUtilitiesSetActivePart', unset: '', given: 'set', wrong: 1 },
  { key: 'BootUtilitiesGetNextActivePart', unset: '', given: 'get', wrong: 1 },
  { key: 'DeviceTier', unset: 'standard', given: 'micro', wrong: 'huge' },
  { key: 'UpdateControlMapPollIntervalSeconds', unset: '', given: 9, wrong: '9' },
];

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-keys-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function put(name: 'conf' | 'data', members: object): Promise<void> {
  const path = join(root, name, 'mender.conf');
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `\n${JSON.stringify(members)}`);
}
const load = (options: ConfigOptions = {}): Promise<LoadedSettings> =>
  loadSettings(options, {
    MENDER_CONF_DIR: join(root, 'conf'),
    MENDER_DATASTORE_DIR: join(root, 'data'),
    HOLDPOINT_CONF_DIR: join(root, 'holdpoint'),
  });

function nested(key: string, value: unknown): Record<string, unknown> {
  const [first = '', second] = key.split('.');
  return { [first]: second === undefined ? value : { [second]: value } };
}

/** Value and origin as check-config tells them. */
function told({ origins }: LoadedSettings, key: string): readonly [unknown, string] {
  const line = origins.find((one) => one.key === key);
  if (line === undefined) throw new Error(`check-config does not tell ${key}`);
  const hidden = (text: string): string => text.replaceAll(root, '%R');
  return [JSON.parse(hidden(line.valueJson)), hidden(originText(line.origin))];
}

describe('the table', () => {
  it('has every key there is', () => {
    expect(ROWS.map(({ key }) => key)).toEqual(Object.keys(MENDER_RULES));
  });
});

describe.each(ROWS)('$key', ({ key, unset, given, wrong, zero, ...row }) => {
  const effective = 'effective' in row ? row.effective : given;

  it('has its default', async () => {
    expect(told(await load(), key)).toEqual([unset, 'default']);
  });

  it('is read, in any letter case, and told with file and line', async () => {
    await put('conf', nested(key.toUpperCase(), given));
    expect(told(await load(), key)).toEqual([effective, '%R/conf/mender.conf:2']);
  });

  it('of the fallback file gives way to the main file', async () => {
    await put('data', nested(key, given));
    expect(told(await load(), key)).toEqual([effective, '%R/data/mender.conf:2']);
    // null is unset, so the fallback still counts.
    await put('conf', nested(key, null));
    expect(told(await load(), key)[0]).toEqual(effective);
    await put('data', nested(key, wrong));
    await put('conf', nested(key, given));
    expect(told(await load(), key)).toEqual([effective, '%R/conf/mender.conf:2']);
  });

  it('of the wrong type or range is ignored with a warning that names it; as Mender 3.x it is fatal', async () => {
    await put('conf', nested(key, wrong));
    const loaded = await load();
    expect(loaded.warnings.join('\n')).toContain(`mender.conf:2: ${key}: found `);
    expect(loaded.warnings.join('\n')).not.toContain('tt-1');
    const isUnknownTo3 = key === 'DeviceTier' || key === 'RetryDownloadCount';
    const strict = load({ generation: 3 });
    if (isUnknownTo3) expect(told(await strict, key)).toEqual([unset, 'default']);
    else await expect(strict).rejects.toMatchObject({ kind: 'config' });
    // A doubtful key for signatures must not loosen the check.
    if (key.startsWith('ArtifactVerify')) {
      expect(loaded.settings.verifyKeyPaths).toEqual([join(root, 'conf/mender.conf')]);
    } else expect(told(loaded, key)).toEqual([unset, 'default']);
  });

  it.runIf(zero !== undefined)('stands for its default with 0', async () => {
    await put('conf', nested(key, 0));
    expect(told(await load(), key)[0]).toBe(zero);
    await put('conf', nested(key, -1));
    const loaded = await load();
    expect(told(loaded, key)[0]).toBe(zero);
    expect(loaded.warnings.join('\n')).toContain(key);
  });
});

describe('options', () => {
  it.each([
    [{ trustedCerts: '/o.crt' }, 'ServerCertificate', '/o.crt', '--trusted-certs'],
    [{ skipVerify: true }, 'SkipVerify', true, '--skipverify'],
    [{ logLevel: 'error' }, 'DaemonLogLevel', 'error', '--log-level'],
  ] as const)('%j wins over both files', async (options, key, value, name) => {
    await put('conf', nested(key, key === 'SkipVerify' ? false : 'info'));
    expect(told(await load(options), key)).toEqual([value, `option ${name}`]);
  });

  it('as Mender 3.x: a named file may be missing, and a broken one is fatal at its default path', async () => {
    const missing = join(root, 'nowhere');
    await expect(load({ config: missing })).rejects.toMatchObject({ kind: 'config' });
    await expect(load({ config: missing, generation: 3 })).resolves.toMatchObject({ warnings: [] });
    await mkdir(join(root, 'data'), { recursive: true });
    await writeFile(join(root, 'data/mender.conf'), '{');
    expect((await load()).warnings.join()).toContain('the file is ignored');
    await expect(load({ generation: 3 })).rejects.toMatchObject({ kind: 'config' });
  });

  it('no password of a URL is told', async () => {
    await put('conf', { Servers: [{ ServerURL: 'https://user:secret@a.example' }] });
    expect(told(await load(), 'Servers')[0]).toEqual([{ ServerURL: 'https://(set)@a.example' }]);
  });
});

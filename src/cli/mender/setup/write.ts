/**
 * Writes what `mender setup` was told. Keys that were not asked for stay as they are in the file, unknown ones included
 * (Mender's setup drops those). Source: spec/configuration.md section 4.5.
 */
import { randomBytes } from 'node:crypto';
import { access, mkdir, open, realpath, rename, rm } from 'node:fs/promises';
import { constants } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseJson, plainValue } from '../../../config/json.ts';
import { readJsonFile } from '../../../config/layers.ts';
import { UpdateError } from '../../../core/errors.ts';
import type { Answers } from './questions.ts';

export interface SetupFiles {
  readonly config: string;
  /** Another file that counts where `config` says nothing. */
  readonly fallbackConfig: string;
  readonly datastore: string;
}

/** Where Mender's packages put the certificate of a demo server, older and newer ones. */
export const DEMO_CERTIFICATES = [
  '/usr/share/doc/mender-client/examples/demo.crt',
  '/usr/share/doc/mender-auth/examples/demo.crt',
] as const;

/** Before anything is asked: whether it could be written. Makes the folders. Rejects with kind `config`. */
export async function requireWritable({ config, datastore }: SetupFiles): Promise<void> {
  for (const [folder, mode] of [
    [dirname(config), 0o755],
    [datastore, 0o700],
  ] as const) {
    try {
      await mkdir(folder, { recursive: true, mode });
      await access(folder, constants.W_OK | constants.X_OK);
    } catch (cause) {
      throw new UpdateError('config', `${folder} cannot be written to: ${messageOf(cause)}`, { cause });
    }
  }
}

/** Each file whole or not at all, the configuration first. Rejects with kinds `config`, `store`, `noSpace`. */
export async function writeSetup(
  files: SetupFiles,
  answers: Answers,
  demoCertificate: string,
): Promise<void> {
  const before = await readJsonFile(files.config);
  if (before !== null && before.kind !== 'object') {
    throw new UpdateError('config', `${files.config}: expected an object; move the file out of the way`);
  }
  const merged = mergeAnswers(before === null ? {} : (plainValue(before) as Members), answers, {
    deviceTypeFile: join(files.datastore, 'device_type'),
    hasFallbackServer: await namesServerUrl(files.fallbackConfig),
    demoCertificate,
  });
  const text = `${JSON.stringify(merged, null, 4)}\n`;
  // What is written is what will be read.
  parseJson(text, files.config);
  await replaceFile(files.config, text, 0o600);
  await replaceFile(join(files.datastore, 'device_type'), `device_type=${answers.deviceType}\n`, 0o644);
}

type Members = Readonly<Record<string, unknown>>;

export interface Circumstances {
  readonly deviceTypeFile: string;
  /** The fallback file has a ServerURL, which must not count beside `Servers`. */
  readonly hasFallbackServer: boolean;
  readonly demoCertificate: string;
}

/** Letter case of keys does not matter in the file, so neither does it here. Exported for its test. */
export function mergeAnswers(before: Members, answers: Answers, around: Circumstances): Members {
  const { intervals, isDemoPolling, demoServerIp, serverUrl, tenantToken } = answers;
  const certificate = demoServerIp === null ? answers.serverCertificate : around.demoCertificate;
  /** undefined = the key is removed. */
  const changes: Readonly<Record<string, unknown>> = {
    DeviceTypeFile: around.deviceTypeFile,
    UpdatePollIntervalSeconds: intervals.update,
    InventoryPollIntervalSeconds: intervals.inventory,
    RetryPollIntervalSeconds: intervals.retry,
    ...(isDemoPolling && {
      UpdateControlMapExpirationTimeSeconds: 90,
      UpdateControlMapBootExpirationTimeSeconds: 45,
    }),
    ServerCertificate: certificate === '' ? undefined : certificate,
    TenantToken: tenantToken === '' ? undefined : tenantToken,
    Servers: [{ ServerURL: serverUrl }],
    // Both at once are an error; an empty one takes away that of the fallback file.
    ServerURL: around.hasFallbackServer ? '' : undefined,
  };
  const changed = new Set(Object.keys(changes).map((key) => key.toLowerCase()));
  const kept = Object.entries(before).filter(([key]) => !changed.has(key.toLowerCase()));
  return Object.fromEntries([...kept, ...Object.entries(changes).filter(([, value]) => value !== undefined)]);
}

async function namesServerUrl(path: string): Promise<boolean> {
  const node = await readJsonFile(path).catch(() => null);
  if (node?.kind !== 'object') return false;
  return node.members.some(
    ({ key, value }) => key.toLowerCase() === 'serverurl' && value.kind === 'scalar' && value.value !== '',
  );
}

/** A link stays a link: it may lead to the partition that outlives an update. */
async function replaceFile(path: string, text: string, mode: number): Promise<void> {
  const target = await realpath(path).catch(() => path);
  const temporary = `${target}.${randomBytes(6).toString('hex')}.new`;
  try {
    try {
      const file = await open(temporary, 'wx', mode);
      try {
        await file.chmod(mode);
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, target);
    } finally {
      await rm(temporary, { force: true });
    }
    const folder = await open(dirname(target), constants.O_RDONLY | constants.O_DIRECTORY);
    await folder.sync().finally(() => folder.close());
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const kind = code === 'ENOSPC' || code === 'EDQUOT' ? 'noSpace' : 'store';
    throw new UpdateError(kind, `${path} cannot be written: ${messageOf(cause)}`, { cause });
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

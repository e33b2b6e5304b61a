/**
 * A device in a folder: configuration, update modules, datastore, and a control folder through which the probe module
 * and the probe scripts say what they were called with and are told what to do (probe-common.sh).
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { HoldPoint } from '../../src/core/hold-point.ts';

const run = promisify(execFile);
const SUPPORT = resolve('test/support');

/** A state script that finds the control folder of the device it lies on, wherever its artifact was made. */
const SCRIPT_TEXT = [
  '#!/bin/sh',
  'HOLDPOINT_PROBE_DIR="${0%/*}/../../control"',
  `HOLDPOINT_PROBE_LIB='${SUPPORT}'`,
  `. '${SUPPORT}/probe-script.sh'`,
  '',
].join('\n');

export const DEVICE_TYPE = 'test-device';
export const PAYLOAD_TYPE = 'probe';

export interface ConsentRule {
  readonly consent?: 'none' | 'required';
  readonly timeout?: number;
  readonly 'on-expire'?: 'continue' | 'fail' | 'keep-waiting';
  readonly ceiling?: number;
  readonly 'on-ceiling'?: 'continue' | 'fail';
}

export const ASK: ConsentRule = { consent: 'required', 'on-expire': 'fail' };

export interface DeviceOptions {
  readonly points?: Partial<Record<HoldPoint, ConsentRule>>;
  /** Into mender.conf. */
  readonly menderConf?: Readonly<Record<string, unknown>>;
  /** Into holdpoint.json. */
  readonly holdpointConf?: Readonly<Record<string, unknown>>;
  /** What the probe module answers. */
  readonly needsReboot?: 'No' | 'Yes' | 'Automatic';
  readonly supportsRollback?: boolean;
  /** Rootfs scripts to install, by name. */
  readonly scripts?: readonly string[];
  /** The datastore is a file system of its own with so many KiB. Needs root. */
  readonly datastoreKiB?: number;
}

export interface Device {
  readonly folder: string;
  readonly conf: string;
  readonly share: string;
  readonly data: string;
  readonly control: string;
  readonly stateDirectory: string;
  readonly installedFolder: string;
  readonly bootIdFile: string;
  readonly pidFile: string;
  readonly logFile: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Module actions and script names in the order they were called. */
  calls(): Promise<readonly string[]>;
  /** Writes an order for an action, see probe-common.sh. */
  order(action: string, kind: string, text?: string): Promise<void>;
  /** kill -9 of the service when the action is called, once. */
  orderKill(action: string): Promise<void>;
  cancelOrder(action: string, kind: string): Promise<void>;
  /** From here on the machine has been booted another time. */
  newBoot(): Promise<string>;
  dispose(): Promise<void>;
}

export async function makeDevice(options: DeviceOptions = {}): Promise<Device> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-device-'));
  const at = (...names: string[]): string => join(folder, ...names);
  const control = at('control');
  const data = at('data');
  const modules = at('share/modules/v3');
  const identity = at('share/identity');
  for (const path of [control, data, modules, identity, at('conf/scripts'), at('holdpoint')]) {
    await mkdir(path, { recursive: true });
  }
  if (options.datastoreKiB !== undefined) {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${options.datastoreKiB}k`, 'holdpoint-test', data]);
  }
  const bootIdFile = at('boot_id');
  const pidFile = at('service.pid');
  const newBoot = async (): Promise<string> => {
    const bootId = randomUUID();
    await writeFile(bootIdFile, `${bootId}\n`);
    return bootId;
  };

  await newBoot();
  await writeFile(join(data, 'device_type'), `device_type=${DEVICE_TYPE}\n`);
  await program(join(identity, 'mender-device-identity'), '#!/bin/sh\necho serial=test-0001\n');
  await program(
    join(modules, PAYLOAD_TYPE),
    `#!/bin/sh\nexport HOLDPOINT_PROBE_DIR='${control}' HOLDPOINT_PROBE_LIB='${SUPPORT}'\nexec '${SUPPORT}/probe-module.sh' "$@"\n`,
  );
  // The host goes down at once and is up again, booted anew, when the service is started the next time.
  await program(
    at('reboot'),
    `#!/bin/sh\necho Reboot >>'${control}/calls'\n[ -f '${control}/Reboot.fail' ] && exit 1\n` +
      `cat /proc/sys/kernel/random/uuid >'${bootIdFile}'\nkill -KILL "$(cat '${pidFile}')"\n`,
  );
  for (const name of options.scripts ?? []) await program(at('conf/scripts', name), SCRIPT_TEXT);
  await writeFile(at('conf/mender.conf'), JSON.stringify(options.menderConf ?? {}));
  await writeFile(
    at('holdpoint/holdpoint.json'),
    JSON.stringify({ RebootCommand: at('reboot'), Points: options.points ?? {}, ...options.holdpointConf }),
  );
  await writeFile(join(control, 'NeedsArtifactReboot.answer'), options.needsReboot ?? 'No');
  await writeFile(
    join(control, 'SupportsRollback.answer'),
    options.supportsRollback === false ? 'No' : 'Yes',
  );

  const orderFile = (action: string, kind: string): string => join(control, `${action}.${kind}`);
  const order = (action: string, kind: string, text = ''): Promise<void> =>
    writeFile(orderFile(action, kind), text);
  return {
    folder,
    conf: at('conf'),
    share: at('share'),
    data,
    control,
    stateDirectory: join(data, 'holdpoint'),
    installedFolder: join(control, 'received'),
    bootIdFile,
    pidFile,
    logFile: at('service.log'),
    environment: {
      PATH: process.env['PATH'],
      MENDER_CONF_DIR: at('conf'),
      MENDER_DATA_DIR: at('share'),
      MENDER_DATASTORE_DIR: data,
      HOLDPOINT_CONF_DIR: at('holdpoint'),
    },
    calls: async () => {
      const text = await readFile(join(control, 'calls'), 'utf8').catch(() => '');
      return text.split('\n').filter((line) => line !== '');
    },
    order,
    orderKill: (action) => order(action, 'kill-service', pidFile),
    cancelOrder: (action, kind) => rm(orderFile(action, kind), { force: true }),
    newBoot,
    dispose: async () => {
      if (options.datastoreKiB !== undefined) await run('umount', ['--lazy', data]).catch(() => {});
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

async function program(path: string, text: string): Promise<void> {
  await writeFile(path, text);
  await chmod(path, 0o755);
}

export interface ArtifactOptions {
  readonly name?: string;
  /** Names of state scripts to carry. */
  readonly scripts?: readonly string[];
  readonly payload?: Uint8Array | string;
  readonly payloadType?: string;
  readonly deviceType?: string;
  /** PEM file to sign with. */
  readonly signKey?: string;
  /** Further arguments of `mender-artifact write module-image`. */
  readonly more?: readonly string[];
  /** No payload, only provides. */
  readonly isEmpty?: boolean;
}

let made = 0;

/** A real artifact for the device, made by `mender-artifact`. Resolves with its path. */
export async function makeArtifact(
  device: Pick<Device, 'folder'>,
  options: ArtifactOptions = {},
): Promise<string> {
  const { name = 'release-2', scripts = [], payload = 'the new version\n' } = options;
  const work = join(device.folder, `artifact-${++made}`);
  await mkdir(join(work, 'scripts'), { recursive: true });
  await writeFile(join(work, 'greeting'), payload);
  for (const script of scripts) await program(join(work, 'scripts', script), SCRIPT_TEXT);
  const path = join(work, `${name}.mender`);
  await run('mender-artifact', [
    'write',
    options.isEmpty ? 'bootstrap-artifact' : 'module-image',
    ...(options.isEmpty ? [] : ['-T', options.payloadType ?? PAYLOAD_TYPE, '-f', join(work, 'greeting')]),
    '-t',
    options.deviceType ?? DEVICE_TYPE,
    '-n',
    name,
    '--compression',
    'none',
    ...(options.signKey === undefined ? [] : ['-k', options.signKey]),
    ...(await readdir(join(work, 'scripts')))
      .sort()
      .flatMap((script) => ['-s', join(work, 'scripts', script)]),
    ...(options.more ?? []),
    '-o',
    path,
  ]);
  return path;
}

/** An RSA key pair as PEM files. */
export async function makeKeys(
  device: Pick<Device, 'folder'>,
): Promise<{ readonly secret: string; readonly open: string }> {
  const secret = join(device.folder, 'key.pem');
  const open = join(device.folder, 'key.pub.pem');
  await run('openssl', ['genrsa', '-traditional', '-out', secret, '2048']);
  await run('openssl', ['rsa', '-in', secret, '-pubout', '-out', open]);
  return { secret, open };
}

/**
 * The device of the golden traces: type `bench`, `original` installed, identity `serial=bench-0001`, one inventory value,
 * the probe module, and a state script for every transition. Modules and scripts say when they ran in one file.
 */
import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { makeArtifact } from '../support/device.ts';
import { ServiceHarness } from '../support/service.ts';
import type { ProgramLine, TraceHead } from './trace.ts';

const run = promisify(execFile);
const MODULE = resolve('test/support/probe-module.sh');
const DEVICE_TYPE = 'bench';

const scriptNames = (families: readonly string[]): readonly string[] =>
  families.flatMap((family) => ['Enter', 'Leave', 'Error'].map((action) => `${family}_${action}_00`));
const ROOTFS_SCRIPTS = scriptNames(['Idle', 'Sync', 'Download']);
const ARTIFACT_SCRIPTS = scriptNames([
  'ArtifactInstall',
  'ArtifactReboot',
  'ArtifactCommit',
  'ArtifactRollback',
  'ArtifactRollbackReboot',
  'ArtifactFailure',
]);

/** Where modules and scripts write to: time in nanoseconds, `module` or `script`, what. */
const logPath = (service: ServiceHarness): string => join(service.device.folder, 'programs.log');
const stamp = (path: string, kind: 'module' | 'script', what: string): string =>
  `echo "$(date +%s%N) ${kind} ${what}" >>'${path}'`;

export interface GoldenDevice {
  readonly service: ServiceHarness;
  readonly artifact: Buffer;
  /** Makes the server known to the device. Before the start. */
  configure(serverUrl: string): Promise<void>;
  programs(): Promise<readonly ProgramLine[]>;
}

export interface GoldenDeviceOptions {
  readonly head: TraceHead;
  readonly artifactName: string;
}

export async function makeGoldenDevice({ head, artifactName }: GoldenDeviceOptions): Promise<GoldenDevice> {
  const probe = (head.probe ?? '').split(' ');
  const service = await ServiceHarness.create({
    supportsRollback: !probe.includes('ROLLBACK=No'),
    // How often it would be said depends on the machine: docs/decisions/0032.
    holdpointConf: { DownloadReportInterval: 0 },
  });
  const { device } = service;
  const at = (...names: readonly string[]): string => join(device.folder, ...names);
  const path = logPath(service);
  // `success-plain` is there to have a trace without any.
  const hasScripts = head.trace !== 'success-plain';

  await writeFile(join(device.data, 'device_type'), `device_type=${DEVICE_TYPE}\n`);
  for (const folder of ['identity', 'inventory'])
    await mkdir(join(device.share, folder), { recursive: true });
  await program(join(device.share, 'identity/mender-device-identity'), 'echo serial=bench-0001');
  await program(join(device.share, 'inventory/mender-inventory-probe'), 'echo probe=1');
  await program(join(device.share, 'modules/v3/probe'), moduleText(path, device.control));
  await writeFile(join(device.control, 'stream'), '');
  for (const rule of probe) {
    const [, failing] = /^FAIL=(.+)$/.exec(rule) ?? [];
    if (failing !== undefined) await device.order(failing, 'fail');
  }
  if (hasScripts) {
    for (const name of ROOTFS_SCRIPTS) await program(at('conf/scripts', name), scriptText(path));
  }
  const bootstrap = await makeArtifact(device, { name: 'original', isEmpty: true, deviceType: DEVICE_TYPE });
  await copyFile(bootstrap, join(device.data, 'bootstrap.mender'));

  const isLarge = head.trace === 'download-resume';
  const payload = at('payload.bin');
  await writeFile(payload, Buffer.alloc(isLarge ? 2_097_152 : 65_536, 'holdpoint'));
  const scripts = hasScripts ? ARTIFACT_SCRIPTS : [];
  await mkdir(at('artifact-scripts'));
  for (const name of scripts) await program(at('artifact-scripts', name), scriptText(path));
  const artifactPath = at('artifact.mender');
  const deviceType = head.trace === 'wrong-device-type' ? 'other-device' : DEVICE_TYPE;
  const written = `write module-image -T probe -t ${deviceType} -n ${artifactName} --compression none`.split(
    ' ',
  );
  const carried = scripts.flatMap((name) => ['-s', at('artifact-scripts', name)]);
  await run('mender-artifact', [...written, '-f', payload, '-o', artifactPath, ...carried]);
  return {
    service,
    artifact: await readFile(artifactPath),
    configure: (serverUrl) =>
      writeFile(at('conf/mender.conf'), JSON.stringify({ ServerURL: serverUrl, ...head.conf })),
    programs: async () => {
      const text = await readFile(path, 'utf8').catch(() => '');
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line): ProgramLine => {
          const [, nanoseconds = '', src = '', what = ''] = /^(\d+) (module|script) (.*)$/.exec(line) ?? [];
          return { t: Number(BigInt(nanoseconds) / 1000n) / 1e6, src: src as ProgramLine['src'], what };
        });
    },
  };
}

async function program(path: string, text: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
}

function scriptText(path: string): string {
  return stamp(path, 'script', '${0##*/}');
}

/** The probe module, with its calls, what it read and its failures written down as the traces have them. */
function moduleText(path: string, control: string): string {
  return [
    stamp(path, 'module', '$1'),
    `HOLDPOINT_PROBE_DIR='${control}' '${MODULE}' "$@"`,
    'status=$?',
    `[ $status -ne 0 ] && ${stamp(path, 'module', 'fail $1')}`,
    `case "$1" in Download*) for file in '${control}'/received/*; do`,
    `  [ -f "$file" ] && ${stamp(path, 'module', 'stream ${file##*/} $(stat -c %s "$file")')}`,
    'done ;; esac',
    'exit $status',
  ].join('\n');
}

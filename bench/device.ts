/**
 * A device for one client: folders like those under /etc/mender, /usr/share/mender and /var/lib/mender, with update
 * modules that do as good as nothing and leave a mark of what they and the scripts were called for.
 */
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DEVICE_TYPE } from './payloads.ts';

export interface Device {
  readonly conf: string;
  readonly data: string;
  readonly datastore: string;
  /** A line for each commit of a module, and for each state script that has run. */
  marks(): Promise<readonly string[]>;
  /** As new: nothing installed, no marks. */
  reset(): Promise<void>;
}

/** `STREAM` reads the payload through the named pipes, `NOTHING` ignores it. */
export const MODULE = { stream: 'bench-stream', nothing: 'bench-nothing' } as const;

export async function createDevice(root: string): Promise<Device> {
  const marksPath = join(root, 'marks');
  const device: Device = {
    conf: join(root, 'conf'),
    data: join(root, 'share'),
    datastore: join(root, 'datastore'),
    marks: async () => (await readFile(marksPath, 'utf8')).split('\n').slice(0, -1),
    reset: async () => {
      await rm(device.datastore, { recursive: true, force: true });
      await mkdir(device.datastore, { recursive: true });
      await writeFile(join(device.datastore, 'device_type'), `device_type=${DEVICE_TYPE}\n`);
      await writeFile(marksPath, '');
    },
  };
  await mkdir(join(device.conf, 'scripts'), { recursive: true });
  await mkdir(join(device.data, 'modules/v3'), { recursive: true });
  // The old client reads what is installed from this file as long as its store says nothing.
  await writeFile(join(device.conf, 'artifact_info'), 'artifact_name=original\n');
  await writeFile(join(device.conf, 'mender.conf'), '{}\n');
  const mark = `[ "$1" != ArtifactCommit ] || echo commit >> '${marksPath}'`;
  const read = `while l=$(cat stream-next) && [ -n "$l" ]; do cat "$l" > /dev/null; done`;
  await program(join(device.data, 'modules/v3', MODULE.stream), `[ "$1" != Download ] || ${read}\n${mark}`);
  await program(join(device.data, 'modules/v3', MODULE.nothing), mark);
  await device.reset();
  return device;
}

/** State scripts that leave a mark and do nothing else; @returns their paths. */
export async function writeScripts(
  folder: string,
  device: string,
  transitions: readonly string[],
  each: number,
): Promise<readonly string[]> {
  await mkdir(folder, { recursive: true });
  const names = transitions.flatMap((transition) =>
    Array.from({ length: each }, (_, index) => `${transition}_${String(index).padStart(2, '0')}`),
  );
  const paths = names.map((name) => join(folder, name));
  for (const path of paths) await program(path, `echo script >> '${join(device, 'marks')}'`);
  return paths;
}

async function program(path: string, body: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${body}\nexit 0\n`);
  await chmod(path, 0o755);
}

/** A service in a control group that leaves it 64 MiB beyond what it has when it is idle (design/faults.md R29). */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, readFile, rmdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { DEVICE_TYPE } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { withService, type ServiceHarness } from '../support/service.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;
export const HEADROOM_BYTES = 64 * MIB;

/** Takes the file and keeps nothing; eats memory where `control/eat` is there. */
const SINK = (control: string): string => `#!/bin/sh
echo "$1" >>'${control}/calls'
case "$1" in
Download)
    while :; do
        line=$(cat stream-next)
        [ -n "$line" ] || break
        cat "$line" >/dev/null || exit 1
    done ;;
ArtifactInstall) [ ! -e '${control}/eat' ] || exec python3 -c 'kept = bytearray(512 * 1024 * 1024)' ;;
SupportsRollback) echo Yes ;;
esac
exit 0
`;

export interface MemoryGroup {
  add(pid: number): Promise<void>;
  dispose(): Promise<void>;
}

/**
 * A control group of that many bytes, version 1 or 2, whichever this machine has; null = none can be made. What a process
 * has before it joins is not counted, so the limit is headroom.
 */
export async function makeMemoryGroup(bytes: number): Promise<MemoryGroup | null> {
  const versions: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
    ['/sys/fs/cgroup/memory', { 'memory.limit_in_bytes': String(bytes), 'memory.swappiness': '0' }],
    ['/sys/fs/cgroup', { 'memory.max': String(bytes), 'memory.swap.max': '0' }],
  ];
  for (const [hierarchy, settings] of versions) {
    const group = join(hierarchy, `holdpoint-test-${randomUUID()}`);
    try {
      await mkdir(group);
    } catch {
      continue;
    }
    const [limit = '', ...rest] = Object.keys(settings);
    const set = (name: string): Promise<void> =>
      writeFile(join(group, name), settings[name] ?? '', { flag: 'r+' });
    try {
      await set(limit);
    } catch {
      await rmdir(group);
      continue;
    }
    for (const name of rest) await set(name).catch(() => {});
    return {
      add: (pid) => writeFile(join(group, 'cgroup.procs'), String(pid), { flag: 'r+' }),
      dispose: () =>
        eventually('the control group is empty', () =>
          rmdir(group).then(
            () => true,
            () => false,
          ),
        ),
    };
  }
  return null;
}

async function residentBytes(pid: number, field: 'VmHWM' | 'VmRSS'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
}

/** An artifact whose one file is that large; small on disk, as it is all zeros. */
async function largeArtifact({ device }: ServiceHarness, bytes: number): Promise<string> {
  const file = join(device.folder, 'large');
  await writeFile(file, '');
  await truncate(file, bytes);
  const path = join(device.folder, 'large.mender');
  const what = ['-T', 'sink', '-t', DEVICE_TYPE, '-n', 'release-2', '-f', file];
  await run('mender-artifact', ['write', 'module-image', ...what, '--compression', 'gzip', '-o', path]);
  return path;
}

async function withSink(use: (service: ServiceHarness) => Promise<void>): Promise<void> {
  await withService({}, async (service) => {
    const module = join(service.device.share, 'modules/v3/sink');
    await writeFile(module, SINK(service.device.control));
    await chmod(module, 0o755);
    await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
    await use(service);
  });
}

/** Installs an artifact with a file of that size; fails when the service needs more than it may. */
export async function installWithin(bytes: number, withinMs: number): Promise<void> {
  await withSink(async (service) => {
    const artifact = await largeArtifact(service, bytes);
    const before = await residentBytes(service.pid, 'VmRSS');
    const group = await makeMemoryGroup(HEADROOM_BYTES);
    if (group === null)
      console.warn('no control group can be made here: only the resident size is looked at');
    try {
      await group?.add(service.pid);
      await service.install(artifact);
      expect(await service.waitForEnd(withinMs)).toMatchObject({ LastResult: 'success' });
      expect((await residentBytes(service.pid, 'VmHWM')) - before).toBeLessThan(HEADROOM_BYTES);
    } finally {
      await service.terminate().catch(() => {});
      await group?.dispose();
    }
  });
}

/** The kernel ends a module for its memory: the update is rolled back, by a service that is still there. */
export async function surviveOutOfMemory(): Promise<void> {
  await withSink(async (service) => {
    const artifact = await largeArtifact(service, MIB);
    // More than the service has: the kernel ends who has most.
    const group = await makeMemoryGroup(4 * HEADROOM_BYTES);
    const { pid } = service;
    try {
      await group?.add(pid);
      await writeFile(join(service.device.control, 'eat'), '');
      await service.install(artifact);
      const end = await service.waitForEnd(60_000);
      if (group !== null) {
        expect(end).toMatchObject({
          LastResult: 'rolled-back',
          LastErrorName: 'io.holdpoint.Update1.Failure.UpdateModule',
        });
        expect(end['LastErrorDetails']).toMatchObject({ signal: 'SIGKILL' });
      }
      expect(service.isRunning && service.pid === pid).toBe(true);
    } finally {
      await service.terminate().catch(() => {});
      await group?.dispose();
    }
  });
}

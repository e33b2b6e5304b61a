import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { builtService } from '../support/built-service.ts';
import type { ServiceHarness } from '../support/service.ts';

/** From now on the service is started in namespaces of its own, prepared by shell commands. Needs root. */
export function wrapped(service: ServiceHarness, namespaces: readonly string[], setup: string): void {
  const { device, bus } = service;
  service.spawn = async (environment = {}) => {
    const run = `${setup} && mount --bind '${device.bootIdFile}' /proc/sys/kernel/random/boot_id && exec "$@"`;
    const program = [process.execPath, await builtService()];
    const log = openSync(device.logFile, 'a');
    try {
      return spawn(
        'unshare',
        ['--mount', '--propagation', 'private', ...namespaces, 'sh', '-c', run, 'sh', ...program],
        {
          stdio: ['ignore', 'ignore', log],
          cwd: '/',
          env: { ...device.environment, DBUS_SYSTEM_BUS_ADDRESS: bus.address, ...environment },
        },
      );
    } finally {
      closeSync(log);
    }
  };
}

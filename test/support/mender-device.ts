/**
 * Debian's `mender` 3.4, unchanged, as a device of its own: it knows only fixed folders, so it runs in a mount
 * namespace in which those are folders of the test. Needs root.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { CommandResult } from './command.ts';
import { insideDevice, type MenderClient } from './mender-client.ts';

const run = promisify(execFile);

export interface MenderDevice {
  readonly folder: string;
  /** Log of the daemon so far. */
  readonly output: () => string;
  /** What the module was called with, in order. */
  calls(): Promise<readonly string[]>;
  start(): void;
  /** Ends the daemon. */
  stop(): Promise<void>;
  /** `mender ARGS`, beside or without the daemon. */
  command(args: readonly string[]): Promise<CommandResult>;
  dispose(): Promise<void>;
}

export interface MenderDeviceOptions {
  readonly serial: string;
  readonly serverUrl: string;
  readonly deviceType: string;
  readonly conf?: Readonly<Record<string, unknown>>;
  /** Actions of the module that fail. */
  readonly failing?: readonly string[];
}

export async function makeMenderDevice(
  client: MenderClient,
  options: MenderDeviceOptions,
): Promise<MenderDevice> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-mender-'));
  const at = (...names: string[]): string => join(folder, ...names);
  for (const name of ['layers', 'conf', 'share/modules/v3', 'share/identity', 'share/inventory', 'data']) {
    await mkdir(at(name), { recursive: true });
  }
  const program = async (path: string, text: string): Promise<void> => {
    await writeFile(path, `#!/bin/sh\n${text}\n`);
    await chmod(path, 0o755);
  };
  const failing = (options.failing ?? []).map((action) => `[ "$1" = ${action} ] && exit 1`).join('\n');
  await program(
    at('share/modules/v3/probe'),
    [
      `echo "$1" >>'${at('calls')}'`,
      failing,
      'case $1 in',
      '  NeedsArtifactReboot) echo No ;;',
      '  SupportsRollback) echo Yes ;;',
      `  ArtifactInstall) cat files/* >'${at('installed')}' ;;`,
      'esac',
      'exit 0',
    ].join('\n'),
  );
  await program(at('share/identity/mender-device-identity'), `echo serial=${options.serial}`);
  await program(at('share/inventory/mender-inventory-probe'), 'echo ram=512\necho nic=eth0\necho nic=wlan0');
  await writeFile(at('data/device_type'), `device_type=${options.deviceType}\n`);
  await writeFile(at('conf/artifact_info'), 'artifact_name=original\n');
  await writeFile(
    at('conf/mender.conf'),
    JSON.stringify({
      ServerURL: options.serverUrl,
      UpdatePollIntervalSeconds: 1,
      InventoryPollIntervalSeconds: 2,
      RetryPollIntervalSeconds: 1,
      RetryPollCount: 5,
      UpdateControlMapExpirationTimeSeconds: 60,
      DBus: { Enabled: false },
      ...options.conf,
    }),
  );
  const argv = (args: readonly string[]): readonly string[] => insideDevice(client, folder, args);
  let output = '';
  let daemon: { readonly end: () => Promise<void> } | null = null;
  const stop = async (): Promise<void> => {
    await daemon?.end();
    daemon = null;
  };
  return {
    folder,
    output: () => output,
    calls: async () =>
      (await readFile(at('calls'), 'utf8').catch(() => '')).split('\n').filter((line) => line !== ''),
    start() {
      const child = spawn('unshare', argv(['--log-level', 'debug', 'daemon']), {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const ended = once(child, 'close');
      child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
      daemon = {
        end: async () => {
          // unshare and sh have become the client: it is this process.
          child.kill('SIGKILL');
          await ended;
        },
      };
    },
    stop,
    command: (args) =>
      run('unshare', argv(args), { timeout: 30_000 }).then(
        ({ stdout, stderr }) => ({ status: 0, signal: null, stdout, stderr }),
        (error: { code?: number; signal?: NodeJS.Signals; stdout?: string; stderr?: string }) => ({
          status: error.code ?? null,
          signal: error.signal ?? null,
          stdout: error.stdout ?? '',
          stderr: error.stderr ?? '',
        }),
      ),
    dispose: async () => {
      await stop();
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

/**
 * `mender daemon` and `mender-update daemon`: this process becomes the service, so that signals and systemd's MainPID
 * mean the service itself. The service is the program beside the real file of this command.
 */
import { realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { ConfigOptions } from '../../config/load.ts';
import { UpdateError } from '../../core/errors.ts';

const SERVICE = 'holdpointd.js';

/** Options of holdpointd(8). */
export function serviceArguments(options: ConfigOptions, logFile: string | undefined): readonly string[] {
  const named = {
    config: options.config,
    'fallback-config': options.fallbackConfig,
    data: options.data,
    'trusted-certs': options.trustedCerts,
    'passphrase-file': options.passphraseFile,
    'log-level': options.logLevel,
    'log-file': logFile,
  };
  const given = Object.entries(named).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}=${value}`],
  );
  return options.skipVerify === true ? [...given, '--skipverify'] : given;
}

/** Returns once the service has been loaded; it runs on by itself. Throws kind `config` where there is none. */
export function runService(calledAs: string, args: readonly string[]): void {
  const path = join(dirname(realpathSync(calledAs)), SERVICE);
  const load = createRequire(path);
  try {
    load.resolve(path);
  } catch (cause) {
    throw new UpdateError('config', `the service ${path} is not there`, { cause });
  }
  process.argv = [process.execPath, path, ...args];
  load(path);
}

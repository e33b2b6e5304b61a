/**
 * bootstrap: the device key, and one login. `mender` fails when the login does, `mender-auth` does not and needs no
 * server. Source: spec/configuration.md sections 2.4 and 4.2.
 */
import { SystemClock } from '../../adapters/system/clock.ts';
import { openServer } from '../../compose-adapters.ts';
import { loadSettings, type ConfigOptions } from '../../config/load.ts';
import type { Settings } from '../../config/settings.ts';
import { UpdateError } from '../../core/errors.ts';
import type { Log } from '../../ports/log.ts';
import type { MenderServer } from '../../adapters/server/mender-server.ts';
import { installedOf } from '../installed.ts';
import { complain } from '../terminal.ts';
import { logOf, settingsOf, type MenderContext } from './context.ts';

/** Of the login by `mender-auth`. */
const LOGIN_LIMIT_MS = 30_000;

export async function bootstrapDevice(context: MenderContext): Promise<number> {
  const { program, around, run, doing } = context;
  const settings = await settingsOf(context);
  const log = await logOf(context);
  const is3 = program.generation === 3;
  // 3.x looks at what is installed here too, so that a bootstrap artifact is taken in.
  if (is3)
    await installedOf(settings, log).catch((error: unknown) => log.warn('Not recorded', { err: error }));
  const server = openKeys(settings, log);
  try {
    if ((run.own.flag('forcebootstrap') ?? run.global.flag('forcebootstrap')) === true) {
      await replaceOrKeep(server, settings, program.generation, log);
    } else await server.keys.load();
    if (settings.servers.length === 0 && !is3) {
      log.info('No server is configured; there is nowhere to log in');
      return 0;
    }
    const { first } = around.interrupts;
    const limit = is3 ? first : AbortSignal.any([first, AbortSignal.timeout(LOGIN_LIMIT_MS)]);
    try {
      await server.authentication.authenticate(limit);
    } catch (error) {
      if (first.aborted || is3) throw error;
      const why = limit.aborted ? `no answer within ${LOGIN_LIMIT_MS / 1000} seconds` : messageOf(error);
      complain(around.terminal, doing, `the key is there, but the login failed: ${why}`);
    }
    return 0;
  } finally {
    await server.close();
  }
}

/** For `daemon --forcebootstrap`. */
export async function replaceKey(options: ConfigOptions, generation: 3 | 5, log: Log): Promise<void> {
  const { settings } = await loadSettings(options);
  const server = openKeys(settings, log);
  try {
    await replaceOrKeep(server, settings, generation, log);
  } finally {
    await server.close();
  }
}

/** A configured key is never replaced: 5.x fails, 3.x says so and goes on. */
async function replaceOrKeep(
  server: MenderServer,
  { authPrivateKey }: Settings,
  generation: 3 | 5,
  log: Log,
): Promise<void> {
  if (authPrivateKey === null || generation === 5) {
    await server.keys.replace();
    return;
  }
  log.error('The device key is set in the configuration and is not replaced', { path: authPrivateKey.key });
  await server.keys.load();
}

function openKeys(settings: Settings, log: Log): MenderServer {
  const describe = (): Promise<never> =>
    Promise.reject(new UpdateError('internal', 'logging in describes no device'));
  return openServer(settings, describe, new SystemClock(), log.child({ component: 'server' }));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * check-update and send-inventory: over the bus where the service is on it, else by signal to the process systemd has for
 * it, as Mender's own commands do. Exit status 0 = it was told, 1 = it was not. Source: spec/configuration.md sections 4.2
 * and 4.4.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { systemBusAddress } from '../../adapters/dbus/address.ts';
import { isNoService, openUpdateClient, refusalNameOf } from '../../adapters/dbus/update-client.ts';
import { UpdateError } from '../../core/errors.ts';
import { inHelpfulWords } from '../refusal-text.ts';
import { complain } from '../terminal.ts';
import type { MenderContext } from './context.ts';

export type Order = 'CheckForUpdate' | 'SendInventory';

const SIGNALS = { CheckForUpdate: 'SIGUSR1', SendInventory: 'SIGUSR2' } as const;
const UNIT = 'holdpointd.service';
const SYSTEMCTL_LIMIT_MS = 10_000;

export async function poke({ around, doing }: MenderContext, order: Order): Promise<number> {
  const told = await overTheBus(systemBusAddress(around.environment), order);
  if (told === 'told') return 0;
  if (told !== 'no-service') {
    // Mender's commands end well once the daemon has been told; that it is busy stands in its log.
    complain(around.terminal, doing, told.refusal);
    return 0;
  }
  await bySignal(order);
  return 0;
}

async function overTheBus(
  address: string,
  order: Order,
): Promise<'told' | 'no-service' | { readonly refusal: string }> {
  const client = await openUpdateClient(address).catch(() => null);
  if (client === null) return 'no-service';
  try {
    await (order === 'CheckForUpdate' ? client.checkForUpdate() : client.sendInventory());
    return 'told';
  } catch (error) {
    if (isNoService(error)) return 'no-service';
    const told = inHelpfulWords(error);
    if (refusalNameOf(error) !== 'WrongState' || !(told instanceof Error)) throw told;
    return { refusal: told.message };
  } finally {
    client.close();
  }
}

async function bySignal(order: Order): Promise<void> {
  const pid = await mainPid();
  try {
    process.kill(pid, SIGNALS[order]);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === 'EPERM' ? 'it needs root' : String(cause);
    throw new UpdateError('bus', `the service (process ${pid}) cannot be told: ${why}`, { cause });
  }
}

/** Whatever systemd says is the service's process; a pid from anywhere else could be somebody else's by now. */
async function mainPid(): Promise<number> {
  const none = (why: string, cause?: unknown): UpdateError =>
    new UpdateError('bus', `no update service is on the bus, and systemd knows none (${why})`, { cause });
  const { stdout } = await promisify(execFile)('systemctl', ['show', '--property=MainPID', UNIT], {
    timeout: SYSTEMCTL_LIMIT_MS,
  }).catch((cause: NodeJS.ErrnoException & { readonly stderr?: string }) => {
    const said = cause.stderr?.trim().split('\n', 1)[0] ?? '';
    throw none(
      cause.code === 'ENOENT' ? 'there is no systemctl' : said === '' ? 'systemctl failed' : said,
      cause,
    );
  });
  const pid = Number(/^MainPID=(\d+)$/m.exec(stdout)?.[1] ?? 0);
  if (!Number.isSafeInteger(pid) || pid <= 1) throw none(`${UNIT} is not running`);
  return pid;
}

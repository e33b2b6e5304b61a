/**
 * The subcommands that speak with the service. Each resolves with the exit status, and rejects with what the one
 * line on standard error is made of.
 */
import { resolve } from 'node:path';
import {
  refusalNameOf,
  type PlainMap,
  type RemoteSnapshot,
  type UpdateClient,
} from '../adapters/dbus/update-client.ts';
import { UpdateError } from '../core/errors.ts';
import { currentSnapshot, follow } from './follow.ts';
import { complain, createProgressView, line, oneLine, type ProgressView, type Terminal } from './terminal.ts';
import {
  failureName,
  historyLines,
  INSTALL_EXIT,
  jsonLine,
  logLine,
  meterOf,
  resultText,
  stateText,
  statusLines,
} from './update-view.ts';
import { waitKey, waitLines } from './wait-text.ts';

export interface ServiceContext {
  readonly client: UpdateClient;
  readonly terminal: Terminal;
  /** Aborts on SIGINT, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal;
  /** 128 + the signal that came. */
  readonly interruptedExitCode: () => number;
}

export const EXIT = { done: 0, failed: 1, timedOut: 3 } as const;

export function isUrl(source: string): boolean {
  return /^https?:\/\//i.test(source);
}

export async function installThroughService(
  context: ServiceContext,
  source: string,
  options: { readonly wait: boolean },
): Promise<number> {
  const { client, terminal, signal } = context;
  // So that nothing is missed, and so that a missing service is told as such.
  await currentSnapshot(client, signal);
  const order = isUrl(source) ? client.installUrl(source) : client.installPath(resolve(source));
  if (!options.wait) {
    line(terminal.out, await order);
    return EXIT.done;
  }
  const interrupted = new Promise<null>((done) =>
    signal.addEventListener('abort', () => done(null), { once: true }),
  );
  const id = await Promise.race([order, interrupted]);
  if (id === null) {
    order.catch(() => {});
    complain(
      terminal,
      `installing ${source}`,
      "the service was asked to, and may begin: see 'holdpoint status'",
    );
    return context.interruptedExitCode();
  }
  line(terminal.out, `Deployment ${id}`);
  return watchDeployment(context, source, id);
}

export async function checkForUpdate({ client }: ServiceContext): Promise<number> {
  await client.checkForUpdate();
  return EXIT.done;
}

export async function sendInventory({ client }: ServiceContext): Promise<number> {
  await client.sendInventory();
  return EXIT.done;
}

async function watchDeployment(context: ServiceContext, source: string, id: string): Promise<number> {
  const { client, terminal, signal } = context;
  const view = createProgressView(terminal.out);
  let last: RemoteSnapshot | null = null;
  let shownWait = '';
  const followed = await follow(client, {
    onChange(change) {
      if (change.kind === 'gone') {
        view.say('The service is gone; waiting for it to come back');
        return undefined;
      }
      if (change.kind === 'signal') {
        return change.member === 'DeploymentFinished' && change.args[1] === id ? true : undefined;
      }
      const { snapshot } = change;
      if (snapshot.deploymentId !== id) return true;
      last = snapshot;
      shownWait = showStep(view, snapshot, shownWait);
      return undefined;
    },
    timeoutMs: null,
    signal,
  }).finally(() => view.clear());
  if (followed.kind === 'interrupted') {
    const where = last === null ? 'under way' : stateText(last);
    complain(
      terminal,
      `installing ${source}`,
      `stopped watching; the update goes on: ${where}. Watch it with 'holdpoint monitor', end it with 'holdpoint abort'`,
    );
    return context.interruptedExitCode();
  }
  return tellResult(context, source, id);
}

/** @returns key of the wait that has been shown */
export function showStep(view: ProgressView, snapshot: RemoteSnapshot, shownWait: string): string {
  const key = waitKey(snapshot);
  if (key !== '' && key !== shownWait) {
    for (const text of waitLines(snapshot)) view.say(text);
  }
  view.show(meterOf(snapshot));
  return key;
}

async function tellResult({ client, terminal }: ServiceContext, source: string, id: string): Promise<number> {
  const entry = await client.historyEntry(id);
  if (entry === null) throw new UpdateError('bus', `the service knows nothing of deployment ${id} any more`);
  const result = textOf(entry, 'result');
  const name = textOf(entry, 'artifact-name') || source;
  if (result === 'success') line(terminal.out, `${name}: ${resultText(result)}.`);
  else {
    const why = `${failureName(textOf(entry, 'error-name'))}: ${textOf(entry, 'error-message')}`;
    complain(terminal, `installing ${name}`, `${resultText(result)}: ${why} (see 'holdpoint log ${id}')`);
  }
  return INSTALL_EXIT[result] ?? EXIT.failed;
}

export async function showStatus(
  { client, terminal, signal }: ServiceContext,
  options: { readonly json: boolean },
): Promise<number> {
  const snapshot = await currentSnapshot(client, signal);
  if (options.json) terminal.out.write(`${jsonLine(snapshot)}\n`);
  else for (const text of statusLines(snapshot, await client.holds())) line(terminal.out, text);
  return EXIT.done;
}

/** All the service gives at once. */
const MAX_HISTORY = 100;

export async function showHistory(
  { client, terminal }: ServiceContext,
  options: { readonly json: boolean },
): Promise<number> {
  for (const entry of await client.history(MAX_HISTORY)) {
    if (options.json) terminal.out.write(`${jsonLine(entry)}\n`);
    else for (const text of historyLines(entry)) line(terminal.out, text);
  }
  return EXIT.done;
}

const LOG_PAGE_LINES = 1000;

/** Without an id: of the update under way, else of the last one. */
export async function showLog(
  { client, terminal, signal }: ServiceContext,
  deploymentId: string | undefined,
): Promise<number> {
  const id = deploymentId ?? (await latestDeployment(client, signal));
  for (let from = 0; ;) {
    const page = await client.log(id, from, LOG_PAGE_LINES).catch((error: unknown) => {
      if (refusalNameOf(error) !== 'UnknownDeployment') throw error;
      throw new UpdateError('invalidArgument', `no log of deployment ${oneLine(id)} is kept`);
    });
    for (const text of page.lines) terminal.out.write(`${logLine(text)}\n`);
    if (page.lines.length === 0 || page.nextLine <= from) return EXIT.done;
    from = page.nextLine;
  }
}

async function latestDeployment(client: UpdateClient, signal: AbortSignal): Promise<string> {
  const { deploymentId } = await currentSnapshot(client, signal);
  if (deploymentId !== '') return deploymentId;
  const [latest] = await client.history(1);
  const id = latest === undefined ? '' : textOf(latest, 'deployment-id');
  if (id === '') throw new UpdateError('wrongState', 'there has been no update yet');
  return id;
}

function textOf(entry: PlainMap, key: string): string {
  const value = entry[key];
  return typeof value === 'string' ? value : '';
}

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
  waitLines,
} from './update-view.ts';

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

async function watchDeployment(context: ServiceContext, source: string, id: string): Promise<number> {
  const { client, terminal, signal } = context;
  const view = createProgressView(terminal.out);
  let last: RemoteSnapshot | null = null;
  let shownTicket = '';
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
      shownTicket = showStep(view, snapshot, shownTicket);
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

/** @returns the ticket that has been shown */
function showStep(view: ProgressView, snapshot: RemoteSnapshot, shownTicket: string): string {
  if (snapshot.waitTicket !== '' && snapshot.waitTicket !== shownTicket) {
    for (const text of waitLines(snapshot)) view.say(text);
  }
  view.show(meterOf(snapshot));
  return snapshot.waitTicket;
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
  else for (const text of statusLines(snapshot)) line(terminal.out, text);
  return EXIT.done;
}

/** Until Ctrl-C, which is how it is meant to end. */
export async function monitor(
  { client, terminal, signal }: ServiceContext,
  options: { readonly json: boolean },
): Promise<number> {
  const view = createProgressView(terminal.out);
  let shownTicket = '';
  let lastResult = '';
  await follow(client, {
    onChange(change) {
      if (options.json) {
        terminal.out.write(`${jsonLine(change.kind === 'snapshot' ? change.snapshot : change)}\n`);
      } else if (change.kind === 'gone') {
        view.say('The service is gone; waiting for it to come back');
      } else if (change.kind === 'snapshot') {
        shownTicket = showStep(view, change.snapshot, shownTicket);
        const result = change.snapshot.lastResult;
        if (lastResult === 'none' && result !== 'none')
          view.say(statusLines(change.snapshot).find(isLastResult) ?? '');
        lastResult = result;
      }
      return undefined;
    },
    timeoutMs: null,
    absenceLimitMs: null,
    signal,
  }).finally(() => view.clear());
  return EXIT.done;
}

function isLastResult(text: string): boolean {
  return text.startsWith('Last result:');
}

export type WaitGoal =
  { readonly kind: 'waiting' | 'finished' } | { readonly kind: 'state'; readonly state: string };

export async function waitFor(
  { client, signal, interruptedExitCode }: ServiceContext,
  goal: WaitGoal,
  timeoutSeconds: number | null,
): Promise<number> {
  const followed = await follow(client, {
    onChange(change): true | undefined {
      if (change.kind === 'snapshot') return isReached(goal, change.snapshot) || undefined;
      // A state may be over before its properties were looked at.
      const isThere = change.kind === 'signal' && change.member === 'StateChanged' && goal.kind === 'state';
      return (isThere && change.args[2] === goal.state) || undefined;
    },
    timeoutMs: timeoutSeconds === null ? null : timeoutSeconds * 1000,
    absenceLimitMs: null,
    signal,
  });
  if (followed.kind === 'interrupted') return interruptedExitCode();
  return followed.kind === 'answer' ? EXIT.done : EXIT.timedOut;
}

function isReached(goal: WaitGoal, { waitTicket, deploymentId, state }: RemoteSnapshot): boolean {
  switch (goal.kind) {
    case 'waiting':
      return waitTicket !== '';
    case 'finished':
      return deploymentId === '';
    case 'state':
      return state === goal.state;
  }
}

/** Without a ticket: the current wait, which is shown first. */
export async function continueWait(
  { client, terminal, signal }: ServiceContext,
  ticket: string | undefined,
): Promise<number> {
  let given = ticket;
  if (given === undefined) {
    const snapshot = await currentSnapshot(client, signal);
    if (snapshot.waitTicket === '') {
      throw new UpdateError('wrongState', `nothing is waiting; the state is ${stateText(snapshot)}`);
    }
    given = snapshot.waitTicket;
    line(terminal.out, `Continuing ${snapshot.artifactName} at ${snapshot.waitPoint}, ticket ${given}`);
  }
  const outcome = await client.proceed(given);
  if (outcome === 'recorded') {
    line(terminal.out, 'Consent is recorded; something else is still waited for:');
    for (const text of waitLines(await currentSnapshot(client, signal))) line(terminal.out, text);
  } else line(terminal.out, 'Going on.');
  return EXIT.done;
}

export type DeploymentOrder = 'abort' | 'rollback' | 'pause' | 'resume';

const ORDERED: Readonly<Record<DeploymentOrder, string>> = {
  abort: 'Aborting',
  rollback: 'Rolling back',
  pause: 'Pausing',
  resume: 'Going on with',
};

/** Orders something for the update under way, which is named. */
export async function orderForDeployment(
  { client, terminal, signal }: ServiceContext,
  order: DeploymentOrder,
  reason: string,
): Promise<number> {
  const { deploymentId: id, artifactName } = await currentSnapshot(client, signal);
  if (id === '') throw new UpdateError('wrongState', 'no update is under way');
  if (order === 'abort' || order === 'rollback') await client[order](id, reason);
  else await client[order](id);
  line(
    terminal.out,
    `${ORDERED[order]} ${artifactName === '' ? 'the update' : artifactName}, deployment ${id}`,
  );
  return EXIT.done;
}

export async function switchUpdates(
  { client, terminal }: ServiceContext,
  isEnabled: boolean,
): Promise<number> {
  await client.setUpdatesEnabled(isEnabled);
  line(terminal.out, `Updates are ${isEnabled ? 'enabled' : 'disabled'}.`);
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

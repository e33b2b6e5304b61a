/**
 * The subcommands that decide about the update under way: go on, later, no, pause, health. Each resolves with the exit
 * status, and rejects with what the one line on standard error is made of.
 */
import type { RemoteContinueOptions, RemoteSnapshot } from '../adapters/dbus/update-client.ts';
import { UpdateError } from '../core/errors.ts';
import { currentSnapshot } from './follow.ts';
import { decisionLine } from './hold-view.ts';
import { EXIT, type ServiceContext } from './service-commands.ts';
import { line, timeText } from './terminal.ts';
import { stateText } from './update-view.ts';
import { isSnoozed, waitLines } from './wait-text.ts';

/** Without a ticket: the current wait, which is shown first. */
export async function continueWait(
  context: ServiceContext,
  ticket: string | undefined,
  options: RemoteContinueOptions = {},
): Promise<number> {
  const { client, terminal, signal } = context;
  const given = ticket ?? (await presentTicket(context, 'Continuing'));
  const outcome = await client.proceed(given, options);
  if (outcome === 'recorded') {
    const snapshot = await currentSnapshot(client, signal);
    line(terminal.out, 'Consent is recorded; something else is still waited for:');
    for (const text of waitLines(snapshot)) line(terminal.out, text);
  } else line(terminal.out, 'Going on.');
  return EXIT.done;
}

/** Without a ticket: the current wait, which is shown first. */
export async function snoozeWait(
  context: ServiceContext,
  ticket: string | undefined,
  seconds: number,
): Promise<number> {
  const { client, terminal } = context;
  const given = ticket ?? (await presentTicket(context, 'Putting off'));
  const untilUsec = await client.snooze(given, seconds);
  line(terminal.out, `Put off until ${timeText(untilUsec)}; then it asks again.`);
  return EXIT.done;
}

/** Names the wait before anything is done about it. */
async function presentTicket(
  { client, terminal, signal }: ServiceContext,
  doing: 'Continuing' | 'Putting off',
): Promise<string> {
  const snapshot = await currentSnapshot(client, signal);
  const { waitTicket, waitPoint, artifactName } = snapshot;
  if (isSnoozed(snapshot)) {
    throw new UpdateError('wrongState', `${snoozeText(snapshot)}; 'holdpoint ask-again' ends that`);
  }
  if (waitTicket === '') {
    throw new UpdateError('wrongState', `nothing is waiting; the state is ${stateText(snapshot)}`);
  }
  line(terminal.out, `${doing} ${artifactName || 'the update'} at ${waitPoint}, ticket ${waitTicket}`);
  return waitTicket;
}

function snoozeText({ blockers }: RemoteSnapshot): string {
  const end = blockers.find(({ kind }) => kind === 'snooze')?.details['end-usec'];
  const until = typeof end === 'number' ? timeText(end) : '';
  return until === '' ? 'nobody is asked at present' : `it is put off until ${until}`;
}

export async function askAgain({ client, terminal, signal }: ServiceContext): Promise<number> {
  const snapshot = await currentSnapshot(client, signal);
  if (snapshot.deploymentId === '') throw new UpdateError('wrongState', 'no update is under way');
  await client.endSnooze(snapshot.deploymentId);
  line(terminal.out, isSnoozed(snapshot) ? 'It asks again now.' : 'It was not put off.');
  return EXIT.done;
}

export async function retryUpdate(
  { client, terminal, signal }: ServiceContext,
  deploymentId: string | undefined,
): Promise<number> {
  const { setAside } = await currentSnapshot(client, signal);
  const ids = setAside.map((entry) => String(entry['deployment-id']));
  if (deploymentId === undefined && ids.length !== 1) {
    const which = ids.length === 0 ? 'no update is set aside' : `several are set aside: ${ids.join(', ')}`;
    throw new UpdateError('wrongState', which);
  }
  const id = deploymentId ?? ids[0] ?? '';
  await client.retryUpdate(id);
  line(terminal.out, `Asking the server for deployment ${id} again.`);
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
  line(terminal.out, `${ORDERED[order]} ${artifactName || 'the update'}, deployment ${id}`);
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

export async function reportHealth(
  { client, terminal, signal }: ServiceContext,
  checker: string,
  verdict: string,
  message: string,
): Promise<number> {
  const { deploymentId } = await currentSnapshot(client, signal);
  if (deploymentId === '') throw new UpdateError('wrongState', 'no update is under way');
  await client.reportHealth(deploymentId, checker, verdict, message);
  line(terminal.out, `Reported ${verdict} for ${checker}, deployment ${deploymentId}`);
  return EXIT.done;
}

/** Exit status by the answer; an answer of a later version counts as no. */
const CAN_EXIT: Readonly<Record<string, number>> = { yes: 0, no: 2, challenge: 3 };

export async function canDo({ client, terminal }: ServiceContext, action: string): Promise<number> {
  const answer = await client.canDo(action);
  line(terminal.out, answer);
  return Object.hasOwn(CAN_EXIT, answer) ? (CAN_EXIT[answer] as number) : 2;
}

/** All the service gives at once. */
const DECISIONS_PAGE = 1000;

/** Proof of consent; as the service wrote it with `json`, one object in each line. */
export async function showDecisions(
  { client, terminal }: ServiceContext,
  options: { readonly json: boolean; readonly from: number },
): Promise<number> {
  for (let from = options.from; ;) {
    const { lines, nextSeq } = await client.decisions(from, DECISIONS_PAGE);
    for (const text of lines) {
      if (options.json) terminal.out.write(`${text}\n`);
      else line(terminal.out, decisionLine(text));
    }
    if (lines.length === 0 || nextSeq <= from) return EXIT.done;
    from = nextSeq;
  }
}

/** The subcommands that look on: a live view, and waiting for something to become so. */
import type { PlainValue, RemoteHold, RemoteSnapshot, UpdateChange } from '../adapters/dbus/update-client.ts';
import type { Subscription } from 'rxjs';
import { durationWords } from './duration.ts';
import { follow } from './follow.ts';
import { holdAsJson, holdSummary } from './hold-view.ts';
import { EXIT, showStep, type ServiceContext } from './service-commands.ts';
import { createProgressView, type ProgressView } from './terminal.ts';
import { jsonLine, statusLines } from './update-view.ts';

/** Until Ctrl-C, which is how it is meant to end. */
export async function monitor(
  { client, terminal, signal }: ServiceContext,
  options: { readonly json: boolean },
): Promise<number> {
  const view = createProgressView(terminal.out);
  const shown: Shown = { wait: '', lastResult: '', holds: null };
  let holdsSubscription: Subscription | null = null;
  const showHolds = (holds: readonly RemoteHold[]): void => {
    if (options.json) {
      terminal.out.write(`${jsonLine({ kind: 'holds', holds: holds.map(holdAsJson) })}\n`);
    } else sayHolds(view, shown, holds);
  };
  await follow(client, {
    onChange(change) {
      if (options.json) {
        terminal.out.write(`${jsonLine(change.kind === 'snapshot' ? change.snapshot : change)}\n`);
      } else sayChange(view, shown, change);
      // Behind the first snapshot, so that a service that is not there is told as such and not as a list without holds.
      if (change.kind === 'snapshot') {
        // An error of the bus ends the following too.
        holdsSubscription ??= client.holds$.subscribe({ next: showHolds, error: () => {} });
      }
      return undefined;
    },
    timeoutMs: null,
    absenceLimitMs: null,
    signal,
  }).finally(() => {
    holdsSubscription?.unsubscribe();
    view.clear();
  });
  return EXIT.done;
}

interface Shown {
  wait: string;
  lastResult: string;
  /** null = not known yet. */
  holds: ReadonlyMap<string, string> | null;
}

function sayChange(view: ProgressView, shown: Shown, change: UpdateChange): void {
  if (change.kind === 'gone') {
    view.say('The service is gone; waiting for it to come back');
  } else if (change.kind === 'signal') {
    if (change.member === 'WaitEnded') view.say(waitEndText(change.args));
  } else {
    const { snapshot } = change;
    shown.wait = showStep(view, snapshot, shown.wait);
    const result = snapshot.lastResult;
    if (shown.lastResult === 'none' && result !== 'none') {
      view.say(statusLines(snapshot).find(isLastResult) ?? '');
    }
    shown.lastResult = result;
  }
}

function isLastResult(text: string): boolean {
  return text.startsWith('Last result:');
}

/** `The wait at ArtifactInstall_Enter is over: continued, by user 0 (holdpoint)`. */
function waitEndText([, , outcome, details]: readonly PlainValue[]): string {
  const facts = typeof details === 'object' && !Array.isArray(details) ? details : {};
  const known = facts as Readonly<Record<string, PlainValue>>;
  const point = typeof known['point'] === 'string' ? ` at ${known['point']}` : '';
  const app = typeof known['by-app'] === 'string' && known['by-app'] !== '' ? ` (${known['by-app']})` : '';
  const who = typeof known['by-uid'] === 'number' ? `, by user ${known['by-uid']}${app}` : '';
  const seconds = typeof known['seconds'] === 'number' ? ` for ${durationWords(known['seconds'])}` : '';
  return `The wait${point} is over: ${String(outcome)}${seconds}${who}`;
}

function sayHolds(view: ProgressView, shown: Shown, holds: readonly RemoteHold[]): void {
  const now = new Map(holds.map((hold): [string, string] => [hold.id, holdSummary(hold)]));
  const before = shown.holds ?? new Map<string, string>();
  for (const [id, text] of now) if (!before.has(id)) view.say(`Held: ${text} (${id})`);
  for (const [id, text] of before) if (!now.has(id)) view.say(`No longer held: ${text} (${id})`);
  shown.holds = now;
}

export type WaitGoal =
  | { readonly kind: 'waiting' | 'going-on' | 'finished' }
  | { readonly kind: 'state'; readonly state: string }
  | { readonly kind: 'point'; readonly point: string };

export async function waitFor(
  { client, signal, interruptedExitCode }: ServiceContext,
  goal: WaitGoal,
  timeoutSeconds: number | null,
): Promise<number> {
  const followed = await follow(client, {
    onChange(change): true | undefined {
      if (change.kind === 'snapshot') return isReached(goal, change.snapshot) || undefined;
      return (change.kind === 'signal' && isPassed(goal, change.member, change.args)) || undefined;
    },
    timeoutMs: timeoutSeconds === null ? null : timeoutSeconds * 1000,
    absenceLimitMs: null,
    signal,
  });
  if (followed.kind === 'interrupted') return interruptedExitCode();
  return followed.kind === 'answer' ? EXIT.done : EXIT.timedOut;
}

/** What was so for a moment may be over before its properties were looked at. */
function isPassed(goal: WaitGoal, member: string, args: readonly PlainValue[]): boolean {
  if (goal.kind === 'state') return member === 'StateChanged' && args[2] === goal.state;
  if (goal.kind === 'point') return member === 'WaitStarted' && args[3] === goal.point;
  return goal.kind === 'waiting' && member === 'WaitStarted';
}

function isReached(goal: WaitGoal, shown: RemoteSnapshot): boolean {
  switch (goal.kind) {
    case 'waiting':
      return shown.waitTicket !== '';
    case 'going-on':
      return shown.waitPoint === '';
    case 'point':
      return shown.waitPoint === goal.point && shown.waitTicket !== '';
    case 'finished':
      return shown.deploymentId === '';
    case 'state':
      return shown.state === goal.state;
  }
}

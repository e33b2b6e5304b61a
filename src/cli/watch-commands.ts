/** The subcommands that look on: a live view, and waiting for something to become so. */
import type {
  PlainValue,
  RemoteHold,
  RemoteSnapshot,
  UpdateChange,
  UpdateClient,
} from '../adapters/dbus/update-client.ts';
import type { Subscription } from 'rxjs';
import { durationWords } from './duration.ts';
import { follow } from './follow.ts';
import { holdAsJson, holdSummary } from './hold-view.ts';
import { createAnswers, keysText, type Keyboard } from './monitor-keys.ts';
import { EXIT, showStep, type ServiceContext } from './service-commands.ts';
import { createProgressView, durationText, type Meter, type ProgressView } from './terminal.ts';
import { jsonLine, meterOf, notesOf, statusLines } from './update-view.ts';
import { blockedLines, waitKey } from './wait-text.ts';

/** Until Ctrl-C, which is how it is meant to end. `keyboard`: of a person who may answer; null = it only looks on. */
export async function monitor(
  { client, terminal, signal }: ServiceContext,
  options: { readonly json: boolean; readonly keyboard: Keyboard | null },
): Promise<number> {
  const view = createProgressView(terminal.out);
  const shown: Shown = { wait: '', notes: '', lastResult: '', holds: null };
  const keyed = options.keyboard === null ? null : withKeys(options.keyboard, client, view);
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
      } else sayChange(view, shown, change, keyed);
      // Behind the first snapshot, so that a service that is not there is told as such and not as a list without holds.
      if (change.kind === 'snapshot') {
        // An error of the bus ends the following too.
        holdsSubscription ??= client.holds$.subscribe({ next: showHolds, error: () => {} });
      }
      return undefined;
    },
    timeoutMs: null,
    absenceLimitMs: null,
    signal: keyed === null ? signal : AbortSignal.any([signal, keyed.quit]),
  }).finally(() => {
    keyed?.end();
    holdsSubscription?.unsubscribe();
    view.clear();
  });
  return EXIT.done;
}

interface Keyed {
  /** Aborts when the person has had enough. */
  readonly quit: AbortSignal;
  show(snapshot: RemoteSnapshot | null): void;
  end(): void;
}

const COUNTDOWN_MS = 1000;

/** The keys, and the bar of a question with the time that is left for it. */
function withKeys(keyboard: Keyboard, client: UpdateClient, view: ProgressView): Keyed {
  const quit = new AbortController();
  let shown: RemoteSnapshot | null = null;
  const answers = createAnswers({ client, say: (text) => view.say(text), onQuit: () => quit.abort() });
  const stopListening = keyboard.listen((key) => answers.press(key));
  // The time left is this side's: nothing is asked of the service for it.
  const countdown = setInterval(() => shown !== null && view.show(questionMeter(shown)), COUNTDOWN_MS);
  return {
    quit: quit.signal,
    show(snapshot) {
      shown = snapshot;
      answers.show(snapshot);
      if (snapshot !== null) view.show(questionMeter(snapshot));
    },
    end() {
      clearInterval(countdown);
      stopListening();
    },
  };
}

function questionMeter(shown: RemoteSnapshot): Meter {
  const keys = keysText(shown);
  if (shown.waitPoint === '' || keys === '') return meterOf(shown);
  const left = shown.waitDeadlineUsec / 1_000_000 - Date.now() / 1000;
  const details = shown.waitDeadlineUsec > 0 ? `${durationText(left)} left` : '';
  return { percent: shown.progress, label: keys, details };
}

interface Shown {
  wait: string;
  /** Deployment whose release notes have been told. */
  notes: string;
  lastResult: string;
  /** null = not known yet. */
  holds: ReadonlyMap<string, string> | null;
}

function sayChange(view: ProgressView, shown: Shown, change: UpdateChange, keyed: Keyed | null): void {
  if (change.kind === 'gone') {
    keyed?.show(null);
    view.say('The service is gone; waiting for it to come back');
  } else if (change.kind === 'signal') {
    if (change.member === 'WaitEnded') view.say(waitEndText(change.args));
  } else {
    const { snapshot } = change;
    const notes = notesOf(snapshot);
    if (notes.length > 0 && shown.notes !== snapshot.deploymentId) {
      shown.notes = snapshot.deploymentId;
      view.say(`${snapshot.artifactName}:`);
      for (const text of notes) view.say(`  ${text}`);
    }
    if (keyed === null) shown.wait = showStep(view, snapshot, shown.wait);
    else {
      const key = waitKey(snapshot);
      if (key !== '' && key !== shown.wait) for (const text of blockedLines(snapshot)) view.say(text);
      shown.wait = key;
      keyed.show(snapshot);
    }
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
  timeoutMs: number | null,
): Promise<number> {
  const followed = await follow(client, {
    onChange(change): true | undefined {
      if (change.kind === 'snapshot') return isReached(goal, change.snapshot) || undefined;
      return (change.kind === 'signal' && isPassed(goal, change.member, change.args)) || undefined;
    },
    timeoutMs,
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

/**
 * The keys of `holdpoint monitor` on a terminal: answers to the question on the screen, each with the ticket of that
 * question, so that a key pressed too late approves nothing.
 */
import type { RemoteSnapshot, UpdateClient } from '../adapters/dbus/update-client.ts';
import { helpfulMessage } from './refusal-text.ts';
import { timeText } from './terminal.ts';

/** What a person types, a key at a time. */
export interface Keyboard {
  /** Begins to listen; returns how to stop, after which the terminal is as it was. */
  listen(onKey: (key: string) => void): () => void;
}

const LATER_SECONDS = 4 * 3600;
const QUIT: readonly string[] = ['q', '\u0003', '\u0004'];

export interface AnswersOptions {
  readonly client: Pick<UpdateClient, 'proceed' | 'snooze' | 'abort' | 'endSnooze'>;
  readonly say: (text: string) => void;
  readonly onQuit: () => void;
}

export interface Answers {
  /** What is on the screen from now on. */
  show(snapshot: RemoteSnapshot | null): void;
  press(key: string): void;
}

/** Keys that mean something now, for the line of the question; '' = none but q. */
export function keysText(shown: RemoteSnapshot): string {
  const { waitTicket, waitPoint, deploymentId, blockers, allowedActions } = shown;
  const keys: string[] = [];
  if (waitTicket !== '') {
    keys.push('[n]ow');
    if (blockers.some(({ details }) => details['skippable'] === true)) keys.push('at the [w]indow');
    if (allowedActions.includes('snooze')) keys.push('[l]ater');
  } else if (waitPoint !== '') keys.push('[n]ow: ask again');
  if (deploymentId !== '' && allowedActions.includes('abort')) keys.push('[a]bort');
  return keys.join('  ');
}

export function createAnswers({ client, say, onQuit }: AnswersOptions): Answers {
  let shown: RemoteSnapshot | null = null;
  /** Deployment whose end was asked for and is to be confirmed; '' = none. */
  let toAbort = '';

  function tell(call: Promise<string>): void {
    call.then(say, (error: unknown) => say(`Not done: ${helpfulMessage(error)}`));
  }

  function now({ waitTicket, waitPoint, deploymentId }: RemoteSnapshot): void {
    if (waitTicket !== '') tell(client.proceed(waitTicket, { now: true }).then(outcomeText));
    else if (waitPoint !== '') tell(client.endSnooze(deploymentId).then(() => 'It asks again.'));
    else say('Nothing is asked at present.');
  }

  function withTicket(shownNow: RemoteSnapshot, call: (ticket: string) => Promise<string>): void {
    if (shownNow.waitTicket === '') say('Nothing is asked at present.');
    else tell(call(shownNow.waitTicket));
  }

  return {
    show(snapshot) {
      shown = snapshot;
      if (snapshot?.deploymentId !== toAbort) toAbort = '';
    },
    press(key) {
      if (QUIT.includes(key)) return onQuit();
      if (shown === null) return say('The service is not there.');
      if (toAbort !== '') {
        const id = toAbort;
        toAbort = '';
        if (key === 'y')
          return tell(client.abort(id, 'given up in holdpoint monitor').then(() => 'Aborting.'));
        return say('It goes on.');
      }
      switch (key) {
        case 'n':
          return now(shown);
        case 'w':
          return withTicket(shown, (ticket) => client.proceed(ticket).then(outcomeText));
        case 'l':
          return withTicket(shown, (ticket) =>
            client
              .snooze(ticket, LATER_SECONDS)
              .then((untilUsec) => `Put off until ${timeText(untilUsec)}; then it asks again.`),
          );
        case 'a':
          if (shown.deploymentId === '') return say('No update is under way.');
          toAbort = shown.deploymentId;
          return say(`Give up ${shown.artifactName || 'the update'}? [y]es, any other key: no`);
        default:
          return say(`Keys: ${[keysText(shown), '[q]uit'].filter((text) => text !== '').join('  ')}`);
      }
    },
  };
}

function outcomeText(outcome: string): string {
  return outcome === 'recorded' ? 'Noted; something else is still waited for.' : 'Going on.';
}

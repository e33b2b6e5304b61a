/**
 * What an update waits for, in words: who blocks, since when, until when, and what then. Blockers are an open set, so
 * one that is not known here is told with everything that is known of it.
 */
import type { RemoteBlocker, RemoteSnapshot } from '../adapters/dbus/update-client.ts';
import { durationWords } from './duration.ts';
import { timeText } from './terminal.ts';

/** It waits, and nobody is asked at present. */
export function isSnoozed({ waitPoint, waitTicket }: RemoteSnapshot): boolean {
  return waitPoint !== '' && waitTicket === '';
}

/** `uid:1000` as `user 1000`; other owners are names. */
export function ownerText(owner: string): string {
  const uid = /^uid:(\d+)$/.exec(owner)?.[1];
  if (uid !== undefined) return `user ${uid}`;
  return owner === 'policy' ? 'the configuration' : owner;
}

/** Behind "waiting for …": `CoffeeApp: brewing`. */
export function blockerText(blocker: RemoteBlocker): string {
  const words = (Object.hasOwn(WORDS, blocker.kind) ? WORDS[blocker.kind] : undefined)?.(blocker) ?? null;
  return words ?? anyText(blocker);
}

type Words = (blocker: RemoteBlocker) => string | null;

const WORDS: Readonly<Record<string, Words>> = {
  consent: () => 'the consent that the configuration demands',
  hold: ({ owner, reasonCode, details }) => {
    const hold = `${ownerText(owner)}: ${said(details['why'])}`;
    if (reasonCode === 'hold-overdue') return `${hold} (overdue, and still held)`;
    if (reasonCode === 'owner-lost') return `${hold} (its program has left)`;
    if (reasonCode === 'owner-expected') return `${hold} (its program is expected back after the reboot)`;
    return hold;
  },
  map: ({ owner, reasonCode, details }) => {
    const whose = owner === 'server' ? 'the server' : ownerText(owner);
    if (reasonCode === 'map-not-refreshed') {
      return `the control map of ${whose}, which could not be fetched (${said(details['attempts'])} attempts)`;
    }
    const map = `the control map ${said(details['map-id'])} of ${whose}`;
    const release = details['release-at-usec'];
    if (typeof release !== 'number') return map;
    const until = `${map}, which lets go at ${timeText(release)}`;
    return reasonCode === 'clock-not-trusted' ? `${until}, and the clock is not trusted` : until;
  },
  pause: ({ owner }) => `an end of the pause (holdpoint unpause) by ${ownerText(owner)}`,
  'updates-disabled': () => 'updates being enabled (holdpoint enable)',
  snooze: ({ owner }) => `the end of the time ${ownerText(owner)} has put it off for`,
  health: ({ owner }) => `the health verdict of ${owner}`,
  reboot: ({ owner }) => `${ownerText(owner)} to reboot the device`,
  window: ({ reasonCode, details }) => {
    if (reasonCode === 'clock-not-trusted') return 'a maintenance window, and the clock is not trusted';
    if (reasonCode !== 'outside-window') return null;
    return `the maintenance window, which opens at ${opening(details)}`;
  },
  freeze: ({ reasonCode, details }) => {
    const reason = details['reason'] === undefined ? '' : ` (${said(details['reason'])})`;
    if (reasonCode === 'clock-not-trusted')
      return `the end of a freeze${reason}, and the clock is not trusted`;
    if (reasonCode !== 'frozen') return null;
    return `the end of a freeze${reason} at ${said(details['until-local'])}`;
  },
  power: ({ reasonCode, details }) => {
    if (reasonCode === 'on-battery') return 'mains power';
    if (reasonCode !== 'battery-low') return null;
    const [now, wanted] = [said(details['battery-percent']), said(details['min-battery-percent'])];
    return `the battery, which is at ${now} % and must be at ${wanted} %`;
  },
  metered: ({ reasonCode }) => (reasonCode === 'metered-link' ? 'a link that is not metered' : null),
  inhibitor: ({ owner, reasonCode, details }) =>
    reasonCode === 'shutdown-inhibited'
      ? `${owner}, which inhibits the shutdown: ${said(details['why'])}`
      : null,
  script: ({ owner, details }) => {
    const message = details['message'] ?? details['reason'];
    return message === undefined ? null : `the condition ${owner}: ${said(message)}`;
  },
};

type Told = RemoteBlocker['details'][string] | undefined;

function said(value: Told): string {
  return value === undefined ? '?' : String(value);
}

function opening(details: RemoteBlocker['details']): string {
  const local = details['next-window-local'];
  if (typeof local === 'string') return local;
  const usec = details['expected-end-usec'];
  return (typeof usec === 'number' && timeText(usec)) || 'a time that is not known';
}

function anyText({ id, kind, owner, reasonCode, details }: RemoteBlocker): string {
  const reason = reasonCode === '' || reasonCode === kind ? '' : ` (${reasonCode})`;
  const facts = Object.entries(details)
    .filter(([key]) => !COMMON_DETAILS.includes(key))
    .map(([key, value]) => `${key}=${value}`);
  const more = facts.length === 0 ? '' : ` [${facts.join(', ')}]`;
  return `${kind} ${id}${reason}${owner === '' ? '' : `, by ${ownerText(owner)}`}${more}`;
}

/** Told in words of their own, or of no use to a reader. */
const COMMON_DETAILS = [
  'since-usec',
  'end-usec',
  'end-boot-usec',
  'on-end',
  'ceiling-seconds',
  'on-ceiling',
  'skippable',
];

const THEN: Readonly<Record<string, string>> = {
  continue: 'it goes on',
  fail: 'it fails',
  'keep-waiting': 'it goes on waiting',
};

export function thenText(onExpire: string): string {
  return THEN[onExpire] ?? onExpire;
}

/** Ends that are meant to be the same are computed a moment apart. */
const SAME_MOMENT_USEC = 1_500_000;

/** ` (until …, then it fails)`; '' = it does not end by itself, or with the wait. */
export function endText({ details, kind }: RemoteBlocker, waitDeadlineUsec = 0): string {
  const usec = details['end-usec'];
  if (typeof usec !== 'number' || usec === 0) return '';
  if (Math.abs(usec - waitDeadlineUsec) < SAME_MOMENT_USEC) return '';
  const onEnd = said(details['on-end']);
  // What only goes by itself decides nothing.
  const then = onEnd === 'continue' || kind === 'snooze' ? '' : `, then ${thenText(onEnd)}`;
  return ` (until ${timeText(usec)}${then})`;
}

function subject({ artifactName }: RemoteSnapshot): string {
  return artifactName === '' ? 'The update' : `The update to ${artifactName}`;
}

/** One sentence: what the device is waiting for, who, since when, until when, and what then. */
export function waitSentence(shown: RemoteSnapshot): string {
  if (shown.waitPoint === '') return idleSentence(shown);
  const { waitPoint, waitSinceUsec, waitDeadlineUsec, waitOnExpire, blockers } = shown;
  const since = timeText(waitSinceUsec);
  const where = `at ${waitPoint}${since === '' ? '' : ` since ${since}`}`;
  const limit = timeText(waitDeadlineUsec);
  const end =
    limit === ''
      ? 'no time limit is set'
      : `if nothing else ends the wait, at ${limit} ${thenText(waitOnExpire)}`;
  const snooze = blockers.find(({ kind }) => kind === 'snooze');
  const others = programsFirst(blockers.filter((blocker) => blocker !== snooze));
  const waitedFor = others.map((blocker) => `${blockerText(blocker)}${endText(blocker, waitDeadlineUsec)}`);
  if (snooze !== undefined && isSnoozed(shown)) {
    const until = timeText(Number(snooze.details['end-usec'] ?? 0)) || 'later';
    const then = waitedFor.length === 0 ? '' : `, then waiting for ${enumerate(waitedFor)}`;
    return `${subject(shown)} is put off by ${ownerText(snooze.owner)} until ${until}${then}, ${where}; ${end}.`;
  }
  const all = waitedFor.length === 0 ? 'a decision' : enumerate(waitedFor);
  return `${subject(shown)} is waiting for ${all}, ${where}; ${end}.`;
}

/** Who holds is of more interest than what the configuration says every time. */
function programsFirst(blockers: readonly RemoteBlocker[]): readonly RemoteBlocker[] {
  const isProgram = ({ kind }: RemoteBlocker): boolean => kind === 'hold' || kind === 'inhibitor';
  return [...blockers.filter(isProgram), ...blockers.filter((blocker) => !isProgram(blocker))];
}

function idleSentence(shown: RemoteSnapshot): string {
  const { deploymentId, activity, progress, isPaused, areUpdatesEnabled } = shown;
  if (deploymentId === '') {
    const disabled = areUpdatesEnabled ? '' : ', and updates are disabled';
    return `Nothing is waited for: no update is under way${disabled}.${setAsideSentences(shown)}`;
  }
  const percent = progress >= 0 ? `, ${Math.floor(progress)} %` : '';
  const paused = isPaused ? ', paused (holdpoint unpause)' : '';
  return `${subject(shown)} is not waiting at a hold point: ${activity}${percent}${paused}.`;
}

/** One for each update that is offered in vain; with a blank in front. */
function setAsideSentences({ setAside }: RemoteSnapshot): string {
  return setAside
    .map((entry) => {
      const word = (key: string): string => String(entry[key] ?? '?');
      const why = `${word('error-name').replace(/^.*\./, '')}: ${word('error-message')}`;
      const failed = ` The update to ${word('artifact-name')} failed here before (${why})`;
      const again = `holdpoint retry ${word('deployment-id')}`;
      return entry['needs-person'] === true
        ? `${failed} and needs a person: it is tried again only by ${again}.`
        : `${failed}; it is tried again after ${word('offers-to-skip')} more checks, or now by ${again}.`;
    })
    .join('');
}

/** `a`, `a and for b`, `a, for b, and for c`: each may have commas of its own. */
function enumerate(parts: readonly string[]): string {
  if (parts.length < 3) return parts.join(' and for ');
  return `${parts.slice(0, -1).join(', for ')}, and for ${parts.at(-1) ?? ''}`;
}

/** Who is waited for, until when, and the exact commands that end the wait; empty = no wait. */
export function waitLines(shown: RemoteSnapshot, nowUsec: number = Date.now() * 1000): readonly string[] {
  return shown.waitPoint === '' ? [] : [...blockedLines(shown, nowUsec), ...commandLines(shown)];
}

/** Who is waited for, and until when. */
export function blockedLines(shown: RemoteSnapshot, nowUsec: number = Date.now() * 1000): readonly string[] {
  const lines = [`Waiting at ${shown.waitPoint} for:`];
  for (const blocker of shown.blockers) {
    lines.push(`  ${blockerText(blocker)}${endText(blocker)}${releaseHint(blocker)}`);
  }
  const until = timeText(shown.waitDeadlineUsec);
  if (until === '') lines.push('  no end: no limit by policy');
  else {
    const left = durationWords((shown.waitDeadlineUsec - nowUsec) / 1_000_000);
    lines.push(`  until ${until} (${left} left), then: ${shown.waitOnExpire}`);
  }
  return lines;
}

function commandLines(shown: RemoteSnapshot): readonly string[] {
  const lines: string[] = [];
  const { waitTicket: ticket, allowedActions } = shown;
  if (isSnoozed(shown)) lines.push('To be asked now:  holdpoint ask-again');
  else {
    lines.push(
      `To go on:  holdpoint continue ${ticket}`,
      `      or:  busctl --system call io.holdpoint.Update1 /io/holdpoint/Update1 io.holdpoint.Update1 Continue s ${ticket}`,
    );
  }
  if (allowedActions.includes('snooze')) lines.push(`To be asked later:  holdpoint snooze ${ticket} 4h`);
  if (allowedActions.includes('abort')) lines.push('To give up:  holdpoint abort');
  return lines;
}

function releaseHint({ kind, details }: RemoteBlocker): string {
  const id = details['hold-id'];
  return kind === 'hold' && typeof id === 'string' ? ` (holdpoint release ${id})` : '';
}

/** Changes whenever there is something new to say about the wait; '' = no wait. */
export function waitKey(shown: RemoteSnapshot): string {
  if (shown.waitPoint === '') return '';
  return [shown.waitTicket, ...shown.blockers.map(({ id }) => id)].join(' ');
}

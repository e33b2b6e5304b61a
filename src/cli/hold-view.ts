/** Holds, control maps and decisions in words and in JSON. Nothing here knows the bus. */
import type { RemoteHold } from '../adapters/dbus/update-client.ts';
import { durationWords } from './duration.ts';
import { timeText } from './terminal.ts';
import { ownerText, thenText } from './wait-text.ts';

export function isMap({ lifetime }: RemoteHold): boolean {
  return lifetime === 'map';
}

function numberOf(hold: RemoteHold, key: string): number {
  const value = hold.details[key];
  return typeof value === 'number' ? value : 0;
}

function textOf(hold: RemoteHold, key: string): string {
  const value = hold.details[key];
  return typeof value === 'string' ? value : '';
}

/** What `holdpoint hold` announces of one: `CoffeeApp: brewing, at ArtifactInstall_Enter`. */
export function holdSummary(hold: RemoteHold): string {
  const where = `at ${hold.points.join(', ')}`;
  if (isMap(hold)) return `control map ${textOf(hold, 'map-id')} of ${ownerText(hold.owner)}, ${where}`;
  return `${ownerText(hold.owner)}: ${hold.why}, ${where}`;
}

/** When it ends, and what then. */
function endOf(hold: RemoteHold, nowUsec: number): string {
  if (hold.details['expired'] === true) {
    return isMap(hold) ? 'its time is over' : `overdue; ${thenText(hold.onExpire)}`;
  }
  const seconds = numberOf(hold, 'remaining-seconds');
  const left = (usec: number): string => `${durationWords((usec - nowUsec) / 1_000_000)} left`;
  if (hold.expiresUsec > 0) {
    const until = `until ${timeText(hold.expiresUsec)} (${left(hold.expiresUsec)})`;
    // What a lost owner's hold does at its end is to go, whatever it was taken with.
    if (textOf(hold, 'countdown') === 'linger') return `its program has left; ${until}`;
    if (textOf(hold, 'countdown') === 'return') {
      return `its program is expected back ${until}, then ${thenText(hold.onExpire)}`;
    }
    return `${until}, then ${thenText(hold.onExpire)}`;
  }
  if (seconds > 0) return `${durationWords(seconds)} of waiting left, then ${thenText(hold.onExpire)}`;
  return 'as long as its program runs';
}

/** What `holdpoint holds` prints of one. */
export function holdLines(hold: RemoteHold, nowUsec: number): readonly string[] {
  const pid = numberOf(hold, 'pid');
  const who = isMap(hold)
    ? `origin ${textOf(hold, 'origin')}`
    : `${hold.lifetime}, user ${hold.uid}${pid > 0 ? `, process ${pid}` : ''}`;
  const extra = [
    hold.action === 'pause' ? '' : `action ${hold.action}`,
    numberOf(hold, 'priority') === 0 ? '' : `priority ${numberOf(hold, 'priority')}`,
    hold.details['once'] === true ? 'once' : '',
  ].filter((text) => text !== '');
  return [
    `${hold.id}  ${holdSummary(hold)}`,
    `    ${[who, `since ${timeText(numberOf(hold, 'since-usec'))}`, endOf(hold, nowUsec), ...extra].join('; ')}`,
  ];
}

/** What `holdpoint map list` prints of one. */
export function mapLines(hold: RemoteHold, nowUsec: number): readonly string[] {
  const lines = [...holdLines(hold, nowUsec)];
  for (const [point, rule] of Object.entries(statesOf(hold)))
    lines.push(`    ${point}: ${JSON.stringify(rule)}`);
  return lines;
}

function statesOf(hold: RemoteHold): Readonly<Record<string, unknown>> {
  try {
    const states: unknown = JSON.parse(textOf(hold, 'states'));
    return typeof states === 'object' && states !== null ? (states as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Stable: documented in holdpoint(1), only ever added to. Times are microseconds of the wall clock. */
export function holdAsJson(hold: RemoteHold): Readonly<Record<string, unknown>> {
  const { id, lifetime, points, owner, why, uid, action, onExpire, expiresUsec, details } = hold;
  return { id, lifetime, points, owner, why, uid, action, onExpire, expiresUsec, details };
}

/** Stable: documented in holdpoint(1), only ever added to. */
export function mapAsJson(hold: RemoteHold): Readonly<Record<string, unknown>> {
  return {
    id: textOf(hold, 'map-id'),
    priority: numberOf(hold, 'priority'),
    origin: textOf(hold, 'origin'),
    uid: hold.uid,
    sinceUsec: numberOf(hold, 'since-usec'),
    expiresUsec: hold.expiresUsec,
    expired: hold.details['expired'] === true,
    states: statesOf(hold),
  };
}

/** A line of the proof of consent for people; anything that is not one as it is. */
export function decisionLine(text: string): string {
  let entry: unknown;
  try {
    entry = JSON.parse(text);
  } catch {
    return text;
  }
  if (typeof entry !== 'object' || entry === null) return text;
  const fields = entry as Record<string, unknown>;
  const word = (key: string): string => {
    const value = fields[key];
    return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
  };
  const app = word('app') === '' ? '' : ` through ${word('app')}`;
  const about = word('artifact-name') || word('deployment-id');
  const seconds = word('seconds');
  return [
    `${word('seq').padStart(5)}  ${word('time')}  ${word('kind')} by user ${word('uid')}${app}`,
    about === '' ? '' : `, ${about}`,
    word('point') === '' ? '' : ` at ${word('point')}`,
    seconds === '' || seconds === '0' ? '' : `, for ${durationWords(Number(seconds))}`,
    word('comment') === '' ? '' : `: ${word('comment')}`,
  ].join('');
}

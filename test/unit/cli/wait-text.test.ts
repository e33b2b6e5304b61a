import { describe, expect, it } from 'vitest';
import type { RemoteBlocker, RemoteHold, RemoteSnapshot } from '../../../src/adapters/dbus/update-client.ts';
import { decisionLine, holdLines, mapAsJson } from '../../../src/cli/hold-view.ts';
import { timeText } from '../../../src/cli/terminal.ts';
import { blockerText, waitKey, waitLines, waitSentence } from '../../../src/cli/wait-text.ts';

const NOW = 1_900_000_000_000_000;
const at = (seconds: number): number => NOW + seconds * 1_000_000;
const when = (seconds: number): string => timeText(at(seconds));

const IDLE: RemoteSnapshot = {
  version: '1',
  serial: 1,
  state: 'ArtifactInstall',
  activity: 'waiting',
  step: 'ArtifactInstall_Enter',
  deploymentId: 'd',
  artifactName: 'release-2',
  currentArtifactName: 'release-1',
  deployment: {},
  rebootRequired: 'no',
  progress: 42.5,
  stepProgress: -1,
  downloadedBytes: 0,
  downloadSizeBytes: -1,
  bytesPerSecond: -1,
  remainingSeconds: -1,
  waitTicket: '',
  waitPoint: '',
  blockers: [],
  waitSinceUsec: 0,
  waitDeadlineUsec: 0,
  waitDeadlineBootUsec: 0,
  waitOnExpire: '',
  isPaused: false,
  areUpdatesEnabled: true,
  allowedActions: [],
  lastResult: 'none',
  lastErrorName: '',
  lastErrorMessage: '',
  lastErrorDetails: {},
  serverStatus: 'none',
  setAside: [],
  lastCheckUsec: 0,
  nextCheckUsec: 0,
};

function waiting(blockers: readonly RemoteBlocker[], more: Partial<RemoteSnapshot> = {}): RemoteSnapshot {
  return {
    ...IDLE,
    waitTicket: 'a'.repeat(32),
    waitPoint: 'ArtifactInstall_Enter',
    waitSinceUsec: at(-60),
    waitDeadlineUsec: at(7200),
    waitOnExpire: 'fail',
    blockers,
    ...more,
  };
}

function blocker(kind: string, reasonCode = '', more: Partial<RemoteBlocker> = {}): RemoteBlocker {
  return { id: kind, kind, owner: 'policy', reasonCode, details: {}, ...more };
}

const BREWING = blocker('hold', 'held', {
  id: 'hold:abc',
  owner: 'CoffeeApp',
  details: { 'hold-id': 'abc', why: 'brewing', 'end-usec': at(300), 'on-end': 'continue', uid: 0 },
});
const SNOOZE = blocker('snooze', 'snoozed', {
  owner: 'kiosk',
  details: { uid: 7, 'end-usec': at(3600), 'on-end': 'continue' },
});

describe('the sentence of status', () => {
  it('says who, why, since when, until when and what then', () => {
    expect(waitSentence(waiting([BREWING]))).toBe(
      `The update to release-2 is waiting for CoffeeApp: brewing (until ${when(300)}), at ArtifactInstall_Enter since ${when(-60)}; if nothing else ends the wait, at ${when(7200)} it fails.`,
    );
  });

  it('says an end once that is the end of the wait too', () => {
    const consent = blocker('consent', 'consent-required', {
      details: { 'end-usec': at(7200.4), 'on-end': 'fail' },
    });
    expect(waitSentence(waiting([consent]))).toBe(
      `The update to release-2 is waiting for the consent that the configuration demands, at ArtifactInstall_Enter since ${when(-60)}; if nothing else ends the wait, at ${when(7200)} it fails.`,
    );
  });

  it('names several in one sentence', () => {
    const sentence = waitSentence(
      waiting([BREWING, blocker('consent'), blocker('pause', 'paused', { owner: 'uid:1000' })]),
    );
    expect(sentence).toContain(
      `waiting for CoffeeApp: brewing (until ${when(300)}), for the consent that the configuration demands, and for an end of the pause (holdpoint unpause) by user 1000, at`,
    );
    expect(sentence.match(/\. |\n/g)).toBeNull();
  });

  it('says that it is put off, by whom and until when, and what comes then', () => {
    const shown = waiting([SNOOZE, blocker('consent')], { waitTicket: '', waitDeadlineUsec: 0 });
    expect(waitSentence(shown)).toBe(
      `The update to release-2 is put off by kiosk until ${when(3600)}, then waiting for the consent that the configuration demands, at ArtifactInstall_Enter since ${when(-60)}; no time limit is set.`,
    );
  });

  it('says what is done when nothing is waited for', () => {
    expect(waitSentence(IDLE)).toBe('The update to release-2 is not waiting at a hold point: waiting, 42 %.');
    expect(
      waitSentence({ ...IDLE, activity: 'downloading', isPaused: true, artifactName: '', progress: -1 }),
    ).toBe('The update is not waiting at a hold point: downloading, paused (holdpoint unpause).');
    expect(waitSentence({ ...IDLE, deploymentId: '', areUpdatesEnabled: false })).toBe(
      'Nothing is waited for: no update is under way, and updates are disabled.',
    );
  });
});

describe('a blocker in words', () => {
  it.each([
    [
      blocker('window', 'outside-window', { details: { 'next-window-local': 'Mon 02:00 CET' } }),
      'opens at Mon 02:00 CET',
    ],
    [blocker('window', 'outside-window', { details: { 'expected-end-usec': at(9) } }), `opens at ${when(9)}`],
    [blocker('window', 'clock-not-trusted'), 'the clock is not trusted'],
    [
      blocker('freeze', 'frozen', { details: { 'until-local': 'tomorrow', reason: 'fair' } }),
      'freeze (fair) at tomorrow',
    ],
    [blocker('power', 'on-battery'), 'mains power'],
    [
      blocker('power', 'battery-low', { details: { 'battery-percent': 12, 'min-battery-percent': 50 } }),
      'is at 12 % and must be at 50 %',
    ],
    [
      blocker('power', 'not-known', { details: { what: 'upower' } }),
      'power power (not-known), by the configuration [what=upower]',
    ],
    [blocker('metered', 'metered-link'), 'a link that is not metered'],
    [
      blocker('inhibitor', 'shutdown-inhibited', { owner: 'player', details: { why: 'film' } }),
      'player, which inhibits the shutdown: film',
    ],
    [
      blocker('map', 'paused-by-map', { owner: 'server', details: { 'map-id': 'm1' } }),
      'the control map m1 of the server',
    ],
    [
      blocker('map', 'paused-until-release', {
        owner: 'server',
        details: { 'map-id': 'm1', 'release-at-usec': 1_927_846_800_000_000 },
      }),
      /^the control map m1 of the server, which lets go at 2031-/,
    ],
    [
      blocker('map', 'clock-not-trusted', {
        owner: 'server',
        details: { 'map-id': 'm1', 'release-at-usec': 1_927_846_800_000_000 },
      }),
      /, which lets go at 2031-.*, and the clock is not trusted$/,
    ],
    [
      blocker('map', 'map-not-refreshed', { owner: 'server', details: { attempts: 3 } }),
      'could not be fetched (3 attempts)',
    ],
    [blocker('health', 'x', { owner: 'app, net' }), 'the health verdict of app, net'],
    [blocker('hold', 'owner-lost', { owner: 'A', details: { why: 'b' } }), 'A: b (its program has left)'],
    [
      blocker('hold', 'hold-overdue', { owner: 'A', details: { why: 'b' } }),
      'A: b (overdue, and still held)',
    ],
    [
      blocker('moon', 'waning', { id: 'm', owner: 'witch', details: { phase: 3, 'since-usec': 5 } }),
      'moon m (waning), by witch [phase=3]',
    ],
    // Names of kinds are foreign too.
    [blocker('constructor', '', { id: 'c' }), 'constructor c, by the configuration'],
  ])('%j', (given, words) => {
    if (typeof words === 'string') expect(blockerText(given)).toContain(words);
    else expect(blockerText(given)).toMatch(words);
  });
});

describe('the lines below a wait', () => {
  it('name the commands that end it', () => {
    const lines = waitLines(waiting([BREWING], { allowedActions: ['continue', 'snooze', 'abort'] }), NOW);
    expect(lines).toEqual([
      'Waiting at ArtifactInstall_Enter for:',
      `  CoffeeApp: brewing (until ${when(300)}) (holdpoint release abc)`,
      `  until ${when(7200)} (2 h left), then: fail`,
      `To go on:  holdpoint continue ${'a'.repeat(32)}`,
      expect.stringContaining('busctl --system call'),
      `To be asked later:  holdpoint snooze ${'a'.repeat(32)} 4h`,
      'To give up:  holdpoint abort',
    ]);
  });

  it('name the one that ends a snooze, and no ticket that there is not', () => {
    const text = waitLines(waiting([SNOOZE], { waitTicket: '' }), NOW).join('\n');
    expect(text).toContain('holdpoint ask-again');
    expect(text).not.toContain('continue');
  });

  it('are shown again when somebody joins or leaves', () => {
    expect(waitKey(waiting([BREWING]))).not.toBe(waitKey(waiting([BREWING, SNOOZE])));
    expect(waitKey(IDLE)).toBe('');
    expect(waitLines(IDLE)).toEqual([]);
  });
});

describe('holds and decisions in words', () => {
  const hold: RemoteHold = {
    id: 'abc',
    lifetime: 'timed',
    points: ['ArtifactInstall_Enter'],
    owner: 'CoffeeApp',
    why: 'brewing',
    uid: 1000,
    action: 'pause',
    onExpire: 'fail',
    expiresUsec: at(300),
    details: { 'since-usec': at(-10), pid: 77, priority: 0 },
  };

  it('say name, process, reason, since when and until when', () => {
    expect(holdLines(hold, NOW)).toEqual([
      'abc  CoffeeApp: brewing, at ArtifactInstall_Enter',
      `    timed, user 1000, process 77; since ${when(-10)}; until ${when(300)} (5 min left), then it fails`,
    ]);
    const resting = { ...hold, expiresUsec: 0, details: { ...hold.details, 'remaining-seconds': 120 } };
    expect(holdLines(resting, NOW)[1]).toContain('2 min of waiting left, then it fails');
    const bound = { ...hold, lifetime: 'bound', expiresUsec: 0 };
    expect(holdLines(bound, NOW)[1]).toContain('as long as its program runs');
    const overdue = { ...hold, expiresUsec: 0, details: { ...hold.details, expired: true } };
    expect(holdLines(overdue, NOW)[1]).toContain('overdue; it fails');
  });

  it('show a map whatever its states are', () => {
    const map = {
      ...hold,
      lifetime: 'map',
      details: { 'map-id': 'm', origin: 'local', priority: 3, states: '{"a":{"b":1}}' },
    };
    expect(mapAsJson(map)).toMatchObject({ id: 'm', priority: 3, states: { a: { b: 1 } }, expired: false });
    expect(mapAsJson({ ...map, details: { states: '[' } })).toMatchObject({ states: {} });
  });

  it('show a decision, and what is none as it is', () => {
    const entry = {
      seq: 3,
      kind: 'postponement',
      time: 'T',
      uid: 7,
      app: 'kiosk',
      'artifact-name': 'release-2',
      point: 'ArtifactReboot_Enter',
      seconds: 3600,
      comment: 'later',
    };
    expect(decisionLine(JSON.stringify(entry))).toBe(
      '    3  T  postponement by user 7 through kiosk, release-2 at ArtifactReboot_Enter, for 1 h: later',
    );
    expect(decisionLine('{broken')).toBe('{broken');
    expect(decisionLine('null')).toBe('null');
  });
});

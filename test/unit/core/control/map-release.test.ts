import { describe, expect, it } from 'vitest';
import { controlMapJson, type MapPoint, type MapRule } from '../../../../src/core/control/control-map.ts';
import { decideGate } from '../../../../src/core/control/gate.ts';
import { parseReleases, releasesMember, type MapRelease } from '../../../../src/core/control/map-release.ts';
import { parseStateDocument, documentOf } from '../../../../src/adapters/store/state-document.ts';
import {
  DEPLOYMENT_ID,
  FlowSimulator,
  SERVER_SETTINGS,
  type MapAnswer,
  type SimulatorOptions,
} from '../../../support/flow-simulator.ts';
import { aMap, aSituation, NOW } from '../../../support/gate-situations.ts';

/** Releases at a time, by the device's own clock: docs/decisions/0025. */
const PAUSE: MapRule = { action: 'pause', onMapExpire: 'fail', onActionExecuted: 'pause' };
/** The simulator's clock begins here. */
const START_MS = Date.UTC(2031, 1, 3);
const MINUTE_MS = 60_000;
const POINTS = ['ArtifactInstall_Enter', 'ArtifactReboot_Enter', 'ArtifactCommit_Enter'] as const;

function release(point: MapPoint, inMinutes: number, isForced = false): MapRelease {
  return { point, atWallMs: START_MS + inMinutes * MINUTE_MS, isForced };
}

function textOf(releases: readonly MapRelease[]): string {
  return JSON.stringify(releasesMember(releases));
}

function pausing(...points: readonly MapPoint[]): string {
  const states = Object.fromEntries(points.map((point) => [point, PAUSE]));
  return controlMapJson({ id: DEPLOYMENT_ID, priority: 0, states });
}

const DOWN: MapAnswer = {
  kind: 'failed',
  failure: { name: 'Download', message: 'no route to the server', details: {} },
  retryAfterSeconds: 0,
};

function begin(
  point: MapPoint,
  releases: readonly MapRelease[] | null,
  more: Partial<SimulatorOptions> & { readonly clockProblem?: string | null } = {},
): FlowSimulator {
  const { clockProblem = '', ...options } = more;
  const simulator = new FlowSimulator({
    offeredMap: pausing(point),
    ...(releases && { mapReleasesText: textOf(releases) }),
    ...options,
  });
  simulator.clockProblem = clockProblem;
  simulator.boot().run();
  simulator.dispatch({ kind: 'CheckRequested' });
  return simulator.run();
}

const waitingAt = (simulator: FlowSimulator): string => simulator.state.wait?.point ?? '';
const blockers = (simulator: FlowSimulator) =>
  (simulator.state.wait?.blockers ?? []).map(({ reasonCode, endsWallMs, onEnd, details }) => ({
    reasonCode,
    endsWallMs,
    onEnd,
    releaseAt: details['release-at-usec'],
  }));
const isOver = ({ state }: FlowSimulator): string => state.history[0]?.result ?? '';

describe('the text of releases', () => {
  it('is read as it is written, and members that are not known are passed over', () => {
    const releases = [release('ArtifactReboot_Enter', 5), release('ArtifactCommit_Enter', 7, true)];
    expect(parseReleases(textOf(releases))).toEqual(releases);
    expect(parseReleases('{"later":1,"releases":[]}')).toEqual([]);
    expect(parseReleases('{}')).toEqual([]);
    expect(parseReleases(null)).toEqual([]);
    const zone =
      '{"releases":[{"point":"ArtifactCommit_Enter","release_at":"2031-02-03T02:00:00+02:00","x":1}]}';
    expect(parseReleases(zone)).toEqual([release('ArtifactCommit_Enter', 0)]);
  });

  it.each([
    ['nonsense', 'holdpoint', 'found no JSON'],
    ['[]', 'holdpoint', 'expected an object'],
    ['{"releases":{}}', 'holdpoint.releases', 'expected a list'],
    ['{"releases":[7]}', 'holdpoint.releases[0]', 'expected an object'],
    [
      '{"releases":[{"point":"Download_Enter","release_at":"2031-02-03T00:00:00Z"}]}',
      'holdpoint.releases[0].point',
      'found "Download_Enter", expected one of ArtifactInstall_Enter, ArtifactReboot_Enter, ArtifactCommit_Enter',
    ],
    [
      '{"releases":[{"point":"ArtifactCommit_Enter","release_at":"tomorrow"}]}',
      'holdpoint.releases[0].release_at',
      'found "tomorrow", expected an RFC 3339 time with its zone',
    ],
    [
      '{"releases":[{"point":"ArtifactCommit_Enter","release_at":"2031-99-03T00:00:00Z"}]}',
      'holdpoint.releases[0].release_at',
      'found "2031-99-03T00:00:00Z", expected an RFC 3339 time with its zone',
    ],
    [
      '{"releases":[{"point":"ArtifactCommit_Enter","release_at":"2031-02-03T00:00:00Z","force":"yes"}]}',
      'holdpoint.releases[0].force',
      'found "yes", expected true or false',
    ],
    [
      textOf([release('ArtifactCommit_Enter', 0), release('ArtifactCommit_Enter', 1)]),
      'holdpoint.releases[1].point',
      'found ArtifactCommit_Enter twice',
    ],
    [`{"x":"${'y'.repeat(5000)}"}`, 'holdpoint', 'found 5008 characters, expected at most 4096'],
  ])('%s is refused by name', (text, path, message) => {
    expect(parseReleases(text)).toEqual({ kind: 'invalid', path, message });
  });

  it('that cannot be understood fails the deployment that it comes with, as a bad map does', () => {
    const simulator = begin('ArtifactInstall_Enter', null, { mapReleasesText: '{"releases":[7]}' });
    expect(isOver(simulator)).toBe('failure');
    expect(simulator.state.history[0]?.failure).toMatchObject({
      name: 'ControlMap',
      message: "the server's control map: holdpoint.releases[0]: expected an object",
    });
  });
});

describe('a release at a time', () => {
  it.each(POINTS)('lets go of %s at its moment and not before, with a visible end until then', (point) => {
    const at = release(point, 30);
    const simulator = begin(point, [at], {
      settings: { ...SERVER_SETTINGS, updatePollIntervalSeconds: 86_400 },
    });
    expect(waitingAt(simulator)).toBe(point);
    expect(blockers(simulator)).toEqual([
      {
        reasonCode: 'paused-until-release',
        endsWallMs: at.atWallMs,
        onEnd: 'continue',
        releaseAt: at.atWallMs * 1000,
      },
    ]);
    expect(simulator.state.wait).toMatchObject({ deadlineWallMs: at.atWallMs, onExpire: 'continue' });
    simulator.advance(at.atWallMs - simulator.wallMs - 1);
    expect(waitingAt(simulator)).toBe(point);
    simulator.advance(1).run();
    expect(isOver(simulator)).toBe('success');
    expect(simulator.state.history[0]?.passages.find((one) => one.point === point)?.reasons).toEqual([
      'released-by-map',
    ]);
    expect(simulator.notices).toContainEqual(
      expect.objectContaining({ kind: 'WaitEnded', outcome: 'unblocked' }),
    );
    expect(simulator.isClockWatched).toBe(false);
    expect(simulator.nonsense).toEqual([]);
  });

  it('in the past lets go at once', () => {
    const simulator = begin('ArtifactCommit_Enter', [release('ArtifactCommit_Enter', -10)]);
    expect(isOver(simulator)).toBe('success');
    expect(simulator.reports.map(({ status }) => status)).not.toContain('pause_before_committing');
  });

  it('is taken from the answer to a refresh, in the middle of a wait', () => {
    const point = 'ArtifactInstall_Enter';
    const at = release(point, 40);
    const simulator = begin(point, null, {
      settings: { ...SERVER_SETTINGS, updatePollIntervalSeconds: 600 },
      mapAnswers: [
        { kind: 'map', text: pausing(point) },
        { kind: 'map', text: pausing(point), mapReleasesText: textOf([at]) },
      ],
    });
    expect(blockers(simulator)).toMatchObject([{ reasonCode: 'paused-by-map' }]);
    simulator.advance(601_000);
    expect(blockers(simulator)).toMatchObject([
      { reasonCode: 'paused-until-release', endsWallMs: at.atWallMs },
    ]);
    simulator.advance(at.atWallMs - simulator.wallMs).run();
    expect(isOver(simulator)).toBe('success');
  });

  it('that the server takes back is no more', () => {
    const point = 'ArtifactInstall_Enter';
    const simulator = begin(point, [release(point, 30)], {
      settings: { ...SERVER_SETTINGS, updatePollIntervalSeconds: 600 },
      mapAnswers: [
        { kind: 'map', text: pausing(point), mapReleasesText: textOf([release(point, 30)]) },
        { kind: 'map', text: pausing(point) },
      ],
    });
    expect(blockers(simulator)).toMatchObject([{ reasonCode: 'paused-until-release' }]);
    simulator.advance(45 * MINUTE_MS);
    expect(blockers(simulator)).toMatchObject([{ reasonCode: 'paused-by-map' }]);
  });

  it('comes although the server cannot be reached any more, and the map has expired long ago', () => {
    const point = 'ArtifactCommit_Enter';
    const at = release(point, 300);
    const simulator = begin(point, [at], {
      device: { needsReboot: 'No' },
      settings: { ...SERVER_SETTINGS, controlMapExpirationSeconds: 60, retryPollCount: 3 },
      mapAnswers: [{ kind: 'map', text: pausing(point), mapReleasesText: textOf([at]) }, DOWN],
    });
    simulator.advance(at.atWallMs - simulator.wallMs - 1);
    expect(simulator.state.controlMaps[0]?.isExpired).toBe(true);
    expect(blockers(simulator)).toMatchObject([{ reasonCode: 'paused-until-release' }]);
    simulator.advance(1).run();
    expect(isOver(simulator)).toBe('success');
  });

  it('is kept by a device that never reached the server at the gate', () => {
    const point = 'ArtifactInstall_Enter';
    const at = release(point, 90);
    const simulator = begin(point, [at], { mapAnswers: [DOWN] });
    expect(blockers(simulator)).toMatchObject([{ reasonCode: 'paused-until-release' }]);
    simulator.advance(at.atWallMs - simulator.wallMs).run();
    expect(simulator.trace).toContain('I');
  });

  it('does not wait for an answer that does not come', () => {
    const point = 'ArtifactCommit_Enter';
    const at = release(point, 1 / 2);
    const simulator = begin(point, [at]);
    const silent = new FlowSimulator({ store: JSON.parse(simulator.saves.at(-1) as string) });
    silent.wallMs = simulator.wallMs;
    silent.boot();
    silent.run(({ jobs }) => jobs[0]?.effect.kind === 'fetchControlMap');
    const index = silent.jobs.findIndex(({ effect }) => effect.kind === 'watchWallClock');
    silent.finishOne(index, null);
    expect(silent.state.visit).toMatchObject({ refresh: 'first', clockProblem: '' });
    silent.advance(at.atWallMs - silent.wallMs - 1, false);
    expect(silent.step).toBe('commit-gate');
    silent.advance(1, false);
    expect(silent.step).not.toBe('commit-gate');
  });

  it('asks the server first when its moment is over already, which may have changed its mind', () => {
    const point = 'ArtifactCommit_Enter';
    const simulator = begin(point, [release(point, -10)], {
      mapAnswers: [{ kind: 'map', text: pausing(point) }],
    });
    expect(waitingAt(simulator)).toBe(point);
    expect(blockers(simulator)).toMatchObject([{ reasonCode: 'paused-by-map' }]);
  });

  it.each([false, true])('survives a restart, of the device: %s', (reboots) => {
    const point = 'ArtifactCommit_Enter';
    const at = release(point, 60);
    const simulator = begin(point, [at], {
      device: { needsReboot: 'No' },
      mapAnswers: [{ kind: 'map', text: pausing(point), mapReleasesText: textOf([at]) }, DOWN],
    });
    expect(waitingAt(simulator)).toBe(point);
    const stored = JSON.parse(JSON.stringify(documentOf(simulator.state))) as unknown;
    expect(parseStateDocument(stored).state.controlMaps).toEqual(simulator.state.controlMaps);
    simulator.restart({ reboots });
    simulator.run();
    expect(blockers(simulator)).toMatchObject([
      { reasonCode: 'paused-until-release', endsWallMs: at.atWallMs },
    ]);
    simulator.advance(at.atWallMs - simulator.wallMs).run();
    expect(isOver(simulator)).toBe('success');
  });

  it('has come during a restart: nobody waits', () => {
    const point = 'ArtifactInstall_Enter';
    const simulator = begin(point, [release(point, 60)], {
      mapAnswers: [
        { kind: 'map', text: pausing(point), mapReleasesText: textOf([release(point, 60)]) },
        DOWN,
      ],
    });
    simulator.passTime(2 * 60 * MINUTE_MS);
    simulator.restart({ reboots: false });
    simulator.run();
    expect(simulator.trace).toContain('I');
  });
});

describe('a server out of reach', () => {
  const point = 'ArtifactInstall_Enter';
  const known: MapAnswer = { kind: 'map', text: pausing(point) };
  const HOUR_MS = 60 * MINUTE_MS;

  it('for an hour fails nobody who waits, although the map expires meanwhile', () => {
    const down = Array.from({ length: 12 }, () => DOWN);
    const open: MapAnswer = {
      kind: 'map',
      text: controlMapJson({ id: DEPLOYMENT_ID, priority: 0, states: {} }),
    };
    const simulator = begin(point, null, {
      settings: { ...SERVER_SETTINGS, controlMapExpirationSeconds: 3600 },
      mapAnswers: [known, ...down, open],
    });
    simulator.advance(HOUR_MS + 1);
    expect(simulator.state.controlMaps[0]?.isExpired).toBe(true);
    expect(simulator.state.wait?.blockers).toMatchObject([
      { reasonCode: 'paused-by-map', endsWallMs: 0, onEnd: 'keep-waiting' },
      { reasonCode: 'map-not-refreshed' },
    ]);
    expect(simulator.state.wait?.deadlineBootMs).toBe(simulator.bootMs - HOUR_MS - 1 + 7 * 24 * HOUR_MS);
    simulator.advance(HOUR_MS).run();
    expect(simulator.trace).toContain('I');
    expect(isOver(simulator)).toBe('success');
  });

  it('is asked again a little earlier than it must be, by chance', () => {
    const simulator = begin(point, null, {
      settings: { ...SERVER_SETTINGS, controlMapExpirationSeconds: 7200, updatePollIntervalSeconds: 1000 },
    });
    const plannedIn = (digits: string): number => {
      const event = {
        ...simulator.stamp({ kind: 'ControlMapFetched', workId: simulator.state.workId, answer: known }),
      };
      simulator.take({ ...event, nonce: digits.padEnd(32, '0') });
      return (simulator.state.visit?.refreshAtBootMs ?? 0) - simulator.bootMs;
    };
    expect(['00000000', '80000000', 'ffffffff'].map(plannedIn)).toEqual([1_000_000, 950_000, 900_001]);
  });
});

describe('the clock a release goes by', () => {
  const point = 'ArtifactCommit_Enter';

  it('that is not believed is a visible reason, and the wait lasts until its ceiling', () => {
    const simulator = begin(point, [release(point, 30)], { clockProblem: 'before-build' });
    expect(simulator.state.wait?.blockers).toMatchObject([
      {
        kind: 'map',
        reasonCode: 'clock-not-trusted',
        endsWallMs: 0,
        onEnd: 'keep-waiting',
        details: { 'clock-problem': 'before-build' },
      },
    ]);
    const day = 24 * 60 * MINUTE_MS;
    expect(simulator.state.wait?.deadlineBootMs).toBe(simulator.bootMs + day);
    simulator.advance(day - 1);
    expect(waitingAt(simulator)).toBe(point);
    simulator.advance(1).run();
    expect(simulator.state.history[0]?.failure).toMatchObject({ name: 'HoldExpired' });
  });

  it('that is believed later lets go then', () => {
    const simulator = begin(point, [release(point, 30)], { clockProblem: 'not-synchronized' });
    simulator.advance(60 * MINUTE_MS);
    expect(waitingAt(simulator)).toBe(point);
    simulator.judgeClock('');
    simulator.run();
    expect(isOver(simulator)).toBe('success');
  });

  it('that nobody knows anything of is not believed', () => {
    const simulator = begin(point, [release(point, 30)], { clockProblem: null });
    expect(waitingAt(simulator)).toBe('');
    simulator.advance(MINUTE_MS);
    expect(simulator.state.wait?.blockers).toMatchObject([
      { reasonCode: 'clock-not-trusted', details: { 'clock-problem': 'not-known' } },
    ]);
  });

  it('that is set forward past the moment lets go, and set back waits longer', () => {
    const at = release(point, 30);
    const simulator = begin(point, [at]);
    simulator.wallMs -= 60 * MINUTE_MS;
    simulator.judgeClock('');
    const leftMs = at.atWallMs - simulator.wallMs;
    expect(simulator.state.wait?.deadlineBootMs).toBe(simulator.bootMs + leftMs);
    simulator.advance(leftMs - 1);
    expect(waitingAt(simulator)).toBe(point);
    simulator.wallMs += 1;
    simulator.judgeClock('');
    simulator.run();
    expect(isOver(simulator)).toBe('success');
  });

  it('is not watched where no map has a release', () => {
    const simulator = begin(point, null);
    expect(waitingAt(simulator)).toBe(point);
    expect(simulator.isClockWatched).toBe(false);
    expect(simulator.state.visit).not.toHaveProperty('clockProblem');
  });
});

describe('the decision with a release', () => {
  const at = (inMs: number, isForced = false) => ({
    releases: [{ point: 'ArtifactInstall_Enter' as const, atWallMs: NOW.wallMs + inMs, isForced }],
  });

  it('lets the map go, and nobody else', () => {
    const maps = [{ ...aMap('pause'), ...at(0) }];
    expect(decideGate(aSituation({}, { maps }))).toMatchObject({
      kind: 'pass',
      reasons: ['released-by-map'],
      askedMaps: [],
    });
    const other = { ...aMap('pause'), id: '99999999-89ab-cdef-0123-456789abcdef' };
    expect(decideGate(aSituation({}, { maps: [...maps, other] }))).toMatchObject({
      kind: 'wait',
      blockers: [{ reasonCode: 'paused-by-map' }],
    });
  });

  it('forced, overrules maps of lower priority from its moment on', () => {
    const lower = { ...aMap('pause'), priority: -1 };
    const coming = [{ ...aMap('pause'), ...at(5_000, true) }, lower];
    expect(decideGate(aSituation({}, { maps: coming }))).toMatchObject({
      kind: 'wait',
      endsInMs: 5_000,
      onExpire: 'continue',
    });
    const come = [{ ...aMap('pause'), ...at(0, true) }, lower];
    expect(decideGate(aSituation({}, { maps: come }))).toMatchObject({ kind: 'pass', isForced: true });
  });

  it('is at the ceiling before the moment: the ceiling decides', () => {
    const maps = [{ ...aMap('pause'), ...at(7_200_000) }];
    expect(decideGate(aSituation({ ceilingSeconds: 3600 }, { maps }))).toMatchObject({
      kind: 'wait',
      endsInMs: 3_600_000,
      onExpire: 'fail',
    });
  });
});

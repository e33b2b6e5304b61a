import { describe, expect, it } from 'vitest';
import { paceOf, progressDownloaded, progressStarted } from '../../../src/core/progress.ts';
import { HISTORY_LIMIT } from '../../../src/core/state.ts';
import { DEPLOYMENT_ID, FlowSimulator, isFinal, SERVER_SETTINGS } from '../../support/flow-simulator.ts';
import { finish, outcomeOf, reach, shownOf } from '../../support/flow-steps.ts';

const MINUTES = [1, 1, 1, 2, 2, 2, 4, 4, 4, 5, 5, 5];
const MINUTE_MS = 60_000;

function lost(status: string, first: number, times: number) {
  return [{ kind: 'unreachable', where: `status:${status}:${first}`, times }] as const;
}

describe('a report', () => {
  it.each(['downloading', 'installing', 'rebooting'])(
    'of %s is not repeated, and its loss changes nothing',
    (status) => {
      const simulator = new FlowSimulator({ faults: lost(status, 1, 1) }).boot().run();
      simulator.dispatch({ kind: 'CheckRequested' });
      simulator.run();
      expect(simulator.step).toBe('idle');
      expect(outcomeOf(simulator)).toBe('ok');
      expect(simulator.delaysMs).toEqual([]);
    },
  );

  it('before the commit is repeated with back-off, then the update goes back without the commit family', () => {
    const simulator = new FlowSimulator({ faults: lost('installing', 2, 100) }).boot().runOut(1);
    expect(simulator.delaysMs).toEqual(MINUTES.map((minutes) => minutes * MINUTE_MS));
    expect(simulator.chain()).not.toMatch(/C[+!]/);
    expect(simulator.state.history[0]).toMatchObject({
      result: 'rolled-back',
      failure: {
        name: 'Commit',
        details: { status: 'installing', attempts: 13, reason: 'server-unreachable' },
      },
    });
  });

  it('before the commit is delivered at the last attempt', () => {
    const simulator = new FlowSimulator({ faults: lost('installing', 2, 12) }).boot().runOut(1);
    expect(outcomeOf(simulator)).toBe('ok');
  });

  it('before the commit is preceded by an authorization that is as patient', () => {
    const faults = [{ kind: 'error', where: 'authorize', times: 12 }] as const;
    const simulator = new FlowSimulator({ faults }).boot().runOut(1);
    expect(simulator.delaysMs).toEqual(MINUTES.map((minutes) => minutes * MINUTE_MS));
    expect(outcomeOf(simulator)).toBe('ok');
  });

  it('of the result is repeated with back-off, then dropped; the result stays', () => {
    for (const [status, faults] of [
      ['success', []],
      ['failure', [{ kind: 'error', where: 'I' }]],
    ] as const) {
      const simulator = new FlowSimulator({ faults: [...faults, ...lost(status, 1, 100)] }).boot().run();
      simulator.dispatch({ kind: 'CheckRequested' });
      simulator.runOut();
      expect(simulator.reports.filter((report) => report.status === status)).toHaveLength(13);
      expect(simulator.step).toBe('idle');
      expect(simulator.state.history[0]?.result).toBe(status === 'success' ? 'success' : 'rolled-back');
    }
  });

  it('of the result that is refused by the server is not repeated', () => {
    const faults = [{ kind: 'aborted', where: 'status:success:1' }] as const;
    const simulator = new FlowSimulator({ faults }).boot().runOut(1);
    expect(simulator.reports.filter(({ status }) => isFinal(status))).toHaveLength(1);
    expect(simulator.state.history[0]?.result).toBe('success');
  });

  it('waits as long as an overloaded server asks, and obeys the configured number of retries', () => {
    const settings = { ...SERVER_SETTINGS, retryPollIntervalSeconds: 30, retryPollCount: 2 };
    const simulator = reach('report-success', { settings });
    const retry = (retryAfterSeconds: number) => {
      simulator.jobs.length = 0;
      const { workId } = simulator.state;
      simulator.dispatch({ kind: 'StatusReported', workId, outcome: 'unreachable', retryAfterSeconds });
    };
    retry(100);
    simulator.fireTimer();
    retry(0);
    simulator.fireTimer();
    retry(0);
    expect(simulator.delaysMs).toEqual([100_000, 30_000]);
    expect(simulator.state.deployment).toBeNull();
  });

  it('is made to nobody for a local install, and nobody is asked to authorize', () => {
    const simulator = new FlowSimulator().boot().installLocal().runOut();
    expect(outcomeOf(simulator)).toBe('ok');
    expect(simulator.reports).toEqual([]);
    const kinds = new Set(simulator.ticks.flatMap(({ effects }) => effects.map(({ kind }) => kind)));
    expect(kinds).not.toContain('authorize');
    expect(simulator.chain(true)).toBe('Idle+ Idle- D+ PS? D D- I+ I I- NR? R+ R VR R- C+ C C- CL Idle+');
  });

  it('of a restart in it is that of the stored outcome', () => {
    for (const [step, status] of [
      ['report-success', 'success'],
      ['report-failure', 'failure'],
      ['report-already-installed', 'already-installed'],
    ] as const) {
      const simulator = reach(step);
      for (let times = 0; times < 3; times += 1) simulator.restart({ reboots: times === 1 });
      finish(simulator, 0);
      expect(simulator.reports.filter((report) => isFinal(report.status))).toMatchObject([{ status }]);
      expect(simulator.state.history).toHaveLength(1);
    }
  });
});

describe('a check', () => {
  it.each([
    ['Sync+', 'failed'],
    ['check', 'failed'],
  ])('that fails in %s says so, once', (where, result) => {
    const simulator = new FlowSimulator({ faults: [{ kind: 'error', where }] }).boot().run();
    simulator.dispatch({ kind: 'CheckRequested' });
    simulator.run();
    const told = simulator.notices.filter(({ kind }) => kind === 'CheckFinished');
    expect(told).toMatchObject([{ result }]);
    expect(simulator.step).toBe('idle');
    expect(simulator.trace).toContain('Sync!');
  });

  it('tells what it found, and when', () => {
    const simulator = new FlowSimulator().boot().runOut(1);
    simulator.dispatch({ kind: 'CheckRequested' });
    simulator.run();
    const told = simulator.notices.filter((notice) => notice.kind === 'CheckFinished');
    expect(told.map(({ result }) => result)).toEqual(['update-found', 'up-to-date']);
    expect(simulator.state.lastCheckWallMs).toBe(simulator.wallMs);
  });

  it('is refused where no server is configured', () => {
    const settings = { ...SERVER_SETTINGS, isServerConfigured: false };
    const simulator = new FlowSimulator({ settings }).boot().run();
    expect(() => simulator.command({ kind: 'CheckForUpdate' })).toThrow('NotSupported');
  });
});

describe('a local install', () => {
  it.each(['Idle+', 'Idle-'])('succeeds, and says nothing of it, although %s fails on the way', (where) => {
    const simulator = new FlowSimulator({ faults: [{ kind: 'error', where }] })
      .boot()
      .installLocal()
      .runOut();
    expect(simulator.device.unused).toEqual([]);
    expect(simulator.state.history[0]).toMatchObject({ result: 'success', failure: null });
  });
});

describe('the history', () => {
  it('keeps the last results, newest first, and no more than its limit', () => {
    const simulator = new FlowSimulator().boot();
    for (let number = 1; number <= HISTORY_LIMIT + 5; number += 1) {
      simulator.run();
      simulator.dispatch({
        kind: 'InstallRequested',
        deploymentId: `local-${number}`,
        location: { kind: 'file', path: '/x' },
        requiredDigest: '',
        uid: 1000,
        artifact: simulator.artifact,
        sizeBytes: 10,
      });
    }
    simulator.run();
    const { history } = simulator.state;
    expect(history).toHaveLength(HISTORY_LIMIT);
    expect(history[0]?.deploymentId).toBe(`local-${HISTORY_LIMIT + 5}`);
    expect(history.at(-1)?.deploymentId).toBe('local-6');
  });

  it('holds the cause once, however much of the way back fails, and does not grow with it', () => {
    const where = ['VR', 'RB+', 'RB-', 'RR+', 'RR-', 'F+', 'F', 'F-'];
    const faults = where.map((call) => ({ kind: 'error', where: call }) as const);
    const simulator = new FlowSimulator({ faults }).boot().runOut(1);
    expect(simulator.state.history[0]?.failure).toEqual({
      name: 'RollbackFailed',
      message: 'RB+ failed as scripted (the update had failed because: VR failed as scripted)',
      details: { call: 'RB+', 'cause-name': 'Reboot', 'cause-message': 'VR failed as scripted' },
    });
  });

  it('is the last result until the next deployment starts, and again when that is over', () => {
    const simulator = new FlowSimulator({ faults: [{ kind: 'error', where: 'I' }] }).boot().runOut(1);
    expect(shownOf(simulator)).toMatchObject({
      lastResult: 'rolled-back',
      lastErrorName: 'UpdateModule',
    });
    simulator.installLocal();
    expect(shownOf(simulator)).toMatchObject({ lastResult: 'none', lastErrorName: '' });
    simulator.runOut();
    expect(shownOf(simulator)).toMatchObject({ lastResult: 'success', lastErrorName: '' });
  });
});

describe('the reason of a failure', () => {
  it.each([
    ['I', 'UpdateModule', 'rolled-back'],
    ['I+', 'StateScript', 'rolled-back'],
    ['R', 'Reboot', 'rolled-back'],
    ['VR', 'Reboot', 'rolled-back'],
    ['C', 'Commit', 'rolled-back'],
    ['C+', 'StateScript', 'rolled-back'],
    ['C-', 'StateScript', 'inconsistent'],
    ['D', 'UpdateModule', 'failure'],
    ['CL', 'UpdateModule', 'failure'],
  ])('of an error in %s is %s, and the result %s', (where, name, result) => {
    const simulator = new FlowSimulator({ faults: [{ kind: 'error', where }] }).boot().runOut(1);
    expect(simulator.state.history[0]).toMatchObject({ result, failure: { name } });
  });

  it('leaves the result rolled back also where no reboot is needed for it', () => {
    const simulator = new FlowSimulator({
      device: { needsReboot: 'No' },
      faults: [{ kind: 'error', where: 'I' }],
    });
    simulator.boot().runOut(1);
    expect(simulator.state.history[0]?.result).toBe('rolled-back');
  });
});

describe('what is installed', () => {
  it('is the artifact’s from the moment its module has committed', () => {
    const simulator = reach('commit-leave');
    const stored = JSON.parse(simulator.saves.at(-1) as string);
    expect(stored).toMatchObject({
      step: 'commit-leave',
      installed: { artifactName: 'release-2', provides: { 'rootfs-image.version': '2' } },
    });
  });

  it('keeps the old provides when the update ends between the versions', () => {
    const device = { supportsRollback: false };
    const simulator = new FlowSimulator({ device, faults: [{ kind: 'error', where: 'I' }] }).boot().runOut(1);
    expect(simulator.state.installed).toEqual({
      artifactName: 'release-2_INCONSISTENT',
      artifactGroup: '',
      provides: { 'rootfs-image.version': '1' },
    });
  });

  it('is not the artifact of a download that never showed one', () => {
    const simulator = reach('download');
    simulator.jobs.length = 0;
    simulator.dispatch({ kind: 'DownloadFinished', workId: simulator.state.workId, failure: null });
    finish(simulator, 0);
    expect(simulator.state.history[0]).toMatchObject({ deploymentId: DEPLOYMENT_ID, result: 'failure' });
    expect(simulator.chain()).toBe('D+ D!');
  });
});

describe('the progress of a download', () => {
  const SPAN = [2, 60] as const;

  it('never goes back, also when the download begins again', () => {
    let progress = progressStarted(1000);
    let last = 0;
    for (const [at, bytes] of [
      [0, 10],
      [1, 600],
      [2, 0],
      [3, 300],
      [4, 700],
      [5, 5000],
    ] as const) {
      progress = progressDownloaded(progress, bytes, at * 1000, SPAN);
      expect(progress.overall).toBeGreaterThanOrEqual(last);
      expect(progress.overall).toBeLessThanOrEqual(60);
      expect(progress.step).toBeLessThanOrEqual(100);
      last = progress.overall;
    }
  });

  it('is unknown where the size is', () => {
    const progress = progressDownloaded(progressStarted(-1), 500, 0, SPAN);
    expect(progress).toMatchObject({ overall: 0, step: -1, downloadedBytes: 500 });
  });

  it('keeps a bounded number of samples at any rate of events', () => {
    let progress = progressStarted(1e9);
    for (let at = 0; at < 10_000; at += 1) progress = progressDownloaded(progress, at, at, SPAN);
    expect(progress.samples.length).toBeLessThanOrEqual(64);
    expect(progress.samples.at(-1)).toEqual([9_999, 9_999]);
  });

  it('tells the rate at once, the remaining time after ten seconds, and never less than none', () => {
    let progress = progressStarted(10_000);
    for (let second = 0; second <= 9; second += 1) {
      progress = progressDownloaded(progress, second * 100, second * 1000, SPAN);
    }
    expect(paceOf(progress)).toEqual({ bytesPerSecond: 100, remainingSeconds: -1 });
    progress = progressDownloaded(progress, 1000, 10_000, SPAN);
    expect(paceOf(progress)).toEqual({ bytesPerSecond: 100, remainingSeconds: 90 });
    progress = progressDownloaded(progress, 11_000, 11_000, SPAN);
    expect(paceOf(progress).remainingSeconds).toBe(0);
  });
});

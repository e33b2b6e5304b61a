/** Updates that failed here and are offered again (design/faults.md R31), and other answers of the server. */
import { describe, expect, it } from 'vitest';
import { parseStateDocument, documentOf } from '../../../src/adapters/store/state-document.ts';
import { snapshotOf } from '../../../src/core/snapshot.ts';
import { ABORT_WATCH_MS } from '../../../src/core/walk.ts';
import { DEPLOYMENT_ID, FlowSimulator, NEW_NAME, SERVER_SETTINGS } from '../../support/flow-simulator.ts';
import { reach } from '../../support/flow-steps.ts';

const NOW = { wallMs: 1, bootMs: 1 };

/** Whatever it has, the server offers it. */
function offer(simulator: FlowSimulator, name = NEW_NAME, id = DEPLOYMENT_ID): void {
  simulator.dispatch({ kind: 'CheckRequested' });
  simulator.run(({ step }) => step === 'sync');
  simulator.jobs.length = 0;
  simulator.dispatch({
    kind: 'DeploymentCheckFinished',
    workId: simulator.state.workId,
    offer: {
      deploymentId: id,
      artifactName: name,
      location: { kind: 'url', url: 'http://server/release-2.mender' },
      controlMapText: null,
    },
    failure: null,
  });
  simulator.runOut();
}

const results = ({ notices }: FlowSimulator): readonly string[] =>
  notices.flatMap((notice) => (notice.kind === 'CheckFinished' ? [notice.result] : []));
const installs = ({ trace }: FlowSimulator): number => trace.filter((call) => call === 'I').length;
const shown = ({ state }: FlowSimulator) => snapshotOf(state, NOW).setAside;

/** The installation fails each time. */
function failing(where: 'I' | 'D', times = 100): FlowSimulator {
  const simulator = new FlowSimulator({ faults: [{ kind: 'error', where, times }] }).boot().run();
  return simulator;
}

describe('an update whose installation failed', () => {
  it('is installed once however often it is offered, across restarts, and is seen to need a person (R31)', () => {
    const simulator = failing('I');
    for (let count = 0; count < 5; count += 1) {
      offer(simulator);
      if (count === 2) simulator.restart({ reboots: true });
      simulator.run();
    }
    expect(installs(simulator)).toBe(1);
    expect(results(simulator)).toEqual(['update-found', ...Array<string>(4).fill('set-aside')]);
    expect(shown(simulator)).toMatchObject([
      { deploymentId: DEPLOYMENT_ID, artifactName: NEW_NAME, tries: 1, needsPerson: true },
    ]);
    // The word of the failure may have been lost: it is said once more, and no oftener.
    expect(simulator.reports.filter(({ status }) => status === 'failure')).toHaveLength(2);
    expect(simulator.state.history).toHaveLength(1);
  });

  it('is tried once more for each time that a person asks for it', () => {
    const simulator = failing('I', 2);
    offer(simulator);
    offer(simulator);
    expect(() => simulator.command({ kind: 'RetryUpdate', deploymentId: 'another', uid: 1000 })).toThrow(
      'UnknownDeployment',
    );
    simulator.command({ kind: 'RetryUpdate', deploymentId: DEPLOYMENT_ID, uid: 1000 });
    simulator.run(({ step }) => step === 'sync');
    offer(simulator);
    expect(installs(simulator)).toBe(2);
    offer(simulator);
    expect(installs(simulator)).toBe(2);
    expect(shown(simulator)).toMatchObject([{ tries: 2 }]);
    simulator.command({ kind: 'RetryUpdate', deploymentId: DEPLOYMENT_ID, uid: 1000 });
    offer(simulator);
    expect(simulator.state.history[0]?.result).toBe('success');
    expect(simulator.state.setAside).toEqual([]);
    expect(simulator.journal.map(({ kind, comment }) => [kind, comment])).toEqual([
      ['retry', DEPLOYMENT_ID],
      ['retry', DEPLOYMENT_ID],
    ]);
  });

  it('stands in the way of no other, and is not shown once it is not offered any more', () => {
    const simulator = failing('I', 1);
    offer(simulator);
    offer(simulator);
    expect(shown(simulator)).toHaveLength(1);
    offer(simulator, NEW_NAME, 'another-deployment');
    expect(simulator.state.history[0]).toMatchObject({
      deploymentId: 'another-deployment',
      result: 'success',
    });
    simulator.dispatch({ kind: 'CheckRequested' });
    simulator.run(({ step }) => step === 'sync');
    simulator.jobs.length = 0;
    const { workId } = simulator.state;
    simulator.dispatch({ kind: 'DeploymentCheckFinished', workId, offer: null, failure: null });
    simulator.run();
    expect(shown(simulator)).toEqual([]);
  });

  it('is remembered in the stored state, also in one written before there was such a memory', () => {
    const simulator = failing('I');
    offer(simulator);
    const document = JSON.parse(JSON.stringify(documentOf(simulator.state))) as {
      state: Record<string, unknown>;
    };
    expect(parseStateDocument(document).state.setAside).toEqual(simulator.state.setAside);
    delete document.state['setAside'];
    expect(parseStateDocument(document).state.setAside).toEqual([]);
  });
});

describe('an update that failed before it was installed', () => {
  it('is tried again by itself, after 0, 1, 3, 7 and more offers that are passed over', () => {
    const simulator = failing('D');
    const passedOver: number[] = [0];
    for (let count = 0; count < 40; count += 1) {
      offer(simulator);
      if (results(simulator).at(-1) === 'set-aside') passedOver[passedOver.length - 1]! += 1;
      else passedOver.push(0);
    }
    expect(passedOver.slice(1, 6)).toEqual([0, 1, 3, 7, 15]);
    expect(installs(simulator)).toBe(0);
  });
});

describe('the status of the server', () => {
  it.each([
    ['clock-wrong', 'waiting-for-clock'],
    ['web-page', 'no-internet'],
    ['redirect', 'no-internet'],
    ['name-resolution', 'unreachable'],
    ['timeout', 'unreachable'],
    ['status', 'authorized'],
    ['bad-answer', 'authorized'],
  ])(
    'after a check that failed because of %s is %s, and authorized after the next good one',
    (reason, status) => {
      const simulator = new FlowSimulator().boot().run();
      simulator.dispatch({ kind: 'ServerStandingChanged', standing: 'authorized' });
      for (const [failure, expected] of [
        [{ name: 'Download', message: 'failed', details: { reason } }, status],
        [null, 'authorized'],
      ] as const) {
        simulator.dispatch({ kind: 'CheckRequested' });
        simulator.run(({ step }) => step === 'sync');
        simulator.jobs.length = 0;
        const { workId } = simulator.state;
        simulator.dispatch({ kind: 'DeploymentCheckFinished', workId, offer: null, failure });
        simulator.run();
        expect(snapshotOf(simulator.state, NOW).serverStatus).toBe(expected);
      }
    },
  );
});

describe('a download', () => {
  it('is ended by an abort that the server answers with in the middle of it, and nothing is installed (R33)', () => {
    const simulator = reach('download');
    const { workId } = simulator.state;
    const downloads = simulator.jobs.filter(({ effect }) => effect.kind === 'download');
    expect(simulator.timer?.dueMs).toBe(simulator.bootMs + ABORT_WATCH_MS);
    simulator.fireTimer();
    simulator.dispatch({ kind: 'StatusReported', workId, outcome: 'accepted', retryAfterSeconds: 30 });
    expect(simulator.timer?.dueMs).toBe(simulator.bootMs + 30_000);
    simulator.fireTimer();
    simulator.dispatch({ kind: 'StatusReported', workId, outcome: 'aborted', retryAfterSeconds: 0 });
    expect(downloads.map(({ isCancelled }) => isCancelled)).toEqual([true]);
    simulator.runOut();
    expect(simulator.state.history[0]).toMatchObject({
      result: 'aborted',
      failure: { name: 'AbortedByServer' },
    });
    expect(simulator.chain()).not.toMatch(/\b(I|R|RB|R\+)\b/);
    // The server may offer it again as a new order.
    expect(simulator.state.setAside).toEqual([]);
  });

  it('that was complete in the very moment of the abort is ended all the same', () => {
    const simulator = reach('download');
    const { workId } = simulator.state;
    simulator.fireTimer();
    simulator.dispatch({ kind: 'StatusReported', workId, outcome: 'aborted', retryAfterSeconds: 0 });
    simulator.jobs.length = 0;
    simulator.dispatch({ kind: 'DownloadFinished', workId, failure: null });
    expect(simulator.step).toBe('download-error');
  });
});

describe('a commit without a server (R35)', () => {
  const settings = {
    ...SERVER_SETTINGS,
    isOfflineCommitAllowed: true,
    retryPollIntervalSeconds: 1,
    retryPollCount: 2,
  };
  const away = { name: 'Download', message: 'no names', details: { reason: 'name-resolution' } } as const;

  it.each([
    [true, away, 'commit-enter'],
    [false, away, 'rollback-check'],
    // A server that answers is there: whatever it says is its word.
    [true, { ...away, details: { reason: 'rejected' } }, 'rollback-check'],
    [true, { ...away, details: { reason: 'status', status: 503 } }, 'rollback-check'],
  ] as const)(
    'is allowed: %s, and the authorization fails with %o: %s',
    (isOfflineCommitAllowed, failure, step) => {
      const simulator = reach('commit-authorize', { settings: { ...settings, isOfflineCommitAllowed } });
      for (let attempt = 0; attempt < 3; attempt += 1) {
        simulator.jobs.length = 0;
        const { workId } = simulator.state;
        simulator.dispatch({ kind: 'AuthorizationFinished', workId, failure });
        if (attempt < 2) simulator.fireTimer();
      }
      expect(simulator.step).toBe(step);
    },
  );

  it.each([
    [true, true, 'commit-enter'],
    [true, false, 'rollback-check'],
    [false, true, 'rollback-check'],
  ] as const)(
    'is allowed: %s, the report is lost and the link is down: %s: %s',
    (isAllowed, isLinkDown, step) => {
      const simulator = reach('commit-status', {
        settings: { ...settings, isOfflineCommitAllowed: isAllowed },
      });
      for (let attempt = 0; attempt < 3; attempt += 1) {
        simulator.jobs.length = 0;
        simulator.dispatch({
          kind: 'StatusReported',
          workId: simulator.state.workId,
          outcome: 'unreachable',
          retryAfterSeconds: 0,
          ...(isLinkDown && { isLinkDown }),
        });
        if (attempt < 2) simulator.fireTimer();
      }
      expect(simulator.step).toBe(step);
    },
  );
});

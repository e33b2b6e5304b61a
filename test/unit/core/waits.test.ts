import { describe, expect, it } from 'vitest';
import type { WaitOutcome } from '../../../src/core/effect.ts';
import { HOLD_POINTS, type HoldPoint } from '../../../src/core/hold-point.ts';
import type { FlowStep } from '../../../src/core/state.ts';
import { DEPLOYMENT_ID, FlowSimulator, SERVER_SETTINGS } from '../../support/flow-simulator.ts';
import {
  consentAt,
  consentEverywhere,
  continueNow,
  finish,
  goTo,
  outcomeOf,
  reach,
  shownOf,
  withPoint,
} from '../../support/flow-steps.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const YEAR_MS = 365 * DAY_MS;
const GATES: Readonly<Record<HoldPoint, FlowStep>> = {
  Download_Enter: 'download-gate',
  ArtifactInstall_Enter: 'install-gate',
  ArtifactReboot_Enter: 'reboot-gate',
  ArtifactCommit_Enter: 'commit-gate',
  ArtifactRollbackReboot_Enter: 'rollback-reboot-gate',
};
const gates = HOLD_POINTS.map((point) => ({
  point,
  step: GATES[point],
  isWayBack: point === 'ArtifactRollbackReboot_Enter',
}));
const pause = { kind: 'Pause', deploymentId: DEPLOYMENT_ID, uid: 1000 } as const;
const resume = { kind: 'Resume', deploymentId: DEPLOYMENT_ID, uid: 1000 } as const;

function reasonsAt(simulator: FlowSimulator, point: HoldPoint): readonly string[] | undefined {
  const passages = simulator.state.deployment?.passages ?? simulator.state.history[0]?.passages ?? [];
  return passages.find((passage) => passage.point === point)?.reasons;
}

function waitEnds(simulator: FlowSimulator): readonly WaitOutcome[] {
  return simulator.notices.flatMap((notice) => (notice.kind === 'WaitEnded' ? [notice.outcome] : []));
}

describe.each(gates)('at $point', ({ point, step, isWayBack }) => {
  const expected = isWayBack ? 'back' : 'ok';

  it('waits for the consent that is required, and nothing runs behind it', () => {
    const simulator = reach(step);
    const { trace } = simulator;
    const before = [...trace];
    simulator.run();
    simulator.advance(12 * HOUR_MS);
    expect(simulator.step).toBe(step);
    expect(trace.filter((entry) => !entry.startsWith('[pause'))).toEqual(before);
    expect(simulator.state.wait?.blockers.map(({ kind }) => kind)).toEqual(['consent']);
    expect(shownOf(simulator)).toMatchObject({ activity: 'waiting', waitPoint: point, step: point });
  });

  it('goes on after Continue, with the reason stored before anything else runs', () => {
    const simulator = reach(step);
    simulator.run();
    expect(continueNow(simulator)).toBe('proceeding');
    const stored = JSON.parse(simulator.saves.at(-1) as string);
    expect(stored.deployment.passages).toContainEqual(
      expect.objectContaining({ point, reasons: ['consent-uid-1000'] }),
    );
    expect(waitEnds(simulator)).toEqual(['continued']);
    finish(simulator);
    expect(outcomeOf(simulator)).toBe(expected);
    expect(simulator.state.history[0]?.consents).toMatchObject([{ point, uid: 1000 }]);
  });

  it('takes a ticket once, answers its repetition the same, and refuses any other', () => {
    const simulator = reach(step);
    const ticket = simulator.state.wait?.ticket ?? '';
    const give = (value: string) =>
      simulator.command({ kind: 'Continue', ticket: value, uid: 1000, comment: '' });
    expect(() => give('0'.repeat(32))).toThrow('StaleTicket');
    expect(() => give('')).toThrow('InvalidArgs');
    expect(() => give(ticket.toUpperCase().replace(/^./, 'G'))).toThrow('InvalidArgs');
    expect(give(ticket)).toBe('proceeding');
    const { state } = simulator;
    expect(give(ticket)).toBe('proceeding');
    expect(simulator.state).toBe(state);
    simulator.restart({ reboots: false });
    expect(() => give(ticket)).toThrow('StaleTicket');
  });

  it('records a Continue while paused, and goes on when resumed, without asking again', () => {
    const simulator = reach(step);
    simulator.command(pause);
    expect(simulator.state.wait?.blockers.map(({ kind }) => kind)).toEqual(['consent', 'pause']);
    expect(continueNow(simulator)).toBe('recorded');
    expect(continueNow(simulator)).toBe('recorded');
    expect(simulator.state.wait?.blockers.map(({ kind }) => kind)).toEqual(['pause']);
    simulator.command(resume);
    expect(simulator.state.wait).toBeNull();
    expect(reasonsAt(simulator, point)).toEqual(['consent-uid-1000']);
    expect(waitEnds(simulator)).toEqual(['continued']);
  });

  it.each([false, true])('keeps a given consent over a restart (another boot: %s)', (reboots) => {
    const simulator = reach(step);
    simulator.command(pause);
    continueNow(simulator);
    simulator.restart({ reboots });
    expect(simulator.state.deployment?.consents).toMatchObject([{ point, uid: 1000 }]);
    simulator.command(resume);
    finish(simulator);
    expect(outcomeOf(simulator)).toBe(expected);
    expect(simulator.state.history[0]?.consents).toHaveLength(1);
  });

  it('has a ticket of its own for every wait, and each wait one end in a run', () => {
    const simulator = reach(step);
    const first = simulator.state.wait?.ticket;
    simulator.restart({ reboots: false });
    expect(simulator.state.wait?.ticket).not.toBe(first);
    continueNow(simulator);
    finish(simulator);
    const started = simulator.notices.filter(({ kind }) => kind === 'WaitStarted');
    expect(started).toHaveLength(2);
    expect(waitEnds(simulator)).toHaveLength(1);
  });

  it('fails after the time for consent, counted while waiting', () => {
    const settings = consentAt(point, { onExpire: 'fail', consentTimeoutSeconds: 3600 });
    const simulator = reach(step, { settings });
    simulator.run();
    simulator.advance(HOUR_MS - 1);
    expect(simulator.step).toBe(step);
    simulator.advance(1);
    expect(simulator.state.wait).toBeNull();
    expect(waitEnds(simulator)).toEqual(['expired-fail']);
    finish(simulator);
    expect(outcomeOf(simulator)).toBe('back');
    if (isWayBack) expect(reasonsAt(simulator, point)).toEqual(['consent-expired']);
    else
      expect(simulator.state.history[0]?.failure).toMatchObject({ name: 'HoldExpired', details: { point } });
  });

  it('goes on after the time for consent where that is configured, and says why', () => {
    const settings = consentAt(point, { onExpire: 'continue', consentTimeoutSeconds: 3600 });
    const simulator = reach(step, { settings });
    simulator.run();
    simulator.advance(HOUR_MS);
    expect(waitEnds(simulator)).toEqual(['expired-continue']);
    expect(reasonsAt(simulator, point)).toEqual(['consent-expired']);
    expect(outcomeOf(finish(simulator))).toBe(expected);
  });

  it('stays open when the service is restarted right after the time has run out', () => {
    const settings = consentAt(point, { onExpire: 'continue', consentTimeoutSeconds: 3600 });
    const simulator = reach(step, { settings });
    while (simulator.state.wait !== null) simulator.fireTimer();
    const behind = simulator.step;
    expect(behind).not.toBe('idle');
    simulator.restart({ reboots: false });
    expect(simulator.state.wait).toBeNull();
    if (!isWayBack) expect(simulator.step).toBe(behind);
  });

  it.each([
    ['fail', 'expired-fail'],
    ['continue', 'expired-continue'],
  ] as const)('obeys its ceiling with %s, whoever blocks', (onCeiling, end) => {
    const settings = withPoint(point, { ceilingSeconds: 2 * 3600, onCeiling });
    const simulator = new FlowSimulator({
      settings: consentAt(point),
      faults: isWayBack ? [{ kind: 'error', where: 'VR' }] : [],
    }).boot();
    goTo(simulator, step);
    simulator.command(pause);
    simulator.restart({ reboots: false, settings });
    expect(simulator.state.wait?.blockers.map(({ kind }) => kind)).toEqual(['pause']);
    simulator.run();
    simulator.advance(2 * HOUR_MS);
    expect(waitEnds(simulator)).toEqual([end]);
    finish(simulator);
    expect(outcomeOf(simulator)).toBe(onCeiling === 'continue' ? expected : 'back');
    if (onCeiling === 'continue' || isWayBack)
      expect(reasonsAt(simulator, point)).toEqual(['ceiling-reached']);
  });

  it('has no end without a ceiling, and shows that', () => {
    const simulator = reach(step, { settings: consentAt(point, { ceilingSeconds: 0 }) });
    simulator.run();
    simulator.advance(30 * DAY_MS);
    expect(simulator.step).toBe(step);
    expect(shownOf(simulator)).toMatchObject({ waitDeadlineUsec: 0, waitDeadlineBootUsec: 0 });
    expect(simulator.state.wait?.blockers[0]?.details).toMatchObject({ limit: 'no-limit-by-policy' });
  });

  it.each([YEAR_MS, -YEAR_MS])('does not mind a wall clock that steps by %d ms', (stepMs) => {
    const settings = consentAt(point, { onExpire: 'fail', consentTimeoutSeconds: 3600 });
    const simulator = reach(step, { settings });
    simulator.run();
    simulator.advance(30 * MINUTE_MS);
    simulator.wallMs += stepMs;
    simulator.advance(30 * MINUTE_MS - 1);
    expect(simulator.step).toBe(step);
    simulator.restart({ reboots: false });
    simulator.run();
    simulator.advance(1);
    expect(simulator.state.wait).toBeNull();
  });

  it('counts the time before a restart in the same boot, and that of the restart itself', () => {
    const settings = consentAt(point, { onExpire: 'fail', consentTimeoutSeconds: 3600 });
    const simulator = reach(step, { settings });
    simulator.run();
    simulator.advance(59 * MINUTE_MS);
    simulator.restart({ reboots: false });
    expect(simulator.state.wait).not.toBeNull();
    simulator.advance(MINUTE_MS);
    expect(simulator.state.wait).toBeNull();
  });

  it('ends one wait with an abort where one is allowed, and nowhere else', () => {
    const simulator = reach(step);
    const abort = () => simulator.command({ kind: 'Abort', deploymentId: DEPLOYMENT_ID, uid: 7, reason: '' });
    if (isWayBack) expect(abort).toThrow('WrongState');
    else {
      abort();
      expect(waitEnds(simulator)).toEqual(['aborted']);
      finish(simulator);
      expect(simulator.state.history[0]).toMatchObject({
        result: 'aborted',
        failure: { name: 'AbortedByUser' },
      });
      expect(outcomeOf(simulator)).toBe('back');
    }
  });

  it('tells the server why it waits, where the server has a word for it', () => {
    const simulator = reach(step);
    simulator.run();
    const told = simulator.reports.filter(({ status }) => status.startsWith('pause_before'));
    if (point === 'Download_Enter' || isWayBack) expect(told).toEqual([]);
    else
      expect(told).toEqual([
        { status: expect.anything(), outcome: 'accepted', substate: 'waiting for: consent (policy)' },
      ]);
  });

  it('goes on waiting when the counted time cannot be stored', () => {
    const simulator = reach(step);
    simulator.run();
    simulator.isStoreBroken = () => true;
    simulator.advance(3 * HOUR_MS);
    expect(simulator.step).toBe(step);
    expect(() => continueNow(simulator)).toThrow('Storage');
    simulator.isStoreBroken = () => false;
    expect(outcomeOf(finish(simulator))).toBe(expected);
  });
});

describe('a wait that the server is told of', () => {
  const POLL_MS = SERVER_SETTINGS.updatePollIntervalSeconds * 1000;
  const told = ({ reports }: FlowSimulator): number =>
    reports.filter(({ status }) => status === 'pause_before_installing').length;

  it('is told again in each polling interval, and ends when the server has ended the deployment', () => {
    const faults = [{ kind: 'aborted', where: 'status:pause_before_installing:4' }] as const;
    const simulator = reach('install-gate', { faults }).run();
    expect(told(simulator)).toBe(1);
    simulator.advance(0.89 * POLL_MS);
    expect(told(simulator)).toBe(1);
    simulator.advance(0.11 * POLL_MS);
    expect(told(simulator)).toBe(2);
    simulator.advance(POLL_MS);
    expect([told(simulator), simulator.step]).toEqual([3, 'install-gate']);
    simulator.advance(POLL_MS).run();
    expect(waitEnds(simulator)).toEqual(['aborted']);
    finish(simulator);
    expect(simulator.trace).not.toContain('I');
    expect(simulator.state.history[0]).toMatchObject({
      result: 'aborted',
      failure: { name: 'AbortedByServer' },
    });
  });

  it('goes on when that cannot be told, and is not told sooner than an overloaded server asks', () => {
    const faults = [{ kind: 'unreachable', where: 'status:pause_before_installing:2' }] as const;
    const simulator = reach('install-gate', { faults }).run();
    simulator.advance(2 * POLL_MS);
    expect([told(simulator), simulator.step]).toEqual([3, 'install-gate']);
    const { workId } = simulator.state;
    const retryAfterSeconds = (3 * POLL_MS) / 1000;
    simulator.dispatch({ kind: 'StatusReported', workId, outcome: 'unreachable', retryAfterSeconds });
    simulator.advance(3 * POLL_MS - 1);
    expect(told(simulator)).toBe(3);
    simulator.advance(1);
    expect(told(simulator)).toBe(4);
  });

  it('is told once where a control map of the deployment is asked for again and again', () => {
    const states = { ArtifactInstall_Enter: { action: 'pause' } };
    const text = JSON.stringify({ id: DEPLOYMENT_ID, priority: 0, states });
    const simulator = new FlowSimulator({ offeredMap: text, mapAnswers: [{ kind: 'map', text }] }).boot();
    goTo(simulator, 'install-gate');
    simulator.run();
    simulator.advance(5 * POLL_MS);
    expect([told(simulator), simulator.step]).toEqual([1, 'install-gate']);
  });

  it('is told once where no report is to be repeated', () => {
    const settings = { ...consentAt('ArtifactInstall_Enter'), downloadReportSeconds: 0 };
    const simulator = reach('install-gate', { settings }).run();
    simulator.advance(5 * POLL_MS);
    expect([told(simulator), simulator.step]).toEqual([1, 'install-gate']);
  });

  it('is told to nobody when the artifact came from somebody at the device', () => {
    const simulator = new FlowSimulator({ settings: consentAt('ArtifactInstall_Enter') }).boot().run();
    simulator.command({
      kind: 'Install',
      deploymentId: DEPLOYMENT_ID,
      location: { kind: 'file', path: '/a' },
      requiredDigest: '',
      uid: 0,
      artifact: null,
      sizeBytes: -1,
    });
    simulator.run();
    simulator.advance(5 * POLL_MS);
    expect([simulator.reports, simulator.step]).toEqual([[], 'install-gate']);
  });
});

describe('a wait', () => {
  it('is stored with its time every ten minutes, so that a power cut costs no more', () => {
    const simulator = reach('install-gate');
    simulator.run();
    simulator.advance(95 * MINUTE_MS);
    simulator.restart({ reboots: true });
    expect(simulator.state.wait?.waitedMs).toBeGreaterThanOrEqual(85 * MINUTE_MS);
    expect(simulator.state.wait?.waitedMs).toBeLessThanOrEqual(95 * MINUTE_MS);
  });

  it('asks again at once when its snooze ran out while the service was down', () => {
    const simulator = reach('install-gate');
    simulator.run();
    const ticket = simulator.state.wait?.ticket ?? '';
    simulator.command({ kind: 'Snooze', ticket, uid: 1000, seconds: 900 });
    expect(shownOf(simulator).waitTicket).toBe('');
    simulator.passTime(899_000);
    const noticesBefore = simulator.notices.length;
    simulator.restart({ reboots: false });
    expect(simulator.state.wait?.blockers.map(({ kind }) => kind)).toEqual(['consent']);
    expect(simulator.notices.slice(noticesBefore).map(({ kind }) => kind)).toContain('WaitStarted');
    expect(simulator.state.deployment?.snoozes).toMatchObject({ count: 1, active: null });
    expect(simulator.state.wait).toMatchObject({ waitedMs: 901_000, snoozedMs: 900_000 });
  });

  it('does not count the download as waiting', () => {
    const settings = consentAt('ArtifactInstall_Enter', { onExpire: 'fail', consentTimeoutSeconds: 60 });
    const simulator = new FlowSimulator({ settings }).boot();
    goTo(simulator, 'download');
    simulator.passTime(10 * DAY_MS);
    goTo(simulator, 'install-gate');
    expect(simulator.state.wait?.waitedMs).toBe(0);
  });

  it('happens at every point when every point wants consent, each with its own', () => {
    const simulator = new FlowSimulator({ settings: consentEverywhere() }).boot();
    finish(simulator);
    expect(outcomeOf(simulator)).toBe('ok');
    const [entry] = simulator.state.history;
    expect(entry?.consents.map(({ point }) => point)).toEqual(HOLD_POINTS.slice(0, 4));
    expect(entry?.passages.map(({ point }) => point)).toEqual(HOLD_POINTS.slice(0, 4));
    const back = new FlowSimulator({
      settings: consentEverywhere(),
      faults: [{ kind: 'error', where: 'C' }],
    });
    finish(back.boot());
    expect(back.state.history[0]?.passages.map(({ point }) => point)).toEqual(HOLD_POINTS);
  });

  it('at the reboot counts a reboot made by hand as the update’s', () => {
    const simulator = reach('reboot-gate');
    simulator.restart({ reboots: true });
    expect(simulator.step).toBe('verify-reboot');
    finish(simulator);
    expect(outcomeOf(simulator)).toBe('ok');
    expect(simulator.chain()).not.toMatch(/ R\+| R /);
    expect(reasonsAt(simulator, 'ArtifactReboot_Enter')).toEqual(['rebooted-by-hand']);
  });

  it('at the commit verifies the new version again after a reboot, and says why it asks again', () => {
    const simulator = reach('commit-gate');
    simulator.restart({ reboots: true });
    expect(simulator.jobs.map(({ call }) => call)).toEqual(['VR']);
    simulator.run();
    expect(simulator.step).toBe('commit-gate');
    expect(shownOf(simulator).deployment).toMatchObject({ notice: 'rebooted-while-uncommitted' });
    simulator.restart({ reboots: false });
    expect(simulator.state.wait?.notice).toBe('rebooted-while-uncommitted');
    expect(outcomeOf(finish(simulator))).toBe('ok');
  });

  it('at the commit goes back when the device came up with the old version', () => {
    const simulator = reach('commit-gate');
    simulator.restart({ reboots: true });
    simulator.finishOne(0, { kind: 'error', where: 'VR' });
    finish(simulator);
    expect(simulator.chain()).toMatch(/R- VR R! SR\? RB\+ RB RB- NR\? RR\+ RR VRR RR- F\+ F F- CL$/);
    expect(outcomeOf(simulator)).toBe('back');
    expect(simulator.state.history[0]).toMatchObject({
      result: 'rolled-back',
      failure: { name: 'Reboot', details: { reason: 'rebooted-while-uncommitted' } },
    });
  });

  it('at the commit goes on where it was when the service is restarted while it verifies', () => {
    const simulator = reach('commit-reverify');
    simulator.restart({ reboots: false });
    expect(simulator.step).toBe('commit-reverify');
    simulator.restart({ reboots: true });
    expect(simulator.step).toBe('commit-reverify');
    expect(outcomeOf(finish(simulator))).toBe('ok');
  });

  it('with updates switched off holds an offer back before its first byte, and is opened by the switch', () => {
    const simulator = new FlowSimulator().boot().run();
    simulator.command({ kind: 'SetUpdatesEnabled', isEnabled: false, uid: 0 });
    simulator.dispatch({ kind: 'CheckRequested' });
    simulator.run();
    expect(simulator.step).toBe('download-gate');
    expect(simulator.trace).not.toContain('D+');
    expect(() => continueNow(simulator)).not.toThrow();
    expect(simulator.step).toBe('download-gate');
    simulator.restart({ reboots: true });
    expect(simulator.step).toBe('download-gate');
    simulator.command({ kind: 'SetUpdatesEnabled', isEnabled: true, uid: 0 });
    expect(outcomeOf(finish(simulator))).toBe('ok');
  });

  it('does not begin where updates are switched off behind the download gate', () => {
    const simulator = reach('download-enter');
    simulator.command({ kind: 'SetUpdatesEnabled', isEnabled: false, uid: 0 });
    simulator.runOut();
    expect(outcomeOf(simulator)).toBe('ok');
  });
});

describe('a pause', () => {
  it('between gates takes hold at the next one', () => {
    const simulator = reach('install');
    simulator.command(pause);
    simulator.run();
    expect(simulator.step).toBe('reboot-gate');
    expect(simulator.state.wait?.blockers).toMatchObject([{ kind: 'pause', owner: 'uid:1000' }]);
    simulator.command(resume);
    simulator.run();
    expect(outcomeOf(simulator)).toBe('ok');
  });

  it('suspends the download, and a resume lets it go on', () => {
    const simulator = reach('download');
    simulator.command(pause);
    simulator.run();
    expect(simulator.step).toBe('download');
    expect(simulator.trace).not.toContain('D');
    simulator.command(resume);
    simulator.run();
    expect(outcomeOf(simulator)).toBe('ok');
  });

  it('before the download lets it begin suspended', () => {
    const simulator = reach('download-enter');
    simulator.command(pause);
    simulator.run();
    const download = simulator.ticks
      .flatMap(({ effects }) => effects)
      .find(({ kind }) => kind === 'download');
    expect(download).toMatchObject({ isSuspended: true });
    expect(simulator.step).toBe('download');
  });

  it('does not keep a suspended download from being aborted', () => {
    const simulator = reach('download');
    simulator.command(pause);
    simulator.command({ kind: 'Abort', deploymentId: DEPLOYMENT_ID, uid: 7, reason: '' });
    simulator.run();
    expect(simulator.state.history[0]?.result).toBe('aborted');
  });

  it('survives restart and reboot', () => {
    for (const reboots of [false, true]) {
      const simulator = reach('install-gate');
      simulator.command(pause);
      simulator.restart({ reboots });
      expect(shownOf(simulator).isPaused).toBe(true);
      expect(simulator.state.wait?.blockers.map(({ kind }) => kind)).toEqual(['consent', 'pause']);
    }
  });

  it('and a resume asked for twice change nothing and are answered', () => {
    const simulator = reach('install-gate');
    simulator.command(pause);
    const paused = simulator.state;
    simulator.command(pause);
    expect(simulator.state).toBe(paused);
    simulator.command(resume);
    const resumed = simulator.state;
    simulator.command(resume);
    expect(simulator.state).toBe(resumed);
  });

  it('holds the way back at the rollback reboot, up to its ceiling', () => {
    const simulator = reach('rollback');
    simulator.command(pause);
    simulator.run();
    expect(simulator.step).toBe('rollback-reboot-gate');
    simulator.advance(7 * DAY_MS);
    simulator.run();
    expect(outcomeOf(simulator)).toBe('back');
    expect(simulator.chain()).toContain('RR+ RR VRR RR-');
  });
});

import {
  announce,
  change,
  changeDeployment,
  changeSchedule,
  logDeployment,
  order,
  recordFailure,
  type Draft,
} from './draft.ts';
import type { UnmetCondition } from './control/condition.ts';
import type { Effect } from './effect.ts';
import type { Failure } from './errors.ts';
import type { EventBody, UpdateEvent } from './event.ts';
import {
  askForAbort,
  finishAuthorization,
  finishCheck,
  finishDownload,
  finishReport,
  finishWork,
} from './outcome.ts';
import { progressDownloaded } from './progress.ts';
import {
  addHold,
  loseHolder,
  refreshHold,
  releaseHold,
  setControlMap,
  settleHolds,
  takeInTime,
} from './holding.ts';
import { forgetWritten, recordDecision } from './proof.ts';
import {
  end,
  giveConsent,
  install,
  lookAgain,
  pause,
  reportHealth,
  resume,
  snooze,
  switchUpdates,
  unsnooze,
} from './request.ts';
import { restart } from './restart.ts';
import { wantRetry } from './set-aside.ts';
import type { UpdateState } from './state.ts';
import { isWaitingForStore } from './deployment-end.ts';
import { FLOW, WORK_EVENTS } from './transition-table.ts';
import { takeFetchedMap } from './map-refresh.ts';
import { tickAtGate } from './waiting.ts';
import { enter, follow, followGate, spoil, startWork } from './walk.ts';

/**
 * Theory of operation. Something happens (an event), the flow moves (this function), work is ordered (effects),
 * and the outcome of that work is a new event. The function does no I/O, reads no clock and never throws; time
 * and random values come with the event. Which step follows which is data: transition-table.ts. Work carries a
 * `workId`; an outcome with another id belongs to work that nobody waits for any more, and changes nothing.
 *
 * The caller stores the new state, then publishes it, then carries out the effects, in that order: after a power
 * cut the device goes on from a state whose work may be repeated, never from one it did not know it had entered.
 */
export interface Transition {
  readonly state: UpdateState;
  readonly effects: readonly Effect[];
}

export function transition(state: UpdateState, event: UpdateEvent): Transition {
  const draft: Draft = { state, effects: [], event };
  // What has run out by now has run out before this event says anything. A start counts by itself.
  if (event.kind !== 'ServiceStarted') takeInTime(draft);
  apply(draft, event);
  settleHolds(draft, state);
  if (hasMoved(state, draft.state)) announce(draft, { kind: 'StateChanged' });
  return { state: draft.state, effects: draft.effects };
}

/** Whether no step has been entered and no work begun between the two. */
export function isSameWork(before: UpdateState, after: UpdateState): boolean {
  return before.step === after.step && before.workId === after.workId;
}

/** Whether the new state must be on disk before it is acted on. Idle polling and progress figures are not. */
export function needsSaving(before: UpdateState, after: UpdateState): boolean {
  return (
    before.installed !== after.installed ||
    before.updatesSwitch !== after.updatesSwitch ||
    before.deployment !== after.deployment ||
    before.wait !== after.wait ||
    before.history !== after.history ||
    before.setAside !== after.setAside ||
    before.holds !== after.holds ||
    before.controlMaps !== after.controlMaps ||
    before.journal.lastSeq !== after.journal.lastSeq ||
    before.bootId !== after.bootId ||
    (after.deployment !== null && (before.step !== after.step || before.workId !== after.workId))
  );
}

function hasMoved(before: UpdateState, after: UpdateState): boolean {
  return before.step !== after.step || (before.deployment?.id ?? '') !== (after.deployment?.id ?? '');
}

function apply(draft: Draft, event: EventBody): void {
  if ('workId' in event && !isOutcomeOfPresentWork(draft.state, event)) return;
  switch (event.kind) {
    case 'ServiceStarted':
      restart(draft, event);
      return;
    case 'ScriptsFinished':
    case 'ModuleFinished':
    case 'ScriptVersionChecked':
      finishWork(draft, event.failure === null ? 'done' : 'failed', event.failure);
      return;
    case 'DownloadFinished':
      finishDownload(draft, event.failure);
      return;
    case 'QuestionFailed':
    case 'HostRebootFailed':
      finishWork(draft, 'failed', event.failure);
      return;
    case 'RebootNeedAnswered':
      changeDeployment(draft, { rebootNeed: event.answer });
      finishWork(draft, event.answer === 'No' ? 'no-reboot' : 'reboot', null);
      return;
    case 'RollbackSupportAnswered':
      finishWork(draft, event.isSupported ? 'supported' : 'unsupported', null);
      return;
    case 'ArtifactVerified':
      changeDeployment(draft, { artifact: event.artifact, sizeBytes: event.sizeBytes });
      change(draft, {
        serial: draft.state.serial + 1,
        progress: { ...draft.state.progress, sizeBytes: event.sizeBytes },
      });
      order(draft, { kind: 'takePayload', workId: event.workId });
      return;
    case 'DownloadProgressed':
      change(draft, {
        progress: progressDownloaded(
          draft.state.progress,
          event.downloadedBytes,
          draft.event.at.bootMs,
          FLOW.download.progress ?? [0, 0],
        ),
      });
      return;
    case 'StatusReported':
      finishReport(draft, event);
      return;
    case 'AuthorizationFinished':
      finishAuthorization(draft, event.failure);
      return;
    case 'DeploymentCheckFinished':
      finishCheck(draft, event);
      return;
    case 'TimerFired':
      fireTimer(draft);
      return;
    case 'SaveFailed':
      failToSave(draft, event);
      return;
    case 'CheckRequested':
      changeSchedule(draft, { isCheckWanted: true });
      if (draft.state.step === 'idle') startWork(draft);
      return;
    case 'InventoryRequested':
      changeSchedule(draft, { isInventoryWanted: true });
      if (draft.state.step === 'idle') startWork(draft);
      return;
    case 'RetryRequested':
      retry(draft, event);
      return;
    case 'InventorySent':
      finishWork(draft, event.failure === null ? 'done' : 'failed', event.failure);
      return;
    case 'CheckPlanned':
      changeSchedule(draft, { nextCheckWallMs: event.nextCheckWallMs });
      change(draft, { serial: draft.state.serial + 1 });
      return;
    case 'ServerStandingChanged':
      if (draft.state.schedule.serverStanding === event.standing) return;
      changeSchedule(draft, { serverStanding: event.standing });
      change(draft, { serial: draft.state.serial + 1 });
      return;
    case 'InstallRequested':
      install(draft, event);
      return;
    case 'ContinueGiven':
      giveConsent(draft, event);
      return;
    case 'SnoozeGiven':
      snooze(draft, event);
      return;
    case 'SnoozeEndRequested':
      unsnooze(draft, event);
      return;
    case 'AbortRequested':
      end(draft, { kind: 'abort', uid: event.uid, reason: event.reason }, event);
      return;
    case 'RollbackRequested':
      end(draft, { kind: 'rollback', uid: event.uid, reason: event.reason }, event);
      return;
    case 'PauseRequested':
      pause(draft, event);
      return;
    case 'ResumeRequested':
      resume(draft, event);
      return;
    case 'UpdatesSwitched':
      switchUpdates(draft, event);
      return;
    case 'HoldAdded':
      addHold(draft, event);
      return;
    case 'HoldRefreshed':
      refreshHold(draft, event);
      return;
    case 'HoldReleased':
      releaseHold(draft, event);
      return;
    case 'HolderVanished':
      loseHolder(draft, event);
      return;
    case 'ControlMapGiven':
      setControlMap(draft, event);
      return;
    case 'ControlMapFetched':
      followGate(draft, takeFetchedMap(draft, event.answer));
      return;
    case 'ConditionsReported':
      reportConditions(draft, event.unmet);
      return;
    case 'WallClockJudged':
      judgeWallClock(draft, event.problem);
      return;
    case 'HealthReported':
      reportHealth(draft, event);
      return;
    case 'AlarmRang':
      // Time has been taken in already.
      return;
    case 'JournalWritten':
      forgetWritten(draft, event.seq);
      return;
  }
}

function retry(draft: Draft, event: Extract<EventBody, { kind: 'RetryRequested' }>): void {
  wantRetry(draft, event);
  recordDecision(draft, 'retry', event, { comment: event.deploymentId });
  changeSchedule(draft, { isCheckWanted: true });
  if (draft.state.step === 'idle') startWork(draft);
}

function reportConditions(draft: Draft, unmet: readonly UnmetCondition[]): void {
  const { visit } = draft.state;
  if (visit === null) return;
  change(draft, { visit: { ...visit, unmet } });
  lookAgain(draft, null);
}

function judgeWallClock(draft: Draft, problem: string): void {
  const { visit } = draft.state;
  if (visit === null) return;
  change(draft, { visit: { ...visit, clockProblem: problem } });
  lookAgain(draft, null);
}

function isOutcomeOfPresentWork(
  state: UpdateState,
  event: Extract<EventBody, { readonly workId: number }>,
): boolean {
  return event.workId === state.workId && WORK_EVENTS[FLOW[state.step].work.kind].includes(event.kind);
}

function fireTimer(draft: Draft): void {
  const { work } = FLOW[draft.state.step];
  if (work.kind === 'gate') followGate(draft, tickAtGate(draft));
  else if (work.kind === 'download') askForAbort(draft);
  // Entered again, so that it is stored; counted before.
  else if (isWaitingForStore(draft.state)) enter(draft, draft.state.step, true);
  else if (draft.state.attempts > 0) startWork(draft);
}

/**
 * Without a record there is no going on, except on the way back, which must not depend on the disk. Three things are not
 * done without one even there. A device whose start could not be stored is not rebooted: the next start would know no more
 * than this one, and reboot again. The module's file tree is not removed, because whoever starts from the older record
 * goes back with it. And a success is neither shown nor told before it is stored, because that start would make a lie of it.
 */
function failToSave(draft: Draft, event: Extract<EventBody, { kind: 'SaveFailed' }>): void {
  const { state } = draft;
  const row = FLOW[state.step];
  if (event.isStart === true) change(draft, { isStartUnstored: true });
  if (state.deployment === null) return;
  // What the device is at was stored when it was begun: another step would be done beside it.
  if (event.isWithinWork === true) return;
  if (isFirstBehindCommit(state) && !state.isCommitUnstored) {
    change(draft, { isCommitUnstored: true });
    logDeployment(draft, 'error', `Committed, which could not be stored: ${event.failure.message}`);
  }
  if (state.step === 'cleanup-after-success' && draft.state.isCommitUnstored) {
    waitForStore(draft);
    return;
  }
  if (state.isStartUnstored && row.whenNotStored === 'proceed' && leaveOutReboot(draft, event.failure))
    return;
  switch (row.whenNotStored) {
    case 'proceed':
      return;
    case 'skip':
      logDeployment(draft, 'warning', `${row.step} is left out: ${event.failure.message}`);
      follow(draft, 'done', null);
      return;
    case undefined:
      recordFailure(draft, event.failure);
      follow(draft, row.next.failed === undefined ? 'aborted' : 'failed', null);
      return;
    default:
      recordFailure(draft, event.failure);
      enter(draft, row.whenNotStored);
  }
}

/** The step whose record says for the first time that the update is committed. */
function isFirstBehindCommit({ step, deployment }: UpdateState): boolean {
  return step === 'commit-leave' || (step === 'cleanup-after-success' && !deployment?.artifact?.payloadType);
}

/** The update is over as soon as the store knows of the commit, and nobody hears of a success before. */
function waitForStore(draft: Draft): void {
  const { state } = draft;
  if (isWaitingForStore(state)) return;
  const workId = state.workId + 1;
  change(draft, { workId, attempts: 1, serial: state.serial + 1 });
  order(draft, { kind: 'armTimer', workId, delayMs: STORE_RETRY_MS });
}

/** Time between two attempts to store a commit. */
const STORE_RETRY_MS = 60_000;

/** Whether the old version runs is asked instead; whether this is the reboot of the way back. */
function leaveOutReboot(draft: Draft, failure: Failure): boolean {
  const { step } = draft.state;
  if (step !== 'rollback-reboot-enter' && step !== 'rollback-reboot') return false;
  logDeployment(draft, 'error', `The reboot is left out, it would not be remembered: ${failure.message}`);
  if (step === 'rollback-reboot-enter') enter(draft, 'verify-rollback-reboot');
  else spoil(draft, failure, 'failure-enter');
  return true;
}

/**
 * Drives the pure core with a simulated device: carries out effects, stores what must be stored, and can be killed
 * at any work and right after any save. Does what app/machine.ts and app/effects.ts do, without time and processes.
 */
import { decide, type Command } from '../../src/core/command.ts';
import type { UnmetCondition } from '../../src/core/control/condition.ts';
import type { DecisionEntry } from '../../src/core/control/journal.ts';
import { isFreeOfTheStore, type Effect, type Notice, type ServerStatus } from '../../src/core/effect.ts';
import type { Failure } from '../../src/core/errors.ts';
import type { EventBody, UpdateEvent } from '../../src/core/event.ts';
import type { HoldPoint } from '../../src/core/hold-point.ts';
import { DEFAULT_FLOW_SETTINGS, type FlowSettings } from '../../src/core/settings.ts';
import { initialState, type ArtifactSummary, type FlowStep, type UpdateState } from '../../src/core/state.ts';
import { isSameWork, needsSaving, transition } from '../../src/core/transition.ts';
import {
  callOf,
  failureOfFault,
  isUnlisted,
  SimulatedDevice,
  type DeviceScript,
  type Fault,
} from './simulated-device.ts';

export const OLD = {
  artifactName: 'release-1',
  artifactGroup: '',
  provides: { 'rootfs-image.version': '1' },
};
export const NEW_NAME = 'release-2';
export const DEPLOYMENT_ID = 'b6f9a3d2-0000-4000-8000-000000000001';
export const SERVER_SETTINGS: FlowSettings = { ...DEFAULT_FLOW_SETTINGS, isServerConfigured: true };
const SIZE = 1000;

export const ARTIFACT: ArtifactSummary = {
  artifactName: NEW_NAME,
  artifactGroup: '',
  payloadType: 'probe',
  compatibleDevices: ['bench'],
  provides: { 'rootfs-image.version': '2' },
  clearsProvides: ['rootfs-image.*'],
  digest: `sha256:${'a'.repeat(64)}`,
  isSigned: false,
  releaseNotes: '',
  severity: '',
};

export interface SimulatorOptions {
  readonly device?: Partial<DeviceScript>;
  readonly faults?: readonly Fault[];
  readonly settings?: FlowSettings;
  /** Ends the process right after this save (1 = the first); null = never. */
  readonly killAfterSave?: number | null;
  /** Ends the process while this work is under way (1 = the first ordered); null = never. */
  readonly killAtWork?: number | null;
  /** Whether a kill takes the device down with it. */
  readonly killReboots?: boolean;
  readonly store?: UpdateState;
  /** What comes with the offer; null = no map. */
  readonly offeredMap?: string | null;
  /** What is announced beside the map, in the offer and in answers to refreshes that have the offered map. */
  readonly mapReleasesText?: string;
  /** The server's answers to refreshes of its map, in order; the last one again and again. */
  readonly mapAnswers?: readonly MapAnswer[];
  /** What is not met, as found out at each moment it is asked for; null = no answer ever. */
  readonly conditions?: (point: HoldPoint) => readonly UnmetCondition[] | null;
}

export type MapAnswer = Extract<EventBody, { kind: 'ControlMapFetched' }>['answer'];

export interface SimulatedTick {
  readonly event: UpdateEvent;
  readonly before: UpdateState;
  readonly after: UpdateState;
  readonly effects: readonly Effect[];
}

interface Job {
  readonly effect: Extract<Effect, { readonly workId: number }>;
  readonly call: string;
  readonly fault: Fault | null;
  isCancelled: boolean;
}

const QUIET: Failure = { name: 'AbortedByUser', message: 'cancelled', details: {} };

export class FlowSimulator {
  readonly device: SimulatedDevice;
  state: UpdateState;
  /** Calls in shorthand, and accepted statuses as `[status]`, in order. */
  readonly trace: string[] = [];
  /** Every attempt to report a status. */
  readonly reports: { readonly status: ServerStatus; readonly outcome: string; readonly substate: string }[] =
    [];
  readonly notices: Notice[] = [];
  readonly ticks: SimulatedTick[] = [];
  readonly cancelled: string[] = [];
  /** Every state that was stored, as text. */
  readonly saves: string[] = [];
  readonly jobs: Job[] = [];
  timer: { readonly workId: number; readonly dueMs: number } | null = null;
  /** When holds and maps are due, boot time. */
  alarmMs: number | null = null;
  /** Connections whose end is watched for. */
  readonly watchedHolders = new Set<string>();
  watchedPoint: { readonly workId: number; readonly point: HoldPoint } | null = null;
  isClockWatched = false;
  /** What is found out about the wall clock; null = nothing ever. */
  clockProblem: string | null = '';
  /** The journal file. */
  readonly journal: DecisionEntry[] = [];
  isJournalBroken = false;
  /** Complaints about effects that make no sense. */
  readonly nonsense: string[] = [];
  delaysMs: number[] = [];
  kills = 0;
  wallMs = Date.UTC(2031, 1, 3);
  bootMs = 60_000;
  /** The next saves fail while this says so. */
  isStoreBroken: (state: UpdateState) => boolean = () => false;
  #settings: FlowSettings;
  readonly #options: SimulatorOptions;
  #boot = 1;
  #works = 0;
  #nonce = 0;
  #isSuspended = false;
  #takenWorkId = 0;
  #writes: (readonly DecisionEntry[])[] = [];
  #fetches = 0;

  constructor(options: SimulatorOptions = {}) {
    this.#options = options;
    this.#settings = options.settings ?? SERVER_SETTINGS;
    this.device = new SimulatedDevice(
      { needsReboot: 'Yes', supportsRollback: true, ...options.device },
      options.faults ?? [],
    );
    this.state = options.store ?? initialState(OLD);
    this.saves.push(JSON.stringify(this.state));
  }

  get step(): FlowStep {
    return this.state.step;
  }

  /** Calls that scenarios list, without Idle and Sync unless asked for. */
  chain(withIdle = false): string {
    return this.trace
      .filter((entry) => !entry.startsWith('[') && (withIdle || !/^(Idle|Sync)/.test(entry)))
      .join(' ');
  }

  /** First process start. */
  boot(): this {
    this.dispatch({
      kind: 'ServiceStarted',
      bootId: this.#bootId,
      settings: this.#settings,
      bootstrap: null,
    });
    return this;
  }

  /** Ends the process where it is and starts it again from what was stored last. */
  restart(how: { readonly reboots: boolean; readonly settings?: FlowSettings }): void {
    this.kills += 1;
    this.jobs.length = 0;
    this.timer = null;
    this.alarmMs = null;
    this.watchedHolders.clear();
    this.watchedPoint = null;
    this.isClockWatched = false;
    this.#writes = [];
    this.#isSuspended = false;
    if (how.settings) this.#settings = how.settings;
    if (how.reboots) {
      this.#boot += 1;
      this.bootMs = 1_000;
      this.wallMs += 30_000;
    } else {
      this.passTime(2_000);
    }
    this.state = JSON.parse(this.saves.at(-1) as string) as UpdateState;
    this.boot();
  }

  /** What a client asks for: refusals throw their name. */
  command(command: Command): string {
    const decision = decide(this.state, command, this.bootMs);
    if (decision.kind === 'refused') throw new Error(decision.refusal.name);
    if (decision.kind === 'answered') return decision.reply;
    this.dispatch(decision.event);
    const reply = decision.reply(this.state);
    if (typeof reply !== 'string') throw new Error(reply.name);
    return reply;
  }

  installLocal(artifact: ArtifactSummary | null = this.artifact): this {
    this.dispatch({
      kind: 'InstallRequested',
      deploymentId: DEPLOYMENT_ID,
      location: { kind: 'file', path: '/media/usb/release-2.mender' },
      requiredDigest: '',
      uid: 1000,
      artifact,
      sizeBytes: SIZE,
    });
    return this;
  }

  get artifact(): ArtifactSummary {
    return this.device.script.payload === 'empty' ? { ...ARTIFACT, payloadType: null } : ARTIFACT;
  }

  /** Lets everything that is under way finish, until a wait, idle, or a timer. */
  run(until: (simulator: FlowSimulator) => boolean = () => false): this {
    let guard = 0;
    this.writeJournal();
    while (this.jobs.length > 0 && !until(this)) {
      if (++guard > 2_000) throw new Error(`no end in ${this.step}: ${this.trace.slice(-20).join(' ')}`);
      const index = this.jobs.findIndex(
        (job) => !(job.effect.kind === 'download' && this.#isSuspended && !job.isCancelled),
      );
      const [job] = this.jobs.splice(index, index < 0 ? 0 : 1);
      if (!job) return this;
      this.#finish(job);
      this.writeJournal();
    }
    return this;
  }

  /** The journal file takes in what was ordered, without what it has. */
  writeJournal(): void {
    for (const entries of this.#writes.splice(0)) {
      if (this.isJournalBroken) continue;
      const lastSeq = this.journal.at(-1)?.seq ?? 0;
      this.journal.push(...entries.filter(({ seq }) => seq > lastSeq));
      this.dispatch({ kind: 'JournalWritten', seq: this.journal.at(-1)?.seq ?? 0 });
    }
  }

  /** Something about the conditions has changed. */
  report(unmet: readonly UnmetCondition[]): void {
    if (this.watchedPoint === null) throw new Error('nobody watches the conditions');
    this.dispatch({ kind: 'ConditionsReported', workId: this.watchedPoint.workId, unmet });
  }

  /** Something about the wall clock has changed, or it has been set. */
  judgeClock(problem: string): void {
    if (!this.isClockWatched) throw new Error('nobody watches the clock');
    this.dispatch({ kind: 'WallClockJudged', workId: this.state.workId, problem });
  }

  /** Ends one piece of work, with a fault or without; the scripted faults are not asked. */
  finishOne(index: number, fault: Fault | null): void {
    const [job] = this.jobs.splice(index, 1);
    if (job) this.#finish({ ...job, fault });
  }

  /**
   * As `run`, and fires timers that are not those of a wait, nor of work that cannot go on (a download that is suspended);
   * asks for a deployment `checks` times.
   */
  runOut(checks = 0): this {
    for (let left = checks, turns = 0; ; turns += 1) {
      if (turns > 500) throw new Error(`no end in ${this.step}`);
      this.run();
      if (this.timer !== null && this.state.wait === null && this.jobs.length === 0) this.fireTimer();
      else if (this.step === 'idle' && left > 0 && this.state.history.length === 0) {
        left -= 1;
        this.dispatch({ kind: 'CheckRequested' });
      } else return this;
    }
  }

  fireTimer(): void {
    const { timer } = this;
    if (timer === null) throw new Error('no timer is armed');
    this.passTime(Math.max(0, timer.dueMs - this.bootMs));
    this.timer = null;
    this.dispatch({ kind: 'TimerFired', workId: timer.workId });
  }

  ringAlarm(): void {
    if (this.alarmMs === null) throw new Error('no alarm is set');
    this.passTime(Math.max(0, this.alarmMs - this.bootMs));
    this.alarmMs = null;
    this.dispatch({ kind: 'AlarmRang' });
  }

  /** Time passes, and every timer that falls due fires. */
  advance(ms: number, runsWork = true): this {
    const untilMs = this.bootMs + ms;
    for (let turns = 0; ; turns += 1) {
      if (turns > 100_000) throw new Error(`time stands still in ${this.step}`);
      const timerMs = this.timer?.dueMs ?? Infinity;
      if (Math.min(timerMs, this.alarmMs ?? Infinity) > untilMs) break;
      if (timerMs <= (this.alarmMs ?? Infinity)) this.fireTimer();
      else this.ringAlarm();
      if (runsWork) this.run();
    }
    this.passTime(Math.max(0, untilMs - this.bootMs));
    return this;
  }

  passTime(ms: number): void {
    this.bootMs += ms;
    this.wallMs += ms;
  }

  stamp(body: EventBody): UpdateEvent {
    this.#nonce += 1;
    const nonce = this.#nonce.toString(16).padStart(32, '0');
    return { ...body, at: { wallMs: this.wallMs, bootMs: this.bootMs }, nonce };
  }

  dispatch(body: EventBody): void {
    this.take(this.stamp(body));
  }

  /** As `settle()` in app/machine.ts. */
  take(event: UpdateEvent): void {
    const before = this.state;
    let { state, effects } = transition(before, event);
    if (needsSaving(before, state)) {
      for (let retreats = 0; !this.#save(state) && retreats < 4; retreats += 1) {
        if (isClientRequest(event)) throw new Error('Storage');
        const failed = this.stamp({
          kind: 'SaveFailed',
          failure: { name: 'Storage', message: 'disk full', details: {} },
          ...(event.kind === 'ServiceStarted' && retreats === 0 ? { isStart: true } : {}),
          ...(isSameWork(before, state) ? { isWithinWork: true } : {}),
        });
        const retreat = transition(state, failed);
        if (retreat.state === state) break;
        const kept = retreat.state.workId === state.workId ? effects : effects.filter(isFreeOfTheStore);
        state = retreat.state;
        effects = [...kept, ...retreat.effects];
      }
    }
    if (
      this.#options.killAfterSave === this.saves.length - 1 &&
      this.kills === 0 &&
      needsSaving(before, state)
    ) {
      this.restart({ reboots: this.#options.killReboots ?? false });
      return;
    }
    this.state = state;
    this.ticks.push({ event, before, after: state, effects });
    for (const effect of effects) this.#begin(effect);
  }

  #save(state: UpdateState): boolean {
    if (this.isStoreBroken(state)) return false;
    this.saves.push(JSON.stringify(state));
    return true;
  }

  get #bootId(): string {
    return `boot-${this.#boot}`;
  }

  #begin(effect: Effect): void {
    switch (effect.kind) {
      case 'announce':
        this.notices.push(effect.notice);
        return;
      case 'armTimer':
        this.timer = { workId: effect.workId, dueMs: this.bootMs + effect.delayMs };
        // That of a download asks whether the server still wants it; nothing is tried again.
        if (this.state.step !== 'download') this.delaysMs.push(effect.delayMs);
        return;
      case 'disarmTimer':
        this.timer = null;
        return;
      case 'cancelWork':
        for (const job of this.jobs) {
          job.isCancelled = true;
          this.cancelled.push(job.call);
        }
        return;
      case 'takePayload':
        this.#takenWorkId = effect.workId;
        return;
      case 'suspendDownload':
      case 'resumeDownload':
        this.#isSuspended = effect.kind === 'suspendDownload';
        return;
      case 'setAlarm':
        this.alarmMs = effect.delayMs === null ? null : this.bootMs + effect.delayMs;
        return;
      case 'watchHolder':
        if (this.watchedHolders.has(effect.connection)) this.nonsense.push(`${effect.connection} twice`);
        this.watchedHolders.add(effect.connection);
        return;
      case 'unwatchHolder':
        if (!this.watchedHolders.delete(effect.connection))
          this.nonsense.push(`${effect.connection} unwatched`);
        return;
      case 'unwatchConditions':
        if (this.watchedPoint === null) this.nonsense.push('conditions unwatched');
        this.watchedPoint = null;
        return;
      case 'unwatchWallClock':
        if (!this.isClockWatched) this.nonsense.push('the clock unwatched');
        this.isClockWatched = false;
        return;
      case 'writeJournal':
        this.#writes.push(effect.entries);
        return;
      case 'openDeploymentLog':
      case 'logDeployment':
      case 'closeDeploymentLog':
        return;
      default: {
        const call = callOf(effect);
        if (!isUnlisted(call)) this.trace.push(call);
        if (effect.kind === 'download') this.#isSuspended = effect.isSuspended;
        if (effect.kind === 'watchConditions') this.watchedPoint = effect;
        if (effect.kind === 'watchWallClock') this.isClockWatched = true;
        this.jobs.push({ effect, call, fault: this.#fault(effect, call), isCancelled: false });
        this.#works += 1;
      }
    }
  }

  #fault(effect: Effect, call: string): Fault | null {
    if (this.#options.killAtWork === this.#works + 1 && this.kills === 0)
      return { kind: 'kill', where: call };
    if (effect.kind === 'reportStatus') return this.device.meetStatus(effect.status);
    if (effect.kind === 'download') return this.device.meet('header') ?? this.device.meet('device-type');
    return call === '' ? null : this.device.meet(call);
  }

  #finish(job: Job): void {
    if (job.fault?.kind === 'kill') {
      this.restart({ reboots: this.#options.killReboots ?? false });
      return;
    }
    const { workId } = job.effect;
    const failure = job.isCancelled ? QUIET : job.fault ? failureOfFault(job.fault, job.call) : null;
    switch (job.effect.kind) {
      case 'runScripts':
        this.dispatch({ kind: 'ScriptsFinished', workId, failure });
        return;
      case 'runModule':
        if (/^R?R$/.test(job.call) && failure === null && this.device.script.rebootsTakeHostDown) {
          this.restart({ reboots: true });
        } else this.dispatch({ kind: 'ModuleFinished', workId, failure });
        return;
      case 'rebootHost':
        if (failure) this.dispatch({ kind: 'HostRebootFailed', workId, failure });
        else this.restart({ reboots: true });
        return;
      case 'askNeedsReboot':
        this.dispatch(
          failure
            ? { kind: 'QuestionFailed', workId, failure }
            : { kind: 'RebootNeedAnswered', workId, answer: this.device.script.needsReboot },
        );
        return;
      case 'askSupportsRollback':
        this.dispatch(
          failure
            ? { kind: 'QuestionFailed', workId, failure }
            : { kind: 'RollbackSupportAnswered', workId, isSupported: this.device.script.supportsRollback },
        );
        return;
      case 'authorize':
        this.dispatch({ kind: 'AuthorizationFinished', workId, failure });
        return;
      case 'checkScriptVersion':
        this.dispatch({ kind: 'ScriptVersionChecked', workId, failure });
        return;
      case 'sendInventory':
        this.dispatch({ kind: 'InventorySent', workId, failure });
        return;
      case 'checkForDeployment':
        this.dispatch({
          kind: 'DeploymentCheckFinished',
          workId,
          offer: failure ? null : this.#offer(),
          failure,
        });
        return;
      case 'reportStatus':
        this.#finishReport(job, job.effect);
        return;
      case 'fetchControlMap':
        this.dispatch({ kind: 'ControlMapFetched', workId, answer: this.#mapAnswer(failure) });
        return;
      case 'watchConditions': {
        const unmet = (this.#options.conditions ?? (() => []))(job.effect.point);
        if (unmet !== null) this.dispatch({ kind: 'ConditionsReported', workId, unmet });
        return;
      }
      case 'watchWallClock':
        if (this.clockProblem !== null) this.judgeClock(this.clockProblem);
        return;
      case 'download':
        this.#finishDownload(job, failure);
        return;
    }
  }

  #offer() {
    if (this.reports.some(({ status, outcome }) => outcome === 'accepted' && isFinal(status))) return null;
    const location = { kind: 'url', url: 'http://server/release-2.mender' } as const;
    const controlMapText = this.#options.offeredMap ?? null;
    const { mapReleasesText } = this.#options;
    const releases = mapReleasesText === undefined ? {} : { mapReleasesText };
    return { deploymentId: DEPLOYMENT_ID, artifactName: NEW_NAME, location, controlMapText, ...releases };
  }

  #mapAnswer(failure: Failure | null): MapAnswer {
    if (failure !== null) return { kind: 'failed', failure, retryAfterSeconds: 0 };
    const { mapAnswers = [] } = this.#options;
    const answer = mapAnswers[Math.min(this.#fetches, mapAnswers.length - 1)];
    this.#fetches += 1;
    if (answer) return answer;
    const text = this.#options.offeredMap;
    const { mapReleasesText } = this.#options;
    if (text == null) return { kind: 'deployment-gone' };
    return { kind: 'map', text, ...(mapReleasesText !== undefined && { mapReleasesText }) };
  }

  #finishReport(job: Job, effect: Extract<Effect, { kind: 'reportStatus' }>): void {
    const { workId, status, substate } = effect;
    const struck = job.fault?.kind === 'aborted' ? 'aborted' : 'unreachable';
    const outcome = job.isCancelled || job.fault ? struck : 'accepted';
    this.reports.push({ status, outcome, substate });
    if (outcome === 'accepted') this.trace.push(`[${status}]`);
    this.dispatch({ kind: 'StatusReported', workId, outcome, retryAfterSeconds: 0 });
  }

  #finishDownload(job: Job, failure: Failure | null): void {
    const { workId } = job.effect;
    if (failure !== null) {
      this.dispatch({ kind: 'DownloadFinished', workId, failure });
      return;
    }
    this.dispatch({ kind: 'ArtifactVerified', workId, artifact: this.artifact, sizeBytes: SIZE });
    if (this.state.workId !== workId) return;
    if (this.#takenWorkId !== workId) this.nonsense.push('the payload is not taken');
    const isEmpty = this.artifact.payloadType === null;
    if (!isEmpty) this.trace.push('PS?', 'D');
    const fault = isEmpty ? null : this.device.meet('D');
    if (fault?.kind === 'kill') {
      this.restart({ reboots: this.#options.killReboots ?? false });
      return;
    }
    this.dispatch({ kind: 'DownloadProgressed', workId, downloadedBytes: SIZE / 2 });
    this.passTime(1_000);
    if (!fault) this.dispatch({ kind: 'DownloadProgressed', workId, downloadedBytes: SIZE });
    this.dispatch({ kind: 'DownloadFinished', workId, failure: fault && failureOfFault(fault, 'D') });
  }
}

export function isFinal(status: ServerStatus): boolean {
  return status === 'success' || status === 'failure' || status === 'already-installed';
}

function isClientRequest({ kind }: UpdateEvent): boolean {
  return /Requested$|Given$|^UpdatesSwitched$|^Hold(Added|Refreshed|Released)$|^HealthReported$/.test(kind);
}

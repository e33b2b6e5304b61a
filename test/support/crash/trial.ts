/**
 * One case of the crash matrix inside the test's process: the real core, loop, effects, artifact reader and store code,
 * on a disk, a device, a server and a clock of the test's. `strike` names the save that the fault meets.
 */
import type { Subscription } from 'rxjs';
import { FileStore } from '../../../src/adapters/store/file-store.ts';
import {
  documentOf,
  parseStateDocument,
  type StateDocument,
} from '../../../src/adapters/store/state-document.ts';
import type { Machine } from '../../../src/app/machine.ts';
import { isWaitingForStore } from '../../../src/core/deployment-end.ts';
import { HOLD_POINTS } from '../../../src/core/hold-point.ts';
import { DEFAULT_FLOW_SETTINGS, type FlowSettings } from '../../../src/core/settings.ts';
import { initialState, type UpdateState } from '../../../src/core/state.ts';
import type { ArtifactLocation } from '../../../src/ports/artifact-source.ts';
import { FaultyFiles, SimulatedDisk } from '../faulty-files.ts';
import { withPoint } from '../flow-steps.ts';
import { randomFrom } from '../random.ts';
import { RecordingLog } from '../recording-log.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { FAULTS_OF_FILES, WAYS, type Scenario, type SaveName, type Strike } from './plan.ts';
import { ARTIFACT_BYTES, NEW_NAME, previewedArtifact } from './trial-artifact.ts';
import { TrialDevice, type Version } from './trial-device.ts';
import { TrialServer } from './trial-server.ts';
import { startTrialService } from './trial-service.ts';
import { TrialWitness } from './trial-witness.ts';

const DIRECTORY = '/data/holdpoint';
export const ORIGINAL = { artifactName: 'original', artifactGroup: '', provides: {} };
const DEPLOYMENT_ID = 'b6f9a3d2-0000-4000-8000-000000000001';
/** A wait nobody can end any more takes no longer; waits store their time every ten minutes. */
const CEILING_SECONDS = 1200;
/** Starts of the service in one trial: more, and the device goes up and down for ever. */
const MAX_STARTS = 10;
/** Of one consent, by a store that fails. */
export const MAX_REFUSALS = 3;
/** So little that it is surely not the whole: what is written over may end alike. Any tear: integration/store/crash. */
const TORN_SHARE = 0.1;

export interface Ending {
  readonly result: string;
  /** Of the failure the deployment ended with; '' = none. */
  readonly failure: string;
  readonly installedName: string;
  readonly running: Version;
}

export interface TrialResult {
  readonly saves: readonly SaveName[];
  /** Whether the fault was really met. */
  readonly isStruck: boolean;
  /** The end of the deployment, and the end of it after another start with a store that works. */
  readonly endings: readonly [first: Ending, final: Ending];
  /** Results the server was told, without repeats. */
  readonly told: readonly string[];
  /** Calls in shorthand, since the service was started again; all of them when it never was. */
  readonly callsAfter: readonly string[];
  readonly calls: readonly string[];
  /** How often somebody was asked at the gate. */
  readonly asked: number;
  readonly historyLength: number;
  /** Lines of the service log that no fault explains, and calls that had no right to happen. */
  readonly complaints: readonly string[];
}

type Boot = 'same' | 'next';

export class Trial {
  readonly #scenario: Scenario;
  readonly #strike: Strike | null;
  readonly #random: () => number;
  readonly #disk = new SimulatedDisk(DIRECTORY);
  readonly #files: FaultyFiles;
  readonly #clock = new VirtualClock();
  readonly #device: TrialDevice;
  readonly #server: TrialServer;
  readonly #log = new RecordingLog();
  readonly #saves: SaveName[] = [];
  readonly #occurrences = new Map<string, number>();
  readonly #witness = new TrialWitness();
  #running: Subscription | null = null;
  #machine: Machine | null = null;
  /** How the present process has ended, until it is started again. */
  #death: Boot | null = null;
  #deathIsCut = false;
  #activity = 0;
  #works = 0;
  #boot = 1;
  #starts = 0;
  #nonces = 0;
  #asked = 0;
  #callsBeforeStart = 0;
  #isStruck = false;

  static async run(scenario: Scenario, strike: Strike | null = null, seed = 1): Promise<TrialResult> {
    const trial = new Trial(scenario, strike, seed);
    try {
      return await trial.#run();
    } finally {
      trial.#running?.unsubscribe();
    }
  }

  private constructor(scenario: Scenario, strike: Strike | null, seed: number) {
    this.#scenario = scenario;
    this.#strike = strike;
    this.#random = randomFrom(seed);
    this.#files = new FaultyFiles(this.#disk, () => this.#die('next', true));
    this.#device = new TrialDevice({
      needsReboot: scenario.needsReboot,
      supportsRollback: scenario.supportsRollback,
      failing: WAYS[scenario.way],
      rebootHost: () => this.#rebootHost(),
    });
    this.#server = new TrialServer({
      deploymentId: DEPLOYMENT_ID,
      artifactName: NEW_NAME,
      location: { kind: 'url', url: 'http://server/release-2.mender' },
      controlMapText: null,
    });
  }

  async #run(): Promise<TrialResult> {
    await this.#start();
    await this.#order();
    await this.#runToEnd();
    const first = this.#ending();
    // Whatever the store could not take in is over now: it works again, and what it holds is what counts.
    const isCut = this.#strike?.fault === 'read-only' || this.#strike?.fault === 'stuck-read-only';
    this.#files.setFault(null);
    this.#die(isCut ? 'next' : 'same', false);
    await this.#runToEnd();
    return {
      saves: this.#saves,
      isStruck: this.#isStruck,
      endings: [first, this.#ending()],
      told: this.#server.results,
      callsAfter: this.#device.calls.slice(this.#callsBeforeStart),
      calls: this.#device.calls,
      asked: this.#asked,
      historyLength: this.#state.history.length,
      complaints: [
        ...this.#witness.complaints,
        ...(this.#isOrdered && this.#state.history.length === 0
          ? ['an order that was taken is forgotten']
          : []),
        ...this.#unexplained(),
      ],
    };
  }

  get #state(): UpdateState {
    if (this.#machine === null) throw new Error('the service does not run');
    return this.#machine.state();
  }

  get #isHeldBack(): boolean {
    return isWaitingForStore(this.#state);
  }

  get #settings(): FlowSettings {
    const base = {
      ...DEFAULT_FLOW_SETTINGS,
      isServerConfigured: this.#scenario.source === 'server',
      // As shipped, for conditions.d: every gate is stored before what is found out there comes in.
      conditionPoints: HOLD_POINTS,
    };
    const { gate } = this.#scenario;
    if (gate === null) return base;
    return withPoint(
      gate,
      { consent: 'required', onExpire: 'keep-waiting', ceilingSeconds: CEILING_SECONDS, onCeiling: 'fail' },
      base,
    );
  }

  async #start(): Promise<void> {
    if (++this.#starts > MAX_STARTS) throw new Error(`the service was started ${MAX_STARTS} times: no end`);
    const store = new FileStore<StateDocument>({
      directory: DIRECTORY,
      name: 'state',
      parse: parseStateDocument,
      files: this.#files,
    });
    const { document } = await store.load();
    const seed = document?.state ?? initialState(ORIGINAL);
    const nonce = (): string => (this.#nonces += 1).toString(16).padStart(32, '0');
    const { machine, running } = startTrialService({
      seed,
      settings: this.#settings,
      bootId: `boot-${this.#boot}`,
      clock: this.#clock,
      log: this.#log,
      nonce,
      save: (state) => this.#save(store, state),
      device: this.#device,
      server: this.#server,
      witness: this.#witness,
      rebootHost: () => this.#rebootHost(),
      onTick: () => (this.#activity += 1),
      onWork: (ended) => {
        this.#works += 1;
        void ended.then(() => (this.#works -= 1));
      },
    });
    this.#running = running;
    this.#machine = machine;
  }

  /** Begins the update: the server has it, or somebody orders it. */
  async #order(): Promise<void> {
    await this.#quiesce();
    if (this.#scenario.source === 'server' || this.#machine === null || this.#death !== null) return;
    this.#isOrdered = await this.#command({
      kind: 'Install',
      deploymentId: DEPLOYMENT_ID,
      location: { kind: 'file', path: '/media/usb/release-2.mender' } satisfies ArtifactLocation,
      requiredDigest: '',
      uid: 0,
      artifact: await previewedArtifact(),
      sizeBytes: ARTIFACT_BYTES.length,
    });
  }

  /** What a client asks for; false = refused, or the process has ended over it. */
  async #command(command: Parameters<Machine['command']>[0]): Promise<boolean> {
    let isDone = false;
    this.#machine?.command(command).then(
      () => (isDone = true),
      () => {},
    );
    await this.#quiesce();
    return isDone;
  }

  async #save(store: FileStore<StateDocument>, state: UpdateState): Promise<void> {
    const occurrence = (this.#occurrences.get(state.step) ?? 0) + 1;
    this.#occurrences.set(state.step, occurrence);
    const name: SaveName = `${state.step}#${occurrence}`;
    this.#saves.push(name);
    const strike = this.#strike?.save === name ? this.#strike.fault : null;
    const isCut = strike?.startsWith('cut') ?? false;
    if (strike === 'kill-before' || strike === 'cut-before') return this.#endHere(isCut);
    const fault = strike === null ? undefined : FAULTS_OF_FILES[strike];
    if (fault)
      this.#files.setFault(strike === 'torn' ? { ...fault, tear: this.#random() * TORN_SHARE } : fault);
    try {
      await store.save(documentOf(state));
      this.#witness.stored(state);
    } finally {
      // Only what was met counts: the store may have changed how it writes.
      if (fault) this.#isStruck = this.#files.strikes > 0;
      if (strike === 'fsync') this.#files.setFault(null);
      this.#activity += 1;
    }
    if (strike === 'kill-after' || strike === 'cut-after') return this.#endHere(isCut);
  }

  #endHere(isCut: boolean): Promise<never> {
    this.#isStruck = true;
    this.#die(isCut ? 'next' : 'same', isCut);
    return new Promise<never>(() => {});
  }

  /** The end of the process: nothing it has begun goes on, nothing is stored any more. */
  #die(boot: Boot, isCut: boolean): void {
    this.#running?.unsubscribe();
    this.#running = null;
    this.#death = boot;
    this.#deathIsCut = isCut;
    this.#activity += 1;
    if (isCut) this.#isStruck = true;
  }

  #rebootHost(): Promise<never> {
    this.#die('next', false);
    return new Promise<never>(() => {});
  }

  async #startAgain(): Promise<void> {
    const boot = this.#death;
    this.#death = null;
    this.#works = 0;
    if (this.#deathIsCut) this.#disk.cutPower(this.#random);
    if (boot === 'next') {
      this.#boot += 1;
      this.#clock.reboot();
      this.#device.reboot();
      if (this.#strike?.fault !== 'stuck-read-only') this.#files.setFault(null);
    } else {
      await this.#clock.advanceAsync(2_000);
      if (this.#strike?.fault === 'torn') this.#files.setFault(null);
    }
    this.#callsBeforeStart = this.#device.calls.length;
    this.#asksInVain = 0;
    this.#refusals = 0;
    this.#heldTurns = 0;
    await this.#start();
  }

  /** Lets everything happen, and gives consent where it is asked for, until the update is over and the device idle. */
  async #runToEnd(): Promise<void> {
    for (let turn = 0; turn < 2_000; turn += 1) {
      await this.#quiesce();
      if (this.#death !== null) {
        await this.#startAgain();
        continue;
      }
      const { step, deployment, wait, history } = this.#state;
      if (step === 'idle' && deployment === null) {
        if (this.#scenario.source === 'local' || this.#server.results.length > 0 || history.length > 0)
          return;
        if (this.#asksInVain > 3) return;
        this.#asksInVain += 1;
        this.#machine?.dispatch({ kind: 'CheckRequested' });
        continue;
      }
      this.#asksInVain = 0;
      // For as long as the store fails there is no more to come.
      if (this.#isHeldBack && ++this.#heldTurns > 3) return;
      if (wait !== null && wait.ticket !== '' && this.#refusals < MAX_REFUSALS) {
        const { ticket } = wait;
        if (ticket !== this.#ticket) this.#asked += 1;
        this.#ticket = ticket;
        const isDone = await this.#command({ kind: 'Continue', ticket, uid: 1000, comment: '' });
        this.#refusals = isDone ? 0 : this.#refusals + 1;
        continue;
      }
      const next = this.#clock.msToNext;
      if (next === null) throw new Error(`stuck in ${step}`);
      await this.#clock.advanceAsync(next);
    }
    throw new Error(`no end in ${this.#state.step}`);
  }
  /** Somebody on the device has been told that the update is taken. */
  #isOrdered = false;
  /** Checks that led to no deployment, one after the other: nothing can be begun without a store. */
  #asksInVain = 0;
  #heldTurns = 0;
  /** A yes that could not be stored is given again, but not for ever. */
  #refusals = 0;
  #ticket = '';

  /** Until nothing moves any more without the clock. */
  async #quiesce(): Promise<void> {
    for (let calm = 0, turns = 0; calm < 2; turns += 1) {
      if (turns > 10_000) throw new Error(`work without end in ${this.#state.step}`);
      const before = this.#activity + this.#files.operations.length + this.#device.calls.length;
      await new Promise((resolve) => setImmediate(resolve));
      const after = this.#activity + this.#files.operations.length + this.#device.calls.length;
      calm = before === after && (this.#works === 0 || this.#death !== null) ? calm + 1 : 0;
    }
  }

  #ending(): Ending {
    const { history, installed } = this.#state;
    const [entry] = history;
    return {
      result: this.#isHeldBack ? 'held-back' : (entry?.result ?? 'none'),
      failure: entry?.failure?.name ?? '',
      installedName: installed.artifactName,
      running: this.#device.running,
    };
  }

  #unexplained(): readonly string[] {
    return this.#log.records
      .filter(({ level, sentence }) => level === 'error' && /^(Unexpected|An event)/.test(sentence))
      .map(({ sentence, fields }) => `${sentence}: ${String(fields['err'])}`);
  }
}

/**
 * A long life of the service in one process: the real core, loop, effects, schedules, store, journal and deployment logs in
 * real files, its connection to a real bus, and holders that are clients of it, under a clock of the test's. Update module,
 * scripts and server are the test's. What belongs to the process between two updates must be the same again and again.
 */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { concat, filter, firstValueFrom, from, mergeMap, NEVER, of, Subscription } from 'rxjs';
import { createArtifactReader } from '../../src/adapters/artifact/reader.ts';
import { Bus } from '../../src/adapters/dbus/connection.ts';
import { createHolders } from '../../src/adapters/dbus/holders.ts';
import { HOLDPOINT_BUS_NAME } from '../../src/adapters/dbus/interface-xml.ts';
import { FileDeploymentLog } from '../../src/adapters/log/deployment-log.ts';
import { FileDecisionJournal } from '../../src/adapters/store/decision-journal.ts';
import { FileStore } from '../../src/adapters/store/file-store.ts';
import {
  documentOf,
  parseStateDocument,
  type StateDocument,
} from '../../src/adapters/store/state-document.ts';
import { runEffects } from '../../src/app/effects.ts';
import { createMachine, type Machine } from '../../src/app/machine.ts';
import { createSchedules } from '../../src/app/schedules.ts';
import type { Command } from '../../src/core/command.ts';
import { initialState, type UpdateState } from '../../src/core/state.ts';
import type { DeploymentServer } from '../../src/ports/deployment-server.ts';
import type { Log } from '../../src/ports/log.ts';
import { buildArtifact, DEVICE_TYPE, headerInfo } from './artifact-builder.ts';
import { TrialDevice } from './crash/trial-device.ts';
import { eventually } from './eventually.ts';
import { isFinal } from './flow-simulator.ts';
import { holdAdded } from './flow-events.ts';
import { consentEverywhere } from './flow-steps.ts';
import { clientStats } from './bus-stats.ts';
import { startPrivateBus, type PrivateBus } from './private-bus.ts';
import { VirtualClock } from './virtual-clock.ts';

const POLL_SECONDS = 60;
const SNOOZE_SECONDS = 30;
const NAMES = ['release-1', 'release-2'] as const;

export interface Tally {
  polls: number;
  deployments: number;
  waits: number;
  holds: number;
  busRestarts: number;
}

/** What the process has; each must be as it was. */
export interface Belongings {
  readonly files: readonly string[];
  readonly descriptors: number;
  readonly processes: number;
  readonly timers: number;
  readonly ownMatchRules: number;
  readonly matchRulesAtBus: number;
  readonly holds: number;
}

export class LongLife {
  readonly tally: Tally = { polls: 0, deployments: 0, waits: 0, holds: 0, busRestarts: 0 };
  /** Lines of the service log at level error. */
  readonly errors: string[] = [];
  readonly #folder: string;
  readonly #daemon: PrivateBus;
  readonly #bus: Bus;
  /** A program on the bus that holds. */
  readonly #client: Bus;
  readonly #clock = new VirtualClock();
  readonly #running = new Subscription();
  readonly #device: TrialDevice;
  readonly #artifacts = NAMES.map((name) =>
    buildArtifact({ suffix: '', headerInfo: headerInfo({ artifact_provides: { artifact_name: name } }) }),
  );
  #machine: Machine | null = null;
  #offered: { readonly id: string; readonly index: number } | null = null;
  #works = 0;
  #activity = 0;
  #nonces = 0;

  static async begin(): Promise<LongLife> {
    const folder = await mkdtemp(join(tmpdir(), 'holdpoint-life-'));
    const life = new LongLife(folder, await startPrivateBus());
    await life.#start();
    return life;
  }

  private constructor(folder: string, daemon: PrivateBus) {
    this.#folder = folder;
    this.#daemon = daemon;
    const { address } = daemon;
    this.#bus = new Bus({ address, names: [{ name: HOLDPOINT_BUS_NAME }], log: quiet });
    this.#client = new Bus({ address, names: [], log: quiet });
    this.#device = new TrialDevice({
      needsReboot: 'No',
      supportsRollback: true,
      failing: [],
      rebootHost: () => Promise.reject(new Error('no update of this life reboots')),
    });
  }

  get #state(): UpdateState {
    if (this.#machine === null) throw new Error('the service does not run');
    return this.#machine.state();
  }

  async dispose(): Promise<void> {
    this.#running.unsubscribe();
    this.#client.close();
    this.#bus.close();
    await this.#daemon.dispose();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** So many polls that find nothing. */
  async poll(times: number): Promise<void> {
    for (const until = this.tally.polls + times; this.tally.polls < until;) {
      const next = this.#clock.msToNext;
      if (next === null) throw new Error(`nothing is planned in ${this.#state.step}`);
      await this.#clock.advanceAsync(next);
      await this.#quiesce();
    }
  }

  /** An update that asks at three gates, is snoozed and held there, and succeeds. */
  async update(waits: number): Promise<void> {
    const index = this.tally.deployments % 2;
    const id = `00000000-0000-4000-8000-${String(this.tally.deployments).padStart(12, '0')}`;
    this.#offered = { id, index };
    const begun = this.tally.waits;
    const before = this.tally.deployments;
    for (let turns = 0; this.tally.deployments === before; turns += 1) {
      if (turns > 500) throw new Error(`the update does not end: ${this.#state.step}`);
      const { wait } = this.#state;
      if (wait === null || wait.ticket === '') {
        const next = this.#clock.msToNext;
        if (next === null) throw new Error(`nothing is planned in ${this.#state.step}`);
        await this.#clock.advanceAsync(next);
        await this.#quiesce();
        continue;
      }
      const { ticket, point } = wait;
      const isLast = point === 'ArtifactCommit_Enter';
      if (isLast && this.tally.waits - begun < waits) {
        await this.#command({ kind: 'Snooze', ticket, seconds: SNOOZE_SECONDS, uid: 0 });
        continue;
      }
      if (point === 'ArtifactInstall_Enter') await this.#holdAndLetGo();
      await this.#command({ kind: 'Continue', ticket, uid: 0, comment: '' });
    }
    this.#device.calls.length = 0;
    await this.#quiesce();
  }

  /** The bus goes and comes back; whoever held by it is gone with it. */
  async restartBus(): Promise<void> {
    await this.#daemon.restart();
    this.tally.busRestarts += 1;
    await this.#connected();
  }

  async belongings(): Promise<Belongings> {
    await this.#quiesce();
    return {
      // Logs have the names of their deployments.
      files: (await readdir(this.#folder, { recursive: true }))
        .map((name) => name.replace(/[0-9a-f-]{36}/, 'ID'))
        .toSorted(),
      descriptors: readdirSync('/proc/self/fd').length,
      processes: readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').length,
      timers: this.#clock.pending,
      ownMatchRules: this.#bus.counts.rules,
      matchRulesAtBus: (await clientStats(this.#daemon.address, this.#bus.uniqueName)).matchRules,
      holds: this.#state.holds.length,
    };
  }

  async #start(): Promise<void> {
    const stateDirectory = join(this.#folder, 'holdpoint');
    await mkdir(stateDirectory);
    const clock = this.#clock;
    const nonce = (): string => (this.#nonces += 1).toString(16).padStart(32, '0');
    const files = new FileStore<StateDocument>({
      directory: stateDirectory,
      name: 'state',
      parse: parseStateDocument,
    });
    const log: Log = {
      ...quiet,
      error: (sentence, fields) => this.errors.push(`${sentence} ${String(fields?.['err'])}`),
      child: () => log,
    };
    const machine = createMachine(
      initialState({ artifactName: 'original', artifactGroup: '', provides: {} }),
      {
        clock,
        log,
        nonce,
        store: {
          load: async () => ({ document: null, generation: 0, complaints: [] }),
          save: async (state) => {
            this.#works += 1;
            await files.save(documentOf(state)).finally(() => (this.#works -= 1));
          },
        },
      },
    );
    this.#machine = machine;
    const effect$ = machine.tick$.pipe(mergeMap(({ effects }) => from(effects)));
    this.#running.add(
      machine.tick$.subscribe(({ effects }) => {
        this.#activity += 1;
        for (const effect of effects) {
          if (effect.kind !== 'announce') continue;
          if (effect.notice.kind === 'WaitStarted') this.tally.waits += 1;
          if (effect.notice.kind === 'DeploymentFinished') this.tally.deployments += 1;
        }
      }),
    );
    const deploymentLog = new FileDeploymentLog({ folder: this.#folder }, clock, log);
    const effects$ = runEffects(
      effect$,
      {
        clock,
        log,
        nonce,
        deploymentLog,
        server: this.#server(),
        modules: this.#device.modules,
        scripts: this.#device.scripts,
        system: {
          bootId: () => 'boot-1',
          deviceType: async () => DEVICE_TYPE,
          reboot: () => Promise.reject(new Error('no update of this life reboots')),
        },
        source: {
          open: async () => {
            const bytes = this.#artifacts[this.#offered?.index ?? 0] ?? Buffer.alloc(0);
            return { sizeBytes: bytes.length, chunks: Readable.from([bytes]) };
          },
        },
        reader: createArtifactReader(),
        conditions: {
          points: [],
          unmet$: () => concat(of([]), NEVER),
          wallClock$: () => concat(of(''), NEVER),
        },
        inventory: { send: async () => 'unchanged' },
        holders: createHolders({ bus: this.#bus, graceMs: 10, log: quiet }),
        journal: new FileDecisionJournal({ directory: stateDirectory, maxBytes: 64 * 1024 }),
        bus: { publish: () => {}, announce: () => {}, flush: async () => {} },
        verifyKeyPaths: [],
      },
      (ended) => {
        this.#works += 1;
        void ended.then(() => (this.#works -= 1));
      },
    );
    this.#running.add(effects$.subscribe(machine.dispatch));
    this.#running.add(machine.start());
    this.#bus.start();
    this.#client.start();
    await this.#connected();
    machine.dispatch({
      kind: 'ServiceStarted',
      bootId: 'boot-1',
      settings: consentEverywhere(),
      bootstrap: null,
    });
    const plan = {
      updatePollIntervalSeconds: POLL_SECONDS,
      inventoryPollIntervalSeconds: 3600,
      retryPollIntervalSeconds: 60,
      retryPollCount: 0,
    };
    const schedules$ = createSchedules(machine.tick$, plan, { clock, random: () => 0.5 });
    this.#running.add(schedules$.subscribe(machine.dispatch));
    await this.#quiesce();
  }

  #server(): DeploymentServer {
    return {
      isConfigured: true,
      checkForDeployment: async () => {
        this.tally.polls += 1;
        if (this.#offered === null) return null;
        const { id, index } = this.#offered;
        return {
          deploymentId: id,
          artifactName: NAMES[index] ?? '',
          location: { kind: 'url', url: 'http://server/artifact' },
          controlMapText: null,
        };
      },
      authorize: async () => {},
      reportStatus: async (_id, status) => {
        if (isFinal(status)) this.#offered = null;
        return 'accepted';
      },
      uploadLog: async () => 'accepted',
      fetchControlMap: () => Promise.reject(new Error('there is no map')),
    };
  }

  async #connected(): Promise<void> {
    for (const bus of [this.#bus, this.#client]) {
      await firstValueFrom(bus.state$.pipe(filter((state) => state === 'connected')));
    }
  }

  /** A program holds, is watched, and lets go. */
  async #holdAndLetGo(): Promise<void> {
    const holdId = (this.tally.holds += 1).toString(16).padStart(12, '0');
    const connection = `${this.#bus.busId}/${this.#client.uniqueName}`;
    await this.#command({ ...holdAdded({ holdId, connection }), kind: 'AddHold' });
    await eventually('it is watched for', () => this.#bus.counts.rules > 0);
    await this.#command({ kind: 'ReleaseHold', holdId, uid: 0, isOverride: true });
  }

  async #command(command: Command): Promise<void> {
    await this.#machine?.command(command);
    await this.#quiesce();
  }

  /** Until nothing moves any more without the clock. */
  async #quiesce(): Promise<void> {
    for (let calm = 0; calm < 3;) {
      const before = this.#activity;
      await new Promise((resolve) => setImmediate(resolve));
      calm = before === this.#activity && this.#works === 0 ? calm + 1 : 0;
    }
  }
}

const quiet: Log = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {}, child: () => quiet };

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes that are really held. */
export async function heldBytes(): Promise<number> {
  for (let round = 0; round < 3; round += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
  }
  return process.memoryUsage().heapUsed;
}

/**
 * The service of main.ts inside the test's own process: the real loop, effects, reader, store, modules and scripts,
 * with a server of the test's and without a bus. `drop` is what a kill is to a process: nothing is finished, nothing
 * is stored any more, and only the files are left.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { concat, from, map, mergeMap, NEVER, of, Subscription, type Observable } from 'rxjs';
import { createArtifactReader } from '../../src/adapters/artifact/reader.ts';
import { FileDeploymentLog } from '../../src/adapters/log/deployment-log.ts';
import { ModuleRunner } from '../../src/adapters/modules/runner.ts';
import { StateScripts } from '../../src/adapters/scripts/runner.ts';
import { LocalAndHttpSource } from '../../src/adapters/source/artifact-source.ts';
import { FileDecisionJournal } from '../../src/adapters/store/decision-journal.ts';
import { FileStore } from '../../src/adapters/store/file-store.ts';
import {
  documentOf,
  parseStateDocument,
  type StateDocument,
} from '../../src/adapters/store/state-document.ts';
import { SystemClock } from '../../src/adapters/system/clock.ts';
import { Host } from '../../src/adapters/system/host.ts';
import { runEffects } from '../../src/app/effects.ts';
import { createMachine, type Machine, type Tick } from '../../src/app/machine.ts';
import type { UpdateEvent } from '../../src/core/event.ts';
import { DEFAULT_FLOW_SETTINGS, type FlowSettings } from '../../src/core/settings.ts';
import { initialState, type UpdateState } from '../../src/core/state.ts';
import type { Clock, Stamp } from '../../src/ports/clock.ts';
import type { DeploymentServer } from '../../src/ports/deployment-server.ts';
import type { Device } from './device.ts';
import { RecordingLog } from './recording-log.ts';

/** What a fresh device has, before anything was installed by us. */
export const ORIGINAL = { artifactName: 'original', artifactGroup: '', provides: {} };

export interface Composition {
  readonly machine: Machine;
  readonly log: RecordingLog;
  /** Everything that went into the loop and came out of it since the start. */
  readonly recording: Recording;
  drop(): void;
}

export interface Recording {
  readonly seed: UpdateState;
  readonly events: readonly UpdateEvent[];
  readonly ticks: readonly Tick[];
}

export interface CompositionOptions {
  readonly device: Device;
  readonly server: DeploymentServer;
  /** Time limit of a module call, seconds of the clock. */
  readonly moduleTimeoutSeconds?: number;
  readonly settings?: Partial<FlowSettings>;
}

/** Timers run a thousand times as fast, so that minutes of back-off take a blink. Stamps are real. */
export class HurriedClock implements Clock {
  readonly #clock = new SystemClock();

  now(): Stamp {
    return this.#clock.now();
  }

  timer(delayMs: number): Observable<0> {
    return this.#clock.timer(delayMs / 1000).pipe(map((): 0 => 0));
  }
}

const LONG_SECONDS = 60_000;

export async function compose(options: CompositionOptions): Promise<Composition> {
  const { device, server } = options;
  const clock = new HurriedClock();
  const log = new RecordingLog();
  const nonce = (): string => randomBytes(16).toString('hex');
  const deploymentLog = new FileDeploymentLog({ folder: device.data }, clock, log);
  const files = new FileStore<StateDocument>({
    directory: device.stateDirectory,
    name: 'state',
    parse: parseStateDocument,
  });
  const { document } = await files.load();
  const seed = document?.state ?? initialState(ORIGINAL);
  const machine = createMachine(seed, {
    clock,
    log,
    nonce,
    store: {
      load: async () => ({ document: null, generation: 0, complaints: [] }),
      save: (state) => files.save(documentOf(state)),
    },
  });
  const running = new Subscription();
  const events: UpdateEvent[] = [];
  const ticks: Tick[] = [];
  running.add(machine.event$.subscribe((event) => events.push(event)));
  running.add(machine.tick$.subscribe((tick) => ticks.push(tick)));
  const effect$ = machine.tick$.pipe(mergeMap(({ effects }) => from(effects)));
  const limits = {
    timeoutSeconds: LONG_SECONDS,
    retryIntervalSeconds: 60,
    retryTimeoutSeconds: 1800,
    graceMs: 200,
  };
  running.add(
    runEffects(effect$, {
      clock,
      server,
      deploymentLog,
      log,
      nonce,
      source: new LocalAndHttpSource({
        clock,
        log,
        serverCertificatePath: null,
        isTlsVerificationSkipped: false,
      }),
      reader: createArtifactReader(),
      modules: new ModuleRunner(
        {
          modulesDir: join(device.share, 'modules/v3'),
          treeDir: join(device.data, 'modules/v3/payloads/0000/tree'),
          timeoutSeconds: options.moduleTimeoutSeconds ?? LONG_SECONDS,
          graceMs: 200,
        },
        clock,
        deploymentLog,
        log,
      ),
      scripts: new StateScripts(
        {
          rootfsScriptsDir: join(device.conf, 'scripts'),
          artifactScriptsDir: join(device.data, 'scripts'),
          ...limits,
        },
        clock,
        deploymentLog,
        log,
      ),
      system: new Host({
        clock,
        deviceTypePath: join(device.data, 'device_type'),
        rebootCommand: [join(device.folder, 'reboot')],
        bootIdPath: device.bootIdFile,
      }),
      // No bus, so nobody on it, and a device without conditions.
      conditions: {
        points: [],
        unmet$: () => concat(of([]), NEVER),
        wallClock$: () => concat(of(''), NEVER),
      },
      inventory: { send: async () => 'unchanged' },
      holders: { gone$: () => NEVER },
      journal: new FileDecisionJournal({ directory: device.stateDirectory }),
      bus: { publish: () => {}, announce: () => {}, flush: async () => {} },
      verifyKeyPaths: [],
    }).subscribe(machine.dispatch),
  );
  running.add(machine.start());
  machine.dispatch({
    kind: 'ServiceStarted',
    bootId: readFileSync(device.bootIdFile, 'utf8').trim(),
    settings: { ...DEFAULT_FLOW_SETTINGS, isServerConfigured: true, ...options.settings },
    bootstrap: null,
  });
  return { machine, log, recording: { seed, events, ticks }, drop: () => running.unsubscribe() };
}

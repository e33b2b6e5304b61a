import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { filter, firstValueFrom, from, map, mergeMap, Subject, Subscription, take, timer } from 'rxjs';
import { Bus, NameFlag } from './adapters/dbus/connection.ts';
import { createHolders } from './adapters/dbus/holders.ts';
import { HOLDPOINT_BUS_NAME, MENDER_BUS_NAME } from './adapters/dbus/interface-xml.ts';
import { FileDeploymentLog } from './adapters/log/deployment-log.ts';
import { SimulatedClock } from './adapters/simulated/clock.ts';
import { SimulatedDevice } from './adapters/simulated/device.ts';
import { createNonces, createRandom, type Nonces, type Random } from './adapters/simulated/random.ts';
import { historyInRealTime, snapshotInRealTime } from './adapters/simulated/real-time.ts';
import type { Cue, Scenario } from './adapters/simulated/scenario.ts';
import { FileDecisionJournal } from './adapters/store/decision-journal.ts';
import { FileStore } from './adapters/store/file-store.ts';
import { documentOf, parseStateDocument, type StateDocument } from './adapters/store/state-document.ts';
import { SystemClock } from './adapters/system/clock.ts';
import { runEffects } from './app/effects.ts';
import { createMachine, type Machine, type Tick } from './app/machine.ts';
import { createSchedules } from './app/schedules.ts';
import { createService } from './app/service.ts';
import { serveOnBus } from './compose-bus.ts';
import { UpdateError } from './core/errors.ts';
import type { EventBody } from './core/event.ts';
import { DEFAULT_HOLD_POINT_POLICY, HOLD_POINTS, type HoldPoint } from './core/hold-point.ts';
import { DEFAULT_FLOW_SETTINGS, type FlowSettings } from './core/settings.ts';
import { snapshotOf, type Snapshot } from './core/snapshot.ts';
import { initialState, type HistoryEntry } from './core/state.ts';
import type { Log } from './ports/log.ts';
import type { UpdateService } from './ports/update-service.ts';
import { VERSION } from './version.ts';

/**
 * Composition root of `holdpoint simulate`: the service's own loop, effects, store and bus objects, with a device and a
 * server that only exist in memory. A reboot or a crash ends what stands here and composes it anew from what was stored,
 * as on a device.
 */
export interface SimulationOptions {
  readonly scenario: Scenario;
  /** Of the bus to be on. */
  readonly address: string;
  /** Above 0; 1 = real time. */
  readonly speed: number;
  readonly seed: number;
  readonly log: Log;
  /** Each snapshot as clients see it, in order. */
  readonly onSnapshot: (snapshot: Snapshot) => void;
  /** The name is ours: clients can begin. Again after each restart. */
  readonly onReady: () => void;
  /** The simulated device or service goes down, and comes back. */
  readonly onRestart: (isReboot: boolean) => void;
}

type Ending = 'stopped' | 'restart' | 'reboot';

const INSTALLED = { artifactName: 'release-1', artifactGroup: '', provides: {} };
/** Simulated seconds from the loss of the name to the new owner. */
const AWAY_SECONDS = { restart: 2, reboot: 12 } as const;
/** From the start of the service to its first look at the server. */
const IDLE_SECONDS = 3;
/** Somebody on the simulated device. */
const ACTOR_UID = 1000;
const CONSENT_SECONDS = 24 * 3600;

/**
 * Runs until the signal aborts, or, with `isOnce`, until the first deployment is over and the device idle again.
 * @returns the deployments that ended, newest first
 * Rejects with kind `bus` when the bus is not there or the name belongs to somebody else.
 */
export async function simulate(
  options: SimulationOptions & { readonly isOnce: boolean },
  signal: AbortSignal,
): Promise<readonly HistoryEntry[]> {
  const realClock = new SystemClock();
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-simulate-'));
  const clock = new SimulatedClock(realClock, options.speed);
  const random = createRandom(options.seed);
  const deploymentLog = new FileDeploymentLog({ folder }, realClock, options.log);
  const files = new FileStore<StateDocument>({ directory: folder, name: 'state', parse: parseStateDocument });
  const device = new SimulatedDevice(options.scenario, {
    clock,
    random,
    deploymentLog,
    states: {
      load: async () => {
        const { document, ...rest } = await files.load();
        return { ...rest, document: document?.state ?? null };
      },
      save: (state) => files.save(documentOf(state)),
    },
  });
  const cues = new Set(options.scenario.cues ?? []);
  const nonces = createNonces(options.seed);
  const parts = { ...options, clock, random, nonces, device, deploymentLog, folder, cues };
  try {
    for (let isFirstBoot = true; ; isFirstBoot = false) {
      const { ending, history } = await boot(parts, isFirstBoot, signal);
      if (ending === 'stopped') return history;
      options.onRestart(ending === 'reboot');
      if (ending === 'reboot') device.reboot();
      await Promise.race([firstValueFrom(clock.timer(AWAY_SECONDS[ending] * 1000)), aborted(signal)]);
    }
  } finally {
    realClock.close();
    await rm(folder, { recursive: true, force: true });
  }
}

interface Parts extends SimulationOptions {
  readonly isOnce: boolean;
  readonly clock: SimulatedClock;
  readonly random: Random;
  readonly nonces: Nonces;
  readonly device: SimulatedDevice;
  readonly deploymentLog: FileDeploymentLog;
  readonly folder: string;
  /** Those that have not been given yet. */
  readonly cues: Set<Cue>;
}

async function boot(
  parts: Parts,
  isFirstBoot: boolean,
  signal: AbortSignal,
): Promise<{ readonly ending: Ending; readonly history: readonly HistoryEntry[] }> {
  const { scenario, clock, nonces, device, log } = parts;
  const nonce = nonces.next;
  const { document } = await device.store.load();
  const seed = document ?? initialState(INSTALLED);
  const machine = createMachine(seed, { clock, store: device.store, nonce, log });
  const flags = NameFlag.allowReplacement | NameFlag.replaceExisting;
  const bus = new Bus({
    address: parts.address,
    names: [{ name: HOLDPOINT_BUS_NAME }, { name: MENDER_BUS_NAME, flags }],
    log,
  });
  const ports = {
    clock,
    log,
    nonce,
    source: device.source,
    reader: device.reader,
    modules: device.modules,
    scripts: device.scripts,
    system: device.system,
    server: device.server,
    inventory: device.inventory,
    conditions: device.conditions,
    holders: createHolders({ bus, graceMs: DEFAULT_FLOW_SETTINGS.holdLingerSeconds * 1000, log }),
    journal: new FileDecisionJournal({ directory: parts.folder }),
    deploymentLog: parts.deploymentLog,
    verifyKeyPaths: [],
  };
  const service = createService(machine, ports);
  const { publisher, dispatcher, authoriser } = serveOnBus(bus, {
    version: VERSION,
    capabilities: ['install', 'rollback', 'history', 'holds', 'snooze', 'control-maps', 'decisions'],
    // Whoever runs it may do everything, as the service's own user always may.
    access: { polkit: 'off', rules: [] },
    isSignatureRequired: false,
    areMenderNamesOffered: true,
    first: snapshotInRealTime(snapshotOf(seed, clock.now()), clock),
    state: machine.state,
    service: inRealTime(service, device, clock),
    objects: [],
    log,
  });
  const ending$ = new Subject<Ending>();
  const running = new Subscription();
  const underWay = new Set<Promise<void>>();
  const failed = new Promise<never>((_, reject) => {
    running.add(
      bus.name$.subscribe(({ name, state }) => {
        if (name !== HOLDPOINT_BUS_NAME) return;
        if (state === 'owned') {
          parts.onReady();
          // Not before: clients shall see the beginning, too.
          running.add(
            clock.timer(IDLE_SECONDS * 1000).subscribe(() => running.add(askServer(machine, device, parts))),
          );
        } else
          reject(new UpdateError('bus', `${name} belongs to somebody else on this bus, or may not be taken`));
      }),
    );
    // A service waits for a bus for ever; somebody at a terminal wants to know.
    running.add(
      timer(BUS_PATIENCE_MS).subscribe(() => {
        if (bus.state === 'lost') reject(new UpdateError('bus', `no bus at ${parts.address}`));
      }),
    );
  });
  running.add(
    machine.tick$.subscribe(({ event, before, after }) => {
      if (before.step !== after.step) nonces.advance();
      const shown = snapshotInRealTime(snapshotOf(after, event.at), clock);
      publisher.publish(shown);
      parts.onSnapshot(shown);
    }),
  );
  const effect$ = machine.tick$.pipe(mergeMap(({ effects }) => from(effects)));
  running.add(
    runEffects(effect$, { ...ports, bus: publisher }, (ended) => {
      underWay.add(ended);
      void ended.then(() => underWay.delete(ended));
    }).subscribe(machine.dispatch),
  );
  running.add(device.rebootWanted$.subscribe(() => ending$.next('reboot')));
  running.add(follow(parts, machine, service, ending$));
  if (parts.isOnce) {
    const isOver = ({ after }: Tick): boolean => after.step === 'idle' && after.history.length > 0;
    running.add(machine.tick$.pipe(filter(isOver)).subscribe(() => ending$.next('stopped')));
  }
  running.add(machine.start());
  running.add(machine.tick$.pipe(take(1)).subscribe(() => bus.start()));
  const ending = firstValueFrom(ending$);
  machine.dispatch({
    kind: 'ServiceStarted',
    bootId: device.system.bootId(),
    settings: { ...settingsOf(scenario), conditionPoints: device.conditions.points },
    bootstrap: null,
  });
  if (isFirstBoot) await addHolds(scenario, service);

  try {
    return {
      ending: await Promise.race([ending, failed, aborted(signal)]),
      history: machine.state().history,
    };
  } finally {
    authoriser.close();
    const answered = dispatcher.shutDown();
    await publisher.flush();
    running.unsubscribe();
    await answered;
    publisher.close();
    bus.close();
    await Promise.all(underWay);
    await parts.deploymentLog.flush();
  }
}

const BUS_PATIENCE_MS = 5_000;

function aborted(signal: AbortSignal): Promise<'stopped'> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve('stopped');
    else signal.addEventListener('abort', () => resolve('stopped'), { once: true });
  });
}

function settingsOf({ asks = [], consent, checkers = [] }: Scenario): FlowSettings {
  const ask = {
    consent: 'required',
    consentTimeoutSeconds: consent?.timeoutSeconds ?? CONSENT_SECONDS,
    onExpire: consent?.onExpire ?? 'fail',
  } as const;
  const policy = HOLD_POINTS.map((point): [HoldPoint, FlowSettings['holdPoints'][HoldPoint]] => [
    point,
    { ...DEFAULT_HOLD_POINT_POLICY[point], ...(asks.includes(point) && ask) },
  ]);
  return {
    ...DEFAULT_FLOW_SETTINGS,
    holdPoints: Object.fromEntries(policy) as FlowSettings['holdPoints'],
    health: { checkers, deadlineSeconds: 300 },
    isServerConfigured: true,
    retryPollIntervalSeconds: 20,
  };
}

function askServer(machine: Machine, device: SimulatedDevice, { clock, random }: Parts): Subscription {
  const { retryPollIntervalSeconds, retryPollCount } = settingsOf({ about: '', result: 'success' });
  const subscription = createSchedules(
    machine.tick$,
    {
      updatePollIntervalSeconds: 1800,
      inventoryPollIntervalSeconds: 28_800,
      retryPollIntervalSeconds,
      retryPollCount,
    },
    { clock, random: random.next },
  ).subscribe(machine.dispatch);
  subscription.add(
    device.standing$
      .pipe(map((standing): EventBody => ({ kind: 'ServerStandingChanged', standing })))
      .subscribe(machine.dispatch),
  );
  return subscription;
}

async function addHolds({ holds = [] }: Scenario, service: UpdateService): Promise<void> {
  for (const { point, app, why, seconds } of holds) {
    await service.addHold({
      points: [point],
      why,
      timeoutSeconds: seconds,
      onExpire: 'continue',
      priority: 0,
      appId: app,
      deploymentId: '',
      action: 'pause',
      isOnce: true,
      owner: app,
      pid: -1,
      uid: ACTOR_UID,
      app,
    });
  }
}

/** Gives the scenario's cues, each once, so long after its step was first entered. */
function follow(
  { cues, clock, log }: Parts,
  machine: Machine,
  service: UpdateService,
  ending$: Subject<Ending>,
): Subscription {
  const subscription = new Subscription();
  subscription.add(
    machine.tick$.pipe(filter(({ before, after }) => before.step !== after.step)).subscribe(({ after }) => {
      for (const cue of cues) {
        if (cue.step !== after.step) continue;
        cues.delete(cue);
        subscription.add(
          clock.timer(cue.afterSeconds * 1000).subscribe(() => {
            if (machine.state().step !== cue.step) return;
            if (cue.does.kind === 'restart') ending$.next(cue.does.isReboot ? 'reboot' : 'restart');
            else {
              act(cue.does, machine, service).catch((error: unknown) => {
                // Somebody was faster: the update is elsewhere by now.
                log.warn('A cue of the scenario was refused', { err: error });
              });
            }
          }),
        );
      }
    }),
  );
  return subscription;
}

function act(
  does: Exclude<Cue['does'], { kind: 'restart' }>,
  machine: Machine,
  service: UpdateService,
): Promise<unknown> {
  const deploymentId = machine.state().deployment?.id ?? '';
  const who = { uid: ACTOR_UID, app: 'org.example.Operator' };
  if (does.kind === 'health') {
    const { checker, verdict } = does;
    const report = { deploymentId, checker, verdict, message: 'as the scenario says' };
    return service.command({ kind: 'ReportHealth', ...report, ...who });
  }
  const { reason } = does;
  return service.command({
    kind: does.kind === 'abort' ? 'Abort' : 'Rollback',
    deploymentId,
    reason,
    ...who,
  });
}

/** The service as clients see it: moments in real time, and a check for updates that finds one. */
function inRealTime(service: UpdateService, device: SimulatedDevice, clock: SimulatedClock): UpdateService {
  return {
    ...service,
    async command(command) {
      if (command.kind === 'CheckForUpdate') device.offerAnother();
      const reply = await service.command(command);
      return command.kind === 'Snooze' ? String(clock.realWallMs(Number(reply))) : reply;
    },
    async readDecisions(fromSeq, maxLines) {
      const { lines, nextSeq } = await service.readDecisions(fromSeq, maxLines);
      return { lines: lines.map((line) => decisionInRealTime(line, clock)), nextSeq };
    },
    history: () => historyInRealTime(service.history(), clock),
  };
}

function decisionInRealTime(line: string, clock: SimulatedClock): string {
  const entry = JSON.parse(line) as { readonly time: string };
  return JSON.stringify({ ...entry, time: new Date(clock.realWallMs(Date.parse(entry.time))).toISOString() });
}

import { Command as Program, CommanderError } from 'commander';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { filter, from, map, mergeMap, Subscription, take } from 'rxjs';
import { systemBusAddress } from './adapters/dbus/address.ts';
import { createConditions } from './adapters/conditions/conditions.ts';
import { Bus, NameFlag } from './adapters/dbus/connection.ts';
import { createHolders } from './adapters/dbus/holders.ts';
import { HOLDPOINT_BUS_NAME, MENDER_AUTH_BUS_NAME, MENDER_BUS_NAME } from './adapters/dbus/interface-xml.ts';
import { MenderAuthManager } from './adapters/dbus/mender-auth-object.ts';
import { MenderAuthSource } from './adapters/dbus/mender-auth-source.ts';
import { FileDeploymentLog } from './adapters/log/deployment-log.ts';
import { createServiceLog } from './adapters/log/winston.ts';
import type { MenderServer } from './adapters/server/mender-server.ts';
import { SystemClock } from './adapters/system/clock.ts';
import { FileDecisionJournal } from './adapters/store/decision-journal.ts';
import { lockDatastore } from './adapters/system/lock.ts';
import { signsOfLife, takeManager, type Manager } from './adapters/system/service-manager.ts';
import { readBootstrap } from './app/bootstrap.ts';
import { runEffects } from './app/effects.ts';
import { createLinkRefresher } from './app/fresh-link.ts';
import { createMachine, type Machine } from './app/machine.ts';
import type { Ports } from './app/ports.ts';
import { createSchedules } from './app/schedules.ts';
import { createService } from './app/service.ts';
import { renewMenderStore, takeOverFromMender } from './app/takeover.ts';
import {
  clockTrustOf,
  installTools,
  openForwarder,
  openMenderStore,
  openRecords,
  openRuns,
  openServer,
  openStates,
} from './compose-adapters.ts';
import { serveOnBus } from './compose-bus.ts';
import { loadSettings, type ConfigOptions } from './config/load.ts';
import type { Settings } from './config/settings.ts';
import { UpdateError } from './core/errors.ts';
import type { EventBody } from './core/event.ts';
import { snapshotOf } from './core/snapshot.ts';
import { FLOW } from './core/transition-table.ts';
import { initialState, NOTHING_INSTALLED, type UpdateState } from './core/state.ts';
import type { HoldPoint } from './core/hold-point.ts';
import type { Clock } from './ports/clock.ts';
import type { Log } from './ports/log.ts';
import type { System } from './ports/system.ts';
import { VERSION } from './version.ts';

/**
 * The service: the only place where adapters are made and wired. Order matters: configuration, lock, stored state,
 * subscribers, and only then the first event. Exit: 0 stopped on request, 1 could not start or had to give up,
 * 2 the bus name belongs to somebody else.
 */
const EXIT = { stopped: 0, failed: 1, nameTaken: 2 } as const;
type ExitCode = (typeof EXIT)[keyof typeof EXIT];

async function main(): Promise<void> {
  const options = parseArguments(process.argv);
  const manager = takeManager(process.env, process.pid);
  const { settings, warnings } = await loadSettings(options);
  const log = createServiceLog({ level: settings.logLevel });
  for (const warning of warnings) log.warn(warning);
  const lock = await lockDatastore({ directory: settings.paths.stateDirectory, command: 'holdpointd' });
  // Before the state is read: what a killed service had started may still be at work on what it speaks of.
  await openRuns(settings, log).endLeftovers();
  const exitCode = await serve(settings, manager, log);
  await lock.release();
  log.info('Stopped', { exitCode });
  process.exitCode = exitCode;
}

function parseArguments(argv: readonly string[]): ConfigOptions {
  const program = new Program('holdpointd')
    .description(
      'Updates this device and lets the people and programs on it decide when. Runs in the foreground.',
    )
    .version(VERSION)
    .option('-c, --config <file>', 'Mender configuration', undefined)
    .option('-b, --fallback-config <file>', 'Mender configuration that gives way to the other one')
    .option('--holdpoint-config <file>', "Holdpoint's own configuration")
    .option('-d, --data <folder>', 'datastore, which must survive an update of the system')
    .option('-l, --log-level <level>', 'debug, info, warning, error')
    .showHelpAfterError('(--help lists the options)')
    .allowExcessArguments(false)
    .exitOverride();
  try {
    return program.parse([...argv]).opts<ConfigOptions>();
  } catch (error) {
    // Commander has said what it had to say: 0 after --help and --version, 1 after a mistake.
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : EXIT.failed);
    throw error;
  }
}

async function serve(settings: Settings, manager: Manager | null, log: Log): Promise<ExitCode> {
  const clock = new SystemClock();
  const component = (name: string): Log => log.child({ component: name });
  const nonce = (): string => randomBytes(16).toString('hex');
  const deploymentLog = new FileDeploymentLog(
    { folder: settings.paths.deploymentLogDirectory },
    clock,
    component('deployment-log'),
  );
  const links = createLinkRefresher({
    deployment: () => machine.state().deployment,
    server: () => server.deployments,
  });
  const tools = installTools(settings, clock, deploymentLog, log, { links });
  const store = openStates(settings);
  const loaded = await store.load();
  for (const complaint of loaded.complaints) log.error('Stored state', { complaint });
  const menderStore = openMenderStore(settings, clock);
  const bootId = tools.system.bootId();
  const records = openRecords(settings);
  const takeover = await takeOverFromMender(
    { menderStore, states: store, records, clock, bootId, log },
    loaded,
  );
  const stored = loaded.document ?? takeover?.seed ?? null;
  const bootstrap = await readBootstrap(
    { ...tools, log },
    {
      path: settings.paths.bootstrapArtifactFile,
      remove: () => rm(settings.paths.bootstrapArtifactFile, { force: true }),
    },
    stored?.installed ?? null,
  );
  const { document: standalone } = await records.load();
  if (standalone) log.warn('An update of the command line is not committed; no other one can begin');
  const seed = stored ?? initialState(NOTHING_INSTALLED);

  const machine = createMachine(seed, { clock, store, nonce, log: component('flow') });
  const isTokenOurs = settings.tokenSource === 'own';
  if (!isTokenOurs && !settings.isDbusEnabled) {
    throw new UpdateError(
      'config',
      'TokenSource: mender-auth can only be asked over D-Bus, and DBus.Enabled is false',
    );
  }
  // As Mender takes them: the newest wins (spec/dbus-mender.md section 2.5).
  const flags = NameFlag.allowReplacement | NameFlag.replaceExisting;
  const isTokenGiven = settings.areMenderNamesOffered && settings.isDbusEnabled && isTokenOurs;
  const bus = new Bus({
    address: systemBusAddress(process.env),
    names: [
      { name: HOLDPOINT_BUS_NAME },
      ...(isTokenGiven ? [{ name: MENDER_AUTH_BUS_NAME, flags }] : []),
      ...(settings.areMenderNamesOffered ? [{ name: MENDER_BUS_NAME, flags }] : []),
    ],
    log: component('bus'),
  });
  const conditions = createConditions(settings.conditions, {
    clock,
    bus: settings.isDbusEnabled ? bus : null,
    log,
    scriptsFolder: settings.paths.conditionsDirectory,
    clockTrust: clockTrustOf(settings),
  });
  const tokenSource = isTokenOurs ? null : new MenderAuthSource(bus, component('server'));
  const server = openServer(
    settings,
    async () => ({ installed: machine.state().installed, deviceType: await deviceTypeOf(tools.system) }),
    clock,
    component('server'),
    tokenSource,
  );
  const forwarder = isTokenGiven ? openForwarder(settings, clock, component('forwarder')) : null;
  const authManager =
    forwarder &&
    new MenderAuthManager(bus, {
      authentication: server.authentication,
      forwarder,
      isServerConfigured: settings.servers.length > 0,
      log: component('forwarder'),
    });
  const ports: Omit<Ports, 'bus'> = {
    ...tools,
    clock,
    conditions,
    holders: createHolders({
      bus,
      graceMs: settings.flow.holdLingerSeconds * 1000,
      log: component('holds'),
    }),
    journal: new FileDecisionJournal({ directory: settings.paths.stateDirectory }),
    server: server.deployments,
    inventory: server.inventory,
    deploymentLog,
    log: component('effects'),
    nonce,
  };
  const service = createService(machine, ports);
  const { publisher, dispatcher, authoriser } = serveOnBus(bus, {
    version: VERSION,
    capabilities: capabilities(settings),
    access: settings.access,
    isSignatureRequired: settings.verifyKeyPaths.length > 0,
    areMenderNamesOffered: settings.areMenderNamesOffered,
    first: snapshotOf(seed, clock.now()),
    state: machine.state,
    service,
    objects: authManager ? [authManager.object] : [],
    log,
  });

  const running = new Subscription();
  // Published before its effects are carried out: nobody is told of a state the properties do not show.
  running.add(machine.tick$.subscribe(({ event, after }) => publisher.publish(snapshotOf(after, event.at))));
  const effect$ = machine.tick$.pipe(mergeMap(({ effects }) => from(effects)));
  const underWay = new Set<Promise<void>>();
  const remember = (ended: Promise<void>): void => {
    underWay.add(ended);
    void ended.then(() => underWay.delete(ended));
  };
  running.add(runEffects(effect$, { ...ports, bus: publisher }, remember).subscribe(machine.dispatch));
  running.add(renewMenderStore(machine.tick$, menderStore, log, remember).subscribe());
  running.add(machine.start());

  const exit = firstReasonToStop(bus, log);
  // Not on the bus before the restart has been taken in: what was stored shows a ticket that is dead by now.
  if (settings.isDbusEnabled) running.add(machine.tick$.pipe(take(1)).subscribe(() => bus.start()));
  machine.dispatch(startEvent(bootId, settings, bootstrap, standalone !== null, conditions.points));
  if (settings.servers.length > 0) running.add(talkToServer(machine, server, settings, clock));
  if (manager) {
    const signs = { manager, clock, log, passed: machine.passed, status: () => statusOf(machine.state()) };
    running.add(signsOfLife(signs).subscribe());
  }
  log.info('Started', { version: VERSION, datastore: settings.paths.datastoreDirectory });

  const exitCode = await exit;
  // Answer who has asked, then let go of everything at once. What runs is ended; that is no verdict on it.
  authoriser.close();
  const answered = dispatcher.shutDown();
  running.unsubscribe();
  await answered;
  authManager?.close();
  tokenSource?.close();
  publisher.close();
  bus.close();
  await forwarder?.close();
  await server.close();
  // Before the datastore is let go of: the next service would go on with the update beside a module that still runs.
  await Promise.all(underWay);
  await deploymentLog.flush();
  return exitCode;
}

function startEvent(
  bootId: string,
  settings: Settings,
  bootstrap: UpdateState['installed'] | null,
  isStandalonePending: boolean,
  conditionPoints: readonly HoldPoint[],
): EventBody {
  return {
    kind: 'ServiceStarted',
    bootId,
    settings: {
      ...settings.flow,

      isStandalonePending,
      conditionPoints,
    },
    bootstrap,
  };
}

/** Schedules, signals and how the server thinks of us. */
function talkToServer(
  machine: Machine,
  server: MenderServer,
  settings: Settings,
  clock: Clock,
): Subscription {
  const { flow, updatePollIntervalSeconds, inventoryPollIntervalSeconds } = settings;
  const subscription = createSchedules(
    machine.tick$,
    {
      updatePollIntervalSeconds,
      inventoryPollIntervalSeconds,
      retryPollIntervalSeconds: flow.retryPollIntervalSeconds,
      retryPollCount: flow.retryPollCount,
    },
    { clock, random: Math.random },
  ).subscribe(machine.dispatch);
  subscription.add(
    server.authentication.state$
      .pipe(map(({ status }): EventBody => ({ kind: 'ServerStandingChanged', standing: status })))
      .subscribe(machine.dispatch),
  );
  // As Mender: spec/update-flow.md section 3.
  const orders = { SIGUSR1: 'CheckRequested', SIGUSR2: 'InventoryRequested' } as const;
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) {
    const order = (): void => machine.dispatch({ kind: orders[signal] });
    process.on(signal, order);
    subscription.add(() => process.off(signal, order));
  }
  return subscription;
}

/** '' = unknown: then the server cannot be asked, which it says itself. */
function deviceTypeOf(system: System): Promise<string> {
  return system.deviceType().then(
    (line) => line.replace(/^device_type=/, ''),
    () => '',
  );
}

/** For `systemctl status`. */
function statusOf({ step, wait }: UpdateState): string {
  return wait === null ? `At ${FLOW[step].step}` : `Waiting at ${wait.point}`;
}

function capabilities(settings: Settings): readonly string[] {
  return [
    'install',
    'rollback',
    'history',
    'holds',
    'snooze',
    'control-maps',
    'decisions',
    'retry',
    ...(settings.access.polkit === 'off' ? [] : ['polkit']),
  ];
}

/** A signal, or that the bus name is or becomes somebody else's. A lost bus is no reason. */
function firstReasonToStop(bus: Bus, log: Log): Promise<ExitCode> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const) {
      process.once(signal, () => {
        log.info('Stopping', { signal });
        resolve(EXIT.stopped);
      });
    }
    bus.name$
      .pipe(
        // The name for old programs may be somebody else's: then they talk to somebody else.
        filter(({ name, state }) => name === HOLDPOINT_BUS_NAME && (state === 'taken' || state === 'lost')),
        map(({ name, state }) => {
          log.error('The bus name belongs to somebody else', { name, nameState: state });
          return state === 'taken' ? EXIT.nameTaken : EXIT.failed;
        }),
        take(1),
      )
      .subscribe(resolve);
  });
}

process.on('SIGPIPE', () => {});
main().catch((error: unknown) => {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`holdpointd: starting: ${message}\n`);
  if (!(error instanceof UpdateError) && process.env['HOLDPOINT_DEBUG'] && error instanceof Error) {
    process.stderr.write(`${error.stack ?? ''}\n`);
  }
  process.exit(EXIT.failed);
});

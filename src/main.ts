import { Command as Program, CommanderError } from 'commander';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { filter, from, map, mergeMap, Subscription, take } from 'rxjs';
import { systemBusAddress } from './adapters/dbus/address.ts';
import { Bus } from './adapters/dbus/connection.ts';
import { Dispatcher } from './adapters/dbus/dispatcher.ts';
import { HOLDPOINT_BUS_NAME } from './adapters/dbus/interface-xml.ts';
import { Publisher } from './adapters/dbus/publisher.ts';
import { DEFAULT_RATE, RateLimiter } from './adapters/dbus/rate-limit.ts';
import { createUpdateObject } from './adapters/dbus/update-object.ts';
import { FileDeploymentLog } from './adapters/log/deployment-log.ts';
import { createServiceLog } from './adapters/log/winston.ts';
import { noServer } from './adapters/server/no-server.ts';
import { SystemClock } from './adapters/system/clock.ts';
import { lockDatastore } from './adapters/system/lock.ts';
import { readBootstrap } from './app/bootstrap.ts';
import { runEffects } from './app/effects.ts';
import { createMachine } from './app/machine.ts';
import type { Ports } from './app/ports.ts';
import { createService } from './app/service.ts';
import { installTools, openRecords, openStates } from './compose-adapters.ts';
import { loadSettings, type ConfigOptions } from './config/load.ts';
import type { Settings } from './config/settings.ts';
import { UpdateError } from './core/errors.ts';
import type { EventBody } from './core/event.ts';
import { snapshotOf } from './core/snapshot.ts';
import { initialState, NOTHING_INSTALLED, type UpdateState } from './core/state.ts';
import type { Log } from './ports/log.ts';
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
  const { settings, warnings } = await loadSettings(options);
  const log = createServiceLog({ level: settings.logLevel });
  for (const warning of warnings) log.warn(warning);
  if (settings.servers.length > 0) {
    log.warn('This version has no server client: the configured servers are not asked for updates');
  }
  const lock = await lockDatastore({ directory: settings.paths.stateDirectory, command: 'holdpointd' });
  const exitCode = await serve(settings, log);
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

async function serve(settings: Settings, log: Log): Promise<ExitCode> {
  const clock = new SystemClock();
  const component = (name: string): Log => log.child({ component: name });
  const nonce = (): string => randomBytes(16).toString('hex');
  const deploymentLog = new FileDeploymentLog(
    { folder: settings.paths.deploymentLogDirectory },
    clock,
    component('deployment-log'),
  );
  const tools = installTools(settings, clock, deploymentLog, log);
  const store = openStates(settings);
  const { document: stored, complaints } = await store.load();
  for (const complaint of complaints) log.error('Stored state', { complaint });
  const bootstrap = await readBootstrap(
    { ...tools, log },
    {
      path: settings.paths.bootstrapArtifactFile,
      remove: () => rm(settings.paths.bootstrapArtifactFile, { force: true }),
    },
    stored?.installed ?? null,
  );
  const { document: standalone } = await openRecords(settings).load();
  if (standalone) log.warn('An update of the command line is not committed; no other one can begin');
  const seed = stored ?? initialState(NOTHING_INSTALLED);

  const machine = createMachine(seed, { clock, store, nonce, log: component('flow') });
  const bus = new Bus({
    address: systemBusAddress(process.env),
    names: [{ name: HOLDPOINT_BUS_NAME }],
    log: component('bus'),
  });
  const ports: Omit<Ports, 'bus'> = {
    ...tools,
    clock,
    server: noServer,
    deploymentLog,
    log: component('effects'),
    nonce,
  };
  // The object answers from what was published last, the publisher publishes on the object's behalf.
  const publisher = new Publisher(
    bus,
    (snapshot) =>
      createUpdateObject({
        version: VERSION,
        snapshot,
        service: createService(machine, ports),
      }),
    snapshotOf(seed),
    component('bus'),
  );
  const dispatcher = new Dispatcher({
    objects: [publisher.object],
    log: component('bus'),
    rateLimiter: new RateLimiter({ ...DEFAULT_RATE, nowMs: () => performance.now() }),
  });
  bus.serve(dispatcher.handle);

  const running = new Subscription();
  // Published before its effects are carried out: nobody is told of a state the properties do not show.
  running.add(machine.tick$.subscribe(({ after }) => publisher.publish(snapshotOf(after))));
  const effect$ = machine.tick$.pipe(mergeMap(({ effects }) => from(effects)));
  const underWay = new Set<Promise<void>>();
  const remember = (ended: Promise<void>): void => {
    underWay.add(ended);
    void ended.then(() => underWay.delete(ended));
  };
  running.add(runEffects(effect$, { ...ports, bus: publisher }, remember).subscribe(machine.dispatch));
  running.add(machine.start());

  const exit = firstReasonToStop(bus, log);
  // Not on the bus before the restart has been taken in: what was stored shows a ticket that is dead by now.
  if (settings.isDbusEnabled) running.add(machine.tick$.pipe(take(1)).subscribe(() => bus.start()));
  machine.dispatch(startEvent(tools.system.bootId(), settings, bootstrap, standalone !== null));
  log.info('Started', { version: VERSION, datastore: settings.paths.datastoreDirectory });

  const exitCode = await exit;
  // Answer who has asked, then let go of everything at once. What runs is ended; that is no verdict on it.
  const answered = dispatcher.shutDown();
  running.unsubscribe();
  await answered;
  publisher.close();
  bus.close();
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
): EventBody {
  return {
    kind: 'ServiceStarted',
    bootId,
    settings: { ...settings.flow, isServerConfigured: noServer.isConfigured, isStandalonePending },
    bootstrap,
  };
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
        filter(({ state }) => state === 'taken' || state === 'lost'),
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

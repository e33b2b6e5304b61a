import { rm } from 'node:fs/promises';
import { SystemClock } from './adapters/system/clock.ts';
import { lockDatastore } from './adapters/system/lock.ts';
import { readBootstrap } from './app/bootstrap.ts';
import {
  runStandalone,
  type Interrupts,
  type StandaloneRequest,
  type StandaloneResult,
  type StandaloneTools,
  type StandaloneWatcher,
} from './app/standalone.ts';
import { exportMenderStore, takeOverFromMender } from './app/takeover.ts';
import { installTools, openMenderStore, openRecords, openRuns, openStates } from './compose-adapters.ts';
import type { Settings } from './config/settings.ts';
import { initialState, NOTHING_INSTALLED, type UpdateState } from './core/state.ts';
import type { DeploymentLog, Log } from './ports/log.ts';
import type { Store } from './ports/store.ts';

/**
 * Composition root of what the command does to the device by itself, without the service: makes the adapters, and
 * holds the lock of the datastore for as long as they are used.
 */
export type { Interrupts, StandaloneRequest, StandaloneResult, StandaloneWatcher };

/** Rejects with kind `wrongState` naming the holder when the service or another command has the datastore. */
export async function standalone(
  settings: Settings,
  log: Log,
  request: StandaloneRequest,
  interrupts: Interrupts,
  watcher: StandaloneWatcher,
): Promise<StandaloneResult> {
  return locked(settings, `holdpoint ${request.command}`, async () => {
    await openRuns(settings, log).endLeftovers();
    const states = openStates(settings);
    await bootstrapOnce(settings, log, states);
    return runStandalone(toolsFor(settings, log, states), request, interrupts, watcher);
  });
}

/** Records what a device that has no record yet has installed, and returns the record. Takes the lock. */
export function firstInstalled(settings: Settings, log: Log): Promise<UpdateState> {
  return locked(settings, 'holdpoint', () => bootstrapOnce(settings, log, openStates(settings)));
}

/** Writes a store the Mender client can start from. Takes the lock. */
export function exportStore(settings: Settings): ReturnType<typeof exportMenderStore> {
  return locked(settings, 'holdpoint export-mender-store', () =>
    exportMenderStore({
      menderStore: openMenderStore(settings, new SystemClock()),
      states: openStates(settings),
      records: openRecords(settings),
    }),
  );
}

async function locked<T>(settings: Settings, command: string, run: () => Promise<T>): Promise<T> {
  const lock = await lockDatastore({ directory: settings.paths.stateDirectory, command });
  try {
    return await run();
  } finally {
    await lock.release();
  }
}

async function bootstrapOnce(settings: Settings, log: Log, states: Store<UpdateState>): Promise<UpdateState> {
  const loaded = await states.load();
  for (const complaint of loaded.complaints) log.error('Stored state', { complaint });
  const clock = new SystemClock();
  const takeover = await takeOverFromMender(
    {
      menderStore: openMenderStore(settings, clock),
      states,
      records: openRecords(settings),
      clock,
      bootId: toolsFor(settings, log, states).system.bootId(),
      log,
    },
    loaded,
  );
  const document = loaded.document ?? takeover?.seed ?? null;
  const path = settings.paths.bootstrapArtifactFile;
  const { reader, source, system } = toolsFor(settings, log, states);
  const found = await readBootstrap(
    { reader, source, system, log },
    { path, remove: () => rm(path, { force: true }) },
    document?.installed ?? null,
  );
  if (found === null && document !== null) return document;
  const state = { ...(document ?? initialState(NOTHING_INSTALLED)), ...(found && { installed: found }) };
  await states.save(state);
  return state;
}

function toolsFor(settings: Settings, log: Log, states: Store<UpdateState>): StandaloneTools {
  const clock = new SystemClock();
  const output = outputLog(log.child({ component: 'output' }));
  return {
    ...installTools(settings, clock, output, log, { isAttended: true }),
    log,
    records: openRecords(settings),
    states,
  };
}

/** There is no deployment, so no log of one: what modules and scripts say goes where the command's log goes. */
function outputLog(log: Log): DeploymentLog {
  return {
    open: async () => {},
    write: (level, message) => log[level === 'warning' ? 'warn' : level](message),
    flush: async () => {},
    close: async () => {},
    read: async () => null,
  };
}

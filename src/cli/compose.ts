/**
 * Makes what the subcommands work with: the connection to the bus, the reader of artifacts, the stored state.
 */
import { createArtifactReader } from '../adapters/artifact/reader.ts';
import { systemBusAddress } from '../adapters/dbus/address.ts';
import {
  isNoService,
  openUpdateClient,
  type RemoteHoldWish,
  type UpdateClient,
} from '../adapters/dbus/update-client.ts';
import { createServiceLog } from '../adapters/log/winston.ts';
import { LocalAndHttpSource } from '../adapters/source/artifact-source.ts';
import { FileStore } from '../adapters/store/file-store.ts';
import { parseStateDocument } from '../adapters/store/state-document.ts';
import { realStoreFiles, type StoreFiles } from '../adapters/store/store-files.ts';
import { firstInstalled, standalone, type Interrupts } from '../compose-standalone.ts';
import { loadSettings, type ConfigOptions } from '../config/load.ts';
import type { Settings } from '../config/settings.ts';
import type { Installed } from '../core/artifact.ts';
import { UpdateError } from '../core/errors.ts';
import { resolve } from 'node:path';
import { listScenarios, runSimulation, scenarioOf, simulationAddress } from './simulate.ts';
import {
  askAgain,
  retryUpdate,
  canDo,
  continueWait,
  orderForDeployment,
  reportHealth,
  showDecisions,
  snoozeWait,
  switchUpdates,
} from './control-commands.ts';
import { NO_SERVICE } from './follow.ts';
import { runHeld } from './held-run.ts';
import { addTimedHold, readMapText, refreshHold, releaseHold, setMap, showHolds } from './hold-commands.ts';
import { checkConfig, inspect, showArtifact, showProvides } from './local-commands.ts';
import type { Actions, HoldRequest } from './program.ts';
import { inHelpfulWords } from './refusal-text.ts';
import {
  installThroughService,
  isUrl,
  showHistory,
  showLog,
  showStatus,
  type ServiceContext,
} from './service-commands.ts';
import { viewStandalone } from './standalone-view.ts';
import { complain, createProgressView, line, sizeText, type Terminal } from './terminal.ts';
import { monitor, waitFor } from './watch-commands.ts';
import type { Log } from '../ports/log.ts';

export interface Surroundings {
  readonly terminal: Terminal;
  readonly interrupts: Interrupts;
  readonly interruptedExitCode: () => number;
  /** Calls the listener for each signal that would end the command; returns how to stop that. */
  readonly onSignal: (listener: (name: NodeJS.Signals) => void) => () => void;
  /** Standard input. */
  readonly input: () => AsyncIterable<Uint8Array>;
  /** Somebody who may be asked for a password. */
  readonly isPersonThere: boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export function createActions(around: Surroundings, options: ConfigOptions): Actions {
  const { terminal, interrupts, environment } = around;
  const signal = interrupts.first;
  const address = systemBusAddress(environment);

  function openClient(): Promise<UpdateClient> {
    return openUpdateClient(address, { isInteractive: around.isPersonThere }).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      throw new UpdateError('bus', `${why} (${NO_SERVICE})`, { cause: error });
    });
  }

  async function withService(run: (context: ServiceContext) => Promise<number>): Promise<number> {
    const client = await openClient();
    try {
      const context = { client, terminal, signal, interruptedExitCode: around.interruptedExitCode };
      return await Promise.race([run(context), interruption(signal)]);
    } catch (error) {
      throw inHelpfulWords(error);
    } finally {
      client.close();
    }
  }

  function hold(request: HoldRequest, doing: string): Promise<number> {
    const { command, timeoutSeconds, why, points, onExpire, priority, appId, isOnce } = request;
    const wish: RemoteHoldWish = {
      points,
      why,
      onExpire,
      timeoutSeconds: command === null ? (timeoutSeconds ?? 0) : 0,
      ...(priority !== null && { priority }),
      ...(appId !== null && { appId }),
      ...(isOnce && { isOnce }),
    };
    if (command === null) return withService((context) => addTimedHold(context, wish));
    const { onSignal } = around;
    return runHeld({
      open: openClient,
      terminal,
      onSignal,
      doing,
      wish,
      command,
      limitSeconds: timeoutSeconds,
    });
  }

  async function settings(): Promise<Settings> {
    const loaded = await loadSettings(options, environment);
    for (const warning of loaded.warnings) complain(terminal, 'reading the configuration', warning);
    return loaded.settings;
  }

  async function alone(
    request: Parameters<typeof standalone>[2],
    doing: string,
    isRebootTold: boolean,
  ): Promise<number> {
    const { command } = request;
    const view = createProgressView(terminal.out);
    const known = await settings();
    if (command === 'install') line(terminal.out, 'Installing artifact...');
    const result = await standalone(known, createLog(options), request, interrupts, {
      onBytes: (bytes, sizeBytes) => view.show(meterOfBytes(bytes, sizeBytes)),
    }).finally(() => view.clear());
    const shown = viewStandalone(result, {
      command,
      isRebootTold,
      interruptedExitCode: around.interruptedExitCode(),
    });
    if (shown.complaint !== null) complain(terminal, doing, shown.complaint);
    for (const text of shown.lines) line(terminal.out, text);
    return shown.exitCode;
  }

  return {
    install: (source, { wait }) => withService((context) => installThroughService(context, source, { wait })),
    installStandalone: (source, { stops, isRebootTold }) => {
      const location = isUrl(source)
        ? ({ kind: 'url', url: source } as const)
        : ({ kind: 'file', path: resolve(source) } as const);
      return alone({ command: 'install', location, stops }, `installing ${source}`, isRebootTold);
    },
    standalone: (command, { stops, isRebootTold }) => alone({ command, stops }, DOING[command], isRebootTold),
    showArtifact: async () =>
      showArtifact(
        terminal,
        (await nameFromService(address)) ?? (await installed(await settings(), options)).artifactName,
      ),
    showProvides: async () => showProvides(terminal, await installed(await settings(), options)),
    inspect: (file, wanted) =>
      inspect(
        {
          reader: createArtifactReader(),
          source: new LocalAndHttpSource(null),
        },
        terminal,
        resolve(file),
        { ...wanted, keys: wanted.keys.map((key) => resolve(key)) },
        signal,
      ),
    status: (wanted) => withService((context) => showStatus(context, wanted)),
    monitor: (wanted) => withService((context) => monitor(context, wanted)),
    wait: (goal, timeoutSeconds) => withService((context) => waitFor(context, goal, timeoutSeconds)),
    continueWait: (ticket, wanted) => withService((context) => continueWait(context, ticket, wanted)),
    snooze: (ticket, seconds) => withService((context) => snoozeWait(context, ticket, seconds)),
    askAgain: () => withService(askAgain),
    retry: (deploymentId) => withService((context) => retryUpdate(context, deploymentId)),
    hold,
    release: (id) => withService((context) => releaseHold(context, id)),
    refresh: (id) => withService((context) => refreshHold(context, id)),
    holds: (wanted) => withService((context) => showHolds(context, wanted)),
    setMap: async (source) => {
      const text = await readMapText(source, around.input, signal);
      return withService((context) => setMap(context, text));
    },
    health: (checker, verdict, message) =>
      withService((context) => reportHealth(context, checker, verdict, message)),
    can: (action) => withService((context) => canDo(context, action)),
    decisions: (wanted) => withService((context) => showDecisions(context, wanted)),
    order: (order, reason) => withService((context) => orderForDeployment(context, order, reason)),
    switchUpdates: (isEnabled) => withService((context) => switchUpdates(context, isEnabled)),
    history: (wanted) => withService((context) => showHistory(context, wanted)),
    log: (deploymentId) => withService((context) => showLog(context, deploymentId)),
    listScenarios: async () => listScenarios(terminal),
    simulate: (name, wanted, doing) =>
      runSimulation(
        terminal,
        scenarioOf(name),
        { ...wanted, doing, address: simulationAddress(environment), log: createLog(options) },
        signal,
      ),
    checkConfig: async () => checkConfig(terminal, await loadSettings(options, environment)),
  };
}

/** What follows the service ends by itself at Ctrl-C; what waits for a reply is not waited for. */
const INTERRUPT_GRACE_MS = 500;

function interruption(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = (): void => {
      setTimeout(() => reject(new UpdateError('cancelled', 'interrupted')), INTERRUPT_GRACE_MS).unref();
    };
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}

const DOING = { commit: 'committing', rollback: 'rolling back', resume: 'resuming' } as const;

/** Errors are told in one line anyway; the log of the work is for whoever asks for it. */
function createLog(options: ConfigOptions): Log {
  const level = options.logLevel ?? 'none';
  const known = {
    error: 'error',
    warning: 'warn',
    warn: 'warn',
    info: 'info',
    debug: 'debug',
    trace: 'debug',
  } as const;
  return Object.hasOwn(known, level)
    ? createServiceLog({ level: known[level as keyof typeof known], isForJournal: false })
    : createServiceLog({ level: 'error', isForJournal: false });
}

function meterOfBytes(bytes: number, sizeBytes: number) {
  const isKnown = sizeBytes > 0;
  return {
    percent: isKnown ? Math.min(100, (bytes * 100) / sizeBytes) : -1,
    label: 'Streaming',
    // Without a size every call would be a new line of its own in a pipe.
    details: isKnown ? `${sizeText(bytes)} of ${sizeText(sizeBytes)}` : sizeText(bytes),
  };
}

/** null = no service to ask. */
async function nameFromService(address: string): Promise<string | null> {
  let client: UpdateClient;
  try {
    client = await openUpdateClient(address);
  } catch {
    return null;
  }
  try {
    return (await client.snapshot()).currentArtifactName;
  } catch (error) {
    if (isNoService(error)) return null;
    throw error;
  } finally {
    client.close();
  }
}

/** From the store, which is only looked at; a device without any record gets its first one. */
async function installed(settings: Settings, options: ConfigOptions): Promise<Installed> {
  const stored = await storedInstalled(settings);
  if (stored !== null) return stored;
  try {
    return (await firstInstalled(settings, createLog(options))).installed;
  } catch (error) {
    // Whoever has the lock makes the record now.
    const made = await storedInstalled(settings);
    if (made !== null) return made;
    throw error;
  }
}

async function storedInstalled({ paths }: Settings): Promise<Installed | null> {
  const files = new FileStore({
    directory: paths.stateDirectory,
    name: 'state',
    parse: parseStateDocument,
    files: LOOK_ONLY,
  });
  return (await files.load()).document?.state.installed ?? null;
}

/** Without the lock nothing may be changed: what looks like a leftover may be another process at work. */
const refuse = (): Promise<never> => Promise.reject(new Error('the store is only looked at'));
const LOOK_ONLY: StoreFiles = {
  ...realStoreFiles,
  makeDirectory: refuse,
  create: refuse,
  overwrite: refuse,
  syncFile: refuse,
  rename: refuse,
  remove: () => Promise.resolve(),
  syncDirectory: refuse,
};

/**
 * Makes what the subcommands work with: the connection to the bus, the reader of artifacts, the stored state.
 */
import { createArtifactReader } from '../adapters/artifact/reader.ts';
import { systemBusAddress } from '../adapters/dbus/address.ts';
import { openUpdateClient, type RemoteHoldWish, type UpdateClient } from '../adapters/dbus/update-client.ts';
import { LocalAndHttpSource } from '../adapters/source/artifact-source.ts';
import { exportStore, standalone } from '../compose-standalone.ts';
import { loadSettings, type ConfigOptions } from '../config/load.ts';
import type { Settings } from '../config/settings.ts';
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
import { openCommandLog } from './command-log.ts';
import { NO_SERVICE } from './follow.ts';
import { runHeld } from './held-run.ts';
import { addTimedHold, readMapText, refreshHold, releaseHold, setMap, showHolds } from './hold-commands.ts';
import { installedOf, nameFromService } from './installed.ts';
import { checkConfig, inspect, showArtifact, showExport, showProvides } from './local-commands.ts';
import type { Actions, HoldRequest } from './program.ts';
import { awaitService } from './presence.ts';
import { inHelpfulWords } from './refusal-text.ts';
import {
  checkForUpdate,
  EXIT,
  installThroughService,
  isUrl,
  sendInventory,
  showHistory,
  showLog,
  showStatus,
  type ServiceContext,
} from './service-commands.ts';
import { viewStandalone } from './standalone-view.ts';
import type { Surroundings } from './surroundings.ts';
import { complain, createProgressView, line, sizeText, type Meter } from './terminal.ts';
import { monitor, waitFor } from './watch-commands.ts';
import type { Log } from '../ports/log.ts';

export function createActions(around: Surroundings, options: ConfigOptions): Actions {
  const { terminal, interrupts, environment } = around;
  const signal = interrupts.first;
  const address = systemBusAddress(environment);
  const log = (): Log => openCommandLog(options.logLevel);

  function openClient(): Promise<UpdateClient> {
    return openUpdateClient(address, { isInteractive: around.isPersonThere }).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      throw new UpdateError('bus', `${why} (${NO_SERVICE})`, { cause: error });
    });
  }

  /** Connected, and the service is there. */
  async function openReadyClient(): Promise<UpdateClient> {
    const client = await openClient();
    try {
      await awaitService(client, around.clock);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** `timeoutMs`: for all of it, the wait for the service included; `leftMs` is what is left of that for `run`. */
  async function withService(
    run: (context: ServiceContext, leftMs: number | null) => Promise<number>,
    timeoutMs: number | null = null,
  ): Promise<number> {
    const client = await openClient();
    const context = { client, terminal, signal, interruptedExitCode: around.interruptedExitCode };
    const runWhenReady = async (): Promise<number> => {
      const { clock } = around;
      const startedMs = clock.now().bootMs;
      if (!(await awaitService(client, clock, timeoutMs))) return EXIT.timedOut;
      return run(context, timeoutMs === null ? null : timeoutMs - (clock.now().bootMs - startedMs));
    };
    try {
      return await Promise.race([runWhenReady(), interruption(signal)]);
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
      open: openReadyClient,
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
    const result = await standalone(known, log(), request, interrupts, {
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
        (await nameFromService(address)) ?? (await installedOf(await settings(), log())).artifactName,
      ),
    showProvides: async () => showProvides(terminal, await installedOf(await settings(), log())),
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
    monitor: ({ json }) =>
      withService((context) => monitor(context, { json, keyboard: json ? null : around.keyboard() })),
    wait: (goal, timeoutSeconds) =>
      withService(
        (context, leftMs) => waitFor(context, goal, leftMs),
        timeoutSeconds === null ? null : timeoutSeconds * 1000,
      ),
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
        { ...wanted, doing, address: simulationAddress(environment), log: log() },
        signal,
      ),
    checkForUpdate: () => withService(checkForUpdate),
    sendInventory: () => withService(sendInventory),
    exportMenderStore: async () => showExport(terminal, await exportStore(await settings())),
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

export function meterOfBytes(bytes: number, sizeBytes: number): Meter {
  const isKnown = sizeBytes > 0;
  return {
    percent: isKnown ? Math.min(100, (bytes * 100) / sizeBytes) : -1,
    label: 'Streaming',
    // Without a size every call would be a new line of its own in a pipe.
    details: isKnown ? `${sizeText(bytes)} of ${sizeText(sizeBytes)}` : sizeText(bytes),
  };
}

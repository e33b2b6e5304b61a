import { join } from 'node:path';
import { createArtifactReader } from './adapters/artifact/reader.ts';
import { Forwarder } from './adapters/forwarder/forwarder.ts';
import type { ConnectionOptions } from './adapters/http/connections.ts';
import { plausibleDates } from './adapters/http/plausible-dates.ts';
import { ModuleRunner } from './adapters/modules/runner.ts';
import { StateScripts } from './adapters/scripts/runner.ts';
import { LocalAndHttpSource } from './adapters/source/artifact-source.ts';
import type { DeviceDescription } from './adapters/server/device-provides.ts';
import { createMenderServer, type MenderServer } from './adapters/server/mender-server.ts';
import { MenderStoreFile } from './adapters/mender-store/mender-store.ts';
import { FileStore } from './adapters/store/file-store.ts';
import {
  parseStandaloneDocument,
  standaloneDocumentOf,
  type StandaloneDocument,
} from './adapters/store/standalone-document.ts';
import { documentOf, parseStateDocument, type StateDocument } from './adapters/store/state-document.ts';
import { Host } from './adapters/system/host.ts';
import { RunLedger } from './adapters/system/run-ledger.ts';
import type { Ports } from './app/ports.ts';
import type { Settings } from './config/settings.ts';
import type { StandaloneRecord } from './core/standalone.ts';
import type { UpdateState } from './core/state.ts';
import type { Authentication } from './ports/authentication.ts';
import type { Clock } from './ports/clock.ts';
import type { LinkRefresher } from './ports/link-refresher.ts';
import type { DeploymentLog, Log } from './ports/log.ts';
import type { MenderStore } from './ports/mender-store.ts';
import type { Store } from './ports/store.ts';
import { BUILT_WALL_MS, VERSION } from './version.ts';

/** What both composition roots (the service, and the command without it) make in the same way. */
export type InstallTools = Pick<
  Ports,
  'source' | 'reader' | 'modules' | 'scripts' | 'system' | 'verifyKeyPaths'
>;

export interface DownloadCircumstances {
  /** Where fresh links come from when one has expired; null (default) = nowhere. */
  readonly links?: LinkRefresher | null;
  /** Somebody sits there and waits: a download that cannot even begin fails at once. Default false. */
  readonly isAttended?: boolean;
}

/** `outputLog`: where the output of modules and scripts goes. */
export function installTools(
  settings: Settings,
  clock: Clock,
  outputLog: DeploymentLog,
  log: Log,
  { links = null, isAttended = false }: DownloadCircumstances = {},
): InstallTools {
  const { paths } = settings;
  const ledger = openRuns(settings, log);
  return {
    source: new LocalAndHttpSource({
      clock,
      log: log.child({ component: 'download' }),
      serverCertificatePath: settings.serverCertificatePath,
      isTlsVerificationSkipped: settings.isTlsVerificationSkipped,
      clientCertificate: settings.httpsClient && {
        certificatePath: settings.httpsClient.certificatePath,
        key: settings.httpsClient.key,
      },
      userAgent: `Holdpoint/${VERSION}`,
      plausibleDates: plausibleDates(clockTrustOf(settings)),
      retry: {
        maxRetries: settings.retryDownloadCount,
        maxIntervalSeconds: settings.flow.retryPollIntervalSeconds,
        isOpeningRetried: !isAttended,
      },
      links,
      rateLimit: settings.downloadRateLimit,
    }),
    reader: createArtifactReader(),
    modules: new ModuleRunner(
      {
        modulesDir: paths.modulesDirectory,
        // The payload's index; there is one payload (spec/update-modules.md section 2).
        treeDir: join(paths.moduleWorkDirectory, '0000', 'tree'),
        timeoutSeconds: settings.moduleTimeoutSeconds,
        ledger,
      },
      clock,
      outputLog,
      log.child({ component: 'modules' }),
    ),
    scripts: new StateScripts(
      {
        rootfsScriptsDir: paths.rootfsScriptsDirectory,
        artifactScriptsDir: paths.artifactScriptsDirectory,
        timeoutSeconds: settings.stateScriptTimeoutSeconds,
        retryIntervalSeconds: settings.stateScriptRetryIntervalSeconds,
        retryTimeoutSeconds: settings.stateScriptRetryTimeoutSeconds,
        ledger,
      },
      clock,
      outputLog,
      log.child({ component: 'scripts' }),
    ),
    system: new Host({
      clock,
      deviceTypePath: paths.deviceTypeFile,
      deviceTypeMemory: { path: join(paths.stateDirectory, 'device_type'), log },
      rebootCommand: settings.rebootCommand,
    }),
    verifyKeyPaths: settings.verifyKeyPaths,
  };
}

/** What modules and scripts are under way, for whoever comes after a kill -9. */
export function openRuns({ paths }: Settings, log: Log): RunLedger {
  return new RunLedger(
    { directory: join(paths.stateDirectory, 'runs') },
    log.child({ component: 'processes' }),
  );
}

/** The state as the loop sees it, the document as the files hold it. */
export function openStates(settings: Settings): Store<UpdateState> {
  const files = new FileStore<StateDocument>({
    directory: settings.paths.stateDirectory,
    name: 'state',
    parse: parseStateDocument,
  });
  return {
    async load() {
      const { document, ...rest } = await files.load();
      return { ...rest, document: document?.state ?? null };
    },
    save: (state) => files.save(documentOf(state)),
  };
}

/** The update of the command line that is not over yet; null = none. */
export function openRecords(settings: Settings): Store<StandaloneRecord | null> {
  const files = new FileStore<StandaloneDocument>({
    directory: settings.paths.stateDirectory,
    name: 'standalone',
    parse: (value) => {
      parseStandaloneDocument(value);
      return value as StandaloneDocument;
    },
  });
  return {
    async load() {
      const { document, ...rest } = await files.load();
      return { ...rest, document: parseStandaloneDocument(document) };
    },
    save: (record) => files.save(standaloneDocumentOf(record)),
  };
}

/** The store of a Mender client that was here before, read once and written on the way back to it. */
export function openMenderStore(settings: Settings, clock: Clock): MenderStore {
  const { paths } = settings;
  return new MenderStoreFile({
    path: paths.menderStoreFile,
    stateDirectory: paths.stateDirectory,
    // Where 3.x writes them, whatever UpdateLogPath says.
    deploymentLogDirectories: [paths.datastoreDirectory],
    artifactInfoFile: paths.artifactInfoFile,
    parseStandalone: parseStandaloneDocument,
    clock,
  });
}

/** Nothing is sent and no program is run before it is asked for. `authentication`: null = we authenticate ourselves. */
export function openServer(
  settings: Settings,
  describeDevice: () => Promise<DeviceDescription>,
  clock: Clock,
  log: Log,
  authentication: Authentication | null = null,
): MenderServer {
  const { paths, authPrivateKey } = settings;
  return createMenderServer(
    {
      servers: settings.servers,
      tenantToken: settings.tenantToken,
      tier: settings.deviceTier,
      identity: {
        program: paths.identityProgram,
        memoryPath: join(paths.stateDirectory, 'identity.json'),
      },
      inventory: { directory: paths.inventoryDirectory },
      keys: {
        ownKeyPath: paths.menderPrivateKeyFile,
        staticKey: authPrivateKey?.key ?? null,
        passphraseFile: settings.passphraseFile,
      },
      http: connectionOptions(settings),
      version: VERSION,
      clockTrust: clockTrustOf(settings),
      ...(authentication && { authentication }),
    },
    describeDevice,
    clock,
    log,
  );
}

/** Closed until it is given a token. It trusts whom the client of the server trusts. */
export function openForwarder(settings: Settings, clock: Clock, log: Log): Forwarder {
  return new Forwarder(connectionOptions(settings), clock, log);
}

function connectionOptions(settings: Settings): ConnectionOptions {
  const { httpsClient } = settings;
  return {
    serverCertificatePath: settings.serverCertificatePath,
    isTlsVerificationSkipped: settings.isTlsVerificationSkipped,
    clientCertificate: httpsClient && {
      certificatePath: httpsClient.certificatePath,
      key: httpsClient.key,
    },
    isKeepAliveDisabled: settings.isKeepAliveDisabled,
    idleConnectionTimeoutSeconds: settings.idleConnectionTimeoutSeconds,
  };
}

/** From when on the clock can be right. Not the folders: taking the lock touches them with the clock in question. */
export function clockTrustOf({ paths }: Settings): {
  readonly builtWallMs: number;
  readonly files: readonly string[];
} {
  return {
    builtWallMs: BUILT_WALL_MS,
    files: ['state-a.json', 'state-b.json'].map((name) => join(paths.stateDirectory, name)),
  };
}

/** The parts of the server, put together over one data folder. */
import type { IncomingMessage } from 'node:http';
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import type { ArtifactReader } from '../ports/artifact-reader.ts';
import type { Log } from '../ports/log.ts';
import { ArtifactShelf } from './artifact-shelf.ts';
import { DeploymentLogs } from './deployment-logs.ts';
import { Deployments } from './deployments.ts';
import { sortedJson } from './device-signature.ts';
import { Devices } from './devices.ts';
import { EventHub } from './events.ts';
import { Faults } from './faults.ts';
import { openJournal } from './journal.ts';
import { recordsOf, type Records } from './records.ts';
import { loadSecrets, type Secrets } from './secrets.ts';

export interface ServerOptions {
  readonly dataFolder: string;
  /** Lets in devices that were never seen before. */
  readonly isAutoAccepting: boolean;
  /** As the open-source server: no v2, no control maps. */
  readonly isOpenSource: boolean;
  readonly linkLifetimeMs: number;
  readonly tokenLifetimeMs: number;
  readonly maxArtifactBytes: number;
  readonly maxDevices: number;
  /** What download links begin with, without a slash at the end; null = as the device called us. */
  readonly publicUrl: string | null;
  readonly version: string;
}

export interface DevServer {
  readonly options: ServerOptions;
  readonly records: Records;
  readonly secrets: Secrets;
  readonly devices: Devices;
  readonly deployments: Deployments;
  readonly logs: DeploymentLogs;
  readonly shelf: ArtifactShelf;
  readonly faults: Faults;
  readonly events: EventHub;
  readonly log: Log;
  readonly nowMs: () => number;
  /** Under which address the client of this request can reach the server. */
  baseUrl(request: IncomingMessage): string;
  /** Ends the live streams, and waits until everything is on disk. */
  close(): Promise<void>;
}

/** Rejects (kind `store`) when the folder cannot be used. The caller holds the lock on it. */
export async function openDevServer(
  options: ServerOptions,
  parts: { readonly reader: ArtifactReader; readonly log: Log; readonly nowMs: () => number },
): Promise<DevServer> {
  const { reader, log, nowMs } = parts;
  const at = (name: string): string => join(options.dataFolder, name);
  await mkdir(options.dataFolder, { recursive: true, mode: 0o700 });
  const secrets = await loadSecrets(at('keys'));
  const journal = await openJournal(at('state.journal'));
  for (const complaint of journal.complaints) log.warn('Stored state', { complaint });
  const records = recordsOf(journal);
  const events = new EventHub();
  const logs = await DeploymentLogs.open(
    at('logs'),
    (deploymentId) => records.deployments.get(deploymentId) !== undefined,
    log,
  );
  const shelf = await ArtifactShelf.open({
    folder: at('artifacts'),
    records,
    reader,
    events,
    nowMs,
    maxBytes: options.maxArtifactBytes,
    log,
  });
  const devices = new Devices({
    records,
    secrets,
    options,
    events,
    log,
    nowMs,
    identityHash: (identity) => createHash('sha256').update(sortedJson(identity)).digest('hex'),
  });
  return {
    options,
    records,
    secrets,
    devices,
    deployments: new Deployments(records, logs, events, nowMs),
    logs,
    shelf,
    faults: new Faults(),
    events,
    log,
    nowMs,
    baseUrl: (request) => options.publicUrl ?? calledAs(request),
    async close() {
      events.close();
      await journal.close();
    },
  };
}

/** The host the client named, when it can be one; a certificate has to fit it. Else the address it has reached. */
function calledAs({ headers, socket }: IncomingMessage): string {
  const scheme = (socket as Partial<TLSSocket>).encrypted === true ? 'https' : 'http';
  const host = headers.host ?? '';
  if (/^(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/.test(host))
    return `${scheme}://${host}`;
  const address = socket.localAddress ?? '127.0.0.1';
  return `${scheme}://${address.includes(':') ? `[${address}]` : address}:${socket.localPort}`;
}

/** Puts the parts together: everything the device has to do with a server of the Mender kind. */
import type { Clock } from '../../ports/clock.ts';
import type { Authentication } from '../../ports/authentication.ts';
import type { DeploymentServer } from '../../ports/deployment-server.ts';
import type { Inventory } from '../../ports/inventory.ts';
import type { Log } from '../../ports/log.ts';
import { Authenticator } from './authenticator.ts';
import { ServerClient } from './client.ts';
import type { DeviceDescription } from './device-provides.ts';
import { HttpClient, type HttpOptions } from './http.ts';
import { readIdentity, type IdentityOptions } from './identity.ts';
import { collectInventory, type InventoryProgramOptions } from './inventory-programs.ts';
import { InventorySender } from './inventory-sender.ts';
import { DeviceKeys, type KeyOptions } from './keys.ts';
import { RememberedIdentity } from './remembered-identity.ts';
import { plausibleDates, type ClockTrust } from '../http/plausible-dates.ts';
import { ApiSession } from './session.ts';

export interface MenderServerOptions {
  /** Base URLs without trailing slash; empty = none is configured, and every call rejects. */
  readonly servers: readonly string[];
  readonly tenantToken: string;
  readonly tier: string;
  readonly identity: IdentityOptions;
  readonly inventory: InventoryProgramOptions;
  readonly keys: KeyOptions;
  readonly http: Omit<HttpOptions, 'userAgent' | 'plausibleDates'>;
  /** Of this program; for the User-Agent and the inventory. */
  readonly version: string;
  /** From when on the clock can be right. */
  readonly clockTrust: ClockTrust;
  /** Who obtains the token; default: we do, with the key and the identity above. */
  readonly authentication?: Authentication;
}

export interface MenderServer {
  readonly deployments: DeploymentServer;
  readonly authentication: Authentication;
  readonly inventory: Inventory;
  /** For `bootstrap` and `setup`. */
  readonly keys: DeviceKeys;
  /** Ends every connection. */
  close(): Promise<void>;
}

/** Nothing is sent and no program is run before it is asked for. */
export function createMenderServer(
  options: MenderServerOptions,
  describeDevice: () => Promise<DeviceDescription>,
  clock: Clock,
  log: Log,
): MenderServer {
  const http = new HttpClient(
    {
      ...options.http,
      userAgent: `Holdpoint/${options.version}`,
      plausibleDates: plausibleDates(options.clockTrust),
    },
    clock,
    log,
  );
  const keys = new DeviceKeys(options.keys, log);
  const identity = new RememberedIdentity({
    read: (signal) => readIdentity(options.identity, clock, log, signal),
    memoryPath: options.identity.memoryPath ?? null,
    log,
  });
  const authentication =
    options.authentication ??
    new Authenticator(options, {
      http,
      log,
      loadKey: () => keys.load(),
      readIdentity: (signal) => identity.read(signal),
      identityAccepted: (accepted) => identity.accept(accepted),
    });
  const session = new ApiSession(
    http,
    authentication,
    options.authentication === undefined && options.servers.length > 1,
  );
  return {
    deployments: new ServerClient({
      isConfigured: options.servers.length > 0,
      session,
      authentication,
      describeDevice,
      clock,
      log,
    }),
    authentication,
    inventory: new InventorySender({
      session,
      authentication,
      describeDevice,
      collect: (signal) => collectInventory(options.inventory, clock, log, signal),
      clientVersion: options.version,
      log,
    }),
    keys,
    close: () => http.close(),
  };
}

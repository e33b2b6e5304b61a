/**
 * Puts the inventory together and sends it. Source: spec/server-api.md section 3.
 *
 * `device_type` and `artifact_name` are always ours, as in 3.x; the version of the client is ours unless a program gives
 * it, as in 5.x. What equals the last accepted inventory is not sent, until the device has authenticated anew: the server
 * may have forgotten it.
 */
import { createHash } from 'node:crypto';
import { UpdateError } from '../../core/errors.ts';
import { quoted } from '../../core/printable.ts';
import type { Authentication } from '../../ports/authentication.ts';
import type { Inventory, InventoryOutcome } from '../../ports/inventory.ts';
import type { Log } from '../../ports/log.ts';
import type { DeviceDescription } from './device-provides.ts';
import { noteFailure } from './failure-note.ts';
import type { KeyValues } from './key-values.ts';
import type { ApiSession } from './session.ts';

export interface InventoryTools {
  readonly session: ApiSession;
  readonly authentication: Authentication;
  readonly describeDevice: () => Promise<DeviceDescription>;
  readonly collect: (signal: AbortSignal) => Promise<KeyValues>;
  /** `mender_client_version`. */
  readonly clientVersion: string;
  readonly log: Log;
}

export interface Attribute {
  readonly name: string;
  readonly value: string | readonly string[];
}

const PATH = '/api/devices/v1/inventory/device/attributes';
const MAX_ATTRIBUTES = 100;
const MAX_NAME_BYTES = 1024;
/** Far more than any device has to say; servers on small machines take no more. */
const MAX_BODY_BYTES = 250_000;

export class InventorySender implements Inventory {
  readonly #tools: InventoryTools;
  /** Of what was accepted last since the last authentication; null = nothing. */
  #acceptedHash: string | null = null;

  constructor(tools: InventoryTools) {
    this.#tools = tools;
    tools.authentication.state$.subscribe(({ status }) => {
      if (status === 'authorized') this.#acceptedHash = null;
    });
  }

  async send(signal: AbortSignal): Promise<InventoryOutcome> {
    try {
      return await this.#send(signal);
    } catch (error) {
      noteFailure(this.#tools.log, error);
      throw error;
    }
  }

  async #send(signal: AbortSignal): Promise<InventoryOutcome> {
    const values = await this.#tools.collect(signal);
    const device = await this.#tools.describeDevice();
    const attributes = inventoryOf(values, device, this.#tools.clientVersion, this.#tools.log);
    const body = Buffer.from(JSON.stringify(attributes));
    const hash = createHash('sha256').update(body).digest('hex');
    if (hash === this.#acceptedHash) return 'unchanged';
    await this.#put(body, signal);
    this.#acceptedHash = hash;
    return 'sent';
  }

  async #put(body: Buffer, signal: AbortSignal): Promise<void> {
    const request = { doing: 'sending the inventory', path: PATH, body } as const;
    let answer = await this.#tools.session.call({ ...request, method: 'PUT' }, signal);
    // Servers of old know no PUT here.
    if (answer.status === 405)
      answer = await this.#tools.session.call({ ...request, method: 'PATCH' }, signal);
    if (answer.status !== 200) throw answer.asError('200');
    if (signal.aborted) throw new UpdateError('cancelled', 'sending the inventory was stopped');
  }
}

/** Sorted by name, and cut to what servers accept: beyond it they would refuse all of it. */
export function inventoryOf(
  values: KeyValues,
  { installed, deviceType }: DeviceDescription,
  clientVersion: string,
  log: Log,
): readonly Attribute[] {
  const own = new Map<string, Attribute['value']>([
    ['artifact_name', installed.artifactName],
    ...(deviceType === '' ? [] : [['device_type', deviceType] as const]),
    ['mender_client_version_provider', values.has('mender_client_version') ? 'external' : 'internal'],
  ]);
  const others = new Map<string, Attribute['value']>([['mender_client_version', clientVersion]]);
  for (const [name, list] of values) {
    if (own.has(name)) continue;
    if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
      log.warn('an inventory attribute is left out: its name is too long', { attribute: quoted(name) });
      continue;
    }
    others.set(name, list.length === 1 ? list[0]! : list);
  }
  const sorted = sortedByName(others);
  const room = MAX_ATTRIBUTES - own.size;
  if (sorted.length > room) {
    log.warn('inventory attributes are left out: servers take no more than a hundred', {
      leftOut: sorted.length - room,
    });
  }
  const kept = [...sortedByName(own), ...sorted.slice(0, room)];
  return sortedByName(new Map(withinSize(kept, log).map(({ name, value }) => [name, value])));
}

function sortedByName(attributes: ReadonlyMap<string, Attribute['value']>): readonly Attribute[] {
  return [...attributes]
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(([name, value]) => ({ name, value }));
}

/** Leaves out the largest until the rest fits into one request. */
function withinSize(attributes: readonly Attribute[], log: Log): readonly Attribute[] {
  const sized = attributes.map((attribute) => ({
    attribute,
    bytes: Buffer.byteLength(JSON.stringify(attribute)) + 1,
  }));
  let total = sized.reduce((sum, { bytes }) => sum + bytes, 2);
  const bySize = [...sized].sort((a, b) => b.bytes - a.bytes);
  const dropped = new Set<Attribute>();
  for (const { attribute, bytes } of bySize) {
    if (total <= MAX_BODY_BYTES) break;
    total -= bytes;
    dropped.add(attribute);
    log.warn('an inventory attribute is left out: the inventory would be too large', {
      attribute: quoted(attribute.name),
      bytes,
    });
  }
  return attributes.filter((attribute) => !dropped.has(attribute));
}

/**
 * Devices: how they become known, are let in and turned away, and what they say about themselves. A device is its
 * identity; each key it comes with is an authentication set of its own. Source: spec/server-api.md sections 2 and 3.
 */
import { randomUUID } from 'node:crypto';
import type { Log } from '../ports/log.ts';
import type { AskingDevice } from './device-signature.ts';
import { issueToken, readToken } from './device-token.ts';
import type { EventHub } from './events.ts';
import { HttpError } from './http-error.ts';
import type { Change } from './journal.ts';
import type { Attribute, AuthSet, AuthStatus, DeviceRecord, Records } from './records.ts';
import type { Secrets } from './secrets.ts';

export const MAX_ATTRIBUTES = 100;
/** Keys remembered of one device; the oldest that was not accepted makes room. */
const MAX_AUTH_SETS = 8;

export interface DevicesOptions {
  /** Lets devices in that were never seen before. A new key of a known device still waits for a person. */
  readonly isAutoAccepting: boolean;
  readonly tokenLifetimeMs: number;
  readonly maxDevices: number;
}

export class Devices {
  readonly #records: Records;
  readonly #secrets: Secrets;
  readonly #options: DevicesOptions;
  readonly #events: EventHub;
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #byIdentity = new Map<string, string>();
  /** Not saved: a write for each poll would tell nobody anything. */
  readonly #lastSeenMs = new Map<string, number>();

  constructor(parts: {
    readonly records: Records;
    readonly secrets: Secrets;
    readonly options: DevicesOptions;
    readonly events: EventHub;
    readonly log: Log;
    readonly nowMs: () => number;
    readonly identityHash: (identity: DeviceRecord['identity']) => string;
  }) {
    this.#records = parts.records;
    this.#secrets = parts.secrets;
    this.#options = parts.options;
    this.#events = parts.events;
    this.#log = parts.log;
    this.#nowMs = parts.nowMs;
    for (const device of parts.records.devices.values()) {
      this.#byIdentity.set(parts.identityHash(device.identity), device.id);
    }
  }

  /** A token. Throws HttpError 401 while the device is not accepted, and records that it asked. */
  async authenticate(asking: AskingDevice): Promise<string> {
    const knownId = this.#byIdentity.get(asking.identityHash);
    const known = knownId === undefined ? undefined : this.#records.devices.get(knownId);
    const set = known?.authSets.find(({ publicKey }) => publicKey === asking.publicKey);
    const device = known && set ? known : await this.#remember(known, asking);
    const own = device.authSets.find(({ publicKey }) => publicKey === asking.publicKey);
    this.#see(device.id);
    if (own?.status !== 'accepted') {
      throw new HttpError(
        401,
        own?.status === 'rejected' ? 'the device is rejected' : 'the device is pending',
      );
    }
    const facts = { deviceId: device.id, authSetId: own.id };
    return issueToken(this.#secrets, facts, this.#nowMs(), this.#options.tokenLifetimeMs);
  }

  /** The device behind `Authorization: Bearer …`. Throws HttpError 401. Checked anew on each call. */
  authorized(header: string | undefined): DeviceRecord {
    const token = /^Bearer +([^\s]+)$/i.exec(header ?? '')?.[1];
    if (token === undefined) throw new HttpError(401, 'the header Authorization holds no bearer token');
    const facts = readToken(this.#secrets, token, this.#nowMs());
    if (!facts) throw new HttpError(401, 'the token is not valid or has expired');
    const device = this.#records.devices.get(facts.deviceId);
    const set = device?.authSets.find(({ id }) => id === facts.authSetId);
    if (!device || set?.status !== 'accepted') throw new HttpError(401, 'the token has been revoked');
    this.#see(device.id);
    return device;
  }

  lastSeenMs(deviceId: string): number | null {
    return this.#lastSeenMs.get(deviceId) ?? null;
  }

  /** `replace` = every attribute; else those named are changed. Source: spec/server-api.md section 3. */
  async setInventory(
    device: DeviceRecord,
    attributes: readonly Attribute[],
    mode: 'replace' | 'merge',
  ): Promise<void> {
    const all = new Map((mode === 'merge' ? (device.inventory ?? []) : []).map((one) => [one.name, one]));
    for (const attribute of attributes) all.set(attribute.name, attribute);
    if (all.size > MAX_ATTRIBUTES) {
      throw new HttpError(400, `${all.size} attributes, expected at most ${MAX_ATTRIBUTES}`);
    }
    const inventory = [...all.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
    await this.#put({ ...device, inventory, inventoryMs: this.#nowMs() });
  }

  /** `authSetId` null = the one that asked last. Other accepted keys of the device stop counting. */
  async decide(deviceId: string, verdict: 'accepted' | 'rejected', authSetId: string | null): Promise<void> {
    const device = this.#records.devices.get(deviceId);
    if (!device) throw new HttpError(404, 'no such device');
    const chosen =
      authSetId === null ? device.authSets.at(-1) : device.authSets.find(({ id }) => id === authSetId);
    if (!chosen) throw new HttpError(404, 'no such key of this device');
    const authSets = device.authSets.map((set): AuthSet => {
      if (set.id === chosen.id) return { ...set, status: verdict };
      return verdict === 'accepted' && set.status === 'accepted' ? { ...set, status: 'rejected' } : set;
    });
    this.#log.info('A device was judged', { deviceId, verdict });
    await this.#put({ ...device, authSets });
  }

  /** Forgets the device; if it asks again it is a new one. `changes` go with it. */
  async remove(deviceId: string, changes: readonly Change[]): Promise<void> {
    this.#lastSeenMs.delete(deviceId);
    for (const [hash, id] of this.#byIdentity) if (id === deviceId) this.#byIdentity.delete(hash);
    const saved = this.#records.commit([...changes, this.#records.devices.remove(deviceId)]);
    this.#events.publish({ kind: 'device', id: deviceId });
    await saved;
  }

  async #remember(known: DeviceRecord | undefined, asking: AskingDevice): Promise<DeviceRecord> {
    const nowMs = this.#nowMs();
    if (!known && this.#records.devices.size >= this.#options.maxDevices) {
      this.#log.warn('A device was turned away: there are too many', { limit: this.#options.maxDevices });
      throw new HttpError(401, 'the server has no room for another device');
    }
    const isWelcome = !known && this.#options.isAutoAccepting;
    const set: AuthSet = {
      id: randomUUID(),
      publicKey: asking.publicKey,
      status: isWelcome ? 'accepted' : 'pending',
      requestedMs: nowMs,
    };
    const device: DeviceRecord = known
      ? { ...known, authSets: withRoom(known.authSets, set) }
      : {
          id: randomUUID(),
          identity: asking.identity,
          authSets: [set],
          createdMs: nowMs,
          inventory: null,
          inventoryMs: null,
        };
    this.#byIdentity.set(asking.identityHash, device.id);
    this.#log.info(known ? 'A device came with another key' : 'A new device', {
      deviceId: device.id,
      status: set.status,
    });
    await this.#put(device);
    return device;
  }

  #see(deviceId: string): void {
    this.#lastSeenMs.set(deviceId, this.#nowMs());
  }

  async #put(device: DeviceRecord): Promise<void> {
    const saved = this.#records.commit([this.#records.devices.put(device.id, device)]);
    this.#events.publish({ kind: 'device', id: device.id });
    await saved;
  }
}

function withRoom(sets: readonly AuthSet[], added: AuthSet): readonly AuthSet[] {
  const kept = sets.length < MAX_AUTH_SETS ? sets : withoutOldest(sets);
  return [...kept, added];
}

function withoutOldest(sets: readonly AuthSet[]): readonly AuthSet[] {
  const oldest = sets.find(({ status }) => status !== 'accepted');
  return sets.filter((set) => set !== oldest);
}

/** Accepted when one key is; else what the newest one is. */
export function statusOf(device: DeviceRecord): AuthStatus {
  if (device.authSets.some(({ status }) => status === 'accepted')) return 'accepted';
  return device.authSets.at(-1)?.status ?? 'pending';
}

/** What the device last said it is, under this name; null = nothing. */
export function attributeOf(device: DeviceRecord, name: string): Attribute['value'] | null {
  return device.inventory?.find((attribute) => attribute.name === name)?.value ?? null;
}

/**
 * Many devices that are nothing but the calls of a Mender client: each polls with some jitter, takes what it is offered,
 * waits before commit as its map says, and goes on when that lets it. They follow maps, and no times.
 */
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer } from './dev-server.ts';
import { ProtocolDevice } from './protocol-device.ts';

export interface FleetRequest {
  readonly atMs: number;
  readonly kind: 'next' | 'map';
}

export type MemberState = 'polling' | 'waiting' | 'success' | 'failure';

export interface FleetMember {
  readonly serial: string;
  readonly state: MemberState;
  /** While true it makes no call at all. */
  isOffline: boolean;
  /** Intervals that passed while it was offline. */
  readonly missed: number;
  readonly requests: readonly FleetRequest[];
}

export interface FleetOptions {
  readonly url: string;
  readonly count: number;
  readonly intervalMs: number;
  /** From 0 to 1. */
  readonly random: () => number;
}

export interface ProtocolFleet {
  readonly members: readonly FleetMember[];
  /** Rejects with what went wrong with any member. */
  stop(): Promise<void>;
}

const JITTER = 0.1;

export function startProtocolFleet(options: FleetOptions): ProtocolFleet {
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal);
  const members = Array.from({ length: options.count }, (_, index) => new Member(index, options));
  const lives = Promise.all(members.map((member) => member.live(stopping.signal)));
  lives.catch(() => stopping.abort());
  return {
    members,
    async stop() {
      stopping.abort();
      await lives;
    },
  };
}

class Member implements FleetMember {
  readonly serial: string;
  state: MemberState = 'polling';
  isOffline = false;
  missed = 0;
  readonly requests: FleetRequest[] = [];
  readonly #device: ProtocolDevice;
  readonly #options: FleetOptions;
  #deploymentId = '';

  constructor(index: number, options: FleetOptions) {
    this.serial = `simulated-${index}`;
    this.#device = new ProtocolDevice(options.url, { serial: this.serial });
    this.#options = options;
  }

  async live(signal: AbortSignal): Promise<void> {
    const { intervalMs, random } = this.#options;
    // Devices are not switched on at the same moment.
    let pauseMs = random() * intervalMs;
    let isKnown = false;
    while (!signal.aborted) {
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
      pauseMs = intervalMs * (1 - JITTER * random());
      if (signal.aborted || this.state === 'success' || this.state === 'failure') continue;
      if (this.isOffline) {
        this.missed += 1;
        continue;
      }
      if (!isKnown) {
        await this.#begin();
        isKnown = true;
      }
      if (this.state === 'waiting') await this.#lookAtMap();
      else await this.#poll();
    }
  }

  async #begin(): Promise<void> {
    must(await this.#device.authenticate(), 200);
    must(await this.#device.inventory([{ name: 'device_type', value: this.#device.deviceType }]), 200);
  }

  async #poll(): Promise<void> {
    this.requests.push({ atMs: Date.now(), kind: 'next' });
    const offer = await this.#device.next();
    if (offer.status === 204) return;
    this.#deploymentId = must(offer, 200).json.id as string;
    await this.#report('downloading');
    await this.#report('installing');
    if (!holdsAtCommit(offer)) return this.#commit();
    await this.#report('pause_before_committing', 'waiting for: map (server)');
    this.state = 'waiting';
  }

  async #lookAtMap(): Promise<void> {
    this.requests.push({ atMs: Date.now(), kind: 'map' });
    const answer = must(await this.#device.map(this.#deploymentId), 200);
    if (!holdsAtCommit(answer)) await this.#commit();
  }

  async #commit(): Promise<void> {
    must(await this.#device.authenticate(), 200);
    await this.#report('installing');
    await this.#report('success');
    this.state = 'success';
  }

  async #report(status: string, substate?: string): Promise<void> {
    must(await this.#device.status(this.#deploymentId, status, substate), 204);
  }
}

function holdsAtCommit({ json }: Answer): boolean {
  return json.update_control_map?.states?.ArtifactCommit_Enter?.action === 'pause';
}

function must(answer: Answer, status: number): Answer {
  if (answer.status !== status) throw new Error(`found ${answer.status} ${answer.text}, expected ${status}`);
  return answer;
}

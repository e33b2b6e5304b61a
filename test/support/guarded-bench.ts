import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { BusCaller, type CallerOptions } from './bus-caller.ts';
import { connected } from './bus-client.ts';
import { OTHER_UID } from './bus-tools.ts';
import { GuardedService, type GuardedOptions } from './guarded-service.ts';
import { POLKIT_POLICY, PolkitDaemon } from './polkit.ts';
import { POLICY_PATH, startPrivateBus, type PrivateBus } from './private-bus.ts';

/** What the tests of who may what have in common: a bus with our policy, a polkit that does not run yet, and people. */
export const ROOT = { uid: 0, gids: [0] };
export const OTHER = { uid: OTHER_UID, gids: [OTHER_UID] };
/** Not in /etc/group: the group file of the bench gives it the name `holdpoint`. */
const HOLDPOINT_GID = 4242;
export const MEMBER = { uid: 2, gids: [2, HOLDPOINT_GID] };

export const STANDARD = 'org.freedesktop.DBus.Error.';
export const DENIED = `${STANDARD}AccessDenied`;
export const CHALLENGE = `${STANDARD}InteractiveAuthorizationRequired`;

/** What the built-in table gives the group holdpoint. */
export const GROUP_ACTIONS: readonly (string | null)[] = ['check', 'continue', 'hold', 'abort', 'inspect'];
/** Where the vendor's `allow_any`, which holds for who has no session, asks for a password; elsewhere it says no. */
export const ANY_IS_CHALLENGE: readonly (string | null)[] = [
  'check',
  'enable',
  'abort',
  'override',
  'install',
  'install-untrusted',
  'inspect',
  'rollback',
  'control-map',
  'read-log',
];

export const HOLD_ID = '0123456789ab';
export const ownHold =
  (uid: number) =>
  (holdId: string): { uid: number; points: readonly string[] } | null =>
    holdId === HOLD_ID ? { uid, points: ['ArtifactReboot_Enter'] } : null;

export class GuardedBench {
  readonly bus: PrivateBus;
  readonly polkit: PolkitDaemon;
  readonly #folder: string;
  readonly #endings: (() => Promise<void>)[] = [];

  static async create(): Promise<GuardedBench> {
    const bus = await startPrivateBus({ policyPaths: [POLICY_PATH, POLKIT_POLICY] });
    const folder = await mkdtemp(join(tmpdir(), 'holdpoint-access-'));
    await writeFile(join(folder, 'group'), `root:x:0:\nholdpoint:x:${HOLDPOINT_GID}:\n`);
    return new GuardedBench(bus, await PolkitDaemon.create(bus), folder);
  }

  private constructor(bus: PrivateBus, polkit: PolkitDaemon, folder: string) {
    this.bus = bus;
    this.polkit = polkit;
    this.#folder = folder;
  }

  async serve(options: Partial<GuardedOptions> = {}): Promise<GuardedService> {
    const groupPath = join(this.#folder, 'group');
    const service = new GuardedService({ address: this.bus.address, groupPath, ...options });
    this.#endings.push(() => service.end());
    await connected(service.start());
    return service;
  }

  async client(who: CallerOptions): Promise<BusCaller> {
    const caller = await BusCaller.start(this.bus.address, who);
    this.#endings.push(() => caller.vanish());
    return caller;
  }

  async clear(): Promise<void> {
    for (const end of this.#endings.splice(0).toReversed()) await end();
    await this.polkit.stop();
  }

  async dispose(): Promise<void> {
    await this.polkit.dispose();
    await this.bus.dispose();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** One bench for a file; after each test services and clients are gone, and polkit does not run. */
export function useGuardedBench(): () => GuardedBench {
  let bench: GuardedBench | null = null;
  beforeAll(async () => {
    bench = await GuardedBench.create();
  });
  afterEach(() => bench?.clear());
  afterAll(() => bench?.dispose());
  return () => {
    if (bench === null) throw new Error('the bench is there from beforeAll on');
    return bench;
  };
}

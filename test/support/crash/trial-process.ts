/**
 * A case of the crash matrix with the real service as a process of its own, real files, a real bus and real programs: what
 * trial.ts plays inside the test's process, so that the two can be compared.
 */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { actionOf, ARTIFACT_SCRIPTS, ROOTFS_SCRIPTS, shortOf } from '../chain.ts';
import { ASK, makeArtifact } from '../device.ts';
import type { Properties } from '../property-watch.ts';
import { ServiceHarness } from '../service.ts';
import { WAYS, type Scenario, type Strike } from './plan.ts';
import type { StrikeOrder } from './striking-store.ts';
import { NEW_NAME } from './trial-artifact.ts';
import { MAX_REFUSALS, ORIGINAL, type Ending, type TrialResult } from './trial.ts';

const run = promisify(execFile);
const MODULE = resolve('test/support/crash/trial-module.sh');
const WITHIN_MS = 120_000;

/** What both kinds of trial can say. */
export interface Comparable {
  readonly isStruck: boolean;
  readonly endings: readonly [first: Ending, final: Ending];
  /** In shorthand, without reboots: who makes them is no call of the service's. */
  readonly calls: string;
  readonly asked: number;
  readonly historyLength: number;
}

export function comparable(result: TrialResult): Comparable {
  const { isStruck, endings, calls, asked, historyLength } = result;
  return {
    isStruck,
    endings,
    calls: calls.filter((call) => call !== 'reboot').join(' '),
    asked,
    historyLength,
  };
}

/** The program and the artifact that all trials of a test file share. */
export class TrialProcesses {
  readonly #folder: string;
  readonly #program: string;
  readonly #artifact: string;
  readonly #original: string;

  static async prepare(): Promise<TrialProcesses> {
    const folder = await mkdtemp(join(tmpdir(), 'holdpoint-trials-'));
    await run(process.execPath, [
      'scripts/build.mjs',
      '--outdir',
      join(folder, 'program'),
      '--entry',
      'test/support/crash/striking-main.ts',
      'holdpointd',
    ]);
    const artifact = await makeArtifact({ folder }, { name: NEW_NAME, scripts: ARTIFACT_SCRIPTS });
    const original = await makeArtifact({ folder }, { name: ORIGINAL.artifactName, isEmpty: true });
    return new TrialProcesses(folder, artifact, original);
  }

  private constructor(folder: string, artifact: string, original: string) {
    this.#folder = folder;
    this.#program = join(folder, 'program/holdpointd.js');
    this.#artifact = artifact;
    this.#original = original;
  }

  dispose(): Promise<void> {
    return rm(this.#folder, { recursive: true, force: true });
  }

  async run(scenario: Scenario, strike: Strike): Promise<Comparable> {
    const { gate } = scenario;
    const service = await ServiceHarness.create({
      program: this.#program,
      scripts: ROOTFS_SCRIPTS,
      points: gate === null ? {} : { [gate]: { ...ASK, 'on-expire': 'keep-waiting' } },
    });
    try {
      await copyFile(this.#original, join(service.device.data, 'bootstrap.mender'));
      return await new TrialProcess(service, scenario, strike).run(this.#artifact);
    } finally {
      await service.dispose();
    }
  }
}

class TrialProcess {
  readonly #service: ServiceHarness;
  readonly #scenario: Scenario;
  readonly #strike: Strike;
  readonly #truth: string;
  #asked = 0;
  #ticket = '';

  constructor(service: ServiceHarness, scenario: Scenario, strike: Strike) {
    this.#service = service;
    this.#scenario = scenario;
    this.#strike = strike;
    this.#truth = join(service.device.folder, 'truth');
  }

  async run(artifact: string): Promise<Comparable> {
    await this.#prepareDevice();
    await this.#start();
    if (this.#service.isRunning) {
      await this.#service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle', WITHIN_MS);
      // The save that the order leads to may be the one that is struck, and the order be refused or unanswered for it.
      const { error } = await this.#service.call('Install.InstallPath', 'ss', [artifact, '']);
      const hasBegun = (seen: Properties): boolean =>
        seen['DeploymentId'] !== '' || seen['LastResult'] !== 'none';
      if (error === '') {
        await Promise.race([
          this.#service.waitFor('the update has begun', hasBegun, WITHIN_MS),
          this.#service.exited(WITHIN_MS),
        ]);
      }
    }
    const first = await this.#runToEnd();
    const boot = this.#strike.fault.endsWith('read-only') ? 'next' : 'same';
    const isStruck = await stat(this.#order.mark).then(
      () => true,
      () => false,
    );
    await this.#service.kill9();
    await this.#start(boot);
    const final = await this.#runToEnd();
    const history = (await this.#service.mustCall('History.List', 'u', ['0'])) as readonly unknown[];
    const calls = (await this.#service.device.calls()).map(shortOf);
    return {
      isStruck,
      endings: [first, final],
      calls: calls.filter((call) => !/^(Idle|Sync)|^Reboot$/.test(call)).join(' '),
      asked: this.#asked,
      historyLength: history.length,
    };
  }

  get #order(): StrikeOrder {
    const at = (name: string): string => join(this.#truth, name);
    return { ...this.#strike, counts: at('counts'), mark: at('struck') };
  }

  async #prepareDevice(): Promise<void> {
    const { device } = this.#service;
    const { way, needsReboot, supportsRollback } = this.#scenario;
    await mkdir(this.#truth);
    const facts = { running: 'old', next: 'old', boots: '0', 'needs-reboot': needsReboot };
    for (const [name, text] of Object.entries(facts)) await writeFile(join(this.#truth, name), `${text}\n`);
    await writeFile(join(this.#truth, 'supports-rollback'), supportsRollback ? 'Yes\n' : 'No\n');
    const reboot = join(device.folder, 'reboot');
    const environment = `TRUTH='${this.#truth}' CONTROL='${device.control}' REBOOT='${reboot}'`;
    await writeFile(
      join(device.share, 'modules/v3/probe'),
      `#!/bin/sh\nexport ${environment}\nexec '${MODULE}' "$@"\n`,
    );
    await writeFile(
      reboot,
      `#!/bin/sh\nexport ${environment}\necho Reboot >>'${device.control}/calls'\n` +
        `cat /proc/sys/kernel/random/uuid >'${device.bootIdFile}'\n'${MODULE}' boot\n` +
        `kill -KILL "$(cat '${device.pidFile}')"\n`,
    );
    for (const short of WAYS[way]) await device.order(actionOf(short), 'fail');
  }

  async #start(boot: 'same' | 'next' = 'same'): Promise<void> {
    if (boot === 'next') {
      await this.#service.device.newBoot();
      await run(MODULE, ['boot'], { env: { ...process.env, TRUTH: this.#truth } });
    }
    await this.#service.start({
      isOffBus: true,
      environment: { HOLDPOINT_TEST_STRIKE: JSON.stringify(this.#order) },
    });
  }

  /** Starts the service again whenever it has ended, and gives consent where it is asked for. */
  async #runToEnd(): Promise<Ending> {
    let wasStruck = false;
    for (let turn = 0; turn < 60; turn += 1) {
      if (!this.#service.isRunning) {
        await this.#service.exited(WITHIN_MS);
        const isStruck = await stat(this.#order.mark).then(
          () => true,
          () => false,
        );
        // An end by the update's own reboot has booted the machine already.
        const isCut = isStruck && !wasStruck && /^(cut|torn)/.test(this.#strike.fault);
        wasStruck ||= isStruck;
        await this.#start(isCut ? 'next' : 'same');
        continue;
      }
      const seen = await Promise.race([
        this.#service
          .waitFor(
            'a wait or the end',
            (now) => this.#isAsking(now) || isOver(now) || isHeldBack(now),
            WITHIN_MS,
          )
          .catch((error: unknown) => {
            if (this.#service.isRunning) throw error;
            return null;
          }),
        this.#service.exited(WITHIN_MS).then(() => null),
      ]);
      if (seen === null) continue;
      if (isOver(seen) || isHeldBack(seen)) return this.#ending(seen);
      this.#ticket = String(seen['WaitTicket']);
      this.#asked += 1;
      await this.#consent();
    }
    throw new Error('the update does not come to an end');
  }

  /** As in trial.ts: a yes that could not be stored is given again, but not for ever. */
  async #consent(): Promise<void> {
    for (let refusals = 0; refusals < MAX_REFUSALS && this.#service.isRunning; refusals += 1) {
      const { error } = await this.#service.call('Continue', 's', [this.#ticket]);
      if (error === '') return;
    }
  }

  #isAsking(seen: Properties): boolean {
    const ticket = String(seen['WaitTicket'] ?? '');
    return ticket !== '' && ticket !== this.#ticket;
  }

  async #ending(seen: Properties): Promise<Ending> {
    const running = (await readFile(join(this.#truth, 'running'), 'utf8')).trim();
    return {
      result: isHeldBack(seen) ? 'held-back' : String(seen['LastResult']),
      failure: String(seen['LastErrorName']).replace('io.holdpoint.Update1.Failure.', ''),
      installedName: String(seen['CurrentArtifactName']),
      running: running === 'new' ? 'new' : 'old',
    };
  }
}

/** For as long as the store fails there is no more to come. */
function isHeldBack(seen: Properties): boolean {
  return (seen['Deployment'] as { readonly notice?: string } | undefined)?.notice === 'commit-not-stored';
}

function isOver(seen: Properties): boolean {
  return seen['DeploymentId'] === '' && seen['Step'] === 'Idle';
}
